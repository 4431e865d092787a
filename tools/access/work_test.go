package access

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/uptrace/bun"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// work is what the services do: the RPCs and the statements of each, by the token that they were done for.
type work struct {
	mu   sync.Mutex
	done map[string][]string // only of tokens that are watched
}

type workKey struct{}

// watch begins to note what is done for the token, and gives a function that ends it and tells, in a fixed order.
func (w *work) watch(token string) (done func() []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done[token] = []string{}
	return func() []string {
		w.mu.Lock()
		defer w.mu.Unlock()
		did := w.done[token]
		delete(w.done, token)
		slices.Sort(did)
		return did
	}
}

func (w *work) note(token, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if did, watched := w.done[token]; watched {
		w.done[token] = append(did, what)
	}
}

func (w *work) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	token := strings.TrimPrefix(strings.Join(metadata.ValueFromIncomingContext(ctx, "authorization"), ""), "Bearer ")
	w.note(token, info.FullMethod)
	return next(context.WithValue(ctx, workKey{}, [2]string{token, info.FullMethod}), req)
}

// BeforeQuery has nothing to do.
func (*work) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

// AfterQuery notes the statement by its first words: its arguments are in its text.
func (w *work) AfterQuery(ctx context.Context, e *bun.QueryEvent) {
	if by, ok := ctx.Value(workKey{}).([2]string); ok {
		w.note(by[0], by[1]+": "+e.Operation())
	}
}

func mask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }
