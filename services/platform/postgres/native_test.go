package postgres_test

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/trackway/trackway/services/platform/postgres"
)

// everything has a column of every type that our models have.
type everything struct {
	bun.BaseModel `bun:"table:everything"`

	ID     int64 `bun:",pk,autoincrement"`
	Small  int32
	Big    *int64
	Text   string
	Bytes  []byte
	Yes    bool
	At     time.Time `bun:",nullzero"`
	Words  []string  `bun:",array"`
	People []int64   `bun:",array"`
}

func native(t *testing.T) *postgres.DB {
	t.Helper()
	return open(t, table(t))
}

// table gives the URL of a database with the table.
func table(t *testing.T) string {
	t.Helper()
	at := empty(t)
	_, err := open(t, at).NewRaw(`CREATE TABLE everything (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, small smallint,
		big bigint, text text, bytes bytea, yes boolean, at timestamptz, words text[], people bigint[])`).Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// Whatever is written comes back, and the statements that wrote and read it were prepared once for all values.
func TestArgumentsAreNative(t *testing.T) {
	t.Parallel()
	db := native(t)
	at := time.Date(2026, 11, 25, 20, 4, 43, 123456000, time.UTC)
	rows := []everything{
		{Small: 7, Big: new(int64(-1 << 62)), Text: "plain", Bytes: []byte{0, 1, 255}, Yes: true, At: at, Words: []string{"a", `b"c`}, People: []int64{1, -2}},
		{Small: -7, Big: new(int64(0)), Text: `it's /*$*/'mine' $1 \' /*=*/ "x" ?0 ''`, Bytes: []byte("'"), At: at, Words: []string{`it's`, `\`, ""}, People: []int64{}},
		{Small: 0, Big: new(int64(1)), Text: "", Bytes: []byte{}, At: at, Words: []string{}, People: []int64{9}},
	}
	err := db.RunInTx(t.Context(), &sql.TxOptions{}, func(ctx context.Context, tx bun.Tx) error {
		for _, want := range rows {
			if _, err := tx.NewInsert().Model(&want).Exec(ctx); err != nil {
				return err
			}
			var got everything
			err := tx.NewSelect().Model(&got).
				Where("text = ? AND small IN (?) AND (id, small) >= ? AND yes = ?", postgres.Arg(want.Text), postgres.ListArg([]int32{want.Small, 5}),
					postgres.TupleArg([]any{want.ID, int64(want.Small)}), postgres.Arg(want.Yes)).
				Where("people = ? AND words = ? AND at = ?", postgres.ArrayArg(want.People), postgres.ArrayArg(want.Words), postgres.Arg(want.At)).
				Scan(ctx)
			if err != nil {
				return err
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("written and read (-want +got):\n%s", diff)
			}
		}
		var texts []string
		err := tx.NewRaw("SELECT statement FROM pg_prepared_statements WHERE statement <> 'BEGIN'").Scan(ctx, &texts)
		if len(texts) != 2 || !strings.Contains(strings.Join(texts, ""), "$9") {
			t.Errorf("an INSERT and a SELECT for three rows are prepared as %q", texts)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What a value's column can not hold is compared all the same, as it is when it stands in the text.
func TestArgumentBeyondItsColumn(t *testing.T) {
	t.Parallel()
	n, err := native(t).NewSelect().Model((*everything)(nil)).Where("small > ?", postgres.Arg(1<<40)).Count(t.Context())
	if err != nil || n != 0 {
		t.Errorf("%d rows, %v", n, err)
	}
}

// A statement with a Literal, or without a native argument, or with very many, is not prepared.
func TestStatementsThatAreNotPrepared(t *testing.T) {
	t.Parallel()
	err := native(t).RunInTx(t.Context(), &sql.TxOptions{}, func(ctx context.Context, tx bun.Tx) error {
		many := make([]everything, 20)
		for i := range many {
			many[i].Text = "x"
		}
		if _, err := tx.NewInsert().Model(&many).Exec(ctx); err != nil {
			return err
		}
		for _, q := range []*bun.SelectQuery{
			tx.NewSelect().Where("text = ? AND small = ?", postgres.Literal("x"), postgres.Arg(0)),
			tx.NewSelect().Where("text = ?", "x"),
		} {
			if n, err := q.Model((*everything)(nil)).Count(ctx); err != nil || n != int64(len(many)) {
				t.Errorf("%d rows, %v", n, err)
			}
		}
		n, err := tx.NewSelect().TableExpr("pg_prepared_statements").Where("statement <> 'BEGIN'").Count(ctx)
		if n != 0 {
			t.Errorf("%d statements are prepared", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// No text can leave its place in a statement, be it an argument or a literal beside one.
func TestTextStaysInItsPlace(t *testing.T) {
	t.Parallel()
	db := open(t, empty(t))
	pieces := []string{"'", "''", `\`, "/*$*/", "/*=*/", "/*", "*/", "--", `"`, "$1", "?", "1", "NULL", "é", "\U0001F600", " "}
	r := rand.New(rand.NewPCG(8, 25))
	text := func() (s string) {
		for range r.IntN(8) {
			s += pieces[r.IntN(len(pieces))]
		}
		return s
	}
	for range 500 {
		one, other := text(), text()
		var a, b, c string
		err := db.NewRaw(`SELECT ?::text, ?::text, ?::text AS "it's"`, postgres.Arg(one), other, postgres.Arg(other)).Scan(t.Context(), &a, &b, &c)
		if err != nil || a != one || b != other || c != other {
			t.Fatalf("%q and %q come back as %q, %q, %q, %v", one, other, a, b, c, err)
		}
	}
}
