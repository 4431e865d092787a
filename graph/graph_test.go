package graph_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/trackway/trackway/graph/relay"
	"github.com/trackway/trackway/services/platform/errs"
	pageapi "github.com/trackway/trackway/services/platform/page"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

var epoch = time.Date(2026, 7, 1, 9, 30, 0, 0, time.UTC)

func readAll(tb testing.TB, res *http.Response) string {
	tb.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func TestANestedQueryCallsOnceALevel(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, query string
		want        map[string]int
		at          map[string]any // some of the answer
	}{
		{
			"projects, tasks, assignees, comments, authors", `{
				projects(first: 20) { nodes { name tasks(first: 10) { edges { node {
					title assignee { name } comments(first: 3) { nodes { body author { name } } } } } } } } }`,
			map[string]int{
				"ListProjects": 1, "BatchListTasks": 1, "BatchGetUsers": 2, "BatchListComments": 1,
			},
			map[string]any{
				"projects.nodes.19.tasks.edges.9.node.title":                        "task 2010",
				"projects.nodes.19.tasks.edges.9.node.assignee.name":                "user 11",
				"projects.nodes.19.tasks.edges.9.node.comments.nodes.2.body":        "comment 2010003",
				"projects.nodes.19.tasks.edges.9.node.comments.nodes.2.author.name": "user 54",
				"projects.nodes.0.tasks.edges.0.node.comments.nodes.0.author.name":  "user 52",
				"projects.nodes.0.tasks.edges.0.node.comments.nodes.3":              nil,
			},
		},
		{
			"several references of one object", `{ tasks(first: 50) { nodes { assignee { name } creator { name } } } }`,
			map[string]int{"ListTasks": 1, "BatchGetUsers": 1},
			map[string]any{"tasks.nodes.0.assignee.name": "user 2", "tasks.nodes.0.creator.name": "user 3"},
		},
		{
			"a deleted user is null", `{ task(id: 112) { assignee { name } } }`,
			map[string]int{"BatchGetTasks": 1, "BatchGetUsers": 1},
			map[string]any{"task.assignee": nil},
		},
		{
			"up and down again", `{ tasks(first: 40) { nodes { project { name members { nodes { role user { name } project { id } } } owner { name } } } } }`,
			map[string]int{"ListTasks": 1, "BatchGetProjects": 1, "BatchListMembers": 1, "BatchGetUsers": 2},
			map[string]any{"tasks.nodes.39.project.members.nodes.2.user.name": "user 4"},
		},
		{
			"below each task", `{ tasks(first: 40) { nodes { subtasks { nodes { number assignee { name } } } } } }`,
			map[string]int{"ListTasks": 1, "BatchListSubtasks": 1, "BatchGetUsers": 1},
			nil,
		},
		{
			"one alias for each page", `{ projects(first: 20) { nodes {
				a: tasks(first: 1) { nodes { number } } b: tasks(last: 1) { nodes { number } } } } }`,
			map[string]int{"ListProjects": 1, "BatchListTasks": 2},
			map[string]any{"projects.nodes.7.a.nodes.0.number": 1.0, "projects.nodes.7.b.nodes.0.number": 60.0},
		},
		{
			"nodes of every type", `query($ids: [ID!]!) { nodes(ids: $ids) { id
				... on Project { owner { name } } ... on Task { comments { nodes { author { name } } } } ... on Comment { task { title } } } }`,
			map[string]int{
				"BatchGetProjects": 1, "BatchGetTasks": 2, "BatchGetComments": 1, "BatchGetUsers": 3, "BatchListComments": 1,
			},
			map[string]any{"nodes.0.owner.name": "user 3", "nodes.4": nil, "nodes.3.task.title": "task 205"},
		},
		{
			"a mutation's own object", `mutation { createTask(input: {projectId: 7, title: "t"}) { userErrors { code }
				task { assignee { name } comments(first: 3) { nodes { author { name } } } } } }`,
			map[string]int{"CreateTask": 1, "BatchGetUsers": 2, "BatchListComments": 1},
			map[string]any{"createTask.task.comments.nodes.1.author.name": "user 53"},
		},
		{
			"a mutation's own object as an edge", `mutation { createTask(input: {projectId: 7, title: "t"}) {
				taskEdge { cursor node { id assignee { name } } } task { id assignee { name } } } }`,
			map[string]int{"CreateTask": 1, "BatchGetUsers": 1},
			map[string]any{
				"createTask.taskEdge.cursor":             pageapi.ByID(701),
				"createTask.taskEdge.node.id":            relay.ID{Type: relay.Task, Key: 701}.String(),
				"createTask.taskEdge.node.assignee.name": "user 2",
			},
		},
	}
	ids := map[string]any{"ids": []any{
		relay.ID{Type: relay.Project, Key: 3}.String(), relay.ID{Type: relay.Task, Key: 101}.String(),
		relay.ID{Type: relay.User, Key: 9}.String(), relay.ID{Type: relay.Comment, Key: 205001}.String(),
		relay.ID{Type: relay.Task, Key: 99999}.String(),
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			variables := ids
			if !strings.Contains(tt.query, "$ids") {
				variables = nil
			}
			r := w.ask(t, tt.query, variables)
			if len(r.Errors) > 0 {
				t.Fatalf("errors: %v", r.Errors)
			}
			if diff := cmp.Diff(w.counted(), tt.want); diff != "" {
				t.Errorf("calls (-got +want):\n%s", diff)
			}
			for path, want := range tt.at {
				if got := r.at(path); got != want {
					t.Errorf("%s: got %v, want %v", path, got, want)
				}
			}
		})
	}
}

// One id that is no node's is found before anything is asked for: nobody would wait for the answers.
// What is in the trash is nowhere else, and so it is not taken from there for who refers to it.
func TestNothingRefersToWhatIsInTheTrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for query, want := range map[string]map[string]int{
		"{ tasks(first: 1) { nodes { comments(first: 1) { nodes { task { title } } } } } }": {
			"ListTasks": 1, "BatchListComments": 1,
		},
		"{ tasks(first: 1, filter: {deleted: true}) { nodes { comments(first: 1) { nodes { task { title } } } } } }": {
			"ListTasks": 1, "BatchListComments": 1, "BatchGetTasks": 1,
		},
		"{ projects(first: 1, filter: {deleted: true}) { nodes { members(first: 1) { nodes { project { name } } } } } }": {
			"ListProjects": 1, "BatchListMembers": 1, "BatchGetProjects": 1,
		},
	} {
		if r, got := w.ask(t, query, nil), w.counted(); len(r.Errors) > 0 || !cmp.Equal(got, want) {
			t.Errorf("%s: got %s, calls %v, want %v", query, r.Text, got, want)
		}
	}
}

func TestNodesThatCanNotAllBeAreNotAskedFor(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{relay.Member, relay.Invitation, relay.Token, "Planet"} {
		w := newWorld(t)
		for range 10 { // the types come in any order
			r := w.ask(t, `query($ids: [ID!]!) { nodes(ids: $ids) { id } }`, map[string]any{"ids": []any{
				relay.ID{Type: relay.Project, Key: 3}.String(), relay.ID{Type: relay.Task, Key: 101}.String(),
				relay.ID{Type: relay.User, Key: 9}.String(), relay.ID{Type: typ, Key: 1}.String(),
			}})
			if len(r.Errors) != 1 {
				t.Errorf("%s: got %v, want one error", typ, r.Errors)
			}
		}
		if calls := w.counted(); len(calls) > 0 {
			t.Errorf("%s: got the calls %v, want none", typ, calls)
		}
	}
}

// Users are asked for without their e-mail addresses, and so as they are for everybody, unless an operation wants those.
func TestAddressesAreAskedForOnlyWhenTheyAreWanted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for query, want := range map[string]bool{
		"{ task(id: 101) { assignee { name } creator { id active } } }":                                               false,
		"{ task(id: 101) { assignee { name } creator { email } } }":                                                   true,
		"{ task(id: 101) { assignee { address: email } } }":                                                           true,
		"{ viewer { ...F } } fragment F on User { email }":                                                            true,
		`{ node(id: "VXNlcjoz") { ... on User { ... { email } } } }`:                                                  true,
		`{ node(id: "VXNlcjoz") { ... on User { name } } }`:                                                           false,
		"mutation { updateTask(input: {id: 101, title: \"t\"}) { task { assignee { email } } userErrors { code } } }": true,
	} {
		r := w.ask(t, query, nil)
		req, _ := w.request().(*usersv1.BatchGetUsersRequest)
		if req == nil || req.GetWithoutEmail() == want || strings.Contains(r.Text, "@example.org") != want || len(r.Errors) > 0 {
			t.Errorf("%s: got %s, asked %v, want addresses: %t", query, r.Text, req, want)
		}
	}
}

func TestPagesGoBothWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	type info struct {
		Next, Previous bool
		Start, End     any
		Nodes          int
	}
	tests := []struct {
		args string
		want info
		page *pagev1.PageRequest
	}{
		{"", info{true, false, "1", "20", 20}, &pagev1.PageRequest{Size: 20}},
		{"(first: 30, after: \"15\")", info{true, true, "16", "45", 30}, &pagev1.PageRequest{Size: 30, After: "15"}},
		{"(first: 100)", info{false, false, "1", "60", 60}, &pagev1.PageRequest{Size: 100}},
		{"(last: 10)", info{false, true, "51", "60", 10}, &pagev1.PageRequest{Size: 10, Backward: true}},
		{
			"(last: 10, before: \"6\")",
			info{true, false, "1", "5", 5},
			&pagev1.PageRequest{Size: 10, Backward: true, Before: "6"},
		},
		{"(first: 5, after: \"60\")", info{false, true, nil, nil, 0}, &pagev1.PageRequest{Size: 5, After: "60"}},
		{
			"(first: 1, orderBy: [{field: DUE_DATE, direction: DESC}, {field: ID}])",
			info{true, false, "1", "1", 1},
			&pagev1.PageRequest{Size: 1, OrderBy: "-due_date,id"},
		},
	}
	for _, tt := range tests {
		for _, list := range []string{"tasks" + tt.args, "project(id: 1) { tasks" + tt.args} {
			for _, more := range []string{"", "totalCount", "edges { cursor }", "... on TaskConnection { totalCount edges { node { id } } }"} {
				query := "{ " + list + " { " + more + " nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"
				path := "tasks."
				if strings.HasPrefix(list, "project") {
					query, path = query+" }", "project.tasks."
				}
				r := w.ask(t, query, nil)
				nodes, _ := r.at(path + "nodes").([]any)
				got := info{
					r.at(path+"pageInfo.hasNextPage") == true, r.at(path+"pageInfo.hasPreviousPage") == true,
					r.at(path + "pageInfo.startCursor"), r.at(path + "pageInfo.endCursor"), len(nodes),
				}
				if got != tt.want {
					t.Errorf("%s: got %v, want %v (%v)", query, got, tt.want, r.Errors)
				}
				var total any
				if strings.Contains(more, "totalCount") {
					total = 60.0
				}
				if got := r.at(path + "totalCount"); got != total {
					t.Errorf("%s: got total %v, want %v", query, got, total)
				}
				asked, _ := w.request().(interface{ GetPage() *pagev1.PageRequest })
				want, _ := proto.Clone(tt.page).(*pagev1.PageRequest)
				want.Count, want.EndsOnly = total != nil, !strings.Contains(more, "edges")
				if diff := cmp.Diff(asked.GetPage(), want, protocmp.Transform()); diff != "" {
					t.Errorf("%s: asked (-got +want):\n%s", query, diff)
				}
			}
		}
	}
}

func TestAnUpdateTellsAbsentFromNull(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	five, date := int64(5), "2026-07-01"
	tests := []struct {
		name, input string
		want        *tasksv1.UpdateTaskRequest // without id and version
		wrong       string                     // the field of a user error
	}{
		{"absent leaves", ``, &tasksv1.UpdateTaskRequest{}, ""},
		{
			"values are set", `title: "T", description: "D", status: DONE, priority: HIGH, labels: ["a"], assigneeId: 5, parentId: "VGFzazo1", dueDate: "2026-07-01", completed: true`,
			&tasksv1.UpdateTaskRequest{
				Title: "T", Description: "D", Status: tasksv1.Status_STATUS_DONE, Priority: tasksv1.Priority_PRIORITY_HIGH,
				Labels: []string{"a"}, AssigneeId: &five, ParentId: &five, DueDate: &date, Completed: true,
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{
					"title", "description", "status", "completed", "priority", "labels", "assignee_id", "parent_id", "due_date",
				}},
			}, "",
		},
		{
			"null clears", `description: null, labels: null, assigneeId: null, parentId: null, dueDate: null`,
			&tasksv1.UpdateTaskRequest{UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{
				"description", "labels", "assignee_id", "parent_id", "due_date",
			}}}, "",
		},
		{"null does not clear what must be there", `title: null`, nil, "title"},
		{"null is no status", `status: null`, nil, "status"},
		{"null is not false", `completed: null`, nil, "completed"},
		{"an id of another type", `assigneeId: "VGFzazo1"`, nil, "assigneeId"},
		{"a version of zero", `expectedVersion: 0`, nil, "expectedVersion"},
		{"a key that can not be a header", `idempotencyKey: "ä"`, nil, "idempotencyKey"},
		{"an empty key", `idempotencyKey: ""`, nil, "idempotencyKey"},
	}
	for _, tt := range tests {
		w.counted()
		query := `mutation { updateTask(input: {id: "VGFzazo3", clientMutationId: "c", ` + tt.input +
			`}) { clientMutationId task { id } userErrors { code field } } }`
		r := w.ask(t, query, nil)
		if len(r.Errors) > 0 || r.at("updateTask.clientMutationId") != "c" {
			t.Fatalf("%s: got %s", tt.name, r.Text)
		}
		if tt.want == nil {
			want := []any{map[string]any{"code": "INVALID", "field": []any{"input", tt.wrong}}}
			if diff := cmp.Diff(r.at("updateTask.userErrors"), any(want)); diff != "" || w.counted()["UpdateTask"] != 0 {
				t.Errorf("%s: user errors (-got +want), and no call:\n%s", tt.name, diff)
			}
			continue
		}
		tt.want.Id = 7
		if tt.want.GetUpdateMask() == nil {
			tt.want.UpdateMask = &fieldmaskpb.FieldMask{}
		}
		if diff := cmp.Diff(w.request(), proto.Message(tt.want), protocmp.Transform()); diff != "" {
			t.Errorf("%s (-got +want):\n%s", tt.name, diff)
		}
	}
	w.ask(t, `mutation { deleteTask(input: {id: 3, expectedVersion: 4, idempotencyKey: "k 1"}) { deletedTaskId } }`, nil)
	want := &tasksv1.DeleteTaskRequest{Id: 3, ExpectedVersion: 4}
	if diff := cmp.Diff(w.request(), proto.Message(want), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(w.keys, []string{"k 1"}); diff != "" {
		t.Errorf("idempotency keys (-got +want):\n%s", diff)
	}
}

func TestEveryFailureHasItsPlace(t *testing.T) {
	t.Parallel()
	inPayload := map[errs.Code]bool{
		errs.Invalid: true, errs.Conflict: true, errs.PreconditionFailed: true, errs.PreconditionRequired: true, errs.KeyReused: true, errs.InProgress: true,
	}
	for _, c := range errs.Codes() {
		t.Run(string(c), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			failure := errs.New(c, "Our sentence.")
			failure.Fields = []errs.Field{{Name: "due_date", Detail: "is odd"}}
			w.answer("CreateTask", failure)
			w.answer("ListTasks", failure)
			want := strings.ToUpper(string(c))
			r := w.ask(t, `mutation { createTask(input: {projectId: 1, title: "t"}) { userErrors { code message field } } }`, nil)
			if inPayload[c] {
				userError := []any{map[string]any{"code": want, "message": "is odd", "field": []any{"input", "dueDate"}}}
				if diff := cmp.Diff(r.at("createTask.userErrors"), any(userError)); diff != "" || len(r.Errors) > 0 {
					t.Errorf("user errors (-got +want):\n%s\n%s", diff, r.Text)
				}
			} else if r.code() != want || r.Errors[0].Message != "Our sentence." || r.at("createTask") != nil {
				t.Errorf("got %s, want the error %s", r.Text, want)
			}
			r = w.ask(t, `{ tasks { nodes { id } } viewer { name } }`, nil)
			fields := []any{map[string]any{"name": "dueDate", "detail": "is odd"}}
			if len(r.Errors) != 1 || r.code() != want || r.Status != 200 || r.at("viewer.name") != "user 1" ||
				!cmp.Equal(r.Errors[0].Path, []any{"tasks"}) || !cmp.Equal(r.Errors[0].Extensions["fields"], any(fields)) {
				t.Errorf("got %s, want one error %s and the rest of the data", r.Text, want)
			}
		})
	}
}

func TestNoFailureTellsOfOurInsides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.answer("ListTasks", status.Error(codes.Internal, `pq: relation "secret" does not exist`))
	w.answer("BatchListTasks", status.Error(codes.Unavailable, "dial tcp 10.0.0.1:9090"))
	r := w.ask(t, `{ tasks { nodes { id } } }`, nil)
	if r.code() != "INTERNAL" || strings.Contains(r.Text, "secret") || strings.Count(w.logged(), "secret") != 1 {
		t.Errorf("got %s and the log %s, want INTERNAL, logged once", r.Text, w.logged())
	}
	r = w.ask(t, `{ projects { nodes { tasks { nodes { id } } } } }`, nil)
	if r.code() != "UNAVAILABLE" || strings.Contains(r.Text, "10.0.0.1") || strings.Count(w.logged(), "10.0.0.1") != 1 {
		t.Errorf("got %s and the log %s, want UNAVAILABLE, logged once", r.Text, w.logged())
	}
	w.answer("BatchGetTasks", errs.Missing("task"))
	if r = w.ask(t, `{ task(id: 7) { id } }`, nil); r.code() != "NOT_FOUND" || r.Data["task"] != nil {
		t.Errorf("got %s, want NOT_FOUND", r.Text)
	}
	if r = w.ask(t, `{ task(id: 9999999) { id } }`, nil); r.code() != "NOT_FOUND" {
		t.Errorf("got %s, want NOT_FOUND", r.Text)
	}
}

func TestAPanicIsLoggedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.config
	cfg.Users = nil
	w.url = w.serve(t, cfg)
	r := w.ask(t, `{ tasks { nodes { title assignee { name } } } viewer { id } }`, nil)
	if len(r.Errors) != 21 || r.code() != "INTERNAL" || r.at("tasks.nodes.19.title") != "task 120" {
		t.Errorf("got %s, want the titles and an error for each assignee and the viewer", r.Text)
	}
	if got := strings.Count(w.logged(), "msg=panic"); got != 2 || strings.Contains(r.Text, "nil pointer") {
		t.Errorf("got %d lines in the log, want one for the assignees and one for the viewer\n%s", got, w.logged())
	}
}

func TestTheEdgeLimitsSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.config
	tries := 0
	cfg.SignIn = func(context.Context) error {
		if tries++; tries > 2 {
			return errs.New(errs.RateLimited, "Too many tries.")
		}
		return nil
	}
	w.url = w.serve(t, cfg)
	login := `login(input: {email: "a", password: "b"}) { tokens { accessToken } }`
	r := w.ask(t, "mutation { a: "+login+" b: "+login+" c: "+login+" }", nil)
	if r.at("b.tokens.accessToken") != "access" || r.at("c") != nil || r.code() != "RATE_LIMITED" {
		t.Errorf("got %s, want the third refused", r.Text)
	}
}

func TestStrangersMayOnlySignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stranger := map[string]string{"Content-Type": "application/json"}
	for query, want := range map[string]any{
		`{ viewer { id } }`:                                                                     "UNAUTHENTICATED",
		`{ tasks { nodes { id } } }`:                                                            "UNAUTHENTICATED",
		`{ node(id: \"VGFzazo3\") { id } }`:                                                     "UNAUTHENTICATED",
		`mutation { updateTask(input: {id: 0}) { task { id } } }`:                               "INVALID",
		`mutation { updateTask(input: {id: 3, title: null}) { task { id } } }`:                  "UNAUTHENTICATED",
		`mutation { login(input: {email: \"a\", password: \"b\"}) { tokens { accessToken } } }`: nil,
		`{ __schema { types { name } } }`:                                                       nil,
	} {
		r := w.send(t, http.MethodPost, "", `{"query": "`+query+`"}`, stranger)
		if r.code() != want {
			t.Errorf("%s: got %s, want %v", query, r.Text, want)
		}
	}
}

func TestHTTPAsTheSpecificationSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const (
		viewer = `{"query": "{ viewer { id } }"}`
		bad    = `{"query": "{ nothing }"}`
		modern = "application/graphql-response+json"
	)
	get := func(query string) string { return "?query=" + url.QueryEscape(query) }
	tests := []struct {
		name, method, path, body, contentType, accept string
		status                                        int
		code                                          any
	}{
		{"post", "POST", "", viewer, "application/json; charset=utf-8", "", 200, nil},
		{"modern", "POST", "", viewer, "application/json", modern, 200, nil},
		{"get", "GET", get("{ viewer { id } }"), "", "", "", 200, nil},
		{"get with variables", "GET", get("query($i: ID!) { task(id: $i) { id } }") + "&variables=" + url.QueryEscape(`{"i": 101}`), "", "", "", 200, nil},
		{"invalid, old", "POST", "", bad, "application/json", "application/json", 200, "GRAPHQL_VALIDATION_FAILED"},
		{"invalid, modern", "POST", "", bad, "application/json", modern + ";q=0.9, application/json;q=0.1", 400, "GRAPHQL_VALIDATION_FAILED"},
		{"mutation by get", "GET", get("mutation { deleteTask(input: {id: 1}) { deletedTaskId } }"), "", "", "", 405, "METHOD_NOT_ALLOWED"},
		{"put", "PUT", "", viewer, "application/json", "", 405, "METHOD_NOT_ALLOWED"},
		{"form", "POST", "", "query={viewer{id}}", "application/x-www-form-urlencoded", "", 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"no content type", "POST", "", viewer, "", "", 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"xml wanted", "POST", "", viewer, "application/json", "application/xml", 406, "NOT_ACCEPTABLE"},
		{"malformed", "POST", "", `{"query": `, "application/json", "", 400, "INVALID"},
		{"batch", "POST", "", "[" + viewer + "]", "application/json", "", 400, "INVALID"},
		{"no query", "POST", "", `{}`, "application/json", "", 400, "INVALID"},
		{"empty query", "POST", "", `{"query": ""}`, "application/json", modern, 400, "GRAPHQL_VALIDATION_FAILED"},
		{"a number for a query", "POST", "", `{"query": 7}`, "application/json", "", 400, "INVALID"},
		{"nulls", "POST", "", `{"query": "{ viewer { id } }", "operationName": null, "variables": null, "extensions": null}`, "application/json", "", 200, nil},
		{"unknown member", "POST", "", `{"query": "{ viewer { id } }", "more": 1}`, "application/json", "", 200, nil},
		{"too large", "POST", "", `{"query": "` + strings.Repeat("x", 1<<20) + `"}`, "application/json", "", 413, "TOO_LARGE"},
		{"not UTF-8", "POST", "", "{\"query\": \"\xff\"}", "application/json", "", 400, "INVALID"},
		{"unknown operation", "POST", "", `{"query": "query a { viewer { id } }", "operationName": "b"}`, "application/json", modern, 400, "GRAPHQL_VALIDATION_FAILED"},
		{"bad variable", "POST", "", `{"query": "query($s: TaskStatus!) { tasks(filter: {statuses: [$s]}) { totalCount } }", "variables": {"s": "NEVER"}}`, "application/json", modern, 400, "GRAPHQL_VALIDATION_FAILED"},
		{"badly spelled variable", "POST", "", `{"query": "query($s: TaskStatus!) { tasks(filter: {statuses: [$s]}) { totalCount } }", "variables": {"s": "todo"}}`, "application/json", modern, 200, "INVALID"},
		{"bad date", "POST", "", `{"query": "{ tasks(filter: {dueBefore: \"2026-02-30\"}) { totalCount } }"}`, "application/json", modern, 200, "INVALID"},
		{"bad id", "POST", "", `{"query": "{ task(id: \"x\") { id } }"}`, "application/json", modern, 200, "INVALID"},
		{"bad enum in an order", "POST", "", `{"query": "query($f: TaskOrderField!) { tasks(orderBy: [{field: $f}]) { totalCount } }", "variables": {"f": 7}}`, "application/json", modern, 400, "GRAPHQL_VALIDATION_FAILED"},
	}
	for _, tt := range tests {
		header := map[string]string{"Authorization": "Bearer t"}
		if tt.contentType != "" {
			header["Content-Type"] = tt.contentType
		}
		if tt.accept != "" {
			header["Accept"] = tt.accept
		}
		r := w.send(t, tt.method, tt.path, tt.body, header)
		if strings.Contains(r.Text, "int64") {
			t.Errorf("%s: %s speaks Go", tt.name, r.Text)
		}
		if r.Status != tt.status || r.code() != tt.code {
			t.Errorf("%s: got %d %.300s, want %d %v", tt.name, r.Status, r.Text, tt.status, tt.code)
		}
		want := "application/json; charset=utf-8"
		if strings.HasPrefix(tt.accept, modern) {
			want = modern + "; charset=utf-8"
		}
		if got := r.Header.Get("Content-Type"); got != want {
			t.Errorf("%s: got %q, want %q", tt.name, got, want)
		}
		if tt.status == http.StatusMethodNotAllowed && r.Header.Get("Allow") == "" {
			t.Errorf("%s: no Allow header", tt.name)
		}
	}
}

func TestASlowBodyIsWorthAnotherTry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow := iotest.ErrReader(errs.New(errs.RequestTimeout, "The body took too long to arrive."))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/graphql", slow)
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	if w.handler(w.config).ServeHTTP(rec, r); rec.Code != http.StatusRequestTimeout {
		t.Errorf("got %d %s, want 408", rec.Code, rec.Body)
	}
}

// What graphql-js 16 and every tool on top of it ask.
const introspection = `query IntrospectionQuery { __schema { description queryType { name } mutationType { name }
	subscriptionType { name } types { ...FullType } directives { name description isRepeatable locations args { ...InputValue } } } }
	fragment FullType on __Type { kind name description specifiedByURL
		fields(includeDeprecated: true) { name description args(includeDeprecated: true) { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason }
		inputFields(includeDeprecated: true) { ...InputValue } interfaces { ...TypeRef }
		enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } }
	fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason }
	fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
		ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }`

func TestToolsCanIntrospect(t *testing.T) {
	t.Parallel()
	r := newWorld(t).ask(t, introspection, nil)
	if types, ok := r.at("__schema.types").([]any); !ok || len(types) < 60 || len(r.Errors) > 0 {
		t.Errorf("got %.300s, want the whole schema", r.Text)
	}
	if strings.Contains(r.Text, `"defer"`) {
		t.Error("the schema offers @defer, which the handler does not serve")
	}
}

func BenchmarkNestedQuery(b *testing.B) {
	w := newWorld(b)
	query := `{ projects(first: 20) { nodes { name tasks(first: 10) { edges { node {
		title assignee { name } comments(first: 3) { nodes { body author { name } } } } } } } } }`
	for b.Loop() {
		if r := w.ask(b, query, nil); len(r.Errors) > 0 {
			b.Fatal(r.Text)
		}
	}
}
