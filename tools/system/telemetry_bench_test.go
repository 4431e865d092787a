package system

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/trackway/trackway/tools/seed"
	"github.com/trackway/trackway/tools/traces"
)

// BenchmarkHotReadWithTelemetry tells what CPU time a read from the cache takes without any telemetry, with metrics
// only, which is what is on when no collector is named, and with one trace in a hundred sent to a collector. It is that of
// this process: the edge, the client, and in the last case the collector.
//
//	go test ./tools/system -run '^$' -bench HotReadWithTelemetry -benchtime 20000x -count 5
func BenchmarkHotReadWithTelemetry(b *testing.B) {
	collector, err := traces.Listen(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = collector.Stop(context.WithoutCancel(b.Context())) }()
	for _, bb := range []struct {
		name    string
		environ map[string]string
	}{
		{"off", map[string]string{"OTEL_SDK_DISABLED": "true"}},
		{"metrics", nil},
		{"one in a hundred traces", map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": collector.Endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
			"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01",
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for name, value := range bb.environ {
				b.Setenv(name, value)
			}
			s, err := Start(b.Context(), benchOptions(b, bb.environ))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Stop(context.WithoutCancel(b.Context())) }()
			hot(b, s)
		})
	}
}

func benchOptions(b *testing.B, environ map[string]string) Options {
	b.Helper()
	vars := map[string]string{"RATE_LIMIT": "100000000", "AUTH_RATE_LIMIT": "0"} // counted, and never refused
	maps.Copy(vars, environ)
	return Options{Dir: dataDir(b), Throwaway: true, Log: io.Discard, Environ: vars, Demo: true}
}

// hot reads one task over and over again.
func hot(b *testing.B, s *System) {
	b.Helper()
	login := fmt.Sprintf(`{"email": %q, "password": %q}`, seed.Email, seed.Password)
	var tokens struct {
		Access string `json:"access_token"`
	}
	answer, _ := send(b, s, http.MethodPost, "/api/auth/login/", "", login)
	if err := json.Unmarshal(answer, &tokens); err != nil {
		b.Fatal(err)
	}
	const thing = "/api/tasks/1/"
	for end := time.Now().Add(startTimeout); ; {
		if _, timing := send(b, s, http.MethodGet, thing, tokens.Access, ""); strings.Contains(timing, `cache;desc="hit"`) {
			break
		}
		if time.Now().After(end) {
			b.Fatal("the cache does not answer")
		}
	}
	before := cpu(b)
	for b.Loop() {
		send(b, s, http.MethodGet, thing, tokens.Access, "")
	}
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

func send(b *testing.B, s *System, method, path, token, body string) (answer []byte, timing string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	if answer, err = io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
		b.Fatalf("got %d %s, %v", res.StatusCode, answer, err)
	}
	return answer, res.Header.Get("Server-Timing")
}

// cpu is what this process has had of the processors.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
