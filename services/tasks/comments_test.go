package tasks_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/trackway/trackway/services/platform/errs"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

func TestACommentIsWrittenAndChanged(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	task := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project()})
	created, err := s.tasks.CreateComment(s.as(commenter), &tasksv1.CreateCommentRequest{TaskId: task.GetId(), Body: " two\nlines "})
	if err != nil {
		t.Fatal(err)
	}
	want := &tasksv1.Comment{
		Id: created.GetId(), Version: 1, CreatedAt: created.GetCreatedAt(), UpdatedAt: created.GetCreatedAt(),
		TaskId: task.GetId(), ProjectId: task.GetProjectId(), AuthorId: commenter, Body: " two\nlines ",
	}
	if diff := cmp.Diff(want, created, protocmp.Transform()); diff != "" {
		t.Errorf("a new comment (-want +got):\n%s", diff)
	}
	for _, req := range []*tasksv1.UpdateCommentRequest{
		{Body: "ignored"}, {Body: " two\nlines ", UpdateMask: mask("body")},
	} {
		req.Id = created.GetId()
		same, err := s.tasks.UpdateComment(s.as(commenter), req)
		if diff := cmp.Diff(created, same, protocmp.Transform()); err != nil || diff != "" {
			t.Errorf("an update that changes nothing: %v (-before +after):\n%s", err, diff)
		}
	}
	updated, err := s.tasks.UpdateComment(s.as(commenter), &tasksv1.UpdateCommentRequest{
		Id: created.GetId(), ExpectedVersion: 1, Body: "new", UpdateMask: mask("body"),
	})
	if err != nil || updated.GetVersion() != 2 || updated.GetBody() != "new" {
		t.Errorf("got %v, %v, want the new body at version 2", updated, err)
	}
	read, err := s.tasks.GetComment(s.as(viewer), &tasksv1.GetCommentRequest{Id: created.GetId()})
	if diff := cmp.Diff(updated, read, protocmp.Transform()); err != nil || diff != "" {
		t.Errorf("the comment is read as another: %v (-answer +read):\n%s", err, diff)
	}
	for name, req := range map[string]*tasksv1.UpdateCommentRequest{
		"body":        {UpdateMask: mask("body"), Body: " "},
		"update_mask": {UpdateMask: mask("task_id"), Body: "new"},
	} {
		req.Id = created.GetId()
		_, err := s.tasks.UpdateComment(s.as(commenter), req)
		if got := errs.From(err); got == nil || got.Code != errs.Invalid || got.Fields[0].Name != name {
			t.Errorf("got %v, want an invalid %s", err, name)
		}
	}
	if _, err := s.tasks.DeleteComment(s.as(commenter), &tasksv1.DeleteCommentRequest{Id: created.GetId(), ExpectedVersion: 1}); code(err) != errs.PreconditionFailed {
		t.Errorf("a deletion of another version: got %v, want %q", err, errs.PreconditionFailed)
	}
	if _, err := s.tasks.DeleteComment(s.as(commenter), &tasksv1.DeleteCommentRequest{Id: created.GetId(), ExpectedVersion: 2}); err != nil {
		t.Error(err)
	}
	if _, err := s.tasks.GetComment(s.as(commenter), &tasksv1.GetCommentRequest{Id: created.GetId()}); code(err) != errs.NotFound {
		t.Errorf("a deleted comment: got %v, want %q", err, errs.NotFound)
	}
	s.count(3, "events", "type LIKE 'comment.%'")
}

func TestEveryReadableTaskHasItsPageOfComments(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	busy := s.task(&tasksv1.CreateTaskRequest{ProjectId: project})
	quiet := s.task(&tasksv1.CreateTaskRequest{ProjectId: project})
	silent := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project()})
	deleted := s.task(&tasksv1.CreateTaskRequest{ProjectId: project})
	hidden := s.task(&tasksv1.CreateTaskRequest{ProjectId: foreign + 1})
	hiddenSilent := s.task(&tasksv1.CreateTaskRequest{ProjectId: foreign + 1})
	var ids []int64
	for i := range 5 {
		ids = append(ids, s.comment(busy, []int64{commenter, worker}[i%2]))
	}
	q := s.comment(quiet, worker)
	s.comment(deleted, commenter)
	s.comment(hidden, commenter)
	if _, err := s.tasks.DeleteTask(s.as(owner), &tasksv1.DeleteTaskRequest{Id: deleted.GetId()}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.tasks.DeleteComment(s.as(owner), &tasksv1.DeleteCommentRequest{Id: ids[1]}); err != nil {
		t.Fatal(err)
	}
	all := []int64{
		silent.GetId(), hidden.GetId(), busy.GetId(), deleted.GetId(), quiet.GetId(), hiddenSilent.GetId(), 1 << 40, busy.GetId(),
	}
	type page struct {
		IDs            []int64
		Total          int64
		Next, Previous bool
	}
	pages := func(author int64, ask *pagev1.PageRequest) map[int64]page {
		t.Helper()
		answer, err := s.tasks.BatchListComments(s.as(viewer), &tasksv1.BatchListCommentsRequest{TaskIds: all, AuthorId: author, Page: ask})
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[int64]page)
		for _, p := range answer.GetPages() {
			id := p.GetParentId()
			if id != busy.GetId() && id != quiet.GetId() && id != silent.GetId() {
				t.Errorf("got a page for task %d, which is hidden", id)
			}
			if len(p.GetPage().GetCursors()) != len(p.GetComments()) {
				t.Errorf("task %d: got %d cursors for %d comments", id, len(p.GetPage().GetCursors()), len(p.GetComments()))
			}
			got[id] = page{
				IDs:   mapped(p.GetComments(), (*tasksv1.Comment).GetId),
				Total: p.GetPage().GetTotalCount(), Next: p.GetPage().GetHasNext(), Previous: p.GetPage().GetHasPrevious(),
			}
			one, err := s.tasks.ListComments(s.as(viewer), &tasksv1.ListCommentsRequest{TaskId: id, AuthorId: author, Page: ask})
			alone := &tasksv1.CommentPage{ParentId: id, Comments: one.GetComments(), Page: one.GetPage()}
			if diff := cmp.Diff(p, alone, protocmp.Transform()); err != nil || diff != "" {
				t.Errorf("task %d alone has another page: %v (-batch +alone):\n%s", id, err, diff)
			}
		}
		return got
	}
	tests := []struct {
		name   string
		author int64
		page   *pagev1.PageRequest
		want   map[int64]page
	}{
		{"the first two", 0, &pagev1.PageRequest{Size: 2, Count: true}, map[int64]page{
			busy.GetId(): {[]int64{ids[0], ids[2]}, 4, true, false}, quiet.GetId(): {[]int64{q}, 1, false, false}, silent.GetId(): {[]int64{}, 0, false, false},
		}},
		{"the last two", 0, &pagev1.PageRequest{Size: 2, Backward: true}, map[int64]page{
			busy.GetId(): {ids[3:], 0, false, true}, quiet.GetId(): {[]int64{q}, 0, false, false}, silent.GetId(): {[]int64{}, 0, false, false},
		}},
		{"newest first", 0, &pagev1.PageRequest{Size: 1, OrderBy: "-created_at"}, map[int64]page{
			busy.GetId(): {ids[4:], 0, true, false}, quiet.GetId(): {[]int64{q}, 0, false, false}, silent.GetId(): {[]int64{}, 0, false, false},
		}},
		{"by one author", worker, &pagev1.PageRequest{Count: true}, map[int64]page{
			busy.GetId(): {ids[3:4], 1, false, false}, quiet.GetId(): {[]int64{q}, 1, false, false}, silent.GetId(): {[]int64{}, 0, false, false},
		}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, pages(tt.author, tt.page)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestAllCommentsOfOnesProjectsAreOneList(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	a := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project()})
	b := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project()})
	s.comment(s.task(&tasksv1.CreateTaskRequest{ProjectId: foreign + 1}), worker)
	want := []int64{s.comment(a, worker), s.comment(b, commenter), s.comment(a, worker)}
	for author, want := range map[int64][]int64{0: want, worker: {want[0], want[2]}, stranger: {}} {
		got, err := s.tasks.ListComments(s.as(viewer), &tasksv1.ListCommentsRequest{AuthorId: author, Page: &pagev1.PageRequest{Count: true}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, mapped(got.GetComments(), (*tasksv1.Comment).GetId)); diff != "" || got.GetPage().GetTotalCount() != int64(len(want)) {
			t.Errorf("comments of author %d, of %d (-want +got):\n%s", author, got.GetPage().GetTotalCount(), diff)
		}
	}
}
