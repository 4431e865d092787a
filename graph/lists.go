package graph

import (
	"context"
	"slices"
	"strings"

	"github.com/99designs/gqlgen/graphql"

	"github.com/trackway/trackway/graph/relay"
	"github.com/trackway/trackway/services/platform/errs"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
)

// pageRequest asks for the page that the arguments of the field of ctx name. limits.go has checked first and last.
func pageRequest(ctx context.Context, first *int, after *string, last *int, before *string, by []*relay.Order) *pagev1.PageRequest {
	req := &pagev1.PageRequest{Size: defaultPage, After: value(after), Before: value(before)}
	if first != nil {
		req.Size = int32(*first)
	}
	if last != nil {
		req.Size, req.Backward = int32(*last), true
	}
	terms := make([]string, 0, len(by))
	for _, o := range by {
		term := strings.ToLower(o.Field)
		if strings.EqualFold(o.Direction, "DESC") {
			term = "-" + term
		}
		terms = append(terms, term)
	}
	req.OrderBy = strings.Join(terms, ",")
	// A cursor costs the service and us. Who asks for none of an item asks for none.
	var edges, info, total bool
	for _, f := range graphql.CollectFieldsCtx(ctx, []string{graphql.GetFieldContext(ctx).Field.Definition.Type.Name()}) {
		total = total || f.Name == "totalCount"
		edges = edges || f.Name == "edges"
		info = info || f.Name == "pageInfo"
	}
	req.Count, req.EndsOnly, req.NoCursors = total, info && !edges, !info && !edges
	return req
}

// connect makes a connection of a page that the field of ctx has listed.
func connect[T relay.Node](l *loads, at string, nodes []T, info *pagev1.PageInfo) *relay.Connection[T] {
	put(l, at, nodes...)
	return relay.Connect(nodes, info, info.TotalCount)
}

// listed is a page of one of several lists.
type listed interface {
	GetParentId() int64
	GetPage() *pagev1.PageInfo
}

// listEach gives the parent's page of a list that each of its siblings has, too. list asks for the pages of up to most
// parents at once, by their ids; it leaves out those that have gone meanwhile, whose list is null.
func listEach[P, T relay.Node, R listed](
	ctx context.Context, r *resolver, parent P, most int,
	list func(ctx context.Context, parents []P) ([]R, error), nodes func(R) []T,
) (*relay.Connection[T], error) {
	at := place(graphql.GetFieldContext(ctx))
	pages, err := together(ctx, r.loads, at, parent, func(ctx context.Context, parents []P) (map[int64]*relay.Connection[T], error) {
		all := make(map[int64]*relay.Connection[T], len(parents))
		for some := range slices.Chunk(parents, most) {
			pages, err := list(ctx, some)
			if err != nil {
				return nil, r.failure(ctx, err)
			}
			for _, p := range pages {
				all[p.GetParentId()] = connect(r.loads, at, nodes(p), p.GetPage())
			}
		}
		return all, nil
	})
	return pages[parent.GetId()], err
}

// pagesAt gives the pages that listEach has loaded for the field of ctx, and the ids of the parents it was asked for.
func pagesAt[P, T relay.Node](ctx context.Context, l *loads) (map[int64]*relay.Connection[T], map[int64]bool) {
	l.mu.Lock()
	c, ok := l.calls[place(graphql.GetFieldContext(ctx))].(call[P, map[int64]*relay.Connection[T]])
	l.mu.Unlock()
	if !ok {
		return nil, nil
	}
	pages, err := c.load()
	if err != nil {
		return nil, nil // whoever asks next is told
	}
	return pages, c.asked
}

// ids are the ids of the things.
func ids[T relay.Node](things []T) []int64 {
	all := make([]int64, 0, len(things))
	for _, t := range things {
		all = append(all, t.GetId())
	}
	return all
}

// one gives the row with an id that the caller asked for; a row that is not there is NotFound.
func one[T relay.Node](ctx context.Context, r *resolver, from *rows[T], id relay.ID, typ string) (T, error) {
	var none T
	k, err := key("id", &id, typ)
	if err != nil {
		return none, err
	}
	if err := from.load(ctx, []int64{k}); err != nil {
		return none, err
	}
	row, ok := from.get(k)
	if !ok {
		return none, errs.Missing(strings.ToLower(typ))
	}
	put(r.loads, place(graphql.GetFieldContext(ctx)), row)
	return row, nil
}

// key is the key of an id of the type; name is that of the argument. Absent is zero.
func key(name string, id *relay.ID, typ string) (int64, error) {
	if id == nil {
		return 0, nil
	}
	k, ok := id.Of(typ)
	if !ok {
		return 0, errs.InvalidField(name, "must be the id of a %s", strings.ToLower(typ))
	}
	return k, nil
}

// value is what p points to, or zero.
func value[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}
