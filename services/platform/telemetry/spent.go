package telemetry

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Spent is what one request, or call, spends waiting for others, by whom it waits for; several at once count each. Those
// who know add to it by the context, and need not know who reads it.
type Spent struct {
	calls, callTime  atomic.Int64
	redis, redisTime atomic.Int64
	replayed         atomic.Bool
}

type spentKey struct{}

// WithSpent counts what is spent under ctx.
func WithSpent(ctx context.Context, s *Spent) context.Context {
	return context.WithValue(ctx, spentKey{}, s)
}

// Called counts a call to another service.
func Called(ctx context.Context, took time.Duration) {
	if s, ok := ctx.Value(spentKey{}).(*Spent); ok {
		s.calls.Add(1)
		s.callTime.Add(int64(took))
	}
}

// AskedRedis counts a question to Redis.
func AskedRedis(ctx context.Context, took time.Duration) {
	if s, ok := ctx.Value(spentKey{}).(*Spent); ok {
		s.redis.Add(1)
		s.redisTime.Add(int64(took))
	}
}

// Replayed notes that the answer is one that was given before, to the same idempotency key.
func Replayed(ctx context.Context) {
	if s, ok := ctx.Value(spentKey{}).(*Spent); ok {
		s.replayed.Store(true)
	}
	trace.SpanFromContext(ctx).SetAttributes(attribute.Bool("trackway.idempotency.replayed", true))
}

// IsReplay reports what Replayed noted.
func (s *Spent) IsReplay() bool { return s.replayed.Load() }

// Calls gives how many calls to other services there were, and how long they took together.
func (s *Spent) Calls() (int64, time.Duration) {
	return s.calls.Load(), time.Duration(s.callTime.Load())
}

// Redis gives the same of questions to Redis.
func (s *Spent) Redis() (int64, time.Duration) {
	return s.redis.Load(), time.Duration(s.redisTime.Load())
}
