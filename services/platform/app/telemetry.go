package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/trackway/trackway/services/platform/telemetry"
)

// Telemetry says where traces, metrics and logs go, in OpenTelemetry's standard variables. All others of the standard,
// such as OTEL_RESOURCE_ATTRIBUTES or OTEL_EXPORTER_OTLP_HEADERS, hold too: the SDK reads them itself.
type Telemetry struct {
	Off      bool   `env:"OTEL_SDK_DISABLED" envDefault:"false" doc:"Whether nothing is measured and traced at all; requests still have a trace id"`
	Endpoint string `env:"OTEL_EXPORTER_OTLP_ENDPOINT" doc:"OpenTelemetry collector that traces, metrics and logs are sent to; none are without it. The other OTEL_ variables hold too"`
	Traces   string `env:"OTEL_TRACES_EXPORTER" doc:"Where traces go instead: otlp, console or none"`
	Metrics  string `env:"OTEL_METRICS_EXPORTER" doc:"Where metrics go instead: otlp, console or none; /metrics of the admin port has them in any case"`
	Logs     string `env:"OTEL_LOGS_EXPORTER" doc:"Where logs go beside standard error: otlp, console or none"`
	Sampler  string `env:"OTEL_TRACES_SAMPLER" envDefault:"parentbased_always_on" doc:"Which traces are recorded: always_on, always_off, traceidratio, or these after parentbased_, which does as the client did"`
	Ratio    string `env:"OTEL_TRACES_SAMPLER_ARG" envDefault:"1" doc:"Share of traces that traceidratio records, from 0 to 1"`
}

// flushTimeout bounds how long a service that has stopped waits for its last spans to be sent.
const flushTimeout = 5 * time.Second

// observed is what a service that starts gets, piece by piece, and stops again.
type observed struct {
	Env

	who   *resource.Resource
	stops []func(context.Context) error
}

// telemetry makes the tracer, the meter, the page of metrics and the log's way to the collector, and a stop that sends
// what is left.
func (e Env) telemetry(ctx context.Context, service string, cfg Telemetry) (_ Env, stop func(context.Context) error, err error) {
	o := &observed{Env: e}
	stop = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, flushTimeout)
		defer cancel()
		var all []error
		for _, s := range o.stops {
			all = append(all, s(ctx))
		}
		return errors.Join(all...)
	}
	if cfg.Off {
		return e, stop, nil
	}
	o.who, err = resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(semconv.ServiceInstanceID(uuid.NewString())),
		resource.WithFromEnv(), resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceNamespace("trackway"),
			semconv.ServiceVersion(builtFrom())))
	if err != nil {
		return e, stop, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	if err := errors.Join(o.trace(ctx, cfg), o.measure(ctx, cfg), o.forwardLog(ctx, cfg)); err != nil {
		return e, stop, errors.Join(err, stop(context.WithoutCancel(ctx)))
	}
	return o.Env, stop, nil
}

// builtFrom is the version of the program.
func builtFrom() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return info.Main.Version
}

func (o *observed) trace(ctx context.Context, cfg Telemetry) error {
	if cfg.Endpoint == "" && cfg.Traces == "" {
		return nil
	}
	sampler, err := newSampler(cfg.Sampler, cfg.Ratio)
	if err != nil {
		return err
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return fmt.Errorf("send traces: %w", err)
	}
	if autoexport.IsNoneSpanExporter(exporter) {
		return nil
	}
	tracer := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(o.who),
		sdktrace.WithSampler(sampler))
	o.Tracer, o.stops = tracer, append(o.stops, tracer.Shutdown)
	return nil
}

// newSampler reads the standard's variables, as the SDK would, and adds that work whose cause was recorded is recorded.
func newSampler(name, arg string) (sdktrace.Sampler, error) {
	var root sdktrace.Sampler
	kind, byParent := strings.CutPrefix(strings.ToLower(name), "parentbased_")
	switch kind {
	case "", "always_on":
		root = sdktrace.AlwaysSample()
	case "always_off":
		root = sdktrace.NeverSample()
	case "traceidratio":
		ratio, err := strconv.ParseFloat(arg, 64)
		if err != nil || ratio < 0 || ratio > 1 {
			return nil, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG is %q, and must be from 0 to 1", arg)
		}
		root = sdktrace.TraceIDRatioBased(ratio)
	default:
		return nil, fmt.Errorf("OTEL_TRACES_SAMPLER is %q, and must be always_on, always_off or traceidratio, "+
			"or one of them after parentbased_", name)
	}
	root = caused{root}
	if byParent || name == "" {
		return sdktrace.ParentBased(root), nil
	}
	return root, nil
}

// caused records a trace that is linked to one that was recorded, so that a write is seen to the end of all it causes.
type caused struct{ sdktrace.Sampler }

// ShouldSample decides about a root.
func (c caused) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	for _, l := range p.Links {
		if l.SpanContext.IsSampled() {
			return sdktrace.AlwaysSample().ShouldSample(p)
		}
	}
	return c.Sampler.ShouldSample(p)
}

func (o *observed) measure(ctx context.Context, cfg Telemetry) error {
	registry := prometheus.NewRegistry()
	scraped, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo(),
		// So that a query can tell the services apart, whoever scrapes them and however that names them.
		otelprometheus.WithResourceAsConstantLabels(attribute.NewAllowKeysFilter(semconv.ServiceNameKey)))
	if err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	opts := []sdkmetric.Option{sdkmetric.WithReader(scraped), sdkmetric.WithResource(o.who)}
	if cfg.Endpoint != "" || cfg.Metrics != "" {
		sent, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return fmt.Errorf("send metrics: %w", err)
		}
		opts = append(opts, sdkmetric.WithReader(sent))
	}
	meter := sdkmetric.NewMeterProvider(opts...)
	o.Meter, o.stops = meter, append(o.stops, meter.Shutdown)
	if err := runtime.Start(runtime.WithMeterProvider(meter)); err != nil {
		return fmt.Errorf("measure the Go runtime: %w", err)
	}
	o.metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}) // which has exemplars
	statements, err := newStatements(o.TracerProvider(), meter)
	if err != nil {
		return err
	}
	o.Queries = append(slices.Clip(o.Queries), statements)
	return nil
}

// forwardLog sends the log to the collector too, if it is a log of ours.
func (o *observed) forwardLog(ctx context.Context, cfg Telemetry) error {
	if o.ownLog == nil || cfg.Endpoint == "" && cfg.Logs == "" {
		return nil
	}
	exporter, err := autoexport.NewLogExporter(ctx)
	if err != nil {
		return fmt.Errorf("send logs: %w", err)
	}
	if autoexport.IsNoneLogExporter(exporter) {
		return nil
	}
	provider := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(exporter)), sdklog.WithResource(o.who))
	o.stops = append(o.stops, provider.Shutdown)
	bridge := otelslog.NewHandler(telemetry.Scope, otelslog.WithLoggerProvider(provider))
	o.Log = slog.New(slog.NewMultiHandler(o.ownLog, leveled{bridge, o.level}))
	return nil
}

// TracerProvider makes only ids where nobody asked for spans: a request still has a trace id from its beginning to its
// end, in every log line and answer.
func (e Env) TracerProvider() trace.TracerProvider {
	if e.Tracer != nil {
		return e.Tracer
	}
	return telemetry.IDs{}
}

// MeterProvider measures nothing where nobody asked for it.
func (e Env) MeterProvider() metric.MeterProvider {
	if e.Meter != nil {
		return e.Meter
	}
	return noop.NewMeterProvider()
}

// metricsPage serves the metrics in the form of Prometheus.
func (e Env) metricsPage() http.Handler {
	if e.metrics != nil {
		return e.metrics
	}
	return http.NotFoundHandler()
}
