package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Twenty clients send the same request with the same key, the system is killed with some of them answered, and all of
// them send it again: there is one row and one event, and every answer tells of that row.
func TestOneKeySentByTwentyThroughAKillMakesOneThing(t *testing.T) {
	t.Parallel()
	const senders, rounds = 20, 3
	dir := dataDir(t)
	p := start(t, dir)
	c, _ := register(t, p.url, "Kay Key", "kay@example.org")
	project := c.create("/api/projects/", object{"name": "Once"})["id"]
	for round := range rounds {
		title := fmt.Sprintf("only %d", round)
		// together sends it from all; each answer goes to seen.
		together := func(ctx context.Context, seen func(a answer, err error)) {
			var wait sync.WaitGroup
			begin := make(chan struct{})
			for range senders {
				wait.Go(func() {
					<-begin
					seen(c.try(ctx, http.MethodPost, "/api/tasks/", object{"project_id": project, "title": title},
						"Idempotency-Key", title))
				})
			}
			close(begin)
			wait.Wait()
		}
		ids := map[any]bool{}
		var mu sync.Mutex
		note := func(a answer) {
			mu.Lock()
			defer mu.Unlock()
			switch a.status {
			case http.StatusCreated:
				made, ok := a.body.(object)
				if !ok {
					t.Errorf("a created task is %v", a.body)
				}
				ids[made["id"]] = true
			case http.StatusConflict: // the first is still at work
			default:
				t.Errorf("it is answered with %d: %v", a.status, a.body)
			}
		}
		var first sync.Once
		ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
		together(ctx, func(a answer, err error) {
			if round > 0 { // the first round is killed only after all have been answered
				first.Do(func() { p.signal(syscall.SIGKILL) })
			}
			if err == nil && a.status < http.StatusInternalServerError {
				note(a)
			}
		})
		if round == 0 {
			p.signal(syscall.SIGKILL)
		}
		cancel()
		p.await()
		p = start(t, dir)
		c.url = p.url
		together(t.Context(), func(a answer, err error) {
			if err != nil {
				t.Errorf("after the restart: %v", err)
				return
			}
			note(a)
		})
		last := c.do(http.StatusCreated, http.MethodPost, "/api/tasks/", object{"project_id": project, "title": title},
			"Idempotency-Key", title)
		note(last)
		if len(ids) != 1 || last.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("round %d: the answers tell of the tasks %v, want one, and the last to be a repetition", round, ids)
		}
		tasks := p.open("tasks")
		for what, query := range map[string]string{
			"rows":   `SELECT id::text FROM tasks WHERE title = $1`,
			"events": `SELECT e.subject_id::text FROM events e JOIN tasks t ON t.id = e.subject_id WHERE t.title = $1`,
		} {
			if got := column(t, tasks, query, title); len(got) != 1 {
				t.Errorf("round %d: there are the %s %q, want one", round, what, got)
			}
		}
	}
}

// Of several who change the same version at the same moment exactly one succeeds; the others are told 412, and what
// is there is what the winner wrote.
func TestOfConcurrentChangesToOneVersionExactlyOneWins(t *testing.T) {
	t.Parallel()
	const rounds, writers = 60, 2
	p := start(t, dataDir(t))
	c, _ := register(t, p.url, "Vera Version", "vera@example.org")
	project := c.create("/api/projects/", object{"name": "Race"})
	task := c.create("/api/tasks/", object{"project_id": project["id"], "title": "Race"})
	comment := c.create("/api/comments/", object{"task_id": task["id"], "body": "Race"})
	for what, field := range map[string]string{
		path("/api/projects/%d/", project["id"]):    "name",
		path("/api/tasks/%d/", task["id"]):          "title",
		path("/api/comments/%d/", comment["id"]):    "body",
		path("/api/users/%d/", project["owner_id"]): "name",
	} {
		for round := range rounds {
			tag := c.do(http.StatusOK, http.MethodGet, what, nil).header.Get("ETag")
			var (
				wait    sync.WaitGroup
				begin   = make(chan struct{})
				answers [writers]answer
				errs    [writers]error
			)
			for n := range writers {
				wait.Go(func() {
					<-begin
					answers[n], errs[n] = c.try(t.Context(), http.MethodPatch, what,
						object{field: fmt.Sprintf("round %d by %d", round, n)}, "If-Match", tag)
				})
			}
			close(begin)
			wait.Wait()
			var won []any
			for n, a := range answers {
				switch {
				case errs[n] != nil:
					t.Fatal(errs[n])
				case a.status == http.StatusOK:
					won = append(won, as[object](t, a.body)[field])
				case a.status != http.StatusPreconditionFailed:
					t.Errorf("%s: a change is answered with %d: %v", what, a.status, a.body)
				}
			}
			if got := c.get(what)[field]; len(won) != 1 || got != won[0] {
				t.Fatalf("%s, round %d: %v won, and %v is there", what, round, won, got)
			}
		}
	}
}

// Every list is walked by its links in every order that it offers, forwards and back, while others insert and delete:
// what is there all the time is met once, in the order of a walk.
func TestWalksInEveryOrderMeetWhatStaysOnce(t *testing.T) {
	t.Parallel()
	const stay = 23
	p := start(t, dataDir(t))
	c, _ := register(t, p.url, "Walter Walk", "walter@example.org")
	project := c.create("/api/projects/", object{"name": "Walk", "description": "Stay with it."})["id"]
	var task any
	stays := map[string][]any{} // by the path of the list
	for i := range stay {
		n := object{"project_id": project, "title": fmt.Sprintf("same %d", i%3), "priority": []any{"low", "high"}[i%2]}
		if i%4 > 0 {
			n["due_date"] = fmt.Sprintf("2031-03-%02d", 1+i%4)
		}
		task = as[object](t, c.do(http.StatusCreated, http.MethodPost, "/api/tasks/", n).body)["id"]
		stays["/api/tasks/"] = append(stays["/api/tasks/"], task)
	}
	for range stay {
		comment := c.do(http.StatusCreated, http.MethodPost, "/api/comments/", object{"task_id": task, "body": "Stay."})
		stays["/api/comments/"] = append(stays["/api/comments/"], as[object](t, comment.body)["id"])
		made := c.do(http.StatusCreated, http.MethodPost, "/api/projects/", object{"name": "Stay"})
		stays["/api/projects/"] = append(stays["/api/projects/"], as[object](t, made.body)["id"])
	}
	stays["/api/projects/"] = append(stays["/api/projects/"], project)
	for i := range stay {
		made := c.do(http.StatusCreated, http.MethodPost, "/api/auth/register/",
			object{"name": fmt.Sprintf("Stay %d", i%2), "email": fmt.Sprintf("stay%d@example.org", i), "password": passphrase})
		id := as[object](t, made.body)["id"]
		c.do(http.StatusCreated, http.MethodPost, path("/api/projects/%d/members/", project), object{"user_id": id, "role": "viewer"})
		stays["/api/users/"] = append(stays["/api/users/"], id)
		members := path("/api/projects/%d/members/", project)
		stays[members] = append(stays[members], id)
	}
	for from, to := range map[string]string{
		"/api/tasks/":    path("/api/projects/%d/tasks/", project),
		"/api/comments/": path("/api/tasks/%d/comments/", task),
	} {
		stays[to] = stays[from]
	}

	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	churn := func(where string, body func(i int) object) {
		wait.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				a, err := c.try(ctx, http.MethodPost, where, body(i))
				if err != nil {
					continue // the end
				}
				made, ok := a.body.(object)
				if a.status != http.StatusCreated || !ok {
					t.Errorf("POST %s while walking: %d %v", where, a.status, a.body)
					return
				}
				if i%3 > 0 {
					_, _ = c.try(ctx, http.MethodDelete, path(where+"%d/", made["id"]), nil) // fails only at the end
				}
			}
		})
	}
	churn("/api/tasks/", func(i int) object {
		return object{"project_id": project, "title": fmt.Sprintf("same %d", i%3), "priority": "high", "due_date": "2031-03-02"}
	})
	churn("/api/comments/", func(int) object { return object{"task_id": task, "body": "Go."} })
	churn("/api/projects/", func(int) object { return object{"name": "Stay"} })
	defer func() { cancel(); wait.Wait() }()

	offered := orders(readSpec(t, p.url))
	for _, list := range slices.Sorted(maps.Keys(stays)) {
		all := offered[template(list)]
		if len(all) == 0 {
			t.Errorf("%s offers no order", list)
		}
		if strings.HasSuffix(list, "/tasks/") {
			all = append(all, "-due_date,id", "priority,-due_date,title", "-relevance,number")
		}
		for _, order := range append(all, "") {
			walk(t, c, list, order, stays[list])
		}
	}
}

// orders gives the values of `ordering` of each list of the document.
func orders(s *spec) map[string][]string {
	s.t.Helper()
	all := map[string][]string{}
	for _, op := range s.operations() {
		for _, p := range op.parameters {
			if op.method != http.MethodGet || p["name"] != "ordering" {
				continue
			}
			schema := as[object](s.t, p["schema"])
			if items, ok := schema["items"].(object); ok {
				schema = items
			}
			for _, value := range as[[]any](s.t, schema["enum"]) {
				if order := as[string](s.t, value); !strings.HasSuffix(order, "deleted_at") { // the trash has it only
					all[op.path] = append(all[op.path], order)
				}
			}
		}
	}
	return all
}

// template is the path of a list as the document has it.
func template(list string) string {
	parts := strings.Split(list, "/")
	if len(parts) > 4 {
		parts[3] = "{id}"
	}
	return strings.Join(parts, "/")
}

// walk follows next to the end and prev back, and expects what stays once in each direction.
func walk(t *testing.T, c *client, list, order string, stay []any) {
	t.Helper()
	const most = 400 // pages; the list grows while it is walked
	next := list + "?limit=7"
	if order != "" {
		next += "&ordering=" + order
	}
	if strings.Contains(order, "relevance") {
		next += "&search=" + map[bool]string{true: "sam", false: "sta"}[strings.HasSuffix(list, "/tasks/")] // what all are found by
	}
	key := "id"
	if strings.Contains(list, "members") {
		key = "user_id"
	}
	met := func(a answer) (found []any) {
		for _, item := range objects(t, a.body) {
			if slices.Contains(stay, item[key]) {
				found = append(found, item[key])
			}
		}
		return found
	}
	var (
		there, back []any
		previous    string
	)
	for pages := 0; next != "" && pages < most; pages++ {
		a := c.do(http.StatusOK, http.MethodGet, next, nil)
		there = append(there, met(a)...)
		next = link(a, "next")
		back, previous = met(a), link(a, "prev") // from the last page the way back begins
	}
	for pages := 0; previous != "" && pages < most; pages++ {
		a := c.do(http.StatusOK, http.MethodGet, previous, nil)
		back = append(met(a), back...)
		previous = link(a, "prev")
	}
	sorted := func(ids []any) []string {
		var all []string
		for _, id := range ids {
			all = append(all, path("%d", id))
		}
		slices.Sort(all)
		return all
	}
	want := sorted(stay)
	if diff := cmp.Diff(sorted(there), want); diff != "" {
		t.Errorf("%s in the order %q, forwards, meets other things than stay (-got +want):\n%s", list, order, diff)
	}
	if diff := cmp.Diff(sorted(back), want); diff != "" {
		t.Errorf("%s in the order %q, backwards, meets other things than stay (-got +want):\n%s", list, order, diff)
	}
}

// link is a target of the header Link; "" if there is none.
func link(a answer, rel string) string {
	for l := range strings.SplitSeq(a.header.Get("Link"), ", ") {
		if target, ok := strings.CutSuffix(l, `>; rel="`+rel+`"`); ok {
			return strings.TrimPrefix(target, "<")
		}
	}
	return ""
}
