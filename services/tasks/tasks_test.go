package tasks_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/errs"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

const (
	todo       = tasksv1.Status_STATUS_TODO
	inProgress = tasksv1.Status_STATUS_IN_PROGRESS
	done       = tasksv1.Status_STATUS_DONE
	cancelled  = tasksv1.Status_STATUS_CANCELLED
	none       = tasksv1.Priority_PRIORITY_NONE
	low        = tasksv1.Priority_PRIORITY_LOW
	urgent     = tasksv1.Priority_PRIORITY_URGENT
)

func TestANewTask(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	parent := s.task(&tasksv1.CreateTaskRequest{ProjectId: project})
	tests := []struct {
		name string
		req  *tasksv1.CreateTaskRequest
		want *tasksv1.Task
	}{
		{"has what it is not given by default", &tasksv1.CreateTaskRequest{Title: " Ship\t"}, &tasksv1.Task{
			Title: "Ship", Status: todo, Priority: none, Number: 2, Position: "a2",
		}},
		{"has what it is given", &tasksv1.CreateTaskRequest{
			Title: "Ship ’em, “all” \\ ?", Description: "first\nsecond\t'?0'", Status: inProgress, Priority: urgent,
			Labels: []string{" b", "ä,{}\"", "b ", "a"}, AssigneeId: new(viewer), ParentId: &parent.Id, DueDate: new("2028-02-29"),
		}, &tasksv1.Task{
			Title: "Ship ’em, “all” \\ ?", Description: "first\nsecond\t'?0'", Status: inProgress, Priority: urgent,
			Labels: []string{"a", "b", "ä,{}\""}, AssigneeId: new(viewer), ParentId: &parent.Id, DueDate: new("2028-02-29"),
			Number: 3, Position: "a3",
		}},
		{"may be done, on the first of all days", &tasksv1.CreateTaskRequest{Title: "Ship", Status: done, DueDate: new("0001-01-01")}, &tasksv1.Task{
			Title: "Ship", Status: done, Priority: none, DueDate: new("0001-01-01"), Number: 4, Position: "a4",
		}},
		{"may be due on the last", &tasksv1.CreateTaskRequest{Title: "Ship", DueDate: new("9999-12-31")}, &tasksv1.Task{
			Title: "Ship", Status: todo, Priority: none, DueDate: new("9999-12-31"), Number: 5, Position: "a5",
		}},
	}
	for _, tt := range tests {
		tt.req.ProjectId, tt.want.ProjectId, tt.want.CreatorId, tt.want.Version = project, project, worker, 1
		got, err := s.tasks.CreateTask(s.as(worker), tt.req)
		if err != nil {
			t.Fatalf("a new task %s: %v", tt.name, err)
		}
		ignore := protocmp.IgnoreFields(&tasksv1.Task{}, "id", "created_at", "updated_at", "completed_at")
		if diff := cmp.Diff(tt.want, got, protocmp.Transform(), ignore); diff != "" {
			t.Errorf("a new task %s (-want +got):\n%s", tt.name, diff)
		}
		if (got.GetCompletedAt() != nil) != (tt.want.GetStatus() == done) {
			t.Errorf("a new task %s: got completed at %v, want a time when it is done only", tt.name, got.GetCompletedAt())
		}
		read, err := s.tasks.GetTask(s.as(viewer), &tasksv1.GetTaskRequest{Id: got.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, read, protocmp.Transform()); diff != "" {
			t.Errorf("a new task %s is read as another (-created +read):\n%s", tt.name, diff)
		}
	}
}

func TestAnUpdateChangesWhatItsMaskNames(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	parent := s.task(&tasksv1.CreateTaskRequest{ProjectId: project}).GetId()
	// One request with other values in all fields: only the mask decides what becomes of them.
	all := &tasksv1.UpdateTaskRequest{
		Title: " Land ", Description: "new", Status: inProgress, Completed: true, Priority: urgent, Labels: []string{"z", "y", "z"},
		AssigneeId: new(commenter), ParentId: &parent, DueDate: new("2030-01-02"),
	}
	empty := &tasksv1.UpdateTaskRequest{}
	tests := []struct {
		name   string
		status tasksv1.Status
		req    *tasksv1.UpdateTaskRequest
		mask   []string
		want   func(*tasksv1.Task)
	}{
		{"title", todo, all, []string{"title"}, func(t *tasksv1.Task) { t.Title = "Land" }},
		{"description", todo, all, []string{"description"}, func(t *tasksv1.Task) { t.Description = "new" }},
		{"no description", todo, empty, []string{"description"}, func(t *tasksv1.Task) { t.Description = "" }},
		{"status", todo, all, []string{"status"}, func(t *tasksv1.Task) { t.Status = inProgress }},
		{"status out of done", done, all, []string{"status"}, func(t *tasksv1.Task) { t.Status = inProgress }},
		{"completed", todo, all, []string{"completed"}, func(t *tasksv1.Task) { t.Status = done }},
		{"completed when cancelled", cancelled, all, []string{"completed"}, func(t *tasksv1.Task) { t.Status = done }},
		{"not completed when done", done, empty, []string{"completed"}, func(t *tasksv1.Task) { t.Status = todo }},
		{
			"both that agree", todo, &tasksv1.UpdateTaskRequest{Status: done, Completed: true},
			[]string{"completed", "status"},
			func(t *tasksv1.Task) { t.Status = done },
		},
		{
			"both that agree out of done", done, &tasksv1.UpdateTaskRequest{Status: cancelled},
			[]string{"status", "completed"},
			func(t *tasksv1.Task) { t.Status = cancelled },
		},
		{"priority", todo, all, []string{"priority"}, func(t *tasksv1.Task) { t.Priority = urgent }},
		{"labels", todo, all, []string{"labels"}, func(t *tasksv1.Task) { t.Labels = []string{"y", "z"} }},
		{"no labels", todo, empty, []string{"labels"}, func(t *tasksv1.Task) { t.Labels = nil }},
		{"assignee", todo, all, []string{"assignee_id"}, func(t *tasksv1.Task) { t.AssigneeId = new(commenter) }},
		{"no assignee", todo, empty, []string{"assignee_id"}, func(t *tasksv1.Task) { t.AssigneeId = nil }},
		{"parent", todo, all, []string{"parent_id"}, func(t *tasksv1.Task) { t.ParentId = &parent }},
		{"due date", todo, all, []string{"due_date"}, func(t *tasksv1.Task) { t.DueDate = new("2030-01-02") }},
		{"no due date", todo, empty, []string{"due_date"}, func(t *tasksv1.Task) { t.DueDate = nil }},
		{
			"several, twice", todo, all,
			[]string{"title", "priority", "title"},
			func(t *tasksv1.Task) { t.Title, t.Priority = "Land", urgent },
		},
		{"nothing", todo, all, nil, nil},
		{"the same title", todo, &tasksv1.UpdateTaskRequest{Title: "Ship "}, []string{"title"}, nil},
		{"the same labels", todo, &tasksv1.UpdateTaskRequest{Labels: []string{"b", "a"}}, []string{"labels"}, nil},
		{"done again", done, all, []string{"completed"}, nil},
		{"not completed when cancelled", cancelled, empty, []string{"completed"}, nil},
		{"not completed in progress", inProgress, empty, []string{"completed"}, nil},
		{"no parent as before", todo, empty, []string{"parent_id"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			want := s.task(&tasksv1.CreateTaskRequest{
				ProjectId: project, Description: "old", Status: tt.status, Priority: low, Labels: []string{"a", "b"},
				AssigneeId: new(worker), DueDate: new("2029-01-02"),
			})
			before := proto.CloneOf(want)
			req := proto.CloneOf(tt.req)
			req.Id, req.UpdateMask = want.GetId(), mask(tt.mask...)
			got, err := s.tasks.UpdateTask(s.as(worker), req)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want != nil {
				tt.want(want)
				want.Version++
				want.UpdatedAt = got.GetUpdatedAt()
				if !got.GetUpdatedAt().AsTime().After(before.GetUpdatedAt().AsTime()) {
					t.Errorf("got updated at %v, want later than %v", got.GetUpdatedAt(), before.GetUpdatedAt())
				}
			}
			if (got.GetCompletedAt() != nil) != (got.GetStatus() == done) {
				t.Errorf("got completed at %v and status %v", got.GetCompletedAt(), got.GetStatus())
			}
			if got.GetStatus() != before.GetStatus() {
				want.CompletedAt = got.GetCompletedAt()
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			read, err := s.tasks.GetTask(s.as(worker), &tasksv1.GetTaskRequest{Id: got.GetId()})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, read, protocmp.Transform()); diff != "" {
				t.Errorf("the task is read as another (-answer +read):\n%s", diff)
			}
			s.count(got.GetVersion(), "events", "subject_id = ?", got.GetId())
		})
	}
}

func TestBadInputIsNamed(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	here := s.task(&tasksv1.CreateTaskRequest{ProjectId: project}).GetId()
	elsewhere := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project()}).GetId()
	gone := s.task(&tasksv1.CreateTaskRequest{ProjectId: project}).GetId()
	if _, err := s.tasks.DeleteTask(s.as(owner), &tasksv1.DeleteTaskRequest{Id: gone}); err != nil {
		t.Fatal(err)
	}
	create := func(req *tasksv1.CreateTaskRequest) error {
		if req.GetProjectId() == 0 {
			req.ProjectId = project
		}
		if req.GetTitle() == "" {
			req.Title = "Ship"
		}
		_, err := s.tasks.CreateTask(s.as(owner), req)
		return err
	}
	update := func(req *tasksv1.UpdateTaskRequest, paths ...string) error {
		req.Id, req.UpdateMask = here, mask(paths...)
		_, err := s.tasks.UpdateTask(s.as(owner), req)
		return err
	}
	list := func(f *tasksv1.TaskFilter) error {
		_, err := s.tasks.ListTasks(s.as(owner), &tasksv1.ListTasksRequest{ProjectId: project, Filter: f})
		return err
	}
	page := func(p *pagev1.PageRequest) error {
		_, err := s.tasks.ListTasks(s.as(owner), &tasksv1.ListTasksRequest{ProjectId: project, Page: p})
		return err
	}
	comment := func(task int64, body string) error {
		_, err := s.tasks.CreateComment(s.as(owner), &tasksv1.CreateCommentRequest{TaskId: task, Body: body})
		return err
	}
	batch := func(n int) []int64 { return make([]int64, n) }
	_, manyTasks := s.tasks.BatchGetTasks(s.as(owner), &tasksv1.BatchGetTasksRequest{Ids: batch(1001)})
	_, manyComments := s.tasks.BatchGetComments(s.as(owner), &tasksv1.BatchGetCommentsRequest{Ids: batch(1001)})
	_, manyProjects := s.tasks.BatchListTasks(s.as(owner), &tasksv1.BatchListTasksRequest{ProjectIds: batch(101)})
	_, manyLists := s.tasks.BatchListComments(s.as(owner), &tasksv1.BatchListCommentsRequest{TaskIds: batch(1001)})
	long := strings.Repeat("ä", 501)
	tests := []struct {
		name, field string
		err         error
	}{
		{"no project", "project_id", create(&tasksv1.CreateTaskRequest{ProjectId: -1})},
		{"a blank title", "title", create(&tasksv1.CreateTaskRequest{Title: " \t"})},
		{"a long title", "title", create(&tasksv1.CreateTaskRequest{Title: long})},
		{"two lines", "title", create(&tasksv1.CreateTaskRequest{Title: "a\nb"})},
		{"a NUL in the title", "title", create(&tasksv1.CreateTaskRequest{Title: "a\x00b"})},
		{"a NUL", "description", create(&tasksv1.CreateTaskRequest{Description: "\x00"})},
		{"a long description", "description", create(&tasksv1.CreateTaskRequest{Description: strings.Repeat("x", 50_001)})},
		{"an unknown status", "status", create(&tasksv1.CreateTaskRequest{Status: 9})},
		{"an unknown priority", "priority", create(&tasksv1.CreateTaskRequest{Priority: -1})},
		{"21 labels", "labels", create(&tasksv1.CreateTaskRequest{Labels: strings.Split("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u", ",")})},
		{"blank labels", "labels", create(&tasksv1.CreateTaskRequest{Labels: []string{"a", "", "b", " "}})},
		{"long labels", "labels", create(&tasksv1.CreateTaskRequest{Labels: []string{long, long + "x"}})},
		{"a NUL in a label", "labels", create(&tasksv1.CreateTaskRequest{Labels: []string{"\x00"}})},
		{"assignee 0", "assignee_id", create(&tasksv1.CreateTaskRequest{AssigneeId: new(int64(0))})},
		{"a foreign assignee", "assignee_id", create(&tasksv1.CreateTaskRequest{AssigneeId: new(stranger)})},
		{"parent -1", "parent_id", create(&tasksv1.CreateTaskRequest{ParentId: new(int64(-1))})},
		{"no such parent", "parent_id", create(&tasksv1.CreateTaskRequest{ParentId: new(int64(1 << 40))})},
		{"a parent elsewhere", "parent_id", create(&tasksv1.CreateTaskRequest{ParentId: &elsewhere})},
		{"a deleted parent", "parent_id", create(&tasksv1.CreateTaskRequest{ParentId: &gone})},
		{"no such day", "due_date", create(&tasksv1.CreateTaskRequest{DueDate: new("2027-02-29")})},
		{"the year 0", "due_date", create(&tasksv1.CreateTaskRequest{DueDate: new("0000-01-01")})},
		{"no day at all", "due_date", create(&tasksv1.CreateTaskRequest{DueDate: new("")})},
		{"infinity", "due_date", create(&tasksv1.CreateTaskRequest{DueDate: new("infinity")})},

		{"a cleared title", "title", update(&tasksv1.UpdateTaskRequest{}, "title")},
		{"a cleared status", "status", update(&tasksv1.UpdateTaskRequest{}, "status")},
		{"a cleared priority", "priority", update(&tasksv1.UpdateTaskRequest{}, "priority")},
		{"completed against status", "completed", update(&tasksv1.UpdateTaskRequest{Status: todo, Completed: true}, "status", "completed")},
		{"status against completed", "completed", update(&tasksv1.UpdateTaskRequest{Status: done}, "status", "completed")},
		{"a fixed field", "update_mask", update(&tasksv1.UpdateTaskRequest{}, "project_id")},
		{"unknown fields", "update_mask", update(&tasksv1.UpdateTaskRequest{}, "a", "b", long)},
		{"a stranger as assignee", "assignee_id", update(&tasksv1.UpdateTaskRequest{AssigneeId: new(stranger)}, "assignee_id")},
		{"its own parent", "parent_id", update(&tasksv1.UpdateTaskRequest{ParentId: &here}, "parent_id")},
		{"a new parent elsewhere", "parent_id", update(&tasksv1.UpdateTaskRequest{ParentId: &elsewhere}, "parent_id")},
		{"a new parent that is deleted", "parent_id", update(&tasksv1.UpdateTaskRequest{ParentId: &gone}, "parent_id")},

		{"unknown statuses", "statuses", list(&tasksv1.TaskFilter{Statuses: []tasksv1.Status{1, 7, 0}})},
		{"unknown priorities", "priorities", list(&tasksv1.TaskFilter{Priorities: []tasksv1.Priority{99_999}})},
		{"a NUL as a label", "labels", list(&tasksv1.TaskFilter{Labels: []string{"\x00"}})},
		{"nobody's assignee", "assignee_id", list(&tasksv1.TaskFilter{AssigneeId: new(int64(-1))})},
		{"due before no day", "due_before", list(&tasksv1.TaskFilter{DueBefore: "0000-12-01"})},
		{"due after no day", "due_after", list(&tasksv1.TaskFilter{DueAfter: "today"})},
		{"no time", "updated_since", list(&tasksv1.TaskFilter{UpdatedSince: &timestamppb.Timestamp{Seconds: 1 << 60}})},
		{"an endless search", "search", list(&tasksv1.TaskFilter{Search: strings.Repeat("x", 3000)})},
		{"a NUL in a search", "search", list(&tasksv1.TaskFilter{Search: "a\x00"})},
		{"an unknown order", "order_by", page(&pagev1.PageRequest{OrderBy: "labels"})},
		{"a forged cursor", "after", page(&pagev1.PageRequest{After: "WyJpZCIsIngiXQ"})},
		{"a long page", "size", page(&pagev1.PageRequest{Size: 101})},
		{"many tasks", "ids", manyTasks},
		{"many comments", "ids", manyComments},
		{"many projects", "project_ids", manyProjects},
		{"many lists of comments", "task_ids", manyLists},

		{"no body", "body", comment(here, "")},
		{"a blank body", "body", comment(here, " \n\t")},
		{"a long body", "body", comment(here, strings.Repeat("x", 20_001))},
		{"a NUL in a body", "body", comment(here, "a\x00")},
		{"no task", "task_id", comment(0, "Well")},
	}
	for _, tt := range tests {
		got := errs.From(tt.err)
		if got == nil || got.Code != errs.Invalid || len(got.Fields) != 1 || got.Fields[0].Name != tt.field {
			t.Errorf("%s: got %v, want an invalid %s", tt.name, tt.err, tt.field)
		}
	}
	s.count(3, "tasks", "true")
	s.count(4, "events", "true")
}

func TestWhoLeftTheProjectMayKeepATask(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	task := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project()})
	if _, err := s.db.NewRaw("UPDATE tasks SET assignee_id = ?", stranger).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := s.tasks.UpdateTask(s.as(worker), &tasksv1.UpdateTaskRequest{
		Id: task.GetId(), Title: "New", AssigneeId: new(stranger), UpdateMask: mask("title", "assignee_id"),
	})
	if err != nil || got.GetTitle() != "New" || got.GetAssigneeId() != stranger {
		t.Errorf("got %v, %v, want a new title", got, err)
	}
}

func TestDeletedThingsAreGone(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	task := s.task(&tasksv1.CreateTaskRequest{ProjectId: project})
	child := s.task(&tasksv1.CreateTaskRequest{ProjectId: project, ParentId: &task.Id})
	comment := s.comment(task, commenter)
	if _, err := s.tasks.DeleteTask(s.as(worker), &tasksv1.DeleteTaskRequest{Id: task.GetId(), ExpectedVersion: 2}); code(err) != errs.PreconditionFailed {
		t.Errorf("a deletion of another version: got %v, want %q", err, errs.PreconditionFailed)
	}
	if _, err := s.tasks.DeleteTask(s.as(worker), &tasksv1.DeleteTaskRequest{Id: task.GetId(), ExpectedVersion: 1}); err != nil {
		t.Fatal(err)
	}
	_, getTask := s.tasks.GetTask(s.as(owner), &tasksv1.GetTaskRequest{Id: task.GetId()})
	_, update := s.tasks.UpdateTask(s.as(owner), &tasksv1.UpdateTaskRequest{Id: task.GetId()})
	_, remove := s.tasks.DeleteTask(s.as(owner), &tasksv1.DeleteTaskRequest{Id: task.GetId()})
	_, getComment := s.tasks.GetComment(s.as(owner), &tasksv1.GetCommentRequest{Id: comment})
	_, removeComment := s.tasks.DeleteComment(s.as(owner), &tasksv1.DeleteCommentRequest{Id: comment})
	_, say := s.tasks.CreateComment(s.as(owner), &tasksv1.CreateCommentRequest{TaskId: task.GetId(), Body: "Well"})
	_, listComments := s.tasks.ListComments(s.as(owner), &tasksv1.ListCommentsRequest{TaskId: task.GetId()})
	gone, err := s.tasks.BatchGetTasks(s.as(owner), &tasksv1.BatchGetTasksRequest{Ids: []int64{task.GetId()}})
	batch := left(gone.GetTasks(), err)
	said, err := s.tasks.BatchGetComments(s.as(owner), &tasksv1.BatchGetCommentsRequest{Ids: []int64{comment}})
	batchComments := left(said.GetComments(), err)
	all, err := s.tasks.ListComments(s.as(owner), &tasksv1.ListCommentsRequest{})
	list := left(all.GetComments(), err)
	for i, err := range []error{getTask, update, remove, getComment, removeComment, say, listComments, batch, batchComments, list} {
		if got := code(err); got != errs.NotFound {
			t.Errorf("%d: got %q, want %q", i, got, errs.NotFound)
		}
	}
	tasks, err := s.tasks.ListTasks(s.as(owner), &tasksv1.ListTasksRequest{ProjectId: project})
	if err != nil || len(tasks.GetTasks()) != 1 || tasks.GetTasks()[0].GetParentId() != task.GetId() {
		t.Errorf("the list: got %v, %v, want the child, which remembers its parent", tasks, err)
	}
	next := s.task(&tasksv1.CreateTaskRequest{ProjectId: project})
	if next.GetNumber() != child.GetNumber()+1 {
		t.Errorf("the next number: got %d, want %d", next.GetNumber(), child.GetNumber()+1)
	}
}

func TestEveryReadableTaskHasItsPageOfSubtasks(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	below := func(parent *tasksv1.Task, title string) *tasksv1.Task {
		return s.task(&tasksv1.CreateTaskRequest{ProjectId: parent.GetProjectId(), Title: title, ParentId: &parent.Id})
	}
	top, leaf := s.task(&tasksv1.CreateTaskRequest{ProjectId: project}), s.task(&tasksv1.CreateTaskRequest{ProjectId: project})
	hidden := s.task(&tasksv1.CreateTaskRequest{ProjectId: foreign + 1})
	first, gone, last := below(top, "a"), below(top, "b"), below(top, "c")
	below(first, "deeper")
	below(hidden, "hidden")
	if _, err := s.tasks.DeleteTask(s.as(owner), &tasksv1.DeleteTaskRequest{Id: gone.GetId()}); err != nil {
		t.Fatal(err)
	}
	req := &tasksv1.BatchListSubtasksRequest{
		TaskIds: []int64{top.GetId(), leaf.GetId(), hidden.GetId(), 1 << 40},
		Page:    &pagev1.PageRequest{Size: 1, OrderBy: "-title", Count: true},
	}
	s.world.Statements(tasksv1.TasksService_BatchListSubtasks_FullMethodName)
	answer, err := s.tasks.BatchListSubtasks(s.as(viewer), req)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[int64]string)
	for _, p := range answer.GetPages() {
		got[p.GetParentId()] = fmt.Sprint(mapped(p.GetTasks(), (*tasksv1.Task).GetId), p.GetPage().GetHasNext(), p.GetPage().GetTotalCount())
	}
	want := map[int64]string{top.GetId(): fmt.Sprint([]int64{last.GetId()}, true, 2), leaf.GetId(): fmt.Sprint([]int64{}, false, 0)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("subtasks (-want +got):\n%s", diff)
	}
	if n := len(s.world.Statements(tasksv1.TasksService_BatchListSubtasks_FullMethodName)); n != 3 {
		t.Errorf("got %d statements, want 3: whose they are, the pages, the counts", n)
	}
	req.Filter = &tasksv1.TaskFilter{ParentId: new(int64)}
	if _, err := s.tasks.BatchListSubtasks(s.as(viewer), req); code(err) != errs.Invalid {
		t.Errorf("two parents at once: got %v, want %s", err, errs.Invalid)
	}
}

func TestFiltersNarrow(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	a := s.task(&tasksv1.CreateTaskRequest{
		ProjectId: project, Title: "a", Description: "Schöne Grüße", Labels: []string{"x", "y"}, DueDate: new("2027-01-01"),
	})
	s.task(&tasksv1.CreateTaskRequest{ProjectId: project, Title: "b", Status: done, Priority: low, Labels: []string{"x"}, ParentId: &a.Id})
	s.task(&tasksv1.CreateTaskRequest{ProjectId: project, Title: "c", Status: cancelled, AssigneeId: new(worker), DueDate: new("2027-01-02")})
	if _, err := s.tasks.CreateTask(s.as(worker), &tasksv1.CreateTaskRequest{
		ProjectId: project, Title: "d", Description: "schön <v1.2-rc>", Status: inProgress, Priority: urgent, ParentId: &a.Id,
	}); err != nil {
		t.Fatal(err)
	}
	e := s.task(&tasksv1.CreateTaskRequest{ProjectId: project, Title: "e", DueDate: new("2027-01-03")})
	other := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project(), Title: "f", Labels: []string{"x"}}).GetProjectId()
	s.task(&tasksv1.CreateTaskRequest{ProjectId: foreign + 1, Title: "g", Labels: []string{"x"}})
	tests := []struct {
		name      string
		f         *tasksv1.TaskFilter
		want, all string // in the project, and in all of the caller's
	}{
		{"by nothing", nil, "[a b c d e]", "[a b c d e f]"},
		{"by an empty filter", &tasksv1.TaskFilter{}, "[a b c d e]", "[a b c d e f]"},
		{"by status", &tasksv1.TaskFilter{Statuses: []tasksv1.Status{done, inProgress}}, "[b d]", "[b d]"},
		{"completed", &tasksv1.TaskFilter{Completed: new(true)}, "[b]", "[b]"},
		{"not completed", &tasksv1.TaskFilter{Completed: new(false)}, "[a c d e]", "[a c d e f]"},
		{"by priority", &tasksv1.TaskFilter{Priorities: []tasksv1.Priority{low, urgent}}, "[b d]", "[b d]"},
		{"by label", &tasksv1.TaskFilter{Labels: []string{"x"}}, "[a b]", "[a b f]"},
		{"by all labels", &tasksv1.TaskFilter{Labels: []string{"y", "x"}}, "[a]", "[a]"},
		{"by assignee", &tasksv1.TaskFilter{AssigneeId: new(worker)}, "[c]", "[c]"},
		{"without assignee", &tasksv1.TaskFilter{AssigneeId: new(int64(0))}, "[a b d e]", "[a b d e f]"},
		{"by creator", &tasksv1.TaskFilter{CreatorId: worker}, "[d]", "[d]"},
		{"by parent", &tasksv1.TaskFilter{ParentId: &a.Id}, "[b d]", "[b d]"},
		{"at the top", &tasksv1.TaskFilter{ParentId: new(int64(0))}, "[a c e]", "[a c e f]"},
		{"due before", &tasksv1.TaskFilter{DueBefore: "2027-01-02"}, "[a]", "[a]"},
		{"due after", &tasksv1.TaskFilter{DueAfter: "2027-01-01"}, "[c e]", "[c e]"},
		{"due between", &tasksv1.TaskFilter{DueAfter: "2027-01-01", DueBefore: "2027-01-03"}, "[c]", "[c]"},
		{"updated since", &tasksv1.TaskFilter{UpdatedSince: e.GetUpdatedAt()}, "[e]", "[e f]"},
		{"updated since the future", &tasksv1.TaskFilter{UpdatedSince: timestamppb.New(time.Now().Add(time.Hour))}, "[]", "[]"},
		{"by words", &tasksv1.TaskFilter{Search: "grü SCHÖN"}, "[a]", "[a]"},
		{"by a beginning", &tasksv1.TaskFilter{Search: "schö"}, "[a d]", "[a d]"},
		{"by parts of words", &tasksv1.TaskFilter{Search: "rc v1.2"}, "[d]", "[d]"},
		{"by no word", &tasksv1.TaskFilter{Search: "&|!:*'\\"}, "[]", "[]"},
		{"by several things", &tasksv1.TaskFilter{Labels: []string{"x"}, Completed: new(true), ParentId: &a.Id}, "[b]", "[b]"},
	}
	title := (*tasksv1.Task).GetTitle
	for _, tt := range tests {
		one, err := s.tasks.ListTasks(s.as(viewer), &tasksv1.ListTasksRequest{ProjectId: project, Filter: tt.f, Page: &pagev1.PageRequest{Count: true}})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := texts(one.GetTasks(), title); got != tt.want || one.GetPage().GetTotalCount() != int64(len(one.GetTasks())) {
			t.Errorf("%s, in a project: got %s of %d, want %s", tt.name, got, one.GetPage().GetTotalCount(), tt.want)
		}
		all, err := s.tasks.ListTasks(s.as(viewer), &tasksv1.ListTasksRequest{Filter: tt.f})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := texts(all.GetTasks(), title); got != tt.all {
			t.Errorf("%s, in all projects: got %s, want %s", tt.name, got, tt.all)
		}
		each, err := s.tasks.BatchListTasks(s.as(viewer), &tasksv1.BatchListTasksRequest{
			ProjectIds: []int64{other, project, project, foreign + 1}, Filter: tt.f, Page: &pagev1.PageRequest{Count: true},
		})
		if err != nil || len(each.GetPages()) != 2 {
			t.Fatalf("%s: got %v, %v, want two pages", tt.name, each, err)
		}
		p, q := pageOf(each.GetPages(), project), pageOf(each.GetPages(), other)
		got := fmt.Sprint(append(mapped(p.GetTasks(), title), mapped(q.GetTasks(), title)...))
		if got != tt.all || p.GetPage().GetTotalCount() != int64(len(p.GetTasks())) || q.GetPage().TotalCount == nil {
			t.Errorf("%s, project by project: got %s, want %s", tt.name, got, tt.all)
		}
	}
	searched := []struct{ name, search, orderBy, want string }{
		{"is in the order of relevance", "launch ro", "", "[Launch the rocket Rocket Prepare]"},
		{"in its order by name", "launch ro", "-relevance", "[Launch the rocket Rocket Prepare]"},
		{"with the worst match first", "launch ro", "relevance", "[Prepare Rocket Launch the rocket]"},
		{"in another order", "launch ro", "title", "[Launch the rocket Prepare Rocket]"},
	}
	for _, t := range []*tasksv1.CreateTaskRequest{
		{Title: "Prepare", Description: "All that a launcher of rockets takes"},
		{Title: "Launch the rocket", Description: "Quickly"},
		{Title: "Rocket", Description: "Launch it slowly"},
		{Title: "Land", Description: "Not a launch"},
	} {
		t.ProjectId = other
		s.task(t)
	}
	for _, tt := range searched {
		req := &tasksv1.ListTasksRequest{
			Filter: &tasksv1.TaskFilter{Search: tt.search}, Page: &pagev1.PageRequest{Size: 1, OrderBy: tt.orderBy},
		}
		var got []string
		for more := true; more; {
			list, err := s.tasks.ListTasks(s.as(viewer), req)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, mapped(list.GetTasks(), title)...)
			req.Page.After, more = list.GetPage().GetCursors()[0], list.GetPage().GetHasNext()
		}
		if got := fmt.Sprint(got); got != tt.want {
			t.Errorf("what was searched for %s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	nobodys, err := s.tasks.ListTasks(s.as(admin), &tasksv1.ListTasksRequest{Page: &pagev1.PageRequest{Count: true}})
	if err != nil || len(nobodys.GetTasks()) != 0 || nobodys.GetPage().TotalCount == nil {
		t.Errorf("one who is no member of anything: got %v, %v, want nothing", nobodys, err)
	}
}
