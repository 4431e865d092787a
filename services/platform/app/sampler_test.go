package app //nolint:testpackage // what it hides has no other face

import (
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/trackway/trackway/services/platform/telemetry"
)

func TestWhichTracesAreRecorded(t *testing.T) {
	t.Parallel()
	const recorded, unrecorded = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
	tests := []struct {
		sampler, ratio, parent, cause string
		want                          bool
	}{
		{sampler: "parentbased_traceidratio", ratio: "0", want: false},
		{sampler: "parentbased_traceidratio", ratio: "1", want: true},
		{sampler: "parentbased_traceidratio", ratio: "0", parent: recorded, want: true},
		{sampler: "parentbased_traceidratio", ratio: "1", parent: unrecorded, want: false},
		{sampler: "traceidratio", ratio: "0", parent: recorded, want: false},
		{sampler: "parentbased_traceidratio", ratio: "0", cause: recorded, want: true}, // a write is seen to its end
		{sampler: "parentbased_traceidratio", ratio: "0", cause: unrecorded, want: false},
		{sampler: "parentbased_always_off", want: false},
		{sampler: "", want: true},
	}
	for _, tt := range tests {
		sampler, err := newSampler(tt.sampler, tt.ratio)
		if err != nil {
			t.Fatal(err)
		}
		p := sdktrace.SamplingParameters{ParentContext: t.Context(), TraceID: trace.TraceID{15: 1}}
		if tt.parent != "" {
			p.ParentContext = trace.ContextWithRemoteSpanContext(t.Context(), telemetry.Cause(tt.parent))
		}
		if tt.cause != "" {
			p.Links = []trace.Link{{SpanContext: telemetry.Cause(tt.cause)}}
		}
		if got := sampler.ShouldSample(p).Decision == sdktrace.RecordAndSample; got != tt.want {
			t.Errorf("%+v: recorded: %t", tt, got)
		}
	}
	for _, wrong := range [][2]string{{"jaeger_remote", ""}, {"traceidratio", "2"}, {"parentbased_traceidratio", "half"}} {
		if _, err := newSampler(wrong[0], wrong[1]); err == nil {
			t.Errorf("%q is no sampler, and was one", wrong)
		}
	}
}
