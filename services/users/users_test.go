package users

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/pgtest"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/rpctest"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const (
	adminEmail    = "root@example.org"
	adminPassword = "the first of all passwords"
	password      = "correct horse battery staple"
)

// world is a running users service with a database of its own, in which there is one admin.
type world struct {
	usersv1.UsersServiceClient

	rpc   *rpctest.World
	db    *postgres.DB // to look at what is stored, never to change it
	log   *logBuffer
	admin *usersv1.User
}

// logBuffer is a log that a test can read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// configure gives the configuration of a service with a database of its own, as its environment would.
func configure(t *testing.T) Config {
	t.Helper()
	key, err := auth.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := app.Parse[Config](map[string]string{
		"DATABASE_URL": pgtest.Open(t, "users", func(ctx context.Context, url string) error {
			return Migrate(ctx, Config{Postgres: postgres.Config{URL: url}}, app.Env{})
		}),
		"REDIS_URL":           pgtest.Redis(t),
		"SIGNING_KEY_FILES":   file(t, "key.pem", string(key)),
		"ADMIN_EMAIL":         adminEmail,
		"ADMIN_PASSWORD_FILE": file(t, "password", adminPassword+"\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs the service until the test ends, and gives a client of it.
func run(t *testing.T, cfg Config, log *logBuffer) (*rpctest.World, usersv1.UsersServiceClient) {
	t.Helper()
	rpc := rpctest.New(t)
	rpc.Env.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	keys, err := readKeys(cfg.SigningKeys)
	if err != nil {
		t.Fatal(err)
	}
	rpc.Issuer = auth.NewIssuerOf(cfg.Auth, cfg.AccessTTL)
	rpc.Issuer.Use(keys[0])
	rpc.Start(t, "users", func(ctx context.Context, common app.Config, env app.Env) error {
		cfg.App = common
		return Run(ctx, cfg, env)
	})
	return rpc, usersv1.NewUsersServiceClient(rpc.Dial(t, "users", usersv1.UsersService_ServiceDesc))
}

// start runs a service whose configuration is changed as told.
func start(t *testing.T, changes ...func(*Config)) *world {
	t.Helper()
	cfg := configure(t)
	for _, change := range changes {
		change(&cfg)
	}
	w := &world{log: new(logBuffer)}
	w.rpc, w.UsersServiceClient = run(t, cfg, w.log)
	var err error
	if w.db, err = postgres.Open(t.Context(), cfg.Postgres); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.db.Close() })
	w.admin = &usersv1.User{Id: 1, Role: usersv1.Role_ROLE_ADMIN} // the first account
	w.admin = w.get(t, 1)
	return w
}

// as is the context of someone who is signed in as the user.
func (w *world) as(t *testing.T, u *usersv1.User) context.Context {
	t.Helper()
	return w.rpc.As(t, u.GetId(), u.GetRole() == usersv1.Role_ROLE_ADMIN)
}

// register makes an account with that name.
func (w *world) register(t *testing.T, name string) *usersv1.User {
	t.Helper()
	u, err := w.Register(t.Context(), &usersv1.RegisterRequest{Name: name, Email: address(name), Password: password})
	if err != nil {
		t.Fatalf("register %s: %v", name, err)
	}
	return u
}

// address is the e-mail of a registered user.
func address(name string) string { return strings.ReplaceAll(name, " ", ".") + "@example.org" }

// get reads the user as an admin.
func (w *world) get(t *testing.T, id int64) *usersv1.User {
	t.Helper()
	u, err := w.GetUser(w.as(t, w.admin), &usersv1.GetUserRequest{Id: id})
	if err != nil {
		t.Fatalf("get user %d: %v", id, err)
	}
	return u
}

// count counts rows; from is everything behind FROM.
func (w *world) count(t *testing.T, from string, args ...any) int {
	t.Helper()
	var n int
	if err := w.db.NewRaw("SELECT count(*) FROM "+from, args...).Scan(t.Context(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// dump gives all that a table holds, as text; bytes are in hex.
func (w *world) dump(t *testing.T, table string) string {
	t.Helper()
	var rows []string
	if err := w.db.NewSelect().ColumnExpr("t::text").TableExpr("? AS t", bun.Ident(table)).Scan(t.Context(), &rows); err != nil {
		t.Fatal(err)
	}
	return strings.Join(rows, "\n")
}

// each calls do n times at once and gives all errors.
func each(n int, do func(i int) error) []error {
	var wg sync.WaitGroup
	failed := make([]error, n)
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			failed[i] = do(i)
		})
	}
	close(begin)
	wg.Wait()
	return failed
}

func TestFourStartsAtOnceMakeOneFirstAdmin(t *testing.T) {
	t.Parallel()
	cfg := configure(t)
	var clients []usersv1.UsersServiceClient
	for range 4 {
		_, client := run(t, cfg, new(logBuffer))
		clients = append(clients, client)
	}
	ids := map[int64]bool{}
	for i, c := range clients {
		tokens, err := c.Login(t.Context(), &usersv1.LoginRequest{Email: strings.ToUpper(adminEmail), Password: adminPassword})
		if err != nil {
			t.Fatalf("sign in at replica %d: %v", i, err)
		}
		if got := tokens.GetUser().GetRole(); got != usersv1.Role_ROLE_ADMIN {
			t.Errorf("role of the first admin: got %v, want %v", got, usersv1.Role_ROLE_ADMIN)
		}
		ids[tokens.GetUser().GetId()] = true
	}
	db, err := postgres.Open(t.Context(), cfg.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w := &world{db: db}
	if got := w.count(t, "users"); got != 1 || len(ids) != 1 {
		t.Errorf("accounts: got %d rows and %d ids, want one", got, len(ids))
	}
	if got := w.count(t, "events WHERE type = 'user.created' AND actor_id IS NULL"); got != 1 {
		t.Errorf("events: got %d, want 1", got)
	}
}

func TestABadConfigurationStopsTheStartWithASentence(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(t *testing.T, c *Config)
		want   string
	}{
		{"no key file", func(_ *testing.T, c *Config) { c.SigningKeys = []string{"/nowhere/key.pem"} }, "SIGNING_KEY_FILES: stat /nowhere/key.pem"},
		{"a key file without a key", func(t *testing.T, c *Config) {
			t.Helper()
			c.SigningKeys = append(slices.Clone(c.SigningKeys), file(t, "bad.pem", "no key"))
		}, "SIGNING_KEY_FILES: signing key 2 is no PEM"},
		{"no admin password", func(_ *testing.T, c *Config) { c.AdminPassword = "" }, "ADMIN_PASSWORD_FILE"},
		{"no admin password file", func(_ *testing.T, c *Config) { c.AdminPassword = "/nowhere/password" }, "ADMIN_PASSWORD_FILE: open /nowhere/password"},
		{"an empty admin password file", func(t *testing.T, c *Config) {
			t.Helper()
			c.AdminPassword = file(t, "empty", "\n")
		}, "ADMIN_PASSWORD_FILE make no account: invalid: Check password."},
		{"an admin e-mail that is none", func(_ *testing.T, c *Config) { c.AdminEmail = "root" }, "ADMIN_EMAIL and"},
		{"keys that are never read again", func(_ *testing.T, c *Config) { c.KeyCheck = 0 }, "SIGNING_KEY_CHECK"},
		{"keys that sign before they are known", func(_ *testing.T, c *Config) { c.KeyDelay = time.Second }, "SIGNING_KEY_DELAY"},
		{"negative hashes", func(_ *testing.T, c *Config) { c.Hashes = -1 }, "PASSWORD_HASHES"},
		{"no lifetime", func(_ *testing.T, c *Config) { c.AccessTTL = 0 }, "ACCESS_TOKEN_TTL"},
		{"a provider that everybody can listen to", func(_ *testing.T, c *Config) { c.Provider = ProviderConfig{Issuer: "http://id.example.org"} }, "OIDC_ISSUER is"},
		{"a provider without a client", func(_ *testing.T, c *Config) { c.Provider = ProviderConfig{Issuer: "https://id.example.org"} }, "OIDC_CLIENT_ID"},
		{"a client without a provider", func(_ *testing.T, c *Config) { c.Provider = ProviderConfig{ClientID: "c"} }, "OIDC_ISSUER is empty"},
		{"no secret file", func(_ *testing.T, c *Config) {
			c.Provider = ProviderConfig{Issuer: "https://id.example.org", ClientID: "c", ClientSecret: "/nowhere/secret"}
		}, "OIDC_CLIENT_SECRET_FILE: open /nowhere/secret"},
		{"a redirect that runs a script", func(_ *testing.T, c *Config) {
			c.Provider = ProviderConfig{Issuer: "https://id.example.org", ClientID: "c", Redirects: []string{"javascript:alert(1)//a.b"}}
		}, "OIDC_REDIRECT_URIS holds"},
		{"sessions shorter than tokens", func(_ *testing.T, c *Config) { c.RefreshTTL = 1 }, "REFRESH_TOKEN_TTL"},
	}
	base := configure(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := base
			tt.change(t, &cfg)
			err := Run(t.Context(), cfg, app.Env{
				Log:      slog.New(slog.DiscardHandler),
				ListenOn: func(context.Context, string) (net.Listener, error) { return nil, errors.New("it serves") },
			})
			if got := fmt.Sprint(err); !strings.Contains(got, tt.want) {
				t.Errorf("Run: got %q, want %q in it", got, tt.want)
			}
		})
	}
}
