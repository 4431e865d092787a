package tasks_test

import (
	"slices"
	"testing"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/pgtest"
	eventsv1 "github.com/trackway/trackway/services/rpc/events/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// types gives what the events are, oldest first, with what an update changed.
func types(list []*eventsv1.Event) []string {
	var all []string
	for _, e := range list {
		all = append(all, e.GetType())
		all = append(all, e.GetChanged()...)
	}
	return all
}

func TestEventsAreToldToThoseWhoMayReadTheProject(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project, other := s.project(), s.project()
	task := s.task(&tasksv1.CreateTaskRequest{ProjectId: project})
	s.task(&tasksv1.CreateTaskRequest{ProjectId: other})
	assignee := worker
	if _, err := s.tasks.UpdateTask(s.as(worker), &tasksv1.UpdateTaskRequest{
		Id: task.GetId(), Title: "Shipped", AssigneeId: &assignee, UpdateMask: mask("title", "assignee_id"),
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.tasks.CreateComment(s.as(commenter), &tasksv1.CreateCommentRequest{TaskId: task.GetId(), Body: "Well"}); err != nil {
		t.Fatal(err)
	}
	list := func(user int64, req *eventsv1.ListEventsRequest) *eventsv1.ListEventsResponse {
		t.Helper()
		answer, err := s.tasks.ListEvents(s.as(user), req)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	all := []string{"task.created", "task.updated", "title", "assignee_id", "comment.created"}
	pgtest.Settle(t)
	whole := list(viewer, &eventsv1.ListEventsRequest{ProjectId: project})
	if got := types(whole.GetEvents()); !slices.Equal(got, all) || whole.GetMore() {
		t.Errorf("got %v, want %v", got, all)
	}
	// In pages, each from where the one before ended, and from the last on.
	var paged []string
	for after, more := "", true; more; {
		page := list(viewer, &eventsv1.ListEventsRequest{ProjectId: project, After: after, Limit: 1})
		paged, after, more = append(paged, types(page.GetEvents())...), page.GetCursor(), page.GetMore()
	}
	if !slices.Equal(paged, all) {
		t.Errorf("in pages: got %v, want %v", paged, all)
	}
	newest := list(viewer, &eventsv1.ListEventsRequest{ProjectId: project, Limit: 1, NewestFirst: true})
	if got := types(newest.GetEvents()); !slices.Equal(got, []string{"comment.created"}) || newest.GetCursor() != whole.GetCursor() {
		t.Errorf("the newest: got %v at %s, want the comment at %s", got, newest.GetCursor(), whole.GetCursor())
	}
	only := list(viewer, &eventsv1.ListEventsRequest{ProjectId: project, Types: []string{"task.updated"}, SubjectId: task.GetId()})
	if got := types(only.GetEvents()); !slices.Equal(got, []string{"task.updated", "title", "assignee_id"}) {
		t.Errorf("of one type: got %v", got)
	}
	mine := list(worker, &eventsv1.ListEventsRequest{Mine: true})
	if got := types(mine.GetEvents()); !slices.Equal(got, all[1:]) {
		t.Errorf("what concerns the assignee: got %v, want %v", got, all[1:])
	}
	for name, tt := range map[string]struct {
		user int64
		req  *eventsv1.ListEventsRequest
		want errs.Code
	}{
		"a stranger":          {stranger, &eventsv1.ListEventsRequest{ProjectId: project}, errs.NotFound},
		"everything there is": {admin, &eventsv1.ListEventsRequest{}, errs.Invalid},
		"no cursor":           {owner, &eventsv1.ListEventsRequest{ProjectId: project, After: "x"}, errs.Invalid},
		"too many":            {owner, &eventsv1.ListEventsRequest{ProjectId: project, Limit: 501}, errs.Invalid},
	} {
		if _, err := s.tasks.ListEvents(s.as(tt.user), tt.req); code(err) != tt.want {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}
