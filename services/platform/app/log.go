package app

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// openLog makes the log of a service, if there is none. Its lines carry the trace of their context, and its level can
// be changed while it runs.
func (e Env) openLog(service string, cfg Config) (Env, error) {
	e.level = new(slog.LevelVar)
	e.level.Set(cfg.LogLevel)
	if e.Log != nil {
		return e, nil
	}
	to := cmp.Or[io.Writer](e.LogTo, os.Stderr)
	opts := &slog.HandlerOptions{Level: e.level}
	var h slog.Handler
	switch strings.ToLower(cfg.LogFormat) {
	case "json":
		h = slog.NewJSONHandler(to, opts)
	case "text":
		h = slog.NewTextHandler(to, opts)
	default:
		return e, fmt.Errorf("LOG_FORMAT is %q, and must be json or text", cfg.LogFormat)
	}
	e.ownLog = traced{h}.WithAttrs([]slog.Attr{slog.String("service", service)})
	e.Log = slog.New(e.ownLog)
	return e, nil
}

type traced struct{ slog.Handler }

// Handle adds the trace and span of the context.
func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r) //nolint:wrapcheck // slog prints it as it is
}

// WithAttrs keeps the trace in derived logs.
func (h traced) WithAttrs(a []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(a)} }

// WithGroup keeps the trace in derived logs.
func (h traced) WithGroup(name string) slog.Handler { return traced{h.Handler.WithGroup(name)} }

// leveled is a handler that knows no level of its own.
type leveled struct {
	slog.Handler

	least slog.Leveler
}

// Enabled decides by the level.
func (h leveled) Enabled(_ context.Context, l slog.Level) bool { return l >= h.least.Level() }

// WithAttrs keeps the level in derived logs.
func (h leveled) WithAttrs(a []slog.Attr) slog.Handler {
	return leveled{h.Handler.WithAttrs(a), h.least}
}

// WithGroup keeps the level in derived logs.
func (h leveled) WithGroup(name string) slog.Handler {
	return leveled{h.Handler.WithGroup(name), h.least}
}
