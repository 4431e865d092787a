// Package pagetest checks that the pages of a list cost the same, wherever they are.
package pagetest

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"

	"github.com/trackway/trackway/services/platform/page"
	"github.com/trackway/trackway/services/platform/pgtest"
	"github.com/trackway/trackway/services/platform/postgres"
)

const (
	size = 20
	// most is how many rows a page may take; each counts in every step of the plan, and for each of several lists.
	most = 50 * size
	// probe is how many blocks finding one row of a join by an index may take, where the first page merged two indexes.
	probe = 4
)

// Fill gives a database of the service that the statements have filled, and whose tables are analysed.
func Fill(t *testing.T, service string, migrate func(ctx context.Context, url string) error, statements ...string) *postgres.DB {
	t.Helper()
	url := pgtest.Open(t, service, migrate)
	fill, err := pgx.Connect(t.Context(), url) // without the time limits of a service's connections
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range append(statements, "ANALYZE") {
		if _, err := fill.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := fill.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 2})
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

// SameCost reads the first page of a list and the last one, in every order and direction that it offers, and fails if
// the last one has Postgres look at more rows, or more blocks, than a little above what the first one takes, or the first
// one at many times the rows of a page. The list must have many more than that, and its tables must have been analysed.
func SameCost[T any](t *testing.T, db *postgres.DB, list page.List[T],
	read func(ctx context.Context, q *page.Query[T]) (page.Page[T], error),
) {
	t.Helper()
	compare(t, db, list, read, most)
}

// NoDearer is SameCost for a list that no index has in its orders, and that is therefore read as a whole for each page:
// the last one takes no more than the first.
func NoDearer[T any](t *testing.T, db *postgres.DB, list page.List[T],
	read func(ctx context.Context, q *page.Query[T]) (page.Page[T], error),
) {
	t.Helper()
	compare(t, db, list, read, math.Inf(1))
}

func compare[T any](t *testing.T, db *postgres.DB, list page.List[T],
	read func(ctx context.Context, q *page.Query[T]) (page.Page[T], error), most float64,
) {
	t.Helper()
	seen := &statements{}
	db.AddQueryHook(seen)
	query := func(req *request) (page.Page[T], string) {
		t.Helper()
		q, err := list.Query(req)
		if err != nil {
			t.Fatal(err)
		}
		p, err := read(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return p, seen.last
	}
	for _, f := range list {
		for _, order := range []string{f.Name, "-" + f.Name} {
			_, first := query(&request{Size: size, OrderBy: order})
			end, _ := query(&request{Size: size, OrderBy: order, Backward: true})
			if !end.HasPrevious {
				t.Fatalf("by %s: the list is one page long", order)
			}
			_, last := query(&request{Size: size, OrderBy: order, After: end.Cursors[0]})
			least, got := explain(t, db, first), explain(t, db, last)
			if got.rows > 2*least.rows+size || got.blocks > 2*least.blocks+probe*size || least.rows > most {
				t.Errorf("by %s: the last page takes %+v, the first %+v, want as much, and at most %g rows:\n%s",
					order, got, least, most, last)
			}
		}
	}
}

// request is a page.Request.
type request struct {
	Size     int32
	OrderBy  string
	After    string
	Backward bool
}

// GetSize is how many rows the page has at most.
func (r *request) GetSize() int32 { return r.Size }

// GetAfter is the cursor that the page is behind.
func (r *request) GetAfter() string { return r.After }

// GetBefore is none.
func (*request) GetBefore() string { return "" }

// GetBackward is whether it is the last page.
func (r *request) GetBackward() bool { return r.Backward }

// GetOrderBy is the order.
func (r *request) GetOrderBy() string { return r.OrderBy }

// GetCount is whether to count: no.
func (*request) GetCount() bool { return false }

// GetEndsOnly is whether most cursors are left out: no.
func (*request) GetEndsOnly() bool { return false }

// GetNoCursors is whether all are left out: no.
func (*request) GetNoCursors() bool { return false }

// statements keeps the last statement, with its arguments.
type statements struct{ last string }

// BeforeQuery keeps it.
func (s *statements) BeforeQuery(ctx context.Context, e *bun.QueryEvent) context.Context {
	s.last = e.Query
	return ctx
}

// AfterQuery does nothing.
func (*statements) AfterQuery(context.Context, *bun.QueryEvent) {}

// cost is what a statement takes.
type cost struct {
	rows   float64 // that were looked at
	blocks float64 // that were read, from memory or not
}

// plan is a node of a plan, as EXPLAIN writes it.
//
//nolint:tagliatelle // the names are those of Postgres
type plan struct {
	Rows    float64 `json:"Actual Rows"`
	Loops   float64 `json:"Actual Loops"`
	Removed float64 `json:"Rows Removed by Filter"`
	Recheck float64 `json:"Rows Removed by Index Recheck"`
	Hit     float64 `json:"Shared Hit Blocks"`
	Read    float64 `json:"Shared Read Blocks"`
	Plans   []plan  `json:"Plans"`
}

func explain(t *testing.T, db *postgres.DB, statement string) cost {
	t.Helper()
	var text string
	err := db.NewRaw("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ?", bun.Safe(statement)).Scan(t.Context(), &text)
	if err != nil {
		t.Fatal(err)
	}
	var plans []struct {
		Plan plan `json:"Plan"` //nolint:tagliatelle // as above
	}
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		t.Fatal(err)
	}
	root := plans[0].Plan
	return cost{rows: root.looked(), blocks: root.Hit + root.Read}
}

// looked counts the rows that all nodes gave or threw away. A node says how many it is on average in each loop.
func (p *plan) looked() float64 {
	sum := (p.Rows + p.Removed + p.Recheck) * p.Loops
	for i := range p.Plans {
		sum += p.Plans[i].looked()
	}
	return sum
}

// Reads fails unless Postgres reads the index for the last statement that do sends.
func Reads(t *testing.T, db *postgres.DB, index string, do func(ctx context.Context) error) {
	t.Helper()
	seen := &statements{}
	db.AddQueryHook(seen)
	if err := do(t.Context()); err != nil {
		t.Fatal(err)
	}
	var lines []string
	if err := db.NewRaw("EXPLAIN ?", bun.Safe(seen.last)).Scan(t.Context(), &lines); err != nil {
		t.Fatal(err)
	}
	if plan := strings.Join(lines, "\n"); !strings.Contains(plan, index) {
		t.Errorf("the plan does not read %s:\n%s", index, plan)
	}
}
