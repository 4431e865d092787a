package graph

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/telemetry"
)

// telemetry.go makes spans of operations and of the resolvers that do work, which are those that call a service: the
// fields at the root, and each place that is loaded. A field of a message is no work, and thousands of them no trace.
// A document is in no span, since people write what they like into it.

// watcher sees operations.
type watcher struct {
	tracer   trace.Tracer
	duration *telemetry.Durations[operation]
	names    *names
}

// operation is what operations that are measured together have in common.
type operation struct {
	kind    ast.Operation
	name    string
	failure string // the code of its first error
}

func (o operation) labels() []attribute.KeyValue {
	l := []attribute.KeyValue{
		semconv.GraphQLOperationTypeKey.String(string(o.kind)), semconv.GraphQLOperationName(o.name),
	}
	if o.failure != "" {
		l = append(l, semconv.ErrorTypeKey.String(o.failure))
	}
	return l
}

func newWatcher(cfg Config) *watcher {
	w := &watcher{tracer: telemetry.IDs{}.Tracer(""), names: newNames(cfg.Documents)}
	if cfg.Tracer != nil {
		w.tracer = cfg.Tracer.Tracer(telemetry.Scope)
	}
	var meter metric.MeterProvider = noop.NewMeterProvider()
	if cfg.Meter != nil {
		meter = cfg.Meter
	}
	var err error
	w.duration, err = telemetry.NewDurations(meter, "trackway.graphql.operation.duration", "How long GraphQL operations take.",
		operation.labels)
	if err != nil {
		panic(err) // the name is a constant
	}
	return w
}

// begin opens the span of an operation. What it gives closes it, with the errors of the answer.
func (w *watcher) begin(ctx context.Context, op *graphql.OperationContext) (context.Context, func(gqlerror.List)) {
	o := operation{kind: op.Operation.Operation, name: w.names.of(op.Operation.Name)}
	began := time.Now()
	var span trace.Span
	if telemetry.Recorded(ctx) {
		ctx, span = w.tracer.Start(ctx, string(o.kind), trace.WithSpanKind(trace.SpanKindInternal), trace.WithAttributes(
			semconv.GraphQLOperationTypeKey.String(string(o.kind)), semconv.GraphQLOperationName(o.name)))
	}
	return ctx, func(list gqlerror.List) {
		if len(list) > 0 {
			o.failure, _ = list[0].Extensions["code"].(string)
		}
		if o.kind != ast.Subscription { // how long a client listens is no latency
			w.duration.Record(ctx, o, time.Since(began))
		}
		if span == nil {
			return
		}
		if o.failure != "" {
			span.SetAttributes(semconv.ErrorTypeKey.String(o.failure))
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// resolve makes a span of a field at the root: of the operation, or of an event.
func (w *watcher) resolve(ctx context.Context, next graphql.Resolver) (any, error) {
	f := graphql.GetFieldContext(ctx)
	if !telemetry.Recorded(ctx) || !f.IsResolver || f.Parent != nil && f.Parent.Field.Field != nil {
		return next(ctx)
	}
	ctx, span := w.tracer.Start(ctx, f.Object+"."+f.Field.Name)
	defer span.End()
	res, err := next(ctx)
	if err != nil {
		span.SetStatus(codes.Error, "")
	}
	return res, err
}

// deliver begins the trace of the delivery of events to who subscribed to them. It is one of its own, linked to the
// writes that caused the events and to the subscription: that may last for days, and a trace should not.
func (w *watcher) deliver(ctx context.Context, news []events.News) (context.Context, trace.Span) {
	ctx, span := telemetry.Background(ctx, w.tracer, "deliver events", func(yield func(string) bool) {
		for _, n := range news {
			if !yield(n.Traceparent) {
				return
			}
		}
	})
	if span.IsRecording() {
		span.SetAttributes(semconv.MessagingBatchMessageCount(len(news)))
	}
	return ctx, span
}

// load makes a span of the loading of a field for all objects that stand at one place.
func (w *watcher) load(ctx context.Context, objects int) (context.Context, func(error)) {
	if !telemetry.Recorded(ctx) {
		return ctx, func(error) {}
	}
	f := graphql.GetFieldContext(ctx)
	ctx, span := w.tracer.Start(ctx, f.Object+"."+f.Field.Name, //nolint:spancheck // ended by what is given
		trace.WithAttributes(attribute.Int("trackway.graphql.objects", objects)))
	return ctx, func(err error) { //nolint:spancheck // see above
		if err != nil {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// names keeps the names of operations, which clients choose as they like, to a number that metrics can bear: those of
// the trusted documents, and of others the first to come.
type names struct {
	mu    sync.RWMutex
	known map[string]bool
	free  int
}

const (
	freeNames   = 100
	longestName = 64
	// otherName stands for all names beyond, and noName for none; no name of an operation can be these.
	otherName = "(other)"
	noName    = "(none)"
)

func newNames(documents map[string]string) *names {
	n := &names{known: make(map[string]bool), free: freeNames}
	for _, text := range documents {
		doc, err := parser.ParseQuery(&ast.Source{Input: text})
		if err != nil {
			continue // LoadDocuments has said so
		}
		for _, op := range doc.Operations {
			n.known[op.Name] = true
		}
	}
	return n
}

// of gives the name by which an operation is measured.
func (n *names) of(name string) string {
	switch {
	case name == "":
		return noName
	case len(name) > longestName:
		return otherName
	}
	n.mu.RLock()
	known, free := n.known[name], n.free
	n.mu.RUnlock()
	if known {
		return name
	}
	if free == 0 {
		return otherName
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.known[name] {
		if n.free == 0 {
			return otherName
		}
		n.known[strings.Clone(name)] = true // and not the document that it is a part of
		n.free--
	}
	return name
}
