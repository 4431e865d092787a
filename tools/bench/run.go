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
		if err := r.attack(ctx, s.name, "miss", c, time.Minute, once(targets)); err != nil {
			return err
		}
		if err := r.attack(ctx, s.name, "warm", c, r.Duration, again(targets)); err != nil {
			return err
		}
	}
	return nil
}

// endless measures a scenario without end: as it is, or with reads in it, cold and then warm, which takes more reads than there
// are in so short a time.
func (r *runner) endless(ctx context.Context, s scenario, connections int, m *maker) error {
	if s.reads == nil {
		return r.attack(ctx, s.name, "", connections, r.Duration, endless(m, s.make))
	}
	if err := flush(ctx, r.where.Redis); err != nil {
		return err
	}
	if err := r.attack(ctx, s.name, "cold", connections, r.Duration, endless(m, s.make)); err != nil {
		return err
	}
	targets := make([]vegeta.Target, warming)
	for i := range targets {
		var err error
		if targets[i], err = s.reads(m); err != nil {
			return err
		}
	}
	if _, err := closedLoop(ctx, []*child{r.system}, 5*time.Minute, connections, once(targets)); err != nil {
		return err
	}
	return r.attack(ctx, s.name, "warm", connections, r.Duration, endless(m, s.make))
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
	_, err := closedLoop(ctx, []*child{r.system}, time.Minute, connections, once(targets))
	return err
}

// flush makes the cache cold.
func flush(ctx context.Context, url string) error {
	o, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	c := redis.NewClient(o)
	return errors.Join(c.FlushAll(ctx).Err(), c.Close())
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
func endless(m *maker, request func(m *maker) (vegeta.Target, error)) vegeta.Targeter {
	var mu sync.Mutex
	return func(t *vegeta.Target) (err error) {
		mu.Lock()
		defer mu.Unlock()
		*t, err = request(m)
		return err
	}
}

// attack sends the targets over so many connections, each as soon as its last answer is there, until there are no more
// or the time is over, and adds what that took to the table.
func (r *runner) attack(ctx context.Context, name, state string, connections int, most time.Duration, targets vegeta.Targeter,
) error {
	var allocated, now int64
	if err := r.system.stats(&allocated); err != nil {
		return err
	}
	hits, err := cacheHits(ctx, r.where.Redis)
	if err != nil {
		return err
	}
	res, err := closedLoop(ctx, []*child{r.system}, most, connections, targets)
	if err != nil {
		return err
	}
	if err := r.system.stats(&now); err != nil {
		return err
	}
	later, err := cacheHits(ctx, r.where.Redis)
	if err != nil {
		return err
	}
	res.mode, res.name, res.state = r.mode, name, state
	res.allocations = float64(now-allocated) / float64(res.requests)
	res.hits = later.ratio(hits)
	r.out.add(res)
	return nil
}

// closedLoop measures the processes and all below them while the targets are sent.
func closedLoop(ctx context.Context, of []*child, most time.Duration, connections int, targets vegeta.Targeter) (line, error) {
	// Its connections end with it: those of all earlier runs would be in the memory of the edge.
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	attacker := vegeta.NewAttacker(vegeta.Client(&http.Client{Transport: transport}), vegeta.Workers(uint64(connections)), vegeta.MaxWorkers(uint64(connections)),
		vegeta.Connections(connections), vegeta.KeepAlive(true), vegeta.HTTP2(false), vegeta.Timeout(time.Minute))
	before, err := usedBy(of)
	if err != nil {
		return line{}, err
	}
	began := time.Now()
	var m vegeta.Metrics
	end := time.AfterFunc(most, func() { attacker.Stop() })
	defer end.Stop()
	for res := range attacker.Attack(targets, vegeta.ConstantPacer{}, 0, "") {
		if ctx.Err() != nil {
			attacker.Stop()
		}
		if res.Error == vegeta.ErrNoTargets.Error() {
			continue // how it says that it has sent all
		}
		m.Add(res)
	}
	took := time.Since(began)
	m.Close()
	after, err := usedBy(of)
	if err := errors.Join(err, ctx.Err(), failures(&m)); err != nil {
		return line{}, err
	}
	cost := after.since(before)
	n := int(m.Requests)
	return line{
		connections: connections, requests: n, rate: float64(n) / took.Seconds(), p50: m.Latencies.P50, p99: m.Latencies.P99,
		cpu: cost.total().Seconds() * 1000 / float64(n), each: cost.each(n), bytes: int(m.BytesIn.Mean),
	}, nil
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

// ratio is the share of the keys asked for since then that were there, or below 0 if none was asked for.
func (l lookups) ratio(before lookups) float64 {
	hits, misses := l.hits-before.hits, l.misses-before.misses
	if hits+misses == 0 {
		return -1
	}
	return float64(hits) / float64(hits+misses)
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
		if slices.Contains([]string{"users", "projects", "tasks", "edge"}, p.name) {
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
