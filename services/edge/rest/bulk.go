package rest

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/trackway/trackway/services/platform/errs"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// Atomic is whether a bulk operation is done as one.
type Atomic struct {
	Atomic Change[bool] `json:"atomic,omitzero" nullable:"true" doc:"Whether all is done or nothing, which is so when absent. With false, what can be done is done."`
}

// partial is whether what can be done is to be done, though something else can not.
func (a Atomic) partial() bool { return a.Atomic.Given && !a.Atomic.Null && !a.Atomic.Value }

// TaskBulkCreation makes tasks.
type TaskBulkCreation struct {
	Atomic

	Tasks []TaskCreation `json:"tasks" nullable:"false" minItems:"1" maxItems:"100" example:"[{\"project_id\":1,\"title\":\"Learn the API\"}]" doc:"The tasks."`
}

// TaskBulkChange changes one of several tasks.
type TaskBulkChange struct {
	TaskPatch

	ID      int64         `json:"id" minimum:"1" example:"1" doc:"The task."`
	Version Change[int64] `json:"version,omitzero" minimum:"1" example:"3" doc:"Changes it only if it still has this version, as If-Match does for one."`
}

// TaskBulkUpdate changes tasks.
type TaskBulkUpdate struct {
	Atomic

	Tasks []TaskBulkChange `json:"tasks" nullable:"false" minItems:"1" maxItems:"100" example:"[{\"id\":1,\"completed\":true}]" doc:"The changes, each of another task."`
}

// TaskOutcome is what became of one item: a task or a problem.
type TaskOutcome struct {
	Status  int      `json:"status" minimum:"200" maximum:"599" example:"200" doc:"The HTTP status that the request for it alone would have had."`
	Task    *Task    `json:"task,omitempty" doc:"The task, if the item was done."`
	Problem *Problem `json:"problem,omitempty" doc:"What went wrong, if it was not."`
}

// TaskOutcomes is what became of all items.
type TaskOutcomes struct {
	Results []TaskOutcome `json:"results" nullable:"false" maxItems:"100" doc:"One for each item, in their order."`
}

// BulkAnswer is the answer of a bulk operation.
type BulkAnswer struct {
	Written

	Body TaskOutcomes
}

func (a *api) registerBulk() {
	const path = "/api/tasks/bulk/"
	register(a, answers200(operation(http.MethodPost, path, "bulkCreateTasks", tagTasks, "Make several tasks",
		"Makes up to 100 tasks: all or none, or with atomic=false those that can be made. What is wrong with an item is an "+
			"error whose pointer begins with its place.")), a.bulkCreateTasks)
	register(a, operation(http.MethodPatch, path, "bulkUpdateTasks", tagTasks, "Change several tasks",
		"Changes up to 100 tasks (RFC 7396 for each): all or none, or with atomic=false those that can be changed. What is "+
			"wrong with an item is an error whose pointer begins with its place."), a.bulkUpdateTasks)
}

func (a *api) bulkCreateTasks(ctx context.Context, in *Create[TaskBulkCreation]) (*BulkAnswer, error) {
	req := &tasksv1.BatchCreateTasksRequest{AllowPartialSuccess: in.Body.partial()}
	var wrong invalid
	for i := range in.Body.Tasks {
		one, err := taskCreation(&in.Body.Tasks[i])
		if wrong, err = wrong.item(i, err); err != nil {
			return nil, err
		}
		req.Requests = append(req.Requests, one)
	}
	if wrong != nil {
		return nil, wrong
	}
	res, replayed, err := send(ctx, in.Keyed, a.tasks.BatchCreateTasks, req)
	if err != nil {
		return nil, err
	}
	return bulkAnswer(ctx, replayed, http.StatusCreated, res.GetOutcomes()), nil
}

func (a *api) bulkUpdateTasks(ctx context.Context, in *Create[TaskBulkUpdate]) (*BulkAnswer, error) {
	req := &tasksv1.BatchUpdateTasksRequest{AllowPartialSuccess: in.Body.partial()}
	var wrong invalid
	for i := range in.Body.Tasks {
		item := &in.Body.Tasks[i]
		one, err := taskChange(item.ID, &item.TaskPatch)
		if wrong, err = wrong.item(i, err); err != nil {
			return nil, err
		}
		if item.Version.Null {
			wrong = append(wrong, Violation{Pointer: itemPointer(i, "#/version"), Detail: "must not be null"})
		}
		one.ExpectedVersion = item.Version.Value
		req.Requests = append(req.Requests, one)
	}
	if wrong != nil {
		return nil, wrong
	}
	res, replayed, err := send(ctx, in.Keyed, a.tasks.BatchUpdateTasks, req)
	if err != nil {
		return nil, err
	}
	return bulkAnswer(ctx, replayed, http.StatusOK, res.GetOutcomes()), nil
}

// item adds what is wrong with an item, so that the sender learns of all items at once.
func (i invalid) item(index int, err error) (invalid, error) {
	var wrong invalid
	if !errors.As(err, &wrong) {
		return i, err
	}
	for _, v := range wrong {
		v.Pointer = itemPointer(index, v.Pointer)
		i = append(i, v)
	}
	return i, nil
}

// itemPointer puts the place of the item ahead of a pointer in it.
func itemPointer(index int, pointer string) string {
	return "#/tasks/" + strconv.Itoa(index) + pointer[len("#"):]
}

func bulkAnswer(ctx context.Context, replayed string, done int, outcomes []*tasksv1.TaskOutcome) *BulkAnswer {
	out := &BulkAnswer{Written: Written{replayed}, Body: TaskOutcomes{make([]TaskOutcome, 0, len(outcomes))}}
	for i, o := range outcomes {
		if f := o.GetFailure(); f != nil {
			p := bulkProblem(ctx, i, f)
			out.Body.Results = append(out.Body.Results, TaskOutcome{Status: p.Status, Problem: p})
			continue
		}
		out.Body.Results = append(out.Body.Results, TaskOutcome{Status: done, Task: new(newTask(o.GetTask()))})
	}
	return out
}

func bulkProblem(ctx context.Context, index int, f *tasksv1.Failure) *Problem {
	e := errs.New(errs.Code(f.GetCode()), "%s", f.GetDetail())
	if e.Code.HTTP() == 0 {
		e = errs.New(errs.Internal, "Something went wrong on our side.")
	}
	p := newProblem(ctx, "/api/tasks/bulk/", e)
	var wrong invalid
	for _, v := range f.GetFields() {
		name := "requests[" + strconv.Itoa(index) + "]"
		if v.GetField() != "" {
			name += "." + v.GetField()
		}
		at, _ := locateItem(errs.Field{Name: name, Detail: v.GetDetail()})
		wrong = append(wrong, at)
	}
	p.explain(wrong)
	return p
}
