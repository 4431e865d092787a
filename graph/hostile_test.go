package graph_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
)

// attack is an operation that somebody has made to cost us much.
type attack struct {
	name, query, want string // want is the code of the error
	variables         map[string]any
}

// attacks are refused before any resolver runs.
func attacks() []attack {
	exponential := "{ ...f0 }"
	for i := range 40 {
		exponential += fmt.Sprintf(" fragment f%d on Query { ...f%d ...f%d }", i, i+1, i+1)
	}
	exponential += " fragment f40 on Query { viewer { id } }"
	// series repeats a text with its number in it.
	series := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	mutations := series(11, "a%d: deleteTask(input: {id: 1}) { deletedTaskId } ")
	// nested is a value in many lists.
	nested := func(depth int) (v any) {
		for range depth {
			v = []any{v}
		}
		return v
	}
	return []attack{
		{"depth 50", "{ task(id: 1) { " + strings.Repeat("parent { ", 50) + "id" + strings.Repeat("}", 50) + "} }", "QUERY_TOO_COMPLEX", nil},
		{"depth 5000", "{ task(id: 1) { " + strings.Repeat("parent { ", 5000) + "id" + strings.Repeat("}", 5000) + "} }", "GRAPHQL_PARSE_FAILED", nil},
		{"1000 aliases", "{" + series(1000, "a%d: viewer { id } ") + "}", "QUERY_TOO_COMPLEX", nil},
		{"one field 1000 times", "{" + strings.Repeat("viewer { id name }", 1000) + "}", "QUERY_TOO_COMPLEX", nil},
		{"one field 900 times", "{ viewer {" + strings.Repeat("id ", 900) + "} }", "QUERY_TOO_COMPLEX", nil},
		{"one field 900 times in a fragment", "{ viewer { id } } fragment f on User {" + strings.Repeat("id ", 900) + "}", "QUERY_TOO_COMPLEX", nil},
		{"one fragment 900 times", "{ viewer {" + strings.Repeat("...f ", 900) + "} } fragment f on User { id }", "QUERY_TOO_COMPLEX", nil},
		{"introspection ten times", "{" + series(10, "a%d: __schema { types { fields { name } } } ") + "}", "QUERY_TOO_COMPLEX", nil},
		{"introspection of each type 80 times", "{ __schema { types { fields { type { " + series(80, "a%d: fields { name type { name } } ") + "} } } } }", "QUERY_TOO_COMPLEX", nil},
		{"introspection with names 80 times in a fragment", "{ __type(name: \"Task\") { fields { type { ...t } } } } fragment t on __Type { " + series(80, "a%d: name ") + "}", "QUERY_TOO_COMPLEX", nil},
		{"11 mutations", "mutation {" + mutations + "}", "QUERY_TOO_COMPLEX", nil},
		{"11 mutations in a fragment", "mutation { ...m } fragment m on Mutation {" + mutations + "}", "QUERY_TOO_COMPLEX", nil},
		{"circular fragments", "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }", "QUERY_TOO_COMPLEX", nil},
		{"exponential fragments", exponential, "QUERY_TOO_COMPLEX", nil},
		{"unused exponential fragments", "{ viewer { id } } " + exponential[len("{ ...f0 }"):], "QUERY_TOO_COMPLEX", nil},
		{"large pages", "{ projects(first: 100) { nodes { tasks(first: 100) { nodes { comments(first: 100) { nodes { id } } } } } } }", "QUERY_TOO_COMPLEX", nil},
		{"large pages in fragments", "{ projects(first: 100) { ...p } } fragment p on ProjectConnection { nodes { tasks(first: 100) { nodes { ...t } } } } fragment t on Task { comments(first: 100) { edges { node { id } } } }", "QUERY_TOO_COMPLEX", nil},
		{"a large document", "{ viewer { id } } #" + strings.Repeat("x", 900_000), "QUERY_TOO_COMPLEX", nil},
		{"many tokens", "{ viewer(" + strings.Repeat("a:1 ", 9000) + ") { id } }", "GRAPHQL_PARSE_FAILED", nil},
		{"first: 101", "{ viewer { id } tasks(first: 101) { nodes { id } } }", "INVALID", nil},
		{"first: -1", "{ viewer { id } tasks(first: -1) { nodes { id } } }", "INVALID", nil},
		{"last: 0", "{ viewer { id } tasks(last: 0) { nodes { id } } }", "INVALID", nil},
		{"first and last", "{ viewer { id } tasks(first: 1, last: 1) { nodes { id } } }", "INVALID", nil},
		{"a huge number", "{ viewer { id } tasks(first: 99999999999999999999999) { nodes { id } } }", "INVALID", nil},
		{"defer", "{ viewer { id } ... @defer { projects { nodes { id } } } }", "GRAPHQL_VALIDATION_FAILED", nil},
		{"900 directives", "{ viewer { id " + strings.Repeat("@skip(if: false) ", 900) + "} }", "QUERY_TOO_COMPLEX", nil},
		{"101 directives in fragments", "{ viewer { ...f } } fragment f on User { id " + strings.Repeat("@a ", 101) + "}", "QUERY_TOO_COMPLEX", nil},
		{"1500 variables", "query(" + series(1500, "$v%d: Int ") + ") { viewer { id } }", "GRAPHQL_VALIDATION_FAILED", nil},
		{"1000 operations", series(1000, "query q%d { viewer { id } } "), "QUERY_TOO_COMPLEX", nil},
		{"900 unknown fields", "{ viewer {" + series(900, "nothing%d ") + "} }", "GRAPHQL_VALIDATION_FAILED", nil},
		{"a list 3000 deep", "{ nodes(ids: " + strings.Repeat("[", 3000) + strings.Repeat("]", 3000) + ") { id } }", "GRAPHQL_PARSE_FAILED", nil},
		{
			"a variable 5000 deep", "query($ids: [ID!]!) { nodes(ids: $ids) { id } }", "GRAPHQL_VALIDATION_FAILED",
			map[string]any{"ids": nested(5000)},
		},
		{
			"a variable 5000 deep for one value", "query($id: ID!) { node(id: $id) { id } }", "GRAPHQL_VALIDATION_FAILED",
			map[string]any{"id": nested(5000)},
		},
		{
			"100,000 ids", "query($ids: [ID!]!) { nodes(ids: $ids) { id } }", "TOO_LARGE",
			map[string]any{"ids": strings.Split(strings.Repeat("7,", 99_999)+"7", ",")},
		},
		{
			"19,000 ids", "query($ids: [ID!]!) { nodes(ids: $ids) { id } }", "INVALID",
			map[string]any{"ids": strings.Split(strings.Repeat("7,", 18_999)+"7", ",")},
		},
		{
			"a variable of 900 KB", "query($n: Int) { tasks(first: $n) { nodes { id } } }", "GRAPHQL_VALIDATION_FAILED",
			map[string]any{"n": strings.Repeat("9", 900_000)},
		},
		{
			"50,000 fields of an input", "query($f: TaskFilter) { tasks(filter: $f) { nodes { id } } }", "TOO_LARGE",
			map[string]any{"f": func() map[string]any {
				all := make(map[string]any, 50_000)
				for i := range 50_000 {
					all[fmt.Sprint("field", i)] = i
				}
				return all
			}()},
		},
	}
}

func (a attack) body(tb testing.TB) string {
	tb.Helper()
	body, err := json.Marshal(map[string]any{"query": a.query, "variables": a.variables})
	if err != nil {
		tb.Fatal(err)
	}
	return string(body)
}

func TestCostlyQueriesAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, a := range attacks() {
		r := w.ask(t, a.query, a.variables)
		if r.code() != a.want || r.Data != nil || strings.Contains(r.Text, `"data"`) {
			t.Errorf("%s: got %.300s, want %s", a.name, r.Text, a.want)
		}
		if len(r.Text) > 10_000 {
			t.Errorf("%s: the refusal has %d bytes", a.name, len(r.Text))
		}
	}
	if got := w.counted(); len(got) > 0 {
		t.Errorf("got calls %v, want none", got)
	}
	for _, n := range []any{101, -1, 0, 1e300, 2.5, "5", nil} {
		r := w.ask(t, "query($n: Int) { tasks(first: $n) { nodes { id } } }", map[string]any{"n": n})
		if n != nil && len(r.Errors) == 0 {
			t.Errorf("first: %v: got %s, want an error", n, r.Text)
		}
	}
	if got, want := w.counted(), (map[string]int{"ListTasks": 1}); !cmp.Equal(got, want) {
		t.Errorf("got calls %v, want %v", got, want)
	}
}

// How much processor time it takes us to refuse an attack, from the request to the answer:
//
//	go test ./graph -run '^$' -bench Refusal -benchtime 20x
func BenchmarkRefusal(b *testing.B) {
	w := newWorld(b)
	handler := w.handler(w.config)
	for _, a := range attacks() {
		body := a.body(b)
		b.Run(strings.ReplaceAll(a.name, " ", "_"), func(b *testing.B) {
			begin, n := processorTime(b), 0
			for b.Loop() {
				req := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/graphql", strings.NewReader(body))
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Authorization", "Bearer token")
				res := httptest.NewRecorder()
				handler.ServeHTTP(res, req)
				if n++; !strings.Contains(res.Body.String(), a.want) {
					b.Fatalf("got %.300s, want %s", res.Body, a.want)
				}
			}
			b.ReportMetric(float64((processorTime(b)-begin).Microseconds())/1000/float64(n), "cpu-ms/op")
		})
	}
}

// processorTime is what the process has used, by itself and in the kernel.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
