package app

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // the images hold nothing but the program, so it brings the time zones

	"go.opentelemetry.io/otel"
	_ "golang.org/x/crypto/x509roots/fallback" // and the certificate authorities, where the system has none
	"google.golang.org/grpc/resolver/dns"
)

// Main is the program of a service: it reads the configuration from the environment, and runs the command that the
// arguments name, or run when they name none, until SIGINT or SIGTERM. It returns the exit code.
func Main[C Configured](name string, run Command[C], commands map[string]Command[C]) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	dns.SetMinResolutionInterval(lookAgainSoonest) // of all clients of the process; half a minute otherwise
	if err := start(ctx, name, os.Args[1:], run, commands); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// Program is a name for this program that no other has, and no other version of it: the beginning of the SHA-256 of its file.
func Program() (string, error) {
	const length = 9 // bytes; never so many programs meet that two would have the same
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the program: %w", err)
	}
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the program: %w", err)
	}
	sum := sha256.New()
	_, err = io.Copy(sum, file)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", fmt.Errorf("read the program: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:length]), nil
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
	return Start(ctx, name, cfg, Env{LogTo: os.Stderr}, func(ctx context.Context, cfg C, env Env) error {
		// OpenTelemetry tells what it can not send by a variable of its package, else in lines of another form than ours.
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
			env.Log.WarnContext(ctx, "telemetry does not work", "error", err)
		}))
		return run(ctx, cfg, env)
	})
}

// Start runs a command of a service with its log and telemetry, and sends what is left of that when it ends.
func Start[C Configured](ctx context.Context, name string, cfg C, env Env, run Command[C]) (err error) {
	env, err = env.openLog(name, cfg.Common())
	if err != nil {
		return err
	}
	env, stop, err := env.telemetry(ctx, name, cfg.Common().Telemetry)
	if err != nil {
		return err
	}
	defer func() {
		if lost := stop(context.WithoutCancel(ctx)); lost != nil {
			env.Log.WarnContext(ctx, "the last spans, metrics or log lines are lost", "error", lost)
		}
	}()
	return run(ctx, cfg, env)
}
