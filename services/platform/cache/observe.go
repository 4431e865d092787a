package cache

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
	"go.opentelemetry.io/otel/trace"

	"github.com/trackway/trackway/services/platform/telemetry"
)

// Observe makes a span of each command whose trace is recorded, without its keys and values, and measures the client's
// commands and connections. go-redis's own instruments speak the conventions of 2023, and build their spans and labels
// anew for each command, recorded or not.
func Observe(client redis.UniversalClient, tracer trace.TracerProvider, meter metric.MeterProvider) error {
	duration, err := telemetry.NewDurations(meter, "db.client.operation.duration", "How long statements and commands take.",
		command.labels)
	if err != nil {
		return err
	}
	client.AddHook(&observer{tracer: tracer.Tracer(telemetry.Scope), duration: duration})
	return observePool(client, meter.Meter(telemetry.Scope))
}

// command is what commands that are measured together have in common. Its name is as go-redis writes it, in small
// letters, as most commands are measured and not recorded.
type command struct{ name, failure string }

// operation is its name by the conventions.
func (c command) operation() string { return strings.ToUpper(c.name) }

func (c command) labels() []attribute.KeyValue {
	l := []attribute.KeyValue{semconv.DBSystemNameRedis, semconv.DBOperationName(c.operation())}
	if c.failure != "" {
		l = append(l, semconv.ErrorTypeKey.String(c.failure))
	}
	return l
}

type observer struct {
	tracer   trace.Tracer
	duration *telemetry.Durations[command]
}

// DialHook lets connections be.
func (*observer) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook sees single commands.
func (o *observer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return o.observe(ctx, cmd.Name(), 1, func(ctx context.Context) error { return next(ctx, cmd) })
	}
}

// ProcessPipelineHook sees commands that are sent together.
func (o *observer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return o.observe(ctx, pipeline(cmds), len(cmds), func(ctx context.Context) error { return next(ctx, cmds) })
	}
}

// pipeline is the name of commands that are sent together, by the conventions: with that of the commands, if it is one.
func pipeline(cmds []redis.Cmder) string {
	for _, c := range cmds {
		if c.Name() != cmds[0].Name() {
			return "pipeline"
		}
	}
	return "pipeline " + cmds[0].Name()
}

func (o *observer) observe(ctx context.Context, name string, size int, do func(context.Context) error) error {
	c := command{name: name}
	var span trace.Span
	if telemetry.Recorded(ctx) {
		ctx, span = o.tracer.Start(ctx, c.operation(), trace.WithSpanKind(trace.SpanKindClient))
	}
	began := time.Now()
	err := do(ctx)
	took := time.Since(began)
	c.failure = failed(err)
	o.duration.Record(ctx, c, took)
	telemetry.AskedRedis(ctx, took)
	if span != nil {
		span.SetAttributes(c.labels()...)
		if size > 1 {
			span.SetAttributes(semconv.DBOperationBatchSize(size))
		}
		if c.failure != "" {
			span.SetStatus(codes.Error, c.failure) // messages quote keys
		}
		span.End()
	}
	return err
}

// failed is the kind of an error: the word by which Redis begins it, or what was wrong with the way there. That there is
// no value is none, nor that Redis does not know a script yet.
func failed(err error) string {
	if err == nil {
		return ""
	}
	var (
		said redis.Error
		way  net.Error
	)
	switch {
	case errors.Is(err, redis.Nil), redis.HasErrorPrefix(err, "NOSCRIPT"):
		return ""
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &way) && way.Timeout():
		return "timeout"
	case errors.As(err, &said):
		return prefix(said.Error())
	default:
		return "connection"
	}
}

// prefix is what Redis's errors begin with, such as WRONGTYPE; scripts may make errors that begin with anything.
func prefix(message string) string {
	const longest = 20
	word, _, _ := strings.Cut(message, " ")
	for _, c := range word {
		if c < 'A' || c > 'Z' || len(word) > longest {
			return "_OTHER"
		}
	}
	return word
}

// observePool measures the client's connections.
func observePool(client redis.UniversalClient, m metric.Meter) error {
	pooled := semconv.DBClientConnectionPoolName("redis")
	set := func(attrs ...attribute.KeyValue) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(append(attrs, pooled)...))
	}
	all, used, idle := set(), set(semconv.DBClientConnectionStateUsed), set(semconv.DBClientConnectionStateIdle)
	count, err := m.Int64ObservableUpDownCounter(dbconv.ClientConnectionCount{}.Name(),
		metric.WithUnit("{connection}"), metric.WithDescription("Connections, by what they do."))
	if err != nil {
		return fmt.Errorf("measure connections: %w", err)
	}
	timeouts, err := m.Int64ObservableCounter(dbconv.ClientConnectionTimeouts{}.Name(),
		metric.WithUnit("{timeout}"), metric.WithDescription("How often no connection became free in time."))
	if err != nil {
		return fmt.Errorf("measure connections: %w", err)
	}
	_, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		stat := client.PoolStats()
		o.ObserveInt64(count, int64(stat.TotalConns)-int64(stat.IdleConns), used)
		o.ObserveInt64(count, int64(stat.IdleConns), idle)
		o.ObserveInt64(timeouts, int64(stat.Timeouts), all)
		return nil
	}, count, timeouts)
	if err != nil {
		return fmt.Errorf("measure connections: %w", err)
	}
	return nil
}
