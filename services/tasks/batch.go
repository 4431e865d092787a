package tasks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/write"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// maxRequests is how many writes one batch may hold.
const maxRequests = 100

// failures are the requests of a batch that can not be done, by their place in it.
type failures map[int]error

// add keeps a failure that the caller may see; any other is the batch's.
func (f failures) add(i int, err error) error {
	var e *errs.Error
	if err == nil || !errors.As(err, &e) && errs.Is(err, errs.Internal) {
		return err
	}
	f[i] = err
	return nil
}

// err is nil unless something failed: then it has the code of the first failure, and names the fields of all as
// requests[3].title, and a request that failed as a whole as requests[3].
func (f failures) err() error {
	if len(f) == 0 {
		return nil
	}
	var all *errs.Error
	for _, i := range slices.Sorted(maps.Keys(f)) {
		e := errs.From(f[i])
		name := fmt.Sprintf("requests[%d]", i)
		if all == nil {
			all = errs.New(e.Code, "Nothing was done, as a part of it can not be: %s", e.Detail)
		}
		for _, field := range e.Fields {
			all.Fields = append(all.Fields, errs.Field{Name: name + "." + field.Name, Detail: field.Detail})
		}
		if len(e.Fields) == 0 {
			all.Fields = append(all.Fields, errs.Field{Name: name, Detail: e.Detail})
		}
	}
	return all
}

// outcomes tells what became of each request.
func (f failures) outcomes(tasks []*task) []*tasksv1.TaskOutcome {
	all := make([]*tasksv1.TaskOutcome, 0, len(tasks))
	for i, t := range tasks {
		err, failed := f[i]
		if !failed {
			all = append(all, &tasksv1.TaskOutcome{Task: t.proto()})
			continue
		}
		e := errs.From(err)
		failure := &tasksv1.Failure{Code: string(e.Code), Detail: e.Detail}
		for _, field := range e.Fields {
			failure.Fields = append(failure.Fields, &tasksv1.FieldViolation{Field: field.Name, Detail: field.Detail})
		}
		all = append(all, &tasksv1.TaskOutcome{Failure: failure})
	}
	return all
}

// of gives those of the things, one a request, whose request has not failed.
func of[T any](f failures, things []T) []T {
	var out []T
	for i, thing := range things {
		if _, failed := f[i]; !failed {
			out = append(out, thing)
		}
	}
	return out
}

// BatchCreateTasks adds tasks, in one transaction.
func (s *service) BatchCreateTasks(ctx context.Context, req *tasksv1.BatchCreateTasksRequest) (*tasksv1.BatchCreateTasksResponse, error) {
	if err := checkRequests(len(req.GetRequests())); err != nil {
		return nil, err
	}
	failed := make(failures)
	tasks := make([]*task, 0, len(req.GetRequests()))
	for i, r := range req.GetRequests() {
		t, err := newTask(ctx, r)
		if err := failed.add(i, err); err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	a, err := s.accessFor(ctx, of(failed, tasks))
	if err != nil {
		return nil, err
	}
	for i, t := range tasks {
		if _, done := failed[i]; done {
			continue
		}
		err := a.require(t.ProjectID, auth.WriteTasks, "project")
		if err == nil {
			err = t.checkAssignee(a)
		}
		if err := failed.add(i, err); err != nil {
			return nil, err
		}
	}
	answer := new(tasksv1.BatchCreateTasksResponse)
	err = s.store.createTasks(ctx, tasks, failed, func() (proto.Message, error) {
		if !req.GetAllowPartialSuccess() {
			if err := failed.err(); err != nil {
				return nil, err
			}
		}
		answer.Outcomes = failed.outcomes(tasks)
		return answer, nil
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// BatchUpdateTasks changes tasks, in one transaction.
func (s *service) BatchUpdateTasks(ctx context.Context, req *tasksv1.BatchUpdateTasksRequest) (*tasksv1.BatchUpdateTasksResponse, error) {
	if err := checkRequests(len(req.GetRequests())); err != nil {
		return nil, err
	}
	wrong := make(failures)
	updates := make([]*taskUpdate, 0, len(req.GetRequests()))
	seen := make(map[int64]bool, len(req.GetRequests()))
	for i, r := range req.GetRequests() {
		u, err := newTaskUpdate(r)
		if seen[r.GetId()] {
			err = errs.InvalidField("id", "is the task of another request too")
		}
		seen[r.GetId()] = true
		if err := wrong.add(i, err); err != nil {
			return nil, err
		}
		updates = append(updates, u)
	}
	answer := new(tasksv1.BatchUpdateTasksResponse)
	err := write.Retry(ctx, func(ctx context.Context) error {
		failed := maps.Clone(wrong)
		changes, err := s.changes(ctx, req.GetRequests(), updates, failed)
		if err != nil {
			return err
		}
		return s.store.updateTasks(ctx, changes, failed, func() (proto.Message, error) {
			if !req.GetAllowPartialSuccess() {
				if err := failed.err(); err != nil {
					return nil, err
				}
			}
			answer.Outcomes = failed.outcomes(mapped(changes, func(c change) *task { return c.task }))
			return answer, nil
		})
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// change is a task with the fields of its update, and what has become other by them.
type change struct {
	*task

	any, parent bool
}

// changes applies the updates to the tasks as they are now. Those that can not be done become failures.
func (s *service) changes(ctx context.Context, reqs []*tasksv1.UpdateTaskRequest, updates []*taskUpdate, failed failures) ([]change, error) {
	asked := of(failed, updates)
	found, err := s.store.tasks(ctx, taskColumns().All(), mapped(asked, func(u *taskUpdate) int64 { return u.ID }))
	if err != nil {
		return nil, err
	}
	byID := make(map[int64]*task, len(found))
	for _, t := range found {
		byID[t.ID] = t
	}
	a, err := s.accessFor(ctx, found, mapped(asked, func(u *taskUpdate) *int64 { return u.AssigneeID })...)
	if err != nil {
		return nil, err
	}
	out := make([]change, len(updates))
	for i, u := range updates {
		if _, done := failed[i]; done {
			continue
		}
		out[i], err = newChange(byID[u.ID], u, reqs[i].GetExpectedVersion(), a)
		if err := failed.add(i, err); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// newChange applies the update to the task, which is nil when there is none.
func newChange(t *task, u *taskUpdate, expected int64, a access) (change, error) {
	if t == nil {
		return change{}, errs.Missing("task")
	}
	if err := a.require(t.ProjectID, auth.WriteTasks, "task"); err != nil {
		return change{}, err
	}
	if err := a.expect(t.ProjectID, expected, t.Version, "task"); err != nil {
		return change{}, err
	}
	before := t.proto()
	t.apply(u)
	after := t.proto()
	t.changed = events.Differences(before, after)
	c := change{
		task: t, any: !proto.Equal(before, after), parent: before.GetParentId() != after.GetParentId(),
	}
	if before.GetAssigneeId() != after.GetAssigneeId() {
		return c, t.checkAssignee(a)
	}
	return c, nil
}

// accessFor asks, in one call, what the caller is in the projects of the tasks, and whether the tasks' assignees and
// the others are members.
func (s *service) accessFor(ctx context.Context, tasks []*task, others ...*int64) (access, error) {
	var users []int64
	for _, t := range tasks {
		users = append(users, given(t.AssigneeID)...)
	}
	for _, id := range others {
		users = append(users, given(id)...)
	}
	slices.Sort(users)
	return s.access(ctx, distinct(tasks, func(t *task) int64 { return t.ProjectID }), slices.Compact(users)...)
}

func checkRequests(n int) error {
	if n < 1 || n > maxRequests {
		return errs.InvalidField("requests", "must be 1 to %d", maxRequests)
	}
	return nil
}

func mapped[T, U any](things []T, f func(T) U) []U {
	out := make([]U, 0, len(things))
	for _, t := range things {
		out = append(out, f(t))
	}
	return out
}
