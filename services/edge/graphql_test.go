package edge

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/trackway/trackway/graph"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
)

func TestGraphQLIsPaidForFromOneBudget(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	w := newWorld(t)
	cfg := Config{GraphQL: GraphQLConfig{Budget: 60_000}}
	replicas := []*rates{
		newRates(client, cfg, w.Env.Log), newRates(client, cfg, w.Env.Log),
	}
	ctx := auth.WithCaller(t.Context(), &auth.Caller{UserID: 7})
	b, err := replicas[0].charge(ctx, 50_000)
	if err != nil || b == nil || b.Limit != 60_000 || b.Remaining != 10_000 || b.Window != time.Minute {
		t.Errorf("got %+v %v, want 10,000 of 60,000 left", b, err)
	}
	b, err = replicas[1].charge(ctx, 20_000)
	if !errs.Is(err, errs.RateLimited) || b == nil || errs.From(err).Retry < time.Second {
		t.Errorf("through the other replica: got %+v %v, want it refused", b, err)
	}
	if _, err := replicas[1].charge(ctx, 5_000); err != nil {
		t.Errorf("got %v, want what is small enough to pass", err)
	}
	if _, err := replicas[1].charge(auth.WithCaller(t.Context(), &auth.Caller{UserID: 8}), 50_000); err != nil {
		t.Errorf("got %v, want another caller to have a budget of their own", err)
	}
	server.Close()
	if b, err := replicas[0].charge(ctx, 50_000); b != nil || err != nil {
		t.Errorf("without Redis: got %+v %v, want it let through", b, err)
	}
}

func TestPersistedQueriesAreSharedAndForgotten(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	store := persistedQueries{client}
	if _, found, err := store.Get(t.Context(), "hash"); found || err != nil {
		t.Errorf("before: got %v %v, want nothing", found, err)
	}
	if err := store.Put(t.Context(), "hash", "{ viewer { id } }"); err != nil {
		t.Fatal(err)
	}
	server.FastForward(persistedFor - time.Minute)
	if query, found, err := (persistedQueries{client}).Get(t.Context(), "hash"); query != "{ viewer { id } }" || !found || err != nil {
		t.Errorf("got %q %v %v, want the query", query, found, err)
	}
	server.FastForward(persistedFor - time.Minute) // it was read meanwhile
	if _, found, _ := store.Get(t.Context(), "hash"); !found {
		t.Error("a query that is in use was forgotten")
	}
	server.FastForward(persistedFor)
	if _, found, _ := store.Get(t.Context(), "hash"); found {
		t.Error("a query that nobody sends was kept")
	}
	server.Close()
	if _, _, err := store.Get(t.Context(), "hash"); err == nil {
		t.Error("without Redis: got no error")
	}
}

func TestGraphQLIsConfiguredWithCare(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "documents.json")
	if err := os.WriteFile(file, []byte(`{"me": "{ viewer { id } }"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		cfg  GraphQLConfig
		want string // the variable that the error names
	}{
		{GraphQLConfig{}, ""},
		{GraphQLConfig{Documents: file, DocumentsOnly: true, Budget: minBudget}, ""},
		{GraphQLConfig{Budget: -1}, "GRAPHQL_BUDGET"},
		{GraphQLConfig{Budget: 10}, "GRAPHQL_BUDGET"},
		{GraphQLConfig{DocumentsOnly: true}, "GRAPHQL_DOCUMENTS_ONLY"},
		{GraphQLConfig{Documents: file + "x"}, "GRAPHQL_DOCUMENTS:"},
	} {
		var face graph.Config
		err := tt.cfg.fill(&face, &rates{}, nil)
		if (err != nil) != (tt.want != "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want an error about %q", tt.cfg, err, tt.want)
		}
		if err == nil && (face.HideSchema == tt.cfg.Introspection || (face.Charge == nil) != (tt.cfg.Budget == 0) ||
			face.OnlyDocuments != tt.cfg.DocumentsOnly) {
			t.Errorf("%+v: got %+v", tt.cfg, face)
		}
	}
}

func TestGraphiQLsFilesHaveRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	on := w.serve(func(c *Config) { c.GraphQL.GraphiQL = true })
	off := w.serve()
	for _, name := range graph.PageFiles() {
		for url, want := range map[string]int{on: http.StatusOK, off: http.StatusNotFound} {
			w.url = url
			if res := w.do("GET", "/graphql/"+name, "", "Authorization", ""); res.StatusCode != want {
				t.Errorf("%s: got %d, want %d", name, res.StatusCode, want)
			}
		}
	}
}
