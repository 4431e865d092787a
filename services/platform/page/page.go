// Package page turns a request for one page of a list into keyset SQL: an order, an opaque cursor and a limit. A page
// deep in a list costs what the first page costs, and a row that exists throughout a walk is never skipped or
// repeated, whatever is inserted and deleted meanwhile.
package page

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/postgres"
)

// The bounds of a page's size.
const (
	DefaultSize = 50
	MaxSize     = 100
)

// Request is what the caller asks for; page.v1.PageRequest is one.
type Request interface {
	GetSize() int32
	GetAfter() string
	GetBefore() string
	GetBackward() bool
	GetOrderBy() string
	GetCount() bool
	GetEndsOnly() bool
	GetNoCursors() bool
}

// Page is one page of a list, in the list's order.
type Page[T any] struct {
	Rows        []T
	Cursors     []string // one for each row, or for the first and the last, or none
	HasNext     bool
	HasPrevious bool
	Total       *int64 // rows of the whole list, when it was asked for
}

// Field is a field that a list of T can be ordered by.
type Field[T any] struct {
	Name  string      // in the contract
	Expr  string      // its SQL with the model's alias, which is never null: coalesce a nullable column
	Kind  Kind        // the SQL type
	Value func(T) any // what Expr is for a row: an int64, a string or a time.Time, by Kind

	best bool // the highest come first when no order is asked for
}

// List is a list of T, a pointer to a model, and the orders it offers. The first field must be unique: it is the order when none is asked
// for, and ends every other order, so that each row has one place.
type List[T any] []Field[T]

// Query is a checked Request.
type Query[T any] struct {
	by            []term[T]
	name          string // of the order: a cursor is only read in the order that it was made for
	after, before []any  // the key to start behind and to end before; nil is open
	size          int
	backward      bool
	count         bool
	walks         bool
	endsOnly      bool
	noCursors     bool
}

type term[T any] struct {
	Field[T]

	desc bool
}

// Query checks the request. What is wrong with it is an Invalid error that names the field, such as "order_by".
func (l List[T]) Query(req Request) (*Query[T], error) {
	q := &Query[T]{
		size: int(req.GetSize()), backward: req.GetBackward(), count: req.GetCount(),
		endsOnly: req.GetEndsOnly(), noCursors: req.GetNoCursors(),
	}
	if q.size == 0 {
		q.size = DefaultSize
	}
	if q.size < 1 || q.size > MaxSize {
		return nil, errs.InvalidField("size", "must be between 1 and %d", MaxSize)
	}
	var err error
	if q.by, err = l.terms(req.GetOrderBy()); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(q.by))
	for _, t := range q.by {
		names = append(names, t.String())
	}
	q.name = strings.Join(names, ",")
	if q.after, err = q.decode("after", req.GetAfter()); err != nil {
		return nil, err
	}
	if q.before, err = q.decode("before", req.GetBefore()); err != nil {
		return nil, err
	}
	return q, nil
}

func (l List[T]) terms(by string) ([]term[T], error) {
	key := term[T]{Field: l[0]}
	if at := slices.IndexFunc(l, func(f Field[T]) bool { return f.best }); by == "" && at >= 0 {
		key.desc = true
		return []term[T]{{l[at], true}, key}, nil
	}
	if by == "" {
		return []term[T]{key}, nil
	}
	var terms []term[T]
	for name := range strings.SplitSeq(by, ",") {
		name, desc := strings.CutPrefix(strings.TrimSpace(name), "-")
		at := slices.IndexFunc(l, func(f Field[T]) bool { return f.Name == name })
		switch {
		case at < 0:
			return nil, errs.InvalidField("order_by", "%q is not an order of this list; there are %s", name, l.names())
		case slices.ContainsFunc(terms, func(t term[T]) bool { return t.Name == name }):
			return nil, errs.InvalidField("order_by", "%q is named twice", name)
		}
		terms = append(terms, term[T]{l[at], desc})
		if at == 0 {
			return terms, nil // nothing behind a unique field can matter
		}
	}
	// In the last field's direction, so that one index serves a single-field order both ways.
	key.desc = terms[len(terms)-1].desc
	return append(terms, key), nil
}

func (l List[T]) names() string {
	names := make([]string, 0, len(l))
	for _, f := range l {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// Walk says that the list is narrowed by nothing but what each of its orders has an index on, so that Select reads a page off
// the index (postgres.Walk). An order by several fields, which has none, is left to Postgres all the same.
func (q *Query[T]) Walk() {
	q.walks = len(q.by) == 1 || len(q.by) == 2 && q.by[0].desc == q.by[1].desc
}

// Select reads the page of the list that s narrows down; s names neither order nor limit, and has no model yet.
func (q *Query[T]) Select(ctx context.Context, db postgres.Querier, s *bun.SelectQuery) (Page[T], error) {
	var (
		rows  []T
		total *int64
	)
	s = s.Model(&rows)
	if q.count {
		n, err := s.Clone().Count(ctx)
		if err != nil {
			return Page[T]{}, fmt.Errorf("count: %w", err)
		}
		total = &n
	}
	var statement postgres.Statement = q.Keyset(s)
	if q.walks {
		statement = postgres.Walk(statement)
	}
	if err := db.Scan(ctx, statement, &rows); err != nil {
		return Page[T]{}, fmt.Errorf("select: %w", err)
	}
	page := q.Cut(rows)
	page.Total = total
	return page, nil
}

// SelectEach reads the same page of several lists in one statement, and counts them in a second one if asked to. Each
// list is the rows of s whose column is one of the keys; keyOf gives a row's. Keys without rows have an empty page.
func (q *Query[T]) SelectEach(ctx context.Context, db postgres.Querier, s *bun.SelectQuery, column string, keys []int64,
	keyOf func(T) int64,
) (map[int64]Page[T], error) {
	var rows []T
	s = s.Model(&rows)
	alias := tableAlias[T](db)
	if err := db.Scan(ctx, q.Order(q.each(db, s, alias, column, keys)), &rows); err != nil {
		return nil, fmt.Errorf("select each: %w", err)
	}
	byKey := make(map[int64][]T, len(keys))
	for list := range Lists(rows, keyOf) {
		byKey[keyOf(list[0])] = list
	}
	totals, err := q.totals(ctx, db, s, alias, column, keys)
	if err != nil {
		return nil, err
	}
	pages := make(map[int64]Page[T], len(keys))
	for _, k := range keys {
		page := q.Cut(byKey[k])
		if q.count {
			page.Total = new(totals[k])
		}
		pages[k] = page
	}
	return pages, nil
}

// Lists gives the rows of each key, in their order, without copying them: it sorts the rows by key.
func Lists[T any](rows []T, keyOf func(T) int64) iter.Seq[[]T] {
	slices.SortStableFunc(rows, func(a, b T) int { return cmp.Compare(keyOf(a), keyOf(b)) })
	return func(yield func([]T) bool) {
		for len(rows) > 0 {
			n := 1
			for n < len(rows) && keyOf(rows[n]) == keyOf(rows[0]) {
				n++
			}
			if !yield(rows[:n:n]) {
				return
			}
			rows = rows[n:]
		}
	}
}

// SelectAcross reads one page of several lists taken together, which are as in SelectEach. It costs a page of each list
// and not the lists: the first rows of all are among the first rows of each.
func (q *Query[T]) SelectAcross(ctx context.Context, db postgres.Querier, s *bun.SelectQuery, column string, keys []int64,
) (Page[T], error) {
	alias := tableAlias[T](db)
	if len(keys) == 1 {
		return q.Select(ctx, db, s.Where("?.? = ?", alias, bun.Safe(column), postgres.Arg(keys[0])))
	}
	var rows []T
	s = s.Model(&rows)
	across := q.Order(q.each(db, s, alias, column, keys)).Limit(int64(q.size) + 1)
	if err := db.Scan(ctx, across, &rows); err != nil {
		return Page[T]{}, fmt.Errorf("select across: %w", err)
	}
	page := q.Cut(rows)
	if q.count {
		n, err := s.Clone().Where("?.? = ANY(?)", alias, bun.Safe(column), postgres.ArrayArg(keys)).Count(ctx)
		if err != nil {
			return Page[T]{}, fmt.Errorf("count across: %w", err)
		}
		page.Total = &n
	}
	return page, nil
}

// each selects a page of each list, one after the other.
func (q *Query[T]) each(db bun.IDB, s *bun.SelectQuery, alias bun.Safe, column string, keys []int64) *bun.SelectQuery {
	list := q.Keyset(s.Clone().Where("?.? = each.key", alias, bun.Safe(column)))
	return db.NewSelect().TableExpr("unnest(?::bigint[]) AS each(key)", postgres.ArrayArg(keys)).
		Join("CROSS JOIN LATERAL (?) AS ?", list, alias).ColumnExpr("?.*", alias)
}

func tableAlias[T any](db bun.IDB) bun.Safe {
	return bun.Safe(db.Dialect().Tables().Get(reflect.TypeFor[T]().Elem()).Alias)
}

func (q *Query[T]) totals(ctx context.Context, db postgres.Querier, s *bun.SelectQuery, alias bun.Safe, column string, keys []int64,
) (map[int64]int64, error) {
	if !q.count {
		return nil, nil //nolint:nilnil // nobody asked
	}
	var counts []struct{ Key, N int64 }
	all := s.Clone().Where("?.? = ANY(?)", alias, bun.Safe(column), postgres.ArrayArg(keys))
	err := db.Scan(ctx, db.NewSelect().ColumnExpr("?.? AS key, count(*) AS n", alias, bun.Safe(column)).
		TableExpr("(?) AS ?", all, alias).GroupExpr("1"), &counts)
	if err != nil {
		return nil, fmt.Errorf("count each: %w", err)
	}
	totals := make(map[int64]int64, len(counts))
	for _, c := range counts {
		totals[c.Key] = c.N
	}
	return totals, nil
}

// Counts reports whether the total was asked for.
func (q *Query[T]) Counts() bool { return q.count }

// Keyset narrows s to the rows of the page, in order, and one row more, which tells whether another follows. Together
// with Order, Cut and Counts it serves a statement that is neither Select nor SelectEach.
func (q *Query[T]) Keyset(s *bun.SelectQuery) *bun.SelectQuery {
	return q.Order(q.within(s)).Limit(int64(q.size) + 1)
}

// within keeps the rows of the range.
func (q *Query[T]) within(s *bun.SelectQuery) *bun.SelectQuery {
	if q.after != nil {
		s = q.where(s, q.after, false)
	}
	if q.before != nil {
		s = q.where(s, q.before, true)
	}
	return s
}

// Order puts the rows into the order in which Cut wants them.
func (q *Query[T]) Order(s *bun.SelectQuery) *bun.SelectQuery {
	for _, t := range q.by {
		s = s.OrderExpr("? ?", bun.Safe(t.Expr), bun.Safe(direction(t.desc != q.backward)))
	}
	return s
}

func direction(desc bool) string {
	if desc {
		return "DESC"
	}
	return "ASC"
}

// where keeps the rows behind the key in the list's order, or those ahead of it.
func (q *Query[T]) where(s *bun.SelectQuery, key []any, ahead bool) *bun.SelectQuery {
	op := func(t term[T]) bun.Safe {
		if t.desc != ahead {
			return "<"
		}
		return ">"
	}
	first := q.by[0]
	if !slices.ContainsFunc(q.by, func(t term[T]) bool { return t.desc != first.desc }) {
		// One direction throughout: a row comparison, which an index on the same columns answers.
		exprs := make([]string, 0, len(q.by))
		for _, t := range q.by {
			exprs = append(exprs, t.Expr)
		}
		return s.Where("(?) ? (?)", bun.Safe(strings.Join(exprs, ", ")), op(first), postgres.TupleArg(key))
	}
	// Mixed directions: the first term alone bounds the index range, the rest decides within it.
	s = s.Where("? ? ?", bun.Safe(first.Expr), op(first)+"=", postgres.Arg(key[0]))
	return s.WhereGroup(" AND ", func(s *bun.SelectQuery) *bun.SelectQuery {
		for i, t := range q.by {
			s = s.WhereGroup(" OR ", func(s *bun.SelectQuery) *bun.SelectQuery {
				for j, equal := range q.by[:i] {
					s = s.Where("? = ?", bun.Safe(equal.Expr), postgres.Arg(key[j]))
				}
				return s.Where("? ? ?", bun.Safe(t.Expr), op(t), postgres.Arg(key[i]))
			})
		}
		return s
	})
}

// Cut makes a page of the rows that Keyset selected, without a total.
func (q *Query[T]) Cut(rows []T) Page[T] {
	more := len(rows) > q.size
	if more {
		rows = rows[:q.size]
	}
	// What bounds the range has a row at it, or had one: beyond the bound there is more.
	p := Page[T]{Rows: rows, HasNext: q.before != nil || more && !q.backward, HasPrevious: q.after != nil || more && q.backward}
	if q.backward {
		slices.Reverse(rows)
	}
	if q.noCursors {
		return p
	}
	if q.endsOnly && len(rows) > 2 { //nolint:mnd // both ends
		rows = []T{rows[0], rows[len(rows)-1]}
	}
	p.Cursors = make([]string, len(rows))
	for i, r := range rows {
		p.Cursors[i] = q.encode(r)
	}
	return p
}

func (t term[T]) String() string {
	if t.desc {
		return "-" + t.Name
	}
	return t.Name
}
