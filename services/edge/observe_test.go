package edge

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/trackway/trackway/services/platform/app"
)

func TestOneLineARequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var log bytes.Buffer
	w.Env.Log = slog.New(slog.NewJSONHandler(&log, nil))
	w.url = w.serve()
	w.do("GET", "/api/tasks/1/", "") // fetches the keys, too
	const secret = "secret-of-a-mail"
	for _, tt := range []struct {
		method, path string
		want         map[string]any // beside what varies
	}{
		{"GET", "/api/tasks/1/", map[string]any{"method": "GET", "route": "/api/tasks/{id}/", "path": "/api/tasks/1/", "status": 200., "user": 7., "request_id": "mine", "calls": 1.}},
		{"GET", "/api/tasks?search=" + secret, map[string]any{"method": "GET", "route": "/api/tasks/", "path": "/api/tasks/", "status": 200., "user": 7., "request_id": "mine", "calls": 1.}},
		{"GET", "/api/tasks/" + secret + "/", map[string]any{"method": "GET", "route": "/api/tasks/{id}/", "path": "/api/tasks/{id}/", "status": 400., "user": 7., "request_id": "mine"}},
		{"GET", "/" + secret, map[string]any{"method": "GET", "route": "", "path": "", "status": 404., "user": 7., "request_id": "mine"}},
		{"BREW", "/api/tasks/", map[string]any{"method": "_OTHER", "route": "", "path": "", "status": 405., "user": 7., "request_id": "mine"}},
	} {
		log.Reset()
		res := w.do(tt.method, tt.path, "", "X-Request-Id", "mine", "Accept-Encoding", "identity")
		var got map[string]any
		if err := json.Unmarshal(log.Bytes(), &got); err != nil {
			t.Fatalf("%s %s: want one line, got %v:\n%s", tt.method, tt.path, err, log.String())
		}
		if ms, _ := got["ms"].(float64); ms <= 0 || got["bytes"] != float64(len(res.body)) || got["msg"] != "request" {
			t.Errorf("%s %s: got %v, want its time and its %d bytes", tt.method, tt.path, got, len(res.body))
		}
		for _, varies := range []string{"time", "level", "msg", "ms", "calls_ms", "bytes"} {
			delete(got, varies)
		}
		if diff := cmp.Diff(got, tt.want); diff != "" {
			t.Errorf("%s %s (-got +want):\n%s", tt.method, tt.path, diff)
		}
		if strings.Contains(log.String(), secret) {
			t.Errorf("%s %s: the line holds what somebody typed:\n%s", tt.method, tt.path, log.String())
		}
	}
}

func TestAnAnswerTellsItsTimeAndTrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Origins = []string{"https://app.example.com"} })
	w.do("GET", "/api/tasks/1/", "") // fetches the keys, too
	const number = `[0-9]+(\.[0-9]+)?`
	want := regexp.MustCompile(`^total;dur=` + number + `, rpc;dur=` + number + `;desc="1", traceparent;desc="00-(4bf92f3577b34da6a3ce929d0e0e4736)-([0-9a-f]{16})-01"$`)
	res := w.do("GET", "/api/tasks/1/", "", "Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"Origin", "https://app.example.com")
	if got := res.Header.Get("Server-Timing"); !want.MatchString(got) {
		t.Errorf("got Server-Timing %q, want %s", got, want)
	}
	if got := res.Header.Get("Timing-Allow-Origin"); got != "https://app.example.com" {
		t.Errorf("got Timing-Allow-Origin %q, so the page of the origin may not read the times", got)
	}
}

// What is spent on a request to observe it: where nobody looks, and where it is measured but is not the one in a hundred
// that is recorded. Bounds on allocations, and so no luck.
//
//nolint:paralleltest // allocations are counted for the whole process
func TestObservingCostsNextToNothingUnlessItIsRecorded(t *testing.T) {
	nothing := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	measure := func(h http.Handler) float64 {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/tasks/1/", http.NoBody)
		w := &silent{header: make(http.Header)}
		return testing.AllocsPerRun(1000, func() {
			clear(w.header)
			h.ServeHTTP(w, r)
		})
	}
	least := measure(nothing)
	for _, tt := range []struct {
		name string
		env  app.Env
		most float64
	}{
		// What is kept of the request, its context and values there, the trace, and the header of its time.
		{"nobody looks", app.Env{}, 8},
		{"measured and not recorded", app.Env{
			Tracer: sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0)))),
			Meter:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())),
		}, 8},
	} {
		tt.env.Log = slog.New(slog.DiscardHandler)
		observed, err := observe(nothing, tt.env)
		if err != nil {
			t.Fatal(err)
		}
		if with := measure(observed); with-least > tt.most {
			t.Errorf("%s: observing costs %v allocations, want at most %v", tt.name, with-least, tt.most)
		} else {
			t.Logf("%s: observing costs %v allocations", tt.name, with-least)
		}
	}
}

// silent is an answer that costs nothing.
type silent struct{ header http.Header }

func (s *silent) Header() http.Header       { return s.header }
func (*silent) Write(b []byte) (int, error) { return len(b), nil }
func (*silent) WriteHeader(int)             {}
