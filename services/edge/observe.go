package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/httpconv"
	"go.opentelemetry.io/otel/trace"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/telemetry"
)

// observer is the outermost layer: the span of a request, its place in the metrics, its line in the log, and what its
// answer tells of the time it took. It is our own and not otelhttp's, which costs as much as the rest of an answer from
// the cache: it gathers what a span could hold and wraps body and answer, recorded or not.
type observer struct {
	next     http.Handler
	tracer   trace.Tracer
	start    []trace.SpanStartOption
	log      *slog.Logger
	duration *telemetry.Durations[answer]
	active   map[string]*atomic.Int64 // by method
}

// answer is what answers that are measured together have in common.
type answer struct {
	method, route string
	status        int
}

func (a answer) labels() []attribute.KeyValue {
	l := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(a.method), semconv.HTTPResponseStatusCode(a.status), semconv.URLScheme("http"),
	}
	if a.route != "" {
		l = append(l, semconv.HTTPRoute(a.route))
	}
	if a.status >= http.StatusInternalServerError {
		l = append(l, semconv.ErrorTypeKey.String(strconv.Itoa(a.status)))
	}
	return l
}

// otherMethod is what the conventions call every method that is not one of theirs.
const otherMethod = "_OTHER"

func observe(next http.Handler, env app.Env) (http.Handler, error) {
	o := &observer{
		next: next, log: env.Log, tracer: env.TracerProvider().Tracer(telemetry.Scope),
		start:  []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)},
		active: make(map[string]*atomic.Int64),
	}
	for _, m := range []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions, otherMethod,
	} {
		o.active[m] = new(atomic.Int64)
	}
	var err error
	o.duration, err = telemetry.NewDurations(env.MeterProvider(), httpconv.ServerRequestDuration{}.Name(),
		"How long requests take.", answer.labels)
	if err != nil {
		return nil, err
	}
	meter := env.MeterProvider().Meter(telemetry.Scope)
	_, err = meter.Int64ObservableUpDownCounter(httpconv.ServerActiveRequests{}.Name(),
		metric.WithUnit("{request}"), metric.WithDescription("Requests that are being answered."),
		metric.WithInt64Callback(func(_ context.Context, to metric.Int64Observer) error {
			for method, n := range o.active {
				to.Observe(n.Load(), metric.WithAttributes(semconv.HTTPRequestMethodKey.String(method), semconv.URLScheme("http")))
			}
			return nil
		}))
	if err != nil {
		return nil, fmt.Errorf("measure requests: %w", err)
	}
	return o, nil
}

// exchange is what the layers note about a request and its answer.
type exchange struct {
	http.ResponseWriter

	began  time.Time
	span   trace.Span
	spent  telemetry.Spent
	route  string // what it was for, without what is particular to it; "" when there is nothing
	caller int64
	// address is what a request without a caller is counted against.
	address  string
	body     arriving  // of the request
	begun    *begun    // the look for its answer, if that can be in the cache
	foreseen *foreseen // what a GraphQL request asks of Redis
	gzip     bool      // whether the client likes no coding better
	cache    string    // what came of asking the cache, if it was asked: hit, miss or bypass
	named    string    // the client's own name for the request
	status   int
	bytes    int64
	failed   atomic.Bool // with a status that does not say so; of a stream, several operations do at once
	stream   bool        // lasts as long as the client likes
}

type exchangeKey struct{}

// exchangeOf gives what is noted about the request of ctx; of one that came another way, nobody reads it.
func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{}
}

// ServeHTTP passes the request on.
func (o *observer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{ResponseWriter: w, began: time.Now()}
	method := r.Method
	if o.active[method] == nil {
		method = otherMethod
	}
	o.active[method].Add(1)
	ctx := r.Context()
	if len(r.Header["Traceparent"]) > 0 {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	ctx, x.span = o.tracer.Start(ctx, method, o.start...) //nolint:spancheck // finish ends it
	ctx = context.WithValue(telemetry.WithSpent(ctx, &x.spent), exchangeKey{}, x)
	defer func() {
		p := recover()
		o.active[method].Add(-1)
		if x.status == 0 && p == nil {
			x.status = http.StatusOK // a handler that writes nothing says so
		}
		o.finish(ctx, method, r, x)
		if p != nil { // the connection is cut
			panic(p)
		}
	}()
	o.next.ServeHTTP(x, r.WithContext(ctx))
}

// finish tells of an answer that is complete.
func (o *observer) finish(ctx context.Context, method string, r *http.Request, x *exchange) {
	took := time.Since(x.began)
	if !x.stream { // how long a client stays is no latency
		o.duration.Record(ctx, answer{method, x.route, x.status}, took)
	}
	if o.log.Enabled(ctx, slog.LevelInfo) {
		attrs := make([]slog.Attr, 0, 10)
		attrs = append(attrs, slog.String("method", method), slog.String("route", x.route), slog.String("path", place(x.route, r.URL.Path)),
			slog.Int("status", x.status), slog.Float64("ms", milliseconds(took)), slog.Int64("bytes", x.bytes))
		if x.caller != 0 {
			attrs = append(attrs, slog.Int64("user", x.caller))
		}
		if x.named != "" {
			attrs = append(attrs, slog.String("request_id", x.named))
		}
		if x.cache != "" {
			attrs = append(attrs, slog.String("cache", x.cache))
		}
		if n, spent := x.spent.Calls(); n > 0 {
			attrs = append(attrs, slog.Int64("calls", n), slog.Float64("calls_ms", milliseconds(spent)))
		}
		o.log.LogAttrs(ctx, slog.LevelInfo, "request", attrs...)
	}
	if x.span.IsRecording() {
		describe(x.span, method, r, x)
	}
	x.span.End()
}

// describe gives a span its attributes. The query may hold what people search for, and headers hold tokens: neither is
// among them.
func describe(span trace.Span, method string, r *http.Request, x *exchange) {
	attrs := append(answer{method, x.route, x.status}.labels(),
		semconv.ServerAddress(r.Host), semconv.NetworkProtocolVersion(strings.TrimPrefix(r.Proto, "HTTP/")),
		semconv.UserAgentOriginal(r.UserAgent()), semconv.HTTPResponseBodySize(int(x.bytes)))
	if x.route != "" {
		span.SetName(method + " " + x.route)
		attrs = append(attrs, semconv.URLPath(place(x.route, r.URL.Path)))
	}
	if x.cache != "" {
		attrs = append(attrs, attribute.String("trackway.cache.outcome", x.cache))
	}
	if x.caller != 0 {
		attrs = append(attrs, semconv.UserID(strconv.FormatInt(x.caller, 10)))
	}
	span.SetAttributes(attrs...)
	if x.status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
}

// place is the path of a request with its ids, and without any other variable: what stands there may be a secret, as
// may be all of a path that leads nowhere.
func place(route, path string) string {
	if !strings.Contains(route, "{") {
		return route
	}
	given := strings.Split(path, "/")
	parts := strings.Split(route, "/")
	for i, part := range parts {
		if !strings.HasPrefix(part, "{") || i >= len(given) {
			continue
		}
		if _, ok := number(given[i]); ok {
			parts[i] = given[i]
		}
	}
	return strings.Join(parts, "/")
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

const serverTiming = "Server-Timing"

// WriteHeader notes the status, and tells how long it took to get here.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		x.status = status
		h := x.Header()
		h[serverTiming] = append(h[serverTiming], x.timing())
		x.stream = status == http.StatusSwitchingProtocols || strings.HasPrefix(h.Get("Content-Type"), "text/event-stream")
	}
	x.ResponseWriter.WriteHeader(status)
}

// timing is the value of Server-Timing (https://www.w3.org/TR/server-timing/): the time until the answer began, what of
// it was spent waiting for whom, and the trace, by which a page that measures its users' experience is joined to ours.
// A refusal has the trace only: that it is in a cache, or how long it took without the network between, would tell of
// what is hidden.
func (x *exchange) timing() string {
	b := make([]byte, 0, 160)
	if x.failed.Load() || x.status >= http.StatusBadRequest {
		return strings.TrimPrefix(string(x.appendTrace(b)), ", ")
	}
	b = appendTiming(b, "total", 0, time.Since(x.began))
	if x.cache != "" {
		b = append(append(append(b, `, cache;desc="`...), x.cache...), '"')
	}
	if n, took := x.spent.Calls(); n > 0 {
		b = appendTiming(append(b, ", "...), "rpc", n, took)
	}
	if n, took := x.spent.Redis(); n > 0 {
		b = appendTiming(append(b, ", "...), "redis", n, took)
	}
	return string(x.appendTrace(b))
}

func (x *exchange) appendTrace(b []byte) []byte {
	if sc := x.span.SpanContext(); sc.IsValid() {
		b = append(b, `, traceparent;desc="00-`...)
		b = append(append(b, sc.TraceID().String()...), '-')
		b = append(append(b, sc.SpanID().String()...), '-')
		b = append(append(b, sc.TraceFlags().String()...), '"')
	}
	return b
}

func appendTiming(b []byte, name string, n int64, took time.Duration) []byte {
	b = append(append(b, name...), ";dur="...)
	b = strconv.AppendFloat(b, milliseconds(took), 'f', -1, 64)
	if n > 0 {
		b = append(strconv.AppendInt(append(b, `;desc="`...), n, 10), '"')
	}
	return b
}

// Write counts the bytes.
func (x *exchange) Write(p []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	n, err := x.ResponseWriter.Write(p)
	x.bytes += int64(n)
	return n, err
}

// FlushError sends what there is; it begins the answer as Write does.
func (x *exchange) FlushError() error {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	if err := http.NewResponseController(x.ResponseWriter).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// Unwrap lets http.ResponseController through.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }
