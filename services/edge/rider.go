package edge

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// shared is a client whose scripts take other commands along in their round trip: those that the context names.
type shared struct{ redis.UniversalClient }

type riderKey struct{}

// withRider makes the next script that is run with the context take commands along.
func withRider(ctx context.Context, queue func(context.Context, redis.Pipeliner)) context.Context {
	return context.WithValue(ctx, riderKey{}, queue)
}

// EvalSha runs a script.
func (s shared) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	queue, ok := ctx.Value(riderKey{}).(func(context.Context, redis.Pipeliner))
	if !ok {
		return s.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
	var cmd *redis.Cmd
	_, _ = s.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its own error
		cmd = p.EvalSha(ctx, sha, keys, args...)
		queue(ctx, p)
		return nil
	})
	return cmd
}
