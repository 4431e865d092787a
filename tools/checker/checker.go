// Package checker looks for answers that are older than they may be. Many clients read and write through two replicas of
// the edge, before two replicas of each service, while Redis is killed, emptied, paused and cut off, and services are
// killed. What they did is checked afterwards: of every title there must be an order of the reads and writes, each at a
// moment between its call and its answer, that explains all of them (linearizability, by porcupine); and a list must
// have every task that was made before it was asked for, and none that was deleted before.
package checker

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options says how to check. All but Log are required.
type Options struct {
	Bin      string // folder of the four programs
	Dir      string // of the data; Postgres, which may run as another user, must be able to enter it
	Seed     uint64 // decides on faults and on what clients do, as far as the machine repeats itself
	Duration time.Duration
	Quiet    bool // without faults
	Log      io.Writer
}

// Report is what was found.
type Report struct {
	Operations int
	Faults     []string
	Violations []string // none is what it should be
}

// Run checks once.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	if o.Log == nil {
		o.Log = io.Discard
	}
	c, err := startCluster(ctx, o.Bin, o.Dir, o.Log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if stopErr := c.stop(); err == nil {
			err = stopErr
		}
	}()
	w, err := newWorld(ctx, c.doors())
	if err != nil {
		return nil, err
	}
	report := &Report{}
	working, cancel := context.WithTimeout(ctx, o.Duration)
	defer cancel()
	var (
		faults   sync.WaitGroup
		faultErr error
	)
	if !o.Quiet {
		faults.Go(func() { report.Faults, faultErr = c.disturb(working, rand.New(rand.NewPCG(o.Seed, 0)), w.history.now) }) //nolint:gosec // to be repeated
	}
	w.run(working, o.Seed)
	faults.Wait()
	if faultErr != nil {
		return nil, faultErr
	}
	report.Operations = w.history.count
	report.Violations = w.history.check()
	return report, nil
}

// disturb does one harm after the other until ctx ends, and tells which.
func (c *cluster) disturb(ctx context.Context, r *rand.Rand, now func() int64) (done []string, err error) {
	between := func(low, high time.Duration) time.Duration { return low + time.Duration(r.Int64N(int64(high-low))) }
	for wait(ctx, between(300*time.Millisecond, 1200*time.Millisecond)) {
		n := c.nodes[r.IntN(len(c.nodes))]
		long := between(50*time.Millisecond, 2500*time.Millisecond)
		at := time.Duration(now()).Round(time.Millisecond)
		var what string
		switch r.IntN(7) {
		case 0:
			what, err = fmt.Sprintf("Redis is killed, and back after %v", long), c.killRedis(ctx, long)
		case 1:
			what, err = "Redis is emptied", c.client.FlushAll(ctx).Err()
		case 2: //nolint:mnd // one after the other
			what, err = fmt.Sprintf("Redis is paused for %v", long), c.pauseRedis(ctx, long)
		case 3, 4: //nolint:mnd // the worst
			what, err = fmt.Sprintf("%s at %s is cut off from Redis for %v", n.name, n.listen, long), n.cutOff(ctx, long, r.IntN(2) == 0)
		case 5: //nolint:mnd // see above
			what, err = "keys of Redis expire", c.expire(ctx, r)
		default:
			what, err = fmt.Sprintf("%s at %s is killed, and back after %v", n.name, n.listen, long), n.crash(ctx, long)
		}
		done = append(done, fmt.Sprintf("%v %s", at, what))
		if err != nil && ctx.Err() == nil {
			return done, fmt.Errorf("%s: %w", what, err)
		}
	}
	return done, nil
}

// wait waits, and reports whether ctx lasts.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (c *cluster) killRedis(ctx context.Context, long time.Duration) error {
	if err := c.redis.Stop(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	wait(ctx, long)
	return c.redis.Restart(context.WithoutCancel(ctx))
}

func (c *cluster) pauseRedis(ctx context.Context, long time.Duration) error {
	pid, err := c.redisPID(ctx)
	if err != nil {
		return err
	}
	if err := c.signal(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	wait(ctx, long)
	return c.signal(pid, syscall.SIGCONT)
}

// cutOff makes Redis refuse the replica, or not answer it.
func (n *node) cutOff(ctx context.Context, long time.Duration, refuse bool) error {
	if refuse {
		n.way.Stop()
		wait(ctx, long)
		return n.way.Start()
	}
	for _, stream := range []string{"upstream", "downstream"} {
		toxic := fmt.Sprintf(`{"name": %q, "type": "timeout", "stream": %q, "attributes": {"timeout": 0}}`, stream, stream)
		if _, err := n.way.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			return err
		}
	}
	wait(ctx, long)
	n.way.Toxics.ResetToxics(context.WithoutCancel(ctx))
	return nil
}

// expire ends the time of some keys, as if it were short.
func (c *cluster) expire(ctx context.Context, r *rand.Rand) error {
	keys, err := c.client.Keys(ctx, "*").Result() // of a test there are few
	if err != nil {
		return err
	}
	for _, key := range keys {
		if r.IntN(2) == 0 && !strings.HasPrefix(key, "events") {
			if err := c.client.PExpire(ctx, key, time.Millisecond).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// crash kills the replica and starts it again.
func (n *node) crash(ctx context.Context, long time.Duration) error {
	n.kill()
	wait(ctx, long)
	return n.start()
}
