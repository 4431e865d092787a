package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

const (
	graphTime  = 40 * time.Second
	graphTries = 60 // requests to a root field until all that it can give was seen
)

// Every field of the GraphQL schema is asked for in random documents, with and without mistakes, by everybody, and then
// in what is no document at all. Whatever comes fits the schema and costs no more than its price, errors have a code,
// and nothing tells of the inside. The seed is logged; TRACKWAY_FUZZ_SEED repeats it.
func TestEveryGraphQLAnswerFitsTheSchema(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	t.Cleanup(func() { awaitNothing(t, dir) })
	p := launch(t, dir, []string{"RATE_LIMIT=0", "AUTH_RATE_LIMIT=0", "GRAPHQL_BUDGET=1000000000"}, binary)
	p.awaitScreen()
	text, err := os.ReadFile(filepath.Join("..", "..", "graph", "schema.graphql"))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Input: string(text)})
	if err != nil {
		t.Fatal(err)
	}
	g := &graphFuzzer{fuzzer: newFuzzer(t, p), schema: schema, reached: map[string]bool{}, codes: map[string]int{}}
	deadline := time.Now().Add(graphTime)
	g.everything()
	for round := 0; time.Now().Before(deadline); round++ {
		if round%20 == 0 || g.turnedAway {
			g.turnedAway = false
			g.comeBack()
			g.furnish()
		}
		switch who := g.somebody(); g.IntN(8) {
		case 0:
			g.nonsense(who)
		case 1, 2:
			g.ask(who, schema.Mutation, nil, g.IntN(2) == 0)
		default:
			g.ask(who, schema.Query, nil, g.IntN(2) == 0)
		}
	}
	if missing := g.missing(); len(missing) > 0 {
		t.Errorf("no answer had these fields: %q", missing)
	}
	t.Logf("%d requests, %d without a token, %d with one that had ended; %d fields; codes %v", g.sent, g.nameless, g.ended, len(g.reached), g.codes)
	if 10*g.nameless > g.sent {
		t.Errorf("%d of %d requests had no token: there is little that they can find", g.nameless, g.sent)
	}
	for _, signature := range slices.Sorted(maps.Keys(g.findings)) {
		t.Errorf("%s", g.findings[signature])
	}
}

// graphFuzzer asks the GraphQL door.
type graphFuzzer struct {
	*fuzzer

	schema  *ast.Schema
	reached map[string]bool // fields that an answer had, as Type.field
	codes   map[string]int  // of errors; OK is an answer without any

	nameless, ended int  // requests without a token, and with one of a session that had ended
	turnedAway      bool // for that
}

// somebody is who asks next: now and then nobody.
func (g *graphFuzzer) somebody() *fuzzCaller {
	if g.IntN(20) == 0 {
		return g.callers[0]
	}
	return pick(g.Rand, g.callers[1:])
}

// everything asks for all that each field of the root can give, until it was given once. Mutations come first, as they make
// what queries find, and of these at last those that end a session, or what others need.
func (g *graphFuzzer) everything() {
	ends := regexp.MustCompile(`^(logout|end|change|reset|confirm|deleteUser|updateUser)`)
	for _, last := range []bool{false, true} {
		for _, field := range g.schema.Mutation.Fields {
			if ends.MatchString(field.Name) == last {
				g.exhaust(g.schema.Mutation, field, last)
			}
		}
	}
	for _, field := range g.schema.Query.Fields {
		if !strings.HasPrefix(field.Name, "__") {
			g.exhaust(g.schema.Query, field, false)
		}
	}
}

// exhaust asks for one field of the root. One that ends something is asked for by a new member each time: a session that
// has ended is good at one service and not at the next, for a moment.
func (g *graphFuzzer) exhaust(root *ast.Definition, field *ast.FieldDefinition, ends bool) {
	g.t.Helper()
	member, admin := g.callers[1], g.callers[3]
	for try := 0; try < graphTries && (try == 0 || g.lacks(field)); try++ {
		if try%4 == 0 || ends {
			g.comeBack()
			g.furnish()
		}
		if strings.HasSuffix(strings.ToLower(field.Name), "invitation") {
			g.invite()
		}
		who := member
		if try%3 == 2 || field.Name == "createUser" {
			who = admin
		}
		g.ask(who, root, field, false)
		if ends {
			member.token = ""
		}
	}
}

// invite makes an invitation to the member's latest project. One inviter has 50 an hour.
func (g *graphFuzzer) invite() {
	g.t.Helper()
	member := g.callers[1]
	g.client.token, g.who = member.token, member.name
	mine := g.ids[member.name+"project"]
	if len(mine) == 0 {
		return
	}
	target := path("/api/projects/%v/invitations/", mine[len(mine)-1])
	a, err := g.client.try(g.t.Context(), http.MethodPost, target, object{"email": fmt.Sprintf("i%d@example.org", g.sent)})
	if err != nil {
		g.t.Fatal(err)
	}
	if a.status == http.StatusCreated {
		g.learn(target, a.body)
	}
}

// lacks reports whether no answer has had all fields of what the field gives.
func (g *graphFuzzer) lacks(field *ast.FieldDefinition) bool {
	return slices.ContainsFunc(g.schema.Types[field.Type.Name()].Fields, func(f *ast.FieldDefinition) bool {
		return !g.reached[field.Type.Name()+"."+f.Name]
	})
}

// missing are the fields, of what queries and mutations can give, that no answer had.
func (g *graphFuzzer) missing() (fields []string) {
	seen := map[string]bool{"Node": true}
	var visit func(def *ast.Definition)
	visit = func(def *ast.Definition) {
		if def == nil || def.Kind != ast.Object || seen[def.Name] {
			return
		}
		seen[def.Name] = true
		for _, f := range def.Fields {
			// A sign-in by a provider of identities is played in tools/access, which has one.
			if strings.HasPrefix(f.Name, "__") || strings.HasPrefix(f.Name, "exchange") {
				continue
			}
			if !g.reached[def.Name+"."+f.Name] {
				fields = append(fields, def.Name+"."+f.Name)
			}
			visit(g.schema.Types[f.Type.Name()])
		}
	}
	visit(g.schema.Query)
	visit(g.schema.Mutation)
	return fields
}

// ask sends a random operation on the root; of one field, if that is given, with all that it has.
func (g *graphFuzzer) ask(who *fuzzCaller, root *ast.Definition, only *ast.FieldDefinition, wild bool) {
	g.t.Helper()
	// Nobody else could make an admin one again.
	if who.name == "admin" && root == g.schema.Mutation && (only == nil || only.Name != "createUser") {
		who = g.callers[1]
	}
	g.who = who.name
	d := &document{graphFuzzer: g, wild: wild, values: object{}}
	text := d.operation(root, only)
	body := object{"query": text, "variables": d.values}
	if d.mistake(20) {
		body[pick(g.Rand, []string{"variables", "operationName", "extensions", "query", "x"})] = pick(g.Rand, []any{nil, 1, "x", []any{}, object{"persistedQuery": 1}, object{"a": object{"b": "c"}}})
	}
	content, err := json.Marshal(body)
	if err != nil {
		g.t.Fatal(err)
	}
	status, answer, header := g.post(who, content, root == g.schema.Query && g.IntN(6) == 0)
	sent := fmt.Sprintf("as %s\n%.3000s\n%.1000v\ngot %d %.1500v", who.name, text, d.values, status, answer)
	doc, list := gqlparser.LoadQueryWithRules(g.schema, text, nil)
	data, executed := answer["data"].(object)
	switch {
	case executed && len(list) > 0:
		g.wrong("what is not valid was executed", sent)
		return
	case !wild && (len(list) > 0 || strings.Contains(fmt.Sprint(answer["errors"]), "code:GRAPHQL_")):
		g.wrong(fmt.Sprintf("a good document is not valid: %v", list), sent)
		return
	case !executed:
		return
	case answer["errors"] == nil:
		g.codes["OK"]++
	}
	op := doc.Operations[0]
	variables := object{}
	for _, v := range op.VariableDefinitions {
		if value, ok := d.values[v.Variable]; ok {
			variables[v.Variable] = value
		} else if v.DefaultValue != nil {
			variables[v.Variable], _ = v.DefaultValue.Value(nil)
		}
	}
	c := &fit{graphFuzzer: g, variables: variables}
	c.object(root, []ast.SelectionSet{op.SelectionSet}, data, root.Name)
	for _, w := range c.wrong {
		g.wrong(w, sent)
	}
	g.price(answer, header, c.fields, sent)
}

// price compares the price that an answer tells with what the answer has, and with the headers.
func (g *graphFuzzer) price(answer object, header http.Header, fields int, sent string) {
	g.t.Helper()
	extensions, _ := answer["extensions"].(object)
	cost, _ := extensions["cost"].(object)
	price, _ := cost["price"].(float64)
	limit, _ := cost["limit"].(float64)
	if price < float64(fields) || price > limit {
		g.wrong("the answer has more fields than its price, or the price is above the limit", fmt.Sprint(fields, cost, "\n", sent))
	}
	window, _ := cost["window"].(object)
	left, _ := window["remaining"].(float64)
	told := fmt.Sprintf(`"graphql";r=%.0f;`, left)
	if !strings.Contains(strings.Join(header.Values("Ratelimit"), ","), told) {
		g.wrong("the header does not tell what is left", fmt.Sprint(header["Ratelimit"], cost, "\n", sent))
	}
}

func (g *graphFuzzer) wrong(what, sent string) {
	g.found(operation{id: "GraphQL"}, regexp.MustCompile(`\d+`).ReplaceAllString(what, "0"), what, sent)
}

// post sends a body, or what it says by GET, and looks at what holds for every answer.
func (g *graphFuzzer) post(who *fuzzCaller, body []byte, get bool) (status int, answer object, header http.Header) {
	g.t.Helper()
	media := pick(g.Rand, []string{"application/json", "application/graphql-response+json"})
	method, address := http.MethodPost, g.client.url+"/graphql"
	var content io.Reader = bytes.NewReader(body)
	var fields map[string]any
	if get && json.Unmarshal(body, &fields) == nil {
		query := url.Values{}
		for name, value := range fields {
			if text, ok := value.(string); ok {
				query.Set(name, text)
			} else if b, err := json.Marshal(value); err == nil {
				query.Set(name, string(b))
			}
		}
		method, address, content = http.MethodGet, address+"?"+query.Encode(), http.NoBody
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(g.t.Context()), method, address, content)
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Accept", media)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	if who.token != "" {
		req.Header.Set("Authorization", "Bearer "+who.token)
	}
	res, err := g.client.http.Do(req)
	if err != nil {
		g.wrong("no answer: "+err.Error(), string(body))
		return 0, nil, nil
	}
	text, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		g.wrong("no whole answer: "+err.Error(), string(body))
		return 0, nil, nil
	}
	g.sent++
	switch {
	case who.token == "":
		g.nameless++
	case res.StatusCode == http.StatusUnauthorized:
		g.ended++
		g.turnedAway = true
	}
	sent := fmt.Sprintf("%s as %s\n%.3000q\ngot %s %.1500q", method, who.name, body, res.Status, text)
	if found := leak.Find(text); found != nil {
		g.wrong(fmt.Sprintf("the answer says %q", found), sent)
	}
	if res.StatusCode >= http.StatusInternalServerError {
		g.wrong(fmt.Sprintf("the status is %d", res.StatusCode), sent)
	}
	if json.Unmarshal(text, &answer) != nil {
		g.wrong("the answer is no JSON object", sent)
		return res.StatusCode, nil, res.Header
	}
	if res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusRequestEntityTooLarge ||
		res.StatusCode == http.StatusRequestURITooLong {
		return res.StatusCode, nil, res.Header // a problem of the door, and no answer of GraphQL
	}
	_, executed := answer["data"]
	if strict := media != "application/json"; strict && executed != (res.StatusCode == http.StatusOK) {
		g.wrong("the status does not say whether it was executed", sent)
	}
	list, _ := answer["errors"].([]any)
	if !executed && len(list) == 0 {
		g.wrong("there is neither data nor an error", sent)
	}
	for _, item := range list {
		g.failure(item, sent)
	}
	if data, given := answer["data"]; given && data == nil && len(list) == 0 {
		g.wrong("nothing is said about why there is nothing", sent)
	}
	return res.StatusCode, answer, res.Header
}

// failure looks at an error.
func (g *graphFuzzer) failure(item any, sent string) {
	g.t.Helper()
	e, _ := item.(object)
	extensions, _ := e["extensions"].(object)
	code, _ := extensions["code"].(string)
	g.codes[code]++
	if message, _ := e["message"].(string); message == "" || code == "" || code == "INTERNAL" || extensions["trace_id"] == nil {
		g.wrong(fmt.Sprintf("an error without message, code or trace, or an internal one: %v", code), sent)
	}
}

// nonsense sends what is no document, or was one.
func (g *graphFuzzer) nonsense(who *fuzzCaller) {
	g.t.Helper()
	d := &document{graphFuzzer: g, values: object{}}
	g.who = who.name
	body, err := json.Marshal(object{"query": d.operation(g.schema.Query, nil), "variables": d.values})
	if err != nil {
		g.t.Fatal(err)
	}
	switch g.IntN(6) {
	case 0:
		body = body[:g.IntN(len(body))]
	case 1, 2:
		for range 1 + g.IntN(4) {
			body[g.IntN(len(body))] = byte(g.IntN(256))
		}
	case 3:
		from, to := g.IntN(len(body)), g.IntN(len(body))
		body = slices.Concat(body[:min(from, to)], body[max(from, to):])
	case 4:
		body = []byte(pick(g.Rand, []string{
			"", "null", "[]", "1", `""`, "{}", `[{"query":"{viewer{id}}"}]`, `{"query":null}`, `{"query":""}`, `{"query":"{}"}`,
			`{"query":"{viewer{id}}","query":"{viewer{id}}"}`, `{"query":"query($x:Int=1e99){viewer{id}}"}`, `{"query":"{viewer{id} ...F}fragment F on User{...F}"}`,
			`{"query":"subscription{notifications{cursor}}"}`, `{"query":"{viewer{id}}","variables":{"a":99999999999999999999999}}`,
			`{"query":"{node(id:99999999999999999999999){id}}"}`, `{"query":"{__schema{types{name}}}"}`, `{"query":"{a:__typename b:__type(name:\"\"){name}}"}`,
			`{"query":"{viewer{id}}","operationName":"` + strings.Repeat("x", 5000) + `"}`, "\xff\xfe", `{"query":"{\ud800}"}`, `{"query":"{viewer{id}}\u0000"}`,
		}))
	default:
		n := 1 + g.IntN(3000)
		body = []byte(`{"query":"` + pick(g.Rand, []string{
			strings.Repeat("{", n), strings.Repeat("a{", n), strings.Repeat("[", n), strings.Repeat("{viewer{id}}", n), "{" + strings.Repeat("a:viewer{id} ", n) + "}",
			"{viewer{id " + strings.Repeat("@skip(if:true)", n) + "}}", "{tasks(filter:" + strings.Repeat("[", n) + "){totalCount}}", "#" + strings.Repeat("x", n),
			`{node(id:\"` + strings.Repeat("x", n) + `\"){id}}`, "{" + strings.Repeat("...F ", n) + "}fragment F on Query{viewer{id}}",
		}) + `"}`)
	}
	g.post(who, body, g.IntN(8) == 0)
}

// document is a random one that is being written.
type document struct {
	*graphFuzzer

	wild      bool
	variables []string
	values    object
	fragments []string
	left      int  // fields that it may still get
	latest    bool // whether its ids are mostly of what was made last, and so belong together
}

func (d *document) mistake(oneIn int) bool { return d.wild && d.IntN(oneIn) == 0 }

func (d *document) operation(root *ast.Definition, only *ast.FieldDefinition) string {
	var set string
	if d.left = 40; only != nil {
		d.left, d.latest = 400, true
		set = "{ " + d.field(root, only, 0, true) + " }"
	} else {
		set = d.selections(root, 0, false)
	}
	kind := "query"
	if root == d.schema.Mutation {
		kind = "mutation"
	}
	declared := ""
	if len(d.variables) > 0 {
		declared = "(" + strings.Join(d.variables, ", ") + ")"
	}
	return fmt.Sprintf("%s Q%s %s\n%s", kind, declared, set, strings.Join(d.fragments, "\n"))
}

// selections is a selection set of the type; full has all that is not too deep.
func (d *document) selections(def *ast.Definition, depth int, full bool) string {
	parts := []string{"__typename"}
	if def.IsAbstractType() {
		for _, possible := range d.schema.GetPossibleTypes(def) {
			if full || d.IntN(2) == 0 {
				parts = append(parts, "... on "+possible.Name+" "+d.selections(possible, depth, false))
			}
		}
	}
	fields := slices.DeleteFunc(slices.Clone(def.Fields), func(f *ast.FieldDefinition) bool {
		leaf := d.schema.Types[f.Type.Name()].IsLeafType()
		return strings.HasPrefix(f.Name, "__") || depth >= 4 && !leaf
	})
	n := len(fields)
	if !full {
		n = 1 + d.IntN(min(4, len(fields)))
	}
	for i := range n {
		f := fields[i%len(fields)]
		if !full {
			f = pick(d.Rand, fields)
		}
		if d.left--; d.left < 0 {
			break
		}
		text := d.field(def, f, depth, full)
		switch {
		case full || d.IntN(6) > 0 || def == d.schema.Mutation:
		case d.IntN(2) == 0:
			text = fmt.Sprintf("... on %s%s { %s }", def.Name, d.directive(), text)
		default:
			name := fmt.Sprintf("F%d", len(d.fragments))
			d.fragments = append(d.fragments, fmt.Sprintf("fragment %s on %s { %s }", name, def.Name, text))
			text = "..." + name + d.directive()
		}
		parts = append(parts, text)
	}
	return "{ " + strings.Join(parts, " ") + " }"
}

func (d *document) directive() string {
	if d.IntN(4) > 0 {
		return ""
	}
	return fmt.Sprintf(" @%s(if: %s)", pick(d.Rand, []string{"skip", "include"}), d.given(ast.NonNullNamedType("Boolean", nil), d.IntN(2) == 0))
}

func (d *document) field(parent *ast.Definition, f *ast.FieldDefinition, depth int, full bool) string {
	var arguments []string
	for _, a := range f.Arguments {
		must := a.Type.NonNull && a.DefaultValue == nil
		switch {
		case must && !d.mistake(20):
		case a.Name == "first" && !d.mistake(4) && (full || d.IntN(2) == 0): // pages are short
		case must || full || d.IntN(4) > 0 || a.Name == "first" || a.Name == "last" && len(arguments) > 0 && !d.wild:
			continue
		}
		arguments = append(arguments, a.Name+": "+d.given(a.Type, d.value(f.Name, a.Name, a.Type, 0)))
	}
	// An alias for each, so that fields with other arguments do not meet.
	text := fmt.Sprintf("a%d: %s", d.left*7+d.IntN(7), f.Name)
	if full && len(f.Arguments) == 0 {
		text = f.Name
	}
	if d.mistake(60) {
		text += "x"
	}
	if len(arguments) > 0 {
		text += "(" + strings.Join(arguments, ", ") + ")"
	}
	if !full && parent != d.schema.Mutation {
		text += d.directive()
	}
	if def := d.schema.Types[f.Type.Name()]; !def.IsLeafType() {
		text += " " + d.selections(def, depth+1, full)
	}
	return text
}

// given writes a value into the document, or makes it a variable.
func (d *document) given(of *ast.Type, value any) string {
	if d.IntN(2) > 0 {
		return literal(value)
	}
	name := fmt.Sprintf("v%d", len(d.variables))
	d.variables = append(d.variables, fmt.Sprintf("$%s: %s", name, of))
	d.values[name] = value
	return "$" + name
}

// enum is the name of an enum's value.
type enum string

// literal writes a value as documents do.
func literal(value any) string {
	switch v := value.(type) {
	case enum:
		return string(v)
	case []any:
		parts := make([]string, len(v))
		for i, item := range v {
			parts[i] = literal(item)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case object:
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, name+": "+literal(v[name]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return "null"
		}
		return string(b)
	}
}

// value makes one of the type for the argument or field with the name, or one that is none.
func (d *document) value(owner, name string, of *ast.Type, depth int) any {
	if d.mistake(12) {
		return pick(d.Rand, []any{nil, true, 1.5, -1, "x", "", []any{}, object{}, int64(1) << 62, hostile(d.Rand), enum("NOPE")})
	}
	if of.Elem != nil {
		list := []any{}
		for range 1 + d.IntN(2) {
			list = append(list, d.value(owner, name, of.Elem, depth))
		}
		return list
	}
	def := d.schema.Types[of.NamedType]
	switch def.Kind { //nolint:exhaustive // values have no other kinds
	case ast.Enum:
		return enum(pick(d.Rand, def.EnumValues).Name)
	case ast.InputObject:
		made := object{}
		for _, f := range def.Fields {
			must := f.Type.NonNull && f.DefaultValue == nil
			if must && !d.mistake(20) || !must && d.IntN(4) == 0 && f.Name != "expectedVersion" && f.Name != "expiresAt" && f.Name != "active" && f.Name != "idempotencyKey" || d.mistake(8) {
				made[f.Name] = d.value(def.Name, f.Name, f.Type, depth+1)
			}
		}
		return made
	}
	switch def.Name {
	case "Int", "Int64":
		return 1 + d.IntN(4)
	case "Boolean":
		return d.IntN(2) == 0
	case "ID":
		return d.someID(owner, name)
	case "Date":
		return pick(d.Rand, []string{"2031-03-01", "2024-02-29", "0001-01-01", "9999-12-31"})
	case "DateTime":
		return pick(d.Rand, []string{"2031-03-01T10:00:00Z", "2024-02-29T23:59:59.999999999+14:00", "0001-01-01T00:00:00Z"})
	}
	return d.words(name)
}

func (d *document) words(name string) string {
	lower := strings.ToLower(name)
	switch {
	case strings.Contains(lower, "email"):
		if d.IntN(2) == 0 {
			return pick(d.Rand, d.callers[1:3]).email
		}
		return fmt.Sprintf("g%d@example.org", d.IntN(1000))
	case strings.Contains(lower, "password"):
		return passphrase
	case name == "after" || name == "before":
		if known := d.ids["cursor"]; len(known) > 0 {
			return text(pick(d.Rand, known))
		}
	case name == "types":
		return "session.created"
	case name == "refreshToken":
		if known := d.ids[d.who+"refresh_token"]; len(known) > 0 {
			return text(pick(d.Rand, known))
		}
	}
	return pick(d.Rand, []string{"Plan the week", "x", "Grüße an 小林さん 🌱", `Say "hi" \ to <b>`})
}

// someID gives the id of something that is there, if names say of what.
func (d *document) someID(owner, name string) any {
	noun := strings.TrimSuffix(strings.TrimSuffix(name, "Ids"), "Id")
	switch noun {
	case "parent", "after", "before":
		noun = "task"
	case "assignee", "creator", "author":
		noun = "user"
	case "id", "ids":
		noun = pick(d.Rand, []string{"task", "project", "comment", "user"})
		for _, n := range []string{"invitation", "session", "token", "comment", "project", "user", "task"} {
			if strings.Contains(strings.ToLower(owner), n) {
				noun = n
			}
		}
	}
	if strings.HasSuffix(owner, "UserInput") && d.IntN(2) == 0 { // what may be done to oneself
		for _, c := range d.callers {
			if id, ok := c.id.(float64); ok && c.name == d.who {
				return fmt.Sprint(int64(id))
			}
		}
	}
	known := d.ids[d.who+noun]
	if len(known) == 0 || d.IntN(8) == 0 {
		known = d.ids[noun]
	}
	if len(known) == 0 || d.IntN(12) == 0 {
		return fmt.Sprint(d.IntN(300))
	}
	some := pick(d.Rand, known)
	if d.latest && d.IntN(4) > 0 {
		some = known[len(known)-1] // of which the latest others are about
	}
	id := text(some)
	if strings.HasPrefix(owner, "node") {
		if regexp.MustCompile(`^\d+$`).MatchString(id) {
			id = base64.RawURLEncoding.EncodeToString([]byte(strings.ToUpper(noun[:1]) + noun[1:] + ":" + id))
		}
	}
	return id
}

// fit holds an answer against the schema and the document.
type fit struct {
	*graphFuzzer

	variables object
	fields    int
	wrong     []string
}

func (c *fit) say(at, format string, args ...any) {
	c.wrong = append(c.wrong, regexp.MustCompile(`a\d+|\[\d+\]`).ReplaceAllString(at, "*")+": "+fmt.Sprintf(format, args...))
}

// object checks one, of which the selection sets were asked for.
func (c *fit) object(def *ast.Definition, sets []ast.SelectionSet, got object, at string) {
	if def.IsAbstractType() {
		name, _ := got["__typename"].(string)
		possible := c.schema.GetPossibleTypes(def)
		i := slices.IndexFunc(possible, func(p *ast.Definition) bool { return p.Name == name })
		if i < 0 {
			c.say(at, "%q is no %s", name, def.Name)
			return
		}
		def = possible[i]
	}
	asked := map[string][]*ast.Field{}
	for _, set := range sets {
		c.collect(def, set, asked)
	}
	for key := range got {
		if asked[key] == nil {
			c.say(at, "%s was not asked for", key)
		}
	}
	for key, fields := range asked {
		value, ok := got[key]
		if !ok {
			c.say(at, "%s is missing", key)
			continue
		}
		if def.Name != "UserError" { // as many as the input has mistakes, which is no matter of the price
			c.fields++
		}
		f := fields[0]
		if f.Name == "__typename" {
			if value != def.Name {
				c.say(at, "__typename is %v, want %s", value, def.Name)
			}
			continue
		}
		c.reached[def.Name+"."+f.Name] = true
		c.note(def, f.Name, value)
		inner := make([]ast.SelectionSet, len(fields))
		for i, f := range fields {
			inner[i] = f.SelectionSet
		}
		c.value(f.Definition.Type, inner, value, at+"."+f.Name)
	}
}

// note remembers what other requests can use.
func (c *fit) note(def *ast.Definition, field string, value any) {
	switch {
	case field == "id" && strings.HasSuffix(def.Name, "Token"):
		c.remember("token", value)
	case field == "id":
		c.remember(strings.ToLower(def.Name), value)
	case field == "cursor" || field == "refreshToken":
		c.remember(map[string]string{"cursor": "cursor", "refreshToken": "refresh_token"}[field], value)
	}
}

// collect gathers the fields that the selection set has for the type, by the names that they have in the answer.
func (c *fit) collect(def *ast.Definition, set ast.SelectionSet, into map[string][]*ast.Field) {
	applies := func(condition string) bool {
		return condition == "" || condition == def.Name || slices.Contains(c.schema.GetPossibleTypes(c.schema.Types[condition]), def)
	}
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			if c.included(s.Directives) {
				into[s.Alias] = append(into[s.Alias], s)
			}
		case *ast.InlineFragment:
			if c.included(s.Directives) && applies(s.TypeCondition) {
				c.collect(def, s.SelectionSet, into)
			}
		case *ast.FragmentSpread:
			if c.included(s.Directives) && applies(s.Definition.TypeCondition) {
				c.collect(def, s.Definition.SelectionSet, into)
			}
		}
	}
}

func (c *fit) included(list ast.DirectiveList) bool {
	for _, d := range list {
		if is, _ := d.ArgumentMap(c.variables)["if"].(bool); is == (d.Name == "skip") {
			return false
		}
	}
	return true
}

func (c *fit) value(of *ast.Type, sets []ast.SelectionSet, got any, at string) {
	if got == nil {
		if of.NonNull {
			c.say(at, "null, which %s is never", of)
		}
		return
	}
	if of.Elem != nil {
		list, ok := got.([]any)
		if !ok {
			c.say(at, "%v is no list", got)
		}
		for _, item := range list {
			c.value(of.Elem, sets, item, at)
		}
		return
	}
	def := c.schema.Types[of.NamedType]
	if !def.IsLeafType() {
		if o, ok := got.(object); ok {
			c.object(def, sets, o, at)
		} else {
			c.say(at, "%v is no object", got)
		}
		return
	}
	text, isText := got.(string)
	number, isNumber := got.(float64)
	_, isBool := got.(bool)
	fits := map[string]bool{
		"Int": isNumber && number == float64(int32(number)), "Int64": isNumber && number == float64(int64(number)), "Float": isNumber,
		"Boolean": isBool, "String": isText, "ID": isText && text != "",
		"Date":     regexp.MustCompile(`^\d{4}-\d\d-\d\d$`).MatchString(text),
		"DateTime": regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$`).MatchString(text),
	}[def.Name]
	if def.Kind == ast.Enum {
		fits = isText && def.EnumValues.ForName(text) != nil
	}
	if !fits {
		c.say(at, "%v is no %s", got, def.Name)
	}
}
