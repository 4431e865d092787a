package edge

import (
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/trackway/trackway/services/edge/rest"
)

// TestTheDocumentIsCommitted: its readers, and the comparison with the last release, look at the file.
func TestTheDocumentIsCommitted(t *testing.T) {
	t.Parallel()
	committed, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	now := jsontext.Value(rest.Document())
	if err := now.Indent(jsontext.WithIndent("  ")); err != nil {
		t.Fatal(err)
	}
	if string(now)+"\n" != string(committed) {
		t.Error("openapi.json is stale: make generate-openapi")
	}
}

// onlyRE2 is what RE2 understands and ECMA-262 does not, or otherwise.
var onlyRE2 = regexp.MustCompile(`\(\?[^:]|\\[AzQEpPC]|\[\[:|\\[<>]`)

// promises checks every schema below v, wherever it stands.
func promises(t *testing.T, where string, v any) {
	t.Helper()
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			promises(t, where, one)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if name != "examples" && name != "example" {
				promises(t, where+"/"+name, v[name])
			}
		}
		schemaPromises(t, where, v)
	}
}

func schemaPromises(t *testing.T, where string, s map[string]any) {
	t.Helper()
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return s[n] != nil })
	}
	kind, _ := s["type"].(string)
	if list, ok := s["type"].([]any); ok {
		kind, _ = list[0].(string)
	}
	switch kind {
	case "object":
		if closed, ok := s["additionalProperties"].(bool); !ok || closed {
			t.Errorf("%s: the object is not closed", where)
		}
	case "array":
		if !has("maxItems") {
			t.Errorf("%s: the array has no maxItems", where)
		}
	case "integer":
		if !has("minimum") || !has("maximum") || !has("format") {
			t.Errorf("%s: the integer lacks a bound or a format: %v", where, s)
		}
	case "string":
		if !has("enum", "const") && (!has("maxLength") || !has("pattern", "format")) {
			t.Errorf("%s: the string lacks a maxLength, or a pattern, format or enum: %v", where, s)
		}
	}
	if p, ok := s["pattern"].(string); ok {
		if _, err := regexp.Compile(p); err != nil || onlyRE2.MatchString(p) {
			t.Errorf("%s: the pattern %s is not one of RE2 and ECMA-262: %v", where, p, err)
		}
	}
}

func TestTheDocumentPromisesBounds(t *testing.T) {
	t.Parallel()
	var doc struct {
		Servers []struct {
			URL string `json:"url"`
		} `json:"servers"`
		Paths      map[string]map[string]map[string]any `json:"paths"`
		Components struct {
			Schemas         any                       `json:"schemas"`
			Responses       map[string]map[string]any `json:"responses"`
			Headers         any                       `json:"headers"`
			SecuritySchemes map[string]map[string]any `json:"securitySchemes"`
		} `json:"components"`
	}
	if err := json.Unmarshal(rest.Document(), &doc); err != nil {
		t.Fatal(err)
	}
	promises(t, "schemas", doc.Components.Schemas)
	promises(t, "headers", doc.Components.Headers)
	for path, item := range doc.Paths {
		for method, op := range item {
			where := method + " " + path
			promises(t, where, op)
			responses, _ := op["responses"].(map[string]any)
			for _, status := range []string{"401", "414", "429", "431", "500", "503"} {
				if responses[status] == nil {
					t.Errorf("%s: %s is not documented", where, status)
				}
			}
			for status, r := range responses {
				answer, _ := r.(map[string]any)
				if ref, ok := answer["$ref"].(string); ok {
					answer = doc.Components.Responses[strings.TrimPrefix(ref, "#/components/responses/")]
				}
				headers, _ := answer["headers"].(map[string]any)
				for _, name := range []string{"RateLimit", "RateLimit-Policy", "Access-Control-Allow-Origin", "X-Request-Id"} {
					if headers[name] == nil {
						t.Errorf("%s: the answer %s has no %s", where, status, name)
					}
				}
			}
		}
	}
	if len(doc.Servers) != 1 || doc.Servers[0].URL != "/" {
		t.Errorf("got the servers %v, want a relative one", doc.Servers)
	}
	if about, _ := doc.Components.SecuritySchemes["bearer"]["description"].(string); !strings.Contains(about, "RFC8725") {
		t.Errorf("got the scheme %v, want one that cites RFC 8725", doc.Components.SecuritySchemes)
	}
}

// TestWhatHasAVersionIsChangedConditionally: whoever is told an ETag may send it with any change of the thing.
func TestWhatHasAVersionIsChangedConditionally(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	things := 0
	for path, item := range w.document().Paths {
		tag := item["get"].Responses["200"].Headers["ETag"]
		if tag == nil || !strings.HasPrefix(tag.Schema.Description, "The version") {
			continue
		}
		for _, method := range []string{"put", "patch", "delete"} {
			op, ok := item[method]
			if !ok {
				continue
			}
			things++
			names := op.names()
			if !slices.Contains(names, "If-Match") || !slices.Contains(names, "If-None-Match") {
				t.Errorf("%s %s takes %v, want conditions among them", method, path, names)
			}
		}
	}
	if things == 0 {
		t.Error("nothing that has a version can be changed")
	}
}

// TestAListWithLinksTakesThem: whoever is told of another page can ask for it.
func TestAListWithLinksTakesThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lists := 0
	for path, item := range w.document().Paths {
		op, ok := item["get"]
		if !ok || op.Responses["200"].Headers["Link"] == nil {
			continue
		}
		lists++
		names := op.names()
		for _, name := range []string{"limit", "cursor", "count", "ordering"} {
			if !slices.Contains(names, name) {
				t.Errorf("GET %s takes %v, want %s among them", path, names, name)
			}
		}
	}
	if lists == 0 {
		t.Error("no list has links")
	}
}

// TestEveryReadIsDocumentedAsConditional: a client that is made from the document can ask whether what it has is good still.
func TestEveryReadIsDocumentedAsConditional(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.document()
	for _, o := range w.operations() {
		if o.method != http.MethodGet {
			continue
		}
		if !slices.ContainsFunc(o.Parameters, func(p parameter) bool { return p.In == "header" && p.Name == "If-None-Match" }) {
			t.Errorf("%s: If-None-Match is not documented", &o)
		}
		whole := w.do(o.method, o.path, "")
		unchanged := w.do(o.method, o.path, "", "If-None-Match", whole.Header.Get("ETag"))
		if whole.StatusCode != http.StatusOK || unchanged.StatusCode != http.StatusNotModified {
			t.Errorf("%s: got %d, and %d for its ETag, want 200 and 304", &o, whole.StatusCode, unchanged.StatusCode)
		}
		for _, res := range []response{whole, unchanged} {
			for _, name := range []string{"ETag", "Link", "X-Total-Count"} {
				if res.Header.Get(name) != "" && d.Paths[o.template]["get"].Responses[itoa(res.StatusCode)].Headers[name] == nil {
					t.Errorf("%s: %s is not documented for %d", &o, name, res.StatusCode)
				}
			}
		}
	}
}

// TestExamplesAreForEverybody: who tries an operation out sends what the page shows, as it stands and at any time.
func TestExamplesAreForEverybody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := map[string]string{
		"replaceMe": `{"name":"Ada Lovelace"}`, "updateMe": `{"name":"Ada Lovelace"}`,
		"createToken": `{"name":"Nightly report","scopes":["tasks:read"]}`,
	}
	for _, o := range w.operations() {
		if want, ok := want[o.OperationID]; ok {
			got := jsontext.Value(o.body)
			if err := got.Compact(); err != nil || string(got) != want {
				t.Errorf("%s: got the example %s, want %s", &o, got, want)
			}
			for media, sent := range o.RequestBody.Content {
				if string(sent.Example) != o.body {
					t.Errorf("%s: got the example %s for %s, want %s", &o, sent.Example, media, o.body)
				}
			}
		}
	}
}
