package app

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"
	"go.opentelemetry.io/otel/trace"
	rpccodes "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/telemetry"
)

// calls makes the spans of one end's calls, and measures them. It is our own and not otelgrpc's, which gathers what a span
// could hold of each call, recorded or not, and has gRPC tell of each message and header. Two things differ: a call that
// is tried again is one call, and one that no method answers is seen by the client only.
type calls struct {
	tracer   trace.Tracer
	start    []trace.SpanStartOption
	failed   func(grpccodes.Code) bool
	duration *telemetry.Durations[outcome]
}

// outcome is what calls that are measured together have in common.
type outcome struct {
	method string
	code   grpccodes.Code
}

func servedCalls(env Env) (*calls, error) {
	return newCalls(env, trace.SpanKindServer, rpcconv.ServerCallDuration{}.Name(), "How long it takes to answer calls.", isOurFault)
}

func sentCalls(env Env) (*calls, error) {
	return newCalls(env, trace.SpanKindClient, rpcconv.ClientCallDuration{}.Name(), "How long calls to other services take.",
		func(c grpccodes.Code) bool { return c != grpccodes.OK })
}

func newCalls(env Env, kind trace.SpanKind, name, description string, failed func(grpccodes.Code) bool) (*calls, error) {
	c := &calls{
		tracer: env.TracerProvider().Tracer(telemetry.Scope), start: []trace.SpanStartOption{trace.WithSpanKind(kind)}, failed: failed,
	}
	var err error
	c.duration, err = telemetry.NewDurations(env.MeterProvider(), name, description, c.labels)
	return c, err
}

// isOurFault tells what the conventions call an error of the server, as opposed to its refusal.
func isOurFault(c grpccodes.Code) bool {
	switch c {
	case grpccodes.Unknown, grpccodes.DeadlineExceeded, grpccodes.Unimplemented, grpccodes.Internal, grpccodes.Unavailable,
		grpccodes.DataLoss:
		return true
	default:
		return false
	}
}

func (c *calls) labels(o outcome) []attribute.KeyValue {
	name := rpccodes.Code(o.code).String()
	l := []attribute.KeyValue{semconv.RPCSystemNameGRPC, semconv.RPCMethod(o.method), semconv.RPCResponseStatusCode(name)}
	if c.failed(o.code) {
		l = append(l, semconv.ErrorTypeKey.String(name))
	}
	return l
}

// call is one that has begun.
type call struct {
	of     *calls
	method string
	began  time.Time
	span   trace.Span // nil if it is not recorded
	server *peer.Peer // has its address when the call is over; nil as span
}

// begin starts the span.
func (c *calls) begin(ctx context.Context, method string) (context.Context, call) {
	begun := call{of: c, method: strings.TrimPrefix(method, "/"), began: time.Now()}
	ctx, span := c.tracer.Start(ctx, begun.method, c.start...)
	if span.IsRecording() {
		begun.span, begun.server = span, new(peer.Peer)
	}
	return ctx, begun
}

// end tells of the call.
func (c call) end(ctx context.Context, err error) {
	o := outcome{c.method, status.Code(err)}
	c.of.duration.Record(ctx, o, time.Since(c.began))
	if c.span == nil {
		return
	}
	c.span.SetAttributes(append(c.of.labels(o), address(c.server.Addr)...)...)
	if c.of.failed(o.code) {
		c.span.SetStatus(codes.Error, status.Convert(err).Message())
	}
	c.span.End()
}

func address(addr net.Addr) []attribute.KeyValue {
	if addr == nil {
		return nil // it was not reached
	}
	host, number, err := net.SplitHostPort(addr.String())
	if err != nil {
		return []attribute.KeyValue{semconv.ServerAddress(addr.String())}
	}
	port, err := strconv.Atoi(number)
	if err != nil {
		return []attribute.KeyValue{semconv.ServerAddress(host)}
	}
	return []attribute.KeyValue{semconv.ServerAddress(host), semconv.ServerPort(port)}
}

// serve is the outermost layer of a method: it bounds a call, and tells of it.
func (c *calls) serve(replays *telemetry.Counts[string]) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		ctx, cancel := bounded(ctx)
		defer cancel()
		ctx, begun := c.beginServing(ctx, info.FullMethod)
		var spent telemetry.Spent
		answer, err := next(telemetry.WithSpent(ctx, &spent), req)
		if spent.IsReplay() {
			replays.Add(ctx, begun.method)
		}
		begun.end(ctx, err)
		return answer, err
	}
}

// serveStream is serve for a method that streams, which may take as long as it likes.
func (c *calls) serveStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, begun := c.beginServing(stream.Context(), info.FullMethod)
	err := next(srv, tracedStream{stream, ctx})
	told := err
	if _, ok := status.FromError(err); !ok {
		told = status.FromContextError(err).Err() // as gRPC answers
	}
	begun.end(ctx, told)
	return err
}

func (c *calls) beginServing(ctx context.Context, method string) (context.Context, call) {
	ctx, begun := c.begin(propagation.TraceContext{}.Extract(ctx, received{ctx}), method)
	if p, ok := peer.FromContext(ctx); ok && begun.span != nil {
		begun.server.Addr = p.LocalAddr
	}
	return ctx, begun
}

type tracedStream struct {
	grpc.ServerStream

	ctx context.Context //nolint:containedctx // a stream has no other way to pass it on
}

// Context has the span.
func (s tracedStream) Context() context.Context { return s.ctx }

// send is around every call of a client: it bounds it, sends the trace and the caller's own token with it, and tells of it.
func (c *calls) send(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker,
	opts ...grpc.CallOption,
) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	ctx, begun, opts := c.beginSending(ctx, method, opts)
	err := next(ctx, method, req, reply, cc, opts...)
	telemetry.Called(ctx, time.Since(begun.began))
	begun.end(ctx, err)
	return err
}

// sendStream is send for a method that streams, which may take as long as it likes.
func (c *calls) sendStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer,
	opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	ctx, begun, opts := c.beginSending(ctx, method, opts)
	return next(ctx, desc, cc, method, append(slices.Clip(opts), grpc.OnFinish(func(err error) { begun.end(ctx, err) }))...)
}

// beginSending makes no span in a trace that is not recorded: the server's is as good as the child of the one around it.
func (c *calls) beginSending(ctx context.Context, method string, opts []grpc.CallOption) (context.Context, call, []grpc.CallOption) {
	begun := call{of: c, method: strings.TrimPrefix(method, "/"), began: time.Now()}
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() || !sc.IsValid() {
		ctx, begun = c.begin(ctx, method)
	}
	if begun.server != nil {
		opts = append(slices.Clip(opts), grpc.Peer(begun.server))
	}
	headers := make(sent, 0, 6)
	propagation.TraceContext{}.Inject(ctx, &headers)
	return metadata.AppendToOutgoingContext(ctx, auth.Forward(ctx, headers)...), begun, opts
}

// bounded is ctx with an end, and no timer of its own where that comes soon enough.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= callTimeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// received are the headers of a call that is served.
type received struct{ context.Context } //nolint:containedctx // which is where gRPC keeps them

// Get gives the first value of a header.
func (r received) Get(key string) string {
	if values := metadata.ValueFromIncomingContext(r, key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Set sets nothing: what was received is not changed.
func (received) Set(string, string) {}

// Keys gives none: traces have headers that are known.
func (received) Keys() []string { return nil }

// sent are the headers of a call that is made, each before its value.
type sent []string

// Get gives nothing: what is sent is only written.
func (*sent) Get(string) string { return "" }

// Set adds a header.
func (s *sent) Set(key, value string) { *s = append(*s, key, value) }

// Keys gives none, as Get.
func (*sent) Keys() []string { return nil }
