// Package write is the one path by which a service changes its database: the row, its event and the stored answer of
// the request's idempotency key are committed together or not at all.
package write

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/uptrace/bun"
	"google.golang.org/protobuf/proto"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/idempotency"
	"github.com/trackway/trackway/services/platform/postgres"
)

// Change is what a write leaves behind beside the row.
type Change struct {
	// Events are what happened; none when the write changed nothing.
	Events []events.Event
	// Answer is what the request is answered with, now and whenever it is retried with the same key.
	Answer proto.Message
}

// Tx runs change in a transaction, and with it appends the events and stores the answer. Errors of Postgres are
// translated for the noun.
func Tx(ctx context.Context, db bun.IDB, noun string, change func(ctx context.Context, tx bun.Tx) (Change, error)) error {
	appended := false
	err := db.RunInTx(ctx, &sql.TxOptions{}, func(ctx context.Context, tx bun.Tx) error {
		if err := idempotency.Begin(ctx, tx); err != nil {
			return err
		}
		c, err := change(ctx, tx)
		if err != nil {
			return err
		}
		if err := events.Append(ctx, tx, c.Events...); err != nil {
			return err
		}
		appended = len(c.Events) > 0
		return idempotency.Store(ctx, tx, c.Answer)
	})
	if relay, ok := db.(interface{ Appended() }); ok && appended && err == nil {
		relay.Appended()
	}
	return postgres.Error(err, noun)
}

// Migrations creates what Tx writes beside a service's own tables.
func Migrations() []fs.FS { return []fs.FS{events.Migrations(), idempotency.Migrations()} }

// Unchanged stores the answer of a request that found nothing to change, if it carries an idempotency key: repeated
// later, when others have made changes, it must not undo them.
func Unchanged(ctx context.Context, db bun.IDB, noun string, answer proto.Message) error {
	if !idempotency.Keyed(ctx) {
		return nil
	}
	return Tx(ctx, db, noun, func(context.Context, bun.Tx) (Change, error) { return Changed(answer), nil })
}

// ErrRaced says that an optimistic update found the row changed since it was read.
var ErrRaced = errors.New("the row has changed since it was read")

// An update without a precondition is tried so often against concurrent ones, and waits at random between attempts, up
// to pause at first and twice as long each time, so that those who race do not go on in step.
const (
	attempts = 10
	pause    = time.Millisecond
)

// Retry runs an optimistic update again while it is raced by others. It is for updates without a precondition of the
// caller's: they have no version to insist on, and read the row anew each time.
func Retry(ctx context.Context, update func(ctx context.Context) error) error {
	for n := range attempts {
		if err := update(ctx); !errors.Is(err, ErrRaced) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(pause << n)): //nolint:gosec // no secret depends on it
		}
	}
	e := errs.New(errs.Unavailable, "Others kept changing this at the same time. Try again.")
	e.Retry = time.Second
	return e.Because(ErrRaced)
}

// Expect is PreconditionFailed unless the caller's expected version is the present one, or 0 for no expectation.
func Expect(expected, present int64, noun string) error {
	if expected != 0 && expected != present {
		return errs.New(errs.PreconditionFailed, "The %s has changed: it is at version %d, not %d.", noun, present, expected)
	}
	return nil
}

// Changed is the Change of a write that has this answer and these events.
func Changed(answer proto.Message, happened ...events.Event) Change {
	return Change{Answer: answer, Events: happened}
}

// Row runs an optimistic update or deletion of one row, whose WHERE names the version that was read. It is ErrRaced
// when there is no such row any more.
func Row(ctx context.Context, q interface {
	Exec(ctx context.Context, dest ...any) (sql.Result, error)
},
) error {
	res, err := q.Exec(ctx)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		return ErrRaced
	}
	return err
}
