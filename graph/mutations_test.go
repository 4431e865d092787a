package graph_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/trackway/trackway/services/platform/errs"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

func TestWhatIsAskedReachesTheService(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	five, six := int64(5), int64(6)
	deletedAt := &fieldmaskpb.FieldMask{Paths: []string{"id", "deleted_at"}}
	trash := &pagev1.PageRequest{Size: 20, OrderBy: "-deleted_at", NoCursors: true}
	for _, tt := range []struct {
		query string
		want  proto.Message
	}{
		{
			`mutation { restoreTask(input: {id: "VGFzazo3", expectedVersion: 3}) { task { id deletedAt } userErrors { code } } }`,
			&tasksv1.RestoreTaskRequest{Id: 7, ExpectedVersion: 3},
		},
		{
			`mutation { restoreComment(input: {id: 7}) { comment { id deletedAt } userErrors { code } } }`,
			&tasksv1.RestoreCommentRequest{Id: 7},
		},
		{
			`mutation { restoreProject(input: {id: 7, expectedVersion: 1}) { project { id deletedAt } userErrors { code } } }`,
			&projectsv1.RestoreProjectRequest{Id: 7, ExpectedVersion: 1},
		},
		{
			`mutation { moveTask(input: {id: 7, afterId: "VGFzazo1", beforeId: 6, status: DONE}) { task { id } } }`,
			&tasksv1.MoveTaskRequest{Id: 7, AfterId: &five, BeforeId: &six, Status: tasksv1.Status_STATUS_DONE},
		},
		{
			`mutation { createProject(input: {name: "n", requireIfMatch: true}) { project { requireIfMatch } } }`,
			&projectsv1.CreateProjectRequest{Name: "n", RequireIfMatch: true},
		},
		{
			`mutation { updateProject(input: {id: 7, requireIfMatch: true}) { project { id } } }`,
			&projectsv1.UpdateProjectRequest{
				Id: 7, RequireIfMatch: true, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"require_if_match"}},
			},
		},
		{
			`{ tasks(filter: {deleted: true}, orderBy: {field: DELETED_AT, direction: DESC}) { nodes { deletedAt } } }`,
			&tasksv1.ListTasksRequest{Page: trash, Filter: &tasksv1.TaskFilter{Deleted: true}, ReadMask: deletedAt},
		},
		{
			`{ comments(filter: {deleted: true}, orderBy: {field: DELETED_AT, direction: DESC}) { nodes { deletedAt } } }`,
			&tasksv1.ListCommentsRequest{Page: trash, Deleted: true, ReadMask: deletedAt},
		},
		{
			`{ projects(filter: {deleted: true}, orderBy: {field: DELETED_AT, direction: DESC}) { nodes { deletedAt } } }`,
			&projectsv1.ListProjectsRequest{Page: trash, Deleted: true, ReadMask: deletedAt},
		},
		{
			`mutation { createTasks(input: {tasks: [{projectId: 2, title: "a", dueDate: "2027-01-01"}, {projectId: "UHJvamVjdDox", title: "b"}]}) {
				outcomes { task { id } userErrors { code } } } }`,
			&tasksv1.BatchCreateTasksRequest{Requests: []*tasksv1.CreateTaskRequest{
				{ProjectId: 2, Title: "a", DueDate: new("2027-01-01")}, {ProjectId: 1, Title: "b"},
			}},
		},
		{
			`mutation { updateTasks(input: {atomic: false, tasks: [{id: 101, completed: true, expectedVersion: 3}, {id: 102, assigneeId: null}]}) {
				outcomes { task { id } userErrors { code } } } }`,
			&tasksv1.BatchUpdateTasksRequest{AllowPartialSuccess: true, Requests: []*tasksv1.UpdateTaskRequest{
				{Id: 101, ExpectedVersion: 3, Completed: true, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"completed"}}},
				{Id: 102, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"assignee_id"}}},
			}},
		},
		{`{ sessions { id createdAt current } }`, &usersv1.ListSessionsRequest{}},
		{
			`mutation { endSession(input: {id: "8e03978e-40d5-43e8-bc93-6894a57f9324"}) { endedSessionId } }`,
			&usersv1.DeleteSessionRequest{Id: "8e03978e-40d5-43e8-bc93-6894a57f9324"},
		},
		{`mutation { endSessions(input: {}) { userErrors { code } } }`, &usersv1.DeleteSessionsRequest{}},
		{
			`{ tasks(filter: {search: "a"}, orderBy: {field: RELEVANCE, direction: DESC}) { nodes { id } } }`,
			&tasksv1.ListTasksRequest{
				Page: &pagev1.PageRequest{Size: 20, OrderBy: "-relevance", NoCursors: true}, Filter: &tasksv1.TaskFilter{Search: "a"},
				ReadMask: &fieldmaskpb.FieldMask{Paths: []string{"id"}},
			},
		},
		{`mutation { logout(input: {}) { userErrors { code } } }`, &usersv1.LogoutRequest{}},
		{
			`mutation { changePassword(input: {currentPassword: "a", newPassword: "b"}) { userErrors { code } } }`,
			&usersv1.ChangePasswordRequest{CurrentPassword: "a", NewPassword: "b"},
		},
	} {
		r := w.ask(t, tt.query, nil)
		if diff := cmp.Diff(w.request(), tt.want, protocmp.Transform()); diff != "" || len(r.Errors) > 0 {
			t.Errorf("%s (-got +want): %s\n%s", tt.query, r.Text, diff)
		}
	}
	w.counted()
	r := w.ask(t, `{ task(id: 101) { comments(filter: {deleted: true}) { nodes { id } } } }`, nil)
	if r.code() != "INVALID" || w.counted()["BatchListComments"] != 0 {
		t.Errorf("got %s, want no trash below a task", r.Text)
	}
}

// What is wrong with one of several things names its place in the input, whoever finds it.
func TestTheFailuresOfABatchNameTheirPlace(t *testing.T) {
	t.Parallel()
	const query = `mutation { updateTasks(input: {tasks: [{id: 101}, {id: 102, expectedVersion: 3}], atomic: false}) {
		outcomes { task { id assignee { name } } userErrors { code message field } } userErrors { code message field } } }`
	w := newWorld(t)
	r := w.ask(t, `mutation { updateTasks(input: {tasks: [{id: 101}, {id: "UHJvamVjdDox", title: null}]}) {
		outcomes { task { id } } userErrors { code message field } } }`, nil)
	want := `{"data":{"updateTasks":{"outcomes":null,"userErrors":[` +
		`{"code":"INVALID","message":"must be the id of a task","field":["input","tasks","1","id"]},` +
		`{"code":"INVALID","message":"must not be null","field":["input","tasks","1","title"]}]}}`
	if !strings.HasPrefix(r.Text, want) {
		t.Errorf("got %s, want %s", r.Text, want)
	}
	failed := errs.New(errs.PreconditionFailed, "requests[1] of the batch can not be done")
	failed.Fields = []errs.Field{{Name: "requests[1]", Detail: "has changed"}, {Name: "requests[0].due_date", Detail: "is no day"}}
	w.answer("BatchUpdateTasks", failed)
	r = w.ask(t, query, nil)
	want = `{"data":{"updateTasks":{"outcomes":null,"userErrors":[` +
		`{"code":"PRECONDITION_FAILED","message":"has changed","field":["input","tasks","1"]},` +
		`{"code":"PRECONDITION_FAILED","message":"is no day","field":["input","tasks","0","dueDate"]}]}}`
	if !strings.HasPrefix(r.Text, want) {
		t.Errorf("got %s, want %s", r.Text, want)
	}
	w.answer("BatchUpdateTasks", nil)
	r = w.ask(t, query, nil)
	want = `{"data":{"updateTasks":{"outcomes":[{"task":{"id":"VGFzazoxMDE","assignee":{"name":"user 2"}},"userErrors":[]},` +
		`{"task":null,"userErrors":[{"code":"NOT_FOUND","message":"There is none.","field":["input","tasks","1"]}]}],"userErrors":[]}}`
	if !strings.HasPrefix(r.Text, want) {
		t.Errorf("got %s, want %s", r.Text, want)
	}
}

func TestATokenIsNotLimitedToNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(t, `mutation { createPersonalAccessToken(input: {name: "Report", scopes: [TASKS_READ], projectIds: []}) {
		secret userErrors { code message field } } }`, nil)
	want := `{"data":{"createPersonalAccessToken":{"secret":null,"userErrors":[` +
		`{"code":"INVALID","message":"must not be empty","field":["input","projectIds"]}]}}`
	if !strings.HasPrefix(r.Text, want) {
		t.Errorf("got %s, want %s", r.Text, want)
	}
}

func TestASessionGoesOnWithoutAnAccessToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.send(t, http.MethodPost, "", `{"query": "mutation { refreshTokens(input: {refreshToken: \"r\", idempotencyKey: \"k\"}) { tokens { accessToken refreshToken } user { name } } }"}`,
		map[string]string{"Content-Type": "application/json"})
	if r.at("refreshTokens.tokens.accessToken") != "next" || r.at("refreshTokens.user.name") != "user 1" || !cmp.Equal(w.keys, []string{"k"}) {
		t.Errorf("got %s and the keys %q", r.Text, w.keys)
	}
}
