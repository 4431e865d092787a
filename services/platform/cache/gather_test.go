package cache

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	servers "github.com/trackway/trackway/services/platform/local"
)

// gate lets nothing reach Redis before it is opened, and counts what does.
type gate struct {
	open  chan struct{}
	trips atomic.Int64
}

func (*gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		g.trips.Add(1)
		<-g.open
		return next(ctx, cmd)
	}
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		g.trips.Add(1)
		<-g.open
		return next(ctx, cmds)
	}
}

func newGate(t *testing.T, timeout time.Duration) (*gate, *Gather, *servers.Redis) {
	t.Helper()
	server, err := servers.StartRedis(t.Context(), servers.RedisOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.WithoutCancel(t.Context())) })
	client, err := Open(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	_, err = client.Pipelined(t.Context(), func(p redis.Pipeliner) error { return p.Ping(t.Context()).Err() })
	if err != nil { // what a new connection asks is not counted
		t.Fatal(err)
	}
	g := &gate{open: make(chan struct{})}
	client.AddHook(g)
	return g, NewGather(client, timeout), server
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !done() {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			t.Fatal("waited for too long")
		}
	}
}

// Whoever comes while a pipeline is under way goes in the next one, each with answers and errors of its own.
func TestWhoAsksAtTheSameTimeGoesTogether(t *testing.T) {
	t.Parallel()
	gate, g, _ := newGate(t, 10*time.Second)
	const many = 50
	var all sync.WaitGroup
	ask := func(n int) {
		all.Go(func() {
			ctx, leave := context.WithCancel(t.Context())
			leave() // the client has gone, and the others do not suffer
			text := strconv.Itoa(n)
			one, bad, two := redis.NewStringCmd(ctx, "echo", text), redis.NewCmd(ctx, "no-such-command"), redis.NewStringCmd(ctx, "echo", text+"!")
			g.Do(ctx, one, bad, two)
			if one.Val() != text || two.Val() != text+"!" || bad.Err() == nil {
				t.Errorf("%d: got %v, %v and %v", n, one, bad, two)
			}
		})
	}
	ask(0)
	await(t, func() bool { return gate.trips.Load() == 1 })
	for n := range many {
		ask(n + 1)
	}
	await(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.waiting) == many
	})
	close(gate.open)
	all.Wait()
	if got := gate.trips.Load(); got != 2 {
		t.Errorf("got %d round trips for one and %d, want 2", got, many)
	}
	ask(0)
	all.Wait()
	if got := gate.trips.Load(); got != 3 || g.flying {
		t.Errorf("got %d round trips, want one more, and nobody leads after it", got)
	}
}

// What nobody waits for rides with those who ask next, and only so much of it. Its errors are told.
func TestWhatNobodyWaitsForRidesAlong(t *testing.T) {
	t.Parallel()
	gate, g, _ := newGate(t, 10*time.Second)
	var all sync.WaitGroup
	all.Go(func() { g.Do(t.Context(), redis.NewCmd(t.Context(), "ping")) })
	await(t, func() bool { return gate.trips.Load() == 1 })
	failed := func(err error) { t.Error(err) }
	for n := range maxGathered {
		if !g.Later(t.Context(), redis.NewCmd(t.Context(), "incrby", "sum", n), 1, failed) {
			t.Fatalf("%d: there is no room", n)
		}
	}
	if g.Later(t.Context(), redis.NewCmd(t.Context(), "incrby", "sum", 1), 1, failed) {
		t.Error("there is room for one more")
	}
	all.Go(func() { g.Do(t.Context(), redis.NewCmd(t.Context(), "ping")) })
	await(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.waiting) == 1
	})
	close(gate.open)
	all.Wait()
	sum := redis.NewIntCmd(t.Context(), "get", "sum")
	g.Do(t.Context(), sum)
	if got := gate.trips.Load(); got != 3 || sum.Val() != maxGathered*(maxGathered-1)/2 {
		t.Errorf("got %d round trips and %v, want 3", got, sum)
	}

	if g.Later(t.Context(), redis.NewCmd(t.Context(), "ping"), maxLateSize+1, failed) {
		t.Error("one that is too long rides along")
	}
	var told error
	if !g.Later(t.Context(), redis.NewCmd(t.Context(), "no-such-command"), maxLateSize, func(err error) { told = err }) {
		t.Error("there is no room")
	}
	if g.Do(t.Context()); told == nil || gate.trips.Load() != 4 {
		t.Errorf("got %v after %d round trips, want an error after 4", told, gate.trips.Load())
	}
	if g.Do(t.Context()); gate.trips.Load() != 4 {
		t.Error("nothing takes a round trip")
	}
}

// Without Redis everybody gets an error, and nobody waits for long.
func TestWhoAsksWithoutRedisGetsAnError(t *testing.T) {
	t.Parallel()
	gate, g, server := newGate(t, time.Second)
	close(gate.open)
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			cmd := redis.NewStringCmd(t.Context(), "echo", "hello")
			if g.Do(t.Context(), cmd); cmd.Err() == nil {
				t.Errorf("got %v, want an error", cmd)
			}
		})
	}
	all.Wait()
}
