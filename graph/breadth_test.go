package graph_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/trackway/trackway/graph"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
)

// Breadth first and gqlgen give the same bytes for whatever is asked, also when a service fails.
func TestQueriesHaveOneAnswerHoweverTheyRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	handlers := map[string]http.Handler{"breadth first": graph.New(w.config), "gqlgen": graph.NewDepthFirst(w.config)}
	ask := func(how, query string) string {
		body := fmt.Sprintf(`{"query":%q,"variables":{"yes":true,"no":false,"two":2,"by":[{"field":"ID","direction":"DESC"}],
			"admin":"ADMIN","active":true,"task":{"statuses":["TODO"],"dueBefore":"2030-01-31","assigneeId":7,"search":"ä"},"author":"56"}}`, query)
		r := httptest.NewRequestWithContext(auth.WithCaller(t.Context(), &auth.Caller{UserID: 1, Token: "token"}),
			http.MethodPost, "/graphql", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		handlers[how].ServeHTTP(rec, r)
		return rec.Body.String()
	}
	methods := []string{
		"ListProjects", "ListTasks", "BatchGetUsers", "BatchGetProjects", "BatchGetTasks", "BatchListTasks", "BatchListComments",
		"BatchListMembers", "BatchListSubtasks",
	}
	for seed := range uint64(50) {
		q := newQuerist(seed)
		query := q.query()
		failing := methods[q.IntN(len(methods))]
		if seed%4 == 0 {
			w.answer(failing, errs.New(errs.Denied, "It is not for you."))
		}
		want, got := ask("gqlgen", query), ask("breadth first", query)
		w.answer(failing, nil)
		if got, want := sorted(t, got), sorted(t, want); got != want {
			t.Fatalf("seed %d: %s\ngot  %s\nwant %s", seed, query, got, want)
		}
		if strings.Contains(want, "VALIDATION_FAILED") || strings.Contains(want, "TOO_COMPLEX") {
			t.Fatalf("seed %d: %s\nis no query worth asking: %s", seed, query, want)
		}
	}
}

// Objects of several types stand in one list, and what is selected of each may have the same names: of other fields, with
// other arguments. Whatever stands beside it, a node is what it is when it is asked for alone.
func TestANodeIsTheSameWhateverStandsBesideIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := []string{"Task:112", "Comment:113001", "Project:1", "Comment:205001", "User:4"} // 113 is the parent of 112
	for seed := range uint64(16) {
		q := newQuerist(seed)
		var selected strings.Builder
		for _, typ := range []string{"Task", "Comment", "Project", "User"} {
			fmt.Fprintf(&selected, "... on %s %s ", typ, q.ambiguous(typ, 2))
		}
		q.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		var quoted []string
		for _, id := range ids {
			quoted = append(quoted, fmt.Sprintf("%q", base64.RawURLEncoding.EncodeToString([]byte(id))))
		}
		query := fmt.Sprintf("{ nodes(ids: [%s]) { %s} }", strings.Join(quoted, ", "), &selected)
		together := w.ask(t, query, nil)
		if len(together.Errors) > 0 {
			t.Fatalf("seed %d: %s\ngot %s, want no errors", seed, query, together.Text)
		}
		for i, id := range quoted {
			alone := w.ask(t, fmt.Sprintf("{ node(id: %s) { %s} }", id, &selected), nil)
			if got, want := together.at(fmt.Sprint("nodes.", i)), alone.at("node"); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: %s\ngot  %v\nwant %v, as alone", seed, query, got, want)
			}
		}
	}
}

// ambiguous selects fields of the type by names that other types give to other fields.
func (q *querist) ambiguous(typ string, depth int) string {
	names := map[string]map[string][]string{
		"Task":    {"task": {"parent"}, "user": {"assignee", "creator"}, "project": {"project"}, "tasks": {"subtasks"}, "comments": {"comments"}},
		"Comment": {"task": {"task"}, "user": {"author"}},
		"Project": {"user": {"owner"}, "tasks": {"tasks"}},
	}[typ]
	parts := []string{"id"}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if depth == 0 || q.IntN(3) == 0 {
			continue
		}
		f := graph.TypeOf(typ).Fields.ForName(names[name][q.IntN(len(names[name]))])
		if inner := f.Type.Name(); strings.HasSuffix(inner, "Connection") {
			inner = strings.TrimSuffix(inner, "Connection")
			parts = append(parts, fmt.Sprintf("%s: %s(first: %d) { nodes %s }", name, f.Name, 1+q.IntN(3), q.ambiguous(inner, depth-1)))
		} else {
			parts = append(parts, fmt.Sprintf("%s: %s %s", name, f.Name, q.ambiguous(inner, depth-1)))
		}
	}
	return "{ " + strings.Join(parts, " ") + " }"
}

// sorted is an answer with its errors in one order: they come as the services answer.
func sorted(t *testing.T, answer string) string {
	t.Helper()
	var a struct {
		Errors     []jsontext.Value `json:"errors"`
		Data       jsontext.Value   `json:"data"`
		Extensions jsontext.Value   `json:"extensions"`
	}
	if err := json.Unmarshal([]byte(answer), &a); err != nil {
		t.Fatalf("%s: %v", answer, err)
	}
	slices.SortFunc(a.Errors, func(a, b jsontext.Value) int { return bytes.Compare(a, b) })
	return fmt.Sprintf("%s %s %s", a.Errors, a.Data, a.Extensions)
}

// querist makes up queries.
type querist struct {
	*rand.Rand

	aliases   int
	fragments []string
	given     map[string]string // arguments, by type and field
}

func newQuerist(seed uint64) *querist {
	return &querist{Rand: rand.New(rand.NewPCG(seed, 0)), given: make(map[string]string)}
}

func (q *querist) query() string {
	vars := "query($yes: Boolean!, $no: Boolean!, $two: Int!, $by: [TaskOrder!], $admin: UserRole, $active: Boolean, $task: TaskFilter, $author: ID) { "
	uses := "a: __typename @skip(if: $no) b: __typename @include(if: $yes) c: tasks(first: $two, orderBy: $by) { totalCount } " +
		"d: users(first: 1, filter: {role: $admin, active: $active}) { totalCount } e: tasks(first: 1, filter: $task) { totalCount } " +
		"f: comments(first: 1, filter: {authorId: $author}) { totalCount } "
	root := []string{
		"viewer", "projects", "tasks", "comments", "users", "project(id: 3)", "task(id: 112)", "comment(id: 205001)", "user(id: 4)",
		"task(id: 999999)", `user(id: "nonsense")`, "tasks(projectId: 7, first: 3)", "users(after: \"x\")",
	}
	var b strings.Builder
	for i := range 1 + q.IntN(2) {
		field := root[q.IntN(len(root))]
		name, _, _ := strings.Cut(field, "(")
		f := graph.TypeOf("Query").Fields.ForName(name)
		if !strings.Contains(field, "(") {
			field += q.arguments(f)
		}
		fmt.Fprintf(&b, "r%d: %s %s ", i, field, q.selections(f.Type.Name(), 3))
	}
	return vars + uses + b.String() + "}" + strings.Join(q.fragments, "")
}

func (q *querist) arguments(f *ast.FieldDefinition) string {
	if f.Arguments.ForName("first") == nil {
		return ""
	}
	args := []string{fmt.Sprintf("first: %d", 1+q.IntN(3)), fmt.Sprintf("last: %d", 1+q.IntN(3))}[q.IntN(2)]
	switch q.IntN(5) {
	case 0:
		args += `, after: "1"`
	case 1:
		args += ", orderBy: [{field: ID, direction: DESC}]"
	case 2:
		args += ", orderBy: {field: ID}"
	}
	if filter := f.Arguments.ForName("filter"); filter != nil && q.IntN(2) == 0 {
		all := map[string][]string{
			"UserFilter":    {"{search: \"Ada\", active: $active, role: $admin}", "{role: USER}", "null"},
			"ProjectFilter": {"{visibility: PUBLIC, archived: false}", "{search: \"x\"}", "{deleted: true}"},
			"MemberFilter":  {"{role: OWNER}", "{role: null}", "{}"},
			"TaskFilter": {
				"$task", "{statuses: TODO}", "{statuses: [TODO, DONE], labels: \"a\", topLevel: true, updatedSince: \"2026-01-02T03:04:05Z\"}",
				"{unassigned: true, assigneeId: 3}", "{dueAfter: \"yesterday\"}", "{priorities: []}",
			},
			"CommentFilter": {"{authorId: $author}", "{deleted: true}", "{authorId: \"x\"}", "{authorId: \"VGFzazo3\"}"},
		}[filter.Type.Name()]
		args += ", filter: " + all[q.IntN(len(all))]
	}
	return "(" + args + ")"
}

func (q *querist) selections(typ string, depth int) string {
	var parts []string
	def := graph.TypeOf(typ)
	for _, f := range def.Fields {
		inner := graph.TypeOf(f.Type.Name())
		composite := inner != nil && (inner.Kind == ast.Object || inner.Kind == ast.Interface)
		chance := 3
		if composite && !strings.HasSuffix(typ, "Connection") && !strings.HasSuffix(typ, "Edge") {
			chance = 5
		}
		if q.IntN(chance) > 0 && f.Name != "nodes" || composite && depth == 0 {
			continue
		}
		// What has no alias may stand at one place twice, and then has the same arguments.
		place, part := typ+"."+f.Name, f.Name
		if q.IntN(6) == 0 && q.aliases < 90 {
			q.aliases++
			part = fmt.Sprintf("x%d: %s", q.aliases, f.Name)
			place += part
		}
		if _, ok := q.given[place]; !ok {
			q.given[place] = q.arguments(f)
		}
		part += q.given[place]
		next := depth
		if composite && (inner.Interfaces != nil || inner.Name == "Member") {
			next--
		}
		for again := true; again; again = composite && q.IntN(10) == 0 { // the same field, of which something else is selected
			one := part
			if composite {
				one += " " + q.selections(f.Type.Name(), next)
			}
			parts = append(parts, q.fragment(typ, one))
		}
	}
	parts = append(parts, "__typename")
	q.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	if def.Interfaces != nil && q.IntN(4) == 0 {
		parts = append(parts, "... on Node { id }", "... on "+typ+" { __typename again: __typename }")
		q.aliases++
	}
	return "{ " + strings.Join(parts, " ") + " }"
}

// fragment puts a selection into a fragment, now and then, or makes it depend on a variable.
func (q *querist) fragment(typ, part string) string {
	conditions := []string{"", " @include(if: $yes)", " @skip(if: $no)", " @include(if: $no)", " @skip(if: $yes) @include(if: $yes)"}
	condition := conditions[q.IntN(len(conditions))]
	switch q.IntN(16) {
	case 0:
		return "..." + condition + " { " + part + " }"
	case 1:
		return "... on " + typ + condition + " { " + part + " }"
	case 2: //nolint:mnd // one of sixteen
		q.fragments = append(q.fragments, fmt.Sprintf(" fragment f%d on %s { %s }", len(q.fragments), typ, part))
		return fmt.Sprintf("...f%d%s", len(q.fragments)-1, condition)
	default:
		return part
	}
}

// A field that is new is either one that breadth knows, or one that somebody decided to leave to gqlgen.
func TestEveryFieldOfTheNounsRunsBreadthFirst(t *testing.T) {
	t.Parallel()
	left := []string{}
	for _, name := range graph.Slow() {
		if !slices.Contains(left, name) {
			t.Errorf("%s makes every query that asks for it slow: give it a relation in relations.go", name)
		}
	}
}

// The nested query costs so many allocations, calls in memory included. It took 74,000 in gqlgen alone.
func TestANestedQueryAllocatesLittle(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	w := newWorld(t)
	h := graph.New(w.config)
	ctx := auth.WithCaller(t.Context(), &auth.Caller{UserID: 1, Token: "token"})
	const body = `{"query":"query($f: TaskFilter) { projects(first: 20, filter: {archived: false}) { nodes { name tasks(first: 10, filter: $f) { nodes { title status assignee { name } comments(first: 3) { nodes { body author { name } } } } } } } }","variables":{"f":{"statuses":["TODO"]}}}`
	allocations := testing.AllocsPerRun(20, func() {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/graphql", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		if h.ServeHTTP(rec, r); rec.Code != http.StatusOK || rec.Body.Len() < 40_000 {
			t.Fatalf("got %d and %d bytes, want the whole answer", rec.Code, rec.Body.Len())
		}
	})
	if t.Logf("%.0f allocations", allocations); allocations > 13_000 {
		t.Errorf("got %.0f allocations, want at most 13,000", allocations)
	}
}
