package postgres_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/pgtest"
	"github.com/trackway/trackway/services/platform/postgres"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func empty(t *testing.T) string {
	t.Helper()
	return pgtest.Open(t, "empty", func(context.Context, string) error { return nil })
}

func open(t *testing.T, url string) *postgres.DB {
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
	return db
}

func files(sql map[string]string) fs.FS {
	f := fstest.MapFS{}
	for name, text := range sql {
		f[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return f
}

func TestFiveMigrateAtOnce(t *testing.T) {
	t.Parallel()
	url := empty(t)
	one := files(map[string]string{"001_one.tx.up.sql": "CREATE TABLE one (id int); INSERT INTO one VALUES (1);"})
	two := files(map[string]string{"101_two.tx.up.sql": "INSERT INTO one VALUES (2); INSERT INTO one VALUES (3);"})
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if err := postgres.Migrate(t.Context(), url, one, two); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var got int
	if err := open(t, url).NewRaw("SELECT count(*) FROM one").Scan(t.Context(), &got); err != nil || got != 3 {
		t.Errorf("got %d rows, %v, want 3: each migration once", got, err)
	}
}

// Where everything is started at once, the database is not there yet.
func TestMigratingWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(empty(t))
	if err != nil {
		t.Fatal(err)
	}
	database := u.Host
	var lc net.ListenConfig
	closed, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- postgres.Migrate(t.Context(), u.String(), files(map[string]string{"001_one.tx.up.sql": "CREATE TABLE one (id int)"}))
	}()
	select {
	case err := <-done:
		t.Fatalf("before the database is there: %v, want it to wait", err)
	case <-time.After(300 * time.Millisecond): // it has tried
	}
	open, err := lc.Listen(t.Context(), "tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close() }()
	go forward(t.Context(), open, database)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// forward connects everybody who comes to l with the address.
func forward(ctx context.Context, l net.Listener, address string) {
	for {
		here, err := l.Accept()
		if err != nil {
			return
		}
		var d net.Dialer
		there, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			_ = here.Close()
			continue
		}
		for from, to := range map[net.Conn]net.Conn{here: there, there: here} {
			go func() {
				_, _ = io.Copy(to, from)
				_ = to.Close()
			}()
		}
	}
}

func TestAFailedMigrationLeavesNothing(t *testing.T) {
	t.Parallel()
	url := empty(t)
	bad := map[string]string{"001_bad.tx.up.sql": "CREATE TABLE half (id int); SELECT 1/0;"}
	if err := postgres.Migrate(t.Context(), url, files(bad)); err == nil {
		t.Fatal("a division by zero is no error")
	}
	good := map[string]string{"001_bad.tx.up.sql": "CREATE TABLE half (id int);"}
	if err := postgres.Migrate(t.Context(), url, files(good)); err != nil {
		t.Errorf("the mended migration: %v", err)
	}
}

func TestWhatPostgresSaysIsTranslated(t *testing.T) {
	t.Parallel()
	db := open(t, empty(t))
	if _, err := db.ExecContext(t.Context(), `
		CREATE TABLE shelves (id int PRIMARY KEY);
		CREATE TABLE books (
			isbn  text CONSTRAINT books_isbn_key UNIQUE,
			pages int CONSTRAINT books_pages_check CHECK (pages > 0),
			shelf int CONSTRAINT books_shelf_fkey REFERENCES shelves);
		INSERT INTO books VALUES ('a', 1, NULL);`); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		sql   string
		want  errs.Code
		field string
	}{
		{"INSERT INTO books VALUES ('a', 1, NULL)", errs.Conflict, "isbn"},
		{"INSERT INTO books VALUES ('b', 0, NULL)", errs.Invalid, "pages"},
		{"INSERT INTO books VALUES ('b', 1, 7)", errs.Invalid, "shelf"},
		{"SET statement_timeout = 50; SELECT pg_sleep(10)", errs.DeadlineExceeded, ""},
		{"SELECT nonsense", errs.Internal, ""},
		{"SELECT pg_terminate_backend(pg_backend_pid())", errs.Unavailable, ""},
	}
	for _, tt := range tests {
		_, err := db.ExecContext(t.Context(), tt.sql)
		got := errs.From(postgres.Error(err, "book"))
		if got == nil || got.Code != tt.want {
			t.Errorf("%s: got %v, want %s", tt.sql, got, tt.want)
			continue
		}
		if tt.field != "" && (len(got.Fields) != 1 || got.Fields[0].Name != tt.field) {
			t.Errorf("%s: got fields %v, want %s", tt.sql, got.Fields, tt.field)
		}
	}
	var one int
	err := db.NewRaw("SELECT 1 WHERE false").Scan(t.Context(), &one)
	if got := errs.From(postgres.Error(err, "book")); got.Code != errs.NotFound {
		t.Errorf("no row: got %v, want %s", got, errs.NotFound)
	}
	gone := fmt.Errorf("read the answer: %w", io.ErrUnexpectedEOF)
	if got := errs.From(postgres.Error(gone, "book")); got.Code != errs.Unavailable {
		t.Errorf("a connection that went: got %v, want %s", got, errs.Unavailable)
	}
}

func TestADatabaseOutOfReachIsUnavailable(t *testing.T) {
	t.Parallel()
	changed, err := url.Parse(empty(t))
	if err != nil {
		t.Fatal(err)
	}
	changed.User = url.UserPassword(changed.User.Username(), "the password of before")
	for _, where := range []string{"postgres://nobody@127.0.0.1:1/none", changed.String()} {
		db := open(t, where)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if got := errs.From(postgres.Error(db.PingContext(ctx), "book")); got == nil || got.Code != errs.Unavailable {
			t.Errorf("got %v, want %s", got, errs.Unavailable)
		}
	}
}

func TestWordsAreQueriesOfWordsOnly(t *testing.T) {
	t.Parallel()
	if got, want := postgres.Words("Ship 'it&"), "'Ship' | 'it'"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPrefixesAreQueriesOfWordsOnly(t *testing.T) {
	t.Parallel()
	for search, want := range map[string]string{
		"Ship it":        "'Ship':* & 'it':*",
		"  ":             "",
		"a'b&!:*(c)\\ d": "'a':* & 'b':* & 'c':* & 'd':*",
		"naïve Ünïcode":  "'naïve':* & 'Ünïcode':*",
	} {
		if got := postgres.Prefixes(search); got != want {
			t.Errorf("%q: got %q, want %q", search, got, want)
		}
	}
}
