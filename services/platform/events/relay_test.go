package events_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/local"
	"github.com/trackway/trackway/services/platform/pgtest"
	"github.com/trackway/trackway/services/platform/postgres"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// timeout is for what must come, on a busy machine.
const timeout = time.Minute

// world is a service's database and a Redis.
type world struct {
	*testing.T

	db    *postgres.DB
	redis redis.UniversalClient
	log   *slog.Logger
}

func newWorld(t *testing.T, redisURL string) *world {
	t.Helper()
	url := pgtest.Open(t, "events", func(ctx context.Context, url string) error {
		return postgres.Migrate(ctx, url, events.Migrations())
	})
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 20})
	if err != nil {
		t.Fatal(err)
	}
	client, err := cache.Open(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(); _ = client.Close() })
	return &world{t, db, client, slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// run runs something until the test ends, or until it is stopped, which waits for it.
func (w *world) run(run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	stop = func() { cancel(); <-done }
	w.Cleanup(stop)
	return stop
}

// append commits an event about the subject.
func (w *world) append(subject int64) {
	w.Helper()
	err := w.db.InTx(w.Context(), func(ctx context.Context, tx postgres.Tx) error {
		return events.Append(ctx, tx, event(subject))
	})
	if err != nil {
		w.Fatal(err)
	}
	w.db.Appended()
}

func event(subject int64) events.Event {
	return events.Event{
		Type: "thing.created", SubjectID: subject, ProjectID: 7, Version: 1, Payload: wrapperspb.Int64(subject),
		Changed: []string{"a", "b"}, Audience: []int64{9, 0, 8, 9},
	}
}

// reader follows the service's events as a subscriber does: through the hub, and through the table where the hub says
// that something was missed.
type reader struct {
	w    *world
	mu   sync.Mutex
	seen []int64
	at   events.Position
}

func (r *reader) run(hub *events.Hub) func(context.Context) {
	return func(ctx context.Context) {
		l := hub.Listen(func(n events.News) bool { return n.Service == "things" })
		defer l.Close()
		missed := true
		for {
			for missed {
				list, err := events.List(ctx, r.w.db, r.at, events.Filter{}, 10)
				if err != nil {
					return
				}
				for i := range list {
					r.take(&list[i])
				}
				missed = len(list) > 0
			}
			select {
			case <-ctx.Done():
				return
			case <-l.Ready():
			}
			var news []events.News
			if news, _, missed = l.Take(); missed {
				continue // they are in the table, too
			}
			for _, n := range news {
				r.take(n.Record)
			}
		}
	}
}

func (r *reader) take(e *events.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at.Before(e.Position) {
		r.at = e.Position
		r.seen = append(r.seen, e.SubjectID)
	}
}

// awaits fails unless the reader sees exactly these, in this order.
func (r *reader) awaits(want []int64) {
	r.w.Helper()
	var got []int64
	r.w.await("the events", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		got = slices.Clone(r.seen)
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		r.w.Errorf("got %v, want %v", got, want)
	}
}

func (w *world) await(what string, done func() bool) {
	w.Helper()
	deadline := time.After(timeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			w.Fatalf("%s did not come in time", what)
		case <-tick.C:
		}
	}
}

func (w *world) relay(consumers ...events.Consumer) *events.Relay {
	return events.NewRelay(w.db, w.redis, "things", events.Config{}, w.log, consumers...)
}

func numbers(n int64) (all []int64) {
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

func TestEventsArriveInTheOrderOfTheirTransactions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgtest.Redis(t))
	hub := events.NewHub(w.redis, w.log, "things")
	w.run(hub.Run)
	w.run(w.relay(events.Publisher(w.redis, "things")).Run)
	r := &reader{w: w}
	w.run(r.run(hub))
	w.append(1)
	r.awaits([]int64{1})

	// The first transaction begins before the second and ends after it; its second event has the highest id of all.
	err := w.db.InTx(t.Context(), func(ctx context.Context, slow postgres.Tx) error {
		write := func(subject int64) {
			if err := events.Append(ctx, slow, event(subject)); err != nil {
				t.Fatal(err)
			}
			if _, err := slow.Run(ctx, slow.NewRaw("SELECT")); err != nil { // with which the event goes
				t.Fatal(err)
			}
		}
		write(2)
		w.append(4)
		write(3)
		if list, err := events.List(ctx, w.db, events.Position{}, events.Filter{}, 10); err != nil || len(list) != 1 {
			t.Errorf("while a transaction before it is in flight: got %d events, %v, want 1", len(list), err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.db.Appended()
	r.awaits([]int64{1, 2, 3, 4})
}

func TestAnEventIsWholeOnBothWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgtest.Redis(t))
	hub := events.NewHub(w.redis, w.log, "things")
	w.run(hub.Run)
	l := hub.Listen(func(events.News) bool { return true })
	defer l.Close()
	<-l.Ready() // the hub is in its place
	l.Take()
	w.run(w.relay(events.Publisher(w.redis, "things")).Run)
	w.append(5)
	var news []events.News
	w.await("the event", func() bool { news, _, _ = l.Take(); return len(news) == 1 })
	list, err := events.List(t.Context(), w.db, events.Position{}, events.Filter{Projects: []int64{7}, Audience: 8}, 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("got %d events, %v, want 1", len(list), err)
	}
	got, want := *news[0].Record, list[0]
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("by Redis got\n%+v, by the table\n%+v", got, want)
	}
	if !slices.Equal(want.Audience, []int64{8, 9}) || !slices.Equal(want.Changed, []string{"a", "b"}) {
		t.Errorf("got audience %v and changes %v, want [8 9] and [a b]", want.Audience, want.Changed)
	}
}

func TestWhatRedisForgetsComesFromTheTable(t *testing.T) {
	t.Parallel()
	server, err := local.StartRedis(t.Context(), local.RedisOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.WithoutCancel(t.Context())) })
	w := newWorld(t, server.URL())
	hub := events.NewHub(w.redis, w.log, "things")
	w.run(hub.Run)
	w.run(w.relay(events.Publisher(w.redis, "things")).Run)
	r := &reader{w: w}
	w.run(r.run(hub))
	for i := range int64(300) {
		w.append(i + 1)
		switch i {
		case 100, 250:
			if err := w.redis.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		case 150:
			if err := server.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		case 200:
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.awaits(numbers(300))
	// And when nothing more happens, what was lost last is noticed all the same.
	if err := w.redis.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	w.await("the stream", func() bool { return w.redis.XLen(t.Context(), events.Stream("things")).Val() > 0 })
}

func TestARelayThatDiesIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgtest.Redis(t))
	hub := events.NewHub(w.redis, w.log, "things")
	w.run(hub.Run)
	r := &reader{w: w}
	w.run(r.run(hub))

	// The first relay dies when it has published, and before it has noted so.
	published := make(chan struct{})
	dying := events.Publisher(w.redis, "things")
	publish := dying.Handle
	dying.Handle = func(ctx context.Context, records []events.Record) error {
		if err := publish(ctx, records); err != nil {
			return err
		}
		close(published)
		<-ctx.Done()
		return ctx.Err()
	}
	stop := w.run(w.relay(dying).Run)
	w.append(1)
	<-published
	var again []int64
	second := events.Publisher(w.redis, "things")
	publishAgain := second.Handle
	second.Handle = func(ctx context.Context, records []events.Record) error {
		for _, e := range records {
			again = append(again, e.SubjectID)
		}
		return publishAgain(ctx, records)
	}
	stopSecond := w.run(w.relay(second).Run) // waits for its turn
	w.append(2)
	stop()
	r.awaits([]int64{1, 2})
	// The reader may have them from Postgres already.
	w.await("the second relay", func() bool { return w.redis.XLen(t.Context(), events.Stream("things")).Val() == 2 })
	stopSecond()
	if !slices.Equal(again, []int64{1, 2}) {
		t.Errorf("the second relay got %v, want 1, which the first has not noted, and 2", again)
	}
	if n := w.redis.XLen(t.Context(), events.Stream("things")).Val(); n != 2 {
		t.Errorf("the stream has %d entries, want 2", n)
	}
}

func TestEveryConsumerGetsEveryEventAgainUntilItTakesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "redis://127.0.0.1:1") // where nobody listens
	var (
		mu       sync.Mutex
		got      []int64
		failures = 3
	)
	w.run(w.relay(events.Publisher(w.redis, "things"), events.Consumer{
		Name: "test",
		Handle: func(_ context.Context, records []events.Record) error {
			mu.Lock()
			defer mu.Unlock()
			if failures--; failures >= 0 {
				return sql.ErrConnDone
			}
			for _, e := range records {
				got = append(got, e.SubjectID)
			}
			return nil
		},
	}).Run)
	for i := range int64(20) {
		w.append(i + 1)
	}
	w.await("the events", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) >= 20 })
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(got, numbers(20)) {
		t.Errorf("got %v, want 1 to 20", got)
	}
}

func TestOldEventsGoWhenEveryConsumerHasHadThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgtest.Redis(t))
	for i := range int64(4) {
		w.append(i + 1)
	}
	if _, err := w.db.ExecContext(t.Context(), "UPDATE events SET occurred_at = now() - interval '2 days' WHERE subject_id IN (1, 2, 4)"); err != nil {
		t.Fatal(err)
	}
	pgtest.Settle(t)
	all, err := events.List(t.Context(), w.db, events.Position{}, events.Filter{}, 10)
	if err != nil || len(all) != 4 {
		t.Fatalf("got %d events, %v, want 4", len(all), err)
	}
	if _, err := w.db.ExecContext(t.Context(), "INSERT INTO event_positions SELECT 'slow', xid, id FROM events WHERE subject_id = 1"); err != nil {
		t.Fatal(err)
	}
	if n, err := events.Sweep(t.Context(), w.db, 24*time.Hour); n != 1 || err != nil {
		t.Errorf("before a consumer has had the second: got %d, %v, want 1", n, err)
	}
	if _, err := w.db.ExecContext(t.Context(), "UPDATE event_positions SET (xid, id) = (SELECT xid, id FROM events WHERE subject_id = 4) WHERE consumer = 'slow'"); err != nil {
		t.Fatal(err)
	}
	if n, err := events.Sweep(t.Context(), w.db, 24*time.Hour); n != 1 || err != nil {
		t.Errorf("behind a young one nothing goes: got %d, %v, want 1", n, err)
	}
	from := func(p events.Position) (events.Page, error) {
		return events.Read(t.Context(), w.db, request{after: p.String()}, events.Filter{})
	}
	if _, err := from(all[0].Position); !errs.Is(err, errs.Invalid) {
		t.Errorf("a reader who would miss something: got %v, want it to be refused", err)
	}
	if page, err := from(all[1].Position); err != nil || len(page.Records) != 2 || page.Cursor != all[3].Position.String() {
		t.Errorf("a reader who misses nothing: got %+v, %v", page, err)
	}
}

// request asks for what is behind a place.
type request struct{ after string }

func (r request) GetAfter() string   { return r.after }
func (request) GetLimit() int32      { return 0 }
func (request) GetSubjectId() int64  { return 0 } //nolint:revive // the contract's spelling
func (request) GetTypes() []string   { return nil }
func (request) GetMine() bool        { return false }
func (request) GetNewestFirst() bool { return false }

// sweeping is a database from which events are deleted after the first statement.
type sweeping struct {
	postgres.Querier

	sweep func()
}

func (s *sweeping) Scan(ctx context.Context, q postgres.Statement, dest ...any) error {
	err := s.Querier.Scan(ctx, q, dest...)
	if s.sweep != nil {
		s.sweep()
		s.sweep = nil
	}
	return err
}

func TestAReaderMissesNothingThatIsDeletedWhileItReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgtest.Redis(t))
	for n := range int64(3) {
		w.append(n + 1)
	}
	pgtest.Settle(t)
	all, err := events.List(t.Context(), w.db, events.Position{}, events.Filter{}, 10)
	if err != nil || len(all) != 3 {
		t.Fatalf("got %d events, %v, want 3", len(all), err)
	}
	db := &sweeping{w.db, func() {
		if n, err := events.Sweep(t.Context(), w.db, 0); n != 3 || err != nil {
			t.Fatalf("got %d deleted, %v, want 3", n, err)
		}
	}}
	page, err := events.Read(t.Context(), db, request{after: all[0].Position.String()}, events.Filter{})
	if !errs.Is(err, errs.Invalid) && len(page.Records) != 2 {
		t.Errorf("got %d events, %v, want both of them or an error", len(page.Records), err)
	}
}
