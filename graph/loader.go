package graph

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"

	"github.com/trackway/trackway/graph/relay"
)

// Every object of an answer stands at a place: the path of the field that loaded it, without list indices, but with the
// types that the fields are of, since a name can stand for other fields of objects of another type. All objects of one
// place are loaded by one call, so when a resolver first asks for something of one of them, it is asked for all of them
// at once, and the other resolvers find it there. No timer collects keys, as in other loaders: nested queries cost one
// call a place, whatever the machine is doing, and a lone object waits for nobody.

// loads is what one operation has loaded.
type loads struct {
	watch *watcher

	mu    sync.Mutex
	found map[string][]relay.Node // by place
	calls map[string]any          // by what is asked and for which place; each a call[P, R]
}

// call loads something for several parents at once.
type call[P relay.Node, R any] struct {
	asked map[int64]bool // the parents' ids
	load  func() (R, error)
}

// place is where the objects stand that the field loads.
func place(f *graphql.FieldContext) string {
	names := make([]string, 0, 2*maxDepth)
	for ; f != nil; f = f.Parent {
		if f.Field.Field != nil {
			names = append(names, f.Field.Alias, f.Object)
		}
	}
	slices.Reverse(names)
	return strings.Join(names, ".")
}

// put records objects that were loaded at a place. It must have all of them before the first is resolved further.
func put[T relay.Node](l *loads, place string, objects ...T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.found == nil {
		l.found = make(map[string][]relay.Node)
	}
	all := slices.Grow(l.found[place], len(objects))
	for _, o := range objects {
		all = append(all, o)
	}
	l.found[place] = all
}

// together gives what load gives for the parent and its siblings, the objects that stand at the same place; load runs
// once for them all. The same name of what is asked must mean the same question.
func together[P relay.Node, R any](
	ctx context.Context, l *loads, what string, parent P, load func(context.Context, []P) (R, error),
) (R, error) {
	f := graphql.GetFieldContext(ctx).Parent
	for f.Parent != nil && !f.IsResolver {
		f = f.Parent
	}
	from := place(f)
	l.mu.Lock()
	c, ok := l.calls[what].(call[P, R])
	if !ok {
		parents, ids := siblings(l.found[from], parent)
		c = call[P, R]{ids, sync.OnceValues(func() (res R, err error) {
			// Here and not in each field that waits for it, so that a panic is one line in the log.
			defer func() {
				if p := recover(); p != nil {
					err = graphql.GetOperationContext(ctx).RecoverFunc(ctx, p)
				}
			}()
			ctx, end := l.watch.load(ctx, len(parents))
			defer func() { end(err) }()
			return load(ctx, parents)
		})}
		if l.calls == nil {
			l.calls = make(map[string]any)
		}
		l.calls[what] = c
	}
	l.mu.Unlock()
	if !c.asked[parent.GetId()] {
		return load(ctx, []P{parent}) // nobody has put it; slow, but right
	}
	return c.load()
}

// siblings gives the parent and the found objects of its type, each once.
func siblings[P relay.Node](found []relay.Node, parent P) (all []P, ids map[int64]bool) {
	all, ids = make([]P, 0, len(found)+1), make(map[int64]bool, len(found)+1)
	all, ids[parent.GetId()] = append(all, parent), true
	for _, o := range found {
		if p, ok := o.(P); ok && !ids[p.GetId()] {
			ids[p.GetId()] = true
			all = append(all, p)
		}
	}
	return all, ids
}

// rows are the rows of one noun that an operation has loaded by their ids.
type rows[T relay.Node] struct {
	fetch func(ctx context.Context, ids []int64) ([]T, error)

	mu     sync.Mutex
	loaded map[int64]T
}

// maxBatch is how many ids a BatchGet takes.
const maxBatch = 1000

// load fetches those of the rows that are not there yet. It sorts the ids.
func (r *rows[T]) load(ctx context.Context, ids []int64) error {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	r.mu.Lock()
	missing := make([]int64, 0, len(ids))
	for _, id := range ids {
		if _, ok := r.loaded[id]; !ok && id != 0 {
			missing = append(missing, id)
		}
	}
	r.mu.Unlock()
	for batch := range slices.Chunk(missing, maxBatch) {
		fetched, err := r.fetch(ctx, batch)
		if err != nil {
			return err
		}
		r.put(fetched...)
	}
	return nil
}

// put adds rows that came by another way, so that they need not be fetched. Those of the trash are not to be added: whoever
// refers to one of them, or asks for it by its id, finds nothing.
func (r *rows[T]) put(fetched ...T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loaded == nil {
		r.loaded = make(map[int64]T, len(fetched))
	}
	for _, row := range fetched {
		r.loaded[row.GetId()] = row
	}
}

// get gives a loaded row.
func (r *rows[T]) get(id int64) (T, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row, ok := r.loaded[id]
	return row, ok
}

// those gives the loaded rows with the ids, each once. It sorts the ids.
func (r *rows[T]) those(ids []int64) []T {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]T, 0, len(ids))
	for _, id := range ids {
		if row, ok := r.loaded[id]; ok {
			all = append(all, row)
		}
	}
	return all
}

// references are the fields of an object that each hold the id of a row of one noun, or zero, by their GraphQL names.
type references[P relay.Node] map[string]func(P) int64

// refer gives the row that the field of ctx refers to, or nil. All rows that the siblings of the parent refer to, by
// this field and by the others that are selected, are loaded at once.
func refer[P, T relay.Node](ctx context.Context, l *loads, to *rows[T], parent P, refs references[P]) (T, error) {
	var none T
	f := graphql.GetFieldContext(ctx)
	id := refs[f.Field.Name](parent)
	if id == 0 {
		return none, nil
	}
	from := place(f.Parent)
	what := from + "." + f.Object + " refers to " + string(none.ProtoReflect().Descriptor().FullName())
	_, err := together(ctx, l, what, parent, func(ctx context.Context, parents []P) (struct{}, error) {
		selected := beside(ctx, f)
		all := make([]int64, 0, len(parents)*len(selected))
		for _, s := range selected {
			all = referred(all, parents, refs[s.Name])
		}
		if err := to.load(ctx, all); err != nil {
			return struct{}{}, err
		}
		for _, s := range selected {
			if refs[s.Name] != nil {
				put(l, from+"."+f.Object+"."+s.Alias, to.those(referred(all[:0], parents, refs[s.Name]))...)
			}
		}
		return struct{}{}, nil
	})
	if err != nil {
		return none, err
	}
	row, _ := to.get(id)
	return row, nil
}

// referred adds the ids that the parents' field holds, if it is one that holds ids.
func referred[P relay.Node](ids []int64, parents []P, id func(P) int64) []int64 {
	if id != nil {
		for _, p := range parents {
			ids = append(ids, id(p))
		}
	}
	return ids
}

// beside gives the fields that are selected of the object which f belongs to, f among them.
func beside(ctx context.Context, f *graphql.FieldContext) []graphql.CollectedField {
	object := f.Parent
	for object.Field.Field == nil && object.Parent != nil {
		object = object.Parent
	}
	return graphql.CollectFields(graphql.GetOperationContext(ctx), object.Field.Selections,
		[]string{f.Object, "Node"})
}
