package page_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/page"
	"github.com/trackway/trackway/services/platform/pgtest"
	"github.com/trackway/trackway/services/platform/postgres"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// thing has a column of each kind, with few distinct values, so that ties abound.
type thing struct {
	bun.BaseModel `bun:"table:things,alias:t"`

	ID    int64 `bun:",pk"`
	Group int64 `bun:"grp"`
	Name  string
	Day   time.Time `bun:",nullzero,type:date"`
	At    time.Time
	Rank  int16
	Words string

	Relevance int64 `bun:",scanonly"`
}

// sought is what things are searched for in the orders by relevance; every thing has it.
const sought = "ship"

// in gives the things, and how they are ordered by that.
func in(db *postgres.DB, order string) (*bun.SelectQuery, page.List[*thing]) {
	if !strings.Contains(order, page.Relevance) {
		return db.NewSelect(), things()
	}
	return page.Search(db.NewSelect().ColumnExpr("?TableColumns"), sought),
		things().Searched(sought, func(r *thing) int64 { return r.Relevance })
}

func things() page.List[*thing] {
	return page.List[*thing]{
		{Name: "id", Expr: "t.id", Kind: page.Int, Value: func(r *thing) any { return r.ID }},
		{Name: "name", Expr: "t.name", Kind: page.Text, Value: func(r *thing) any { return r.Name }},
		{Name: "day", Expr: "coalesce(t.day, 'infinity')", Kind: page.Date, Value: func(r *thing) any { return r.Day }},
		{Name: "at", Expr: "t.at", Kind: page.Time, Value: func(r *thing) any { return r.At }},
		{Name: "rank", Expr: "t.rank", Kind: page.Small, Value: func(r *thing) any { return int64(r.Rank) }},
	}
}

func open(t *testing.T) *postgres.DB {
	t.Helper()
	url := pgtest.Open(t, "things", func(ctx context.Context, url string) error {
		db, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 1})
		if err != nil {
			return err
		}
		defer db.Close() //nolint:errcheck // the template is checked by its use
		_, err = db.ExecContext(ctx, `CREATE TABLE things
			(id bigint PRIMARY KEY, grp bigint, name text COLLATE "C", day date, at timestamptz, rank smallint, words text,
			search tsvector GENERATED ALWAYS AS (to_tsvector('simple', words)) STORED)`)
		return err
	})
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

func randomThing(r *rand.Rand, id int64) *thing {
	row := &thing{
		ID: id, Group: r.Int64N(3), Rank: int16(r.IntN(3)), Name: strings.Repeat("ä\"\\'", r.IntN(3)),
		At: time.Date(2026, 1, 1, 0, 0, 0, r.IntN(3)*1000, time.UTC), Words: strings.Repeat("ship shipyard ", 1+r.IntN(3)),
	}
	if day := r.IntN(4); day > 0 {
		row.Day = time.Date(2026, 2, day, 0, 0, 0, 0, time.UTC)
	}
	return row
}

// request is a page.Request.
type request struct {
	Size          int32
	After, Before string
	Backward      bool
	OrderBy       string
	Count         bool
	EndsOnly      bool
	NoCursors     bool
}

func (r request) GetSize() int32     { return r.Size }
func (r request) GetAfter() string   { return r.After }
func (r request) GetBefore() string  { return r.Before }
func (r request) GetBackward() bool  { return r.Backward }
func (r request) GetOrderBy() string { return r.OrderBy }
func (r request) GetCount() bool     { return r.Count }
func (r request) GetEndsOnly() bool  { return r.EndsOnly }
func (r request) GetNoCursors() bool { return r.NoCursors }

func read(t *testing.T, db *postgres.DB, req request) page.Page[*thing] {
	t.Helper()
	s, list := in(db, req.OrderBy)
	q, err := list.Query(req)
	if err != nil {
		t.Fatal(err)
	}
	p, err := q.Select(t.Context(), db, s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A walk in any order and direction, while rows come and go, meets every row that is there throughout exactly once.
func TestAWalkSkipsAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	orders := []string{"", "-relevance", "relevance,name", "-day,relevance"}
	for _, a := range []string{"id", "-id", "name", "-name", "day", "-day", "at", "-at"} {
		orders = append(orders, a)
		for _, b := range []string{"name", "-day", "-at", "-id"} {
			if strings.Trim(a, "-") != strings.Trim(b, "-") && strings.Trim(a, "-") != "id" {
				orders = append(orders, a+","+b)
			}
		}
	}
	for _, order := range orders {
		for _, backward := range []bool{false, true} {
			t.Run(fmt.Sprintf("order %q backward %t", order, backward), func(t *testing.T) {
				t.Parallel()
				walk(t, order, backward)
			})
		}
	}
}

func walk(t *testing.T, order string, backward bool) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	db := open(t)
	var rows []*thing
	for id := range int64(60) {
		rows = append(rows, randomThing(r, id*10))
	}
	if _, err := db.NewInsert().Model(&rows).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	stays := func(id int64) bool { return id%20 == 0 }
	var seen []int64
	req := request{OrderBy: order, Size: 7, Backward: backward}
	for {
		p := read(t, db, req)
		ids := make([]int64, 0, len(p.Rows))
		for _, row := range p.Rows {
			ids = append(ids, row.ID)
		}
		if backward {
			slices.Reverse(ids)
		}
		seen = append(seen, ids...)
		if more := p.HasNext && !backward || p.HasPrevious && backward; !more {
			break
		}
		if backward {
			req.Before = p.Cursors[0]
		} else {
			req.After = p.Cursors[len(p.Cursors)-1]
		}
		// Others add and delete, the row of the cursor among them.
		late := randomThing(r, r.Int64N(600)*10+1)
		if _, err := db.NewInsert().Model(late).On("CONFLICT DO NOTHING").Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		gone := []int64{ids[len(ids)-1], r.Int64N(60) * 10}
		for _, id := range gone {
			if _, err := db.NewDelete().Model((*thing)(nil)).Where("id = ?", id).Where("id % 20 <> 0").Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	var got, want []int64
	for _, id := range seen {
		if stays(id) {
			got = append(got, id)
		}
	}
	s, list := in(db, order)
	q, err := list.Query(request{OrderBy: order, Size: page.MaxSize})
	if err != nil {
		t.Fatal(err)
	}
	p, err := q.Select(t.Context(), db, s.Where("t.id % 20 = 0"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range p.Rows {
		want = append(want, row.ID)
	}
	if backward {
		slices.Reverse(want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows that stayed (-order of the list +walk):\n%s", diff)
	}
}

// Whether there is more on either side holds for every range, in both directions.
func TestAPageKnowsWhatIsBesideIt(t *testing.T) {
	t.Parallel()
	db := open(t)
	var rows []*thing
	for id := range int64(8) {
		rows = append(rows, &thing{ID: id})
	}
	if _, err := db.NewInsert().Model(&rows).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for after := int64(-1); after < 8; after++ {
		for before := after + 1; before <= 8; before++ {
			for size := int32(1); size < 9; size++ {
				for _, backward := range []bool{false, true} {
					req := request{Size: size, Backward: backward}
					if after >= 0 {
						req.After = page.ByID(after)
					}
					if before < 8 {
						req.Before = page.ByID(before)
					}
					p := read(t, db, req)
					from, to := after+1, before // what the page should be
					if n := int64(size); to-from > n {
						if backward {
							from = to - n
						} else {
							to = from + n
						}
					}
					got := fmt.Sprint(len(p.Rows), p.HasPrevious, p.HasNext)
					if want := fmt.Sprint(to-from, from > 0, to < 8); got != want {
						t.Errorf("after %d before %d size %d backward %t: got %s, want %s", after, before, size, backward, got, want)
					}
				}
			}
		}
	}
}

// A row that was made a moment ago stands where the list will have it.
func TestARowThatNobodyListedHasItsCursor(t *testing.T) {
	t.Parallel()
	db := open(t)
	rows := []*thing{{ID: 1}, {ID: 1 << 60}}
	if _, err := db.NewInsert().Model(&rows).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := []string{page.ByID(1), page.ByID(1 << 60)}
	if diff := cmp.Diff(got, read(t, db, request{Size: 9}).Cursors); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
}

// Who wants the cursors of a page's ends only gets those that the ends have.
func TestAPageHasTheCursorsOfItsEnds(t *testing.T) {
	t.Parallel()
	db := open(t)
	rows := []*thing{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}, {ID: 5}}
	if _, err := db.NewInsert().Model(&rows).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for size := range int32(5) {
		for _, backward := range []bool{false, true} {
			whole := read(t, db, request{Size: size + 1, Backward: backward})
			ends := read(t, db, request{Size: size + 1, Backward: backward, EndsOnly: true})
			want := slices.Compact([]string{whole.Cursors[0], whole.Cursors[size]})
			if diff := cmp.Diff(ends.Cursors, want); diff != "" || len(ends.Rows) != int(size)+1 {
				t.Errorf("of %d rows (-got +want):\n%s", len(ends.Rows), diff)
			}
			if none := read(t, db, request{Size: size + 1, Backward: backward, NoCursors: true}); len(none.Cursors) > 0 || len(none.Rows) != int(size)+1 {
				t.Errorf("got the cursors %q of %d rows, want none", none.Cursors, len(none.Rows))
			}
		}
	}
}

func TestEachListHasItsPage(t *testing.T) {
	t.Parallel()
	db := open(t)
	r := rand.New(rand.NewPCG(1, 2))
	var rows []*thing
	for id := range int64(40) {
		rows = append(rows, randomThing(r, id))
	}
	if _, err := db.NewInsert().Model(&rows).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	const empty = 99
	keys := []int64{0, 2, empty}
	for _, req := range []request{
		{Size: 4, OrderBy: "-day,name", Count: true},
		{Size: 4, OrderBy: "name", Backward: true, Count: true},
		{Size: 4, OrderBy: "at", After: read(t, db, request{OrderBy: "at", Size: 20}).Cursors[9], Count: true},
		{Size: 4, OrderBy: "-relevance", Count: true},
	} {
		s, list := in(db, req.OrderBy)
		q, err := list.Query(req)
		if err != nil {
			t.Fatal(err)
		}
		each, err := q.SelectEach(t.Context(), db, s.Clone().Where("t.id >= 0"), "grp", keys,
			func(r *thing) int64 { return r.Group })
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			want, err := q.Select(t.Context(), db, s.Clone().Where("t.grp = ?", k))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(fmt.Sprint(want.Cursors, want.HasNext, want.HasPrevious, *want.Total),
				fmt.Sprint(each[k].Cursors, each[k].HasNext, each[k].HasPrevious, *each[k].Total)); diff != "" {
				t.Errorf("list %d of %+v (-alone +each):\n%s", k, req, diff)
			}
		}
	}
}

func TestListsTakenTogetherHaveOnePage(t *testing.T) {
	t.Parallel()
	db := open(t)
	r := rand.New(rand.NewPCG(3, 4))
	var rows []*thing
	for id := range int64(60) {
		rows = append(rows, randomThing(r, id))
	}
	if _, err := db.NewInsert().Model(&rows).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][]int64{{0, 2}, {1}, {}} {
		for _, req := range []request{
			{Size: 5, OrderBy: "-day,name", Count: true},
			{Size: 5, OrderBy: "at", Backward: true, Count: true},
			{Size: 5, OrderBy: "name", After: read(t, db, request{OrderBy: "name", Size: 30}).Cursors[20], Count: true},
			{Size: 5, OrderBy: "-relevance", Count: true},
		} {
			s, list := in(db, req.OrderBy)
			q, err := list.Query(req)
			if err != nil {
				t.Fatal(err)
			}
			want, err := q.Select(t.Context(), db, s.Clone().Where("t.grp = ANY(?)", pgdialect.Array(keys)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := q.SelectAcross(t.Context(), db, s, "grp", keys)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(bun.BaseModel{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("lists %v, %+v (-filtered +across):\n%s", keys, req, diff)
			}
		}
	}
}

// What a search finds is in the order of its relevance, without being asked, and only as far as it matches.
func TestTheBestMatchComesFirst(t *testing.T) {
	t.Parallel()
	db := open(t)
	rows := []*thing{
		{ID: 1, Words: "shipyard"},
		{ID: 2, Words: "a ship in a long text about other things"},
		{ID: 3, Words: "ship"},
		{ID: 4, Words: "ship, ship"},
		{ID: 5, Words: "a friendship"},
		{ID: 6, Words: "a ship in a long text about other things"},
	}
	if _, err := db.NewInsert().Model(&rows).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, list := in(db, page.Relevance)
	q, err := list.Query(request{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := q.Select(t.Context(), db, s)
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for _, r := range p.Rows {
		got = append(got, r.ID)
	}
	if want := []int64{3, 4, 6, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWhatIsNoPageIsRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		field string
		req   request
	}{
		{"size", request{Size: -1}},
		{"size", request{Size: page.MaxSize + 1}},
		{"order_by", request{OrderBy: "password"}},
		{"order_by", request{OrderBy: "name,-name"}},
		{"order_by", request{OrderBy: "name,"}},
		{"order_by", request{OrderBy: page.Relevance}},
		{"after", request{After: "%%%"}},
		{"after", request{After: "bm90IGpzb24"}},
		{"before", request{Before: strings.Repeat("A", 5000)}},
		{"after", request{OrderBy: "day", After: cursor("day,id", "0000-12-31", "1")}},
		{"after", request{OrderBy: "at", After: cursor("at,id", "0000-01-01T00:00:00Z", "1")}},
		{"after", request{OrderBy: "name", After: cursor("name,id", "a\u0000b", "1")}},
		{"after", request{OrderBy: "name", After: cursor("name,id", "a", "9223372036854775808")}},
		{"after", request{OrderBy: "rank", After: cursor("rank,id", "32768", "1")}},
	}
	for _, tt := range tests {
		_, err := things().Query(tt.req)
		if e := errs.From(err); e == nil || e.Code != errs.Invalid || e.Fields[0].Name != tt.field {
			t.Errorf("%+v: got %v, want an invalid %s", tt.req, err, tt.field)
		}
	}
}

// cursor is one as only somebody who knows its form would make it.
func cursor(parts ...string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(`["` + strings.Join(parts, `","`) + `"]`))
}

// Whatever a client sends as a cursor is either refused or a key that Postgres can compare.
func FuzzCursor(f *testing.F) {
	f.Add("WyJuYW1lLGlkIiwiYSIsIjEiXQ", "name")
	f.Add("WyJpZCIsIjkyMjMzNzIwMzY4NTQ3NzU4MDciXQ", "")
	f.Add("WyItZGF5LC1pZCIsImluZmluaXR5IiwiMSJd", "-day")
	f.Fuzz(func(t *testing.T, cursor, order string) {
		q, err := things().Query(request{After: cursor, OrderBy: order})
		if err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("got %v, want an Invalid error", err)
		}
		if err == nil && q == nil {
			t.Error("neither a query nor an error")
		}
	})
}
