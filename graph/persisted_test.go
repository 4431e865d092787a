package graph_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/trackway/trackway/graph"
	"github.com/trackway/trackway/services/platform/errs"
)

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// post sends a request with any parameters.
func (w *world) post(t *testing.T, parameters map[string]any) response {
	t.Helper()
	body, err := json.Marshal(parameters)
	if err != nil {
		t.Fatal(err)
	}
	return w.send(t, http.MethodPost, "", string(body), map[string]string{
		"Authorization": "Bearer token", "Content-Type": "application/json",
	})
}

func byHash(hash any) map[string]any {
	return map[string]any{"persistedQuery": map[string]any{"version": 1, "sha256Hash": hash}}
}

func TestAQueryIsRememberedByItsHash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const query, wrong = `{ viewer { name } }`, `{ nothing }`
	missing := w.post(t, map[string]any{"extensions": byHash(hash(query))})
	if missing.code() != "PERSISTED_QUERY_NOT_FOUND" || missing.Errors[0].Message != "PersistedQueryNotFound" || missing.Status != 200 {
		t.Errorf("before: got %d %s, want what Apollo's clients know", missing.Status, missing.Text)
	}
	tests := []struct {
		name string
		send map[string]any
		want any
	}{
		{"the hash of another query", map[string]any{"query": query, "extensions": byHash(hash("{ b }"))}, "PERSISTED_QUERY_HASH_MISMATCH"},
		{"was not stored", map[string]any{"extensions": byHash(hash("{ b }"))}, "PERSISTED_QUERY_NOT_FOUND"},
		{"nor under its own", map[string]any{"extensions": byHash(hash(query))}, "PERSISTED_QUERY_NOT_FOUND"},
		{"an invalid query", map[string]any{"query": wrong, "extensions": byHash(hash(wrong))}, "GRAPHQL_VALIDATION_FAILED"},
		{"is not stored", map[string]any{"extensions": byHash(hash(wrong))}, "PERSISTED_QUERY_NOT_FOUND"},
		{"no hash", map[string]any{"extensions": byHash("7")}, "INVALID"},
		{"a number", map[string]any{"extensions": byHash(7)}, "INVALID"},
		{"another version", map[string]any{"extensions": map[string]any{"persistedQuery": map[string]any{"version": 2}}}, "PERSISTED_QUERY_NOT_SUPPORTED"},
		{"no object", map[string]any{"extensions": map[string]any{"persistedQuery": "x"}}, "PERSISTED_QUERY_NOT_SUPPORTED"},
		{"the query and its hash", map[string]any{"query": query, "extensions": byHash(hash(query))}, nil},
		{"the hash alone", map[string]any{"extensions": byHash(hash(query))}, nil},
		{"in capitals", map[string]any{"extensions": byHash(strings.ToUpper(hash(query)))}, nil},
	}
	for _, tt := range tests {
		r := w.post(t, tt.send)
		if r.code() != tt.want || tt.want == nil && r.at("viewer.name") != "user 1" {
			t.Errorf("%s: got %s, want %v", tt.name, r.Text, tt.want)
		}
	}
	extensions, err := json.Marshal(byHash(hash(query)))
	if err != nil {
		t.Fatal(err)
	}
	r := w.send(t, http.MethodGet, "?extensions="+url.QueryEscape(string(extensions)), "", map[string]string{"Authorization": "Bearer t"})
	if r.at("viewer.name") != "user 1" {
		t.Errorf("by GET: got %s", r.Text)
	}
}

// liar is a store that fails or gives what nobody stored.
type liar struct{ err error }

func (l liar) Get(context.Context, string) (string, bool, error) {
	return "{ projects { totalCount } }", true, l.err
}
func (l liar) Put(context.Context, string, string) error { return l.err }

func TestAStoreIsNotTrusted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.config
	for _, err := range []error{nil, errors.New("out of reach")} {
		cfg.Persisted = liar{err}
		w.url = w.serve(t, cfg)
		query := `{ viewer { name } }`
		if r := w.post(t, map[string]any{"extensions": byHash(hash(query))}); r.code() != "PERSISTED_QUERY_NOT_FOUND" {
			t.Errorf("got %s, want that it is not found", r.Text)
		}
		r := w.post(t, map[string]any{"query": query, "extensions": byHash(hash(query))})
		if r.at("viewer.name") != "user 1" {
			t.Errorf("got %s, want the answer", r.Text)
		}
	}
}

func TestOnlyTrustedDocumentsRun(t *testing.T) {
	t.Parallel()
	const query, other = "query Me { viewer { name } }", "{ viewer { name id } }"
	dir := t.TempDir()
	for name, text := range map[string]string{
		"folder/sub/me.graphql": query, "folder/readme.md": "no document",
		"relay.json":  `{"me": "` + query + `"}`,
		"apollo.json": `{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"id": "me", "name": "Me", "type": "query", "body": "` + query + `"}]}`,
		"broken.json": `[]`,
	} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for name, id := range map[string]string{"folder": "sha256:" + hash(query), "relay.json": "me", "apollo.json": "me"} {
		documents, err := graph.LoadDocuments(filepath.Join(dir, name))
		if diff := cmp.Diff(documents, map[string]string{id: query}); diff != "" || err != nil {
			t.Fatalf("%s (-got +want): %v\n%s", name, err, diff)
		}
		w := newWorld(t)
		cfg := w.config
		cfg.Documents, cfg.OnlyDocuments = documents, true
		w.url = w.serve(t, cfg)
		for _, tt := range []struct {
			name string
			send map[string]any
			want any
		}{
			{"by its id", map[string]any{"documentId": id}, nil},
			{"by its hash as an id", map[string]any{"documentId": "sha256:" + hash(query)}, nil},
			{"by its hash in Apollo's way", map[string]any{"extensions": byHash(hash(query))}, nil},
			{"by its text", map[string]any{"query": query}, nil},
			{"an unknown id", map[string]any{"documentId": "you"}, "PERSISTED_QUERY_NOT_FOUND"},
			{"both", map[string]any{"documentId": id, "query": query}, "INVALID"},
			{"another text", map[string]any{"query": other}, "DOCUMENT_NOT_TRUSTED"},
			{"another text with its hash", map[string]any{"query": other, "extensions": byHash(hash(other))}, "DOCUMENT_NOT_TRUSTED"},
			{"another hash", map[string]any{"extensions": byHash(hash(other))}, "PERSISTED_QUERY_NOT_SUPPORTED"},
		} {
			r := w.post(t, tt.send)
			if r.code() != tt.want || tt.want == nil && r.at("viewer.name") != "user 1" {
				t.Errorf("%s, %s: got %s, want %v", name, tt.name, r.Text, tt.want)
			}
		}
	}
	for _, name := range []string{"broken.json", "none"} {
		if _, err := graph.LoadDocuments(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestAnAnswerTellsItsPrice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	priced := func(r response) any {
		var a struct {
			Extensions map[string]any `json:"extensions"`
		}
		if err := json.Unmarshal([]byte(r.Text), &a); err != nil {
			t.Fatal(err)
		}
		return a.Extensions["cost"]
	}
	// tasks, nodes, ten nodes with an id and an assignee with a name.
	const query, price = "{ tasks(first: 10) { nodes { id assignee { name } } } }", 1.0 + 1 + 10*(1+3)
	r := w.ask(t, query, nil)
	if diff := cmp.Diff(priced(r), any(map[string]any{"price": price, "limit": 50_000.0})); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
	for query, want := range map[string]float64{
		"{ sessions { id } }": 1 + 200*(1+1),
		`mutation { createTasks(input: {tasks: [{projectId: 1, title: "a"}, {projectId: 1, title: "b"}]}) { outcomes { task { id } } } }`: 2 + 1 + 2*(1+2),
		`{ invitations(projectId: 1) { id email } }`: 1 + 200*(1+2),
		`{ personalAccessTokens { id } }`:            1 + 100*(1+1),
	} {
		if r := w.ask(t, query, nil); !cmp.Equal(priced(r), any(map[string]any{"price": want, "limit": 50_000.0})) {
			t.Errorf("%s: got %s, want the price %v", query, r.Text, want)
		}
	}
	for query, want := range map[string]any{
		"{ tasks(first: 100) { nodes { comments(first: 100) { nodes { id author { id name } } } } } }": map[string]any{"price": 50_001.0, "limit": 50_000.0},
		"{ tasks": nil,
	} {
		if r := w.ask(t, query, nil); !cmp.Equal(priced(r), want) || r.code() == nil {
			t.Errorf("%s: got %s, want the cost %v", query, r.Text, want)
		}
	}
	cfg := w.config
	left := 100
	cfg.Charge = func(_ context.Context, price int) (*graph.Budget, error) {
		b := &graph.Budget{Limit: 100, Window: time.Minute, Reset: 90 * time.Second, Remaining: left}
		if price > left {
			e := errs.New(errs.RateLimited, "Wait a little.")
			e.Retry = 2500 * time.Millisecond
			return b, e
		}
		left -= price
		b.Remaining = left
		return b, nil
	}
	w.url = w.serve(t, cfg)
	r = w.ask(t, query, nil)
	want := map[string]any{
		"price": price, "limit": 50_000.0,
		"window": map[string]any{"limit": 100.0, "remaining": 58.0, "seconds": 60.0, "reset": 90.0},
	}
	if diff := cmp.Diff(priced(r), any(want)); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
	if got := r.Header.Get("Ratelimit"); got != `"graphql";r=58;t=90` {
		t.Errorf("got the header %s", got)
	}
	w.ask(t, query, nil)
	w.counted()
	r = w.ask(t, query, nil)
	if r.Status != 429 || r.code() != "RATE_LIMITED" || r.Header.Get("Retry-After") != "3" || len(w.counted()) != 0 {
		t.Errorf("got %d %s, want it refused before any call", r.Status, r.Text)
	}
	if c, _ := priced(r).(map[string]any); c["price"] != price || c["window"] == nil {
		t.Errorf("got %s, want the price that was too high", r.Text)
	}
	if r = w.ask(t, "{ nothing }", nil); r.code() != "GRAPHQL_VALIDATION_FAILED" || left != 16 {
		t.Errorf("got %s and %d left, want what is not executed to cost nothing", r.Text, left)
	}
}

func TestTheSchemaCanBeHidden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if r := w.ask(t, "{ viewe { id } }", nil); !strings.Contains(r.Text, "Did you mean") {
		t.Errorf("got %s, want a suggestion", r.Text)
	}
	cfg := w.config
	cfg.HideSchema = true
	w.url = w.serve(t, cfg)
	for _, query := range []string{"{ __schema { types { name } } }", "{ ...f } fragment f on Query { __type(name: \"User\") { name } }"} {
		if r := w.ask(t, query, nil); r.code() != "GRAPHQL_VALIDATION_FAILED" || r.Data != nil {
			t.Errorf("%s: got %s, want it refused", query, r.Text)
		}
	}
	for _, query := range []string{"{ viewe { id } }", "{ tasks(firs: 1) { totalCount } }", "{ viewer }", "{ ... on Tas { id } }"} {
		if r := w.ask(t, query, nil); r.code() != "GRAPHQL_VALIDATION_FAILED" || strings.Contains(r.Text, "Did you mean") {
			t.Errorf("%s: got %s, want no suggestion", query, r.Text)
		}
	}
	if r := w.ask(t, "{ __typename viewer { __typename } }", nil); len(r.Errors) > 0 {
		t.Errorf("got %s, want the names of types", r.Text)
	}
}
