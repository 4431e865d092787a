package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// spec is the OpenAPI document that a running system serves.
type spec struct {
	t        *testing.T
	doc      object
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

// operation is one of the document's.
type operation struct {
	id, method, path string
	pointer          string // to it, in the document
	parameters       []object
	body             object // media types and what they hold; nil if it takes none
	responses        object
}

func readSpec(t *testing.T, url string) *spec {
	t.Helper()
	a := newClient(t, url).do(http.StatusOK, http.MethodGet, "/api/openapi.json", nil)
	s := &spec{
		t: t, doc: as[object](t, a.body), compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{},
	}
	s.compiler.AssertFormat()
	if err := s.compiler.AddResource("trackway:///openapi.json", a.body); err != nil {
		t.Fatal(err)
	}
	return s
}

// operations are in the order of their paths and methods.
func (s *spec) operations() (all []operation) {
	s.t.Helper()
	paths := as[object](s.t, s.doc["paths"])
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item := as[object](s.t, paths[path])
		for _, method := range slices.Sorted(maps.Keys(item)) {
			o, ok := item[method].(object)
			if !ok || o["operationId"] == nil {
				continue
			}
			op := operation{
				id: as[string](s.t, o["operationId"]), method: strings.ToUpper(method), path: path,
				pointer: "#/paths/" + escapePointer(path) + "/" + method, responses: as[object](s.t, o["responses"]),
			}
			if list, ok := o["parameters"]; ok {
				for _, p := range objects(s.t, list) {
					resolved, _ := s.resolve(p, "")
					op.parameters = append(op.parameters, resolved)
				}
			}
			if b, ok := o["requestBody"].(object); ok {
				b, _ = s.resolve(b, "")
				op.body = as[object](s.t, b["content"])
			}
			all = append(all, op)
		}
	}
	return all
}

// resolve follows references. The pointer is where the object stands.
func (s *spec) resolve(o object, pointer string) (target object, at string) {
	s.t.Helper()
	for {
		ref, ok := o["$ref"].(string)
		if !ok {
			return o, pointer
		}
		o, pointer = s.doc, ref
		for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			o = as[object](s.t, o[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)])
		}
	}
}

// check says what is wrong with an answer to the operation; "" if it is as documented.
func (s *spec) check(op operation, head bool, status int, header http.Header, body []byte) string {
	s.t.Helper()
	documented, ok := op.responses[fmt.Sprint(status)].(object)
	if !ok {
		return fmt.Sprintf("the status %d is not documented", status)
	}
	if status >= http.StatusInternalServerError {
		return fmt.Sprintf("the status is %d", status)
	}
	if head {
		if len(body) > 0 {
			return "HEAD is answered with a body"
		}
		return ""
	}
	response, pointer := s.resolve(documented, op.pointer+"/responses/"+fmt.Sprint(status))
	content, ok := response["content"].(object)
	if !ok {
		if len(body) > 0 {
			return fmt.Sprintf("%d has no documented body", status)
		}
		return ""
	}
	mediaType := header.Get("Content-Type")
	if _, ok := content[mediaType]; !ok {
		return fmt.Sprintf("%d has the undocumented content type %q", status, mediaType)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Sprintf("%d is not JSON: %v", status, err)
	}
	if err := s.schema(pointer + "/content/" + escapePointer(mediaType) + "/schema").Validate(value); err != nil {
		return fmt.Sprintf("%d does not have the documented schema: %v", status, err)
	}
	if problem, ok := value.(object); ok && status >= http.StatusBadRequest {
		if fmt.Sprint(problem["status"]) != fmt.Sprint(status) || problem["title"] == nil || problem["title"] == "" {
			return fmt.Sprintf("%d has a problem with another status, or without a title", status)
		}
	}
	return ""
}

func (s *spec) schema(pointer string) *jsonschema.Schema {
	s.t.Helper()
	if found := s.schemas[pointer]; found != nil {
		return found
	}
	compiled, err := s.compiler.Compile("trackway:///openapi.json" + pointer)
	if err != nil {
		s.t.Fatal(err)
	}
	s.schemas[pointer] = compiled
	return compiled
}

func escapePointer(part string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(part)
}
