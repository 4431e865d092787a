package graph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/trackway/trackway/graph/relay"
)

// Queries run breadth first. gqlgen resolves object by object and field by field, each list element and each resolver in
// a goroutine with a context of its own: 74,000 allocations for an answer of 60 KB whose rows are at hand. Here, the
// selections at a place of the query are collected once for all objects that stand there; what these refer to is resolved
// for all of them, by the resolvers that gqlgen has, too; and when everything is there, the answer is written in one go.
//
// It knows the messages of the contract, their connections, and the relations in relations.go. Whatever else a query asks
// for, and whatever goes wrong below the root, is for gqlgen: the operation then runs there, with what the resolvers have
// loaded so far. So one place says where the nulls go.

// errElse says that a query is not for breadth.
var errElse = errors.New("the query asks for more than messages and their relations")

// breadth executes a checked operation, or gives nothing when it is for gqlgen to answer.
func (r *resolver) breadth(ctx context.Context, op *graphql.OperationContext) *graphql.Response {
	x := &execution{resolver: r, op: op}
	if op.Operation.Operation != ast.Query || !x.understands(ctx, op.Operation.SelectionSet) {
		return nil
	}
	fields := graphql.CollectFields(op, op.Operation.SelectionSet, []string{"Query"})
	ctx = graphql.WithFieldContext(graphql.WithOperationContext(ctx, op), &graphql.FieldContext{Object: "Query"})
	query, err := x.columns(ctx, "Query", fields, make([]relay.Node, 1))
	if err != nil {
		return nil
	}
	out := r.outputs.get()
	defer r.outputs.put(out)
	if query.write(out, 0); out.failed {
		return nil
	}
	return &graphql.Response{Data: bytes.Clone(out.b), Errors: x.errors}
}

// maxOutput is how much room of an answer is kept for others.
const maxOutput = 1 << 20

// outputs are kept for answers to come: one that grows is copied again and again.
type outputs struct{ pool sync.Pool }

func (p *outputs) get() *output {
	if out, ok := p.pool.Get().(*output); ok {
		return out
	}
	return &output{}
}

func (p *outputs) put(out *output) {
	if cap(out.b) <= maxOutput {
		out.b, out.failed = out.b[:0], false
		p.pool.Put(out)
	}
}

// execution is one operation that runs breadth first.
type execution struct {
	*resolver

	op *graphql.OperationContext

	mu     sync.Mutex
	errors gqlerror.List
}

// understands tells whether breadth can answer what is selected. It is asked before anything is resolved, so that nothing
// is resolved twice.
func (x *execution) understands(ctx context.Context, set ast.SelectionSet) bool {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			if !x.understandsField(ctx, s) || !x.understands(ctx, s.SelectionSet) {
				return false
			}
		case *ast.InlineFragment:
			if !x.understands(ctx, s.SelectionSet) {
				return false
			}
		case *ast.FragmentSpread:
			if !x.understands(ctx, s.Definition.SelectionSet) {
				return false
			}
		}
	}
	return true
}

func (x *execution) understandsField(ctx context.Context, f *ast.Field) bool {
	typ := f.ObjectDefinition.Name
	if _, ok := x.relations[typ+"."+f.Name]; ok {
		_, err := newArguments(ctx, f, x.op.Variables)
		return err == nil
	}
	if f.Name == "__typename" || typ == "PageInfo" || typ == "Node" || strings.HasSuffix(typ, "Edge") ||
		strings.HasSuffix(typ, "Connection") {
		return true // connect knows their fields
	}
	for _, o := range nouns() {
		if d := o.ProtoReflect().Descriptor(); string(d.Name()) == typ {
			return leafValue(typ, f.Definition, d) != nil
		}
	}
	return false
}

// fail makes the field of the query null for the error, as gqlgen does. Trying again there would ask the service again.
func (x *execution) fail(ctx context.Context, f graphql.CollectedField, err error) (column, error) {
	if f.Definition.Type.NonNull {
		return nil, err
	}
	shown := x.present(ctx, graphql.AddFieldLocationToError(ctx, graphql.ErrorOnPath(ctx, err)))
	x.mu.Lock()
	defer x.mu.Unlock()
	x.errors = append(x.errors, shown)
	return &reference{f, nil, []int32{-1}}, nil
}

// output is the answer as it grows. It fails where a field that is never null is null.
type output struct {
	b      []byte
	failed bool
}

func (o *output) text(s string) { o.b = append(o.b, s...) }

// key begins the n-th member of an object. An alias is a name, and needs no escape.
func (o *output) key(n int, alias string) {
	if n > 0 {
		o.b = append(o.b, ',')
	}
	o.b = append(append(append(o.b, '"'), alias...), `":`...)
}

func (o *output) null(f *graphql.CollectedField) {
	o.text("null")
	o.failed = o.failed || f.Definition.Type.NonNull
}

// column is the values of one field, of all objects of a level.
type column interface {
	// write writes the value of the i-th object.
	write(out *output, i int)
}

// level is all objects of one type that stand at one place of the query.
type level struct {
	fields  []graphql.CollectedField
	columns []column // one a field
}

func (l *level) write(out *output, i int) {
	out.b = append(out.b, '{')
	for n, c := range l.columns {
		out.key(n, l.fields[n].Alias)
		c.write(out, i)
	}
	out.b = append(out.b, '}')
}

// level resolves what is selected of the objects. The field of ctx is the one that they are the value of.
func (x *execution) level(ctx context.Context, typ string, selected ast.SelectionSet, objects []relay.Node) (*level, error) {
	return x.columns(ctx, typ, graphql.CollectFields(x.op, selected, []string{typ, "Node"}), objects)
}

func (x *execution) columns(ctx context.Context, typ string, fields []graphql.CollectedField, objects []relay.Node,
) (*level, error) {
	l := &level{fields: fields, columns: make([]column, len(fields))}
	var messages []protoreflect.Message
	var g errgroup.Group // without a context: what one relation loaded is of use although another failed
	for i, f := range fields {
		if relation, ok := x.relations[typ+"."+f.Name]; ok {
			in := graphql.WithFieldContext(ctx, &graphql.FieldContext{Object: typ, Field: f, IsResolver: true})
			g.Go(func() (err error) {
				defer func() {
					if p := recover(); p != nil { // and again where gqlgen runs the same, and reports it
						err = fmt.Errorf("panic: %v", p)
					}
				}()
				at := in
				if typ == "Query" { // what lies deeper is seen where it is loaded
					seen, end := x.watch.load(in, len(objects))
					defer func() { end(err) }()
					at = seen
				}
				l.columns[i], err = relation(at, x, objects, f)
				return err
			})
			continue
		}
		if messages == nil {
			messages = reflections(objects)
		}
		if l.columns[i] = leaf(typ, f, messages); l.columns[i] == nil {
			return nil, errors.Join(errElse, g.Wait())
		}
	}
	return l, g.Wait()
}

func reflections(objects []relay.Node) []protoreflect.Message {
	all := make([]protoreflect.Message, len(objects))
	for i, o := range objects {
		if o != nil {
			all[i] = o.ProtoReflect()
		}
	}
	return all
}

// reference is the column of a field that is one object, or null.
type reference struct {
	field graphql.CollectedField
	to    *level
	at    []int32 // which of them, for each object; below 0 for none
}

func (c *reference) write(out *output, i int) {
	if c.at[i] < 0 {
		out.null(&c.field)
		return
	}
	c.to.write(out, int(c.at[i]))
}

// pages is the column of a field that is a connection.
type pages struct {
	field graphql.CollectedField
	of    []connected // for each object; nil for none
	parts []part
}

// connected is a relay.Connection of any nodes.
type connected interface {
	Len() int
	Node(i int) relay.Node
	Cursor(i int) string
	Info() *relay.PageInfo
	Total() *int64
}

// part is a field of a connection.
type part struct {
	field graphql.CollectedField
	inner []graphql.CollectedField // of edges and pageInfo
	nodes *level                   // of edges and nodes: all of all pages, one page behind the other
	first []int                    // where each page begins
}

// connect resolves what is selected of the pages. The field of ctx is the one that they are the values of.
func (x *execution) connect(ctx context.Context, f graphql.CollectedField, of []connected) (column, error) {
	typ := f.Definition.Type.Name()
	c := &pages{field: f, of: of}
	for _, inner := range graphql.CollectFields(x.op, f.Selections, []string{typ}) {
		p := part{field: inner}
		in := graphql.WithFieldContext(ctx, &graphql.FieldContext{Object: typ, Field: inner})
		holds := inner.Definition.Type.Name()
		var err error
		switch inner.Name {
		case "nodes":
			p.nodes, p.first, err = x.nodes(in, holds, inner.Selections, of)
		case "edges":
			p.inner = graphql.CollectFields(x.op, inner.Selections, []string{holds})
			for _, e := range p.inner {
				if e.Name == "node" {
					// A place has one name: the same node under two aliases would be two.
					if p.nodes != nil {
						return nil, errElse
					}
					at := graphql.WithFieldContext(in, &graphql.FieldContext{Object: holds, Field: e})
					p.nodes, p.first, err = x.nodes(at, e.Definition.Type.Name(), e.Selections, of)
				}
			}
		case "pageInfo":
			p.inner = graphql.CollectFields(x.op, inner.Selections, []string{holds})
		case "totalCount", "__typename":
		default:
			err = errElse
		}
		if err != nil {
			return nil, err
		}
		c.parts = append(c.parts, p)
	}
	return c, nil
}

// nodes resolves what is selected of the nodes of all pages.
func (x *execution) nodes(ctx context.Context, typ string, selected ast.SelectionSet, of []connected) (*level, []int, error) {
	n := 0
	for _, p := range of {
		if p != nil {
			n += p.Len()
		}
	}
	all, first := make([]relay.Node, 0, n), make([]int, len(of))
	for i, p := range of {
		first[i] = len(all)
		for j := 0; p != nil && j < p.Len(); j++ {
			all = append(all, p.Node(j))
		}
	}
	l, err := x.level(ctx, typ, selected, all)
	return l, first, err
}

func (c *pages) write(out *output, i int) {
	p := c.of[i]
	if p == nil {
		out.null(&c.field)
		return
	}
	out.b = append(out.b, '{')
	for n := range c.parts {
		part := &c.parts[n]
		out.key(n, part.field.Alias)
		switch part.field.Name {
		case "nodes":
			part.list(out, p, i, func(at, _ int) { part.nodes.write(out, at) })
		case "edges":
			part.list(out, p, i, func(at, j int) { part.edge(out, p, at, j) })
		case "pageInfo":
			part.info(out, p.Info())
		case "totalCount":
			if total := p.Total(); total != nil {
				out.number(*total)
			} else {
				out.null(&part.field)
			}
		default:
			out.quote(c.field.Definition.Type.Name())
		}
	}
	out.b = append(out.b, '}')
}

// list writes the items of the i-th page: item is told which of all nodes, and which of its page.
func (p *part) list(out *output, of connected, i int, item func(at, j int)) {
	first := 0
	if p.first != nil { // unless no node is selected
		first = p.first[i]
	}
	out.b = append(out.b, '[')
	for j := range of.Len() {
		if j > 0 {
			out.b = append(out.b, ',')
		}
		item(first+j, j)
	}
	out.b = append(out.b, ']')
}

func (p *part) edge(out *output, of connected, at, j int) {
	out.b = append(out.b, '{')
	for n := range p.inner {
		f := &p.inner[n]
		out.key(n, f.Alias)
		switch f.Name {
		case "cursor":
			out.quote(of.Cursor(j))
		case "node":
			p.nodes.write(out, at)
		default:
			out.quote(p.field.Definition.Type.Name())
		}
	}
	out.b = append(out.b, '}')
}

func (p *part) info(out *output, info *relay.PageInfo) {
	out.b = append(out.b, '{')
	for n := range p.inner {
		f := &p.inner[n]
		out.key(n, f.Alias)
		switch f.Name {
		case "hasNextPage":
			out.boolean(info.HasNextPage)
		case "hasPreviousPage":
			out.boolean(info.HasPreviousPage)
		case "startCursor":
			out.optional(f, info.StartCursor)
		case "endCursor":
			out.optional(f, info.EndCursor)
		default:
			out.quote("PageInfo")
		}
	}
	out.b = append(out.b, '}')
}
