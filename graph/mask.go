package graph

import (
	"context"
	"slices"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/trackway/trackway/graph/relay"
)

// Rows are read without what nobody selects. One that was loaded serves the whole operation, wherever the same thing
// stands again. So whatever loads a row asks for all that is selected of its noun, anywhere in the operation: no row
// lacks what another place needs, and none is loaded twice.

// mask names the fields that the operation selects of the messages; nil is all of them.
func (r *resolver) mask(ctx context.Context, of relay.Node) *fieldmaskpb.FieldMask {
	in := of.ProtoReflect().Descriptor()
	fields := slices.Concat(r.fields(ctx, string(in.Name())), r.fields(ctx, "Node"))
	paths := make([]string, 1, 1+len(fields))
	paths[0] = "id" // it comes in any case, but a mask without a path would be none
	for _, name := range fields {
		switch path, ok := stored(in, name); {
		case !ok:
			return nil
		case path != "" && !slices.Contains(paths, path):
			paths = append(paths, path)
		}
	}
	return &fieldmaskpb.FieldMask{Paths: paths}
}

// fields gives the names of the fields that the operation selects of the type, anywhere.
func (r *resolver) fields(ctx context.Context, typ string) []string {
	r.selecting.Do(func() {
		r.selected = make(map[string][]string)
		r.selectFrom(graphql.GetOperationContext(ctx).Operation.SelectionSet)
	})
	return r.selected[typ]
}

// selectFrom notes the fields that are selected, by their types.
func (r *resolver) selectFrom(set ast.SelectionSet) {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			typ := s.ObjectDefinition.Name
			if !slices.Contains(r.selected[typ], s.Name) {
				r.selected[typ] = append(r.selected[typ], s.Name)
			}
			r.selectFrom(s.SelectionSet)
		case *ast.InlineFragment:
			r.selectFrom(s.SelectionSet)
		case *ast.FragmentSpread:
			r.selectFrom(s.Definition.SelectionSet)
		}
	}
}

// stored gives the field of the messages that a field of their GraphQL type is made of; none for one that is made of the
// id. It is not ok if that is not known.
func stored(in protoreflect.MessageDescriptor, name string) (path string, ok bool) {
	switch name {
	case "id", "databaseId", "__typename", "tasks", "members", "subtasks", "comments":
		return "", true
	case "completed":
		return "status", true
	}
	field := in.Fields().ByJSONName(name)
	if field == nil {
		field = in.Fields().ByJSONName(name + "Id") // of what it refers to
	}
	if field == nil {
		return "", false
	}
	return string(field.Name()), true
}
