// Package trash empties the trash of a service: what has been there for long enough is deleted for good.
package trash

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/trackway/trackway/services/platform/telemetry"
)

// Config says how long a service keeps what is in the trash.
type Config struct {
	Keep time.Duration `env:"TRASH_RETENTION" envDefault:"720h" doc:"How long what was deleted stays in the trash, from which it can be restored, before it is purged: 24h or more; 0 for ever"`
}

const (
	// minKeep is what other rules look back on: how often somebody may do something in a day, and the answers to requests
	// that are repeated.
	minKeep = 24 * time.Hour

	emptyEvery   = time.Hour
	batchTimeout = time.Minute
)

// Check is an error if what is in the trash could be gone too soon.
func (c Config) Check() error {
	if c.Keep != 0 && c.Keep < minKeep {
		return fmt.Errorf("TRASH_RETENTION is %v, and must be 0 or at least %v", c.Keep, minKeep)
	}
	return nil
}

// Empty calls purge every hour, until ctx ends, to delete what has been in the trash for longer than it is kept; never, if
// that is for ever.
func Empty(ctx context.Context, cfg Config, log *slog.Logger, tracer trace.TracerProvider,
	purge func(ctx context.Context, keep time.Duration) error,
) {
	if cfg.Keep == 0 {
		return
	}
	telemetry.Every(ctx, tracer.Tracer(telemetry.Scope), log, emptyEvery, "purge the trash",
		func(ctx context.Context) error { return purge(ctx, cfg.Keep) })
}

// Batches calls purge, each time with a deadline, while it says that there may be more.
func Batches(ctx context.Context, purge func(ctx context.Context) (more bool, err error)) error {
	for more := true; more; {
		limited, cancel := context.WithTimeout(ctx, batchTimeout)
		var err error
		more, err = purge(limited)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}
