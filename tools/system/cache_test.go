package system

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// door is the REST API, for the people of a test.
type door struct {
	*testing.T

	url    string
	tokens map[string]string // by name
	ids    map[string]int64
	calls  atomic.Int64 // RPCs that the services have served
	called sync.Map     // their methods
	others atomic.Int64 // queries that nobody has sent before
	timing string       // of the last answer
}

// reply is what an answer says; all but its date, its id and what is left of the rate limit.
type reply struct {
	Status int
	Header map[string]string
	Body   string
}

func openDoor(t *testing.T) *door {
	t.Helper()
	d := &door{T: t, tokens: map[string]string{}, ids: map[string]int64{}}
	s := start(t, dataDir(t), Options{Environ: map[string]string{"GRAPHQL_BUDGET": "0", "RATE_LIMIT": "1000000"}, Calls: []grpc.UnaryServerInterceptor{d.count}})
	d.url = s.URL
	password, err := os.ReadFile(s.AdminPassword)
	if err != nil {
		t.Fatal(err)
	}
	d.signIn("admin", AdminEmail, strings.TrimSpace(string(password)))
	for _, name := range []string{"owner", "member", "viewer", "stranger"} {
		email := name + "@example.org"
		d.do("", http.MethodPost, "/api/auth/register/", fmt.Sprintf(`{"name": %q, "email": %q, "password": "correct horse"}`, name, email))
		d.signIn(name, email, "correct horse")
	}
	return d
}

// count counts the calls that are made for a request; the others are made all the time.
func (d *door) count(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if !strings.HasSuffix(info.FullMethod, "/ListRevocations") && !strings.HasSuffix(info.FullMethod, "/GetKeys") {
		d.calls.Add(1)
		d.called.Store(info.FullMethod, true)
	}
	return next(ctx, req)
}

func (d *door) signIn(name, email, password string) {
	d.Helper()
	var got struct {
		AccessToken string `json:"access_token"`
		User        struct{ ID int64 }
	}
	d.decode(d.do("", http.MethodPost, "/api/auth/login/", fmt.Sprintf(`{"email": %q, "password": %q}`, email, password)), &got)
	d.tokens[name], d.ids[name] = got.AccessToken, got.User.ID
}

// send sends a request, and fails the test only if there is no answer.
func (d *door) send(name, method, path, body string, headers ...string) reply {
	d.Helper()
	req, err := http.NewRequestWithContext(d.Context(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		d.Fatal(err)
	}
	if name != "" {
		req.Header.Set("Authorization", "Bearer "+d.tokens[name])
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.Fatal(err)
	}
	r := reply{Status: res.StatusCode, Header: map[string]string{}, Body: string(b)}
	for name := range res.Header {
		switch name {
		case "Date", "X-Request-Id", "Ratelimit", "Ratelimit-Policy":
		case "Server-Timing":
			d.timing = res.Header.Get(name)
		default:
			r.Header[name] = strings.Join(res.Header[name], ", ")
		}
	}
	if res.StatusCode >= http.StatusBadRequest { // the trace and the request in the body differ
		r.Body, r.Header = "", nil
	}
	return r
}

// do does what must succeed.
func (d *door) do(name, method, path, body string, headers ...string) reply {
	d.Helper()
	r := d.send(name, method, path, body, headers...)
	if r.Status >= http.StatusBadRequest {
		d.Fatalf("%s %s %s by %s: got %d", method, path, body, name, r.Status)
	}
	return r
}

func (d *door) decode(r reply, into any) {
	d.Helper()
	if err := json.Unmarshal([]byte(r.Body), into, json.MatchCaseInsensitiveNames(true)); err != nil {
		d.Fatalf("%v: %s", err, r.Body)
	}
}

// made has the owner make a thing, and gives the thing's id.
func (d *door) made(path, body string) int64 {
	d.Helper()
	var got struct{ ID int64 }
	d.decode(d.do("owner", http.MethodPost, path, body), &got)
	return got.ID
}

// read reads through the cache, if it has the answer; direct never does: nobody else writes this header or this query so.
// A path that begins with a brace is a GraphQL query.
func (d *door) read(name, path string) reply {
	if strings.HasPrefix(path, "{") {
		return d.query(name, path)
	}
	return d.send(name, http.MethodGet, path, "")
}

func (d *door) direct(name, path string) reply {
	if strings.HasPrefix(path, "{") {
		return d.query(name, fmt.Sprintf("%s # %d", path, d.others.Add(1)))
	}
	return d.send(name, http.MethodGet, path, "", "Accept", "application/json;q=0.9")
}

// query sends a GraphQL query.
func (d *door) query(name, query string) reply {
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		d.Fatal(err)
	}
	r := d.send(name, http.MethodPost, "/graphql", string(body))
	r.Body = regexp.MustCompile(`"extensions":\{[^{}]*("code":"[A-Z_]*")[^{}]*\}`).ReplaceAllString(r.Body, "$1") // traces differ
	delete(r.Header, "Content-Length")
	return r
}

// hits reports whether the request is answered from the cache.
func (d *door) hits(name, path string) bool {
	before := d.calls.Load()
	d.read(name, path)
	return d.calls.Load() == before
}

func (d *door) awaitHit(name, path string) {
	d.Helper()
	deadline := time.After(startTimeout)
	for !d.hits(name, path) {
		select {
		case <-deadline:
			d.Fatalf("%s is never answered from the cache", path)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// After each kind of write, everybody reads from the cache what they read from the services.
func TestTheCacheNeverDiffersFromTheServices(t *testing.T) {
	t.Parallel()
	d := openDoor(t)
	var (
		project = d.made("/api/projects/", `{"name": "Apollo"}`)
		in      = fmt.Sprintf("/api/projects/%d/", project)
		join    = func(name, role string) {
			d.do("owner", http.MethodPost, in+"members/", fmt.Sprintf(`{"user_id": %d, "role": %q}`, d.ids[name], role))
		}
		task    = d.made(in+"tasks/", `{"title": "First"}`)
		second  = d.made(in+"tasks/", `{"title": "Second"}`)
		at      = fmt.Sprintf("/api/tasks/%d/", task)
		comment = d.made(at+"comments/", `{"body": "Hello"}`)
		on      = fmt.Sprintf("/api/comments/%d/", comment)
		member  = fmt.Sprintf("%smembers/%d/", in, d.ids["member"])
	)
	join("member", "member")
	join("viewer", "viewer")
	d.do("", http.MethodPost, "/api/auth/register/", `{"name": "guest", "email": "guest@example.org", "password": "correct horse"}`)
	d.signIn("guest", "guest@example.org", "correct horse")
	delete(d.tokens, "guest") // who is about to lose the account, and reads nothing
	guest := fmt.Sprintf("/api/users/%d/", d.ids["guest"])
	paths := []string{
		at, at + "?fields=title,status", at + "comments/", at + "comments/?ordering=-id&limit=1",
		in, "/api/projects/", "/api/projects/?role=member", in + "members/",
		in + "tasks/", in + "tasks/?status=todo&limit=1&count=true", in + "tasks/?status=done", in + "tasks/?status=todo&status=in_progress",
		in + "tasks/?completed=true", fmt.Sprintf("/api/tasks/?status=in_progress&ordering=-position&project=%d", project),
		fmt.Sprintf("/api/tasks/?project=%d&assignee=me", project),
		fmt.Sprintf("/api/tasks/?project=%d&search=fir&ordering=-updated_at", project),
		fmt.Sprintf("/api/users/%d/", d.ids["member"]), guest,
		`{ users(first: 20) { nodes { name role active } } }`,
		`{ viewer { name } projects(first: 5) { nodes { name archivedAt members(first: 5) { nodes { role user { name } } }
			tasks(first: 5) { nodes { title status assignee { name } comments(first: 3) { nodes { body author { name } } } } } } } }`,
		fmt.Sprintf(`{ task(id: %d) { title project { name } subtasks(first: 2) { nodes { title } } comments(first: 2) { nodes { body } } } }`, task),
		fmt.Sprintf(`{ project(id: %d) { name visibility owner { name } tasks(first: 2, filter: {statuses: [TODO]}) { nodes { title } } } }`, project),
	}
	patch := func(name, path, body string) func() {
		return func() { d.do(name, http.MethodPatch, path, body) }
	}
	post := func(name, path, body string) func() {
		return func() { d.do(name, http.MethodPost, path, body) }
	}
	remove := func(name, path string) func() {
		return func() { d.do(name, http.MethodDelete, path, "") }
	}
	writes := []struct {
		name string
		do   func()
	}{
		{"nothing", func() {}},
		{"a task is made", post("member", in+"tasks/", `{"title": "Third"}`)},
		{"a task changes", patch("member", at, `{"title": "Fir tree", "labels": ["a"]}`)},
		{"a task is done", patch("member", at, `{"completed": true}`)},
		{"a done task changes", patch("member", at, `{"title": "First"}`)},
		{"a done task is begun again, said twice", patch("owner", at, `{"status": "in_progress", "completed": false}`)},
		{"a task is assigned", patch("owner", at, fmt.Sprintf(`{"assignee_id": %d}`, d.ids["member"]))},
		{"a task moves", post("member", at+"move/", fmt.Sprintf(`{"after_id": %d}`, second))},
		{"a task moves to another column", post("member", at+"move/", fmt.Sprintf(`{"before_id": %d, "status": "done"}`, second))},
		{"a task is not done", patch("owner", at, `{"completed": false}`)},
		{"tasks are made together", post("owner", "/api/tasks/bulk/", fmt.Sprintf(`{"tasks": [{"project_id": %d, "title": "Fourth"}]}`, project))},
		{"tasks change together", patch("owner", "/api/tasks/bulk/", fmt.Sprintf(`{"tasks": [{"id": %d, "title": "First"}, {"id": %d, "status": "done"}]}`, task, second))},
		{"a comment is made", post("member", at+"comments/", `{"body": "Hi"}`)},
		{"a comment changes", patch("owner", on, `{"body": "Good day"}`)},
		{"a comment is deleted", remove("owner", on)},
		{"a comment is restored", post("owner", on+"restore/", "")},
		{"a task gets a parent", patch("owner", fmt.Sprintf("/api/tasks/%d/", second), fmt.Sprintf(`{"parent_id": %d}`, task))},
		{"a task is deleted", remove("member", at)},
		{"a task is restored", post("member", at+"restore/", "")},
		{"a project is renamed", patch("owner", in, `{"name": "Gemini"}`)},
		{"a project becomes public", patch("owner", in, `{"visibility": "public"}`)},
		{"a project becomes private", patch("owner", in, `{"visibility": "private"}`)},
		{"a project is archived", patch("owner", in, `{"archived": true}`)},
		{"a project is active again", patch("owner", in, `{"archived": false}`)},
		{"a project requires preconditions", patch("owner", in, `{"require_if_match": true}`)},
		{"a project requires none", func() {
			d.do("owner", http.MethodPatch, in, `{"require_if_match": false}`, "If-Match", d.direct("owner", in).Header["Etag"])
		}},
		{"a stranger joins", func() { join("stranger", "commenter") }},
		{"a member gets another role", patch("owner", member, `{"role": "admin"}`)},
		{"a member leaves", remove("stranger", fmt.Sprintf("%smembers/%d/", in, d.ids["stranger"]))},
		{"a user is renamed", patch("member", fmt.Sprintf("/api/users/%d/", d.ids["member"]), `{"name": "Other"}`)},
		{"a user has another password", post("member", "/api/auth/password/", `{"current_password": "correct horse", "new_password": "battery staple"}`)},
		{"somebody registers", post("", "/api/auth/register/", `{"name": "new", "email": "new@example.org", "password": "correct horse"}`)},
		{"an account is made", post("admin", "/api/users/", `{"name": "newer", "email": "newer@example.org", "password": "correct horse"}`)},
		{"a user becomes an administrator", patch("admin", guest, `{"role": "admin"}`)},
		{"a user can not sign in any more", func() {
			join("guest", "viewer")
			d.do("admin", http.MethodPatch, guest, `{"active": false}`)
		}},
		{"a user is deleted", remove("admin", guest)},
		{"a project is made", post("stranger", "/api/projects/", `{"name": "Mercury"}`)},
		{"a project has another owner", patch("owner", member, `{"role": "owner"}`)},
		{"a project is deleted", remove("member", in)},
		{"a project is restored", post("member", in+"restore/", "")},
	}
	d.awaitHit("owner", at)
	for _, w := range writes {
		for _, path := range paths { // so that there is something to be stale
			for name := range d.tokens {
				d.read(name, path)
			}
		}
		w.do()
		for _, path := range paths {
			for name := range d.tokens {
				want := d.direct(name, path)
				for _, got := range []reply{d.read(name, path), d.read(name, path)} {
					if diff := cmp.Diff(got, want); diff != "" {
						t.Errorf("after %s: %s by %s differs (-cached +direct):\n%s", w.name, path, name, diff)
					}
				}
			}
		}
	}
	for _, service := range []grpc.ServiceDesc{usersv1.UsersService_ServiceDesc, projectsv1.ProjectsService_ServiceDesc, tasksv1.TasksService_ServiceDesc} {
		for _, m := range service.Methods {
			_, called := d.called.Load("/" + service.ServiceName + "/" + m.MethodName)
			if !called && !reads.MatchString(m.MethodName) && !slices.Contains(elsewhere, m.MethodName) {
				t.Errorf("%s is called by none of the writes", m.MethodName)
			}
		}
	}
}

// reads are the RPCs that change nothing, and elsewhere those that the test does without: they change nothing that is
// ever kept, or take a mail or a provider to tell of the same events as others do.
var (
	reads     = regexp.MustCompile(`^(Get|List|BatchGet|BatchList|Explain)[A-Z]`)
	elsewhere = []string{
		"RefreshTokens", "Logout", "DeleteSession", "DeleteSessions", "CreateToken", "DeleteToken", "ExchangeToken",
		"CreateInvitation", "DeleteInvitation", "RequestPasswordReset", "RequestEmailChange", "BeginProviderSignIn",
		"AcceptInvitation", "ResetPassword", "ConfirmEmailChange", "FinishProviderSignIn", "ExchangeCode", "ExchangeIdToken",
	}
)

// What the members of a project read is answered by the edge alone.
func TestAHitNeedsNoService(t *testing.T) {
	t.Parallel()
	d := openDoor(t)
	project := d.made("/api/projects/", `{"name": "Apollo"}`)
	in := fmt.Sprintf("/api/projects/%d/", project)
	d.do("owner", http.MethodPost, in+"members/", fmt.Sprintf(`{"user_id": %d, "role": "viewer"}`, d.ids["viewer"]))
	task := fmt.Sprintf("/api/tasks/%d/", d.made(in+"tasks/", `{"title": "First"}`))
	d.made(task+"comments/", `{"body": "Hello"}`)
	d.awaitHit("owner", task)
	for _, path := range []string{
		task, task + "?fields=title", task + "comments/", in, in + "tasks/?status=todo&limit=50", in + "members/",
		fmt.Sprintf("/api/tasks/?project=%d", project), fmt.Sprintf("/api/users/%d/", d.ids["owner"]),
	} {
		d.read("owner", path)
		d.read("viewer", "/api/projects/") // learns what the viewer may see
		if !d.hits("viewer", path) && path != fmt.Sprintf("/api/users/%d/", d.ids["owner"]) {
			d.read("viewer", path)
			if !d.hits("viewer", path) {
				t.Errorf("%s: got calls of services for what another one has read, want none", path)
			}
		}
	}
	nested := `{ projects(first: 5) { nodes { name tasks(first: 5) { nodes { title comments(first: 3) { nodes { body author { name } } } } } } } }`
	if d.read("viewer", nested); !d.hits("viewer", nested) {
		t.Error("a nested query: got calls of services for the second one, want none")
	}
	if !regexp.MustCompile(`redis;dur=[0-9.]*;desc="1"`).MatchString(d.timing) {
		t.Errorf("a nested query, with rate limit and budget: got %s, want one round trip to Redis", d.timing)
	}
	if d.read("viewer", "/api/projects/"); !d.hits("viewer", "/api/projects/") {
		t.Error("a user's own projects: got calls of services for the second reading, want none")
	}
	column := in + "tasks/?status=done"
	d.read("owner", column)
	d.do("owner", http.MethodPatch, task, `{"status": "in_progress"}`)
	if !d.hits("owner", column) {
		t.Error("tasks that are done, after one that is not has changed: got calls of services, want none")
	}
	d.read("owner", task)
	got := d.read("owner", task)
	if !regexp.MustCompile(`cache;desc="hit", redis;dur=[0-9.]*;desc="1"`).MatchString(d.timing) {
		t.Errorf("a hit, beside the rate limit: got %s, want one round trip to Redis", d.timing)
	}
	unchanged := d.send("owner", http.MethodGet, task, "", "If-None-Match", got.Header["Etag"])
	want := reply{Status: http.StatusNotModified, Header: maps.Clone(got.Header)}
	delete(want.Header, "Content-Type")
	delete(want.Header, "Content-Length")
	if diff := cmp.Diff(unchanged, want); diff != "" {
		t.Errorf("a conditional request (-got +want):\n%s", diff)
	}
	if !strings.Contains(got.Body, "First") {
		t.Errorf("got %s, want the task", got.Body)
	}
}
