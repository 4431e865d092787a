package cache

import (
	"context"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/trackway/trackway/services/platform/telemetry"
)

// A command that is measured and not recorded, as 99 in a hundred are, allocates nothing for it.
//
//nolint:paralleltest // allocations are counted for the whole process
func TestMeasuringACommandAllocatesNothing(t *testing.T) {
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	duration, err := telemetry.NewDurations(meter, "test", "A test.", command.labels)
	if err != nil {
		t.Fatal(err)
	}
	o := &observer{tracer: telemetry.IDs{}.Tracer(""), duration: duration}
	do := func(context.Context) error { return nil }
	ctx := telemetry.Untraced(t.Context())
	if got := testing.AllocsPerRun(1000, func() { _ = o.observe(ctx, "evalsha", 1, do) }); got > 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}
