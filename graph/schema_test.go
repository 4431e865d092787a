package graph_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/trackway/trackway/graph/relay"
)

func schema(t *testing.T) *ast.Schema {
	t.Helper()
	names, err := filepath.Glob("schema/*.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	var sources []*ast.Source
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, &ast.Source{Name: name, Input: string(b)})
	}
	s, err := gqlparser.LoadSchema(sources...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEverythingIsDescribed(t *testing.T) {
	t.Parallel()
	described := 0
	check := func(text string, path ...string) {
		described++
		if text == "" || !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "`.") {
			t.Errorf("%s: got the description %q, want a sentence", strings.Join(path, "."), text)
		}
	}
	for _, d := range schema(t).Types {
		if d.BuiltIn {
			continue
		}
		check(d.Description, d.Name)
		for _, f := range d.Fields {
			if strings.HasPrefix(f.Name, "__") {
				continue
			}
			check(f.Description, d.Name, f.Name)
			for _, a := range f.Arguments {
				check(a.Description, d.Name, f.Name, a.Name)
			}
		}
		for _, v := range d.EnumValues {
			check(v.Description, d.Name, v.Name)
		}
		if specified := d.Directives.ForName("specifiedBy"); d.Kind == ast.Scalar && specified == nil {
			t.Errorf("scalar %s has no @specifiedBy", d.Name)
		}
	}
	if described < 300 {
		t.Errorf("looked at %d descriptions, want all", described)
	}
}

func TestEveryMutationIsOfOneForm(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for _, m := range s.Mutation.Fields {
		name := strings.ToUpper(m.Name[:1]) + m.Name[1:]
		if len(m.Arguments) != 1 || m.Arguments[0].Type.String() != name+"Input!" || m.Type.String() != name+"Payload" {
			t.Errorf("%s: got %s, want one input and a payload of its name", m.Name, m.Type)
			continue
		}
		input, payload := s.Types[name+"Input"].Fields, s.Types[name+"Payload"].Fields
		wanted := map[string]bool{
			"clientMutationId": true,
			// Signing in changes nothing that could be repeated.
			"idempotencyKey": !slices.Contains([]string{"login", "exchangeCode", "exchangeIdToken"}, m.Name),
			// Not updateTasks, each task of which has its own; nor of a token, which never changes.
			"expectedVersion": strings.HasPrefix(m.Name, "update") && m.Name != "updateTasks" ||
				strings.HasPrefix(m.Name, "delete") && m.Name != "deletePersonalAccessToken" || strings.HasPrefix(m.Name, "remove") || strings.HasPrefix(m.Name, "restore") || m.Name == "moveTask",
		}
		for field, want := range wanted {
			if got := input.ForName(field) != nil; got != want {
				t.Errorf("%sInput has %s: got %v, want %v", name, field, got, want)
			}
		}
		for _, field := range []string{"clientMutationId", "userErrors"} {
			if payload.ForName(field) == nil {
				t.Errorf("%sPayload has no %s", name, field)
			}
		}
	}
}

// A client adds what a mutation made to the lists that it shows, by its edge.
func TestWhatIsMadeComesAsAnEdgeToo(t *testing.T) {
	t.Parallel()
	s := schema(t)
	edges := 0
	for _, m := range s.Mutation.Fields {
		for _, f := range s.Types[m.Type.Name()].Fields {
			name := f.Type.Name()
			if s.Types[name+"Connection"] == nil || f.Type.Elem != nil {
				continue
			}
			grows := strings.HasPrefix(m.Name, "create") || strings.HasPrefix(m.Name, "restore") || strings.HasPrefix(m.Name, "add") || m.Name == "register"
			edge := s.Types[m.Type.Name()].Fields.ForName(f.Name + "Edge")
			if grows != (edge != nil) || grows && edge.Type.String() != name+"Edge" {
				t.Errorf("%s of %s: got the edge %v, want one: %v", f.Name, m.Name, edge, grows)
			}
			if grows {
				edges++
			}
		}
	}
	if s.Types["TaskOutcome"].Fields.ForName("taskEdge") == nil {
		t.Error("the outcomes of createTasks have no edges")
	}
	if edges < 9 {
		t.Errorf("got %d edges, want one for each list that a mutation makes longer", edges)
	}
}

func FuzzID(f *testing.F) {
	for _, s := range []string{"7", "VGFzazo3", "VGFzazo", "0", "-1", "+7", "07", "VGFzazowNw", "", "Task:7", "9223372036854775808"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := relay.ParseID(s)
		if err != nil {
			return
		}
		if id.Key < 1 {
			t.Errorf("%q: got the key %d, want a positive one", s, id.Key)
		}
		if id.Type == "" {
			return
		}
		if id.String() != s { // one thing, one global id: caches depend on it
			t.Errorf("got %q for %+v, want %q", id.String(), id, s)
		}
		if _, ok := id.Of(id.Type); !ok {
			t.Errorf("%+v is not of its own type", id)
		}
	})
}
