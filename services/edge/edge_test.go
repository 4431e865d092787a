package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/rpctest"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

const requestIDHeader = "X-Request-ID"

func itoa(n int) string { return strconv.Itoa(n) }

func TestThePathWithoutTheLastSlashIsTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, o := range w.operations() {
		w.fake.took()
		want := w.do(o.method, o.path, o.body)
		wantCalls := w.fake.took()
		got := w.do(o.method, strings.TrimSuffix(o.path, "/"), o.body)
		if got.StatusCode != want.StatusCode || got.body != want.body || got.Header.Get("Link") != want.Header.Get("Link") {
			t.Errorf("%s: got %d %s, want %d %s", &o, got.StatusCode, got.body, want.StatusCode, want.body)
		}
		if diff := cmp.Diff(wantCalls, w.fake.took(), protocmp.Transform(), cmp.AllowUnexported(call{})); diff != "" {
			t.Errorf("%s (-with slash +without):\n%s", &o, diff)
		}
	}
}

func TestAddressesAndMethods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const (
		collection = "GET, HEAD, POST, OPTIONS"
		thing      = "DELETE, GET, HEAD, PATCH, PUT, OPTIONS"
	)
	tests := []struct {
		method, path string
		want         int
		allow        string
	}{
		{"DELETE", "/api/tasks/", 405, collection},
		{"PUT", "/api/tasks", 405, collection},
		{"POST", "/api/tasks/1/", 405, thing},
		{"BREW", "/api/tasks/1", 405, thing},
		{"GET", "/api/auth/login/", 405, "POST, OPTIONS"},
		{"POST", "/api/openapi.json", 405, "GET, HEAD, OPTIONS"},
		{"OPTIONS", "/api/tasks/", 204, collection},
		{"OPTIONS", "/api/projects/1/members/2", 204, thing},
		{"OPTIONS", "/api/tasks/bulk/", 204, "PATCH, POST, OPTIONS"},
		{"GET", "/api/tasks/bulk", 405, "PATCH, POST, OPTIONS"},
		{"OPTIONS", "/nothing", 404, ""},
		{"OPTIONS", "/docs/", 204, "GET, HEAD, OPTIONS"},
		{"OPTIONS", "/graphql", 204, "GET, HEAD, POST, OPTIONS"},
		{"DELETE", "/graphql", 405, "GET, HEAD, POST, OPTIONS"},
		{"GET", "/", 404, ""},
		{"GET", "/api/nothing/", 404, ""},
		{"GET", "/api/tasks/1/x/y", 404, ""},
		{"GET", "/api//tasks/", 404, ""},
		{"GET", "/api/../api/tasks/", 404, ""},
		{"GET", "/api/tasks/./", 404, ""},
		{"GET", "//evil.example/%2e%2e", 404, ""},
		{"GET", "/api/openapi.json/", 404, ""},
		{"GET", "/api/tasks/1.5", 400, ""},
		{"DELETE", "/api/tasks/1.5", 400, ""},
		{"GET", "/api/tasks/nothing.json/", 400, ""},
		{"GET", "/api/nothing.json", 404, ""},
		{"GET", "/api/tasks%2f", 404, ""},
		{"DELETE", "/api/tasks/1%2F", 404, ""},
		{"PATCH", "/api/users/me%2F", 404, ""},
		{"HEAD", "/api/tasks/", 200, ""},
		{"HEAD", "/api/tasks/1", 200, ""},
	}
	for _, tt := range tests {
		res := w.do(tt.method, tt.path, "")
		if res.StatusCode != tt.want || res.Header.Get("Allow") != tt.allow {
			t.Errorf("%s %s: got %d, Allow %q, want %d, %q", tt.method, tt.path, res.StatusCode, res.Header.Get("Allow"),
				tt.want, tt.allow)
		}
		if res.StatusCode >= 400 {
			checkProblem(t, tt.path, res)
		}
	}
	for path, want := range map[string]string{
		"/api/tasks/1/": "application/json, application/merge-patch+json", "/api/tasks/bulk/": "application/json", "/api/tasks/": "",
	} {
		if got := w.do("OPTIONS", path, "").Header.Get("Accept-Patch"); got != want {
			t.Errorf("OPTIONS %s: got Accept-Patch %q, want %q", path, got, want)
		}
		if res := w.do("PATCH", path, "x", "Content-Type", "text/plain"); res.Header.Get("Accept-Patch") != want {
			t.Errorf("PATCH %s: got %d, Accept-Patch %q, want %q", path, res.StatusCode, res.Header.Get("Accept-Patch"), want)
		}
	}
	if res := w.do("OPTIONS", "/api/tasks/", "", "Authorization", ""); res.StatusCode != http.StatusNoContent {
		t.Errorf("OPTIONS without a token: got %d, want 204", res.StatusCode)
	}
	for _, coding := range []string{"identity", "gzip", "br", "zstd"} {
		get := w.do("GET", "/api/tasks/", "", "Accept-Encoding", coding)
		head := w.do("HEAD", "/api/tasks/", "", "Accept-Encoding", coding)
		for _, h := range []http.Header{get.Header, head.Header} {
			for _, varies := range []string{"Date", "X-Request-Id", "Ratelimit", "Server-Timing"} {
				h.Del(varies)
			}
		}
		if diff := cmp.Diff(get.Header, head.Header); diff != "" || head.body != "" {
			t.Errorf("HEAD in %s (-GET +HEAD), body %q:\n%s", coding, head.body, diff)
		}
	}
}

func prefixes(t *testing.T, texts ...string) []netip.Prefix {
	t.Helper()
	var list []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// TestWritesBecomeRequests shows what PUT, PATCH and POST mean, by what the services are asked.
func TestWritesBecomeRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	task := func(text string) proto.Message { return parse(t, &tasksv1.UpdateTaskRequest{}, text) }
	tests := []struct {
		method, path, body string
		want               proto.Message
	}{
		{"PATCH", "/api/tasks/1/", `{}`, task(`{"id":1,"updateMask":""}`)},
		{"PATCH", "/api/tasks/1/", `{"title":"New"}`, task(`{"id":1,"title":"New","updateMask":"title"}`)},
		{
			"PATCH", "/api/tasks/1/",
			`{"description":null,"status":null,"priority":null,"labels":null,"assignee_id":null,"parent_id":null,"due_date":null}`,
			task(`{"id":1,"status":"STATUS_TODO","priority":"PRIORITY_NONE",
				"updateMask":"description,status,priority,labels,assigneeId,parentId,dueDate"}`),
		},
		{
			"PATCH", "/api/tasks/1/", `{"completed":true,"assignee_id":9007199254740991,"labels":[],"due_date":"2026-12-31"}`,
			task(`{"id":1,"completed":true,"assigneeId":"9007199254740991","dueDate":"2026-12-31",
				"updateMask":"completed,labels,assigneeId,dueDate"}`),
		},
		{"PATCH", "/api/tasks/1/", `{"completed":null}`, task(`{"id":1,"updateMask":"completed"}`)},
		{
			"PUT", "/api/tasks/1/", `{"title":"New"}`,
			task(`{"id":1,"title":"New","status":"STATUS_TODO","priority":"PRIORITY_NONE",
				"updateMask":"title,description,status,priority,labels,assigneeId,parentId,dueDate"}`),
		},
		{
			"PUT", "/api/tasks/1/", `{"title":"New","completed":true,"assignee_id":2,"labels":["a","b"]}`,
			task(`{"id":1,"title":"New","status":"STATUS_DONE","priority":"PRIORITY_NONE","assigneeId":2,"labels":["a","b"],
				"updateMask":"title,description,status,priority,labels,assigneeId,parentId,dueDate"}`),
		},
		{
			"POST", "/api/tasks/", `{"project_id":1,"title":"New","completed":true,"priority":null}`,
			parse(t, &tasksv1.CreateTaskRequest{}, `{"projectId":1,"title":"New","status":"STATUS_DONE"}`),
		},
		{
			"POST", "/api/projects/5/tasks/", `{"title":"\ud83d\ude80 \" \\ ü","status":"in_progress"}`,
			parse(t, &tasksv1.CreateTaskRequest{}, `{"projectId":5,"title":"🚀 \" \\ ü","status":"STATUS_IN_PROGRESS"}`),
		},
		{
			"PUT", "/api/projects/1/", `{"name":"New"}`,
			parse(t, &projectsv1.UpdateProjectRequest{}, `{"id":1,"name":"New","visibility":"VISIBILITY_PRIVATE",
				"updateMask":"name,description,visibility,archived,requireIfMatch"}`),
		},
		{
			"PATCH", "/api/projects/1/", `{"archived":true}`,
			parse(t, &projectsv1.UpdateProjectRequest{}, `{"id":1,"archived":true,"updateMask":"archived"}`),
		},
		{
			"PUT", "/api/projects/1/members/2/", `{}`,
			parse(t, &projectsv1.UpdateMemberRequest{}, `{"projectId":1,"userId":2,"role":"ROLE_MEMBER","updateMask":"role"}`),
		},
		{
			"PUT", "/api/users/me/", `{"name":"New"}`,
			parse(t, &usersv1.UpdateUserRequest{}, `{"id":7,"name":"New","updateMask":"name"}`),
		},
		{
			"PATCH", "/api/users/3/", `{"role":"admin","active":false}`,
			parse(t, &usersv1.UpdateUserRequest{}, `{"id":3,"role":"ROLE_ADMIN","updateMask":"role,active"}`),
		},
		{
			"POST", "/api/tasks/1/comments/", `{"body":"Yes."}`,
			parse(t, &tasksv1.CreateCommentRequest{}, `{"taskId":1,"body":"Yes."}`),
		},
		{"DELETE", "/api/users/me/", "", parse(t, &usersv1.DeleteUserRequest{}, `{"id":7}`)},
		{
			"GET", "/api/tasks/?project=2&status=todo,done&status=cancelled&completed=false&assignee=me&creator=9&label=a&label=b,c" +
				"&priority=high&due_before=2026-12-31&updated_since=2026-01-31T09:30:00%2B01:00&parent=none&search=" +
				"&ordering=-due_date,id&limit=10&cursor=b.WyJ4Il0&count=true", "",
			parse(t, &tasksv1.ListTasksRequest{}, `{"projectId":2,"page":{"endsOnly":true,"size":10,"before":"WyJ4Il0","backward":true,
				"orderBy":"-due_date,id","count":true},"filter":{"statuses":["STATUS_TODO","STATUS_DONE","STATUS_CANCELLED"],
				"completed":false,"assigneeId":7,"creatorId":9,"labels":["a","b,c"],"priorities":["PRIORITY_HIGH"],
				"dueBefore":"2026-12-31","updatedSince":"2026-01-31T08:30:00Z","parentId":0}}`),
		},
		{
			"POST", "/api/tasks/1/move/", `{"after_id":2,"before_id":3,"status":"done"}`,
			parse(t, &tasksv1.MoveTaskRequest{}, `{"id":1,"afterId":2,"beforeId":3,"status":"STATUS_DONE"}`),
		},
		{
			"PATCH", "/api/tasks/bulk/", `{"atomic":false,"tasks":[{"id":1,"version":3,"due_date":null},{"id":2,"title":"New"}]}`,
			parse(t, &tasksv1.BatchUpdateTasksRequest{}, `{"allowPartialSuccess":true,"requests":[
				{"id":1,"expectedVersion":3,"updateMask":"dueDate"},{"id":2,"title":"New","updateMask":"title"}]}`),
		},
		{"POST", "/api/tasks/1/restore/", "", parse(t, &tasksv1.RestoreTaskRequest{}, `{"id":1}`)},
		{
			"GET", "/api/comments/?trash=true&ordering=-deleted_at", "",
			parse(t, &tasksv1.ListCommentsRequest{}, `{"page":{"endsOnly":true,"size":50,"orderBy":"-deleted_at"},"deleted":true}`),
		},
		{
			"GET", "/api/projects/?role=owner&archived=true&visibility=public&search=moon", "",
			parse(t, &projectsv1.ListProjectsRequest{}, `{"page":{"endsOnly":true,"size":50},"role":"ROLE_OWNER","archived":true,
				"visibility":"VISIBILITY_PUBLIC","search":"moon"}`),
		},
		{
			"GET", "/api/projects/2/tasks/?fields=id,completed,due_date", "",
			parse(t, &tasksv1.ListTasksRequest{}, `{"projectId":2,"page":{"endsOnly":true,"size":50},"filter":{},
				"readMask":"id,status,dueDate"}`),
		},
		{
			"GET", "/api/audit/?user=3&type=token.created&ordering=id&limit=10&cursor=a.WyJ4Il0&count=true", "",
			parse(t, &usersv1.ListSecurityEventsRequest{}, `{"page":{"endsOnly":true,"size":10,"after":"WyJ4Il0","orderBy":"id",
				"count":true},"userId":3,"types":["token.created"]}`),
		},
		{
			"GET", "/api/tasks/4/comments/?author=3", "",
			parse(t, &tasksv1.ListCommentsRequest{}, `{"page":{"endsOnly":true,"size":50},"taskId":4,"authorId":3}`),
		},
	}
	w.fake.took()
	for _, tt := range tests {
		res := w.do(tt.method, tt.path, tt.body)
		calls := w.fake.took()
		if len(calls) != 1 {
			t.Errorf("%s %s %s: got %d %s and calls %v, want one", tt.method, tt.path, tt.body, res.StatusCode, res.body, calls)
			continue
		}
		if diff := cmp.Diff(tt.want, calls[0].req, protocmp.Transform()); diff != "" {
			t.Errorf("%s %s %s (-want +got):\n%s", tt.method, tt.path, tt.body, diff)
		}
	}
}

func parse(t *testing.T, m proto.Message, text string) proto.Message {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestConditionalRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := w.do("GET", "/api/tasks/", "").Header.Get("ETag")
	tests := []struct {
		method, path, header, value string
		want                        int
	}{
		{"GET", "/api/tasks/1/", "If-None-Match", `"3"`, 304},
		{"GET", "/api/tasks/1/", "If-None-Match", `"2", W/"3"`, 304},
		{"GET", "/api/tasks/1/", "If-None-Match", `*`, 304},
		{"GET", "/api/tasks/1/", "If-None-Match", `, "3"`, 304},
		{"GET", "/api/tasks/1/", "If-None-Match", `"2"`, 200},
		{"GET", "/api/tasks/1/", "If-None-Match", `3`, 200},
		{"HEAD", "/api/tasks/1/", "If-None-Match", `"3"`, 304},
		{"GET", "/api/tasks/", "If-None-Match", list, 304},
		{"GET", "/api/tasks/?limit=2", "If-None-Match", list, 200},
		{"PATCH", "/api/tasks/1/", "If-Match", `"3"`, 200},
		{"PATCH", "/api/tasks/1/", "If-Match", `*`, 200},
		{"PATCH", "/api/tasks/1/", "If-Match", `"1","3"`, 200},
		{"PATCH", "/api/tasks/1/", "If-Match", `, "1",, "3" ,`, 200},
		{"PATCH", "/api/tasks/1/", "If-Match", `,`, 412},
		{"PATCH", "/api/tasks/1/", "If-Match", `"2"`, 412},
		{"PATCH", "/api/tasks/1/", "If-Match", `"03"`, 412},
		{"PATCH", "/api/tasks/1/", "If-Match", `W/"3"`, 412},
		{"PATCH", "/api/tasks/1/", "If-Match", `"1", "2"`, 412},
		{"PATCH", "/api/tasks/1/", "If-Match", `"abc"`, 412},
		{"PATCH", "/api/tasks/1/", "If-Match", `"-1"`, 412},
		{"PATCH", "/api/tasks/1/", "If-Match", `"0"`, 412},
		{"PATCH", "/api/tasks/1/", "If-Match", `"99999999999999999999"`, 412},
		{"PATCH", "/api/tasks/1/", "If-Match", `"3`, 400},
		{"PATCH", "/api/tasks/1/", "If-Match", `"3" "4"`, 400},
		{"PATCH", "/api/tasks/99/", "If-Match", `"3"`, 404},
		{"PATCH", "/api/tasks/99/", "If-Match", `*`, 404},
		{"PATCH", "/api/tasks/1/", "If-None-Match", `*`, 412},
		{"PATCH", "/api/tasks/1/", "If-None-Match", `"3"`, 412},
		{"PATCH", "/api/tasks/1/", "If-None-Match", `"2"`, 200},
		{"PUT", "/api/tasks/1/", "If-Match", `"2"`, 412},
		{"DELETE", "/api/tasks/1/", "If-Match", `"2"`, 412},
		{"DELETE", "/api/tasks/1/", "If-Match", `"3"`, 204},
	}
	for _, tt := range tests {
		body := ""
		if tt.method == "PATCH" || tt.method == "PUT" {
			body = `{"title":"New"}`
		}
		res := w.do(tt.method, tt.path, body, tt.header, tt.value)
		if res.StatusCode != tt.want {
			t.Errorf("%s %s, %s: %s: got %d %s, want %d", tt.method, tt.path, tt.header, tt.value, res.StatusCode, res.body, tt.want)
		}
		if res.StatusCode == http.StatusNotModified {
			for _, h := range []string{"ETag", "Vary", "Cache-Control"} {
				if res.Header.Get(h) == "" {
					t.Errorf("%s %s: the 304 has no %s", tt.method, tt.path, h)
				}
			}
			if res.body != "" {
				t.Errorf("%s %s: the 304 has the body %s", tt.method, tt.path, res.body)
			}
		}
	}
}

func TestAWalkByLinksSeesEveryItemOnceInBothDirections(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	walk := func(rel, from string) (path string, seen []int64) {
		for path = from; ; {
			res := w.do("GET", path, "")
			var items []struct {
				ID int64 `json:"id"`
			}
			res.json(t, &items)
			if res.Header.Get("X-Total-Count") != "5" {
				t.Errorf("%s: got %q items, want 5", path, res.Header.Get("X-Total-Count"))
			}
			for i := range items {
				if rel == "prev" {
					i = len(items) - 1 - i
				}
				seen = append(seen, items[i].ID)
			}
			next := regexp.MustCompile(`<(/api/tasks/\?[^>]*)>; rel="` + rel + `"`).FindStringSubmatch(res.Header.Get("Link"))
			if next == nil {
				return path, seen
			}
			path = next[1]
		}
	}
	last, forward := walk("next", "/api/tasks?limit=2&count=true&label=a%26b")
	if diff := cmp.Diff([]int64{1, 2, 3, 4, 5}, forward); diff != "" {
		t.Errorf("forward (-want +got):\n%s", diff)
	}
	if !strings.Contains(last, "label=a%26b") {
		t.Errorf("got %s, want the other parameters kept", last)
	}
	if _, backward := walk("prev", last); cmp.Diff([]int64{5, 4, 3, 2, 1}, backward) != "" {
		t.Errorf("backward: got %v, want 5 to 1", backward)
	}
}

func TestAnIdempotencyKeyTravelsAndAReplayIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, o := range w.operations() {
		if o.method == http.MethodGet || slices.Contains([]string{"login", "exchangeCode", "exchangeIdToken"}, o.OperationID) {
			continue
		}
		w.fake.took()
		key := "key of " + o.OperationID
		first := w.do(o.method, o.path, o.body, "Idempotency-Key", key)
		second := w.do(o.method, o.path, o.body, "Idempotency-Key", key)
		if first.Header.Get("Idempotency-Replayed") != "" || second.Header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s: got replayed %q and %q, want none and true", &o, first.Header.Get("Idempotency-Replayed"),
				second.Header.Get("Idempotency-Replayed"))
		}
		for _, c := range w.fake.took() {
			if c.key != key && !strings.HasPrefix(c.method, "Get") {
				t.Errorf("%s: got %s with the key %q, want %q", &o, c.method, c.key, key)
			}
		}
	}
}

func TestFailuresOfServices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fields := func(names ...string) error {
		var c errs.Check
		for _, n := range names {
			c.Fail(n, "is wrong")
		}
		return c.Err()
	}
	running := errs.New(errs.InProgress, "Still running.")
	running.Retry = 1500_000_000
	tests := []struct {
		name, method, path string
		fail               error
		want               int
		errors             []violation
	}{
		{"hidden", "GET", "/api/tasks/1/", errs.Missing("task"), 404, nil},
		{"not allowed", "PATCH", "/api/tasks/1/", errs.New(errs.Denied, "No."), 403, nil},
		{"token ended meanwhile", "GET", "/api/tasks/1/", errs.New(errs.Unauthenticated, "Sign in."), 401, nil},
		{"archived", "PATCH", "/api/tasks/1/", errs.New(errs.Conflict, "Archived."), 409, nil},
		{"running", "PATCH", "/api/tasks/1/", running, 409, nil},
		{"another request with the key", "PATCH", "/api/tasks/1/", errs.New(errs.KeyReused, "Used."), 422, nil},
		{"fields", "PATCH", "/api/tasks/1/", fields("title", "labels[2]", "update_mask", "id", "expected_version"), 400, []violation{
			{Pointer: "#/title", Detail: "is wrong"},
			{Pointer: "#/labels/2", Detail: "is wrong"},
			{Pointer: "#", Detail: "is wrong"},
			{Parameter: "id", Detail: "is wrong"},
			{Header: "If-Match", Detail: "is wrong"},
		}},
		{"parameters", "GET", "/api/tasks/", fields("size", "order_by", "after", "filter.due_before", "statuses", "project_id", "search"), 400, []violation{
			{Parameter: "limit", Detail: "is wrong"},
			{Parameter: "ordering", Detail: "is wrong"},
			{Parameter: "cursor", Detail: "is wrong"},
			{Parameter: "due_before", Detail: "is wrong"},
			{Parameter: "status", Detail: "is wrong"},
			{Parameter: "project", Detail: "is wrong"},
			{Parameter: "search", Detail: "is wrong"},
		}},
		{"a bug", "GET", "/api/tasks/1/", errors.New("secret at 10.0.0.1"), 500, nil},
		{"down", "GET", "/api/tasks/1/", status.Error(codes.Unavailable, "dial 10.0.0.1"), 503, nil},
	}
	for _, tt := range tests {
		w.fake.failWith(tt.fail)
		body := ""
		if tt.method == "PATCH" {
			body = `{"title":"New"}`
		}
		res := w.do(tt.method, tt.path, body)
		if res.StatusCode != tt.want || strings.Contains(res.body, "10.0.0.1") {
			t.Errorf("%s: got %d %s, want %d", tt.name, res.StatusCode, res.body, tt.want)
		}
		p := checkProblem(t, tt.name, res)
		if diff := cmp.Diff(tt.errors, p.Errors); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if retry := res.Header.Get("Retry-After"); tt.name == "running" && retry != "2" {
			t.Errorf("%s: got Retry-After %q, want 2", tt.name, retry)
		}
	}
}

func TestOneServiceDownTakesOnlyItsPart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.url = w.serve(func(c *Config) { c.Tasks = "nowhere"; c.Timeout = 300_000_000 })
	if res := w.do("GET", "/api/tasks/", ""); res.StatusCode != http.StatusServiceUnavailable && res.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("tasks: got %d, want 503 or 504", res.StatusCode)
	}
	if res := w.do("GET", "/api/projects/", ""); res.StatusCode != http.StatusOK {
		t.Errorf("projects: got %d, want 200", res.StatusCode)
	}
}

func TestGraphQLHasTheSameLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.BodyLimit = 100 })
	for name, tt := range map[string]struct {
		body io.Reader
		want int
	}{
		"small":    {strings.NewReader(strings.Repeat("x", 100)), http.StatusOK},
		"declared": {strings.NewReader(strings.Repeat("x", 101)), http.StatusRequestEntityTooLarge},
		"chunked":  {io.MultiReader(strings.NewReader(strings.Repeat("x", 101))), http.StatusRequestEntityTooLarge},
	} {
		if res := w.send("POST", "/graphql", tt.body); res.StatusCode != tt.want {
			t.Errorf("%s: got %d %s, want %d", name, res.StatusCode, res.body, tt.want)
		}
	}
	if res := w.do("POST", "/graphql", "{}", "Authorization", "Bearer nonsense"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a bad token: got %d, want 401", res.StatusCode)
	}
}

func TestSigningInIsNeverKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	res := w.do("POST", "/api/auth/login/", `{"email":"ada@example.com","password":"right"}`, "Authorization", "")
	var got map[string]any
	res.json(t, &got)
	if res.StatusCode != http.StatusOK || got["token_type"] != "Bearer" || got["expires_in"] != 900.0 || got["access_token"] != "a.b.c" {
		t.Errorf("got %d %s", res.StatusCode, res.body)
	}
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("got Cache-Control %q, want no-store", got)
	}
	res = w.do("POST", "/api/auth/login/", `{"email":"ada@example.com","password":"wrong"}`, "Authorization", "")
	checkProblem(t, "a wrong password", res)
	if got := res.Header.Get("WWW-Authenticate"); res.StatusCode != http.StatusUnauthorized || got != "Bearer" {
		t.Errorf("a wrong password: got %d, %q, want 401, Bearer", res.StatusCode, got)
	}
	res = w.do("POST", "/api/auth/refresh/", `{"refresh_token":"r"}`, "Authorization", "", "User-Agent", "Phone/1.0")
	if got := res.Header.Get("Cache-Control"); res.StatusCode != http.StatusOK || got != "no-store" {
		t.Errorf("refreshed: got %d, Cache-Control %q, want 200, no-store", res.StatusCode, got)
	}
	res = w.do("POST", "/api/auth/refresh/", `{"refresh_token":"used"}`, "Authorization", "")
	checkProblem(t, "a used refresh token", res)
	if got := res.Header.Get("WWW-Authenticate"); res.StatusCode != http.StatusUnauthorized || got != "Bearer" {
		t.Errorf("a used refresh token: got %d, %q, want 401, Bearer", res.StatusCode, got)
	}
	res = w.do("GET", "/api/tasks/", "", "Authorization", "Bearer nonsense")
	if got := res.Header.Get("WWW-Authenticate"); got != `Bearer error="invalid_token"` {
		t.Errorf("a bad token: got %q", got)
	}
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.RateLimit, c.AuthRateLimit = 5, 2 })
	other, err := w.Issuer.Issue(8, false, "session")
	if err != nil {
		t.Fatal(err)
	}
	var last response
	for i := range 6 {
		last = w.do("GET", "/api/", "")
		if want := map[bool]int{true: http.StatusOK, false: http.StatusTooManyRequests}[i < 5]; last.StatusCode != want {
			t.Fatalf("request %d: got %d, want %d", i+1, last.StatusCode, want)
		}
	}
	p := checkProblem(t, "limited", last)
	retry, err := strconv.Atoi(last.Header.Get("Retry-After"))
	if p.Code != "rate_limited" || err != nil || retry < 1 || retry > 13 {
		t.Errorf("got %s, Retry-After %q, want rate_limited and the seconds until the next", p.Code, last.Header.Get("Retry-After"))
	}
	if got := last.Header.Get(policyHeader); got != `"requests";q=5;w=60` {
		t.Errorf("got RateLimit-Policy %s", got)
	}
	if got := last.Header.Get(limitHeader); !regexp.MustCompile(`^"requests";r=0;t=\d+$`).MatchString(got) {
		t.Errorf("got RateLimit %s", got)
	}
	if res := w.do("GET", "/api/", "", "Authorization", "Bearer "+other); res.StatusCode != http.StatusOK {
		t.Errorf("another caller: got %d, want 200", res.StatusCode)
	}
	for i := range 3 {
		res := w.do("POST", "/api/auth/login/", `{"email":"a@b.c","password":"wrong"}`, "Authorization", "")
		if want := map[bool]int{true: 401, false: 429}[i < 2]; res.StatusCode != want {
			t.Errorf("sign-in %d: got %d, want %d", i+1, res.StatusCode, want)
		}
	}
	w.redis.Close()
	for range 10 {
		if res := w.do("GET", "/api/", ""); res.StatusCode != http.StatusOK {
			t.Fatalf("without Redis: got %d, want 200", res.StatusCode)
		}
	}
}

func TestTheClientsAddressIsNotTheClientsToChoose(t *testing.T) {
	t.Parallel()
	cfg := Config{}
	if err := cfg.check(); err == nil {
		t.Error("got no error for an empty configuration")
	}
	proxies := prefixes(t, "10.0.0.0/8", "fd00::/8")
	tests := []struct{ remote, forwarded, want string }{
		{"192.0.2.1:1234", "203.0.113.9", "192.0.2.1"},
		{"10.0.0.1:1234", "", "10.0.0.1"},
		{"10.0.0.1:1234", "203.0.113.9", "203.0.113.9"},
		{"10.0.0.1:1234", "1.1.1.1, 203.0.113.9, 10.2.3.4", "203.0.113.9"},
		{"10.0.0.1:1234", "1.1.1.1, nonsense", "10.0.0.1"},
		{"[fd00::1]:1234", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
		{"[::ffff:192.0.2.1]:1", "", "192.0.2.1"},
	}
	for _, tt := range tests {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.RemoteAddr = tt.remote
		r.Header.Set("X-Forwarded-For", tt.forwarded)
		if got := clientAddress(r, proxies); got != tt.want {
			t.Errorf("%s for %s: got %s, want %s", tt.remote, tt.forwarded, got, tt.want)
		}
	}
}

func TestCrossOriginRequests(t *testing.T) {
	t.Parallel()
	const origin = "https://app.example.com"
	w := newWorld(t, func(c *Config) { c.Origins = []string{origin} })
	for _, path := range []string{"/api/tasks/", "/api/nothing/", "/api/tasks/?x=1"} {
		res := w.do("GET", path, "", "Origin", origin)
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != origin {
			t.Errorf("%s: got the origin %q, want %q", path, got, origin)
		}
		for _, name := range []string{"ETag", "Link", "Location", "Idempotency-Replayed", "RateLimit", "X-Request-Id"} {
			if !strings.Contains(res.Header.Get("Access-Control-Expose-Headers"), name) {
				t.Errorf("%s: %s is not exposed", path, name)
			}
		}
		if !strings.Contains(strings.Join(res.Header.Values("Vary"), ","), "Origin") {
			t.Errorf("%s: got Vary %v", path, res.Header.Values("Vary"))
		}
		if res := w.do("GET", path, "", "Origin", origin+".evil.example"); res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: another origin is allowed", path)
		}
	}
	res := w.do("OPTIONS", "/api/tasks/", "", "Origin", origin, "Access-Control-Request-Method", "PATCH", "Authorization", "")
	if res.StatusCode != http.StatusNoContent || !strings.Contains(res.Header.Get("Access-Control-Allow-Methods"), "PATCH") ||
		!strings.Contains(res.Header.Get("Access-Control-Allow-Headers"), "Idempotency-Key") ||
		res.Header.Get("Access-Control-Max-Age") == "" {
		t.Errorf("preflight: got %d %v", res.StatusCode, res.Header)
	}
	policy, left := res.Header.Get(policyHeader), res.Header.Get(limitHeader)
	again := w.do("OPTIONS", "/api/tasks/", "", "Origin", origin, "Access-Control-Request-Method", "PATCH", "Authorization", "")
	if !strings.HasPrefix(policy, `"requests";q=`) || !strings.HasPrefix(left, `"requests";r=`) || again.Header.Get(limitHeader) != left {
		t.Errorf("preflight: got RateLimit-Policy %s, RateLimit %s and then %s, want both, and none taken", policy, left, again.Header.Get(limitHeader))
	}
	signIn := w.do("OPTIONS", "/api/auth/login/", "", "Origin", origin, "Access-Control-Request-Method", "POST", "Authorization", "")
	if got := signIn.Header.Get(limitHeader); !strings.HasPrefix(got, `"sign-ins";r=`) {
		t.Errorf("preflight of signing in: got RateLimit %s", got)
	}
}

func TestAPanicIsAnInternalErrorWithoutItsText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newRouter()
	r.HandleFunc("GET /api/boom/{$}", func(http.ResponseWriter, *http.Request) { panic("secret") })
	rec := httptest.NewRecorder()
	headers(recovery(r, w.Env.Log)).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/api/boom/", nil))
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "secret") || !strings.Contains(rec.Body.String(), `"code":"internal"`) {
		t.Errorf("got %d %s, want an internal error without the panic's text", rec.Code, rec.Body)
	}
}

func TestATraceGoesThrough(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	res := w.do("GET", "/api/nothing/", "", "Traceparent", "00-"+id+"-00f067aa0ba902b7-01", "X-Request-Id", "")
	if p := checkProblem(t, "traced", res); p.TraceID != id || res.Header.Get(requestIDHeader) != id {
		t.Errorf("got trace %s, request %s, want %s", p.TraceID, res.Header.Get(requestIDHeader), id)
	}
	if res := w.do("GET", "/api/", "", "X-Request-Id", "mine-1"); res.Header.Get(requestIDHeader) != "mine-1" {
		t.Errorf("got %q, want the client's own", res.Header.Get(requestIDHeader))
	}
	if res := w.do("GET", "/api/", "", "X-Request-Id", "<script>"); res.Header.Get(requestIDHeader) == "<script>" {
		t.Error("an indecent request id came back")
	}
}

func TestKeysAndTheDocumentAreForEveryone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, media := range map[string]string{
		"/.well-known/jwks.json": "application/jwk-set+json", "/api/openapi.json": "application/json",
		"/api/openapi.yaml": "application/yaml",
	} {
		res := w.do("GET", path, "", "Authorization", "")
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != media || !strings.HasPrefix(res.Header.Get("Cache-Control"), "public") {
			t.Errorf("%s: got %d %v", path, res.StatusCode, res.Header)
		}
		if again := w.do("GET", path, "", "Authorization", "", "If-None-Match", res.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
			t.Errorf("%s: got %d, want 304", path, again.StatusCode)
		}
	}
}

func TestRunServesUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{
			App: app.Config{Listen: "edge", Grace: time.Second}, Auth: rpctest.AuthConfig(),
			Users: "users", Projects: "projects", Tasks: "tasks", Redis: cache.Config{URL: "redis://" + w.redis.Addr()},
			BodyLimit: 1 << 20, Timeout: time.Second,
		}, w.Env)
	}()
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return w.Env.DialTo(ctx, "edge") },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://edge/api/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("got %v, %v, want 200", res, err)
	} else {
		res.Body.Close()
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

func TestADocumentationThatNeedsNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	get := func(path, accept string, headers ...string) *httptest.ResponseRecorder {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		req.Header.Set("Accept", accept)
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, req)
		return rec
	}
	for _, path := range []string{"/", "/api", "/api/", "/docs"} {
		if got := get(path, "text/html,*/*;q=0.8"); got.Code != http.StatusSeeOther || got.Header().Get("Location") != "/docs/" {
			t.Errorf("a browser at %s: got %d to %q, want 303 to /docs/", path, got.Code, got.Header().Get("Location"))
		}
	}
	page := get("/docs/", "text/html")
	text := page.Body.String()
	if page.Code != http.StatusOK || !strings.Contains(text, "/api/openapi.json") {
		t.Fatalf("the page: got %d:\n%s", page.Code, text)
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(text, -1) {
		got := get(m[1], "*/*")
		if !strings.HasPrefix(m[1], "/docs/") || got.Code != http.StatusOK {
			t.Errorf("the page needs %s: got %d, want an own file", m[1], got.Code)
		}
		tag := got.Header().Get("ETag")
		again := get(m[1], "*/*", "If-None-Match", tag)
		if !regexp.MustCompile(`^"[^"]+"$`).MatchString(tag) || again.Code != http.StatusNotModified || again.Header().Get("ETag") != tag {
			t.Errorf("%s: got the ETag %s, and then %d with %s, want a 304 with the same, quoted", m[1], tag, again.Code, again.Header().Get("ETag"))
		}
	}
}
