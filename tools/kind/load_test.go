package kind

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trackway/trackway/tools/story"
)

// load are people who work all the time, and remember what was acknowledged.
type load struct {
	people  []*story.Person
	project int64

	mu    sync.Mutex
	acked map[string]int64 // title: id
	next  int
}

const (
	peopleAtWork = 4
	// betweenRounds makes a person send about 8 requests a second, which the default limits allow.
	betweenRounds = 350 * time.Millisecond
	// patience bounds one request, with all its attempts.
	patience = 90 * time.Second
)

// begin makes the people's accounts and their project.
func (l *load) begin(t *testing.T) {
	t.Helper()
	l.acked = map[string]int64{}
	for range peopleAtWork {
		// Everybody has connections of their own, and keeps them, as apps do.
		p, err := story.Register(t.Context(), story.Client{
			URL: address, HTTP: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}, Timeout: patience / 3},
		})
		if err != nil {
			t.Fatal(err)
		}
		l.people = append(l.people, p)
	}
	owner := l.people[0]
	var err error
	if l.project, err = owner.Create(t.Context(), "/api/projects/", story.Object{"name": "Load"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range l.people[1:] {
		me, err := p.Try(t.Context(), story.Request{Method: http.MethodGet, Path: "/api/users/me/"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := owner.Create(t.Context(), fmt.Sprintf("/api/projects/%d/members/", l.project),
			story.Object{"user_id": story.ID(me.Object()), "role": "member"}); err != nil {
			t.Fatal(err)
		}
	}
}

// result counts the requests of a time under load.
type result struct {
	requests, retries int
	failures          []string // what no attempt brought
	slowest           time.Duration
}

// during has everybody at work while do does something to the cluster, and two seconds longer. With insist they try
// again what fails, with the same key; without, each failure counts.
func (l *load) during(t *testing.T, insist bool, do func()) {
	t.Helper()
	if l.people == nil {
		l.begin(t)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var (
		r    result
		mu   sync.Mutex
		work sync.WaitGroup
	)
	for _, p := range l.people {
		if err := p.SignIn(ctx); err != nil {
			t.Fatal(err)
		}
		work.Go(func() {
			for ctx.Err() == nil {
				// What has begun is finished.
				one := l.round(context.WithoutCancel(ctx), p, insist)
				mu.Lock()
				r.requests, r.retries, r.slowest = r.requests+one.requests, r.retries+one.retries, max(r.slowest, one.slowest)
				r.failures = append(r.failures, one.failures...)
				mu.Unlock()
				select {
				case <-ctx.Done():
				case <-time.After(betweenRounds):
				}
			}
		})
	}
	do()
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
	}
	stop()
	work.Wait()
	t.Logf("%d requests, %d failed attempts tried again, %d failed; the slowest took %v", r.requests, r.retries,
		len(r.failures), r.slowest.Round(time.Millisecond))
	for _, f := range r.failures[:min(len(r.failures), 10)] {
		t.Error(f)
	}
	if len(r.failures) > 0 {
		t.Errorf("%d of %d requests failed, want none", len(r.failures), r.requests)
	}
	l.check(t)
}

// round makes a task, reads the list, and reads by GraphQL.
func (l *load) round(ctx context.Context, p *story.Person, insist bool) (r result) {
	l.mu.Lock()
	title := fmt.Sprintf("task %d", l.next)
	l.next++
	l.mu.Unlock()
	send := func(want int, req story.Request) (story.Answer, bool) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		start := time.Now()
		var a story.Answer
		var failed int
		var err error
		if insist {
			a, failed, err = p.Insist(ctx, req)
		} else {
			a, err = p.Try(ctx, req)
		}
		r.requests, r.retries, r.slowest = r.requests+1, r.retries+failed, max(r.slowest, time.Since(start))
		switch {
		case err != nil:
			r.failures = append(r.failures, fmt.Sprintf("%s %s: %v", time.Now().Format(time.TimeOnly), req.Path, err))
		case a.Status != want:
			r.failures = append(r.failures, fmt.Sprintf("%s %s answered %d, want %d: %v", time.Now().Format(time.TimeOnly),
				req.Path, a.Status, want, a.Body))
		default:
			return a, true
		}
		return a, false
	}
	made, ok := send(http.StatusCreated, story.Request{
		Method: http.MethodPost, Path: "/api/tasks/", Key: fmt.Sprintf("%s of %d", title, l.project),
		Body: story.Object{"project_id": l.project, "title": title},
	})
	if ok {
		l.mu.Lock()
		l.acked[title] = story.ID(made.Object())
		l.mu.Unlock()
	}
	send(http.StatusOK, story.Request{
		Method: http.MethodGet, Path: fmt.Sprintf("/api/tasks/?project=%d&ordering=-id&limit=5", l.project),
	})
	send(http.StatusOK, story.Request{
		Method: http.MethodPost, Path: "/graphql",
		Body: story.Object{"query": fmt.Sprintf(`{ project(id: "%d") { name tasks(first: 3) { nodes { title creator { name } } } } }`, l.project)},
	})
	return r
}

// check expects every acknowledged task, by its id, and nothing twice.
func (l *load) check(t *testing.T) {
	t.Helper()
	p := l.people[0]
	found := map[string][]int64{}
	next := fmt.Sprintf("/api/tasks/?project=%d&ordering=id&limit=100", l.project)
	for next != "" {
		a, _, err := p.Insist(t.Context(), story.Request{Method: http.MethodGet, Path: next})
		if err != nil || a.Status != http.StatusOK {
			t.Fatalf("read the tasks: %v, %d %v", err, a.Status, a.Body)
		}
		tasks, _ := a.Body.([]any)
		for _, task := range tasks {
			task, _ := task.(story.Object)
			title := fmt.Sprint(task["title"])
			found[title] = append(found[title], story.ID(task))
		}
		next = following(a)
	}
	for title, id := range l.acked {
		if got := found[title]; !slices.Equal(got, []int64{id}) {
			t.Errorf("%s was acknowledged as %d, and is found as %d", title, id, got)
		}
	}
	for title, ids := range found {
		if len(ids) > 1 {
			t.Errorf("%s is there %d times: %d", title, len(ids), ids)
		}
	}
}

// following is the path of the next page, or empty.
func following(a story.Answer) string {
	for l := range strings.SplitSeq(a.Header.Get("Link"), ", ") {
		if target, ok := strings.CutSuffix(l, `>; rel="next"`); ok {
			return strings.TrimPrefix(strings.TrimPrefix(target, "<"), address)
		}
	}
	return ""
}
