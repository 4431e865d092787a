// Package traces is an OpenTelemetry collector for one machine. It takes what services send, by the receiver of the
// real Collector, and keeps the last traces, with the log lines that belong to them: for the page of `make run` that
// shows them, and for the tests that ask what was sent.
package traces

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
)

// keep is how many traces are kept; of older ones nothing is left.
const keep = 500

// maxSpans bounds the spans and lines of one trace that are kept.
const maxSpans = 5000

// Collector is a running collector.
type Collector struct {
	// Endpoint is what services are told as OTEL_EXPORTER_OTLP_ENDPOINT, with the protocol grpc.
	Endpoint string

	stop func(context.Context) error

	mu     sync.Mutex
	all    io.Writer // gets everything, as JSON
	traces map[string]*Trace
	order  []string // of the ids, by their first span
}

// Trace is what belongs together.
type Trace struct {
	ID    string
	Spans []Span
	Lines []Line
}

// Span is a part of a trace.
type Span struct {
	Service, Name, ID, Parent string
	Start                     time.Time
	Took                      time.Duration
	Failed                    bool
	Attributes                map[string]string
	Links                     []string // the ids of the traces that caused it
}

// Line is a line of a log.
type Line struct {
	Service, Level, Text, Span string
	At                         time.Time
	Attributes                 map[string]string
}

// Listen starts a collector on a free port of this machine. Everything that it gets is written to all, too, if that is
// not nil.
func Listen(ctx context.Context, all io.Writer) (*Collector, error) {
	c := &Collector{all: all, traces: make(map[string]*Trace)}
	const tries = 10 // between finding a port and taking it, another program may be faster
	var err error
	for range tries {
		var address string
		if address, err = freeAddress(ctx); err != nil {
			return nil, err
		}
		if c.stop, err = c.listen(ctx, address); err == nil {
			c.Endpoint = "http://" + address
			return c, nil
		}
	}
	return nil, fmt.Errorf("start the collector: %w", err)
}

func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// host has no extensions.
type host struct{}

// GetExtensions gives none.
func (host) GetExtensions() map[component.ID]component.Component { return nil }

func (c *Collector) listen(ctx context.Context, address string) (stop func(context.Context) error, err error) {
	factory := otlpreceiver.NewFactory()
	cfg, ok := factory.CreateDefaultConfig().(*otlpreceiver.Config)
	if !ok {
		return nil, errors.New("the receiver has another configuration than expected")
	}
	cfg.Protocols.GRPC.GetOrInsertDefault().NetAddr.Endpoint = address
	set := receiver.Settings{
		ID: component.NewID(factory.Type()),
		TelemetrySettings: component.TelemetrySettings{
			Logger: zap.NewNop(), TracerProvider: tracenoop.NewTracerProvider(), MeterProvider: metricnoop.NewMeterProvider(),
			Resource: pcommon.NewResource(),
		},
	}
	traces, err := consumer.NewTraces(c.takeTraces)
	if err != nil {
		return nil, err
	}
	metrics, err := consumer.NewMetrics(c.takeMetrics)
	if err != nil {
		return nil, err
	}
	logs, err := consumer.NewLogs(c.takeLogs)
	if err != nil {
		return nil, err
	}
	one, err := factory.CreateTraces(ctx, set, cfg, traces)
	if err != nil {
		return nil, err
	}
	// The three are one server.
	if _, err := factory.CreateMetrics(ctx, set, cfg, metrics); err != nil {
		return nil, err
	}
	if _, err := factory.CreateLogs(ctx, set, cfg, logs); err != nil {
		return nil, err
	}
	if err := one.Start(context.WithoutCancel(ctx), host{}); err != nil {
		return nil, errors.Join(err, one.Shutdown(context.WithoutCancel(ctx)))
	}
	return one.Shutdown, nil
}

// Stop stops it. What it has is still there.
func (c *Collector) Stop(ctx context.Context) error { return c.stop(ctx) }

func (c *Collector) takeTraces(_ context.Context, got ptrace.Traces) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, from := range got.ResourceSpans().All() {
		service := service(from.Resource())
		for _, scope := range from.ScopeSpans().All() {
			for _, s := range scope.Spans().All() {
				span := Span{
					Service: service, Name: s.Name(), ID: s.SpanID().String(), Parent: s.ParentSpanID().String(),
					Start: s.StartTimestamp().AsTime(), Took: s.EndTimestamp().AsTime().Sub(s.StartTimestamp().AsTime()),
					Failed: s.Status().Code() == ptrace.StatusCodeError, Attributes: texts(s.Attributes()),
				}
				for _, l := range s.Links().All() {
					span.Links = append(span.Links, l.TraceID().String())
				}
				if t := c.trace(s.TraceID()); len(t.Spans) < maxSpans {
					t.Spans = append(t.Spans, span)
				}
			}
		}
	}
	return c.write((&ptrace.JSONMarshaler{}).MarshalTraces(got))
}

func (c *Collector) takeLogs(_ context.Context, got plog.Logs) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, from := range got.ResourceLogs().All() {
		service := service(from.Resource())
		for _, scope := range from.ScopeLogs().All() {
			for _, l := range scope.LogRecords().All() {
				if l.TraceID().IsEmpty() {
					continue
				}
				if t := c.trace(l.TraceID()); len(t.Lines) < maxSpans {
					t.Lines = append(t.Lines, Line{
						Service: service, Level: l.SeverityText(), Text: l.Body().AsString(), Span: l.SpanID().String(),
						At: l.Timestamp().AsTime(), Attributes: texts(l.Attributes()),
					})
				}
			}
		}
	}
	return c.write((&plog.JSONMarshaler{}).MarshalLogs(got))
}

func (c *Collector) takeMetrics(_ context.Context, got pmetric.Metrics) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write((&pmetric.JSONMarshaler{}).MarshalMetrics(got))
}

func (c *Collector) write(text []byte, err error) error {
	if c.all == nil || err != nil {
		return err
	}
	_, err = c.all.Write(append(text, '\n'))
	return err
}

// trace gives the trace with an id, a new one if need be. The oldest makes room for it.
func (c *Collector) trace(id pcommon.TraceID) *Trace {
	t, ok := c.traces[id.String()]
	if ok {
		return t
	}
	t = &Trace{ID: id.String()}
	c.traces[t.ID], c.order = t, append(c.order, t.ID)
	if len(c.order) > keep {
		delete(c.traces, c.order[0])
		c.order = slices.Delete(c.order, 0, 1)
	}
	return t
}

// Trace gives what has come of a trace, the earliest first.
func (c *Collector) Trace(id string) Trace {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.traces[id]
	if !ok {
		return Trace{ID: id}
	}
	return t.sorted()
}

// Last gives the traces that are kept, the youngest first.
func (c *Collector) Last() []Trace {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Trace, 0, len(c.order))
	for _, id := range slices.Backward(c.order) {
		all = append(all, c.traces[id].sorted())
	}
	return all
}

func (t Trace) sorted() Trace {
	s := Trace{ID: t.ID, Spans: slices.Clone(t.Spans), Lines: slices.Clone(t.Lines)}
	slices.SortStableFunc(s.Spans, func(a, b Span) int { return a.Start.Compare(b.Start) })
	slices.SortStableFunc(s.Lines, func(a, b Line) int { return a.At.Compare(b.At) })
	return s
}

// Placed is a span at its place in the tree of its trace.
type Placed struct {
	Span

	Depth int
}

// Tree gives the spans below a parent, depth first, siblings by their beginning; with an empty parent the whole trace,
// where those whose parent nobody sent stand at the root.
func (t Trace) Tree(parent string) []Placed {
	known := make(map[string]bool, len(t.Spans))
	for _, s := range t.Spans {
		known[s.ID] = true
	}
	var tree []Placed
	var add func(parent string, depth int)
	add = func(parent string, depth int) {
		for _, s := range t.Spans {
			if s.Parent == parent || parent == "" && !known[s.Parent] {
				tree = append(tree, Placed{s, depth})
				if s.ID != "" {
					add(s.ID, depth+1)
				}
			}
		}
	}
	add(parent, 0)
	return tree
}

// Text is the trace for a person who reads a test: one line a span, indented, siblings by their names.
func (t Trace) Text(parent string) string {
	byName := Trace{ID: t.ID, Spans: slices.Clone(t.Spans)}
	slices.SortStableFunc(byName.Spans, func(a, b Span) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name))
	})
	var out strings.Builder
	for _, p := range byName.Tree(parent) {
		out.WriteString(strings.Repeat("  ", p.Depth) + p.Service + ": " + p.Name + "\n")
	}
	return out.String()
}

func service(r pcommon.Resource) string {
	name, _ := r.Attributes().Get("service.name")
	return cmp.Or(name.AsString(), "unknown")
}

func texts(m pcommon.Map) map[string]string {
	all := make(map[string]string, m.Len())
	for k, v := range m.All() {
		all[k] = v.AsString()
	}
	return all
}
