package peers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/local"
	"github.com/trackway/trackway/services/platform/peers"
)

const (
	patience = time.Minute // on a busy machine
	owner    = 7
)

// replica is one of several that share things called "toy"; it answers with its name and the question.
func replica(t *testing.T, server *local.Redis, name string) (*peers.Peers, redis.UniversalClient) {
	t.Helper()
	client, err := cache.Open(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	p := peers.New(client, "toy")
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		p.Run(ctx, patience, func(_ context.Context, thing string, question []byte) []byte {
			return fmt.Appendf(nil, "%s has %s: %s", name, thing, question)
		})
	})
	t.Cleanup(func() { cancel(); running.Wait(); _ = client.Close() })
	return p, client
}

func startRedis(t *testing.T) *local.Redis {
	t.Helper()
	server, err := local.StartRedis(t.Context(), local.RedisOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.WithoutCancel(t.Context())) })
	return server
}

// answered asks until there is an answer: nobody says when a replica has begun to listen.
func answered(t *testing.T, p *peers.Peers, thing, question string) string {
	t.Helper()
	deadline, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		ctx, cancel := context.WithTimeout(deadline, time.Second)
		answer, err := p.Ask(ctx, owner, thing, []byte(question))
		cancel()
		if err == nil {
			return string(answer)
		}
		if deadline.Err() != nil {
			t.Fatalf("no answer: %v", err)
		}
	}
}

func want(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("got the error %v, want %v", got, want)
	}
}

func TestAThingHasOneReplicaThatTheOthersAsk(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	a, client := replica(t, server, "a")
	b, _ := replica(t, server, "b")
	ctx := t.Context()

	want(t, b.Claim(ctx, owner, "bear", patience), peers.ErrNone)
	want(t, a.Reserve(ctx, owner, "bear", patience, 2), nil)
	_, err := b.Ask(ctx, owner, "bear", nil)
	want(t, err, peers.ErrReserved)
	want(t, b.Claim(ctx, owner+1, "bear", patience), peers.ErrNone)
	want(t, b.Claim(ctx, owner, "bear", patience), nil)
	want(t, a.Claim(ctx, owner, "bear", patience), peers.ErrTaken)
	want(t, b.Claim(ctx, owner, "bear", patience), nil)
	large := string(bytes.Repeat([]byte("x\x00\xff"), 1<<18))
	if got := answered(t, a, "bear", large); got != "b has bear: "+large {
		t.Errorf("got %.40q and %d bytes, want the answer of b", got, len(got))
	}
	_, err = a.Ask(ctx, owner+1, "bear", nil)
	want(t, err, peers.ErrNone)
	_, err = b.Ask(ctx, owner, "bear", nil) // itself
	want(t, err, peers.ErrNone)

	want(t, a.Reserve(ctx, owner, "doll", patience, 2), nil)
	want(t, a.Reserve(ctx, owner, "ball", patience, 2), peers.ErrMany)
	want(t, a.Reserve(ctx, owner+1, "ball", patience, 2), nil)
	want(t, a.Release(ctx, owner, "doll"), nil)
	want(t, a.Reserve(ctx, owner, "ball", time.Millisecond, 2), nil) // and it is soon over
	for deadline := time.After(patience); a.Reserve(ctx, owner, "top", patience, 2) != nil; {
		select {
		case <-deadline:
			t.Fatal("what is over is counted still")
		default:
		}
	}

	want(t, b.Release(ctx, owner, "bear"), nil)
	_, err = a.Ask(ctx, owner, "bear", nil)
	want(t, err, peers.ErrNone)
	want(t, a.Release(ctx, owner, "top"), nil)
	want(t, a.Release(ctx, owner+1, "ball"), nil)
	for deadline := time.After(patience); ; { // the ball's time is over, but Redis may count in whole milliseconds
		left, err := client.Keys(ctx, "toy*").Result()
		if err == nil && len(left) == 0 {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("got %v, %v, want nothing left", left, err)
		default:
		}
	}
}

func TestOneOfManyClaims(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	var all [4]*peers.Peers
	for i := range all {
		all[i], _ = replica(t, server, fmt.Sprint(i))
	}
	for n := range 50 {
		thing := fmt.Sprint(n)
		want(t, all[0].Reserve(t.Context(), owner, thing, patience, 100), nil)
		var claiming sync.WaitGroup
		var won atomic.Int64
		for _, p := range all {
			claiming.Go(func() {
				if err := p.Claim(t.Context(), owner, thing, patience); err == nil {
					won.Add(1)
				} else if !errors.Is(err, peers.ErrTaken) {
					t.Error(err)
				}
			})
		}
		if claiming.Wait(); won.Load() != 1 {
			t.Fatalf("%d replicas have it, want one", won.Load())
		}
	}
}

func TestAReplicaIsFoundAgainWhenRedisIsBack(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	a, _ := replica(t, server, "a")
	b, _ := replica(t, server, "b")
	want(t, a.Reserve(t.Context(), owner, "bear", patience, 1), nil)
	want(t, b.Claim(t.Context(), owner, "bear", patience), nil)
	answered(t, a, "bear", "?")
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := a.Ask(t.Context(), owner, "bear", nil)
	if err == nil || errors.Is(err, peers.ErrNone) {
		t.Errorf("got %v, want an error of its own", err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = a.Ask(t.Context(), owner, "bear", nil)
	want(t, err, peers.ErrNone)
	want(t, b.Keep(t.Context(), owner, "bear", patience), nil)
	if got := answered(t, a, "bear", "?"); got != "b has bear: ?" {
		t.Errorf("got %q, want the answer of b", got)
	}
}

func TestWhoDoesNotAnswerIsNotAwaited(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	a, client := replica(t, server, "a")
	dead := peers.New(client, "toy") // nobody runs it
	want(t, a.Reserve(t.Context(), owner, "bear", patience, 1), nil)
	want(t, dead.Claim(t.Context(), owner, "bear", patience), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := a.Ask(ctx, owner, "bear", nil)
	want(t, err, context.DeadlineExceeded)
}
