package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

const released = `
type Query { thing(id: ID!, first: Int = 20, after: String): Thing things: [Thing!]! }
interface Node { id: ID! }
type Thing implements Node { id: ID! name: String size: Size! old: Int @deprecated }
type Other { id: ID! }
union Any = Thing | Other
enum Size { SMALL LARGE }
scalar Date
input Filter { size: Size day: Date! limit: Int = 5 }
extend type Query { find(filter: Filter): Any }
directive @mark(with: String) on FIELD | FRAGMENT_SPREAD
`

func TestOnlyWhatBreaksClientsIsFound(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, old, instead string
		want               []string
	}{
		{"nothing", "", "", nil},
		{"a field more", "id: ID! name: String size", "id: ID! name: String more: Int size", nil},
		{"an optional argument more", "after: String)", "after: String, before: String)", nil},
		{"an argument with a default more", "after: String)", "after: String, n: Int! = 1)", nil},
		{"an answer that is never null any more", "name: String size", "name: String! size", nil},
		{"an argument that may be null", "id: ID!, first", "id: ID, first", nil},
		{"an enum value more", "SMALL LARGE", "SMALL MIDDLE LARGE", nil},
		{"an optional input field more", "{ size: Size day", "{ size: Size text: String day", nil},
		{"a deprecation", "name: String size", `name: String @deprecated(reason: "r") size`, nil},
		{"a type gone", "| Other", "", []string{"union Any has no Other any more"}},
		{"a field gone", "old: Int @deprecated", "", []string{"field Thing.old is gone"}},
		{"a field's type", "name: String size", "name: Int size", []string{"field Thing.name gave String and gives Int"}},
		{"null in an answer", "size: Size!", "size: Size", []string{"field Thing.size gave Size! and gives Size"}},
		{
			"null in a list", "[Thing!]!", "[Thing]!",
			[]string{"field Query.things gave [Thing!]! and gives [Thing]!"},
		},
		{"no list", "[Thing!]!", "Thing!", []string{"field Query.things gave [Thing!]! and gives Thing!"}},
		{"an argument gone", ", after: String)", ")", []string{"argument Query.thing(after) is gone"}},
		{
			"an argument required", "after: String)", "after: String!)",
			[]string{"argument Query.thing(after) took String and takes String!"},
		},
		{
			"a required argument more", "after: String)", "after: String, n: Int!)",
			[]string{"argument Query.thing(n) is new and required"},
		},
		{
			"a default", "first: Int = 20", "first: Int = 10",
			[]string{"argument Query.thing(first) was 20 when absent, and is not any more"},
		},
		{"an enum value gone", "SMALL LARGE", "SMALL", []string{"enum value Size.LARGE is gone"}},
		{
			"a required input field more", "{ size: Size day", "{ size: Size text: String! day",
			[]string{"input field Filter.text is new and required"},
		},
		{
			"an input field required", "{ size: Size day", "{ size: Size! day",
			[]string{"input field Filter.size took Size and takes Size!"},
		},
		{
			"a default of an input", "limit: Int = 5", "limit: Int",
			[]string{"input field Filter.limit was 5 when absent, and is not any more"},
		},
		{"an interface gone", "implements Node", "", []string{"type Thing is no Node any more"}},
		{"a kind", "scalar Date", "enum Date { TODAY }", []string{"type Date was SCALAR and is ENUM"}},
		{"a directive gone", "directive @mark(with: String) on FIELD | FRAGMENT_SPREAD", "", []string{"directive @mark is gone"}},
		{
			"a directive elsewhere", "on FIELD | FRAGMENT_SPREAD", "on FIELD",
			[]string{"directive @mark is not allowed at FRAGMENT_SPREAD any more"},
		},
	}
	for _, tt := range tests {
		if tt.old != "" && strings.Count(released, tt.old) != 1 {
			t.Fatalf("%s: %q is not once in the schema", tt.name, tt.old)
		}
		after := released
		if tt.old != "" {
			after = strings.Replace(released, tt.old, tt.instead, 1)
		}
		if diff := cmp.Diff(breaking(load(t, released), load(t, after)), tt.want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", tt.name, diff)
		}
	}
}

func TestTheCommittedSchemaIsTheOneOfTheCode(t *testing.T) {
	t.Parallel()
	var printed bytes.Buffer
	if err := run(nil, &printed); err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile("../../schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(printed.Bytes(), committed) {
		t.Error("graph/schema.graphql is stale: run make generate-graph")
	}
	copied := filepath.Join(t.TempDir(), "schema.graphql")
	if err := os.WriteFile(copied, bytes.ReplaceAll(committed, []byte("viewer: User"), []byte("me: User")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"breaking", "../../schema.graphql", "../../schema.graphql"}, &printed); err != nil {
		t.Errorf("the schema breaks itself: %v", err)
	}
	err = run([]string{"breaking", "../../schema.graphql", copied}, &printed)
	if err == nil || err.Error() != "field Query.viewer is gone" {
		t.Errorf("got %v, want the field that is gone", err)
	}
	for _, args := range [][]string{{"breaking"}, {"else"}, {"breaking", "none", copied}, {"breaking", copied, "none"}} {
		if run(args, &printed) == nil {
			t.Errorf("%q: got no error", args)
		}
	}
}

func load(t *testing.T, text string) *ast.Schema {
	t.Helper()
	schema, err := gqlparser.LoadSchema(&ast.Source{Input: text})
	if err != nil {
		t.Fatal(err)
	}
	return schema
}
