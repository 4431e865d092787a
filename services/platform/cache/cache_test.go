package cache_test

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/uptrace/bun"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/local"
	"github.com/trackway/trackway/services/platform/pgtest"
	"github.com/trackway/trackway/services/platform/postgres"
)

// world is a service with its database, in which it has one number, and a reader of that number.
type world struct {
	*testing.T

	db      *postgres.DB
	redis   *local.Redis
	writer  *cache.Writer
	cut     atomic.Bool            // whether the writer's connections are cut off from Redis
	again   atomic.Pointer[func()] // happens after the writer's next command, which Redis then gets a second time
	answers *cache.Answers
	client  redis.UniversalClient // of the reader
	number  atomic.Int64          // in the database
	fetched atomic.Int64          // how often it was read there
}

const tag = "number:1"

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t}
	var err error
	if w.redis, err = local.StartRedis(t.Context(), local.RedisOptions{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.redis.Stop(context.WithoutCancel(t.Context())) })
	url := pgtest.Open(t, "cache", func(ctx context.Context, url string) error {
		return postgres.Migrate(ctx, url, cache.Migrations())
	})
	if w.db, err = postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 10}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.db.Close() })
	log := slog.New(slog.NewTextHandler(t.Output(), nil))

	options, err := redis.ParseURL(w.redis.URL())
	if err != nil {
		t.Fatal(err)
	}
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	options.DialerRetries = 1
	options.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		return &fragile{conn, &w.cut}, err
	}
	fragileClient := redis.NewClient(options)
	t.Cleanup(func() { _ = fragileClient.Close() })
	fragileClient.AddHook(repeated{&w.again})
	w.writer = cache.NewWriter(fragileClient, w.db, log)

	if w.client, err = cache.Open(w.redis.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.client.Close() })
	w.answers, err = cache.NewAnswers(w.client, []string{"numbers"}, 1<<20, log, noop.MeterProvider{})
	if err != nil {
		t.Fatal(err)
	}
	keeperClient, err := cache.Open(w.redis.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keeperClient.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	var jobs sync.WaitGroup
	jobs.Go(func() { cache.Keep(ctx, "numbers", keeperClient, w.db, log) })
	jobs.Go(func() { w.answers.Run(ctx) })
	t.Cleanup(func() { cancel(); jobs.Wait() })
	w.await("the cache is believed", func() bool { return w.look().CanKeep() })
	return w
}

// fragile is a connection that can be cut off.
type fragile struct {
	net.Conn

	cut *atomic.Bool
}

func (f *fragile) Write(b []byte) (int, error) {
	if f.cut.Load() {
		return 0, net.ErrClosed
	}
	return f.Conn.Write(b)
}

// repeated has commands done twice, as go-redis does when it has lost the connection before the answer came.
type repeated struct{ meanwhile *atomic.Pointer[func()] }

func (repeated) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r repeated) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if meanwhile := r.meanwhile.Swap(nil); meanwhile != nil && err == nil {
			(*meanwhile)()
			err = next(context.WithoutCancel(ctx), cmd) // however long that took
		}
		return err
	}
}

func (repeated) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (w *world) await(what string, done func() bool) {
	w.Helper()
	deadline := time.After(30 * time.Second)
	for !done() {
		select {
		case <-deadline:
			w.Fatalf("%s: not in time", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func question() *cache.Question {
	return &cache.Question{Kind: "number", Name: "the number", Tags: []string{tag}, Access: "access:1"}
}

func (w *world) look() *cache.Look { return w.answers.Look(w.Context(), question()) }

// read gives the number, from the cache if it can.
func (w *world) read() (got int64, hit bool) {
	l := w.look()
	if l.Answer != nil {
		n, err := strconv.ParseInt(string(l.Answer.Body), 10, 64)
		if err != nil {
			w.Fatal(err)
		}
		return n, true
	}
	n := w.fetch()
	w.answers.Keep(w.Context(), question(), l, answer(n))
	return n, false
}

func (w *world) fetch() int64 {
	w.fetched.Add(1)
	return w.number.Load()
}

func answer(n int64) *cache.Answer {
	return &cache.Answer{Scope: 7, Header: []string{"Etag", `"1"`}, Body: strconv.AppendInt(nil, n, 10)}
}

// write changes the number; between is run after the commit and before the tag has a new version.
func (w *world) write(n int64, between func()) {
	w.Helper()
	w.writeBy(w.writer, n, between)
}

func (w *world) writeBy(writer *cache.Writer, n int64, between func()) {
	w.Helper()
	if err := writer.Ready(w.Context()); err != nil {
		w.Fatal(err)
	}
	mark := cache.NewMark()
	err := w.db.RunInTx(w.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		if err := writer.Mark(ctx, tx, mark, []string{tag}); err != nil {
			return err
		}
		w.number.Store(n)
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	if between != nil {
		between()
	}
	writer.Finish(w.Context(), mark, []string{tag})
}

// mark marks the tag, as a writer does before it commits.
func (w *world) mark() string {
	w.Helper()
	mark := cache.NewMark()
	err := w.db.RunInTx(w.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		return w.writer.Mark(ctx, tx, mark, []string{tag})
	})
	if err != nil {
		w.Fatal(err)
	}
	return mark
}

func (w *world) want(number int64, fromCache bool) {
	w.Helper()
	if got, hit := w.read(); got != number || hit != fromCache {
		w.Errorf("got %d, from the cache %t; want %d, %t", got, hit, number, fromCache)
	}
}

func TestAnAnswerIsKeptUntilItChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want(0, false)
	w.want(0, true)
	w.write(1, func() {
		w.want(1, false) // committed, and not yet acknowledged
		w.want(1, false)
	})
	w.want(1, false)
	w.want(1, true)
}

func TestASlowReaderKeepsNothingUnderANewVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.look()
	old := w.fetch()
	w.write(1, nil)
	w.answers.Keep(t.Context(), question(), l, answer(old))
	w.want(1, false)
	w.want(1, true)
}

func TestOfTwoWritersNoneTakesAwayTheOthersMark(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(1, func() {
		w.write(2, nil)
		w.want(2, false)
		w.want(2, false) // the first has not finished
	})
	w.want(2, false)
	w.want(2, true)
}

// replica has the world ask another replica, of a program.
func (w *world) replica(program string) {
	w.Helper()
	other, err := cache.NewAnswers(w.client, []string{"numbers"}, 1<<20, slog.Default(), noop.MeterProvider{})
	if err != nil {
		w.Fatal(err)
	}
	other.Apart(program)
	ctx, cancel := context.WithCancel(w.Context())
	var job sync.WaitGroup
	job.Go(func() { other.Run(ctx) })
	w.Cleanup(func() { cancel(); job.Wait() })
	w.answers = other
}

func TestAnswersOfAnotherProgramAreNotGiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want(0, false)
	w.replica("the next version")
	w.await("it can keep answers", func() bool {
		if w.look().Answer != nil {
			t.Fatal("got the answer that another program made")
		}
		return w.look().CanKeep()
	})
	w.want(0, false)
	w.want(0, true)
}

func TestAnswersAreFoundByAnotherReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want(0, false)
	w.replica("")
	var l *cache.Look
	w.await("the other replica finds it", func() bool {
		l = w.look()
		return l.Answer != nil
	})
	if string(l.Answer.Body) != "0" || l.Answer.Scope != 7 || l.Answer.Header[1] != `"1"` {
		t.Errorf("got %+v, want the answer of the first replica", l.Answer)
	}
}

func TestAWriterThatDiesLeavesNothingStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want(0, false)
	mark := w.mark()
	w.number.Store(1) // and there it died
	w.want(1, false)
	w.want(1, false)
	for range 2 { // its event is relayed, perhaps more than once
		if err := w.writer.Heal(t.Context(), map[string][]string{mark: {tag}}); err != nil {
			t.Fatal(err)
		}
	}
	w.want(1, false)
	w.want(1, true)
}

// Such as that of a thing that was just made.
func TestATagWithoutAVersionLosesTheMarkOfAWriterThatDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want(0, false)
	if err := w.client.Del(t.Context(), "version:{"+tag+"}").Err(); err != nil {
		t.Fatal(err)
	}
	mark := w.mark()
	w.number.Store(1) // and there it died
	w.want(1, false)
	if err := w.writer.Heal(t.Context(), map[string][]string{mark: {tag}}); err != nil {
		t.Fatal(err)
	}
	w.want(1, false)
	w.want(1, true)
}

func TestTheRelayChangesNothingAfterAWriterThatLived(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mark := w.mark()
	w.writer.Finish(t.Context(), mark, []string{tag})
	w.want(0, false)
	if err := w.writer.Heal(t.Context(), map[string][]string{mark: {tag}}); err != nil {
		t.Fatal(err)
	}
	w.want(0, true)
}

// go-redis sends a command again whose answer got lost with the connection, and others may have written meanwhile.
func TestWhatRedisIsToldTwiceBringsNothingOldBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := cache.NewWriter(w.client, w.db, slog.New(slog.NewTextHandler(t.Output(), nil)))
	heal := func(mark string) {
		if err := w.writer.Heal(t.Context(), map[string][]string{mark: {tag}}); err != nil {
			t.Fatal(err)
		}
	}
	for n, end := range []func(mark string){
		func(mark string) { w.writer.Finish(t.Context(), mark, []string{tag}) },
		heal,
	} {
		end(w.mark()) // from now on Redis knows the script
		m, before, after := w.mark(), int64(2*n+1), int64(2*n+2)
		w.number.Store(before)
		meanwhile := func() {
			w.want(before, false)
			w.want(before, true)
			w.writeBy(other, after, nil)
		}
		w.again.Store(&meanwhile)
		end(m)
		if w.number.Load() != after {
			t.Fatal("nothing was told twice, so the test shows nothing")
		}
		w.want(after, false)
		w.want(after, true)
	}
}

func TestNothingFromBeforeAFlushIsBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow := w.look()
	old := w.fetch()
	w.want(0, false)
	if err := w.client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	w.write(1, nil)
	w.answers.Keep(t.Context(), question(), slow, answer(old))
	w.want(1, false)
	w.await("it is kept again", func() bool { n, hit := w.read(); return n == 1 && hit })
}

func TestAServerThatRestartsFromAnOldSnapshotIsNotBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want(0, false)
	w.want(0, true)
	if err := w.client.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	w.write(1, nil)
	if err := w.redis.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.redis.Restart(t.Context()); err != nil { // with the version and the answer of before
		t.Fatal(err)
	}
	if n, err := w.client.Exists(t.Context(), "answer:{number:1}::the number").Result(); n != 1 || err != nil {
		t.Fatalf("got %d answers in the snapshot (%v), want 1", n, err)
	}
	w.await("it is kept again", func() bool {
		n, hit := w.read()
		if n != 1 {
			t.Fatalf("got %d, which was changed to 1", n)
		}
		return hit
	})
}

func TestWhatIsRememberedIsNotBelievedAfterAnOldSnapshotEither(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	known := cache.Remember[int, int64](10)
	ctx, collector := w.answers.Collect(t.Context(), w.look())
	if collector == nil {
		t.Fatal("nothing can be kept")
	}
	cache.Need(ctx, tag)
	known.Keep(1, cache.Seen(ctx, tag), w.fetch())
	if _, ok := known.Known(1, cache.Seen(ctx, tag)); !ok {
		t.Fatal("nothing is remembered, so the test shows nothing")
	}
	if err := w.client.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	w.write(1, nil)
	ctx, _ = w.answers.Collect(t.Context(), w.look()) // of a request that begins after the write
	if err := w.redis.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.redis.Restart(t.Context()); err != nil { // with the version of before
		t.Fatal(err)
	}
	w.await("Redis answers", func() bool { return w.client.Ping(t.Context()).Err() == nil })
	cache.Need(ctx, tag)
	if n, ok := known.Known(1, cache.Seen(ctx, tag)); ok {
		t.Errorf("got %d, which was changed to 1", n)
	}
}

func TestAWriterThatIsCutOffFromRedisMakesNothingStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want(0, false)
	w.cut.Store(true)
	for n := range int64(3) {
		if _, hit := w.read(); !hit && n == 0 {
			t.Fatal("got no hit before the write, so the test shows nothing")
		}
		w.write(n+1, func() { w.want(n+1, false) })
		w.want(n+1, false)
	}
	w.cut.Store(false)
	w.await("it is kept again", func() bool {
		n, hit := w.read()
		if n != 3 {
			t.Fatalf("got %d, which was changed to 3", n)
		}
		return hit
	})
}

func TestWritesGoOnWithoutRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want(0, false)
	if err := w.redis.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for n := range int64(30) { // more than there are connections
		writers.Go(func() { w.write(n+1, nil) })
	}
	writers.Wait()
	w.number.Store(100)
	w.want(100, false)
	if err := w.redis.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.await("it is kept again", func() bool {
		n, hit := w.read()
		if n != 100 {
			t.Fatalf("got %d, which was changed to 100", n)
		}
		return hit
	})
}

// Several writers wait for one suspension: that the request of the one who asks for it runs out of time is not the others' failure.
func TestAWriterThatRunsOutOfTimeFailsNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cut.Store(true)
	held, err := w.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.ExecContext(t.Context(), "SELECT FROM cache_suspension FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	mark := func(ctx context.Context) error {
		return w.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			return w.writer.Mark(ctx, tx, cache.NewMark(), []string{tag})
		})
	}
	first, second := make(chan error, 1), make(chan error, 1)
	hasten := func() {
		hasty, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		first <- mark(hasty)
	}
	go hasten()
	w.await("the first suspends", func() bool {
		select {
		case err := <-first:
			t.Logf("too hasty: %v", err)
			go hasten()
		default:
		}
		var n int
		err := w.db.NewRaw("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()").
			Scan(t.Context(), &n)
		return err == nil && n > 0
	})
	go func() { second <- mark(t.Context()) }()
	if err := <-first; err == nil {
		t.Error("got a mark in time, so the test shows nothing")
	}
	if err := held.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Errorf("who has time: got %v, want it marked", err)
	}
}
