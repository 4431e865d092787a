package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/trackway/trackway/tools/system"
)

const (
	fuzzTime     = 45 * time.Second
	fuzzRounds   = 200 // requests to each operation at most
	passphrase   = "twelve green bottles"
	fuzzFindings = 60 // told at most
)

// leak is text that only the inside of a server speaks. No generated value has it.
var leak = regexp.MustCompile(`(?i)SQLSTATE|\bpgx?:|\bbun:|goroutine \d|\.go:\d+|runtime error|panic:|nil pointer|` +
	`invalid memory|rpc error|proto: |redis: |dial tcp|context deadline|context canceled|syntax error at|` +
	`violates .* constraint|relation "|of type \w+\.\w+|\*?\w+v1\.\w+`)

// Every operation of the served OpenAPI document is sent one request that must succeed, and then requests that are
// valid, nearly so and not at all, by everybody. Whatever they get must be documented, have the documented schema, and
// tell nothing of the inside. The seed is logged; TRACKWAY_FUZZ_SEED repeats it.
func TestEveryAnswerToGeneratedRequestsIsAsDocumented(t *testing.T) {
	t.Parallel()
	p := start(t, dataDir(t))
	f := newFuzzer(t, p)
	f.recipes(p)
	deadline := time.Now().Add(fuzzTime)
	operations := f.spec.operations()
	for round := 0; round < fuzzRounds && time.Now().Before(deadline); round++ {
		f.comeBack()
		if round%8 == 0 {
			f.furnish()
		}
		for _, op := range operations {
			f.one(op)
		}
	}
	var never []string
	for _, op := range operations {
		if !f.succeeded(op) && !elsewhere(op) {
			never = append(never, fmt.Sprintf("%s is answered with %v", op.id, f.statuses[op.id]))
		}
	}
	if len(never) > 0 {
		t.Errorf("these operations never succeed; recipes_test.go has no request for them:\n%s", strings.Join(never, "\n"))
	}
	t.Logf("%d requests to %d operations", f.sent, len(operations))
	for _, signature := range slices.Sorted(maps.Keys(f.findings)) {
		t.Errorf("%s", f.findings[signature])
	}
}

// elsewhere says whether the operation needs a provider of identities, which tools/access has.
func elsewhere(op operation) bool { return op.id == "exchangeIdToken" || op.id == "exchangeCode" }

// fuzzer sends what it makes up as several callers.
type fuzzer struct {
	*rand.Rand

	t        *testing.T
	spec     *spec
	client   *client
	callers  []*fuzzCaller
	who      string // sends now
	admin    int64
	ids      map[string][]any // of what exists, by the parameter or field that takes them
	sent     int
	statuses map[string]map[int]int // by operation
	findings map[string]string
}

// fuzzCaller is somebody who may lose his account and get another.
type fuzzCaller struct {
	name            string
	email, password string
	token           string
	id              any
	accounts        int
}

func newFuzzer(t *testing.T, p *program) *fuzzer {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("TRACKWAY_FUZZ_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("TRACKWAY_FUZZ_SEED=%d", seed)
	password, err := os.ReadFile(filepath.Join(p.dir, "admin-password"))
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, p.url)
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &fuzzer{
		Rand: rand.New(rand.NewPCG(seed, 0)), t: t, spec: readSpec(t, p.url), client: c,
		callers: []*fuzzCaller{
			{name: "nobody"},
			{name: "member"},
			{name: "stranger"},
			{name: "admin", email: system.AdminEmail, password: strings.TrimSpace(string(password))},
		},
		ids: map[string][]any{}, statuses: map[string]map[int]int{}, findings: map[string]string{},
	}
}

// comeBack signs in who is signed in no longer, with a new account if need be.
func (f *fuzzer) comeBack() {
	f.t.Helper()
	for _, who := range f.callers {
		if who.name == "nobody" {
			continue
		}
		f.client.token = who.token
		if a, err := f.client.try(f.t.Context(), http.MethodGet, "/api/users/me/", nil); err != nil {
			f.t.Fatal(err)
		} else if who.token != "" && a.status == http.StatusOK {
			continue
		}
		f.client.token = ""
		if who.name != "admin" {
			who.accounts++
			who.password = passphrase
			who.email = fmt.Sprintf("%s-%d@example.org", who.name, who.accounts)
			a := f.client.do(http.StatusCreated, http.MethodPost, "/api/auth/register/",
				object{"name": who.name, "email": who.email, "password": who.password})
			who.id = as[object](f.t, a.body)["id"]
		}
		a := f.client.do(http.StatusOK, http.MethodPost, "/api/auth/login/", object{"email": who.email, "password": who.password})
		f.client.token = as[string](f.t, as[object](f.t, a.body)["access_token"])
		who.token = f.client.token
		f.who = who.name
		f.learn("/api/auth/login/", a.body)
		if who.name == "admin" {
			f.admin = int64(as[float64](f.t, f.client.get("/api/users/me/")["id"]))
		}
	}
}

// furnish gives the member something to work with, and a colleague.
func (f *fuzzer) furnish() {
	f.t.Helper()
	member, stranger := f.callers[1], f.callers[2]
	f.client.token, f.who = member.token, member.name
	// One whose session was ended a moment ago may be refused, since the services learn it one after the other: the
	// next round brings him back.
	create := func(path string, body object) any {
		a, err := f.client.try(f.t.Context(), http.MethodPost, path, body)
		if err != nil {
			f.t.Fatal(err)
		}
		made, _ := a.body.(object)
		if a.status != http.StatusCreated {
			return 0
		}
		f.learn(path, made)
		return made["id"]
	}
	project := create("/api/projects/", object{"name": "Fuzz"})
	create(path("/api/projects/%d/members/", project), object{"user_id": stranger.id, "role": "member"})
	for range 2 { // one can go ahead of the other
		task := create("/api/tasks/", object{"project_id": project, "title": "Fuzz"})
		create("/api/comments/", object{"task_id": task, "body": "Fuzz"})
	}
	if a, err := f.client.try(f.t.Context(), http.MethodGet, "/api/users/me/sessions/", nil); err == nil && a.status == http.StatusOK {
		f.learn("/api/users/me/sessions/", a.body)
	}
}

// succeeded says whether the operation has done what it is for.
func (f *fuzzer) succeeded(op operation) bool {
	return slices.ContainsFunc(slices.Collect(maps.Keys(f.statuses[op.id])), success)
}

// one sends a request to the operation and looks at the answer.
func (f *fuzzer) one(op operation) {
	f.t.Helper()
	f.send(op, f.callers[min(len(f.callers)-1, f.IntN(2*len(f.callers)-1)/2)], f.IntN(2) == 0)
}

// send sends a request of somebody's to the operation. One that is not wild has no mistakes that the document knows of.
func (f *fuzzer) send(op operation, who *fuzzCaller, wild bool) {
	f.t.Helper()
	f.who = who.name
	req, sent := f.request(op, who, wild)
	own := regexp.MustCompile(fmt.Sprintf(`^/api/(auth/|users/(me|%d)(/|$))`, f.admin))
	if who.name == "admin" && own.MatchString(req.URL.Path) && op.method != http.MethodGet {
		return // nobody else could make him an admin again
	}
	f.exchange(op, req, sent)
}

// exchange sends a request to the operation and looks at the answer. The status is 0 when there is none.
func (f *fuzzer) exchange(op operation, req *http.Request, sent string) (status int, value any) {
	f.t.Helper()
	res, err := f.client.http.Do(req)
	if err != nil {
		f.found(op, "no answer", err.Error(), sent)
		return 0, nil
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		f.found(op, "no whole answer", err.Error(), sent)
		return 0, nil
	}
	f.sent++
	if f.statuses[op.id] == nil {
		f.statuses[op.id] = map[int]int{}
	}
	f.statuses[op.id][res.StatusCode]++
	sent += fmt.Sprintf("\nas %s got %s %s\n%.600q", f.who, res.Status, res.Header.Get("Content-Type"), body)
	if wrong := f.spec.check(op, req.Method == http.MethodHead, res.StatusCode, res.Header, body); wrong != "" {
		f.found(op, fmt.Sprint(res.StatusCode, strings.SplitN(wrong, ":", 2)[0]), wrong, sent)
	}
	if found := leak.Find(body); found != nil {
		f.found(op, "leak", fmt.Sprintf("the answer says %q", found), sent)
	}
	if res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Cache-Control") == "" {
		f.found(op, "headers", "nosniff or Cache-Control is missing", sent)
	}
	if json.Unmarshal(body, &value) == nil && res.StatusCode < 300 {
		f.learn(op.path, value)
	}
	return res.StatusCode, value
}

func (f *fuzzer) found(op operation, kind, what, sent string) {
	if signature := op.id + kind; f.findings[signature] == "" && len(f.findings) < fuzzFindings {
		f.findings[signature] = fmt.Sprintf("%s: %s\n%s\n", op.id, what, sent)
	}
}

func success(status int) bool { return status < http.StatusBadRequest }

// learn remembers the ids of what was answered.
func (f *fuzzer) learn(path string, value any) {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			f.learn(path, item)
		}
	case object:
		nouns := map[string]string{"user_id": "user", "project_id": "project", "task_id": "task", "parent_id": "task"}
		for field, of := range nouns {
			f.remember(of, v[field])
		}
		f.remember("refresh_token", v["refresh_token"])
		if of := noun(path); of != "" {
			f.remember(of, v["id"])
		}
	}
}

// noun is what a path is about: the last of its parts that is a plural.
func noun(path string) string {
	parts := strings.Split(path, "/")
	for _, part := range slices.Backward(parts) {
		if one, ok := strings.CutSuffix(part, "s"); ok {
			return one
		}
	}
	return ""
}

func (f *fuzzer) remember(noun string, id any) {
	switch v := id.(type) {
	case nil:
		return
	case float64:
		id = int64(v)
	}
	for _, of := range []string{noun, f.who + noun} {
		if !slices.Contains(f.ids[of], id) {
			f.ids[of] = append(f.ids[of], id)
			f.ids[of] = f.ids[of][max(0, len(f.ids[of])-6):] // the latest are most likely to be there still
		}
	}
}

// id gives one that exists, if the name of a field or parameter says of what.
func (f *fuzzer) id(name, path string) (any, bool) {
	noun := ""
	switch name {
	case "user_id", "assignee_id", "owner_id", "assignee", "creator", "author", "user":
		noun = "user"
	case "project_id", "project":
		noun = "project"
	case "task_id", "task", "parent_id", "parent", "after_id", "before_id":
		noun = "task"
	case "session_id":
		noun = "session"
	case "refresh_token":
		noun = name
	case "id":
		noun, _, _ = strings.Cut(path, "/{id}")
		noun = strings.TrimSuffix(noun[strings.LastIndex(noun, "/")+1:], "s")
	}
	known := f.ids[f.who+noun] // what the caller himself has seen
	if len(known) == 0 || f.IntN(6) == 0 {
		known = f.ids[noun]
	}
	if len(known) > 0 && f.IntN(12) > 0 {
		return known[f.IntN(len(known))], true
	}
	return nil, false
}

// request makes one up, and tells what it is. Most wild ones have one or more mistakes.
func (f *fuzzer) request(op operation, who *fuzzCaller, wild bool) (_ *http.Request, told string) {
	f.t.Helper()
	g := generator{fuzzer: f, path: op.path, wild: wild}
	target, query, header := op.path, []string{}, http.Header{}
	for _, p := range op.parameters {
		name, schema := as[string](f.t, p["name"]), as[object](f.t, p["schema"])
		switch in := p["in"]; {
		case in == "path":
			target = strings.ReplaceAll(target, "{"+name+"}", url.PathEscape(text(g.value(name, schema, 0))))
		case p["required"] != true && f.IntN(4) > 0:
		case in == "header":
			header.Set(name, headerValue(text(g.value(name, schema, 0))))
		default:
			query = append(query, name+"="+url.QueryEscape(text(g.value(name, schema, 0))))
		}
	}
	if g.mistake(10) {
		query = append(query, pick(f.Rand, []string{
			"nope=1", "limit=", "=", "%zz", "a;b", "limit=1&limit=2", "%00=1", "q=%ff",
			"id[]=1", "LIMIT=1", strings.Repeat("x", 3000) + "=1",
		}))
	}
	var body []byte
	if op.body != nil {
		mediaType := pick(f.Rand, slices.Sorted(maps.Keys(op.body)))
		schema := as[object](f.t, as[object](f.t, op.body[mediaType])["schema"])
		body = g.body(schema)
		if g.mistake(15) {
			mediaType = pick(f.Rand, []string{
				"text/plain", "", "application/json; charset=latin1", "application/xml", "a/b/c",
				"application/json; charset=utf-8", "multipart/form-data; boundary=x",
			})
		}
		header.Set("Content-Type", mediaType)
	} else if g.mistake(15) {
		body = []byte(`{"a":1}`)
	}
	for name, values := range map[string][]string{
		"Accept":   {"*/*", "application/json", "text/html", "application/*;q=0.5", "a", "application/json;q=0", "text/*, */*;q=0.1"},
		"If-Match": {`"1"`, `"2"`, "*", `W/"1"`, `"x"`, "1", `"1", "2"`, `""`}, "If-None-Match": {`"1"`, "*", `W/"1"`, "x", `"a", "b"`},
		"Idempotency-Key":  {"a", "b", "c", "d e", strings.Repeat("k", 255), strings.Repeat("k", 256), " ", "é"},
		"Content-Encoding": {"gzip", "identity", "x"}, "Accept-Encoding": {"identity", "x", ";;q=2"},
		"Origin":       {"https://evil.example", "null"},
		"X-Request-Id": {"abc", strings.Repeat("r", 500), "a\tb"}, "Range": {"bytes=0-1"}, "Expect": {"100-continue"},
		"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "junk"}, "X-HTTP-Method-Override": {"DELETE"},
		"Authorization": {"Bearer", "Bearer x.y.z", "Basic YTpi", "bearer  x", "Bearer " + strings.Repeat("A", 9000)},
	} {
		// The map's order is not the seed's: each header has its own dice.
		dice := rand.New(rand.NewPCG(f.seedOf(name), uint64(f.sent)))
		if g.wild && dice.IntN(25) == 0 {
			header.Set(name, pick(dice, values))
		}
	}
	method := op.method
	if method == http.MethodGet && f.IntN(12) == 0 {
		method = http.MethodHead
	}
	address := f.client.url + target
	if len(query) > 0 {
		address += "?" + strings.Join(query, "&")
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(f.t.Context()), method, address, bytes.NewReader(body))
	if err != nil {
		f.t.Fatalf("%s %q: %v", method, address, err)
	}
	if header.Get("Authorization") == "" && who.token != "" {
		header.Set("Authorization", "Bearer "+who.token)
	}
	req.Header = header
	shown := header.Clone()
	if len(shown.Get("Authorization")) > 60 {
		shown.Set("Authorization", "…")
	}
	return req, fmt.Sprintf("%s %.400s %v\n%.600q", method, req.URL.RequestURI(), shown, body)
}

func (f *fuzzer) seedOf(name string) (sum uint64) {
	for _, r := range name {
		sum = sum*31 + uint64(r)
	}
	return sum
}

// generator makes up the values of one request. One that is not wild makes only what the schema allows.
type generator struct {
	*fuzzer

	path string
	wild bool
}

// mistake says whether to make one, here.
func (g generator) mistake(oneIn int) bool { return g.wild && g.IntN(oneIn) == 0 }

func (g generator) body(schema object) []byte {
	b, err := json.Marshal(g.value("", schema, 0))
	if err != nil {
		// An unpaired surrogate or a NUL: what Go can not write stands in the raw ones below.
		b = []byte(`{"title":"\ud800"}`)
	}
	if !g.mistake(6) {
		return b
	}
	switch g.IntN(9) {
	case 0:
		return b[:g.IntN(len(b)+1)]
	case 1:
		b[g.IntN(len(b))] = byte(g.IntN(256))
		return b
	case 2:
		return append(b, b...)
	case 3:
		return []byte(strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000))
	case 4:
		return []byte(`{"title":"a","title":"b"}`)
	case 5:
		return []byte(pick(g.Rand, []string{"null", "[]", "1", `""`, "{}", "true", "{\"a\":1e999}", "\xef\xbb\xbf{}", "{\"\xff\":1}"}))
	case 6:
		return []byte(`{"name":"\ud800","title":"\udfff","body":"\u0000","description":"\u0000"}`)
	case 7:
		return []byte(strings.Repeat(" ", 70000))
	default:
		return []byte(`{"id":1,"version":9,"creator_id":1,"Title":"x","__proto__":{},"role":"admin"}`)
	}
}

// value makes one of the schema, or one that is none.
func (g generator) value(name string, schema object, depth int) any {
	schema, _ = g.spec.resolve(schema, "")
	if g.mistake(12) {
		return pick(g.Rand, []any{nil, true, 1.5, -1, "x", "", []any{}, object{}, []any{nil}, int64(1) << 62, hostile(g.Rand)})
	}
	for _, one := range []string{"oneOf", "anyOf", "allOf"} {
		if list, ok := schema[one].([]any); ok && len(list) > 0 {
			return g.value(name, as[object](g.t, pick(g.Rand, list)), depth)
		}
	}
	if enum, ok := schema["enum"].([]any); ok {
		return pick(g.Rand, enum)
	}
	kind, _ := schema["type"].(string)
	if kinds, ok := schema["type"].([]any); ok && len(kinds) > 0 {
		kind = as[string](g.t, pick(g.Rand, kinds))
	}
	switch kind {
	case "object":
		return g.object(schema, depth)
	case "array":
		items, _ := schema["items"].(object)
		least, most := bound(schema, "minItems", 0), bound(schema, "maxItems", 3)
		list := []any{}
		for range min(most, least+g.IntN(3)) {
			list = append(list, g.value(name, items, depth+1))
		}
		return list
	case "integer", "number":
		if id, ok := g.id(name, g.path); ok {
			return id
		}
		least, most := bound(schema, "minimum", -1<<53), bound(schema, "maximum", 1<<53)
		return pick(g.Rand, []any{least, most, least + 1, min(most, max(least, g.IntN(20))), min(most, max(least, g.IntN(100000)))})
	case "boolean":
		return g.IntN(2) == 0
	case "null":
		return nil
	default:
		return g.text(name, schema)
	}
}

func (g generator) object(schema object, depth int) object {
	made := object{}
	properties, _ := schema["properties"].(object)
	required, _ := schema["required"].([]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		must := slices.Contains(required, any(name))
		if must && !g.mistake(20) || !must && g.IntN(3) == 0 && depth < 4 {
			made[name] = g.value(name, as[object](g.t, properties[name]), depth+1)
		}
	}
	if g.mistake(15) {
		made[pick(g.Rand, []string{"nope", "ID", "id", "version", "created_at", "__proto__", ""})] = hostile(g.Rand)
	}
	return made
}

func (g generator) text(name string, schema object) string {
	if id, ok := g.id(name, g.path); ok {
		return text(id)
	}
	least, most := bound(schema, "minLength", 0), bound(schema, "maxLength", 80)
	if g.mistake(8) {
		return pick(g.Rand, []string{hostile(g.Rand), strings.Repeat("ä", most+1), strings.Repeat("x", max(0, least-1))})
	}
	switch schema["format"] {
	case "date":
		return pick(g.Rand, []string{"2031-03-01", "2024-02-29", "0001-01-01", "9999-12-31", "1970-01-01"})
	case "date-time":
		return pick(g.Rand, []string{
			"2031-03-01T10:00:00Z", "2024-02-29T23:59:59.999999999+14:00", "0001-01-01T00:00:00Z",
			"9999-12-31T23:59:59Z", "2024-06-30T12:00:00-12:00",
		})
	case "email":
		if g.IntN(2) == 0 {
			return pick(g.Rand, g.callers[1:]).email
		}
		return fmt.Sprintf("u%d@example.org", g.IntN(200))
	}
	pattern, _ := schema["pattern"].(string)
	if pattern != "" && pattern != `^[\s\S]*$` {
		if tree, err := syntax.Parse(pattern, syntax.Perl); err == nil {
			made := g.matching(tree.Simplify())
			return made[:min(len(made), most)]
		}
	}
	if name == "password" || strings.HasSuffix(name, "_password") {
		return passphrase
	}
	made := pick(g.Rand, []string{"Plan the week", "x", "Say \"hi\" \\ to <b> & 'c'", strings.Repeat("m", most), "Grüße an 小林さん 🌱", passphrase})
	for len([]rune(made)) < least {
		made += "y"
	}
	runes := []rune(made)
	return string(runes[:min(len(runes), most)])
}

// matching makes a text that the expression matches.
func (g generator) matching(e *syntax.Regexp) string {
	var b strings.Builder
	switch e.Op {
	case syntax.OpLiteral:
		return string(e.Rune)
	case syntax.OpCharClass:
		i := g.IntN(len(e.Rune)/2) * 2
		low, high := e.Rune[i], min(e.Rune[i+1], e.Rune[i]+90)
		return string(low + rune(g.IntN(int(high-low)+1)))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return string(rune('!' + g.IntN(90)))
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range e.Sub {
			b.WriteString(g.matching(sub))
		}
	case syntax.OpAlternate:
		return g.matching(pick(g.Rand, e.Sub))
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		least := map[syntax.Op]int{syntax.OpPlus: 1, syntax.OpRepeat: e.Min}[e.Op]
		more := 6
		if e.Op == syntax.OpQuest {
			more = 2
		}
		for range least + g.IntN(more) {
			b.WriteString(g.matching(e.Sub[0]))
		}
	default: // positions, which have no text
	}
	return b.String()
}

// hostile gives a text that has broken some program.
func hostile(r *rand.Rand) string {
	return pick(r, []string{
		"", " ", "\x00", "a\x00b", "\u202eabc", "\ufeff", "\ufffe", "𝕳𝖎", "e\u0301", "ﷺ", "İı", "\r\n\t", "\\", "'", `"`, "`",
		"'; DROP TABLE tasks; --", "1 OR 1=1", "%", "_", "%s%n%d", "${jndi:ldap://x}", "{{7*7}}", "<script>alert(1)</script>",
		"../../etc/passwd", "/", "?", "#", "null", "NaN", "Infinity", "-0", "1e400", "0x10", "true", "undefined", "[object Object]",
		"9223372036854775807", "9223372036854775808", "-9223372036854775809", "2024-02-30", "0000-00-00", "2024-13-01T00:00:00Z",
		":*", "a & b | !c", "((((", "'a':*", "a" + strings.Repeat("\u0300", 300), strings.Repeat("🌱", 300), strings.Repeat("x ", 2000),
		"{", "[1", "me", "none", "-", "-id,-id", ",", "a.W10", "b.AAAA", "a.bnVsbA",
	})
}

func bound(schema object, name string, otherwise int) int {
	if f, ok := schema[name].(float64); ok {
		return int(f)
	}
	return otherwise
}

// text writes a value as it stands in a path, a query or a header.
func text(value any) string {
	switch v := value.(type) {
	case []any:
		parts := make([]string, len(v))
		for i, item := range v {
			parts[i] = text(item)
		}
		return strings.Join(parts, ",")
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// headerValue leaves out what can not be sent in a header.
func headerValue(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }
