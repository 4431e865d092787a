package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"go.opentelemetry.io/otel/trace"
)

// Main is the program of a service: it reads the configuration from the environment, and runs the command that the
// arguments name, or run when they name none, until SIGINT or SIGTERM. It returns the exit code.
func Main[C Configured](name string, run Command[C], commands map[string]Command[C]) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := start(ctx, name, os.Args[1:], run, commands); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// Configured is the configuration of a service, which holds what every service is told.
type Configured interface{ Common() Config }

// Command is something that a service's program does.
type Command[C Configured] func(ctx context.Context, cfg C, env Env) error

func start[C Configured](ctx context.Context, name string, args []string, run Command[C], commands map[string]Command[C],
) error {
	if len(args) > 0 {
		var known bool
		if run, known = commands[args[0]]; !known || len(args) > 1 {
			return fmt.Errorf("unknown arguments %q", args)
		}
	}
	cfg, err := Parse[C](nil)
	if err != nil {
		return err
	}
	log, err := NewLog(os.Stderr, cfg.Common())
	if err != nil {
		return err
	}
	return Start(ctx, name, cfg, Env{Log: log.With("service", name)}, run)
}

// Start runs a command of a service with its telemetry, and sends what is left of that when it ends.
func Start[C Configured](ctx context.Context, name string, cfg C, env Env, run Command[C]) (err error) {
	env, stop, err := env.telemetry(ctx, name, cfg.Common().Telemetry)
	if err != nil {
		return err
	}
	defer func() {
		if lost := stop(context.WithoutCancel(ctx)); lost != nil {
			env.Log.WarnContext(ctx, "the last spans or metrics are lost", "error", lost)
		}
	}()
	return run(ctx, cfg, env)
}

// NewLog makes a log whose lines carry the trace of their context.
func NewLog(w io.Writer, cfg Config) (*slog.Logger, error) {
	opts := &slog.HandlerOptions{Level: cfg.LogLevel}
	switch strings.ToLower(cfg.LogFormat) {
	case "json":
		return slog.New(traced{slog.NewJSONHandler(w, opts)}), nil
	case "text":
		return slog.New(traced{slog.NewTextHandler(w, opts)}), nil
	default:
		return nil, fmt.Errorf("LOG_FORMAT is %q, and must be json or text", cfg.LogFormat)
	}
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
