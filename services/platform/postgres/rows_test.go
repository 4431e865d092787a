package postgres

import (
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/uptrace/bun"
)

// usual is a row as most of ours are.
type usual struct {
	bun.BaseModel `bun:"table:usual"`

	ID         int64
	At         time.Time
	Title      string
	Text       string
	Status     int32
	Labels     []string `bun:",array"`
	AssigneeID *int64
}

// A row is its model, one piece of memory for all of its texts, and what it points to.
//
//nolint:paralleltest // AllocsPerRun counts what the others allocate, too
func TestWhatRowsAllocate(t *testing.T) {
	const count, each = 50, 3
	unconnected := sql.OpenDB(connector{})
	t.Cleanup(func() { _ = unconnected.Close() })
	db, types := bun.NewDB(unconnected, newDialect()), pgtype.NewMap()
	number := []byte{0, 0, 0, 0, 0, 0, 1, 2}
	columns := []struct {
		name  string
		oid   uint32
		value []byte
	}{
		{"id", pgtype.Int8OID, number},
		{"at", pgtype.TimestamptzOID, number},
		{"title", pgtype.TextOID, []byte("a title")},
		{"text", pgtype.TextOID, []byte("a text")},
		{"status", pgtype.Int2OID, []byte{0, 3}},
		{"labels", pgtype.TextArrayOID, make([]byte, 3*size4)},
		{"assignee_id", pgtype.Int8OID, number},
	}
	var (
		fields []pgconn.FieldDescription
		values [][]byte
	)
	for _, c := range columns {
		fields = append(fields, pgconn.FieldDescription{Name: c.name, DataTypeOID: c.oid})
		values = append(values, c.value)
	}
	st := new(statement)
	var read []*usual
	got := testing.AllocsPerRun(100, func() {
		r, err := newRows(db, []any{&read})
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.plan(types, st, fields)
		if err != nil {
			t.Fatal(err)
		}
		for range count {
			if err := r.row(p, values); err != nil {
				t.Fatal(err)
			}
		}
	})
	if want := float64(count*each + 5); got > want {
		t.Errorf("%d rows: %.0f allocations, want at most %.0f", count, got, want)
	}
	if len(read) != count || read[1].Title != "a title" || read[1].Text != "a text" || *read[1].AssigneeID != 258 || read[1].Status != 3 {
		t.Errorf("%d rows: %+v", len(read), read[1])
	}
}
