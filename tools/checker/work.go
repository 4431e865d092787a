package checker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	registers      = 6 // tasks whose titles are written and read
	writers        = 4
	readers        = 6
	requestTimeout = 15 * time.Second
	// crowd is about how many tasks the list holds that tasks are added to and taken from: it is read on one page.
	crowd = 20

	cardTitle = "card"
	password  = "correct horse"
)

// person signs in once.
type person struct {
	id    int64
	token string
}

// world is what the clients work on.
type world struct {
	doors         []string
	http          *http.Client
	history       *history
	owner, guest  person
	project, list int64 // that of the registers, and that of the list
	tasks         []int64
	card          int64 // a task whose status is written and read
}

// errUnclear is a failure after which nobody knows what has happened.
var errUnclear = errors.New("unclear")

// call sends a request to a door, and reads a JSON answer. 4xx is a status and no error.
func (w *world) call(ctx context.Context, door int, as person, method, path, body string, into any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.doors[door]+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if as.token != "" {
		req.Header.Set("Authorization", "Bearer "+as.token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := w.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errUnclear, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= http.StatusInternalServerError {
		return res.StatusCode, fmt.Errorf("%w: %d %s", errUnclear, res.StatusCode, text)
	}
	if res.StatusCode < http.StatusMultipleChoices && into != nil {
		if err := json.Unmarshal(text, into, json.MatchCaseInsensitiveNames(true)); err != nil {
			return res.StatusCode, fmt.Errorf("read %s %s: %w", method, path, err)
		}
	}
	if path == "/graphql" && bytes.Contains(text, []byte(`"errors":`)) {
		return res.StatusCode, fmt.Errorf("%w: %s", errUnclear, text)
	}
	return res.StatusCode, nil
}

// must is call for what has to succeed before the faults begin.
func (w *world) must(ctx context.Context, as person, path, body string, into any) error {
	status, err := w.call(ctx, 0, as, http.MethodPost, path, body, into)
	if err == nil && status >= http.StatusMultipleChoices {
		err = fmt.Errorf("POST %s: %d", path, status)
	}
	return err
}

type thing struct {
	ID    int64
	Title string
}

// newWorld makes the people and things.
func newWorld(ctx context.Context, doors []string) (*world, error) {
	w := &world{
		doors: doors, history: newHistory(),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}},
	}
	for _, p := range []struct {
		name string
		to   *person
	}{{"owner", &w.owner}, {"guest", &w.guest}} {
		account := fmt.Sprintf(`{"name": %q, "email": "%s@example.org", "password": %q}`, p.name, p.name, password)
		if err := w.must(ctx, person{}, "/api/auth/register/", account, nil); err != nil {
			return nil, err
		}
		var got struct {
			AccessToken string `json:"access_token"`
			User        thing
		}
		login := fmt.Sprintf(`{"email": "%s@example.org", "password": %q}`, p.name, password)
		if err := w.must(ctx, person{}, "/api/auth/login/", login, &got); err != nil {
			return nil, err
		}
		*p.to = person{got.User.ID, got.AccessToken}
	}
	for _, id := range []*int64{&w.project, &w.list} {
		var got thing
		if err := w.must(ctx, w.owner, "/api/projects/", `{"name": "Checked"}`, &got); err != nil {
			return nil, err
		}
		*id = got.ID
	}
	for i := range registers {
		value := fmt.Sprintf("r%d first", i)
		var got thing
		called := w.history.now()
		if err := w.must(ctx, w.owner, fmt.Sprintf("/api/projects/%d/tasks/", w.project),
			fmt.Sprintf(`{"title": %q}`, value), &got); err != nil {
			return nil, err
		}
		w.tasks = append(w.tasks, got.ID)
		w.history.add(register(i), op{write: true, value: value, called: called, ended: w.history.now(), how: "the start"})
	}
	var card thing
	if err := w.must(ctx, w.owner, fmt.Sprintf("/api/projects/%d/tasks/", w.project), fmt.Sprintf(`{"title": %q}`, cardTitle), &card); err != nil {
		return nil, err
	}
	w.card = card.ID
	w.history.add("column", op{write: true, value: "todo", called: 0, ended: w.history.now(), how: "the start"})
	w.history.add("guest", op{write: true, value: "out", called: 0, ended: w.history.now(), how: "the start"})
	return w, nil
}

func register(i int) string { return fmt.Sprintf("title of r%d", i) }

// run has all clients work until ctx ends.
func (w *world) run(ctx context.Context, seed uint64) {
	var all sync.WaitGroup
	client := 0
	work := func(n int, do func(ctx context.Context, client int, r *rand.Rand)) {
		for range n {
			client++
			id, r := client, rand.New(rand.NewPCG(seed, uint64(client))) //nolint:gosec // to be repeated
			all.Go(func() {
				for ctx.Err() == nil {
					do(context.WithoutCancel(ctx), id, r)
				}
			})
		}
	}
	work(writers, w.write)
	work(readers, w.read)
	work(2, w.grow) //nolint:mnd // enough to meet
	work(2, w.look) //nolint:mnd // see above
	work(1, w.invite)
	work(2, w.visit) //nolint:mnd // see above
	work(1, w.shift)
	work(2, w.column) //nolint:mnd // see above
	all.Wait()
}

// write gives a task another title, by REST or GraphQL.
func (w *world) write(ctx context.Context, client int, r *rand.Rand) {
	i, door := r.IntN(registers), r.IntN(len(w.doors))
	value := fmt.Sprintf("r%d %s", i, unique())
	o := op{client: client, write: true, value: value, called: w.history.now()}
	var status int
	var err error
	if r.IntN(2) == 0 {
		o.how = fmt.Sprintf("PATCH at door %d", door)
		status, err = w.call(ctx, door, w.owner, http.MethodPatch, fmt.Sprintf("/api/tasks/%d/", w.tasks[i]), fmt.Sprintf(`{"title": %q}`, value), nil)
	} else {
		o.how = fmt.Sprintf("a mutation at door %d", door)
		status, err = w.call(ctx, door, w.owner, http.MethodPost, "/graphql",
			query(`mutation($id: ID!, $title: String!) { updateTask(input: {id: $id, title: $title}) { userErrors { message } task { title } } }`,
				map[string]any{"id": fmt.Sprint(w.tasks[i]), "title": value}), nil)
	}
	o.ended = w.history.now()
	o.unknown = err != nil || status != http.StatusOK
	w.history.add(register(i), o)
}

// read reads titles, by REST or GraphQL, one or all.
func (w *world) read(ctx context.Context, client int, r *rand.Rand) {
	i, door := r.IntN(registers), r.IntN(len(w.doors))
	called := w.history.now()
	var (
		found []thing
		how   string
		err   error
	)
	switch r.IntN(4) {
	case 0, 1: //nolint:mnd // as often as all others
		var got thing
		how = "GET of the task"
		_, err = w.call(ctx, door, w.owner, http.MethodGet, fmt.Sprintf("/api/tasks/%d/", w.tasks[i]), "", &got)
		found = []thing{got}
	case 2: //nolint:mnd // see above
		how = "GET of the list"
		_, err = w.call(ctx, door, w.owner, http.MethodGet, fmt.Sprintf("/api/tasks/?project=%d&limit=50", w.project), "", &found)
	default:
		how = "a query"
		found, err = w.queryTasks(ctx, door, w.project)
	}
	ended := w.history.now()
	if err != nil {
		return
	}
	for _, t := range found {
		var register int
		if n, err := fmt.Sscanf(t.Title, "r%d ", &register); n != 1 || err != nil {
			continue
		}
		w.history.add(fmt.Sprintf("title of r%d", register), op{
			client: client, value: t.Title, called: called, ended: ended, how: fmt.Sprintf("%s at door %d", how, door),
		})
	}
}

// queryTasks lists a project's tasks by GraphQL.
func (w *world) queryTasks(ctx context.Context, door int, project int64) ([]thing, error) {
	var got struct {
		Data struct {
			Project struct {
				Tasks struct{ Nodes []struct{ Title string } }
			}
		}
	}
	_, err := w.call(ctx, door, w.owner, http.MethodPost, "/graphql",
		query(`query($id: ID!) { project(id: $id) { tasks(first: 100) { nodes { title } } } }`, map[string]any{"id": fmt.Sprint(project)}), &got)
	var found []thing
	for _, t := range got.Data.Project.Tasks.Nodes {
		found = append(found, thing{Title: t.Title})
	}
	return found, err
}

func query(text string, variables map[string]any) string {
	body, err := json.Marshal(map[string]any{"query": text, "variables": variables})
	if err != nil {
		panic(err) // of texts
	}
	return string(body)
}

// grow adds a task to the list, or takes one away that it has added.
func (w *world) grow(ctx context.Context, client int, r *rand.Rand) {
	door := r.IntN(len(w.doors))
	title := fmt.Sprintf("%d %s", client, unique())
	t := &life{madeAt: never, goneAt: never, deleting: never, making: w.history.now()}
	var got thing
	status, err := w.call(ctx, door, w.owner, http.MethodPost, fmt.Sprintf("/api/projects/%d/tasks/", w.list), fmt.Sprintf(`{"title": %q}`, title), &got)
	w.history.mu.Lock()
	w.history.count++
	if err == nil && status == http.StatusCreated {
		t.madeAt = w.history.now()
		w.history.made[title] = t
	}
	w.history.mu.Unlock()
	if t.madeAt == never || r.IntN(crowd) == 0 { // some stay
		return
	}
	w.history.mu.Lock()
	t.deleting = w.history.now()
	w.history.mu.Unlock()
	status, err = w.call(ctx, r.IntN(len(w.doors)), w.owner, http.MethodDelete, fmt.Sprintf("/api/tasks/%d/", got.ID), "", nil)
	w.history.mu.Lock()
	defer w.history.mu.Unlock()
	w.history.count++
	if err == nil && status == http.StatusNoContent {
		t.goneAt = w.history.now()
	}
}

// look reads the list.
func (w *world) look(ctx context.Context, _ int, r *rand.Rand) {
	door := r.IntN(len(w.doors))
	l := listing{called: w.history.now(), found: map[string]bool{}, how: fmt.Sprintf("REST at door %d", door)}
	var (
		found []thing
		err   error
	)
	if r.IntN(2) == 0 {
		_, err = w.call(ctx, door, w.owner, http.MethodGet, fmt.Sprintf("/api/projects/%d/tasks/?limit=100&ordering=-id", w.list), "", &found)
	} else {
		l.how = fmt.Sprintf("GraphQL at door %d", door)
		found, err = w.queryTasks(ctx, door, w.list)
	}
	l.ended = w.history.now()
	if err != nil || len(found) == 100 { // more than a page
		return
	}
	for _, t := range found {
		l.found[t.Title] = true
	}
	w.history.mu.Lock()
	defer w.history.mu.Unlock()
	w.history.count++
	w.history.lists = append(w.history.lists, l)
}

// invite makes the guest a member, and no member any more.
func (w *world) invite(ctx context.Context, client int, r *rand.Rand) {
	members := fmt.Sprintf("/api/projects/%d/members/", w.project)
	for _, step := range []struct{ value, method, path, body string }{
		{"in", http.MethodPost, members, fmt.Sprintf(`{"user_id": %d, "role": "viewer"}`, w.guest.id)},
		{"out", http.MethodDelete, fmt.Sprintf("%s%d/", members, w.guest.id), ""},
	} {
		door := r.IntN(len(w.doors))
		o := op{client: client, write: true, called: w.history.now(), how: fmt.Sprintf("%s at door %d", step.method, door)}
		// Who has done it before, and was not told, is refused.
		status, err := w.call(ctx, door, w.owner, step.method, step.path, step.body, nil)
		o.ended, o.value = w.history.now(), step.value
		o.unknown = err != nil
		if err != nil || status < http.StatusMultipleChoices {
			w.history.add("guest", o)
		}
		for range 3 { // as others would
			w.visit(ctx, client, r)
		}
	}
}

// shift puts the card in the other column of the board, by each of the ways there are.
func (w *world) shift(ctx context.Context, client int, r *rand.Rand) {
	for _, to := range []string{"done", "todo"} {
		door := r.IntN(len(w.doors))
		how := []struct{ name, method, path, body string }{
			{"PATCH", http.MethodPatch, fmt.Sprintf("/api/tasks/%d/", w.card), fmt.Sprintf(`{"status": %q}`, to)},
			{"PATCH of many", http.MethodPatch, "/api/tasks/bulk/", fmt.Sprintf(`{"tasks": [{"id": %d, "status": %q}]}`, w.card, to)},
			{"a move", http.MethodPost, fmt.Sprintf("/api/tasks/%d/move/", w.card), fmt.Sprintf(`{"after_id": %d, "status": %q}`, w.tasks[0], to)},
		}[r.IntN(3)]
		o := op{client: client, write: true, value: to, called: w.history.now(), how: fmt.Sprintf("%s at door %d", how.name, door)}
		status, err := w.call(ctx, door, w.owner, how.method, how.path, how.body, nil)
		o.ended = w.history.now()
		o.unknown = err != nil || status != http.StatusOK
		w.history.add("column", o)
		for range 3 { // as others would
			w.column(ctx, client, r)
		}
	}
}

// column looks whether the card is in a column.
func (w *world) column(ctx context.Context, client int, r *rand.Rand) {
	door, columns := r.IntN(len(w.doors)), []string{"todo", "done"}
	at := r.IntN(len(columns))
	o := op{client: client, called: w.history.now(), how: fmt.Sprintf("GET of what is %s at door %d", columns[at], door)}
	var found []thing
	status, err := w.call(ctx, door, w.owner, http.MethodGet,
		fmt.Sprintf("/api/projects/%d/tasks/?limit=50&status=%s", w.project, columns[at]), "", &found)
	o.ended = w.history.now()
	if err != nil || status != http.StatusOK {
		return
	}
	if !slices.ContainsFunc(found, func(t thing) bool { return t.Title == cardTitle }) {
		at = 1 - at
	}
	o.value = columns[at]
	w.history.add("column", o)
}

// visit looks whether the guest sees a task.
func (w *world) visit(ctx context.Context, client int, r *rand.Rand) {
	door := r.IntN(len(w.doors))
	o := op{client: client, called: w.history.now(), how: fmt.Sprintf("GET at door %d", door)}
	status, err := w.call(ctx, door, w.guest, http.MethodGet, fmt.Sprintf("/api/tasks/%d/", w.tasks[0]), "", nil)
	o.ended = w.history.now()
	switch {
	case err != nil:
		return
	case status == http.StatusOK:
		o.value = "in"
	case status == http.StatusNotFound:
		o.value = "out"
	default:
		return
	}
	w.history.add("guest", o)
}
