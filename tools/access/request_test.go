package access

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/trackway/trackway/graph"
	"github.com/trackway/trackway/services/platform/errs"
)

type object = map[string]any

// as is a value of the type that it must have.
func as[T any](value any) T {
	v, ok := value.(T)
	if !ok {
		panic(fmt.Sprintf("%v is a %T, and must be a %T", value, value, v))
	}
	return v
}

// from is the name of something in the scene, as the value of a parameter or a field.
type from string

// enum is a value of an enumeration, which the doors spell differently.
type enum string

// want is what a request is to say, beside what it must: values by the names of the contract.
type want map[string]any

// operation is one way to ask for something: an operation of the OpenAPI document, or a field of the GraphQL schema.
type operation interface {
	// request asks for it.
	request(ctx context.Context, url string, s scene, with want) (*http.Request, error)
	// outcome reads the answer: the code of what went wrong, or "".
	outcome(status int, body []byte) (errs.Code, error)
	writes() bool
}

// restOperation is an operation of the OpenAPI document.
type restOperation struct {
	id, method, path string
	parameters       []object
	body             object // its schema; nil without one
	document         object
}

// restOperations reads the OpenAPI document.
func restOperations(tb testing.TB) map[string]operation {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "services", "edge", "openapi.json"))
	if err != nil {
		tb.Fatal(err)
	}
	var document object
	if err := json.Unmarshal(b, &document); err != nil {
		tb.Fatal(err)
	}
	found := map[string]operation{}
	for path, methods := range as[object](document["paths"]) {
		for method, op := range as[object](methods) {
			op, ok := op.(object)
			if !ok || op["operationId"] == nil {
				continue
			}
			o := restOperation{
				id: as[string](op["operationId"]), method: strings.ToUpper(method), path: path, document: document,
			}
			if list, ok := op["parameters"].([]any); ok {
				for _, p := range list {
					o.parameters = append(o.parameters, o.resolve(as[object](p)))
				}
			}
			if body, ok := op["requestBody"].(object); ok {
				content := as[object](body["content"])
				o.body = o.resolve(as[object](as[object](content["application/json"])["schema"]))
			}
			found[o.id] = o
		}
	}
	return found
}

// resolve follows a reference.
func (o restOperation) resolve(schema object) object {
	ref, ok := schema["$ref"].(string)
	if !ok {
		return schema
	}
	at := any(o.document)
	for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		at = as[object](at)[part]
	}
	return as[object](at)
}

func (o restOperation) writes() bool { return o.method != http.MethodGet }

func (o restOperation) request(ctx context.Context, base string, s scene, with want) (*http.Request, error) {
	target, query := o.path, url.Values{}
	noun := strings.TrimSuffix(strings.Split(o.path, "/")[2], "s") // whose id is meant by `id`
	for _, p := range o.parameters {
		name, in := as[string](p["name"]), p["in"]
		switch value, wanted := with[name]; {
		case in == "path":
			target = strings.ReplaceAll(target, "{"+name+"}", url.PathEscape(fmt.Sprint(s.value(name, noun, value))))
		case in == "query" && (wanted || p["required"] == true):
			query.Set(name, fmt.Sprint(s.value(name, noun, value)))
		}
	}
	var body io.Reader = http.NoBody
	if o.body != nil {
		b, err := json.Marshal(o.fill(o.body, s, with))
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, o.method, base+target, body)
	if err == nil && o.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, err
}

// fill makes a value of the schema: what is required, and what is wanted.
func (o restOperation) fill(schema object, s scene, with want) any {
	schema = o.resolve(schema)
	properties, ok := schema["properties"].(object)
	if !ok {
		return nil
	}
	required, _ := schema["required"].([]any)
	made := object{}
	for name, property := range properties {
		value, wanted := with[name]
		if !wanted && !slices.Contains(required, any(name)) {
			continue
		}
		p := o.resolve(as[object](property))
		if items, ok := p["items"].(object); ok && !wanted {
			if inner := o.fill(items, s, with); inner != nil {
				made[name] = []any{inner}
				continue
			}
		}
		made[name] = s.value(name, "task", value)
	}
	return made
}

func (o restOperation) outcome(status int, body []byte) (errs.Code, error) {
	if status < http.StatusBadRequest {
		return "", nil
	}
	var problem struct {
		Code errs.Code `json:"code"`
	}
	if err := json.Unmarshal(body, &problem); err != nil {
		return "", err
	}
	if problem.Code.HTTP() != status {
		return "", fmt.Errorf("%d has the code %q", status, problem.Code)
	}
	return problem.Code, nil
}

// value is what is wanted, or something fitting for the name. The noun is what an `id` is one of.
func (s scene) value(name, noun string, wanted any) any {
	switch v := wanted.(type) {
	case nil:
	case from:
		return s[string(v)]
	case enum:
		return strings.ToLower(string(v))
	default:
		return v
	}
	if name == "id" {
		name = noun + "_id"
	}
	if value, ok := s[strings.TrimSuffix(name, "_id")]; ok && strings.HasSuffix(name, "_id") {
		return value
	}
	if value, ok := s[name]; ok {
		return value
	}
	switch name {
	case "email":
		return here.email("new")
	case "password", "current_password":
		return password
	case "new_password":
		return password + " staple"
	default:
		return "New"
	}
}

// graphField is a field of the GraphQL schema: of a root type, or of a thing that Query finds by its id.
type graphField struct {
	schema *ast.Schema
	root   string // Query or Mutation, or the type of the thing
	field  *ast.FieldDefinition
}

// graphFields are all fields of the schema that do something: those of the root types, and those with arguments.
func graphFields() map[string]operation {
	found := map[string]operation{}
	schema := graph.Schema()
	for name, definition := range schema.Types {
		if definition.Kind != ast.Object || strings.HasPrefix(name, "__") {
			continue
		}
		root := name == "Query" || name == "Mutation" || name == "Subscription"
		for _, f := range definition.Fields {
			if !strings.HasPrefix(f.Name, "__") && (root || len(f.Arguments) > 0) {
				found[name+"."+f.Name] = graphField{schema, name, f}
			}
		}
	}
	return found
}

func (g graphField) writes() bool { return g.root == "Mutation" }

func (g graphField) request(ctx context.Context, base string, s scene, with want) (*http.Request, error) {
	noun := ""
	for _, of := range []string{"project", "task", "comment", "user", "session", "invitation"} { // updateTasks is about tasks
		if strings.Contains(strings.ToLower(g.field.Type.Name()), of) {
			noun = of
		}
	}
	variables := object{}
	var declared, passed []string
	for _, a := range g.field.Arguments {
		value, wanted := with[snake(a.Name)]
		if !wanted && !a.Type.NonNull {
			continue
		}
		declared = append(declared, "$"+a.Name+": "+a.Type.String())
		passed = append(passed, a.Name+": $"+a.Name)
		if input := g.schema.Types[a.Type.Name()]; input.Kind == ast.InputObject && !wanted {
			variables[a.Name] = g.fill(input, s, noun, with)
		} else {
			variables[a.Name] = g.value(a.Name, a.Type, s, noun, value)
		}
	}
	query := g.field.Name
	if passed != nil {
		query += "(" + strings.Join(passed, ", ") + ")"
	}
	query += selection(g.schema.Types[g.field.Type.Name()])
	kind := "query"
	switch g.root {
	case "Mutation", "Subscription":
		kind = strings.ToLower(g.root)
	case "Query":
	default:
		kind, query = "query", fmt.Sprintf("%s(id: %v) { %s }", strings.ToLower(g.root), s[strings.ToLower(g.root)], query)
	}
	if declared != nil {
		kind += "(" + strings.Join(declared, ", ") + ")"
	}
	body, err := json.Marshal(object{"query": kind + " { " + query + " }", "variables": variables})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/graphql", bytes.NewReader(body))
	if err == nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if err == nil && g.root == "Subscription" {
		req.Header.Set("Accept", "text/event-stream")
	}
	return req, err
}

// fill makes an input object: what is required, and what is wanted.
func (g graphField) fill(input *ast.Definition, s scene, noun string, with want) object {
	made := object{}
	for _, f := range input.Fields {
		value, wanted := with[snake(f.Name)]
		if !wanted && (!f.Type.NonNull || f.DefaultValue != nil) {
			continue
		}
		if inner := g.schema.Types[f.Type.Name()]; inner.Kind == ast.InputObject {
			made[f.Name] = g.fill(inner, s, noun, with)
			if f.Type.Elem != nil {
				made[f.Name] = []any{made[f.Name]}
			}
			continue
		}
		made[f.Name] = g.value(f.Name, f.Type, s, noun, value)
	}
	return made
}

func (g graphField) value(name string, typ *ast.Type, s scene, noun string, wanted any) any {
	value := s.value(snake(name), noun, wanted)
	if g.schema.Types[typ.Name()].Kind == ast.Enum {
		if text, ok := value.(string); ok {
			value = strings.ToUpper(text)
		}
	}
	if typ.Name() == "ID" {
		value = fmt.Sprint(value)
	}
	if _, list := value.([]any); typ.Elem != nil && !list {
		value = []any{value}
	}
	return value
}

// selection asks for enough to see that something is there.
func selection(of *ast.Definition) string {
	switch {
	case of.IsLeafType():
		return ""
	case of.Fields.ForName("userErrors") != nil:
		return " { userErrors { code message } }"
	case of.Fields.ForName("nodes") != nil:
		return " { nodes { __typename } }"
	default:
		return " { __typename }"
	}
}

func (g graphField) outcome(status int, body []byte) (errs.Code, error) {
	type failure struct {
		Code       string `json:"code"`
		Message    string `json:"message"`
		Extensions struct {
			Code string `json:"code"`
		} `json:"extensions"`
	}
	var answer struct {
		Code   errs.Code      `json:"code"` // of a problem, which the edge answers with
		Errors []failure      `json:"errors"`
		Data   map[string]any `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", err
	}
	switch {
	case answer.Code != "":
		return answer.Code, nil
	case len(answer.Errors) > 0:
		return errs.Code(strings.ToLower(answer.Errors[0].Extensions.Code)), nil
	case status != http.StatusOK:
		return "", fmt.Errorf("the status is %d", status)
	}
	for _, value := range answer.Data {
		switch v := value.(type) {
		case nil:
			return errs.NotFound, nil
		case []any: // `nodes` has null for what is not there
			if slices.Contains(v, nil) {
				return errs.NotFound, nil
			}
		case object:
			if list, ok := v["userErrors"].([]any); ok && len(list) > 0 {
				first := as[object](list[0])
				return errs.Code(strings.ToLower(as[string](first["code"]))), nil
			}
		}
	}
	return "", nil
}

// snake spells a name of GraphQL as the contract does.
func snake(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
