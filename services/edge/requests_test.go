package edge

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

// document is the OpenAPI document, as far as the tests read it.
type document struct {
	Paths      map[string]map[string]described `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type described struct {
	OperationID string                `json:"operationId"`
	Summary     string                `json:"summary"`
	Description string                `json:"description"`
	Tags        []string              `json:"tags"`
	Security    []map[string][]string `json:"security"`
	Parameters  []parameter           `json:"parameters"`
	RequestBody *content              `json:"requestBody"`
	Responses   map[string]content    `json:"responses"`
}

type parameter struct {
	Name   string `json:"name"`
	In     string `json:"in"`
	Schema schema `json:"schema"`
}

type content struct {
	Ref     string            `json:"$ref"`
	Content map[string]media  `json:"content"`
	Headers map[string]*media `json:"headers"`
}

type media struct {
	Schema  schema         `json:"schema"`
	Example jsontext.Value `json:"example"`
}

type schema struct {
	Ref         string            `json:"$ref"`
	Type        any               `json:"type"`
	Description string            `json:"description"`
	Items       *schema           `json:"items"`
	Properties  map[string]schema `json:"properties"`
	Required    []string          `json:"required"`
	Examples    []jsontext.Value  `json:"examples"`
	Enum        []any             `json:"enum"`
	MaxLength   *int              `json:"maxLength"`
	Format      string            `json:"format"`
}

// operation is one operation, and a request that it accepts.
type operation struct {
	described

	method, template, path, body string
	fields                       map[string]schema
}

// names are those of its parameters.
func (d *described) names() (all []string) {
	for _, p := range d.Parameters {
		all = append(all, p.Name)
	}
	return all
}

func (w *world) document() *document {
	w.tb.Helper()
	var d document
	w.do(http.MethodGet, "/api/openapi.json", "", "Authorization", "").json(w.tb, &d)
	return &d
}

func (d *document) resolve(s schema) schema {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return d.Components.Schemas[name]
	}
	return s
}

// operations gives every operation of the document with a request made of its examples.
func (w *world) operations() []operation {
	w.tb.Helper()
	d := w.document()
	var all []operation
	for _, template := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(d.Paths[template])) {
			o := operation{described: d.Paths[template][method], method: strings.ToUpper(method), template: template}
			o.path = strings.NewReplacer("{id}", "1", "{user_id}", "2", "{invitation_id}", "1",
				"{session_id}", "8e03978e-40d5-43e8-bc93-6894a57f9324").Replace(template)
			if o.RequestBody != nil {
				sent := o.RequestBody.Content["application/json"]
				o.fields = d.resolve(sent.Schema).Properties
				o.body = string(sent.Example)
				if o.body == "" {
					o.body = bodyOf(w.tb, o.fields)
				}
			}
			all = append(all, o)
		}
	}
	if len(all) < 40 {
		w.tb.Fatalf("got %d operations in the document, want all", len(all))
	}
	return all
}

// bodyOf is the body that an operation without an example of its own is shown with.
func bodyOf(tb testing.TB, fields map[string]schema) string {
	tb.Helper()
	members := make(map[string]jsontext.Value)
	for name, s := range fields {
		if len(s.Examples) > 0 {
			members[name] = s.Examples[0]
		}
	}
	b, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func (o *operation) String() string { return o.method + " " + o.template }

func TestEveryOperationAnswersAsDocumented(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.document()
	seen := make(map[string]bool)
	for _, o := range w.operations() {
		if o.Summary == "" || o.Description == "" || len(o.Tags) == 0 || seen[o.OperationID] || o.OperationID == "" {
			t.Errorf("%s: summary, description, tag or a name of its own is missing", &o)
		}
		seen[o.OperationID] = true
		res := w.do(o.method, o.path, o.body)
		documented, ok := o.Responses[itoa(res.StatusCode)]
		if res.StatusCode >= 300 || !ok {
			t.Errorf("%s %s: got %d %s, want a documented success", &o, o.body, res.StatusCode, res.body)
			continue
		}
		if o.method == http.MethodPost && res.StatusCode == http.StatusCreated && res.Header.Get("Location") == "" {
			t.Errorf("%s: got no Location", &o)
		}
		if schema := documented.Content["application/json"].Schema; res.StatusCode != http.StatusNoContent {
			var v any
			res.json(t, &v)
			d.conforms(t, o.String(), schema, v)
		}
		for _, name := range []string{"Cache-Control", "Vary", "X-Content-Type-Options", "X-Request-Id", "RateLimit"} {
			if res.Header.Get(name) == "" {
				t.Errorf("%s: got no header %s", &o, name)
			}
		}
	}
}

// conforms checks the names of all members against the document.
func (d *document) conforms(t *testing.T, where string, s schema, v any) {
	t.Helper()
	s = d.resolve(s)
	switch v := v.(type) {
	case map[string]any:
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				t.Errorf("%s: %q is missing in %v", where, name, v)
			}
		}
		for name, member := range v {
			if _, ok := s.Properties[name]; !ok {
				t.Errorf("%s: %q is not documented", where, name)
			}
			d.conforms(t, where+"/"+name, s.Properties[name], member)
		}
	case []any:
		if s.Items == nil {
			t.Errorf("%s: got an array, want %v", where, s.Type)
			return
		}
		for _, item := range v {
			d.conforms(t, where, *s.Items, item)
		}
	default:
		if s.Type == nil {
			t.Errorf("%s: %v is not documented", where, v)
		}
	}
}

// bad is a request with a mistake.
type bad struct {
	name    string
	path    string
	body    io.Reader
	headers []string
	want    int
}

// mistakes are the ways to get an operation wrong.
func (o *operation) mistakes(valid string) []bad {
	list := []bad{
		{"a forged token", o.path, nil, []string{"Authorization", valid[:len(valid)-4] + "AAAA"}, 401},
		{"no bearer", o.path, nil, []string{"Authorization", "Basic YTpi"}, 401},
		{"an unknown parameter", o.path + "?drop=1", nil, nil, 400},
		{"a parameter in the wrong case", o.path + "?Limit=1", nil, nil, 400},
		{"a malformed query", o.path + "?a=%zz", nil, nil, 400},
		{"a semicolon", o.path + "?limit=1;cursor=x", nil, nil, 400},
		{"only HTML accepted", o.path, nil, []string{"Accept", "text/html"}, 406},
		{"JSON not accepted", o.path, nil, []string{"Accept", "application/json;q=0, text/html"}, 406},
	}
	if !slices.ContainsFunc(o.Security, func(s map[string][]string) bool { return len(s) == 0 }) {
		list = append(list, bad{"no token", o.path, nil, []string{"Authorization", ""}, 401})
	}
	if strings.Contains(o.template, "{id}") {
		for _, id := range []string{"abc", "0", "-1", "1.5", "9223372036854775808", "%00", "1e3", "%FF", " 1"} {
			path := strings.Replace(o.template, "{id}", strings.ReplaceAll(id, " ", "%20"), 1)
			path = strings.NewReplacer("{user_id}", "2", "{invitation_id}", "1").Replace(path)
			list = append(list, bad{"the id " + id, path, nil, nil, 400})
		}
	}
	for _, p := range o.Parameters {
		if o.method == http.MethodGet && p.Name == "If-None-Match" {
			continue // the whole answer is always right
		}
		list = append(list, o.badParameter(p)...)
	}
	if o.RequestBody == nil {
		return list
	}
	return append(list, o.badBodies()...)
}

func (o *operation) badParameter(p parameter) []bad {
	var list []bad
	at := func(name, value string) {
		list = append(list, bad{p.Name + " " + name, o.path + "?" + p.Name + "=" + value, nil, nil, 400})
	}
	switch p.In {
	case "query":
		at("with NUL", "a%00b")
		at("not UTF-8", "%ff")
		at("too long", strings.Repeat("x", 5000))
		if p.Name != "search" {
			at("empty", "")
		}
		if p.Name != "search" && p.Name != "label" {
			at("of another kind", "%7B%7D")
			at("twice", "none&"+p.Name+"=%7B%7D")
		}
	case "header":
		list = append(list, bad{p.Name + " empty", o.path, nil, []string{p.Name, " "}, 400},
			bad{p.Name + " too long", o.path, nil, []string{p.Name, strings.Repeat("x", 2000)}, 400})
	}
	if strings.HasPrefix(p.Name, "If-") {
		list = append(list, bad{p.Name + " malformed", o.path, nil, []string{p.Name, "3"}, 400})
	}
	return list
}

func (o *operation) badBodies() []bad {
	var list []bad
	add := func(name, body string, want int, headers ...string) {
		list = append(list, bad{name, o.path, strings.NewReader(body), headers, want})
	}
	with := func(member string) string { // at the front of a valid body
		if o.body == "{}" {
			return "{" + member + "}"
		}
		return "{" + member + "," + o.body[1:]
	}
	add("no body", "", 400)
	add("malformed JSON", o.body[:len(o.body)-1], 400)
	add("text behind the value", o.body+"{}", 400)
	add("null", "null", 400)
	add("an array", "["+o.body+"]", 400)
	add("not UTF-8", with("\"\xff\":1"), 400)
	add("a lone surrogate", with(`"\ud800":1`), 400)
	add("deep JSON", strings.Repeat("[", 100_000), 400)
	add("a deep member", with(`"x":`+strings.Repeat(`{"x":`, 20_000)+"1"+strings.Repeat("}", 20_000)), 400)
	add("an unknown field", with(`"drop_table":1`), 400)
	add("a read-only field", with(`"id":1`), 400)
	add("another read-only field", with(`"version":1`), 400)
	add("a form", "title=x", 415, "Content-Type", "application/x-www-form-urlencoded")
	add("XML", "<a/>", 415, "Content-Type", "application/xml")
	add("JSON patch", "[]", 415, "Content-Type", "application/json-patch+json")
	add("another charset", o.body, 415, "Content-Type", "application/json; charset=latin1")
	add("a malformed type", o.body, 415, "Content-Type", "json;;")
	add("a content coding", o.body, 415, "Content-Encoding", "gzip")
	huge := with(`"huge":"` + strings.Repeat("x", 1<<20) + `"`)
	add("a huge body", huge, 413)
	list = append(list, bad{"a huge body in chunks", o.path, io.MultiReader(strings.NewReader(huge)), nil, 413})
	for name, s := range o.fields {
		add(name+" twice", with(`"` + name + `":null`)[:len(with(`"`+name+`":null`))-1]+`,"`+name+`":null}`, 400)
		upper := `"` + strings.ToUpper(name) + `":null`
		add(name+" in the wrong case", with(upper), 400)
		wrong := []string{`{}`, `[[]]`, `1.5`}
		switch s.kind() {
		case "integer":
			wrong = append(wrong, `"1"`, `0`, `-1`, `9223372036854775808`, `1e400`, `true`)
		case "string":
			wrong = append(wrong, `1`, `true`, `[]`)
		case "boolean":
			wrong = append(wrong, `"true"`, `1`, `0`)
		case "array":
			wrong = append(wrong, `"x"`, `[{}]`, `[""]`)
		}
		if s.MaxLength != nil {
			wrong = append(wrong, `"`+strings.Repeat("ä", *s.MaxLength+1)+`"`)
		}
		if len(s.Enum) > 0 || s.Format == "date" {
			wrong = append(wrong, `"nonsense"`, `""`)
		}
		if _, nullable := s.Type.([]any); !nullable {
			wrong = append(wrong, `null`)
		}
		for _, v := range wrong {
			add(name+" "+v[:min(len(v), 20)], o.bodyWith(name, v), 400)
		}
	}
	return list
}

func (s schema) kind() string {
	if list, ok := s.Type.([]any); ok && len(list) > 0 {
		kind, _ := list[0].(string)
		return kind
	}
	kind, _ := s.Type.(string)
	return kind
}

// bodyWith is the valid body with another value for a member.
func (o *operation) bodyWith(name, value string) string {
	members := make(map[string]jsontext.Value)
	if err := json.Unmarshal([]byte(o.body), &members); err != nil {
		panic(err)
	}
	members[name] = jsontext.Value(value)
	b, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestBadRequestsGetTheirProblemAndReachNoService(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, o := range w.operations() {
		w.fake.took()
		for _, b := range o.mistakes("Bearer " + w.token) {
			body := b.body
			if body == nil && o.body != "" {
				body = strings.NewReader(o.body)
			}
			res := w.send(o.method, b.path, body, b.headers...)
			if res.StatusCode != b.want {
				t.Errorf("%s, %s: got %d %s, want %d", &o, b.name, res.StatusCode, res.body, b.want)
				continue
			}
			if _, ok := o.Responses[itoa(res.StatusCode)]; !ok {
				t.Errorf("%s, %s: %d is not documented", &o, b.name, res.StatusCode)
			}
			checkProblem(t, o.String()+", "+b.name, res)
		}
		if calls := w.fake.took(); len(calls) > 0 {
			t.Errorf("%s: got calls %v, want none", &o, calls)
		}
	}
}

// problem is a problem document.
type problem struct {
	Type     string      `json:"type"`
	Title    string      `json:"title"`
	Status   int         `json:"status"`
	Detail   string      `json:"detail"`
	Instance string      `json:"instance"`
	Code     string      `json:"code"`
	TraceID  string      `json:"trace_id"`
	Errors   []violation `json:"errors"`
}

type violation struct {
	Pointer   string `json:"pointer"`
	Parameter string `json:"parameter"`
	Header    string `json:"header"`
	Detail    string `json:"detail"`
}

func checkProblem(t *testing.T, where string, res response) problem {
	t.Helper()
	var p problem
	res.json(t, &p)
	if p.Type != "urn:trackway:problem:"+p.Code || p.Title == "" || p.Status != res.StatusCode || p.Detail == "" ||
		p.Instance == "" || p.Code == "" || len(p.TraceID) != 32 {
		t.Errorf("%s: got %+v, want all members", where, p)
	}
	if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("%s: got the type %s", where, got)
	}
	if res.StatusCode == http.StatusUnauthorized && !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("%s: got no WWW-Authenticate", where)
	}
	for _, secret := range []string{"goroutine", ".go:", "json:", "Go struct", "huma"} {
		if strings.Contains(res.body, secret) {
			t.Errorf("%s: the answer shows %q: %s", where, secret, res.body)
		}
	}
	return p
}

func TestMistakesAreNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tests := []struct {
		method, path, body string
		want               []violation
	}{
		{"POST", "/api/tasks/", `{}`, []violation{
			{Pointer: "#/project_id", Detail: "is required"}, {Pointer: "#/title", Detail: "is required"},
		}},
		{"POST", "/api/tasks/", `{"project_id":1,"title":"","labels":["a",1],"a/b c~":1}`, []violation{
			{Pointer: "#/a~1b%20c~0", Detail: "is not a field that can be written here"},
			{Pointer: "#/labels/1", Detail: "must be a string"},
			{Pointer: "#/title", Detail: "must have at least 1 characters"},
		}},
		{"POST", "/api/tasks/", `{"project_id":1,"title":"x","title":"y"}`, []violation{{Pointer: "#/title", Detail: "is given twice"}}},
		{"POST", "/api/tasks/", `{"project_id":1,"title":"x","status":"todo","completed":true}`, []violation{
			{Pointer: "#/completed", Detail: "contradicts the status"},
		}},
		{"PUT", "/api/tasks/1/", `{"project_id":2,"title":"x"}`, []violation{{Pointer: "#/project_id", Detail: "can not change, and is 1"}}},
		{"PATCH", "/api/tasks/1/", `{"title":null}`, []violation{{Pointer: "#/title", Detail: "must not be null"}}},
		{"GET", "/api/tasks/?limit=0&status=nope", "", []violation{
			{Parameter: "limit", Detail: "must be at least 1"},
			{Parameter: "status", Detail: "must be one of todo, in_progress, done, cancelled"},
		}},
		{"GET", "/api/comments/?sort=id", "", []violation{
			{Parameter: "sort", Detail: "is not a parameter; there are explain, limit, cursor, count, ordering, author, trash, fields, permissions, expand, task"},
		}},
		{"POST", "/api/tasks/", `{"project_id":9007199254740993,"title":"x"}`, []violation{
			{Pointer: "#/project_id", Detail: "must be at most 9007199254740991"},
		}},
		{"GET", "/api/tasks/abc/", "", []violation{{Parameter: "id", Detail: "must be an integer"}}},
		{"GET", "/api/tasks/?=1", "", nil}, // it has no name
		{"POST", "/api/auth/register/", `{"name":"Ada","email":"ada","password":"a long password"}`, []violation{
			{Pointer: "#/email", Detail: "must be an e-mail address, such as ada@example.org"},
		}},
		{"GET", "/api/tasks/?updated_since=yesterday", "", []violation{
			{Parameter: "updated_since", Detail: "must be a time such as 2026-01-31T09:30:00Z (RFC 3339)"},
		}},
		{"GET", "/api/tasks/?assignee=9223372036854775808", "", []violation{{Parameter: "assignee", Detail: "is no id"}}},
	}
	for _, tt := range tests {
		p := checkProblem(t, tt.path, w.do(tt.method, tt.path, tt.body))
		if diff := cmp.Diff(tt.want, p.Errors); diff != "" {
			t.Errorf("%s %s %s (-want +got):\n%s", tt.method, tt.path, tt.body, diff)
		}
	}
}
