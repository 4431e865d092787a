package cache

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/uptrace/bun"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/telemetry"
)

// Leases are how a writer that can not reach Redis keeps what it changes from being answered out of the cache, even by
// replicas that do reach it.
//
// An answer is believed only while each service's lease lasts. Every replica of the service keeps extending it by a
// little, after it has looked into the service's database whether that is suspended. A writer without Redis suspends
// it there, waits until what was extended before has run out, holds the suspension in its own transaction, and commits.
// A lease that ran out begins anew under another name, and an answer kept under the old name is not believed any more:
// nobody has to remember what was not announced meanwhile.
//
// No two clocks are compared. A lease ends leaseTime after the moment at which its keeper read Redis's clock, before it
// looked into the database; a reader counts from before it asked for what is left; and a writer waits, by the
// database's clock, from its own suspension on.
const (
	leaseTime = 2 * time.Second
	// leaseEvery is how often a lease is extended, and leaseTimeout bounds one attempt.
	leaseEvery   = 400 * time.Millisecond
	leaseTimeout = time.Second
	// suspendedSeconds is how long a suspension lasts after the last write that needed it; it is renewed when suspendedLeft
	// is left of it.
	suspendedSeconds = "5"
	suspendedLeft    = 3 * time.Second
	// settled is how long after a suspension no writer can hold it any more.
	settled = time.Minute
	// waitLeast is how long a writer waits at least before it looks again whether the leases have run out.
	waitLeast = 5 * time.Millisecond
)

// Keep extends the lease of a service, by name, until ctx ends.
func Keep(ctx context.Context, name string, client redis.UniversalClient, db *postgres.DB, log *slog.Logger) {
	k := keeper{
		key: leasePrefix + name, client: client, db: db, clock: newScript(clockScript), extend: newScript(leaseScript),
	}
	ctx = telemetry.Untraced(ctx)
	tick := time.NewTicker(leaseEvery)
	defer tick.Stop()
	for failing := false; ; {
		err := k.renew(ctx)
		if ctx.Err() != nil {
			return
		}
		switch failed := err != nil; {
		case failed && !failing:
			log.WarnContext(ctx, "the lease on cached answers can not be extended", "error", err)
		case failing && !failed:
			log.InfoContext(ctx, "the lease on cached answers is extended again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

type keeper struct {
	key           string
	client        redis.UniversalClient
	db            *postgres.DB
	clock, extend script
}

// renew extends the lease once, unless it is suspended.
func (k *keeper) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	now, err := k.clock.Run(ctx, k.client, []string{k.key}).Int64()
	if err != nil {
		return fmt.Errorf("read the clock of Redis: %w", err)
	}
	until := now + leaseTime.Milliseconds()
	extend := func(ctx context.Context) error {
		err := k.extend.Run(ctx, k.client, []string{k.key}, rand.Text()[:13], strconv.FormatInt(until, 10)).Err()
		if err != nil {
			return fmt.Errorf("extend a lease: %w", err)
		}
		return nil
	}
	var suspended, recently bool
	err = k.db.NewRaw(`SELECT until > clock_timestamp(), until > clock_timestamp() - ? * interval '1 second'
		FROM cache_suspension`, settled.Seconds()).Scan(ctx, &suspended, &recently)
	switch {
	case err != nil:
		return fmt.Errorf("look for a suspension: %w", err)
	case suspended:
		return nil
	case !recently:
		return extend(ctx)
	}
	// Writers may still hold the suspension, though its time is over.
	return k.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		var free []bool
		err := tx.NewRaw(`SELECT until <= clock_timestamp() FROM cache_suspension FOR UPDATE SKIP LOCKED`).Scan(ctx, &free)
		if err != nil || len(free) == 0 || !free[0] {
			return err
		}
		return extend(ctx)
	})
}

// suspend suspends the lease of the service, and returns when none lasts any more.
func (w *Writer) suspend(ctx context.Context, db bun.IDB) error {
	for {
		var (
			left float64         // seconds of the suspension
			wait sql.NullFloat64 // seconds until all leases have run out
		)
		err := db.NewRaw(`SELECT extract(epoch FROM greatest(until, '1970-01-01') - clock_timestamp()),
				extract(epoch FROM since + ? * interval '1 second' - clock_timestamp())
			FROM cache_suspension`, leaseTime.Seconds()).Scan(ctx, &left, &wait)
		if err != nil {
			return fmt.Errorf("look for a suspension: %w", err)
		}
		if left < suspendedLeft.Seconds() || !wait.Valid {
			// On a connection of its own: those of the pool may all be waiting here. One at a time does it for all.
			_, err, _ := w.suspends.Do("", func() (any, error) { return nil, w.extendSuspension(ctx) })
			if ctx.Err() == nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
				continue // another one's request has ended
			}
			if err != nil {
				return err
			}
			continue
		}
		if wait.Float64 <= 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for leases to run out: %w", ctx.Err())
		case <-time.After(max(time.Duration(wait.Float64*float64(time.Second)), waitLeast)):
		}
	}
}

func (w *Writer) extendSuspension(ctx context.Context) error {
	err := w.db.Alone(ctx, []string{
		`UPDATE cache_suspension SET since = CASE WHEN until > clock_timestamp() THEN since END,
			until = clock_timestamp() + ` + suspendedSeconds + ` * interval '1 second'`,
		// After the first has been committed: from then on no keeper overlooks it.
		`UPDATE cache_suspension SET since = clock_timestamp() WHERE since IS NULL`,
	})
	if err != nil {
		return fmt.Errorf("suspend the cache: %w", err)
	}
	return nil
}

// holdSuspended suspends the lease and makes sure that nobody ends the suspension before the transaction ends.
func (w *Writer) holdSuspended(ctx context.Context, tx bun.Tx) error {
	for {
		if err := w.suspend(ctx, tx); err != nil {
			return errs.New(errs.Unavailable, "The change can not be announced. Try again shortly.").Because(err)
		}
		var held bool
		err := tx.NewRaw(`SELECT until > clock_timestamp() AND since + ? * interval '1 second' < clock_timestamp()
			FROM cache_suspension FOR SHARE`, leaseTime.Seconds()).Scan(ctx, &held)
		if err != nil {
			return fmt.Errorf("hold the suspension: %w", err)
		}
		if held {
			return nil
		}
	}
}
