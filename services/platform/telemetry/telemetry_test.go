package telemetry_test

import (
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/trackway/trackway/services/platform/telemetry"
)

func TestUntracedWorkIsToldApart(t *testing.T) {
	t.Parallel()
	one := trace.SpanContextFromContext(telemetry.Untraced(t.Context()))
	two := trace.SpanContextFromContext(telemetry.Untraced(t.Context()))
	if !one.IsValid() || !two.IsValid() || one.IsSampled() || two.IsSampled() {
		t.Errorf("got %v and %v, want parents that are not recorded", one, two)
	}
	if one.TraceID() == two.TraceID() {
		t.Errorf("got the trace %s twice: its lines in the log are those of everybody", one.TraceID())
	}
}
