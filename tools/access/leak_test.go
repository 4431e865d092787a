package access

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/trackway/trackway/graph/relay"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// usedKey is an idempotency key that the owner has used.
const usedKey = "used by the owner"

// probe is what a stranger sends to find out whether something exists.
type probe struct {
	op     operation
	with   want
	header [2]string // one header more
}

// leaks compares what is answered about a scene that is hidden from the stranger with what is answered about none.
type leaks struct {
	testing.TB
	*world

	stranger              int64
	hidden, none, nothing scene
}

// For every operation that takes an id, with every parameter and header that could make a difference, a hidden thing is
// answered like one that never was: to the byte, and by the same RPCs and statements.
func TestAHiddenThingIsLikeNone(t *testing.T) {
	t.Parallel()
	l := newLeaks(t)
	operations := restOperations(t)
	maps.Copy(operations, graphFields())
	compared := 0
	for _, r := range table() {
		if r.anywhere || r.rule(caller{user: l.stranger}, places()[0]) != errs.NotFound {
			continue
		}
		for name := range strings.FieldsSeq(r.rest + " " + r.graphql) {
			if strings.HasPrefix(name, "Subscription.") {
				continue // TestAHiddenProjectsStreamIsLikeNone compares those
			}
			for _, p := range probes(operations[name], r.with) {
				l.compare(strings.TrimSpace(name+" "+r.about), p)
				compared++
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(operations)) {
		for _, with := range l.references()[name] {
			l.compare(name+" with a reference", probe{op: operations[name], with: with})
			compared++
		}
	}
	t.Logf("%d requests were compared", compared)
}

func newLeaks(tb testing.TB) *leaks {
	tb.Helper()
	l := &leaks{TB: tb, world: here}
	u, err := here.register(tb.Context(), "stranger")
	if err != nil {
		tb.Fatal(err)
	}
	l.stranger = u.GetId()
	if l.hidden, err = here.scene(tb.Context(), places()[0], here.owner); err != nil {
		tb.Fatal(err)
	}
	if err := invite(tb.Context(), here, l.hidden); err != nil {
		tb.Fatal(err)
	}
	for range 5 { // so that there is something to be counted
		_, err := here.tasks.CreateTask(here.as(tb.Context(), here.owner), &tasksv1.CreateTaskRequest{
			ProjectId: l.hidden.id("project"), Title: "Zeppelin", ParentId: new(l.hidden.id("task")),
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	as := here.as(tb.Context(), l.stranger)
	project, err := here.projects.CreateProject(as, &projectsv1.CreateProjectRequest{Name: "Mine"})
	if err != nil {
		tb.Fatal(err)
	}
	mine, err := here.tasks.CreateTask(as, &tasksv1.CreateTaskRequest{ProjectId: project.GetId(), Title: "Mine"})
	if err != nil {
		tb.Fatal(err)
	}
	// A key that the owner has used says nothing to others.
	_, err = here.projects.CreateProject(idempotency.WithKey(here.as(tb.Context(), here.owner), usedKey),
		&projectsv1.CreateProjectRequest{Name: "Keyed"})
	if err != nil {
		tb.Fatal(err)
	}
	l.hidden["caller"] = l.stranger
	l.hidden["own_task"], l.hidden["own_project"] = mine.GetId(), mine.GetProjectId()
	l.hidden["both"] = []any{l.hidden["global"], relay.ID{Type: relay.Task, Key: mine.GetId()}.String()}
	l.none, l.nothing = maps.Clone(l.hidden), maps.Clone(l.hidden)
	for _, name := range []string{"project", "task", "first", "comment", "other", "invitation"} {
		l.none[name], l.nothing[name] = l.hidden.id(name)+never, l.hidden.id(name)+2*never
	}
	l.hidden["search_task"], l.none["search_task"] = "Zeppelin", "Dirigible"
	l.hidden["search_project"], l.none["search_project"] = "Zanzibar", "Atlantis"
	l.none["global"] = relay.ID{Type: relay.Task, Key: l.none.id("task")}.String()
	l.none["both"] = []any{l.none["global"], relay.ID{Type: relay.Task, Key: mine.GetId()}.String()}
	return l
}

// never is more than there will be of anything while this runs.
const never = 1_000_000_000

// probes are the variants of a request.
func probes(op operation, with want) []probe {
	all := []probe{{op: op, with: with}}
	o, ok := op.(restOperation)
	if !ok {
		return append(all, probe{op: op, with: merge(with, want{"idempotency_key": rand.Text()})},
			probe{op: op, with: merge(with, want{"expected_version": 77})})
	}
	headers := [][2]string{{"If-None-Match", `"1"`}}
	if o.writes() {
		headers = [][2]string{
			{"If-Match", `"1"`},
			{"If-Match", `"77"`},
			{"If-Match", `"1", "2"`},
			{"If-Match", "*"},
			{"If-None-Match", "*"},
			{"If-None-Match", `"1"`},
			{"Idempotency-Key", usedKey},
			{"Idempotency-Key", ""},
		}
	}
	all = append(all, probe{op: op, with: merge(with, want{"explain": true})})
	for _, h := range headers {
		all = append(all, probe{op, with, h})
	}
	for _, p := range o.parameters {
		name := as[string](p["name"])
		if values := tries(name, o.resolve(as[object](p["schema"]))); p["in"] == "query" {
			for _, v := range values {
				all = append(all, probe{op: op, with: merge(with, want{name: v})})
			}
		}
	}
	return all
}

// tries are values of a parameter of the query.
func tries(name string, schema object) []any {
	switch items, _ := schema["items"].(object); {
	case schema["type"] == "boolean":
		return []any{true}
	case items["enum"] != nil:
		return as[[]any](items["enum"])
	case schema["enum"] != nil:
		return as[[]any](schema["enum"])
	case name == "limit":
		return []any{1}
	case name == "search":
		return []any{"Zeppelin", "Nobody"}
	default:
		return nil // ids, which references are for, and free text
	}
}

func merge(a, b want) want {
	out := maps.Clone(a)
	if out == nil {
		out = want{}
	}
	maps.Copy(out, b)
	return out
}

// references are requests about the stranger's own things that name what is hidden.
func (l *leaks) references() map[string][]want {
	mine, task := from("own_project"), from("own_task")
	return map[string][]want{
		"createTask":          {{"project_id": mine, "parent_id": from("task")}},
		"createProjectTask":   {{"id": mine, "parent_id": from("task")}},
		"bulkCreateTasks":     {{"project_id": mine, "parent_id": from("task")}},
		"updateTask":          {{"id": task, "parent_id": from("task")}},
		"replaceTask":         {{"id": task, "parent_id": from("task")}, {"id": task, "project_id": from("project")}},
		"bulkUpdateTasks":     {{"id": task, "parent_id": from("task")}, {"atomic": false, "title": "New"}},
		"moveTask":            {{"id": task, "before_id": from("task")}, {"id": task, "after_id": from("task")}},
		"listTasks":           {{"parent": from("task")}, {"project": from("project")}, {"search": from("search_task"), "count": true}},
		"listProjectTasks":    {{"id": mine, "parent": from("task")}},
		"listComments":        {{"task": from("task")}, {"task": from("task"), "trash": true}},
		"listProjects":        {{"search": from("search_project"), "count": true}},
		"Mutation.createTask": {{"project_id": mine, "parent_id": from("task")}},
		"Mutation.updateTask": {{"id": task, "parent_id": from("task")}},
		"Mutation.moveTask":   {{"id": task, "before_id": from("task")}},
		"Mutation.createTasks": {
			{"project_id": mine, "parent_id": from("task")}, {"project_id": from("project"), "atomic": false},
		},
		"Mutation.updateTasks": {{"id": task, "parent_id": from("task")}, {"atomic": false, "title": "New"}},
		"Query.nodes":          {{"ids": from("both")}},
		"Query.tasks": {
			{"filter": object{"search": "Zeppelin"}}, {"project_id": from("project"), "filter": object{"deleted": true}},
		},
		"Query.comments": {{"task_id": from("task"), "filter": object{"deleted": true}}},
		"Query.projects": {{"filter": object{"search": "Zanzibar"}}},
	}
}

// compare sends the probe about both.
func (l *leaks) compare(what string, p probe) {
	l.Helper()
	if !p.op.writes() {
		l.ask(p, l.hidden, l.owner)     // so that it is in every cache there is
		l.ask(p, l.nothing, l.stranger) // so that whatever is asked once has been
	}
	got, did := l.ask(p, l.hidden, l.stranger)
	want, does := l.ask(p, l.none, l.stranger)
	if got != want {
		l.Errorf("%s %v %q: what is hidden is answered\n%s\nand what is not there\n%s", what, p.with, p.header, got, want)
	}
	if diff := gocmp.Diff(does, did); diff != "" {
		l.Errorf("%s %v %q: what is done (-for what is not there +for what is hidden):\n%s", what, p.with, p.header, diff)
	}
}

// traces are what is different in each answer.
var traces = regexp.MustCompile(`"trace_id":"[0-9a-f]*"|traceparent;desc="[0-9a-f-]*"|;dur=[0-9.]+`)

// ask gives the whole answer, but for what is different in every one, and what was done for it.
func (l *leaks) ask(p probe, s scene, by int64) (answer string, did []string) {
	l.Helper()
	token, err := l.token(by)
	if err != nil {
		l.Fatal(err)
	}
	req, err := p.op.request(l.Context(), l.URL, s, p.with)
	if err != nil {
		l.Fatal(err)
	}
	if name, value := p.header[0], p.header[1]; name != "" {
		req.Header.Set(name, cmp.Or(value, rand.Text()))
	}
	req.Header.Set("Authorization", "Bearer "+token)
	done := l.work.watch(token)
	res, err := l.http.Do(req)
	if err != nil {
		l.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		l.Fatal(err)
	}
	for _, name := range []string{"Date", "X-Request-Id", "Content-Length"} { // the length is that of the echoed path
		res.Header.Del(name)
	}
	if req.URL.RawQuery != "" { // which is in Link, and Link in the hash that is the ETag of a list
		res.Header.Del("ETag")
		res.Header.Set("Link", strings.ReplaceAll(res.Header.Get("Link"), req.URL.RawQuery, "(the query)"))
	}
	res.Header.Set("Server-Timing", traces.ReplaceAllString(res.Header.Get("Server-Timing"), ""))
	text := traces.ReplaceAllString(string(body), "")
	text = strings.ReplaceAll(text, req.URL.EscapedPath(), "(the path)") // which is the request's own
	return fmt.Sprintf("%s %v\n%s", res.Status, res.Header, text), done()
}
