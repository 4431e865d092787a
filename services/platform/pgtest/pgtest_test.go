package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func TestEachTestHasItsOwnMigratedDatabase(t *testing.T) {
	t.Parallel()
	name := "notes-" + rand.Text() // another one if the test is run again
	var migrations atomic.Int64
	migrate := func(ctx context.Context, url string) error {
		migrations.Add(1)
		conn, err := pgx.Connect(ctx, url) // left open: what a migration forgets must not get in the way of the clones
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "CREATE TABLE notes (body text); INSERT INTO notes VALUES ('from the template')")
		return err
	}
	for i := range 12 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			conn := connect(t, Open(t, name, migrate))
			if _, err := conn.Exec(t.Context(), "INSERT INTO notes VALUES ($1)", fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
			var got string
			err := conn.QueryRow(t.Context(), "SELECT string_agg(body, ', ' ORDER BY length(body) DESC) FROM notes").Scan(&got)
			if want := fmt.Sprintf("from the template, %d", i); err != nil || got != want {
				t.Errorf("notes: got %q, %v, want %q", got, err, want)
			}
			if got := migrations.Load(); got != 1 {
				t.Errorf("migrations: got %d, want 1", got)
			}
		})
	}
}

func TestTemplatesOfDifferentNamesDiffer(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"one", "two"} {
		conn := connect(t, Open(t, name, func(ctx context.Context, url string) error {
			conn, err := pgx.Connect(ctx, url)
			if err != nil {
				return err
			}
			_, err = conn.Exec(ctx, "CREATE TABLE "+name+" ()")
			return errors.Join(err, conn.Close(ctx))
		}))
		var got string
		err := conn.QueryRow(t.Context(), "SELECT string_agg(tablename, ', ') FROM pg_tables WHERE schemaname = 'public'").Scan(&got)
		if err != nil || got != name {
			t.Errorf("tables: got %q, %v, want %q", got, err, name)
		}
	}
}

//nolint:tparallel // the inner test has to end before the outer one goes on
func TestTheDatabaseIsDroppedWithConnectionsOpen(t *testing.T) {
	t.Parallel()
	var url string
	var conn *pgx.Conn
	t.Run("inner", func(t *testing.T) {
		url = Open(t, "empty", func(context.Context, string) error { return nil })
		var err error
		if conn, err = pgx.Connect(t.Context(), url); err != nil {
			t.Fatal(err)
		}
	})
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("the connection of a test that has ended still works")
	}
	if _, err := pgx.Connect(t.Context(), url); err == nil {
		t.Error("the database of a test that has ended is still there")
	}
}

func TestAFailedMigrationIsTriedAgain(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	Open(t, "first", func(context.Context, string) error { return nil }) // starts the server
	broken, name := errors.New("broken"), "retry-"+rand.Text()           // another one if the test is run again
	if _, err := shared.template(ctx, name, func(context.Context, string) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("error: got %v, want %v", err, broken)
	}
	if _, err := shared.template(ctx, name, func(context.Context, string) error { return nil }); err != nil {
		t.Errorf("error after the repair: got %v, want none", err)
	}
}

func TestEachTestHasItsOwnRedis(t *testing.T) {
	t.Parallel()
	for range 2 {
		o, err := redis.ParseURL(Redis(t))
		if err != nil {
			t.Fatal(err)
		}
		client := redis.NewClient(o)
		t.Cleanup(func() { _ = client.Close() })
		if fresh, err := client.SetNX(t.Context(), "key", "value", 0).Result(); err != nil || !fresh {
			t.Errorf("setting a key that only the other test has set: got %v, %v, want true", fresh, err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	Open(b, "empty", func(context.Context, string) error { return nil })
	for b.Loop() {
		Open(b, "empty", nil)
	}
}
