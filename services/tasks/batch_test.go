package tasks_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

func TestABatchCreatesAllOrNone(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	one, other := s.project(), s.project()
	parent := s.task(&tasksv1.CreateTaskRequest{ProjectId: one})
	req := &tasksv1.BatchCreateTasksRequest{}
	for i := range 100 {
		r := &tasksv1.CreateTaskRequest{ProjectId: one, Title: fmt.Sprint(i), Labels: []string{"b", "a"}, DueDate: new("2030-01-02")}
		if i%2 == 1 {
			r.ProjectId = other
		} else {
			r.ParentId, r.AssigneeId = &parent.Id, new(worker)
		}
		req.Requests = append(req.Requests, r)
	}
	method := tasksv1.TasksService_BatchCreateTasks_FullMethodName
	s.projects.calls.Store(0)
	got, err := s.tasks.BatchCreateTasks(s.as(worker), req)
	if err != nil {
		t.Fatal(err)
	}
	// Begin, the parents, the numbers, the rows, the events, commit.
	if sql := s.world.Statements(method); len(sql) != 6 || s.projects.calls.Load() != 1 {
		t.Errorf("got %d statements and %d calls, want 6 and 1:\n%.3000q", len(sql), s.projects.calls.Load(), sql)
	}
	for i, o := range got.GetOutcomes() {
		number := int64(i/2 + 1)
		if i%2 == 0 {
			number++ // behind the parent
		}
		if got := o.GetTask(); got.GetTitle() != fmt.Sprint(i) || got.GetNumber() != number || o.GetFailure() != nil {
			t.Fatalf("outcome %d: got %v, want task number %d", i, o, number)
		}
		stored, err := s.tasks.GetTask(s.as(worker), &tasksv1.GetTaskRequest{Id: o.GetTask().GetId()})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(stored, o.GetTask(), protocmp.Transform()); diff != "" {
			t.Fatalf("outcome %d (-stored +answered):\n%s", i, diff)
		}
	}
	s.count(101, "events", "type = 'task.created'")
	req.Requests[3].Title = " "
	req.Requests[4].ParentId = new(int64(1 << 40))
	req.Requests[5].AssigneeId = new(stranger)
	req.Requests[6].ProjectId = foreign + 1
	_, err = s.tasks.BatchCreateTasks(s.as(worker), req)
	want := []string{"requests[3].title", "requests[4].parent_id", "requests[5].assignee_id", "requests[6]"}
	if diff := cmp.Diff(want, mapped(errs.From(err).Fields, func(f errs.Field) string { return f.Name })); code(err) != errs.Invalid || diff != "" {
		t.Errorf("got %v (-want +got):\n%s", err, diff)
	}
	s.count(101, "tasks", "true")
	s.count(101, "events", "true")
	for _, n := range []int{0, 101} {
		_, err := s.tasks.BatchCreateTasks(s.as(worker), &tasksv1.BatchCreateTasksRequest{Requests: make([]*tasksv1.CreateTaskRequest, n)})
		if code(err) != errs.Invalid {
			t.Errorf("%d requests: got %v, want %q", n, err, errs.Invalid)
		}
	}
}

func TestABatchCanDoWhatCanBeDone(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	create := &tasksv1.BatchCreateTasksRequest{AllowPartialSuccess: true, Requests: []*tasksv1.CreateTaskRequest{
		{ProjectId: project, Title: "A"},
		{ProjectId: project, Title: ""},
		{ProjectId: project, Title: "B", ParentId: new(int64(1 << 40))},
		{ProjectId: foreign + 1, Title: "C"},
		{ProjectId: project, Title: "D"},
	}}
	created, err := s.tasks.BatchCreateTasks(s.as(worker), create)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"A 1", "invalid title", "invalid parent_id", "not_found", "D 2"}, outcomes(created)); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	s.count(2, "events", "type = 'task.created'")
	a, d := created.GetOutcomes()[0].GetTask().GetId(), created.GetOutcomes()[4].GetTask().GetId()
	update := &tasksv1.BatchUpdateTasksRequest{AllowPartialSuccess: true, Requests: []*tasksv1.UpdateTaskRequest{
		{Id: a, ParentId: &d, UpdateMask: mask("parent_id"), ExpectedVersion: 1},
		{Id: d, ParentId: &a, UpdateMask: mask("parent_id")}, // would be a ring
		{Id: 1 << 40, Title: "E", UpdateMask: mask("title")},
		{Id: a, Title: "F", UpdateMask: mask("title")},
	}}
	updated, err := s.tasks.BatchUpdateTasks(s.as(worker), update)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"A 1", "invalid parent_id", "not_found", "invalid id"}, outcomes(updated)); diff != "" {
		t.Errorf("updated (-want +got):\n%s", diff)
	}
	s.count(1, "events", "type = 'task.updated'")
	s.count(1, "tasks", "parent_id IS NOT NULL AND version = 2")
}

// outcomes are the title and number of each task, and the code and fields of each failure.
func outcomes(answer interface{ GetOutcomes() []*tasksv1.TaskOutcome }) []string {
	return mapped(answer.GetOutcomes(), func(o *tasksv1.TaskOutcome) string {
		if o.GetFailure() == nil {
			return fmt.Sprint(o.GetTask().GetTitle(), " ", o.GetTask().GetNumber())
		}
		text := o.GetFailure().GetCode()
		for _, f := range o.GetFailure().GetFields() {
			text += " " + f.GetField()
		}
		return text
	})
}

func TestABatchUpdatesAllOrNone(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	_, ids := s.boardOf(50)
	_, others := s.boardOf(50)
	req := &tasksv1.BatchUpdateTasksRequest{}
	for i, id := range append(ids, others...) {
		r := &tasksv1.UpdateTaskRequest{
			Id: id, Title: fmt.Sprint("New ", i), Completed: true, Labels: []string{`q"\'?`, "ü"}, DueDate: new("2030-01-02"),
			AssigneeId: new(worker), UpdateMask: mask("title", "completed", "labels", "due_date", "assignee_id"),
		}
		if i == 7 {
			r.UpdateMask = nil // changes nothing
		}
		req.Requests = append(req.Requests, r)
	}
	s.projects.calls.Store(0)
	s.world.Statements(tasksv1.TasksService_BatchUpdateTasks_FullMethodName)
	got, err := s.tasks.BatchUpdateTasks(s.as(worker), req)
	if err != nil {
		t.Fatal(err)
	}
	// The tasks; begin, the locks, the rows, the events, commit.
	if sql := s.world.Statements(tasksv1.TasksService_BatchUpdateTasks_FullMethodName); len(sql) != 6 || s.projects.calls.Load() != 1 {
		t.Errorf("got %d statements and %d calls, want 6 and 1:\n%.3000q", len(sql), s.projects.calls.Load(), sql)
	}
	for i, o := range got.GetOutcomes() {
		stored, err := s.tasks.GetTask(s.as(worker), &tasksv1.GetTaskRequest{Id: req.GetRequests()[i].GetId()})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(stored, o.GetTask(), protocmp.Transform()); diff != "" {
			t.Fatalf("outcome %d (-stored +answered):\n%s", i, diff)
		}
	}
	s.count(99, "events", "type = 'task.updated'")
	s.count(99, "tasks", "version = 2 AND status = 3 AND assignee_id = ? AND due_date = '2030-01-02' AND cardinality(labels) = 2", worker)
	for _, r := range req.GetRequests() {
		r.Title += "!"
	}
	req.Requests[1].ExpectedVersion = 1
	req.Requests[2].Title = ""
	_, err = s.tasks.BatchUpdateTasks(s.as(worker), req)
	want := []string{"requests[1]", "requests[2].title"}
	if diff := cmp.Diff(want, mapped(errs.From(err).Fields, func(f errs.Field) string { return f.Name })); code(err) != errs.PreconditionFailed || diff != "" {
		t.Errorf("got %v (-want +got):\n%s", err, diff)
	}
	// The doors have names of their own for what is requests here.
	if detail := errs.From(err).Detail; strings.Contains(detail, "requests") || !strings.Contains(detail, "it is at version 2, not 1") {
		t.Errorf("got %q, want what the first says, and no name of a field", detail)
	}
	s.count(99, "events", "type = 'task.updated'")
}

func TestAKeyedBatchHappensOnce(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project, ids := s.boardOf(20)
	create := &tasksv1.BatchCreateTasksRequest{}
	update := &tasksv1.BatchUpdateTasksRequest{}
	for _, id := range ids {
		create.Requests = append(create.Requests, &tasksv1.CreateTaskRequest{ProjectId: project, Title: "Once"})
		update.Requests = append(update.Requests, &tasksv1.UpdateTaskRequest{Id: id, Title: "Twice", UpdateMask: mask("title")})
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for {
				_, err := s.tasks.BatchCreateTasks(idempotency.WithKey(s.as(worker), "create"), create)
				if err == nil {
					_, err = s.tasks.BatchUpdateTasks(idempotency.WithKey(s.as(worker), "update"), update)
				}
				if !errs.Is(err, errs.InProgress) {
					if err != nil {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	wg.Wait()
	s.count(20, "tasks", "title = 'Once'")
	s.count(40, "events", "type = 'task.created'")
	s.count(20, "tasks", "title = 'Twice' AND version = 2")
	s.count(20, "events", "type = 'task.updated'")
}

// Batches of the same tasks in different orders, without a precondition, do not get into each other's way.
func TestRacingBatchesAllSucceed(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	_, ids := s.boardOf(10)
	const racers = 4
	var wg sync.WaitGroup
	for r := range racers {
		wg.Go(func() {
			req := &tasksv1.BatchUpdateTasksRequest{}
			for i := range ids {
				req.Requests = append(req.Requests, &tasksv1.UpdateTaskRequest{
					Id: ids[(i*(2*r+1)+r)%len(ids)], Title: fmt.Sprint("By ", r), UpdateMask: mask("title"),
				})
			}
			if r == 2 { // 5 shares a factor with 10
				req.Requests = req.GetRequests()[:2]
			}
			if _, err := s.tasks.BatchUpdateTasks(s.as(worker), req); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.count(10, "tasks", "version >= 4")
}
