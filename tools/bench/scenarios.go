package main

import (
	"context"
	cryptorand "crypto/rand"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// scenario is one kind of request, or a mix.
type scenario struct {
	name string
	// distinct is how many different requests of it there are to make: each is sent once when the cache is cold. 0 is
	// for requests without end.
	distinct int
	make     func(m *maker) (vegeta.Target, error)
	// reads are those of the requests without end that read: they are sent cold, and then warm.
	reads func(m *maker) (vegeta.Target, error)
	// beneath are the floors of a miss or a write, and beneathHit those of a hit. The first of them is what the goals are set by.
	beneath, beneathHit []string
	// ready prepares what the requests need.
	ready func(m *maker, ctx context.Context) error
}

const (
	nestedQuery = `query Board($projects: Int!, $tasks: Int!, $comments: Int!) {
	projects(first: $projects) { nodes { name tasks(first: $tasks) { nodes { title status assignee { name }
	comments(first: $comments) { nodes { body author { name } } } } } } } }`

	pageSize  = 50
	deepPages = 1000 // a walk by cursor goes so far
	deepKept  = 400  // and keeps the last of them as requests

	warming = 40_000 // reads of the mix before it is warm
)

// orders are those in which pages are asked for, as the API has them and in SQL.
//
//nolint:gochecknoglobals // a table, which nothing writes to
var orders = [...]struct{ name, sql string }{
	{"id", "id"},
	{"-id", "id DESC"},
	{"-created_at", "created_at DESC, id DESC"},
	{"priority", "priority, id"},
	{"due_date", "coalesce(due_date, 'infinity'), id"},
	{"-updated_at", "updated_at DESC, id DESC"},
}

func scenarios() []scenario {
	return []scenario{
		{
			name: "one task", distinct: 10000, make: (*maker).oneTask,
			beneath:    []string{"(c) two hops: one task", "(f) pieces: one task"},
			beneathHit: []string{"(b) a GET: one task", "(a) bytes: one task"},
		},
		{
			name: "fifty tasks of a project", distinct: 4000, make: (*maker).fifty,
			beneath:    []string{"(c) two hops: fifty tasks", "(f) pieces: fifty tasks"},
			beneathHit: []string{"(b) a GET: fifty tasks", "(a) bytes: fifty tasks"},
		},
		{
			name: "page 1,000 by cursor", distinct: deepKept, make: (*maker).deep, ready: (*maker).walk,
			beneath: []string{"(c) two hops: page 1,000"},
		},
		{
			name: "nested GraphQL query", distinct: 500, make: (*maker).nested,
			beneath:    []string{"(c) two hops: nested", "(e) engine: nested"},
			beneathHit: []string{"(b) a GET: nested", "(a) bytes: nested"},
		},
		{name: "create a task", make: (*maker).create, beneath: []string{"(c) two hops: create"}},
		{name: "create a task, with a key", make: (*maker).createKeyed, beneath: []string{"(c) two hops: create"}},
		{name: "change a task's status", make: (*maker).change, beneath: []string{"(c) two hops: change"}},
		{name: "mix, 80 % reads", make: (*maker).mix, reads: (*maker).mixRead, beneath: []string{"(b, c) mix without a miss"}},
	}
}

// maker makes requests, the same ones for the same seed.
type maker struct {
	*data

	url string
	run string // in idempotency keys: those of other runs are in the data still
	r   *rand.Rand
	// below gives the number of a thing of so many; in the mix some are more popular than others.
	below func(n int64) int64
	n     int64 // of this maker so far
	pages []string
}

func newMaker(d *data, url string, stream uint64) *maker {
	r := rand.New(rand.NewPCG(seed, stream)) //nolint:gosec // the same requests each time
	return &maker{data: d, url: url, run: cryptorand.Text(), r: r, below: r.Int64N}
}

func (m *maker) request(method, path string, user int64, body any) (vegeta.Target, error) {
	token, err := m.token(user)
	if err != nil {
		return vegeta.Target{}, err
	}
	t := vegeta.Target{Method: method, URL: m.url + path, Header: http.Header{"Authorization": {token}}}
	if body != nil {
		t.Header["Content-Type"] = []string{"application/json"}
		if t.Body, err = json.Marshal(body); err != nil {
			return t, err
		}
	}
	return t, nil
}

func (m *maker) oneTask() (vegeta.Target, error) {
	id, project := m.task()
	return m.request(http.MethodGet, "/api/tasks/"+strconv.FormatInt(id, 10)+"/", member(project, m.r), nil)
}

// fifty is a page of a project's tasks of one status, in one of a few orders, so that there are thousands of them.
func (m *maker) fifty() (vegeta.Target, error) {
	project := 1 + m.below(projects)
	q := url.Values{
		"project": {strconv.FormatInt(project, 10)}, "limit": {strconv.Itoa(pageSize)},
		"status":   {[]string{"todo", "in_progress", "done", "cancelled"}[m.r.IntN(4)]},
		"ordering": {orders[m.below(int64(len(orders)))].name},
	}
	return m.request(http.MethodGet, "/api/tasks/?"+q.Encode(), member(project, m.r), nil)
}

// walk goes by the Link headers from the first page of the big project, and keeps the addresses of the last ones.
func (m *maker) walk(ctx context.Context) error {
	token, err := m.token(1)
	if err != nil {
		return err
	}
	next := fmt.Sprintf("%s/api/tasks/?project=1&limit=%d", m.url, pageSize)
	for page := 1; page <= deepPages; page++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, next, http.NoBody)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			return fmt.Errorf("page %d answered %s: %w", page, res.Status, err)
		}
		if next = linkNext(res.Header); next == "" {
			return fmt.Errorf("page %d has no next one", page)
		}
		if strings.HasPrefix(next, "/") {
			next = m.url + next
		}
		if page > deepPages-deepKept {
			m.pages = append(m.pages, strings.TrimPrefix(next, m.url))
		}
	}
	return nil
}

// linkNext is the target of rel="next", RFC 8288.
func linkNext(h http.Header) string {
	for link := range strings.SplitSeq(h.Get("Link"), ",") {
		target, params, _ := strings.Cut(link, ";")
		if strings.Contains(params, `rel="next"`) {
			return strings.Trim(strings.TrimSpace(target), "<>")
		}
	}
	return ""
}

func (m *maker) deep() (vegeta.Target, error) {
	m.n++
	return m.request(http.MethodGet, m.pages[int(m.n)%len(m.pages)], 1, nil)
}

// nested is 20 projects with 10 tasks each, with assignee and comments with author, for one user after the other.
func (m *maker) nested() (vegeta.Target, error) {
	m.n++
	return m.request(http.MethodPost, "/graphql", m.n%users+1, map[string]any{
		"query": nestedQuery, "variables": map[string]int{"projects": projectsEach, "tasks": 10, "comments": 3},
	})
}

func (m *maker) create() (vegeta.Target, error) {
	m.n++
	project := 1 + m.below(projects)
	return m.request(http.MethodPost, "/api/tasks/", member(project, m.r), map[string]any{
		"project_id": project, "title": fmt.Sprintf("New task %d", m.n), "description": description,
	})
}

func (m *maker) createKeyed() (vegeta.Target, error) {
	t, err := m.create()
	t.Header["Idempotency-Key"] = []string{fmt.Sprintf("bench-%s-%d", m.run, m.n)}
	return t, err
}

// change gives a task another status, which it may have already. The status is another one in each run: in data that is kept,
// the same run again would change nothing.
func (m *maker) change() (vegeta.Target, error) {
	id, project := m.task()
	return m.request(http.MethodPatch, "/api/tasks/"+strconv.FormatInt(id, 10)+"/", member(project, m.r),
		map[string]any{"status": []string{"todo", "in_progress", "done", "cancelled"}[rand.IntN(4)]}) //nolint:gosec // which one does not matter
}

// mix is 80 % reads, and reads and writes what people look at most, in the order that they like best.
func (m *maker) mix() (vegeta.Target, error) {
	m.below = m.popular
	return m.mixOf(m.create, m.change, m.fifty, m.oneTask)
}

// mixRead is one of the reads of the mix.
func (m *maker) mixRead() (vegeta.Target, error) {
	m.below = m.popular
	return m.readOf(m.fifty, m.oneTask)
}

// mixOf is one of the requests, each as often as in the mix.
func (m *maker) mixOf(create, change, fifty, one func() (vegeta.Target, error)) (vegeta.Target, error) {
	switch m.r.IntN(10) { //nolint:mnd // two of them write
	case 0:
		return create()
	case 1:
		return change()
	default:
		return m.readOf(fifty, one)
	}
}

func (m *maker) readOf(fifty, one func() (vegeta.Target, error)) (vegeta.Target, error) {
	if m.r.IntN(8) < 3 { //nolint:mnd // three of eight
		return fifty()
	}
	return one()
}

// popular gives numbers by Zipf's law with the exponent 1.1: nine of ten requests are for a tenth of 200,000 tasks, and half of
// them for 50; or for 7 of 200 projects. The popular ones are spread over all.
func (m *maker) popular(n int64) int64 {
	const exponent, prime = 1.1, 1_000_003
	rank := rand.NewZipf(m.r, exponent, 1, uint64(n-1)).Uint64()
	return int64(rank*prime) % n
}

// task is a task and its project.
func (m *maker) task() (id, project int64) {
	id = 1 + m.below(int64(m.tasks))
	return id, projectOf(id)
}
