package telemetry

import (
	"context"
	"encoding/binary"
	"math/rand/v2"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
)

// IDs is for where no span is recorded: it begins traces, so that a request has one id in every log line and answer, and
// passes on those that others began. Below the first span it costs nothing.
type IDs struct{ embedded.TracerProvider }

// Tracer gives the tracer.
func (IDs) Tracer(string, ...trace.TracerOption) trace.Tracer { return ids{} }

type ids struct{ embedded.Tracer }

// Start begins a trace where there is none.
func (ids) Start(ctx context.Context, _ string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if span := trace.SpanFromContext(ctx); span.SpanContext().IsValid() && !newRoot(opts) {
		return ctx, span
	}
	ctx = unrecorded(ctx)
	return ctx, trace.SpanFromContext(ctx)
}

// unrecorded begins a trace that goes nowhere.
func unrecorded(ctx context.Context) context.Context {
	var (
		t trace.TraceID
		s trace.SpanID
	)
	// They name, and protect nothing; what they must be is unique, and never zero.
	binary.NativeEndian.PutUint64(t[:8], rand.Uint64()|1) //nolint:gosec // see above
	binary.NativeEndian.PutUint64(t[8:], rand.Uint64())   //nolint:gosec // see above
	binary.NativeEndian.PutUint64(s[:], rand.Uint64()|1)  //nolint:gosec // see above
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: t, SpanID: s}))
}

func newRoot(opts []trace.SpanStartOption) bool {
	if len(opts) == 0 {
		return false
	}
	c := trace.NewSpanStartConfig(opts...)
	return c.NewRoot()
}
