package app_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/trackway/trackway/services/platform/app"
)

type config struct{ App app.Config }

func (c config) Common() app.Config { return c.App }

func TestTheAdminPortHasTheMetrics(t *testing.T) {
	t.Parallel()
	var network app.Memory
	env := app.Env{ListenOn: network.Listen, DialTo: network.Dial, Log: slog.New(slog.DiscardHandler)}
	desc := echo(func(context.Context, string) error { return nil }).desc("GetThing")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	cfg := config{app.Config{Listen: "echo", Admin: "admin", Grace: time.Second}}
	go func() {
		done <- app.Start(ctx, "echo", cfg, env, func(ctx context.Context, cfg config, env app.Env) error {
			return app.ServeGRPC(ctx, cfg.App, env, app.GRPC{
				Register: func(s *grpc.Server) { s.RegisterService(&desc, nil) },
				Ready:    func(context.Context) error { return nil },
			})
		})
	}()
	conn, err := app.Dial(env, "echo", desc)
	if err != nil {
		t.Fatal(err)
	}
	req := new(healthpb.HealthCheckRequest)
	if err := conn.Invoke(t.Context(), "/test.Echo/GetThing", req, req); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return network.Dial(ctx, "admin")
	}}
	page, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://admin/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := transport.RoundTrip(page)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"rpc_server_call_duration_seconds_count{", `GetThing`, "go_goroutine_count"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the metrics lack %s:\n%s", want, text)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}
