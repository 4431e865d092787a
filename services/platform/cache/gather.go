package cache

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/trackway/trackway/services/platform/telemetry"
)

// Gather sends the commands of all who ask at the same time in one pipeline: while one is under way, whoever comes waits
// for its end, and then all of them go together. Who is alone waits for nobody; where many ask, each pays a share of a
// round trip, here and in Redis.
type Gather struct {
	client  redis.UniversalClient
	timeout time.Duration

	mu      sync.Mutex
	flying  bool // somebody leads
	waiting []*asker
	askers  sync.Pool

	late     []late
	lateSize int // of all of them, in bytes
}

const (
	// maxGathered bounds how many go together, so that none waits long for the answers of the others.
	maxGathered = 128
	// maxLateSize bounds what rides along, in bytes: those with whom it rides wait for it, too.
	maxLateSize = 16 << 10
)

// late is a command of Later.
type late struct {
	cmd    redis.Cmder
	failed func(error)
}

// asker is one who asks, and may have to lead: to send for others, too.
type asker struct {
	cmds []redis.Cmder
	turn chan []*asker // gives whom to lead, itself among them, or nobody when its commands have come back
}

// NewGather bounds a pipeline by the timeout. Who asks waits for two of them at most, unless more wait than go together.
func NewGather(client redis.UniversalClient, timeout time.Duration) *Gather {
	g := &Gather{client: client, timeout: timeout}
	g.askers.New = func() any { return &asker{turn: make(chan []*asker, 1)} }
	return g
}

// Later takes a command of this size, in bytes, for which nobody waits: it rides with whatever is sent next, which may be
// nothing but a Do without commands. failed is told its error. It is not ok, and nothing is taken, where too much waits already,
// and for a request whose trace is recorded.
func (g *Gather) Later(ctx context.Context, cmd redis.Cmder, size int, failed func(error)) (ok bool) {
	if telemetry.Recorded(ctx) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.late) == maxGathered || g.lateSize+size > maxLateSize {
		return false
	}
	g.late = append(g.late, late{cmd, failed})
	g.lateSize += size
	return true
}

// takeLate gives what is late to whoever leads.
func (g *Gather) takeLate() []late {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.late
	g.late, g.lateSize = nil, 0
	return all
}

// Do runs the commands, each of which has its own result or error. A request whose trace is recorded goes alone, so that
// the trace shows what is its own.
func (g *Gather) Do(ctx context.Context, cmds ...redis.Cmder) {
	if telemetry.Recorded(ctx) {
		ctx, cancel := context.WithTimeout(ctx, g.timeout)
		defer cancel()
		g.send(ctx, cmds)
		return
	}
	began := time.Now()
	me, _ := g.askers.Get().(*asker)
	me.cmds = cmds
	g.mu.Lock()
	alone := !g.flying
	g.flying = true
	if !alone {
		g.waiting = append(g.waiting, me)
	}
	g.mu.Unlock()
	if alone {
		g.lead(cmds, nil, me)
	} else if others := <-me.turn; others != nil {
		var all []redis.Cmder
		for _, a := range others {
			all = append(all, a.cmds...)
		}
		g.lead(all, others, me)
	}
	me.cmds = nil
	g.askers.Put(me)
	telemetry.AskedRedis(ctx, time.Since(began))
}

// lead sends the commands of all, and then has one of those who came meanwhile lead. The client of the one who leads may
// go, and the others do not suffer.
func (g *Gather) lead(cmds []redis.Cmder, all []*asker, me *asker) {
	defer func() {
		g.mu.Lock()
		next := g.waiting
		if len(next) > maxGathered {
			next = next[:maxGathered:maxGathered]
		}
		g.waiting = g.waiting[len(next):]
		g.flying = len(next) > 0
		g.mu.Unlock()
		if len(next) > 0 {
			next[0].turn <- next
		}
		for _, a := range all {
			if a != me {
				a.turn <- nil
			}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), g.timeout)
	defer cancel()
	riders := g.takeLate()
	cmds = slices.Clip(cmds) // the array is the caller's
	for _, l := range riders {
		cmds = append(cmds, l.cmd)
	}
	g.send(ctx, cmds)
	for _, l := range riders {
		if err := l.cmd.Err(); err != nil {
			l.failed(err)
		}
	}
}

func (g *Gather) send(ctx context.Context, cmds []redis.Cmder) {
	switch len(cmds) {
	case 0:
		return
	case 1:
		_ = g.client.Process(ctx, cmds[0]) // it has its own error
		return
	}
	p := g.client.Pipeline()
	for _, c := range cmds {
		_ = p.Process(ctx, c) // only queues it
	}
	_, _ = p.Exec(ctx) // each command has its own error
}
