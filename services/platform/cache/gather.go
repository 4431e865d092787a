package cache

import (
	"context"
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
}

// maxGathered bounds how many go together, so that none waits long for the answers of the others.
const maxGathered = 128

// asker is one who asks, and may have to lead: to send for others, too.
type asker struct {
	cmds []redis.Cmder
	turn chan []*asker // gives whom to lead, itself among them, or nobody when its commands have come back
}

// NewGather bounds a pipeline by the timeout. Who asks waits for two of them at most.
func NewGather(client redis.UniversalClient, timeout time.Duration) *Gather {
	g := &Gather{client: client, timeout: timeout}
	g.askers.New = func() any { return &asker{turn: make(chan []*asker, 1)} }
	return g
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
	g.send(ctx, cmds)
}

func (g *Gather) send(ctx context.Context, cmds []redis.Cmder) {
	if len(cmds) == 1 {
		_ = g.client.Process(ctx, cmds[0]) // it has its own error
		return
	}
	p := g.client.Pipeline()
	for _, c := range cmds {
		_ = p.Process(ctx, c) // only queues it
	}
	_, _ = p.Exec(ctx) // each command has its own error
}
