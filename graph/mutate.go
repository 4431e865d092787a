package graph

import (
	"context"
	"slices"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/trackway/trackway/graph/generated"
	"github.com/trackway/trackway/graph/relay"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
)

// form reads the input of a mutation and collects what is wrong with it. Fields are named as in the contract.
type form struct{ errs.Check }

// id reads the id of a type.
func (f *form) id(name string, id relay.ID, typ string) int64 {
	return value(f.optionalID(name, &id, typ))
}

// optionalID reads the id of a type, or none.
func (f *form) optionalID(name string, id *relay.ID, typ string) *int64 {
	if id == nil {
		return nil
	}
	k, ok := id.Of(typ)
	f.That(ok, name, "must be the id of a %s", strings.ToLower(typ))
	return &k
}

// ids reads the ids of a type.
func (f *form) ids(name string, ids []*relay.ID, typ string) []int64 {
	keys := make([]int64, 0, len(ids))
	for _, id := range ids {
		keys = append(keys, f.id(name, *id, typ))
	}
	return keys
}

// version reads the version that the caller has seen; 0 is none.
func (f *form) version(v *int) int64 {
	f.That(v == nil || *v > 0, "expected_version", "must be at least 1")
	return int64(value(v))
}

// update is a form of an update, whose mask names the fields that are in the input.
type update struct {
	form

	mask fieldmaskpb.FieldMask
}

// set reads a field that every such thing has: absent leaves it, null is an error.
func set[T any](u *update, name string, in graphql.Omittable[*T], to *T) {
	if in.IsSet() {
		u.That(in.Value() != nil, name, "must not be null")
		u.mask.Paths = append(u.mask.Paths, name)
		*to = value(in.Value())
	}
}

// empty reads a field that may be empty, which null makes it; absent leaves it.
func empty[T any](u *update, name string, in graphql.Omittable[T], to *T) {
	if in.IsSet() {
		u.mask.Paths = append(u.mask.Paths, name)
		*to = in.Value()
	}
}

// mutate makes a change: it fills the request from the input, calls the service, and sorts the failures. What it gives
// is nil when the change was not made.
func mutate[Req any, Res proto.Message](
	ctx context.Context, r *mutationResolver, key *string, f *form, req Req,
	call func(context.Context, Req, ...grpc.CallOption) (Res, error),
) (Res, []*generated.UserError, error) {
	var none Res
	if err := r.admit(ctx); err != nil {
		return none, nil, err
	}
	if key != nil {
		f.That(len(*key) >= 1 && len(*key) <= idempotency.MaxKey && printable(*key), "idempotency_key",
			"must have 1 to %d printable ASCII characters", idempotency.MaxKey)
	}
	var res Res
	err := f.Err()
	if err == nil {
		r.forget()
		res, err = call(idempotency.WithKey(ctx, value(key)), req)
	}
	if err == nil {
		if node, ok := any(res).(relay.Node); ok {
			put(r.loads, place(graphql.GetFieldContext(ctx)), node)
		}
		return res, []*generated.UserError{}, nil
	}
	if list, ok := userErrors(err); ok {
		return none, list, nil
	}
	return none, nil, r.failure(ctx, err)
}

// admit is nil if the mutation of ctx may go on: everybody may register, sign in and stay so, as often as the edge lets them.
func (r *mutationResolver) admit(ctx context.Context) error {
	switch name := graphql.GetFieldContext(ctx).Field.Name; {
	case slices.Contains([]string{
		"register", "login", "refreshTokens", "requestPasswordReset", "resetPassword", "confirmEmailChange", "exchangeCode",
		"exchangeIdToken",
	}, name):
		if r.cfg.SignIn != nil {
			return r.cfg.SignIn(ctx)
		}
	case auth.CallerFrom(ctx).Token == "":
		return errs.New(errs.Unauthenticated, "Sign in first.")
	}
	return nil
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// some is the text, or nil if there is none.
func some(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// deleted is the id of what a mutation deleted, or nil if it did not.
func deleted(done *emptypb.Empty, typ string, key int64) *relay.ID {
	if done == nil {
		return nil
	}
	return &relay.ID{Type: typ, Key: key}
}
