package tasks_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/trackway/trackway/services/platform/errs"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// maskedRead is a read that takes a mask. It takes no page if it is no list.
type maskedRead struct {
	name   string
	method string
	of     proto.Message
	orders []string
	call   func(ctx context.Context, p *pagev1.PageRequest, m *fieldmaskpb.FieldMask) (proto.Message, error)
}

// Each field that a mask names is what the read gives without a mask, in every order and by as many statements, of which
// there are few different ones.
func TestAReadWithAMaskGivesWhatItNames(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	for _, r := range s.maskedReads() {
		for _, by := range append(r.orders, "") {
			for _, p := range []*pagev1.PageRequest{{OrderBy: by, Count: true}, {OrderBy: by, Size: 1, Backward: true}} {
				s.masked(r, p)
			}
		}
		if _, err := r.call(s.as(viewer), nil, mask("title", "search")); code(err) != errs.Invalid {
			t.Errorf("%s: a mask with a field that is none: got %v, want %s", r.name, err, errs.Invalid)
		}
	}
}

// maskedReads makes things in which every field has a value, and gives the reads that find them.
func (s *suite) maskedReads() []maskedRead {
	s.Helper()
	project := s.project()
	top := s.task(&tasksv1.CreateTaskRequest{ProjectId: project, Title: "Top", Description: "Ship it", DueDate: new("2027-01-01")})
	for _, status := range []tasksv1.Status{done, inProgress} {
		s.task(&tasksv1.CreateTaskRequest{
			ProjectId: project, Title: "Ship", Description: "At once", Status: status, Priority: low, Labels: []string{"x", "y"},
			AssigneeId: new(worker), ParentId: &top.Id, DueDate: new("2027-01-02"),
		})
	}
	below := top.GetId() + 1
	for range 2 {
		gone := s.task(&tasksv1.CreateTaskRequest{ProjectId: project, Title: "Ship no more"})
		if _, err := s.tasks.DeleteTask(s.as(owner), &tasksv1.DeleteTaskRequest{Id: gone.GetId()}); err != nil {
			s.Fatal(err)
		}
		remarks := []int64{s.comment(top, worker), s.comment(top, owner)}
		if _, err := s.tasks.DeleteComment(s.as(owner), &tasksv1.DeleteCommentRequest{Id: remarks[1]}); err != nil {
			s.Fatal(err)
		}
	}
	byTask := []string{"number", "title,-priority", "-due_date", "position", "created_at", "-updated_at"}
	byComment := []string{"created_at", "-updated_at"}
	task, comment := (*tasksv1.Task)(nil), (*tasksv1.Comment)(nil)
	type (
		page = *pagev1.PageRequest
		mask = *fieldmaskpb.FieldMask
		give = func(context.Context, page, mask) (proto.Message, error)
	)
	listTasks := func(project int64, f *tasksv1.TaskFilter) give {
		return func(ctx context.Context, p page, m mask) (proto.Message, error) {
			return s.tasks.ListTasks(ctx, &tasksv1.ListTasksRequest{ProjectId: project, Filter: f, Page: p, ReadMask: m})
		}
	}
	listComments := func(task int64, deleted bool) give {
		return func(ctx context.Context, p page, m mask) (proto.Message, error) {
			return s.tasks.ListComments(ctx, &tasksv1.ListCommentsRequest{TaskId: task, Deleted: deleted, Page: p, ReadMask: m})
		}
	}
	method := func(name string) string { return "/tasks.v1.TasksService/" + name }
	trash := &tasksv1.TaskFilter{Deleted: true}
	return []maskedRead{
		{"a task", method("BatchGetTasks"), task, nil, func(ctx context.Context, _ page, m mask) (proto.Message, error) {
			return s.tasks.BatchGetTasks(ctx, &tasksv1.BatchGetTasksRequest{Ids: []int64{below}, ReadMask: m})
		}},
		{"a project's tasks", method("ListTasks"), task, byTask, listTasks(project, nil)},
		{"all tasks", method("ListTasks"), task, byTask, listTasks(0, nil)},
		{"tasks that are searched for", method("ListTasks"), task, byTask, listTasks(project, &tasksv1.TaskFilter{Search: "ship"})},
		{"deleted tasks", method("ListTasks"), task, []string{"deleted_at"}, listTasks(project, trash)},
		{"several projects' tasks", method("BatchListTasks"), task, byTask, func(ctx context.Context, p page, m mask) (proto.Message, error) {
			return s.tasks.BatchListTasks(ctx, &tasksv1.BatchListTasksRequest{ProjectIds: []int64{project, s.projects.last.Load()}, Page: p, ReadMask: m})
		}},
		{"subtasks", method("BatchListSubtasks"), task, byTask, func(ctx context.Context, p page, m mask) (proto.Message, error) {
			return s.tasks.BatchListSubtasks(ctx, &tasksv1.BatchListSubtasksRequest{TaskIds: []int64{top.GetId(), below}, Page: p, ReadMask: m})
		}},
		{"a comment", method("BatchGetComments"), comment, nil, func(ctx context.Context, _ page, m mask) (proto.Message, error) {
			return s.tasks.BatchGetComments(ctx, &tasksv1.BatchGetCommentsRequest{Ids: []int64{1}, ReadMask: m})
		}},
		{"a task's comments", method("ListComments"), comment, byComment, listComments(top.GetId(), false)},
		{"all comments", method("ListComments"), comment, byComment, listComments(0, false)},
		{"deleted comments", method("ListComments"), comment, []string{"deleted_at"}, listComments(0, true)},
		{"several tasks' comments", method("BatchListComments"), comment, byComment, func(ctx context.Context, p page, m mask) (proto.Message, error) {
			return s.tasks.BatchListComments(ctx, &tasksv1.BatchListCommentsRequest{TaskIds: []int64{top.GetId(), below}, Page: p, ReadMask: m})
		}},
	}
}

// masked compares what a read gives of each field alone with what it gives whole.
func (s *suite) masked(r maskedRead, p *pagev1.PageRequest) {
	s.Helper()
	const few = 8 // sets of the groups that tasks have
	s.world.Statements(r.method)
	whole, err := r.call(s.as(owner), p, nil)
	if err != nil {
		s.Fatalf("%s: %v", r.name, err)
	}
	if proto.Size(whole) < 20 { //nolint:mnd // less than a thing
		s.Fatalf("%s: got %v, want something", r.name, whole)
	}
	statements := len(s.world.Statements(r.method))
	different := make(map[string]bool)
	fields := r.of.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		name := fields.Get(i).Name()
		at := fmt.Sprintf("%s by %q, the field %s", r.name, p.GetOrderBy(), name)
		some, err := r.call(s.as(owner), p, mask(string(name)))
		if err != nil {
			s.Fatalf("%s: %v", at, err)
		}
		got := s.world.Statements(r.method)
		if len(got) != statements {
			s.Errorf("%s: got %d statements, want %d as without a mask", at, len(got), statements)
		}
		for _, statement := range got {
			different[statement] = true
		}
		byParent := cmp.Options{
			protocmp.SortRepeated(func(a, b *tasksv1.TaskPage) bool { return a.GetParentId() < b.GetParentId() }),
			protocmp.SortRepeated(func(a, b *tasksv1.CommentPage) bool { return a.GetParentId() < b.GetParentId() }),
		}
		if diff := cmp.Diff(only(whole, name), only(some, name), protocmp.Transform(), byParent); diff != "" {
			s.Errorf("%s (-whole +masked):\n%s", at, diff)
		}
		if text := fmt.Sprint(some); name != "description" && name != "body" && (strings.Contains(text, "At once") || strings.Contains(text, "Well")) {
			s.Errorf("%s: got %s, want no description and no body", at, text)
		}
	}
	if len(different) > few*statements {
		s.Errorf("%s: got %d different statements, want at most %d", r.name, len(different), few*statements)
	}
}

// only is an answer with nothing of each thing but its ids and a field.
func only(answer proto.Message, field protoreflect.Name) proto.Message {
	answer = proto.Clone(answer)
	reduce(answer.ProtoReflect(), field)
	return answer
}

func reduce(m protoreflect.Message, field protoreflect.Name) {
	thing := m.Descriptor().Name() == "Task" || m.Descriptor().Name() == "Comment"
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case thing && f.Name() != field && f.Name() != "id" && f.Name() != "project_id" && f.Name() != "task_id":
			m.Clear(f)
		case !thing && f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				reduce(v.List().Get(i).Message(), field)
			}
		}
		return true
	})
}
