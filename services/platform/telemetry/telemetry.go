// Package telemetry is what our own instruments have in common: durations whose labels are built once, what one
// request spends where, and the traces of work that nobody waits for.
package telemetry

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Scope is the name under which our own spans and metrics appear.
const Scope = "github.com/trackway/trackway"

// Buckets are the bounds of the histograms of durations, in seconds: those that the conventions advise, and two below
// them, since an answer from the cache takes less than their first.
func Buckets() []float64 {
	return []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
}

// labels are those of an instrument by a key, whose values must be few: a route and a status, and never an id. They are
// made when a key is first seen, which is most of what recording would cost, together with the list that they are passed
// in.
type labels[K comparable, O any] struct {
	of   func(K) []attribute.KeyValue
	list func(metric.MeasurementOption) []O

	mu   sync.RWMutex
	made map[K][]O
}

func (l *labels[K, O]) get(key K) []O {
	l.mu.RLock()
	opts, ok := l.made[key]
	l.mu.RUnlock()
	if !ok {
		opts = l.list(metric.WithAttributeSet(attribute.NewSet(l.of(key)...)))
		l.mu.Lock()
		l.made[key] = opts
		l.mu.Unlock()
	}
	return opts
}

// Durations is a histogram of durations in seconds by a key, of which there must be few.
type Durations[K comparable] struct {
	histogram metric.Float64Histogram
	labels    labels[K, metric.RecordOption]
}

// NewDurations makes the histogram. of gives the labels of a key.
func NewDurations[K comparable](p metric.MeterProvider, name, description string, of func(K) []attribute.KeyValue,
) (*Durations[K], error) {
	h, err := p.Meter(Scope).Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
		metric.WithExplicitBucketBoundaries(Buckets()...))
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", name, err)
	}
	return &Durations[K]{histogram: h, labels: labels[K, metric.RecordOption]{
		of: of, made: make(map[K][]metric.RecordOption),
		list: func(o metric.MeasurementOption) []metric.RecordOption { return []metric.RecordOption{o} },
	}}, nil
}

// Record adds a duration. The trace of ctx becomes an exemplar, if it is recorded.
func (d *Durations[K]) Record(ctx context.Context, key K, took time.Duration) {
	if !d.histogram.Enabled(ctx) {
		return
	}
	d.histogram.Record(ctx, took.Seconds(), d.labels.get(key)...)
}

// Counts is a counter by a key, of which there must be few.
type Counts[K comparable] struct {
	counter metric.Int64Counter
	labels  labels[K, metric.AddOption]
}

// NewCounts makes the counter. of gives the labels of a key.
func NewCounts[K comparable](p metric.MeterProvider, name, unit, description string, of func(K) []attribute.KeyValue,
) (*Counts[K], error) {
	c, err := p.Meter(Scope).Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
	if err != nil {
		return nil, fmt.Errorf("count %s: %w", name, err)
	}
	return &Counts[K]{counter: c, labels: labels[K, metric.AddOption]{
		of: of, made: make(map[K][]metric.AddOption),
		list: func(o metric.MeasurementOption) []metric.AddOption { return []metric.AddOption{o} },
	}}, nil
}

// Add counts one.
func (c *Counts[K]) Add(ctx context.Context, key K) {
	if c.counter.Enabled(ctx) {
		c.counter.Add(ctx, 1, c.labels.get(key)...)
	}
}

// Recorded reports whether the spans of ctx go anywhere. What a span holds is not worth gathering otherwise.
func Recorded(ctx context.Context) bool { return trace.SpanContextFromContext(ctx).IsSampled() }

// Untraced makes what is done over and over again leave no traces: its parent is one that is not recorded. Each time it is
// another, by which the log lines of one time are found in all services.
func Untraced(ctx context.Context) context.Context { return unrecorded(ctx) }

// Background begins the trace of work that nobody waits for, such as the passing on of events, linked to what caused it:
// the traceparents that were stored with the causes, and the span of ctx, if there is one. Those that were not recorded are
// left out, as they lead nowhere. The work is recorded if one of its causes was, so that a recorded write is seen to its
// end, and otherwise as often as any trace.
func Background(ctx context.Context, t trace.Tracer, name string, causes iter.Seq[string]) (context.Context, trace.Span) {
	var (
		links []trace.Link
		last  string
	)
	if own := trace.SpanContextFromContext(ctx); own.IsSampled() {
		links = append(links, trace.Link{SpanContext: own})
	}
	for cause := range causes {
		if cause == last || !sampled(cause) || len(links) == maxLinks {
			continue // events of one write stand together
		}
		last = cause
		if sc := Cause(cause); sc.IsValid() {
			links = append(links, trace.Link{SpanContext: sc})
		}
	}
	return t.Start(ctx, name, trace.WithNewRoot(), trace.WithLinks(links...)) //nolint:spancheck // the caller ends it
}

// Job does work that nobody waits for in a trace of its own, linked to its causes, of which there need be none.
func Job(ctx context.Context, t trace.Tracer, name string, do func(context.Context) error, causes ...string) error {
	ctx, span := Background(ctx, t, name, slices.Values(causes))
	defer span.End()
	err := do(ctx)
	if err != nil {
		span.SetStatus(codes.Error, "") // what it was stands in the log, and at the statement or call that failed
	}
	return err
}

// Every does such work at once and then every so often, until ctx ends. That it failed is logged, and it is done again the
// next time all the same.
func Every(ctx context.Context, t trace.Tracer, log *slog.Logger, every time.Duration, name string, do func(context.Context) error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		_ = Job(ctx, t, name, func(ctx context.Context) error {
			err := do(ctx)
			if err != nil && ctx.Err() == nil {
				log.ErrorContext(ctx, "work in the background failed", "work", name, "error", err)
			}
			return err
		})
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sampled reads the flags of a traceparent, which is not worth parsing if they say that nobody recorded it.
func sampled(traceparent string) bool {
	return traceparent != "" && (traceparent[len(traceparent)-1]-'0')&1 == 1
}

// maxLinks is how many causes one piece of work tells of.
const maxLinks = 32

// Traceparent names the span of ctx, to be stored with what will be caused by it; "" if there is none.
func Traceparent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier["traceparent"]
}

// Cause reads a traceparent (https://www.w3.org/TR/trace-context/); the result is not valid if that is not.
func Cause(traceparent string) trace.SpanContext {
	carrier := propagation.MapCarrier{"traceparent": traceparent}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}
