// Package write is the one path by which a service changes its database: the row, its event and the stored answer of
// the request's idempotency key are committed together or not at all, and no cached answer outlives the change.
package write

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trackway/trackway/services/platform/cache"
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

// DB is the database of a service, and who tells the readers of cached answers what changes in it.
type DB struct {
	*postgres.DB

	Cache *cache.Writer // nil where nobody keeps answers
}

// Tx runs change in a transaction, and with it appends the events and stores the answer. Errors of Postgres are
// translated for the noun. The tags of the events are marked before the commit, and have new versions when Tx returns.
func Tx(ctx context.Context, db *DB, noun string, change func(ctx context.Context, tx postgres.Tx) (Change, error)) error {
	if err := db.Cache.Ready(ctx); err != nil {
		return postgres.Error(err, noun)
	}
	var (
		mark   = cache.NewMark()
		tags   []string
		c      Change
		marked bool // and so perhaps committed
	)
	err := db.InTx(ctx, func(ctx context.Context, tx postgres.Tx) (err error) {
		if err := idempotency.Begin(ctx, tx); err != nil {
			return err
		}
		if c, err = change(ctx, tx); err != nil {
			return err
		}
		for i := range c.Events {
			c.Events[i].Mark = mark
		}
		if err := events.Append(ctx, tx, c.Events...); err != nil {
			return err
		}
		if err := idempotency.Store(ctx, tx, c.Answer); err != nil {
			return err
		}
		tags = events.Tags(c.Events)
		err = db.Cache.Mark(ctx, tx.Tx, mark, tags)
		marked = err == nil
		return err
	})
	// After a commit of which nobody knows whether it happened the mark stays: what is read now may be old in a moment.
	if err == nil || !marked || postgres.Uncommitted(err) {
		db.Cache.Finish(ctx, mark, tags)
	}
	if err == nil && len(c.Events) > 0 {
		db.Appended()
	}
	return postgres.Error(err, noun)
}

// Relayed makes a consumer of events do besides what their writers may have died before: what the events made stale is
// not answered from the cache any more.
func Relayed(w *cache.Writer, c events.Consumer) events.Consumer {
	handle := c.Handle
	c.Handle = func(ctx context.Context, records []events.Record) error {
		changes := make(map[string][]string, len(records))
		for i := range records {
			changes[records[i].Mark] = append(changes[records[i].Mark], records[i].Tags...)
		}
		if err := w.Heal(ctx, changes); err != nil {
			return err
		}
		return handle(ctx, records)
	}
	return c
}

// Migrations creates what Tx writes beside a service's own tables.
func Migrations() []fs.FS {
	return []fs.FS{events.Migrations(), idempotency.Migrations(), cache.Migrations()}
}

// Unchanged stores the answer of a request that found nothing to change, if it carries an idempotency key: repeated
// later, when others have made changes, it must not undo them.
func Unchanged(ctx context.Context, db *DB, noun string, answer proto.Message) error {
	if !idempotency.Keyed(ctx) {
		return nil
	}
	return Tx(ctx, db, noun, func(context.Context, postgres.Tx) (Change, error) { return Changed(answer), nil })
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
		if n == attempts-1 {
			break
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
	if expected == math.MaxInt64 { // no version is meant: a condition that can not hold
		return errs.New(errs.PreconditionFailed, "The %s is there at version %d, which the condition does not allow.", noun, present)
	}
	if expected != 0 && expected != present {
		return errs.New(errs.PreconditionFailed, "The %s has changed: it is at version %d, not %d.", noun, present, expected)
	}
	return nil
}

// Changed is the Change of a write that has this answer and these events.
func Changed(answer proto.Message, happened ...events.Event) Change {
	return Change{Answer: answer, Events: happened}
}

// Row runs an optimistic update or deletion of one row, whose WHERE names the version that was read, and reads what it
// returns into the row. It is ErrRaced when there is no such row any more.
func Row(ctx context.Context, db postgres.Querier, row any, q postgres.Statement) error {
	err := db.Scan(ctx, q, row)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrRaced
	}
	return err
}
