package tasks_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// trash deletes a row behind the service's back.
func (s *suite) trash(table string, id int64) {
	s.Helper()
	_, err := s.db.NewUpdate().Table(table).Set("deleted_at = now()").Where("id = ?", id).Exec(s.Context())
	if err != nil {
		s.Fatal(err)
	}
}

func TestADeletedTaskIsInTheTrashAndComesBack(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	var ids []int64
	for range 4 {
		ids = append(ids, s.task(&tasksv1.CreateTaskRequest{ProjectId: project}).GetId())
	}
	s.task(&tasksv1.CreateTaskRequest{ProjectId: project, ParentId: &ids[1]})
	before, err := s.tasks.GetTask(s.as(worker), &tasksv1.GetTaskRequest{Id: ids[1]})
	if err != nil {
		t.Fatal(err)
	}
	comment := s.comment(before, worker)
	for _, id := range []int64{ids[2], ids[1]} {
		if _, err := s.tasks.DeleteTask(s.as(worker), &tasksv1.DeleteTaskRequest{Id: id}); err != nil {
			t.Fatal(err)
		}
	}
	trash := func(project int64, by string) []int64 {
		t.Helper()
		got, err := s.tasks.ListTasks(s.as(worker), &tasksv1.ListTasksRequest{
			ProjectId: project, Filter: &tasksv1.TaskFilter{Deleted: true}, Page: &pagev1.PageRequest{OrderBy: by},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range got.GetTasks() {
			if in.GetDeletedAt() == nil {
				t.Errorf("task %d in the trash has no deleted_at", in.GetId())
			}
		}
		return mapped(got.GetTasks(), (*tasksv1.Task).GetId)
	}
	for by, want := range map[string][]int64{"": ids[1:3], "-deleted_at": ids[1:3], "deleted_at": {ids[2], ids[1]}} {
		for _, in := range []int64{project, 0} {
			if diff := cmp.Diff(want, trash(in, by)); diff != "" {
				t.Errorf("the trash of project %d by %q (-want +got):\n%s", in, by, diff)
			}
		}
	}
	if _, err := s.tasks.ListTasks(s.as(worker), &tasksv1.ListTasksRequest{Page: &pagev1.PageRequest{OrderBy: "deleted_at"}}); code(err) != errs.Invalid {
		t.Errorf("live tasks by deleted_at: got %v, want %q", err, errs.Invalid)
	}
	if _, err := s.tasks.RestoreTask(s.as(worker), &tasksv1.RestoreTaskRequest{Id: ids[1], ExpectedVersion: 1}); code(err) != errs.PreconditionFailed {
		t.Errorf("restoring an old version: got %v, want %q", err, errs.PreconditionFailed)
	}
	var first *tasksv1.Task
	for _, key := range []string{"k", "k", "other"} { // the second is a replay, the third finds nothing to do
		got, err := s.tasks.RestoreTask(idempotency.WithKey(s.as(worker), key), &tasksv1.RestoreTaskRequest{Id: ids[1]})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		if diff := cmp.Diff(first, got, protocmp.Transform()); diff != "" {
			t.Errorf("key %q (-first +got):\n%s", key, diff)
		}
	}
	s.count(1, "events", "type = 'task.restored' AND subject_id = ? AND version = 3", ids[1])
	before.Version = 3
	if diff := cmp.Diff(before, first, protocmp.Transform(), protocmp.IgnoreFields(before, "updated_at")); diff != "" {
		t.Errorf("restored (-before +after):\n%s", diff)
	}
	if _, err := s.tasks.GetComment(s.as(worker), &tasksv1.GetCommentRequest{Id: comment}); err != nil {
		t.Errorf("its comment: %v", err)
	}
	if diff := cmp.Diff(ids[2:3], trash(project, "")); diff != "" {
		t.Errorf("the trash afterwards (-want +got):\n%s", diff)
	}
}

func TestTheTrashOfCommentsIsForWhoMayRestoreThem(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	task := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project()})
	gone := s.task(&tasksv1.CreateTaskRequest{ProjectId: task.GetProjectId()})
	mine, theirs, live, hidden := s.comment(task, commenter), s.comment(task, worker), s.comment(task, worker), s.comment(gone, worker)
	s.trash("comments", mine)
	s.trash("comments", theirs)
	s.trash("comments", hidden)
	s.trash("tasks", gone.GetId())
	for user, want := range map[int64][]int64{manager: {mine, theirs}, commenter: {mine}, worker: {theirs}} {
		for _, id := range []int64{task.GetId(), 0} {
			got, err := s.tasks.ListComments(s.as(user), &tasksv1.ListCommentsRequest{
				TaskId: id, Deleted: true, Page: &pagev1.PageRequest{OrderBy: "deleted_at"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, mapped(got.GetComments(), (*tasksv1.Comment).GetId)); diff != "" {
				t.Errorf("user %d, task %d (-want +got):\n%s", user, id, diff)
			}
		}
	}
	got, err := s.tasks.RestoreComment(s.as(commenter), &tasksv1.RestoreCommentRequest{Id: mine})
	if err != nil || got.GetDeletedAt() != nil || got.GetVersion() != 2 {
		t.Errorf("restored: got %v, %v, want version 2", got, err)
	}
	if got, err = s.tasks.RestoreComment(s.as(worker), &tasksv1.RestoreCommentRequest{Id: live}); err != nil || got.GetVersion() != 1 {
		t.Errorf("a live one: got %v, %v, want version 1", got, err)
	}
	if _, err = s.tasks.RestoreComment(s.as(worker), &tasksv1.RestoreCommentRequest{Id: hidden}); code(err) != errs.NotFound {
		t.Errorf("one of a deleted task: got %v, want %q", err, errs.NotFound)
	}
	s.count(1, "events", "type = 'comment.restored'")
}

func TestWhatAModeratorDeletedItsAuthorDoesNotRestore(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	task := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project()})
	remove := func(by, id int64) {
		t.Helper()
		if _, err := s.tasks.DeleteComment(s.as(by), &tasksv1.DeleteCommentRequest{Id: id}); err != nil {
			t.Fatal(err)
		}
	}
	trash := func(user int64) []int64 {
		t.Helper()
		got, err := s.tasks.ListComments(s.as(user), &tasksv1.ListCommentsRequest{TaskId: task.GetId(), Deleted: true})
		if err != nil {
			t.Fatal(err)
		}
		return mapped(got.GetComments(), (*tasksv1.Comment).GetId)
	}
	restore := func(by, id int64) errs.Code {
		_, err := s.tasks.RestoreComment(s.as(by), &tasksv1.RestoreCommentRequest{Id: id})
		return code(err)
	}
	own, moderated := s.comment(task, worker), s.comment(task, worker)
	remove(worker, own)
	remove(manager, moderated)
	if diff := cmp.Diff([]int64{own}, trash(worker)); diff != "" {
		t.Errorf("the author's trash (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int64{own, moderated}, trash(manager)); diff != "" {
		t.Errorf("the moderator's trash (-want +got):\n%s", diff)
	}
	if got := restore(worker, moderated); got != errs.Denied {
		t.Errorf("the author restores what a moderator deleted: got %q, want %q", got, errs.Denied)
	}
	for id, by := range map[int64]int64{own: worker, moderated: owner} {
		if got := restore(by, id); got != "" {
			t.Errorf("user %d restores comment %d: got %q, want success", by, id, got)
		}
	}
	// What a moderator restored, its author may delete and restore again.
	remove(worker, moderated)
	if got := restore(worker, moderated); got != "" {
		t.Errorf("the author restores what it deleted: got %q, want success", got)
	}
}

func TestAProjectCanRequirePreconditions(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	task := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project()})
	other := s.task(&tasksv1.CreateTaskRequest{ProjectId: task.GetProjectId()})
	comment := s.comment(task, worker)
	s.requireIfMatch(task.GetProjectId())
	for name, do := range map[string]func(version int64) error{
		"update a task": func(version int64) error {
			_, err := s.tasks.UpdateTask(s.as(worker), &tasksv1.UpdateTaskRequest{Id: task.GetId(), ExpectedVersion: version})
			return err
		},
		"update tasks": func(version int64) error {
			_, err := s.tasks.BatchUpdateTasks(s.as(worker), &tasksv1.BatchUpdateTasksRequest{
				Requests: []*tasksv1.UpdateTaskRequest{{Id: task.GetId(), ExpectedVersion: version}},
			})
			return err
		},
		"move a task": func(version int64) error {
			_, err := s.tasks.MoveTask(s.as(worker), &tasksv1.MoveTaskRequest{Id: task.GetId(), ExpectedVersion: version, BeforeId: &other.Id})
			return err
		},
		"delete a task": func(version int64) error {
			_, err := s.tasks.DeleteTask(s.as(worker), &tasksv1.DeleteTaskRequest{Id: other.GetId(), ExpectedVersion: version})
			return err
		},
		"update a comment": func(version int64) error {
			_, err := s.tasks.UpdateComment(s.as(worker), &tasksv1.UpdateCommentRequest{Id: comment, ExpectedVersion: version})
			return err
		},
		"delete a comment": func(version int64) error {
			_, err := s.tasks.DeleteComment(s.as(worker), &tasksv1.DeleteCommentRequest{Id: comment, ExpectedVersion: version})
			return err
		},
	} {
		if err := do(0); code(err) != errs.PreconditionRequired {
			t.Errorf("%s without a version: got %v, want %q", name, err, errs.PreconditionRequired)
		}
		if err := do(7); code(err) != errs.PreconditionFailed {
			t.Errorf("%s with another version: got %v, want %q", name, err, errs.PreconditionFailed)
		}
	}
	_, err := s.tasks.UpdateTask(s.as(viewer), &tasksv1.UpdateTaskRequest{Id: task.GetId()})
	if code(err) != errs.Denied {
		t.Errorf("a viewer without a version: got %v, want %q", err, errs.Denied)
	}
	_, err = s.tasks.UpdateTask(s.as(worker), &tasksv1.UpdateTaskRequest{Id: task.GetId(), ExpectedVersion: 1})
	if err != nil {
		t.Errorf("with the version: %v", err)
	}
}
