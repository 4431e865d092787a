package app_test

import (
	"context"
	"io"
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

func TestWhatTheAdminPortTells(t *testing.T) {
	t.Parallel()
	var network app.Memory
	env := app.Env{ListenOn: network.Listen, DialTo: network.Dial, LogTo: io.Discard}
	desc := echo(func(context.Context, string) error { return nil }).desc("GetThing")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	cfg := config{app.Config{Listen: "echo", Admin: "admin", Grace: time.Second, LogFormat: "json"}}
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
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return network.Dial(ctx, "admin")
	}}}
	ask := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://admin"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
	for _, want := range []string{"rpc_server_call_duration_seconds_count{", `GetThing`, "go_goroutine_count"} {
		_, text := ask(http.MethodGet, "/metrics", "")
		// A call is counted when it is over, which the client may know before.
		for deadline := time.Now().Add(time.Minute); !strings.Contains(text, want) && time.Now().Before(deadline); {
			_, text = ask(http.MethodGet, "/metrics", "")
		}
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s:\n%s", want, text)
		}
	}
	if _, text := ask(http.MethodGet, "/version", ""); !strings.Contains(text, `"go":"go1.`) {
		t.Errorf("the version is %s", text)
	}
	if status, _ := ask(http.MethodPut, "/log-level", "loud"); status != http.StatusBadRequest {
		t.Errorf("the level loud: got %d, want 400", status)
	}
	if status, _ := ask(http.MethodPut, "/log-level", "debug"); status != http.StatusNoContent {
		t.Errorf("the level debug: got %d, want 204", status)
	}
	if _, text := ask(http.MethodGet, "/log-level", ""); text != "DEBUG\n" {
		t.Errorf("the level is %s, want DEBUG", text)
	}
	if status, _ := ask(http.MethodGet, "/debug/pprof/", ""); status != http.StatusNotFound {
		t.Errorf("profiles, which are off: got %d, want 404", status)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}
