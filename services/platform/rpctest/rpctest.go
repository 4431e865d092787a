// Package rpctest runs a service in a test as it runs in production, on a network in memory, and signs callers in.
package rpctest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"
	"google.golang.org/grpc"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/auth"
)

// World is a network with services, and an issuer whose tokens they accept when they are given AuthConfig and JWKS.
type World struct {
	Env    app.Env
	Issuer *auth.Issuer

	mu         sync.Mutex
	statements map[string][]string
}

// AuthConfig is what all services of a world agree on about tokens.
func AuthConfig() auth.Config {
	return auth.Config{Issuer: "https://test.invalid", Audience: "trackway"}
}

// startTimeout bounds how long a service may take to listen.
const startTimeout = time.Minute

// New makes an empty world. Its services log to the test's output.
func New(tb testing.TB) *World {
	tb.Helper()
	key, err := auth.GenerateKey()
	if err != nil {
		tb.Fatal(err)
	}
	w := &World{statements: make(map[string][]string)}
	if w.Issuer, err = auth.NewIssuer(AuthConfig(), time.Hour, key); err != nil {
		tb.Fatal(err)
	}
	network := new(app.Memory)
	w.Env = app.Env{
		Log:      slog.New(slog.NewTextHandler(tb.Output(), nil)),
		ListenOn: network.Listen, DialTo: network.Dial,
		Queries: []bun.QueryHook{w},
	}
	return w
}

// Start runs a service until the test ends, and fails the test if it fails. It returns when the service listens, for which no
// call of a client would wait as long. The configuration listens on addr and has no admin port.
func (w *World) Start(tb testing.TB, addr string, run func(ctx context.Context, cfg app.Config, env app.Env) error) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan error, 1)
	listening, ended := context.WithTimeout(ctx, startTimeout)
	defer ended()
	go func() {
		defer ended()
		done <- run(ctx, app.Config{Listen: addr, Grace: time.Second}, w.Env)
	}()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.DeadlineExceeded) {
			tb.Errorf("%s: %v", addr, err)
		}
	})
	conn, err := w.Env.DialTo(listening, addr)
	if err != nil {
		tb.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		tb.Error(err)
	}
}

// Fake serves another service's stand-in until the test ends.
func (w *World) Fake(tb testing.TB, addr string, register func(*grpc.Server), public ...string) {
	tb.Helper()
	verifier := auth.NewVerifier(AuthConfig(), auth.NewRemoteKeys(func(context.Context) ([]byte, error) {
		return w.Issuer.JWKS()
	}), nil)
	w.Start(tb, addr, func(ctx context.Context, cfg app.Config, env app.Env) error {
		return app.ServeGRPC(ctx, cfg, env, app.GRPC{
			Register:     register,
			Interceptors: []grpc.UnaryServerInterceptor{auth.Authenticate(verifier, public...)},
			Ready:        func(context.Context) error { return nil },
		})
	})
}

// Dial connects to a service as its real clients do.
func (w *World) Dial(tb testing.TB, addr string, services ...grpc.ServiceDesc) *grpc.ClientConn {
	tb.Helper()
	conn, err := app.Dial(w.Env, addr, services...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			tb.Error(err)
		}
	})
	return conn
}

// As makes calls in the name of a user.
func (w *World) As(tb testing.TB, userID int64, admin bool) context.Context {
	tb.Helper()
	token, err := w.Issuer.Issue(userID, admin, "test-session")
	if err != nil {
		tb.Fatal(err)
	}
	return auth.WithCaller(tb.Context(), &auth.Caller{UserID: userID, Admin: admin, Token: token})
}

// BeforeQuery sees every statement of the world's services.
func (w *World) BeforeQuery(ctx context.Context, q *bun.QueryEvent) context.Context {
	method, _ := grpc.Method(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.statements[method] = append(w.statements[method], q.Query)
	return ctx
}

// AfterQuery does nothing.
func (w *World) AfterQuery(context.Context, *bun.QueryEvent) {}

// Statements gives the SQL that the calls of a method, named in full, have executed so far; and forgets it.
func (w *World) Statements(method string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.statements[method]
	delete(w.statements, method)
	return s
}
