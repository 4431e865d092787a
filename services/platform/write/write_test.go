package write_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/idempotency"
	"github.com/trackway/trackway/services/platform/pgtest"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/write"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func open(t *testing.T) *write.DB {
	t.Helper()
	return openAt(t, database(t))
}

func database(t *testing.T) string {
	t.Helper()
	return pgtest.Open(t, "write", func(ctx context.Context, url string) error {
		return postgres.Migrate(ctx, url, write.Migrations()...)
	})
}

func openAt(t *testing.T, url string) *write.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &write.DB{DB: db}
}

// stream lets an interceptor set headers outside a server.
type stream struct{ header metadata.MD }

func (s *stream) Method() string                  { return "/test/Put" }
func (s *stream) SetHeader(md metadata.MD) error  { s.header = metadata.Join(s.header, md); return nil }
func (s *stream) SendHeader(md metadata.MD) error { return s.SetHeader(md) }
func (s *stream) SetTrailer(metadata.MD) error    { return nil }

// put is a call of a method that writes one event and answers with its request; during runs in its transaction.
func put(t *testing.T, db *write.DB, value string, during func(context.Context) error) (answer string, replayed bool, err error) {
	t.Helper()
	s := new(stream)
	ctx := grpc.NewContextWithServerTransportStream(t.Context(), s)
	ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(idempotency.KeyHeader, "k"))
	req := wrapperspb.String(value)
	got, err := idempotency.Intercept(db, nil)(ctx, req, &grpc.UnaryServerInfo{FullMethod: "/test/Put"},
		func(ctx context.Context, req any) (any, error) {
			m, ok := req.(proto.Message)
			if !ok {
				t.Fatalf("the request is a %T", req)
			}
			err := write.Tx(ctx, db, "thing", func(ctx context.Context, _ postgres.Tx) (write.Change, error) {
				return write.Changed(m, events.Event{Type: "thing.put", SubjectID: 1, Version: 1, Payload: m}), during(ctx)
			})
			return m, err
		})
	if m, ok := got.(*wrapperspb.StringValue); ok {
		answer = m.GetValue()
	}
	return answer, len(s.header.Get(idempotency.ReplayedHeader)) > 0, err
}

func fine(context.Context) error { return nil }

func count(t *testing.T, db *write.DB, table string, want int64) {
	t.Helper()
	if got, err := db.NewSelect().Table(table).Count(t.Context()); err != nil || got != want {
		t.Errorf("%s: got %d rows, %v, want %d", table, got, err, want)
	}
}

func TestARepeatedKeyIsAnsweredAsBefore(t *testing.T) {
	t.Parallel()
	db := open(t)
	for i := range 3 {
		answer, replayed, err := put(t, db, "a", fine)
		if err != nil || answer != "a" || replayed != (i > 0) {
			t.Errorf("call %d: got %q, replayed %t, %v", i, answer, replayed, err)
		}
	}
	if _, _, err := put(t, db, "b", fine); !errs.Is(err, errs.KeyReused) {
		t.Errorf("another request: got %v, want %s", err, errs.KeyReused)
	}
	count(t, db, "events", 1)
}

func TestAKeyWhoseFirstRequestRunsIsInProgress(t *testing.T) {
	t.Parallel()
	db := open(t)
	_, _, err := put(t, db, "a", func(context.Context) error {
		if _, _, err := put(t, db, "a", fine); !errs.Is(err, errs.InProgress) {
			t.Errorf("the second request: got %v, want %s", err, errs.InProgress)
		}
		return nil
	})
	if err != nil {
		t.Errorf("the first request: %v", err)
	}
	count(t, db, "events", 1)
}

// The look for the key; BEGIN, the lock and the look under it; the event, the answer and COMMIT.
func TestAWriteTakesThreeRoundTrips(t *testing.T) {
	t.Parallel()
	at, made := pgtest.Trips(t, database(t))
	db := openAt(t, at)
	var before int64
	for range 3 { // the first one connects and prepares
		before = made()
		if _, _, err := put(t, db, "a", fine); err != nil {
			t.Fatal(err)
		}
		if _, err := db.NewRaw("DELETE FROM idempotency_keys").Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := made() - before; got != 4 { // one is that of DELETE
		t.Errorf("got %d round trips, want 4", got)
	}
	count(t, db, "events", 3)
}

func TestAFailedWriteLeavesNothing(t *testing.T) {
	t.Parallel()
	db := open(t)
	broken := errors.New("broken")
	if _, _, err := put(t, db, "a", func(context.Context) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	count(t, db, "events", 0)
	count(t, db, "idempotency_keys", 0)
	if answer, replayed, err := put(t, db, "a", fine); answer != "a" || replayed || err != nil {
		t.Errorf("the retry: got %q, replayed %t, %v, want a first answer", answer, replayed, err)
	}
}

func TestAnOldKeyIsForgotten(t *testing.T) {
	t.Parallel()
	db := open(t)
	if _, _, err := put(t, db, "a", fine); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "UPDATE idempotency_keys SET created_at = now() - interval '24 hours 1 second'"); err != nil {
		t.Fatal(err)
	}
	if answer, replayed, err := put(t, db, "b", fine); answer != "b" || replayed || err != nil {
		t.Errorf("after a day: got %q, replayed %t, %v, want a first answer", answer, replayed, err)
	}
	count(t, db, "idempotency_keys", 1)
	count(t, db, "events", 2)
}

func TestRetryEndsWhenNobodyIsInTheWay(t *testing.T) {
	t.Parallel()
	n := 0
	err := write.Retry(t.Context(), func(context.Context) error {
		if n++; n < 3 {
			return write.ErrRaced
		}
		return nil
	})
	if err != nil || n != 3 {
		t.Errorf("got %v after %d attempts, want success at the third", err, n)
	}
	synctest.Test(t, func(t *testing.T) {
		var last time.Time
		err := write.Retry(t.Context(), func(context.Context) error {
			last = time.Now()
			return write.ErrRaced
		})
		if waited := time.Since(last); !errs.Is(err, errs.Unavailable) || waited > 0 {
			t.Errorf("always raced: got %v, %v after the last attempt, want %s at once", err, waited, errs.Unavailable)
		}
	})
}

// All that has been kept long enough goes, however much it is, and nothing else.
func TestOldAnswersAreSweptAway(t *testing.T) {
	t.Parallel()
	db := open(t)
	_, err := db.ExecContext(t.Context(), `INSERT INTO idempotency_keys (caller_id, key, fingerprint, answer, created_at)
		SELECT n % 7, 'old ' || n, ''::bytea, ''::bytea, now() - interval '25 hours' FROM generate_series(1, 2500) AS n
		UNION ALL SELECT 1, 'young', '', '', now() - interval '23 hours'`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var sweeping sync.WaitGroup
	sweeping.Go(func() {
		idempotency.Sweep(ctx, db.DB, slog.New(slog.NewTextHandler(t.Output(), nil)), noop.NewTracerProvider())
	})
	t.Cleanup(func() { cancel(); sweeping.Wait() })
	left := func() int64 {
		n, err := db.NewSelect().Table("idempotency_keys").Where("key LIKE 'old %'").Count(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for deadline := time.After(30 * time.Second); left() > 0; {
		select {
		case <-deadline:
			t.Fatalf("%d old answers are left", left())
		case <-time.After(5 * time.Millisecond):
		}
	}
	count(t, db, "idempotency_keys", 1)
}
