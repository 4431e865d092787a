package events

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/uptrace/bun"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/telemetry"
)

const (
	// backstop is how long an event may lie that nobody was told of, and how often a replica asks whether it is its turn
	// to relay.
	backstop = time.Second
	// batch is how many events a consumer gets at once.
	batch = 500
	// A consumer that fails is asked again after a pause, which grows.
	firstPause, lastPause = 20 * time.Millisecond, time.Second
	// While a transaction in flight holds events back, it is looked for its end so often.
	heldPause = 3 * time.Millisecond
	// gather is how long events gather after some were passed on, so that under load several go at once.
	gather = 10 * time.Millisecond
	// moveEvery is how often the position is written while events keep coming: those after it are passed on again after
	// a crash, which consumers have to bear anyway.
	moveEvery = 100 * time.Millisecond
	// relayTimeout bounds each statement, and each call of a consumer.
	relayTimeout = 5 * time.Second

	// relayLock is the first key of the advisory locks under which consumers run; the second is the hash of their name.
	relayLock = 7_216_340
)

// Consumer does something with every event, in order, at least once: after a crash it gets again what it had just got.
type Consumer struct {
	Name string
	// Handle does it. After an error it gets the same records again.
	Handle func(ctx context.Context, records []Record) error
	// Idle, if there is one, is called every second while nothing happens, with the last record that was handled.
	Idle func(ctx context.Context, last Record) error
}

// Relay passes the events of one service's database on to consumers. Every replica runs one, and for each consumer one
// of them works at a time: the one that holds an advisory lock, on a connection of its own, so that another takes over
// when it dies. A commit in this process wakes it at once, one in another by a message through Redis.
type Relay struct {
	db      *postgres.DB
	redis   redis.UniversalClient
	channel string
	log     *slog.Logger
	runs    []*run
	keep    time.Duration
	tracer  trace.Tracer
}

// run is a consumer at work.
type run struct {
	Consumer

	wake    chan struct{}
	leading atomic.Bool
}

// Config says how long a service keeps its events.
type Config struct {
	Keep time.Duration `env:"EVENTS_KEEP" envDefault:"2160h" doc:"How long events are kept, for the activity log and for clients that were away; 0 for ever"`
}

// NewRelay makes the relay of the service's events. What it needs of Redis is to be woken; consumers bring their own.
func NewRelay(db *postgres.DB, client redis.UniversalClient, service string, cfg Config, log *slog.Logger,
	consumers ...Consumer,
) *Relay {
	r := &Relay{
		db: db, redis: client, channel: "events:" + service + ":appended", log: log, keep: cfg.Keep,
		tracer: telemetry.IDs{}.Tracer(""),
	}
	for _, c := range consumers {
		r.runs = append(r.runs, &run{Consumer: c, wake: make(chan struct{}, 1)})
	}
	return r
}

// Run relays until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, c := range r.runs {
		all.Go(func() { r.keepLeading(ctx, c) })
	}
	all.Go(func() { r.hear(ctx) })
	all.Go(func() { r.sweep(ctx) })
	for {
		select {
		case <-ctx.Done():
			all.Wait()
			return
		case <-r.db.Appends():
			if !r.wakeAll() {
				r.poke(ctx)
			}
		}
	}
}

// wakeAll wakes the consumers, and reports whether all of them run here.
func (r *Relay) wakeAll() (here bool) {
	here = true
	for _, c := range r.runs {
		select {
		case c.wake <- struct{}{}:
		default:
		}
		here = here && c.leading.Load()
	}
	return here
}

// poke tells the other replicas of a commit. If that fails, they look by themselves after a while.
func (r *Relay) poke(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, backstop)
	defer cancel()
	if err := r.redis.Publish(ctx, r.channel, "").Err(); err != nil {
		r.log.DebugContext(ctx, "the relay was not told of new events", "error", err)
	}
}

// hear listens for what other replicas say.
func (r *Relay) hear(ctx context.Context) {
	told := r.redis.Subscribe(ctx, r.channel)
	defer func() { _ = told.Close() }()
	messages := told.Channel(redis.WithChannelSize(1))
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-messages:
			if !open {
				return
			}
			r.wakeAll()
		}
	}
}

// keepLeading leads until ctx ends, with a new connection whenever one breaks.
func (r *Relay) keepLeading(ctx context.Context, c *run) {
	for ctx.Err() == nil {
		err := r.lead(ctx, c)
		c.leading.Store(false)
		if err == nil || ctx.Err() != nil {
			continue
		}
		r.log.WarnContext(ctx, "events are not relayed for now", "consumer", c.Name, "error", err)
		pause(ctx, backstop)
	}
}

// lead waits for its turn, and then passes events on until the connection breaks or ctx ends.
func (r *Relay) lead(ctx context.Context, c *run) (err error) {
	conn, err := r.db.Dedicated(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := await(ctx, conn, c.Name); err != nil {
		return err
	}
	// A position that a crash of Postgres loses is one to go on from all the same: it need not wait for the disk. And what
	// comes after a position is found in one way, wherever that is: to plan it anew takes ten times as long as to read it.
	if _, err := conn.NewRaw("SET synchronous_commit = off; SET plan_cache_mode = force_generic_plan; SET enable_sort = off").Exec(ctx); err != nil {
		return fmt.Errorf("prepare the relay's connection: %w", err)
	}
	at, err := bounded(ctx, func(ctx context.Context) (Position, error) { return position(ctx, conn, c.Name) })
	if err != nil {
		return err
	}
	last, err := bounded(ctx, func(ctx context.Context) (*Record, error) { return lastOne(ctx, conn, at) })
	if err != nil {
		return err
	}
	c.leading.Store(true)
	kept, keptAt := at, time.Now()
	keep := func() error {
		if kept == at {
			return nil
		}
		kept, keptAt = at, time.Now()
		_, err := bounded(ctx, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, moveTo(ctx, conn, c.Name, at)
		})
		return err
	}
	for ctx.Err() == nil {
		records, err := bounded(ctx, func(ctx context.Context) ([]Record, error) {
			return List(ctx, conn, at, Filter{}, batch)
		})
		if err != nil {
			return err
		}
		if len(records) == 0 {
			if err := keep(); err != nil {
				return err
			}
			if err := r.rest(ctx, conn, c, at, last); err != nil {
				return err
			}
			continue
		}
		for i := range records {
			records[i].Previous, at = at, records[i].Position
		}
		if !r.handle(ctx, c, records) {
			return nil
		}
		last = &records[len(records)-1]
		if time.Since(keptAt) >= moveEvery {
			if err := keep(); err != nil {
				return err
			}
		}
		if len(records) < batch {
			pause(ctx, gather)
		}
	}
	return nil
}

// handle gives the records to the consumer until it takes them, and reports whether it has.
func (r *Relay) handle(ctx context.Context, c *run, records []Record) bool {
	ctx, span := telemetry.Background(ctx, r.tracer, "relay events to "+c.Name, func(yield func(string) bool) {
		for i := range records {
			if !yield(records[i].Traceparent) {
				return
			}
		}
	})
	defer span.End()
	span.SetAttributes(semconv.MessagingBatchMessageCount(len(records)))
	failing := false
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		_, err := bounded(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, c.Handle(ctx, records) })
		switch {
		case err == nil:
			if failing {
				r.log.InfoContext(ctx, "events are relayed again", "consumer", c.Name)
			}
			return true
		case ctx.Err() != nil:
			return false
		case !failing && wait == lastPause:
			failing = true
			r.log.WarnContext(ctx, "events are not relayed for now", "consumer", c.Name, "error", err)
		}
		if !pause(ctx, wait) {
			return false
		}
	}
}

// rest waits until there may be more events than those up to at.
func (r *Relay) rest(ctx context.Context, conn postgres.Querier, c *run, at Position, last *Record) error {
	held, err := bounded(ctx, func(ctx context.Context) (bool, error) { return goesOn(ctx, conn, at) })
	if err != nil {
		return err
	}
	if held {
		pause(ctx, heldPause)
		return nil
	}
	timer := time.NewTimer(backstop)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-c.wake:
	case <-timer.C:
		if last == nil || c.Idle == nil {
			return nil
		}
		if _, err := bounded(ctx, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, c.Idle(ctx, *last)
		}); err != nil {
			r.log.DebugContext(ctx, "a consumer at rest fails", "consumer", c.Name, "error", err)
		}
	}
	return nil
}

// goesOn reports whether there are events after the position, settled or not. It asks for the first of them, though any
// one would do: for that Postgres may look through the table from its front, and it would be at the end.
func goesOn(ctx context.Context, db postgres.Querier, at Position) (bool, error) {
	var id int64
	err := db.Scan(ctx, db.NewSelect().TableExpr("events AS e").ColumnExpr("e.id").
		Where("(e.xid, e.id) > (?::xid8, ?)", postgres.Arg(strconv.FormatUint(at.XID, 10)), postgres.Arg(at.ID)).
		OrderExpr("e.xid, e.id").Limit(1), &id)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// await returns when the connection holds the consumer's lock.
func await(ctx context.Context, conn postgres.Querier, consumer string) error {
	for {
		locked, err := bounded(ctx, func(ctx context.Context) (locked bool, err error) {
			err = conn.NewRaw("SELECT pg_try_advisory_lock(?, hashtext(?))", relayLock, consumer).Scan(ctx, &locked)
			return locked, err
		})
		if err != nil || locked {
			return err
		}
		if !pause(ctx, backstop) {
			return ctx.Err()
		}
	}
}

// lastOne gives the event at a position with the one before it; nil if it is not there any more.
func lastOne(ctx context.Context, conn postgres.Querier, at Position) (*Record, error) {
	two, err := Latest(ctx, conn, Position{at.XID, at.ID + 1}, Filter{}, 2)
	if err != nil || len(two) == 0 || two[0].Position != at {
		return nil, err
	}
	if len(two) == 2 {
		two[0].Previous = two[1].Position
	}
	return &two[0], nil
}

// bounded is a step of the relay with a deadline.
func bounded[T any](ctx context.Context, step func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	return step(ctx)
}

// pause waits, and reports whether ctx lasts.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

const (
	// sweptName is the row of event_positions that says up to where events have been deleted.
	sweptName  = "swept"
	sweepEvery = 10 * time.Minute
	sweepBatch = 1000
)

// sweep deletes, now and then, events that are older than what is kept, and that every consumer has had. Its trace is
// linked to no write: those of the events are long gone.
func (r *Relay) sweep(ctx context.Context) {
	if r.keep == 0 {
		return
	}
	telemetry.Every(ctx, r.tracer, r.log, sweepEvery, "delete old events", func(ctx context.Context) (err error) {
		for n := int64(sweepBatch); n == sweepBatch && ctx.Err() == nil; {
			n, err = bounded(ctx, func(ctx context.Context) (int64, error) { return Sweep(ctx, r.db, r.keep) })
		}
		return err
	})
}

// Sweep deletes some of the events that are older than keep, and says how many. They go from the front, so that what is
// left has no holes. Several may sweep at once.
func Sweep(ctx context.Context, db bun.IDB, keep time.Duration) (int64, error) {
	var n int64
	err := db.RunInTx(ctx, &sql.TxOptions{}, func(ctx context.Context, tx bun.Tx) error {
		var swept []struct {
			Xid uint64
			ID  int64
		}
		err := tx.NewRaw(`
			WITH front AS (
				SELECT xid, id, occurred_at FROM events ORDER BY xid, id LIMIT ?
			), young AS (
				SELECT xid, id FROM front WHERE occurred_at >= now() - ? * interval '1 second' ORDER BY xid, id LIMIT 1
			)
			DELETE FROM events AS e USING front AS f
			WHERE e.id = f.id
				AND NOT EXISTS (SELECT FROM young AS y WHERE (f.xid, f.id) >= (y.xid, y.id))
				AND NOT EXISTS (SELECT FROM event_positions AS p WHERE p.consumer <> ? AND (p.xid, p.id) < (f.xid, f.id))
			RETURNING e.xid::text::bigint AS xid, e.id`, sweepBatch, keep.Seconds(), sweptName).Scan(ctx, &swept)
		if err != nil || len(swept) == 0 {
			return err
		}
		var highest Position
		for _, s := range swept {
			if p := (Position{s.Xid, s.ID}); highest.Before(p) {
				highest = p
			}
		}
		n = int64(len(swept))
		return moveTo(ctx, tx, sweptName, highest)
	})
	if err != nil {
		return 0, fmt.Errorf("delete old events: %w", err)
	}
	return n, nil
}

// backlog is what a consumer has not had yet.
type backlog struct {
	Count int64
	Age   float64 // of the oldest, in seconds
}

// backlogOf counts from the consumer's position on, in the order of the index.
func backlogOf(ctx context.Context, db postgres.Querier, consumer string) (b backlog, err error) {
	err = db.Scan(ctx, db.NewRaw(`
		SELECT count(*) AS count, coalesce(extract(epoch FROM now() - min(occurred_at)), 0)::float8 AS age FROM (
			SELECT e.occurred_at FROM events AS e
			WHERE (e.xid, e.id) > (
				coalesce((SELECT xid FROM event_positions WHERE consumer = ?0), '0'),
				coalesce((SELECT id FROM event_positions WHERE consumer = ?0), 0))
			ORDER BY e.xid, e.id
			LIMIT ?1
		) AS rest`, postgres.Arg(consumer), backlogMost), &b)
	return b, err
}

// backlogMost is up to where what a consumer has not had yet is counted.
const backlogMost = 10_000

// Observe makes a trace of each batch that a consumer gets, linked to the writes that its events tell of. And it offers,
// for each consumer, how many events it has not had yet, and how old the oldest of them is. Every replica tells the same.
func (r *Relay) Observe(tracer trace.TracerProvider, p metric.MeterProvider) error {
	r.tracer = tracer.Tracer(telemetry.Scope)
	meter := p.Meter(telemetry.Scope)
	behind, err := meter.Int64ObservableGauge("trackway.events.outbox", metric.WithUnit("{event}"),
		metric.WithDescription("Events that a consumer has not had yet, counted up to 10000"))
	if err != nil {
		return fmt.Errorf("measure the relay: %w", err)
	}
	lag, err := meter.Float64ObservableGauge("trackway.events.lag", metric.WithUnit("s"),
		metric.WithDescription("Age of the oldest event that a consumer has not had yet"))
	if err != nil {
		return fmt.Errorf("measure the relay: %w", err)
	}
	_, err = meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		for _, c := range r.runs {
			b, err := bounded(ctx, func(ctx context.Context) (backlog, error) { return backlogOf(ctx, r.db, c.Name) })
			if err != nil {
				return err
			}
			who := metric.WithAttributes(attribute.String("consumer", c.Name))
			o.ObserveInt64(behind, b.Count, who)
			o.ObserveFloat64(lag, max(b.Age, 0), who)
		}
		return nil
	}, behind, lag)
	if err != nil {
		return fmt.Errorf("measure the relay: %w", err)
	}
	return nil
}
