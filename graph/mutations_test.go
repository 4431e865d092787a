package graph_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

func TestWhatIsAskedReachesTheService(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	five, six := int64(5), int64(6)
	trash := &pagev1.PageRequest{Size: 20, OrderBy: "-deleted_at"}
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
			&tasksv1.ListTasksRequest{Page: trash, Filter: &tasksv1.TaskFilter{Deleted: true}},
		},
		{
			`{ comments(filter: {deleted: true}, orderBy: {field: DELETED_AT, direction: DESC}) { nodes { deletedAt } } }`,
			&tasksv1.ListCommentsRequest{Page: trash, Deleted: true},
		},
		{
			`{ projects(filter: {deleted: true}, orderBy: {field: DELETED_AT, direction: DESC}) { nodes { deletedAt } } }`,
			&projectsv1.ListProjectsRequest{Page: trash, Deleted: true},
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

func TestASessionGoesOnWithoutAnAccessToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.send(t, http.MethodPost, "", `{"query": "mutation { refreshTokens(input: {refreshToken: \"r\", idempotencyKey: \"k\"}) { tokens { accessToken refreshToken } user { name } } }"}`,
		map[string]string{"Content-Type": "application/json"})
	if r.at("refreshTokens.tokens.accessToken") != "next" || r.at("refreshTokens.user.name") != "user 1" || !cmp.Equal(w.keys, []string{"k"}) {
		t.Errorf("got %s and the keys %q", r.Text, w.keys)
	}
}
