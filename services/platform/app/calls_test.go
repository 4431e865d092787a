package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/telemetry"
)

// observed is a service and its client, and what both tell of the calls between them.
type observed struct {
	conn    *grpc.ClientConn
	spans   *tracetest.SpanRecorder
	metrics *sdkmetric.ManualReader
	stop    func()
}

// observing serves a method to one client, with the sampler deciding about the traces that begin here.
func observing(tb testing.TB, sampler sdktrace.Sampler, method string, e echo) *observed {
	tb.Helper()
	o := &observed{spans: tracetest.NewSpanRecorder(), metrics: sdkmetric.NewManualReader()}
	var network app.Memory
	env := app.Env{
		ListenOn: network.Listen, DialTo: network.Dial, Log: slog.New(slog.DiscardHandler),
		Tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(o.spans), sdktrace.WithSampler(sdktrace.ParentBased(sampler))),
		Meter:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(o.metrics)),
	}
	desc := e.desc(method)
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() {
		done <- app.ServeGRPC(ctx, app.Config{Listen: "echo", Admin: "admin", Grace: 5 * time.Second}, env, app.GRPC{
			Register: func(s *grpc.Server) { s.RegisterService(&desc, nil) },
			Ready:    func(context.Context) error { return nil },
		})
	}()
	var err error
	if o.conn, err = app.Dial(env, "echo", desc); err != nil {
		tb.Fatal(err)
	}
	o.stop = func() {
		_ = o.conn.Close()
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	}
	return o
}

func (o *observed) call(ctx context.Context, method string) error {
	return o.conn.Invoke(ctx, "/test.Echo/"+method, &healthpb.HealthCheckRequest{}, new(healthpb.HealthCheckRequest))
}

// told are the spans that have ended, each in a line, in the order of their names.
func (o *observed) told() []string {
	var lines []string
	for _, s := range o.spans.Ended() {
		line := fmt.Sprintf("%s %s", s.SpanKind(), s.Name())
		if s.Status().Code != codes.Unset {
			line += fmt.Sprintf(" %s %q", s.Status().Code, s.Status().Description)
		}
		lines = append(lines, line+list(s.Attributes()))
	}
	slices.Sort(lines)
	return lines
}

// counted is how many calls were measured, by metric and labels.
func (o *observed) counted(tb testing.TB) map[string]uint64 {
	tb.Helper()
	var all metricdata.ResourceMetrics
	if err := o.metrics.Collect(tb.Context(), &all); err != nil {
		tb.Fatal(err)
	}
	counts := make(map[string]uint64)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if h, ok := m.Data.(metricdata.Histogram[float64]); ok {
				for _, p := range h.DataPoints {
					counts[m.Name+list(p.Attributes.ToSlice())] = p.Count
				}
			}
		}
	}
	return counts
}

func list(attrs []attribute.KeyValue) string {
	words := make(map[string]string)
	for _, a := range attrs {
		words[string(a.Key)] = a.Value.String()
	}
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(words)) {
		fmt.Fprintf(&b, " %s=%s", k, words[k])
	}
	return b.String()
}

func TestBothEndsTellOfACall(t *testing.T) {
	t.Parallel()
	const about = " rpc.method=test.Echo/Put rpc.response.status_code=%s rpc.system.name=grpc"
	for _, tt := range []struct {
		code           errs.Code
		status         string
		client, server string // what is wrong with the call, in the eyes of each
	}{
		{"", "OK", "", ""},
		{errs.NotFound, "NOT_FOUND", `"No."`, ""},
		{errs.Unavailable, "UNAVAILABLE", `"No."`, `"No."`},
	} {
		o := observing(t, sdktrace.AlwaysSample(), "Put", func(context.Context, string) error {
			if tt.code != "" {
				return errs.New(tt.code, "No.")
			}
			return nil
		})
		if err := o.call(t.Context(), "Put"); errs.Is(err, tt.code) != (tt.code != "") {
			t.Errorf("got %v, want %q", err, tt.code)
		}
		o.stop()
		var spans []string
		counts := make(map[string]uint64)
		for end, wrong := range map[string]string{"client": tt.client, "server": tt.server} {
			labels, told := fmt.Sprintf(about, tt.status), ""
			if wrong != "" {
				labels, told = " error.type="+tt.status+labels, " Error "+wrong
			}
			spans = append(spans, end+" test.Echo/Put"+told+labels+" server.address=bufconn")
			counts["rpc."+end+".call.duration"+labels] = 1
		}
		slices.Sort(spans)
		if diff := cmp.Diff(o.told(), spans); diff != "" {
			t.Errorf("%s: spans (-got +want):\n%s", tt.status, diff)
		}
		if diff := cmp.Diff(o.counted(t), counts); diff != "" {
			t.Errorf("%s: metrics (-got +want):\n%s", tt.status, diff)
		}
		for _, s := range o.spans.Ended() {
			if s.SpanKind() == trace.SpanKindServer && (!s.Parent().IsRemote() || !slices.ContainsFunc(o.spans.Ended(),
				func(other sdktrace.ReadOnlySpan) bool { return other.SpanContext().SpanID() == s.Parent().SpanID() })) {
				t.Errorf("%s: the server's span has the parent %v, want that of the client", tt.status, s.Parent())
			}
		}
	}
}

func TestBothEndsTellOfAStream(t *testing.T) {
	t.Parallel()
	o := observing(t, sdktrace.AlwaysSample(), "Put", nil)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := healthpb.NewHealthClient(o.conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := stream.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("got %v, %v, want %v", got, err, healthpb.HealthCheckResponse_SERVING)
	}
	cancel()
	if got, err := stream.Recv(); status.Code(err) != grpccodes.Canceled {
		t.Errorf("got %v, %v, want the end", got, err)
	}
	o.stop()
	const about = " grpc.health.v1.Health/Watch%s rpc.method=grpc.health.v1.Health/Watch rpc.response.status_code=CANCELLED " +
		"rpc.system.name=grpc server.address=bufconn"
	want := []string{"client" + fmt.Sprintf(about, ` Error "context canceled" error.type=CANCELLED`), "server" + fmt.Sprintf(about, "")}
	if diff := cmp.Diff(o.told(), want); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
}

// A call that is tried again is one to the client, and each time one to the server.
func TestEachTryIsServedInTheTraceOfTheCall(t *testing.T) {
	t.Parallel()
	var tries atomic.Int64
	o := observing(t, sdktrace.AlwaysSample(), "GetThing", func(context.Context, string) error {
		if tries.Add(1) == 1 {
			return errs.New(errs.Unavailable, "Not now.")
		}
		return nil
	})
	if err := o.call(t.Context(), "GetThing"); err != nil {
		t.Error(err)
	}
	o.stop()
	kinds := make(map[trace.SpanKind]int)
	traces := make(map[trace.TraceID]int)
	for _, s := range o.spans.Ended() {
		kinds[s.SpanKind()]++
		traces[s.SpanContext().TraceID()]++
	}
	if kinds[trace.SpanKindClient] != 1 || kinds[trace.SpanKindServer] != 2 || len(traces) != 1 {
		t.Errorf("got %v in the traces %v, want 1 client and 2 servers in one", kinds, traces)
	}
}

func TestATraceThatIsNotRecordedIsKnownToTheServer(t *testing.T) {
	t.Parallel()
	var got trace.SpanContext
	o := observing(t, sdktrace.AlwaysSample(), "GetThing", func(ctx context.Context, _ string) error {
		got = trace.SpanContextFromContext(ctx)
		return nil
	})
	state, err := trace.ParseTraceState("vendor=value")
	if err != nil {
		t.Fatal(err)
	}
	of := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceState: state})
	if err := o.call(trace.ContextWithSpanContext(t.Context(), of), "GetThing"); err != nil {
		t.Error(err)
	}
	o.stop()
	if got.TraceID() != of.TraceID() || got.IsSampled() || got.TraceState().String() != "vendor=value" {
		t.Errorf("got %v, want the trace of %v", got, of)
	}
	if told := o.told(); told != nil {
		t.Errorf("got the spans %v, want none", told)
	}
}

// BenchmarkCall shows what a call costs that is measured and not recorded, both ends together.
func BenchmarkCall(b *testing.B) {
	o := observing(b, sdktrace.NeverSample(), "GetThing", func(context.Context, string) error { return nil })
	defer o.stop()
	ctx := auth.WithCaller(telemetry.Untraced(b.Context()), &auth.Caller{UserID: 7, Token: strings.Repeat("token", 80)})
	b.ReportAllocs()
	for b.Loop() {
		if err := o.call(ctx, "GetThing"); err != nil {
			b.Fatal(err)
		}
	}
}
