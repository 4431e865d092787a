package edge

import (
	"context"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/trackway/trackway/graph"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/rpctest"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

func TestGraphQLIsPaidForFromOneBudget(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	w := newWorld(t)
	cfg := Config{GraphQL: GraphQLConfig{Budget: 60_000}}
	replicas := []*rates{
		patientRates(client, cfg, w.Env.Log), patientRates(client, cfg, w.Env.Log),
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

// The price of a request that was sent before is taken together with its count. Neither a request too many costs it, nor one
// that nobody charges for.
func TestWhatIsPaidInAdvanceIsGivenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := redis.NewClient(&redis.Options{Addr: w.redis.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	cfg := Config{Auth: rpctest.AuthConfig(), RateLimit: 3, GraphQL: GraphQLConfig{Budget: minBudget}}
	limits := patientRates(client, cfg, w.Env.Log)
	answers, err := cache.NewAnswers(client, nil, 1<<20, w.Env.Log, w.Env.MeterProvider())
	if err != nil {
		t.Fatal(err)
	}
	const price, body = 10_000, "{}"
	q := newQueries(answers)
	q.seen.Add(sha256.Sum256([]byte(body)), seen{price: price, name: "an answer"})
	charged := 0 // by the handler
	users := usersv1.NewUsersServiceClient(w.Dial(t, "users", usersv1.UsersService_ServiceDesc))
	h := admit(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if charged == 0 {
			return
		}
		if _, err := limits.charge(r.Context(), charged); err != nil {
			t.Error(err)
		}
	}), newAuthenticator(clients{users: users}.verifier(cfg.Auth), users, limits), limits, nil, q)
	spent := 0
	for _, tt := range []struct {
		name                  string
		charged, cost, status int
	}{
		{"refused by the handler", 0, 0, http.StatusOK},
		{"charged", price, price, http.StatusOK},
		{"with another price", 2 * price, 2 * price, http.StatusOK},
		{"one too many", price, 0, http.StatusTooManyRequests},
	} {
		charged, spent = tt.charged, spent+tt.cost
		ctx := context.WithValue(t.Context(), exchangeKey{}, &exchange{})
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/graphql", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+w.token)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		left, ok := limits.ask(t.Context(), &limits.prices, "user:7", 0)
		// A little comes back while the test runs.
		if got := minBudget - left.remaining; !ok || rec.Code != tt.status || got > spent || got < spent-price/2 {
			t.Errorf("%s: got %d and %d spent, want %d and %d", tt.name, rec.Code, got, tt.status, spent)
		}
	}
}
