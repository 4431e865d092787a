package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/redis/go-redis/v9"
	"github.com/uptrace/bun"
	"golang.org/x/sync/singleflight"

	"github.com/trackway/trackway/services/platform/postgres"
)

const (
	// markTime is how long a mark lasts whose writer died: longer than a request, and so than its transaction.
	markTime = 30 * time.Second
	// versionTime is how long a version is kept that nobody changes: longer than any answer. A tag without a version gets a new one.
	versionTime = time.Hour
	// markTimeout bounds a mark, and what follows it.
	markTimeout = 500 * time.Millisecond
	// markPause is how long Redis is left alone after it could not be reached.
	markPause = time.Second
	// maxFinished is how many finished marks are remembered: those of the events that are not relayed yet.
	maxFinished = 10_000
)

// Writer tells the readers of all replicas, through Redis, what is about to change and what has changed. A nil Writer
// tells nobody.
//
// Between Mark and Finish nobody is answered from the cache with what the tags name, so that what one reader has seen
// no later one misses, and so that a writer which dies in between leaves nothing stale behind. When Redis can not be
// reached, the writer ends the leases first (lease.go), through its database, under which all cached answers are
// believed; then there is nothing to tell.
type Writer struct {
	client redis.UniversalClient
	db     *postgres.DB
	log    *slog.Logger

	failedAt atomic.Int64 // Unix nanoseconds; 0 while Redis answers
	suspends singleflight.Group
	finished *lru.Cache[string, struct{}] // the last marks that were taken away here, which need no healing

	mark, finish, heal script
}

// NewWriter makes the writer of a service that has this database.
func NewWriter(client redis.UniversalClient, db *postgres.DB, log *slog.Logger) *Writer {
	finished, err := lru.New[string, struct{}](maxFinished)
	if err != nil {
		panic(err) // only a size below one is an error
	}
	return &Writer{
		client: client, db: db, log: log, finished: finished,
		mark: newScript(markScript), finish: newScript(finishScript), heal: newScript(healScript),
	}
}

// NewMark is a mark that nobody else has.
func NewMark() string { return rand.Text()[:13] } // 65 bits

// Ready is called before a transaction. While Redis is known to be out of reach it ends the leases already here, where
// no row is locked and no connection taken.
func (w *Writer) Ready(ctx context.Context) error {
	if w == nil || !bumps || !w.resting() {
		return nil
	}
	return w.suspend(ctx, w.db)
}

// Mark marks the tags as about to change. It is the last thing in a transaction; when it fails, the transaction must
// not be committed.
func (w *Writer) Mark(ctx context.Context, tx bun.Tx, mark string, tags []string) error {
	if w == nil || !bumps || len(tags) == 0 {
		return nil
	}
	err := w.tell(ctx, func(ctx context.Context) error {
		return w.mark.run(ctx, w.client, versionKeys(tags), mark, markTime.Milliseconds(), versionTime.Milliseconds())
	})
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("mark what changes: %w", ctx.Err())
	}
	return w.holdSuspended(ctx, tx)
}

// Finish gives the tags a new version and takes the mark away, after the transaction has ended one way or the other. One
// that may or may not have ended keeps its mark. If it fails, the tags are not cached until the event is relayed, or the
// mark's time is over; no reader sees anything old.
func (w *Writer) Finish(ctx context.Context, mark string, tags []string) {
	if w == nil || !bumps || len(tags) == 0 {
		return
	}
	ctx = context.WithoutCancel(ctx) // the change has happened
	err := w.tell(ctx, func(ctx context.Context) error {
		return w.finish.run(ctx, w.client, versionKeys(tags), mark, markTime.Milliseconds(), versionTime.Milliseconds())
	})
	if err != nil {
		w.log.DebugContext(ctx, "a change keeps its mark", "error", err)
		return
	}
	w.finished.Add(mark, struct{}{})
}

// Heal does what the writers of changes may have died before: the tags get a new version, unless they have that of their
// writer. It can be repeated. Changes are tags by their mark.
func (w *Writer) Heal(ctx context.Context, changes map[string][]string) error {
	for mark, tags := range changes {
		if !bumps || mark == "" || len(tags) == 0 || w.finished.Contains(mark) {
			continue
		}
		err := w.heal.run(ctx, w.client, versionKeys(tags), mark, markTime.Milliseconds(), versionTime.Milliseconds(), NewMark())
		if err != nil {
			return fmt.Errorf("invalidate again: %w", err)
		}
	}
	return nil
}

var errResting = errors.New("redis could not be reached a moment ago")

// tell sends a command, unless Redis is left alone.
func (w *Writer) tell(ctx context.Context, send func(context.Context) error) error {
	if w.resting() {
		return errResting
	}
	limited, cancel := context.WithTimeout(ctx, markTimeout)
	defer cancel()
	err := send(limited)
	switch {
	case err == nil:
		if w.failedAt.Load() != 0 && w.failedAt.Swap(0) != 0 {
			w.log.InfoContext(ctx, "changes are announced in Redis again")
		}
	case ctx.Err() == nil:
		if w.failedAt.Swap(time.Now().UnixNano()) == 0 {
			w.log.WarnContext(ctx, "changes can not be announced in Redis: nothing is answered from the cache", "error", err)
		}
	}
	return err
}

func (w *Writer) resting() bool {
	at := w.failedAt.Load()
	return at != 0 && time.Since(time.Unix(0, at)) < markPause
}

func versionKeys(tags []string) []string {
	keys := make([]string, 0, len(tags))
	for _, t := range tags {
		keys = append(keys, versionKey(t))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
