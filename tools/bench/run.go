package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// runner measures the scenarios of one running system.
type runner struct {
	*measure

	where  endpoints
	data   *data
	system *child
	mode   string
	floors *floors
	out    *table
	stream uint64 // of random numbers: no run repeats what another has sent, but for the warm ones
}

// scenario measures cold, missing and warm, or writes, at each number of connections.
func (r *runner) scenario(ctx context.Context, s scenario) error {
	for _, c := range r.Connections {
		r.stream++
		m := newMaker(r.data, r.where.URL, r.stream)
		if s.ready != nil {
			if err := s.ready(m, ctx); err != nil {
				return err
			}
		}
		if s.distinct == 0 {
			if err := r.endless(ctx, s, c, m); err != nil {
				return err
			}
			continue
		}
		targets := make([]vegeta.Target, s.distinct)
		for i := range targets {
			var err error
			if targets[i], err = s.make(m); err != nil {
				return err
			}
		}
		if err := flush(ctx, r.where.Redis); err != nil {
			return err
		}
		if err := r.attack(ctx, s.name, "cold", c, time.Minute, once(targets)); err != nil {
			return err
		}
		if err := r.forget(ctx, c); err != nil {
			return err
		}
		if err := r.attack(ctx, s.name, "miss", c, time.Minute, once(targets), s.beneath...); err != nil {
			return err
		}
		if err := r.attack(ctx, s.name, "warm", c, r.Duration, again(targets), s.beneathHit...); err != nil {
			return err
		}
	}
	return nil
}

// endless measures a scenario without end: as it is, or with reads in it, cold and then warm, which takes more reads than there
// are in so short a time.
func (r *runner) endless(ctx context.Context, s scenario, connections int, m *maker) error {
	if s.reads == nil {
		return r.attack(ctx, s.name, "", connections, r.Duration, endless(func() (vegeta.Target, error) { return s.make(m) }), s.beneath...)
	}
	if err := flush(ctx, r.where.Redis); err != nil {
		return err
	}
	if err := r.attack(ctx, s.name, "cold", connections, r.Duration, endless(func() (vegeta.Target, error) { return s.make(m) })); err != nil {
		return err
	}
	targets := make([]vegeta.Target, warming)
	for i := range targets {
		var err error
		if targets[i], err = s.reads(m); err != nil {
			return err
		}
	}
	if err := r.send(ctx, connections, targets); err != nil {
		return err
	}
	return r.attack(ctx, s.name, "warm", connections, r.Duration, endless(func() (vegeta.Target, error) { return s.make(m) }), s.beneath...)
}

// forget makes the cache cold, and has each user ask for something else then: what a miss costs is not what it costs to learn
// who is who again after Redis was emptied, which cold shows.
func (r *runner) forget(ctx context.Context, connections int) error {
	if err := flush(ctx, r.where.Redis); err != nil {
		return err
	}
	targets := make([]vegeta.Target, users)
	m := newMaker(r.data, r.where.URL, 0)
	for i := range targets {
		user := int64(i + 1)
		// No two of a project's members ask for as many, so that none is answered with what another was.
		path := fmt.Sprintf("/api/tasks/?project=%d&limit=%d", memberOf(user, 0), 1+i/projects)
		var err error
		if targets[i], err = m.request(http.MethodGet, path, user, nil); err != nil {
			return err
		}
	}
	return r.send(ctx, connections, targets)
}

// send sends each target once, and measures nothing.
func (r *runner) send(ctx context.Context, connections int, targets []vegeta.Target) error {
	t := newTally(connections, r.system)
	defer t.close()
	_, err := t.run(ctx, sendTimeout, once(targets))
	return err
}

// flush makes the cache cold.
func flush(ctx context.Context, url string) error {
	o, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	c := redis.NewClient(o)
	return errors.Join(c.FlushDB(ctx).Err(), c.Close())
}

// once gives each target once.
func once(targets []vegeta.Target) vegeta.Targeter {
	var mu sync.Mutex
	return func(t *vegeta.Target) error {
		mu.Lock()
		defer mu.Unlock()
		if len(targets) == 0 {
			return vegeta.ErrNoTargets
		}
		*t, targets = targets[0], targets[1:]
		return nil
	}
}

// again gives the targets in no order, without end.
func again(targets []vegeta.Target) vegeta.Targeter {
	return func(t *vegeta.Target) error {
		*t = targets[rand.IntN(len(targets))] //nolint:gosec // which one does not matter
		return nil
	}
}

// endless makes new requests, without end.
func endless(request func() (vegeta.Target, error)) vegeta.Targeter {
	var mu sync.Mutex
	return func(t *vegeta.Target) (err error) {
		mu.Lock()
		defer mu.Unlock()
		*t, err = request()
		return err
	}
}

// attack sends the targets over so many connections, each as soon as its last answer is there, until there are no more
// or the time is over, and adds what that took to the table, and what its floors took. They have their turns between: the speed
// of a machine changes, and what is compared must have the same.
func (r *runner) attack(ctx context.Context, name, state string, connections int, most time.Duration, targets vegeta.Targeter, beside ...string,
) error {
	var ours line
	us := newTally(connections, r.system)
	defer us.close()
	beside = r.floors.beside(beside)
	floors := make([]*tally, len(beside))
	turn := most
	for i := range beside {
		floors[i] = r.floors.tally(connections)
		defer floors[i].close()
		turn = slice
	}
	for left := most; left > 0; left -= turn {
		done, err := r.turn(ctx, us, &ours, min(turn, left), targets)
		if err != nil {
			return err
		}
		for i, f := range beside {
			if _, err := floors[i].run(ctx, min(turn, left), r.floors.targets(f)); err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
		}
		if done {
			break
		}
	}
	us.into(&ours)
	ours.mode, ours.name, ours.state = r.mode, name, state
	ours.allocations /= float64(ours.requests)
	for i, f := range beside {
		l := line{mode: "floor", name: f, allocations: -1}
		floors[i].into(&l)
		ours.floors = append(ours.floors, l)
	}
	r.out.add(ours)
	return nil
}

// turn is a part of our run.
func (r *runner) turn(ctx context.Context, t *tally, l *line, most time.Duration, targets vegeta.Targeter) (done bool, err error) {
	var first, second, last int64 // the second shows what it takes to look
	if err := errors.Join(r.system.stats(&first), r.system.stats(&second)); err != nil {
		return false, err
	}
	before, err := cacheHits(ctx, r.where.Redis)
	if err != nil {
		return false, err
	}
	if done, err = t.run(ctx, most, targets); err != nil {
		return false, err
	}
	if err := r.system.stats(&last); err != nil {
		return false, err
	}
	after, err := cacheHits(ctx, r.where.Redis)
	l.allocations += float64(last - second - (second - first))
	l.keys = l.keys.plus(after.since(before))
	return done, err
}

const (
	// slice is how long each has its turn.
	slice = time.Second
	// sendTimeout bounds what is sent without being measured, and requestTimeout each request.
	sendTimeout    = 5 * time.Minute
	requestTimeout = time.Minute
)

// tally is what the turns of one run took together.
type tally struct {
	of          []*child
	only        func(program string) bool // whose CPU time counts
	connections int
	client      *http.Client
	metrics     vegeta.Metrics
	took        time.Duration
	cost        usage
}

func newTally(connections int, of ...*child) *tally {
	return &tally{
		of: of, only: func(string) bool { return true }, connections: connections, cost: usage{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}, Timeout: requestTimeout},
	}
}

// close ends its connections: those of all earlier runs would be in the memory of the edge.
func (t *tally) close() { t.client.CloseIdleConnections() }

// run sends the targets for so long at most, and tells whether there are no more.
func (t *tally) run(ctx context.Context, most time.Duration, targets vegeta.Targeter) (done bool, err error) {
	attacker := vegeta.NewAttacker(vegeta.Client(t.client), vegeta.Workers(uint64(t.connections)), vegeta.MaxWorkers(uint64(t.connections)))
	before, err := usedBy(t.of)
	if err != nil {
		return false, err
	}
	began := time.Now()
	end := time.AfterFunc(most, func() { attacker.Stop() })
	defer end.Stop()
	for res := range attacker.Attack(targets, vegeta.ConstantPacer{}, 0, "") {
		if ctx.Err() != nil {
			attacker.Stop()
		}
		if res.Error == vegeta.ErrNoTargets.Error() {
			done = true // how it says that it has sent all
			continue
		}
		t.metrics.Add(res)
	}
	t.took += time.Since(began)
	after, err := usedBy(t.of)
	for name, d := range after.since(before) {
		if t.only(name) {
			t.cost[name] += d
		}
	}
	t.metrics.Close()
	return done, errors.Join(err, ctx.Err(), failures(&t.metrics))
}

// into writes what was found.
func (t *tally) into(l *line) {
	n := int(t.metrics.Requests)
	l.connections, l.requests, l.bytes = t.connections, n, int(t.metrics.BytesIn.Mean)
	l.rate, l.p50, l.p99 = float64(n)/t.took.Seconds(), t.metrics.Latencies.P50, t.metrics.Latencies.P99
	l.cpu, l.each = t.cost.total().Seconds()*1000/float64(n), t.cost.each(n)
}

func usedBy(children []*child) (usage, error) {
	all := usage{}
	for _, c := range children {
		u, err := used(c.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		for name, d := range u {
			all[name] += d
		}
	}
	return all, nil
}

// failures is an error unless all requests were answered well: what failed cost nothing that is worth knowing.
func failures(m *vegeta.Metrics) error {
	if m.Requests == 0 {
		return errors.New("no request was answered")
	}
	if m.Success == 1 {
		return nil
	}
	return fmt.Errorf("requests failed: %v %v", m.StatusCodes, strings.Join(m.Errors[:min(3, len(m.Errors))], "; "))
}

// lookups is what Redis says of its keys: those that were there and those that were not.
type lookups struct{ hits, misses int64 }

func (l lookups) plus(more lookups) lookups {
	return lookups{l.hits + more.hits, l.misses + more.misses}
}

func (l lookups) since(before lookups) lookups {
	return lookups{l.hits - before.hits, l.misses - before.misses}
}

// ratio is the share of the keys asked for that were there, or below 0 if none was asked for.
func (l lookups) ratio() float64 {
	if l.hits+l.misses == 0 {
		return -1
	}
	return float64(l.hits) / float64(l.hits+l.misses)
}

func cacheHits(ctx context.Context, url string) (lookups, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return lookups{}, err
	}
	c := redis.NewClient(o)
	info, err := c.InfoMap(ctx, "stats").Result()
	if err := errors.Join(err, c.Close()); err != nil {
		return lookups{}, err
	}
	var l lookups
	for _, section := range info {
		for name, into := range map[string]*int64{"keyspace_hits": &l.hits, "keyspace_misses": &l.misses} {
			if v, ok := section[name]; ok {
				if _, err := fmt.Sscan(v, into); err != nil {
					return lookups{}, err
				}
			}
		}
	}
	return l, nil
}

// memory notes what the processes hold after all that was asked of them.
func (r *runner) memory() {
	note, err := r.held()
	if err != nil {
		note = fmt.Sprintf("memory unknown: %v", err)
	}
	r.out.notes = append(r.out.notes, r.mode+": "+note)
}

func (r *runner) held() (string, error) {
	found, err := tree(r.system.cmd.Process.Pid)
	if err != nil {
		return "", err
	}
	by := map[string]resident{}
	var four resident
	for pid, p := range found {
		if p.name == "postgres" { // whose processes share most of it
			continue
		}
		m, err := residentOf(pid)
		if err != nil {
			return "", err
		}
		by[p.name] = by[p.name].plus(m)
		if slices.Contains(services, p.name) {
			four = four.plus(m)
		}
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%s %s", name, by[name]))
	}
	note := "resident memory at the end: " + strings.Join(parts, ", ")
	if four.own > 0 {
		note += fmt.Sprintf("; the four services together %s", four)
	}
	return note, nil
}
