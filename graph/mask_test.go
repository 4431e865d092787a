package graph_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/trackway/trackway/graph"
	"github.com/trackway/trackway/services/platform/auth"
)

// What a query selects is the same with services that give nothing but what they are asked for, and costs as many calls.
func TestNothingThatIsSelectedIsLeftUnread(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	handlers := map[string]http.Handler{"breadth first": graph.New(w.config), "gqlgen": graph.NewDepthFirst(w.config)}
	ask := func(how, query string, whole bool) (answer string, calls map[string]int) {
		w.ignoreMasks(whole)
		w.counted()
		body := fmt.Sprintf(`{"query":%q,"variables":{"yes":true,"no":false,"two":2}}`, query)
		r := httptest.NewRequestWithContext(auth.WithCaller(t.Context(), &auth.Caller{UserID: 1, Token: "token"}),
			http.MethodPost, "/graphql", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		handlers[how].ServeHTTP(rec, r)
		return sorted(t, rec.Body.String()), w.counted()
	}
	queries := []string{
		`{ projects(first: 2) { nodes { name tasks(first: 2) { nodes { title project { description } comments(first: 1) { nodes { task { dueDate } } } } } } } }`,
		`{ tasks(first: 2) { nodes { ...short parent { ...long } } } } fragment short on Task { title } fragment long on Task { ... on Node { id } position }`,
		`{ nodes(ids: ["VGFzazoxMDE", "UHJvamVjdDox"]) { id ... on Task { title } ... on Project { name tasks(first: 1) { nodes { priority } } } } }`,
		`mutation { createTask(input: {projectId: 1, title: "a"}) { task { title parent { description } project { name tasks(first: 1) { nodes { number } } } } } }`,
	}
	alone := len(queries) // fields at the root race for what another one loads, too
	queries = append(queries,
		`{ a: task(id: 101) { title } b: task(id: 101) { description } tasks(first: 3) { nodes { number parent { labels } } } }`,
		`{ task(id: 101) { subtasks(first: 1) { edges { cursor node { creator { name } } } totalCount } } tasks(first: 1) { totalCount } }`)
	for seed := range uint64(20) {
		queries = append(queries, newQuerist(seed).query())
	}
	for i, query := range queries {
		for how := range handlers {
			got, calls := ask(how, query, false)
			want, least := ask(how, query, true)
			if got != want {
				t.Errorf("%s: %s\ngot  %s\nwant %s", how, query, got, want)
			}
			if diff := cmp.Diff(least, calls); i < alone && diff != "" {
				t.Errorf("%s: %s: calls (-whole +masked):\n%s", how, query, diff)
			}
		}
	}
}

// Each field alone, in each place where its noun is listed or referred to.
func TestEachFieldIsReadWhereItAloneIsSelected(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	places := map[string][]string{
		"Project": {`{ projects(first: 2) { nodes { %s } } }`, `{ project(id: 3) { %s } }`, `{ task(id: 101) { project { %s } } }`},
		"Task": {
			`{ tasks(first: 2) { nodes { %s } } }`, `{ projects(first: 2) { nodes { tasks(first: 2) { nodes { %s } } } } }`,
			`{ task(id: 101) { %s } }`, `{ task(id: 101) { subtasks(first: 1) { nodes { %s } } } }`, `{ comment(id: 205001) { task { %s } } }`,
		},
		"Comment": {`{ comments(first: 2) { nodes { %s } } }`, `{ tasks(first: 2) { nodes { comments(first: 2) { nodes { %s } } } } }`, `{ comment(id: 205001) { %s } }`},
	}
	for typ, queries := range places {
		for _, f := range graph.TypeOf(typ).Fields {
			selected := f.Name
			if inner := graph.TypeOf(f.Type.Name()); inner.Kind == ast.Object {
				selected += map[bool]string{true: "(first: 1) { totalCount }", false: " { id }"}[strings.HasSuffix(inner.Name, "Connection")]
			}
			for _, query := range queries {
				query = fmt.Sprintf(query, selected)
				w.ignoreMasks(true)
				want := w.ask(t, query, nil).Text
				w.ignoreMasks(false)
				if got := w.ask(t, query, nil).Text; got != want || strings.Contains(want, `"errors"`) {
					t.Errorf("%s\ngot  %s\nwant %s", query, got, want)
				}
				masked, ok := w.request().(interface{ GetReadMask() *fieldmaskpb.FieldMask })
				if !ok { // it is for users or members
					continue
				}
				if paths := masked.GetReadMask().GetPaths(); len(paths) == 0 || len(paths) > 2 {
					t.Errorf("%s asks for %q, want the id and what is selected", query, paths)
				}
			}
		}
	}
}
