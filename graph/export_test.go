package graph

import (
	"net/http"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// NewDepthFirst is New, but gqlgen executes everything.
func NewDepthFirst(cfg Config) http.Handler {
	s := newServer(cfg)
	s.relations = nil
	return s
}

// Slow are the fields of the types that the messages are which breadth leaves to gqlgen.
func Slow() (names []string) {
	known := relations()
	for _, o := range nouns() {
		typ := string(o.ProtoReflect().Descriptor().Name())
		for _, f := range loadSchema().Types[typ].Fields {
			_, related := known[typ+"."+f.Name]
			if !related && leafValue(typ, f, o.ProtoReflect().Descriptor()) == nil && !strings.HasPrefix(f.Name, "__") {
				names = append(names, typ+"."+f.Name)
			}
		}
	}
	return names
}

// TypeOf gives a type of the schema.
func TypeOf(name string) *ast.Definition { return loadSchema().Types[name] }
