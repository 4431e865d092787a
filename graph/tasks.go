package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"

	"github.com/trackway/trackway/graph/generated"
	"github.com/trackway/trackway/graph/relay"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// maxTasks is how many tasks BatchListComments and BatchListSubtasks take.
const maxTasks = 1000

func (r *resolver) batchGetTasks(ctx context.Context, ids []int64) ([]*tasksv1.Task, error) {
	res, err := r.cfg.Tasks.BatchGetTasks(ctx, &tasksv1.BatchGetTasksRequest{Ids: ids, ReadMask: r.mask(ctx, (*tasksv1.Task)(nil))})
	return res.GetTasks(), r.failure(ctx, err)
}

func (r *resolver) batchGetComments(ctx context.Context, ids []int64) ([]*tasksv1.Comment, error) {
	res, err := r.cfg.Tasks.BatchGetComments(ctx, &tasksv1.BatchGetCommentsRequest{Ids: ids, ReadMask: r.mask(ctx, (*tasksv1.Comment)(nil))})
	return res.GetComments(), r.failure(ctx, err)
}

func (r *resolver) listTasks(ctx context.Context, req *tasksv1.ListTasksRequest) (*relay.TaskConnection, error) {
	req.ReadMask = r.mask(ctx, (*tasksv1.Task)(nil))
	res, err := r.cfg.Tasks.ListTasks(ctx, req)
	if err != nil {
		return nil, r.failure(ctx, err)
	}
	if !req.GetFilter().GetDeleted() {
		r.tasks.put(res.GetTasks()...)
	}
	return connect(r.loads, place(graphql.GetFieldContext(ctx)), res.GetTasks(), res.GetPage()), nil
}

// listProjectTasks lists the tasks of a project and of its siblings; it fills in whose.
func (r *resolver) listProjectTasks(
	ctx context.Context, of *projectsv1.Project, req *tasksv1.BatchListTasksRequest,
) (*relay.TaskConnection, error) {
	return listEach(ctx, r, of, maxProjects,
		func(ctx context.Context, projects []*projectsv1.Project) ([]*tasksv1.TaskPage, error) {
			req.ProjectIds, req.ReadMask = ids(projects), r.mask(ctx, (*tasksv1.Task)(nil))
			res, err := r.cfg.Tasks.BatchListTasks(ctx, req)
			return res.GetPages(), err
		}, (*tasksv1.TaskPage).GetTasks)
}

// listSubtasks lists the tasks below a task and below its siblings; it fills in which.
func (r *resolver) listSubtasks(
	ctx context.Context, of *tasksv1.Task, req *tasksv1.BatchListSubtasksRequest,
) (*relay.TaskConnection, error) {
	return listEach(ctx, r, of, maxTasks,
		func(ctx context.Context, tasks []*tasksv1.Task) ([]*tasksv1.TaskPage, error) {
			req.TaskIds, req.ReadMask = ids(tasks), r.mask(ctx, (*tasksv1.Task)(nil))
			res, err := r.cfg.Tasks.BatchListSubtasks(ctx, req)
			return res.GetPages(), err
		}, (*tasksv1.TaskPage).GetTasks)
}

func (r *resolver) listComments(
	ctx context.Context, req *tasksv1.ListCommentsRequest,
) (*relay.CommentConnection, error) {
	req.ReadMask = r.mask(ctx, (*tasksv1.Comment)(nil))
	res, err := r.cfg.Tasks.ListComments(ctx, req)
	if err != nil {
		return nil, r.failure(ctx, err)
	}
	if !req.GetDeleted() {
		r.comments.put(res.GetComments()...)
	}
	return connect(r.loads, place(graphql.GetFieldContext(ctx)), res.GetComments(), res.GetPage()), nil
}

// listTaskComments lists the comments on a task and on its siblings; it fills in which.
func (r *resolver) listTaskComments(
	ctx context.Context, of *tasksv1.Task, req *tasksv1.BatchListCommentsRequest,
) (*relay.CommentConnection, error) {
	return listEach(ctx, r, of, maxTasks,
		func(ctx context.Context, tasks []*tasksv1.Task) ([]*tasksv1.CommentPage, error) {
			req.TaskIds, req.ReadMask = ids(tasks), r.mask(ctx, (*tasksv1.Comment)(nil))
			res, err := r.cfg.Tasks.BatchListComments(ctx, req)
			return res.GetPages(), err
		}, (*tasksv1.CommentPage).GetComments)
}

func taskUsers() references[*tasksv1.Task] {
	return references[*tasksv1.Task]{
		"assignee": (*tasksv1.Task).GetAssigneeId,
		"creator":  (*tasksv1.Task).GetCreatorId,
	}
}

func taskProjects() references[*tasksv1.Task] {
	return references[*tasksv1.Task]{"project": (*tasksv1.Task).GetProjectId}
}

func taskParents() references[*tasksv1.Task] {
	return references[*tasksv1.Task]{"parent": (*tasksv1.Task).GetParentId}
}

func commentUsers() references[*tasksv1.Comment] {
	return references[*tasksv1.Comment]{"author": (*tasksv1.Comment).GetAuthorId}
}

func commentTasks() references[*tasksv1.Comment] {
	return references[*tasksv1.Comment]{"task": (*tasksv1.Comment).GetTaskId}
}

// taskFilter is the filter in the words of the contract, never nil.
func taskFilter(in *generated.TaskFilter) (*tasksv1.TaskFilter, error) {
	if in == nil {
		return &tasksv1.TaskFilter{}, nil
	}
	var f form
	out := &tasksv1.TaskFilter{
		Statuses:     in.Statuses,
		Completed:    in.Completed,
		Priorities:   in.Priorities,
		Labels:       in.Labels,
		AssigneeId:   f.optionalID("filter.assignee_id", in.AssigneeID, relay.User),
		CreatorId:    value(f.optionalID("filter.creator_id", in.CreatorID, relay.User)),
		ParentId:     f.optionalID("filter.parent_id", in.ParentID, relay.Task),
		DueBefore:    value(in.DueBefore),
		DueAfter:     value(in.DueAfter),
		UpdatedSince: in.UpdatedSince,
		Search:       value(in.Search),
		Deleted:      value(in.Deleted),
	}
	if value(in.Unassigned) {
		f.That(in.AssigneeID == nil, "filter.unassigned", "can not be together with assigneeId")
		out.AssigneeId = new(int64)
	}
	if value(in.TopLevel) {
		f.That(in.ParentID == nil, "filter.top_level", "can not be together with parentId")
		out.ParentId = new(int64)
	}
	return out, f.Err()
}

func newTask(f *form, input *generated.NewTask) *tasksv1.CreateTaskRequest {
	return &tasksv1.CreateTaskRequest{
		ProjectId:   f.id("project_id", input.ProjectID, relay.Project),
		Title:       input.Title,
		Description: value(input.Description),
		Status:      value(input.Status),
		Priority:    value(input.Priority),
		Labels:      input.Labels,
		AssigneeId:  f.optionalID("assignee_id", input.AssigneeID, relay.User),
		ParentId:    f.optionalID("parent_id", input.ParentID, relay.Task),
		DueDate:     input.DueDate,
	}
}

func changeTask(f *update, input *generated.TaskChange) *tasksv1.UpdateTaskRequest {
	req := &tasksv1.UpdateTaskRequest{
		Id: f.id("id", input.ID, relay.Task), ExpectedVersion: f.version(input.ExpectedVersion), UpdateMask: &f.mask,
	}
	var description *string
	var assignee, parent *relay.ID
	set(f, "title", input.Title, &req.Title)
	empty(f, "description", input.Description, &description)
	set(f, "status", input.Status, &req.Status)
	set(f, "completed", input.Completed, &req.Completed)
	set(f, "priority", input.Priority, &req.Priority)
	empty(f, "labels", input.Labels, &req.Labels)
	empty(f, "assignee_id", input.AssigneeID, &assignee)
	empty(f, "parent_id", input.ParentID, &parent)
	empty(f, "due_date", input.DueDate, &req.DueDate)
	req.Description = value(description)
	req.AssigneeId = f.optionalID("assignee_id", assignee, relay.User)
	req.ParentId = f.optionalID("parent_id", parent, relay.Task)
	return req
}
