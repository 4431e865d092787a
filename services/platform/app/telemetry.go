package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Telemetry says where traces and metrics go, in OpenTelemetry's standard variables. All others of the standard, such
// as OTEL_TRACES_SAMPLER or OTEL_RESOURCE_ATTRIBUTES, hold too: the SDK reads them itself.
type Telemetry struct {
	Endpoint string `env:"OTEL_EXPORTER_OTLP_ENDPOINT" doc:"OpenTelemetry collector that traces and metrics are sent to; none are without it. The other OTEL_ variables hold too"`
	Traces   string `env:"OTEL_TRACES_EXPORTER" doc:"Where traces go instead: otlp, console or none"`
	Metrics  string `env:"OTEL_METRICS_EXPORTER" doc:"Where metrics go instead: otlp, console or none; /metrics of the admin port has them in any case"`
}

// flushTimeout bounds how long a service that has stopped waits for its last spans to be sent.
const flushTimeout = 5 * time.Second

// telemetry makes the tracer, the meter and the page of metrics of a service, and a stop that sends what is left.
func (e Env) telemetry(ctx context.Context, service string, cfg Telemetry) (_ Env, stop func(context.Context) error, err error) {
	var stops []func(context.Context) error
	stop = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, flushTimeout)
		defer cancel()
		var all []error
		for _, s := range stops {
			all = append(all, s(ctx))
		}
		return errors.Join(all...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stop(context.WithoutCancel(ctx)))
		}
	}()
	who, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithFromEnv(),
		resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceNamespace("trackway")))
	if err != nil {
		return e, stop, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	if cfg.Endpoint != "" || cfg.Traces != "" {
		exporter, err := autoexport.NewSpanExporter(ctx)
		if err != nil {
			return e, stop, fmt.Errorf("send traces: %w", err)
		}
		if !autoexport.IsNoneSpanExporter(exporter) {
			tracer := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(who))
			e.Tracer, stops = tracer, append(stops, tracer.Shutdown)
		}
	}
	registry := prometheus.NewRegistry()
	scraped, err := otelprometheus.New(otelprometheus.WithRegisterer(registry))
	if err != nil {
		return e, stop, fmt.Errorf("serve metrics: %w", err)
	}
	readers := []sdkmetric.Option{sdkmetric.WithReader(scraped), sdkmetric.WithResource(who)}
	if cfg.Endpoint != "" || cfg.Metrics != "" {
		sent, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return e, stop, fmt.Errorf("send metrics: %w", err)
		}
		readers = append(readers, sdkmetric.WithReader(sent))
	}
	meter := sdkmetric.NewMeterProvider(readers...)
	e.Meter, stops = meter, append(stops, meter.Shutdown)
	if err := runtime.Start(runtime.WithMeterProvider(meter)); err != nil {
		return e, stop, fmt.Errorf("measure the Go runtime: %w", err)
	}
	e.metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	statements, err := newStatements(e.TracerProvider(), meter)
	if err != nil {
		return e, stop, err
	}
	e.Queries = append(slices.Clip(e.Queries), statements)
	return e, stop, nil
}

// TracerProvider makes spans that are not recorded, where nobody asked for others: a request still has a trace id from
// its beginning to its end, in every log line and answer.
func (e Env) TracerProvider() trace.TracerProvider {
	if e.Tracer != nil {
		return e.Tracer
	}
	return sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
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

// scope is the name under which our own spans and metrics appear.
const scope = "github.com/trackway/trackway"

func operation(name string) attribute.KeyValue { return semconv.DBOperationName(name) }
