package cache

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/trackway/trackway/services/platform/telemetry"
)

const (
	// watchEvery is how often the leases are looked at: often enough that one lost answer does no harm.
	watchEvery   = 300 * time.Millisecond
	watchTimeout = time.Second
)

// belief is what answers are believed under, and until when.
type belief struct {
	epoch string
	until time.Time
}

// watch looks at the leases.
type watch struct {
	client redis.UniversalClient
	leases []string // keys
	belief atomic.Pointer[belief]

	mu    sync.Mutex
	nodes []string // the names of the servers that we are connected to
	turns int      // how often another one came
}

func newWatch(client redis.UniversalClient, services []string) *watch {
	w := &watch{client: client}
	for _, s := range services {
		w.leases = append(w.leases, leasePrefix+s)
	}
	// A server that has restarted, or another one in its place, may have old versions: it is noticed before the first
	// command that it answers.
	check := func(ctx context.Context, conn *redis.Conn) error {
		id, err := nameOf(ctx, conn)
		w.connected(id)
		return err
	}
	switch c := client.(type) {
	case *redis.Client:
		c.Options().OnConnect = check
	case *redis.ClusterClient:
		c.Options().OnConnect = check
	}
	return w
}

// epoch is what answers are believed under now; not ok when none is.
func (w *watch) epoch() (epoch string, ok bool) {
	b := w.belief.Load()
	if b == nil || !time.Now().Before(b.until) {
		return "", false
	}
	return b.epoch, true
}

// distrust ends all belief until the next look.
func (w *watch) distrust() { w.belief.Store(nil) }

// connected ends all belief when the server is another one than before.
func (w *watch) connected(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Contains(w.nodes, id) {
		return
	}
	if _, cluster := w.client.(*redis.ClusterClient); !cluster {
		w.nodes = nil
	}
	w.nodes = append(w.nodes, id)
	w.turns++
	w.distrust()
}

// run looks at the leases until ctx ends, and then does what else is to be done as often.
func (w *watch) run(ctx context.Context, besides func()) {
	ctx = telemetry.Untraced(ctx)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if !w.look(ctx) {
			w.look(ctx) // with the connections of the first look
		}
		besides()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look asks for the leases. It reports whether the servers stayed the same meanwhile. What it can not find out leaves
// the belief to run out by itself.
func (w *watch) look(ctx context.Context) (same bool) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	w.mu.Lock()
	turns := w.turns
	w.mu.Unlock()
	asked := time.Now()
	servers, err := w.servers(ctx)
	if err != nil {
		return true
	}
	names, left := make([]*redis.StringCmd, len(w.leases)), make([]*redis.DurationCmd, len(w.leases))
	_, err = w.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range w.leases {
			names[i], left[i] = p.Get(ctx, key), p.PTTL(ctx, key)
		}
		return nil
	})
	if err != nil { // redis.Nil too: a lease has run out
		if err == redis.Nil { //nolint:errorlint // as go-redis returns it
			w.distrust()
		}
		return true
	}
	sum := sha256.New()
	sum.Write([]byte(strings.Join(servers, " ")))
	b := &belief{until: asked.Add(time.Hour)}
	for i := range w.leases {
		sum.Write([]byte(" " + names[i].Val()))
		if until := asked.Add(left[i].Val()); until.Before(b.until) {
			b.until = until
		}
	}
	b.epoch = base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:9])
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.turns != turns {
		return false
	}
	w.belief.Store(b)
	return true
}

// servers are the names of the servers that have the keys, sorted.
func (w *watch) servers(ctx context.Context) ([]string, error) {
	cluster, ok := w.client.(*redis.ClusterClient)
	if !ok {
		id, err := nameOf(ctx, w.client)
		return []string{id}, err
	}
	ids := make(chan string, 1000) //nolint:mnd // the most nodes of a cluster
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		id, err := nameOf(ctx, c)
		ids <- id
		return err
	})
	close(ids)
	var all []string
	for id := range ids {
		all = append(all, id)
	}
	slices.Sort(all)
	if err != nil {
		return nil, fmt.Errorf("ask every node: %w", err)
	}
	return all, nil
}

// informed is who can be asked for its INFO.
type informed interface {
	Info(ctx context.Context, sections ...string) *redis.StringCmd
}

// nameOf is what a server calls itself for as long as it is the master: one that has been replaced and comes back has
// another name. A server that has none tells which start of it this is, and all that tell nothing have the same empty name.
func nameOf(ctx context.Context, server informed) (string, error) {
	for _, name := range []struct{ section, field string }{{"replication", "master_replid:"}, {"server", "run_id:"}} {
		text, err := server.Info(ctx, name.section).Result()
		if err != nil && !redis.HasErrorPrefix(err, "") { // which is an answer, though not one to the question
			return "", fmt.Errorf("ask a server for its name: %w", err)
		}
		_, after, _ := strings.Cut(text, name.field)
		if id, _, _ := strings.Cut(after, "\r\n"); id != "" {
			return id, nil
		}
	}
	return "", nil
}
