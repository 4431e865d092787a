package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"

	"github.com/trackway/trackway/services/platform/pgtest"
	"github.com/trackway/trackway/services/platform/postgres"
)

// samples are rows of everything, with and without NULLs.
func samples() []everything {
	at := time.Date(1999, 1, 2, 3, 4, 5, 678901000, time.UTC) // before the epoch of Postgres, too
	return []everything{
		{ID: 1, Small: -7, Big: new(int64(-1 << 62)), Text: "é 'x'", Bytes: []byte{0, 1, 255}, Yes: true, At: at, Words: []string{"a", `b"c`, ""}, People: []int64{1, -2}},
		{ID: 2, Small: 1 << 14, Text: "", Bytes: []byte{}, At: at.Add(50 * 365 * 24 * time.Hour), Words: []string{}, People: []int64{}},
		{ID: 3, Big: new(int64(0)), Text: strings.Repeat("long ", 5000), Words: []string{"x"}, People: []int64{3}},
	}
}

// What bun reads, Scan reads the same, whatever it is read into: prepared and not.
func TestScanReadsWhatBunReads(t *testing.T) {
	t.Parallel()
	db := native(t)
	want := samples()
	if _, err := db.NewInsert().Model(&want).ExcludeColumn("id").Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	nulls := "INSERT INTO everything (id) OVERRIDING SYSTEM VALUE VALUES (4)"
	if _, err := db.NewRaw(nulls).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, arg := range []any{postgres.Arg(0), 0} {
		var bunRows, rows []everything
		var pointers []*everything
		q := func() *bun.SelectQuery {
			return db.NewSelect().Model((*everything)(nil)).Where("id > ?", arg).Order("id")
		}
		for range 2 { // the second time with the plan of the first
			err := errors.Join(q().Scan(t.Context(), &bunRows), db.Scan(t.Context(), q(), &rows), db.Scan(t.Context(), q(), &pointers))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(bunRows, rows); diff != "" || len(rows) != 4 {
				t.Errorf("%d rows (-bun +Scan):\n%s", len(rows), diff)
			}
			for i := range pointers {
				if diff := cmp.Diff(&rows[i], pointers[i]); diff != "" {
					t.Errorf("row %d (-value +pointer):\n%s", i, diff)
				}
			}
		}
		kept := everything{Text: "kept", Big: new(int64(9))}
		var (
			ids   []int64
			n     int64
			texts []string
			on    time.Time
		)
		err := errors.Join(
			db.Scan(t.Context(), q().Column("id", "small"), &kept),
			db.Scan(t.Context(), q().Column("id"), &ids),
			db.Scan(t.Context(), db.NewRaw("SELECT count(*), ARRAY['a', 'b'], date '2026-11-25' WHERE ? = 0", arg), &n, &texts, &on),
		)
		if err != nil || kept.ID != 1 || kept.Text != "kept" || *kept.Big != 9 || len(ids) != 4 || n != 1 || len(texts) != 2 || on.Day() != 25 {
			t.Errorf("%v: %+v, %v, %d, %q, %s", err, kept, ids, n, texts, on)
		}
	}
}

func TestWhatScanCanNotRead(t *testing.T) {
	t.Parallel()
	db := native(t)
	one := new(everything)
	err := db.Scan(t.Context(), db.NewSelect().Model(one).Where("id = ?", postgres.Arg(1)), one)
	if !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("no row: got %v", err)
	}
	for name, read := range map[string]func() error{
		"a number beyond its field": func() error { return db.Scan(t.Context(), db.NewRaw("SELECT 1::bigint << 40 AS small"), one) },
		"no such field":             func() error { return db.Scan(t.Context(), db.NewRaw("SELECT 1 AS nothing"), one) },
		"too few values":            func() error { return db.Scan(t.Context(), db.NewRaw("SELECT 1, 2"), new(int64)) },
		"an array with a NULL":      func() error { return db.Scan(t.Context(), db.NewRaw("SELECT ARRAY['a', NULL] AS words"), one) },
		"an infinite time":          func() error { return db.Scan(t.Context(), db.NewRaw("SELECT timestamptz 'infinity' AS at"), one) },
		"no pointer":                func() error { return db.Scan(t.Context(), db.NewRaw("SELECT 1"), everything{}) },
		"an error of Postgres":      func() error { return db.Scan(t.Context(), db.NewRaw("SELECT 1/?", postgres.Arg(0)), new(int64)) },
	} {
		if err := read(); err == nil || errors.Is(err, sql.ErrNoRows) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// The connections are as good as before.
	for range 8 {
		var n int64
		if err := db.Scan(t.Context(), db.NewRaw("SELECT ?", postgres.Arg(7)), &n); err != nil || n != 7 {
			t.Errorf("%d, %v", n, err)
		}
	}
}

// A schema that changes under a prepared statement is no error of those who only read.
func TestAPreparedStatementOutlivesItsSchema(t *testing.T) {
	t.Parallel()
	db := native(t)
	read := func() error {
		var n []struct{ Small int64 }
		return db.Scan(t.Context(), db.NewRaw("SELECT small FROM everything WHERE id = ?", postgres.Arg(1)), &n)
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.NewRaw("ALTER TABLE everything ALTER small TYPE bigint").Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := read(); err != nil {
		t.Error(err)
	}
}

// More statements than a connection keeps prepared are no trouble to it, and do not fill Postgres.
func TestManyStatements(t *testing.T) {
	t.Parallel()
	db := native(t)
	err := db.InTx(t.Context(), func(ctx context.Context, tx postgres.Tx) error {
		var n int64
		for i := range 300 {
			if err := tx.Scan(ctx, tx.NewRaw(fmt.Sprintf("SELECT %d + ?", i), postgres.Arg(i)), &n); err != nil || n != int64(2*i) {
				t.Fatalf("%d, %v", n, err)
			}
		}
		err := tx.Scan(ctx, tx.NewRaw("SELECT count(*) FROM pg_prepared_statements"), &n)
		if n > 260 {
			t.Errorf("%d statements are prepared", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// insert adds a row with the text.
func insert(tx postgres.Tx, text string) postgres.Statement {
	return tx.NewInsert().Model(&everything{Text: text}).Returning("id")
}

func TestATransactionTakesFewRoundTrips(t *testing.T) {
	t.Parallel()
	through, made := pgtest.Trips(t, table(t))
	db := open(t, through)
	for _, c := range []struct {
		name string
		want int64
		do   func(ctx context.Context, tx postgres.Tx) error
	}{
		{"nothing", 0, func(context.Context, postgres.Tx) error { return nil }},
		{"a statement", 2, func(ctx context.Context, tx postgres.Tx) error { return tx.Scan(ctx, insert(tx, "a"), new(everything)) }},
		{"two later", 1, func(ctx context.Context, tx postgres.Tx) error {
			return errors.Join(tx.Later(ctx, insert(tx, "b")), tx.Later(ctx, insert(tx, "c")))
		}},
		{"one and two later", 2, func(ctx context.Context, tx postgres.Tx) error {
			return errors.Join(tx.Scan(ctx, insert(tx, "d"), new(everything)), tx.Later(ctx, insert(tx, "e")), tx.Later(ctx, insert(tx, "f")))
		}},
		{"bun's own", 3, func(ctx context.Context, tx postgres.Tx) error {
			_, err := tx.NewRaw("INSERT INTO everything (text) VALUES ('g')").Exec(ctx)
			return err
		}},
	} {
		var before int64
		for range 3 { // the first one connects, the second one prepares
			before = made()
			if err := db.InTx(t.Context(), c.do); err != nil {
				t.Fatal(err)
			}
		}
		if got := made() - before; got != c.want {
			t.Errorf("%s: %d round trips, want %d", c.name, got, c.want)
		}
	}
	var n int64
	if err := db.Scan(t.Context(), db.NewRaw("SELECT count(*) FROM everything"), &n); err != nil || n != 3*7 {
		t.Errorf("%d rows, %v", n, err)
	}
}

// A walk is planned once for all values, in one round trip, and what makes it so is gone afterwards.
func TestAWalkIsPlannedOnce(t *testing.T) {
	t.Parallel()
	through, made := pgtest.Trips(t, table(t))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: through, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	const walks = 8
	var before int64
	for i := range walks {
		before = made()
		var ids []struct{ ID int64 }
		err := db.Scan(t.Context(), postgres.Walk(db.NewRaw("SELECT id FROM everything WHERE id > ? ORDER BY id LIMIT 3", postgres.Arg(i))), &ids)
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := made() - before; got != 1 {
		t.Errorf("%d round trips, want one", got)
	}
	var generic, custom int64
	var mode, sorts string
	err = db.Scan(t.Context(), db.NewRaw(`SELECT generic_plans, custom_plans, current_setting('plan_cache_mode'), current_setting('enable_sort')
		FROM pg_prepared_statements WHERE statement LIKE 'SELECT id FROM everything%'`), &generic, &custom, &mode, &sorts)
	if err != nil || generic != walks || custom != 0 || mode != "auto" || sorts != "on" {
		t.Errorf("%d plans for all values and %d for one, then %s and %s, %v", generic, custom, mode, sorts, err)
	}
}

// A transaction that fails, wherever it does, leaves nothing, and its connection is as good as before.
func TestATransactionIsAllOrNothing(t *testing.T) {
	t.Parallel()
	db := native(t)
	broken := errors.New("broken")
	bad := func(tx postgres.Tx) postgres.Statement { return tx.NewRaw("SELECT 1/?", postgres.Arg(0)) }
	for name, do := range map[string]func(ctx context.Context, tx postgres.Tx) error{
		"by itself": func(ctx context.Context, tx postgres.Tx) error {
			return errors.Join(tx.Scan(ctx, insert(tx, "a"), new(everything)), tx.Later(ctx, insert(tx, "b")), broken)
		},
		"before it begins": func(context.Context, postgres.Tx) error { return broken },
		"at first":         func(ctx context.Context, tx postgres.Tx) error { return tx.Scan(ctx, bad(tx), new(int64)) },
		"in between": func(ctx context.Context, tx postgres.Tx) error {
			_ = tx.Later(ctx, insert(tx, "a"))
			return tx.Scan(ctx, bad(tx), new(int64))
		},
		"with the COMMIT": func(ctx context.Context, tx postgres.Tx) error {
			return errors.Join(tx.Scan(ctx, insert(tx, "a"), new(everything)), tx.Later(ctx, bad(tx)), tx.Later(ctx, insert(tx, "b")))
		},
		"unseen": func(ctx context.Context, tx postgres.Tx) error {
			_ = tx.Scan(ctx, insert(tx, "a"), new(everything))
			_ = tx.Scan(ctx, bad(tx), new(int64))
			return nil
		},
	} {
		err := db.InTx(t.Context(), do)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		var pg *pgconn.PgError
		if name == "with the COMMIT" && (!errors.As(err, &pg) || pg.Code != "22012" || !postgres.Uncommitted(err)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	var n int64
	if err := db.Scan(t.Context(), db.NewRaw("SELECT count(*) FROM everything"), &n); err != nil || n != 0 {
		t.Errorf("%d rows, %v", n, err)
	}
}

// A server may speak any language.
func TestWhatIsRefusedIsUncommittedInEveryLanguage(t *testing.T) {
	t.Parallel()
	for severity, want := range map[string]bool{"ERROR": true, "FATAL": false} {
		err := fmt.Errorf("commit: %w", &pgconn.PgError{Severity: "FEHLER", SeverityUnlocalized: severity, Code: "57P01"})
		if got := postgres.Uncommitted(err); got != want {
			t.Errorf("%s: got %t, want %t", severity, got, want)
		}
	}
}

// A connection that has gone while it lay in the pool fails no transaction.
func TestATransactionFindsALivingConnection(t *testing.T) {
	t.Parallel()
	at := table(t)
	db := open(t, at)
	var pid int64
	err := db.InTx(t.Context(), func(ctx context.Context, tx postgres.Tx) error {
		return tx.Scan(ctx, tx.NewRaw("SELECT pg_backend_pid()"), &pid)
	})
	if err != nil {
		t.Fatal(err)
	}
	other := open(t, at)
	var gone bool
	if err := other.Scan(t.Context(), other.NewRaw("SELECT pg_terminate_backend(?::int, 10000)", pid), &gone); err != nil || !gone {
		t.Fatalf("%t, %v", gone, err)
	}
	runs := 0
	err = db.InTx(t.Context(), func(ctx context.Context, tx postgres.Tx) error {
		runs++
		return tx.Scan(ctx, insert(tx, "a"), new(everything))
	})
	if err != nil || runs != 2 {
		t.Errorf("%d runs, %v", runs, err)
	}
}
