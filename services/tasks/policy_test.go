package tasks_test

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/trackway/trackway/services/platform/errs"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// scene is what one cell of the policy table acts on: a project with two tasks, and on the second a comment of the caller's and one of
// somebody else's.
type scene struct {
	project, first, task, own, other int64
}

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	const (
		ok       = errs.Code("")
		denied   = errs.Denied
		hidden   = errs.NotFound
		archived = errs.Conflict
	)
	// In the order of everybody: owner, manager, worker, commenter, viewer, stranger, admin.
	type outcomes struct{ private, public, archived []errs.Code }
	reads := outcomes{
		[]errs.Code{ok, ok, ok, ok, ok, hidden, ok},
		[]errs.Code{ok, ok, ok, ok, ok, ok, ok},
		[]errs.Code{ok, ok, ok, ok, ok, hidden, ok},
	}
	writes := outcomes{
		[]errs.Code{ok, ok, ok, denied, denied, hidden, ok},
		[]errs.Code{ok, ok, ok, denied, denied, denied, ok},
		[]errs.Code{archived, archived, archived, denied, denied, hidden, archived},
	}
	comments := outcomes{
		[]errs.Code{ok, ok, ok, ok, denied, hidden, ok},
		[]errs.Code{ok, ok, ok, ok, denied, denied, ok},
		[]errs.Code{archived, archived, archived, archived, denied, hidden, archived},
	}
	moderates := outcomes{
		[]errs.Code{ok, ok, denied, denied, denied, hidden, ok},
		[]errs.Code{ok, ok, denied, denied, denied, denied, ok},
		[]errs.Code{archived, archived, archived, archived, denied, hidden, archived},
	}
	nobody := outcomes{
		[]errs.Code{denied, denied, denied, denied, denied, hidden, denied},
		[]errs.Code{denied, denied, denied, denied, denied, denied, denied},
		[]errs.Code{archived, archived, archived, archived, denied, hidden, archived},
	}
	tests := []struct {
		name string
		want outcomes
		do   func(ctx context.Context, in scene) error
	}{
		{"get a task", reads, func(ctx context.Context, in scene) error {
			_, err := s.tasks.GetTask(ctx, &tasksv1.GetTaskRequest{Id: in.task})
			return err
		}},
		{"get tasks", reads, func(ctx context.Context, in scene) error {
			got, err := s.tasks.BatchGetTasks(ctx, &tasksv1.BatchGetTasksRequest{Ids: []int64{in.task}})
			return left(got.GetTasks(), err)
		}},
		{"list tasks", reads, func(ctx context.Context, in scene) error {
			_, err := s.tasks.ListTasks(ctx, &tasksv1.ListTasksRequest{ProjectId: in.project})
			return err
		}},
		{"list several projects' tasks", reads, func(ctx context.Context, in scene) error {
			got, err := s.tasks.BatchListTasks(ctx, &tasksv1.BatchListTasksRequest{ProjectIds: []int64{in.project}})
			return leftOut(got.GetPages(), err)
		}},
		{"list several tasks' subtasks", reads, func(ctx context.Context, in scene) error {
			got, err := s.tasks.BatchListSubtasks(ctx, &tasksv1.BatchListSubtasksRequest{TaskIds: []int64{in.task}})
			return leftOut(got.GetPages(), err)
		}},
		{"create a task", writes, func(ctx context.Context, in scene) error {
			_, err := s.tasks.CreateTask(ctx, &tasksv1.CreateTaskRequest{ProjectId: in.project, Title: "New"})
			return err
		}},
		{"update a task", writes, func(ctx context.Context, in scene) error {
			_, err := s.tasks.UpdateTask(ctx, &tasksv1.UpdateTaskRequest{Id: in.task, Title: "New", UpdateMask: mask("title")})
			return err
		}},
		{"delete a task", writes, func(ctx context.Context, in scene) error {
			_, err := s.tasks.DeleteTask(ctx, &tasksv1.DeleteTaskRequest{Id: in.task})
			return err
		}},
		{"list deleted tasks", outcomes{
			[]errs.Code{ok, ok, ok, denied, denied, hidden, ok},
			[]errs.Code{ok, ok, ok, denied, denied, denied, ok},
			[]errs.Code{ok, ok, ok, denied, denied, hidden, ok},
		}, func(ctx context.Context, in scene) error {
			_, err := s.tasks.ListTasks(ctx, &tasksv1.ListTasksRequest{ProjectId: in.project, Filter: &tasksv1.TaskFilter{Deleted: true}})
			return err
		}},
		{"restore a task", writes, func(ctx context.Context, in scene) error {
			s.trash("tasks", in.task)
			_, err := s.tasks.RestoreTask(ctx, &tasksv1.RestoreTaskRequest{Id: in.task})
			return err
		}},
		{"move a task", writes, func(ctx context.Context, in scene) error {
			_, err := s.tasks.MoveTask(ctx, &tasksv1.MoveTaskRequest{Id: in.task, BeforeId: &in.first})
			return err
		}},
		{"create tasks", writes, func(ctx context.Context, in scene) error {
			_, err := s.tasks.BatchCreateTasks(ctx, &tasksv1.BatchCreateTasksRequest{
				Requests: []*tasksv1.CreateTaskRequest{{ProjectId: in.project, Title: "New"}},
			})
			return err
		}},
		{"update tasks", writes, func(ctx context.Context, in scene) error {
			_, err := s.tasks.BatchUpdateTasks(ctx, &tasksv1.BatchUpdateTasksRequest{
				Requests: []*tasksv1.UpdateTaskRequest{{Id: in.task, Title: "New", UpdateMask: mask("title")}},
			})
			return err
		}},
		{"get a comment", reads, func(ctx context.Context, in scene) error {
			_, err := s.tasks.GetComment(ctx, &tasksv1.GetCommentRequest{Id: in.other})
			return err
		}},
		{"get comments", reads, func(ctx context.Context, in scene) error {
			got, err := s.tasks.BatchGetComments(ctx, &tasksv1.BatchGetCommentsRequest{Ids: []int64{in.other}})
			return left(got.GetComments(), err)
		}},
		{"list comments", reads, func(ctx context.Context, in scene) error {
			_, err := s.tasks.ListComments(ctx, &tasksv1.ListCommentsRequest{TaskId: in.task})
			return err
		}},
		{"list several tasks' comments", reads, func(ctx context.Context, in scene) error {
			got, err := s.tasks.BatchListComments(ctx, &tasksv1.BatchListCommentsRequest{TaskIds: []int64{in.task}})
			return leftOut(got.GetPages(), err)
		}},
		{"create a comment", comments, func(ctx context.Context, in scene) error {
			_, err := s.tasks.CreateComment(ctx, &tasksv1.CreateCommentRequest{TaskId: in.task, Body: "New"})
			return err
		}},
		{"update one's own comment", comments, func(ctx context.Context, in scene) error {
			_, err := s.tasks.UpdateComment(ctx, &tasksv1.UpdateCommentRequest{Id: in.own, Body: "New", UpdateMask: mask("body")})
			return err
		}},
		{"update another's comment", nobody, func(ctx context.Context, in scene) error {
			_, err := s.tasks.UpdateComment(ctx, &tasksv1.UpdateCommentRequest{Id: in.other, Body: "New", UpdateMask: mask("body")})
			return err
		}},
		{"delete one's own comment", comments, func(ctx context.Context, in scene) error {
			_, err := s.tasks.DeleteComment(ctx, &tasksv1.DeleteCommentRequest{Id: in.own})
			return err
		}},
		{"delete another's comment", moderates, func(ctx context.Context, in scene) error {
			_, err := s.tasks.DeleteComment(ctx, &tasksv1.DeleteCommentRequest{Id: in.other})
			return err
		}},
		{"list deleted comments", outcomes{
			[]errs.Code{ok, ok, ok, ok, denied, hidden, ok},
			[]errs.Code{ok, ok, ok, ok, denied, denied, ok},
			[]errs.Code{ok, ok, ok, ok, denied, hidden, ok},
		}, func(ctx context.Context, in scene) error {
			_, err := s.tasks.ListComments(ctx, &tasksv1.ListCommentsRequest{TaskId: in.task, Deleted: true})
			return err
		}},
		{"restore one's own comment", comments, func(ctx context.Context, in scene) error {
			s.trash("comments", in.own)
			_, err := s.tasks.RestoreComment(ctx, &tasksv1.RestoreCommentRequest{Id: in.own})
			return err
		}},
		{"restore another's comment", moderates, func(ctx context.Context, in scene) error {
			s.trash("comments", in.other)
			_, err := s.tasks.RestoreComment(ctx, &tasksv1.RestoreCommentRequest{Id: in.other})
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for i, user := range everybody() {
				for where, want := range map[string]errs.Code{
					"private": tt.want.private[i], "public": tt.want.public[i], "archived": tt.want.archived[i],
				} {
					in := s.in(t).scene(where, user)
					if got := code(tt.do(s.in(t).as(user), in)); got != want {
						t.Errorf("%s project, user %d: got %q, want %q", where, user, got, want)
					}
				}
			}
		})
	}
}

func (s *suite) scene(where string, user int64) scene {
	s.Helper()
	const somebody = 20
	first := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project()})
	task := s.task(&tasksv1.CreateTaskRequest{ProjectId: first.GetProjectId()})
	in := scene{
		first: first.GetId(), project: task.GetProjectId(), task: task.GetId(), own: s.comment(task, user), other: s.comment(task, somebody),
	}
	switch where {
	case "public":
		s.publish(in.project)
	case "archived":
		s.archive(in.project)
	}
	return in
}

func TestNobodyWithoutAToken(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	_, err := s.tasks.ListTasks(t.Context(), &tasksv1.ListTasksRequest{})
	if got := code(err); got != errs.Unauthenticated {
		t.Errorf("without a token: got %q, want %q", got, errs.Unauthenticated)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer x.y.z")
	_, err = s.tasks.ListTasks(ctx, &tasksv1.ListTasksRequest{})
	if got := code(err); got != errs.Unauthenticated {
		t.Errorf("with a forged token: got %q, want %q", got, errs.Unauthenticated)
	}
}

// What is wrong with a request must not tell that a task exists to those who may not know it.
func TestAHiddenTaskIsLikeNone(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	hidden := s.task(&tasksv1.CreateTaskRequest{ProjectId: foreign + 1}).GetId()
	none := hidden + 1000
	ask := func(id int64) []string {
		var got []string
		for _, req := range []*tasksv1.UpdateTaskRequest{
			{Id: id},
			{Id: id, ExpectedVersion: 17, UpdateMask: mask("title"), Title: "New"},
			{Id: id, UpdateMask: mask("title")},
			{Id: id, UpdateMask: mask("parent_id"), ParentId: new(int64(1 << 40))},
			{Id: id, UpdateMask: mask("assignee_id"), AssigneeId: new(worker)},
		} {
			_, err := s.tasks.UpdateTask(s.as(worker), req)
			got = append(got, errs.From(err).Error())
		}
		_, err := s.tasks.CreateComment(s.as(worker), &tasksv1.CreateCommentRequest{TaskId: id, Body: "Hm"})
		got = append(got, errs.From(err).Error())
		_, err = s.tasks.ListComments(s.as(worker), &tasksv1.ListCommentsRequest{TaskId: id})
		return append(got, errs.From(err).Error())
	}
	if got, want := fmt.Sprint(ask(hidden)), fmt.Sprint(ask(none)); got != want {
		t.Errorf("a hidden task answers\n%s, want the same as none\n%s", got, want)
	}
}
