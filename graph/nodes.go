package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"golang.org/x/sync/errgroup"

	"github.com/trackway/trackway/graph/relay"
	"github.com/trackway/trackway/services/platform/errs"
)

// nodes gives the things with the global ids, in the same order, with one call for each type of thing; nil for those
// that are not there.
func (r *resolver) nodes(ctx context.Context, ids []*relay.ID) ([]relay.Node, error) {
	keys := make(map[string][]int64)
	for _, id := range ids {
		keys[id.Type] = append(keys[id.Type], id.Key)
	}
	loads := make(map[string]func(context.Context, []int64) error, len(keys))
	for typ := range keys {
		switch typ {
		case relay.User:
			loads[typ] = r.users.load
		case relay.Project:
			loads[typ] = r.projects.load
		case relay.Task:
			loads[typ] = r.tasks.load
		case relay.Comment:
			loads[typ] = r.comments.load
		case relay.Member:
			return nil, errs.New(errs.Invalid, "Members are not nodes: ask their project for them.")
		case relay.Invitation:
			return nil, errs.New(errs.Invalid, "Invitations are not nodes: ask for their project's.")
		case relay.Token:
			return nil, errs.New(errs.Invalid, "Personal access tokens are not nodes: ask for yours.")
		default:
			return nil, errs.New(errs.Invalid, "This is no global id: it does not say what it is the id of.")
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	for typ, load := range loads {
		g.Go(func() error { return load(gctx, keys[typ]) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	found := make([]relay.Node, len(ids))
	for i, id := range ids {
		found[i] = r.node(id)
		if found[i] != nil {
			put(r.loads, place(graphql.GetFieldContext(ctx)), found[i])
		}
	}
	return found, nil
}

// node gives a thing that has been loaded, or nil.
func (r *resolver) node(id *relay.ID) relay.Node {
	switch id.Type {
	case relay.User:
		return found(r.users, id.Key)
	case relay.Project:
		return found(r.projects, id.Key)
	case relay.Task:
		return found(r.tasks, id.Key)
	default:
		return found(r.comments, id.Key)
	}
}

// found is a row as a node: nil, and not a nil message, when there is none.
func found[T relay.Node](in *rows[T], key int64) relay.Node {
	if row, ok := in.get(key); ok {
		return row
	}
	return nil
}
