// Package remote keeps what another service tells: fetched when it is needed, believed for a while, and fetched again when
// it is not enough.
package remote

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/trackway/trackway/services/platform/telemetry"
)

// pause is the least time between two fetches, so that what is asked for in vain, such as a made-up key, causes no load.
const pause = 2 * time.Second

// fetchTimeout bounds one fetch.
const fetchTimeout = 5 * time.Second

// Value is what fetch gave last. It is fetched when first needed, when it has grown old, and when it is not enough for
// whoever asks.
type Value[T any] struct {
	fetch func(ctx context.Context) (T, error)
	age   time.Duration
	known atomic.Pointer[known[T]] // nil before the first

	turn  chan struct{} // holds one while somebody fetches; what follows is theirs
	tried time.Time     // when the last fetch ended
	err   error         // what it ended with
}

type known[T any] struct {
	value   T
	fetched time.Time
}

// New makes a value that comes from fetch and is believed for age.
func New[T any](age time.Duration, fetch func(ctx context.Context) (T, error)) *Value[T] {
	return &Value[T]{fetch: fetch, age: age, turn: make(chan struct{}, 1)}
}

// Get gives the value, fetched anew if what is known is old or not enough. An old one that is enough outlives those who
// can not be asked. What it gives without an error may still not be enough: then nobody has more. With an error, it is
// what was known before, or zero.
func (v *Value[T]) Get(ctx context.Context, enough func(T) bool) (T, error) {
	asked := time.Now()
	if k := v.known.Load(); k != nil && asked.Sub(k.fetched) < v.age && enough(k.value) {
		return k.value, nil // out of turn: who asks in vain holds up nobody else
	}
	select {
	case v.turn <- struct{}{}:
		defer func() { <-v.turn }()
	case <-ctx.Done():
		return v.last(), ctx.Err()
	}
	// Those who waited for a fetch take what it brought, also when it failed: one by one they would wait for ever.
	first := v.known.Load() == nil && asked.After(v.tried)
	if first || time.Since(v.tried) >= pause {
		v.err = v.refresh(ctx)
		v.tried = time.Now()
	}
	if k := v.known.Load(); k != nil && enough(k.value) {
		return k.value, nil
	}
	return v.last(), v.err
}

func (v *Value[T]) last() T {
	if k := v.known.Load(); k != nil {
		return k.value
	}
	var none T
	return none
}

func (v *Value[T]) refresh(ctx context.Context) error {
	// Of one caller's context only the values: its cancellation must not fail those who wait for the same. Nor is the fetch
	// part of its trace: it was somebody's turn.
	ctx, cancel := context.WithTimeout(telemetry.Untraced(context.WithoutCancel(ctx)), fetchTimeout)
	defer cancel()
	value, err := v.fetch(ctx)
	if err != nil {
		return err
	}
	v.known.Store(&known[T]{value, time.Now()})
	return nil
}
