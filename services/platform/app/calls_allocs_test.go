package app //nolint:testpackage // what it hides has no other face

import (
	"context"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/trackway/trackway/services/platform/telemetry"
)

// What is spent on a call to observe it and to bound it: where nobody looks, and where it is measured but is not the one
// in a hundred that is recorded.
//
//nolint:paralleltest // allocations are counted for the whole process
func TestObservingACallCostsNextToNothingUnlessItIsRecorded(t *testing.T) {
	traced := metadata.MD{"traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}}
	for _, tt := range []struct {
		name          string
		env           Env
		serve, invoke float64 // the most allocations
	}{
		// The trace that came with the call, and what the handler notes; the trace that is sent.
		{"nobody looks", Env{}, 8, 8},
		{"measured and not recorded", Env{
			Tracer: sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample()))),
			Meter:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())),
		}, 10, 8},
	} {
		served, err := servedCalls(tt.env)
		if err != nil {
			t.Fatal(err)
		}
		sent, err := sentCalls(tt.env)
		if err != nil {
			t.Fatal(err)
		}
		replays, err := countReplays(tt.env)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		serve, info := served.serve(replays), &grpc.UnaryServerInfo{FullMethod: "/test.Echo/Put"}
		ctx = metadata.NewIncomingContext(ctx, traced)
		got := testing.AllocsPerRun(1000, func() {
			_, _ = serve(ctx, nil, info, func(context.Context, any) (any, error) { return info, nil })
		})
		if t.Logf("%s: %v allocations of the server", tt.name, got); got > tt.serve {
			t.Errorf("%s: got %v allocations of the server, want at most %v", tt.name, got, tt.serve)
		}
		ctx = telemetry.Untraced(ctx)
		got = testing.AllocsPerRun(1000, func() {
			_ = sent.send(ctx, info.FullMethod, nil, nil, nil,
				func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return nil })
		})
		if t.Logf("%s: %v allocations of the client", tt.name, got); got > tt.invoke {
			t.Errorf("%s: got %v allocations of the client, want at most %v", tt.name, got, tt.invoke)
		}
	}
}
