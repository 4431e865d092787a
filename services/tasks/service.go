package tasks

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/page"
	"github.com/trackway/trackway/services/platform/write"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

const (
	maxBatch    = 1000 // things that one BatchGet may ask for, and tasks whose comments or subtasks one BatchList may
	maxProjects = 100  // projects whose tasks one BatchList may ask for
	maxLabels   = 20
	maxSearch   = 200 // characters
)

// service answers the RPCs.
type service struct {
	tasksv1.UnimplementedTasksServiceServer

	store    store
	projects projectsClient
	versions *cache.Answers // of the callers' access
	own      *cache.Remembered[auth.AccessOf, access]
}

// GetTask gives one task that the caller may read.
func (s *service) GetTask(ctx context.Context, req *tasksv1.GetTaskRequest) (*tasksv1.Task, error) {
	t, _, err := s.require(ctx, req.GetId(), auth.ReadProject)
	if err != nil {
		return nil, err
	}
	return t.proto(), nil
}

// BatchGetTasks gives the tasks among the ids that the caller may read.
func (s *service) BatchGetTasks(ctx context.Context, req *tasksv1.BatchGetTasksRequest) (*tasksv1.BatchGetTasksResponse, error) {
	columns, err := taskColumns().Read(req.GetReadMask())
	if err != nil {
		return nil, err
	}
	tasks, err := s.readable(ctx, columns, req.GetIds(), "ids")
	if err != nil {
		return nil, err
	}
	return &tasksv1.BatchGetTasksResponse{Tasks: protos(tasks)}, nil
}

// readable gives columns of the tasks among the ids that the caller may read; field is where the ids came from.
func (s *service) readable(ctx context.Context, columns bun.Safe, ids []int64, field string) ([]*task, error) {
	if len(ids) > maxBatch {
		return nil, errs.InvalidField(field, "must be at most %d", maxBatch)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	tasks, err := s.store.tasks(ctx, columns, ids)
	if err != nil {
		return nil, err
	}
	a, err := s.access(ctx, distinct(tasks, func(t *task) int64 { return t.ProjectID }))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(tasks, func(t *task) bool { return !a.readable(t.ProjectID) }), nil
}

// newTaskList checks how tasks are to be listed, which ones, and which columns that takes beside those of other fields.
func newTaskList(req page.Request, filter *tasksv1.TaskFilter, mask page.Mask, others ...string) (*page.Query[*task], taskFilter, error) {
	q, err := taskOrders(filter).Query(req)
	if err != nil {
		return nil, taskFilter{}, err
	}
	f, err := newTaskFilter(filter)
	if err != nil {
		return nil, f, err
	}
	f.columns, err = taskColumns().Read(mask, append(q.Fields(), others...)...)
	return q, f, err
}

// ListTasks gives one page of the tasks of one project, or of all that the caller is a member of.
func (s *service) ListTasks(ctx context.Context, req *tasksv1.ListTasksRequest) (*tasksv1.ListTasksResponse, error) {
	q, f, err := newTaskList(req.GetPage(), req.GetFilter(), req.GetReadMask())
	if err != nil {
		return nil, err
	}
	projects, err := s.listed(ctx, req.GetProjectId(), f.permission())
	if err != nil {
		return nil, err
	}
	p, err := s.store.listTasks(ctx, projects, f, q)
	if err != nil {
		return nil, err
	}
	return &tasksv1.ListTasksResponse{Tasks: protos(p.Rows), Page: pageInfo(p)}, nil
}

// listed gives the project, which must allow this, or for 0 those of the caller's that do.
func (s *service) listed(ctx context.Context, projectID int64, p auth.Permission) ([]int64, error) {
	if projectID == 0 {
		a, err := s.ownAccess(ctx)
		return a.allowing(p), err
	}
	a, err := s.access(ctx, []int64{projectID})
	if err != nil {
		return nil, err
	}
	return []int64{projectID}, errs.InProject(a[projectID].role.Require(p, "project"), projectID)
}

// permission is what a list with the filter takes: the trash is for those who could have put something into it.
func (f taskFilter) permission() auth.Permission {
	if f.deleted {
		return auth.DeleteTasks
	}
	return auth.ReadProject
}

// BatchListTasks gives the same page of several projects' tasks.
func (s *service) BatchListTasks(ctx context.Context, req *tasksv1.BatchListTasksRequest) (*tasksv1.BatchListTasksResponse, error) {
	if len(req.GetProjectIds()) > maxProjects {
		return nil, errs.InvalidField("project_ids", "must be at most %d", maxProjects)
	}
	q, f, err := newTaskList(req.GetPage(), req.GetFilter(), req.GetReadMask())
	if err != nil {
		return nil, err
	}
	projects := distinct(req.GetProjectIds(), func(id int64) int64 { return id })
	a, err := s.access(ctx, projects)
	if err != nil {
		return nil, err
	}
	pages, err := s.store.tasksOf(ctx, a.allowing(f.permission()), f, q)
	if err != nil {
		return nil, err
	}
	return &tasksv1.BatchListTasksResponse{Pages: taskPages(pages)}, nil
}

// BatchListSubtasks gives the same page of the tasks below each of several tasks.
func (s *service) BatchListSubtasks(ctx context.Context, req *tasksv1.BatchListSubtasksRequest) (*tasksv1.BatchListSubtasksResponse, error) {
	if req.GetFilter() != nil && req.Filter.ParentId != nil {
		return nil, errs.InvalidField("parent_id", "can not be together with task_ids")
	}
	if req.GetFilter().GetDeleted() {
		return nil, errs.InvalidField("deleted", "can not be together with task_ids")
	}
	q, f, err := newTaskList(req.GetPage(), req.GetFilter(), req.GetReadMask(), "parent_id")
	if err != nil {
		return nil, err
	}
	parents, err := s.readable(ctx, whereTask, req.GetTaskIds(), "task_ids")
	if err != nil {
		return nil, err
	}
	pages, err := s.store.tasksBelow(ctx, distinct(parents, func(t *task) int64 { return t.ID }), f, q)
	if err != nil {
		return nil, err
	}
	return &tasksv1.BatchListSubtasksResponse{Pages: taskPages(pages)}, nil
}

func taskPages(pages map[int64]page.Page[*task]) []*tasksv1.TaskPage {
	all := make([]*tasksv1.TaskPage, 0, len(pages))
	for id, p := range pages {
		all = append(all, &tasksv1.TaskPage{ParentId: id, Tasks: protos(p.Rows), Page: pageInfo(p)})
	}
	return all
}

// newTask is the task that a request asks for, as far as the request alone can tell.
func newTask(ctx context.Context, req *tasksv1.CreateTaskRequest) (*task, error) {
	t := &task{
		ProjectID: req.GetProjectId(), Title: strings.TrimSpace(req.GetTitle()), Description: req.GetDescription(),
		Status:   cmp.Or(req.GetStatus(), tasksv1.Status_STATUS_TODO),
		Priority: cmp.Or(req.GetPriority(), tasksv1.Priority_PRIORITY_NONE),
		Labels:   tidy(req.GetLabels()), AssigneeID: req.AssigneeId, ParentID: req.ParentId, DueDate: newDate(req.DueDate), //nolint:protogetter // absent is not empty
		CreatorID: auth.CallerFrom(ctx).UserID,
	}
	t.complete()
	var c errs.Check
	c.That(t.ProjectID > 0, "project_id", "must be the id of a project")
	t.check(&c, "title", "description", "status", "priority", "labels", "assignee_id", "parent_id", "due_date")
	return t, c.Err()
}

// CreateTask adds a task to a project.
func (s *service) CreateTask(ctx context.Context, req *tasksv1.CreateTaskRequest) (*tasksv1.Task, error) {
	t, err := newTask(ctx, req)
	if err != nil {
		return nil, err
	}
	a, err := s.access(ctx, []int64{t.ProjectID}, given(t.AssigneeID)...)
	if err != nil {
		return nil, err
	}
	if err := a.require(t.ProjectID, auth.WriteTasks, "project"); err != nil {
		return nil, err
	}
	if err := t.checkAssignee(a); err != nil {
		return nil, err
	}
	if err := s.store.createTask(ctx, t); err != nil {
		return nil, err
	}
	return t.proto(), nil
}

// UpdateTask changes the fields named by the mask.
func (s *service) UpdateTask(ctx context.Context, req *tasksv1.UpdateTaskRequest) (*tasksv1.Task, error) {
	u, err := newTaskUpdate(req)
	if err != nil {
		return nil, err
	}
	var t *task
	err = write.Retry(ctx, func(ctx context.Context) error {
		var (
			a   access
			err error
		)
		if t, a, err = s.require(ctx, req.GetId(), auth.WriteTasks, given(u.AssigneeID)...); err != nil {
			return err
		}
		if err := a.expect(t.ProjectID, req.GetExpectedVersion(), t.Version, "task"); err != nil {
			return err
		}
		before := t.proto()
		t.apply(u)
		after := t.proto()
		t.changed = events.Differences(before, after)
		if proto.Equal(before, after) {
			return write.Unchanged(ctx, s.store.db, "task", after)
		}
		if before.GetAssigneeId() != after.GetAssigneeId() { // one who left the project may keep what they have
			if err := t.checkAssignee(a); err != nil {
				return err
			}
		}
		return s.store.updateTask(ctx, t, before.GetParentId() != after.GetParentId())
	})
	if err != nil {
		return nil, err
	}
	return t.proto(), nil
}

// DeleteTask deletes a task softly, and with it its comments, which are read through it.
func (s *service) DeleteTask(ctx context.Context, req *tasksv1.DeleteTaskRequest) (*emptypb.Empty, error) {
	err := write.Retry(ctx, func(ctx context.Context) error {
		t, a, err := s.require(ctx, req.GetId(), auth.DeleteTasks)
		if err != nil {
			return err
		}
		if err := a.expect(t.ProjectID, req.GetExpectedVersion(), t.Version, "task"); err != nil {
			return err
		}
		return s.store.removeTask(ctx, t)
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// RestoreTask takes a task out of the trash, and with it its comments. A restored task is in its old place, and below
// its old parent.
func (s *service) RestoreTask(ctx context.Context, req *tasksv1.RestoreTaskRequest) (*tasksv1.Task, error) {
	var t *task
	err := write.Retry(ctx, func(ctx context.Context) error {
		var err error
		if t, err = located(s.store.taskOrTrash(ctx, req.GetId())); err != nil {
			return err
		}
		a, err := s.access(ctx, []int64{t.ProjectID})
		if err != nil {
			return err
		}
		if err := a.require(t.ProjectID, auth.DeleteTasks, "task"); err != nil {
			return err
		}
		if err := write.Expect(req.GetExpectedVersion(), t.Version, "task"); err != nil {
			return err
		}
		if t.DeletedAt.IsZero() {
			return write.Unchanged(ctx, s.store.db, "task", t.proto())
		}
		return s.store.restoreTask(ctx, t)
	})
	if err != nil {
		return nil, err
	}
	return t.proto(), nil
}

// require gives a task with which the caller may do this, and what is known of the caller and the users in its project.
func (s *service) require(ctx context.Context, id int64, p auth.Permission, userIDs ...int64) (*task, access, error) {
	t, err := located(s.store.task(ctx, id))
	if err != nil {
		return nil, nil, err
	}
	a, err := s.access(ctx, []int64{t.ProjectID}, userIDs...)
	if err != nil {
		return nil, nil, err
	}
	return t, a, a.require(t.ProjectID, p, "task")
}

// taskUpdate is what an update asks for: the fields, and the task that has them.
type taskUpdate struct {
	task

	fields    []string // distinct
	completed bool
}

func newTaskUpdate(req *tasksv1.UpdateTaskRequest) (*taskUpdate, error) {
	u := &taskUpdate{
		fields: distinct(req.GetUpdateMask().GetPaths(), func(path string) string { return path }), completed: req.GetCompleted(),
		task: task{
			ID: req.GetId(), Title: strings.TrimSpace(req.GetTitle()), Description: req.GetDescription(),
			Status: req.GetStatus(), Priority: req.GetPriority(), Labels: tidy(req.GetLabels()),
			DueDate: newDate(req.DueDate), //nolint:protogetter // absent is not empty
		},
	}
	if u.has("assignee_id") {
		u.AssigneeID = req.AssigneeId
	}
	if u.has("parent_id") {
		u.ParentID = req.ParentId
	}
	var c errs.Check
	u.check(&c, u.fields...)
	c.That(!u.has("parent_id") || u.ParentID == nil || *u.ParentID != u.ID, "parent_id", "must not be the task itself")
	if u.has("status") && u.has("completed") {
		c.That(u.completed == (u.Status == tasksv1.Status_STATUS_DONE), "completed", "says otherwise than status")
	}
	return u, c.Err()
}

func (u *taskUpdate) has(field string) bool { return slices.Contains(u.fields, field) }

// apply changes the fields of the update.
func (t *task) apply(u *taskUpdate) {
	for _, field := range u.fields {
		switch field {
		case "title":
			t.Title = u.Title
		case "description":
			t.Description = u.Description
		case "status":
			t.become(u.Status)
		case "completed":
			if u.completed {
				t.become(tasksv1.Status_STATUS_DONE)
			} else if t.Status == tasksv1.Status_STATUS_DONE {
				t.become(tasksv1.Status_STATUS_TODO)
			}
		case "priority":
			t.Priority = u.Priority
		case "labels":
			t.Labels = u.Labels
		case "assignee_id":
			t.AssigneeID = u.AssigneeID
		case "parent_id":
			t.ParentID = u.ParentID
		case "due_date":
			t.DueDate = u.DueDate
		}
	}
}

// become gives a task that has been read another status.
func (t *task) become(status tasksv1.Status) {
	if t.left == 0 && t.Status != status {
		t.left = t.Status
	}
	t.Status = status
	t.complete()
}

// complete keeps the time at which the task became done.
func (t *task) complete() {
	switch {
	case t.Status != tasksv1.Status_STATUS_DONE:
		t.CompletedAt = time.Time{}
	case t.CompletedAt.IsZero():
		t.CompletedAt = now()
	}
}

// check checks the fields, which writers may change, as far as the task alone can tell.
func (t *task) check(c *errs.Check, fields ...string) {
	for _, field := range fields {
		switch field {
		case "title":
			c.Line(field, t.Title, 1, 500)
		case "description":
			c.Text(field, t.Description, 0, 50_000)
		case "status":
			c.That(knownStatus(t.Status), field, "must be todo, in_progress, done or cancelled")
		case "priority":
			c.That(knownPriority(t.Priority), field, "must be none, low, medium, high or urgent")
		case "labels":
			checkLabels(c, field, t.Labels)
		case "assignee_id":
			c.That(t.AssigneeID == nil || *t.AssigneeID > 0, field, "must be the id of a user")
		case "parent_id":
			c.That(t.ParentID == nil || *t.ParentID > 0, field, "must be the id of a task")
		case "due_date":
			c.That(t.DueDate == nil || t.DueDate.valid(), field, "must be a date from the year 1 to 9999, YYYY-MM-DD")
		case "completed": // any is good
		default:
			c.Fail("update_mask", "%.50q can not be changed", field)
			return
		}
	}
}

// checkAssignee is Invalid unless the assignee, who was asked about, is a member of the task's project.
func (t *task) checkAssignee(a access) error {
	if t.AssigneeID != nil && !a.member(t.ProjectID, *t.AssigneeID) {
		return errs.InvalidField("assignee_id", "must be a member of the project")
	}
	return nil
}

// newTaskFilter checks the filter of a list.
func newTaskFilter(req *tasksv1.TaskFilter) (taskFilter, error) {
	if req == nil {
		return taskFilter{}, nil
	}
	f := taskFilter{
		completed: req.Completed, labels: req.GetLabels(), assigneeID: req.AssigneeId, parentID: req.ParentId,
		creatorID: req.GetCreatorId(), dueBefore: date(req.GetDueBefore()), dueAfter: date(req.GetDueAfter()),
		search: req.GetSearch(), deleted: req.GetDeleted(),
	}
	var c errs.Check
	for _, s := range req.GetStatuses() {
		f.statuses = append(f.statuses, int32(s))
	}
	for _, p := range req.GetPriorities() {
		f.priorities = append(f.priorities, int32(p))
	}
	c.That(all(req.GetStatuses(), knownStatus), "statuses", "must each be todo, in_progress, done or cancelled")
	c.That(all(req.GetPriorities(), knownPriority), "priorities", "must each be none, low, medium, high or urgent")
	checkLabels(&c, "labels", f.labels)
	c.That(f.dueBefore == "" || f.dueBefore.valid(), "due_before", "must be a date from the year 1 to 9999, YYYY-MM-DD")
	c.That(f.dueAfter == "" || f.dueAfter.valid(), "due_after", "must be a date from the year 1 to 9999, YYYY-MM-DD")
	if since := req.GetUpdatedSince(); since != nil {
		c.That(since.IsValid(), "updated_since", "must be a time from the year 1 to 9999")
		f.updatedSince = since.AsTime()
	}
	c.That(f.assigneeID == nil || *f.assigneeID >= 0, "assignee_id", "must be the id of a user, or 0 for none")
	c.That(f.parentID == nil || *f.parentID >= 0, "parent_id", "must be the id of a task, or 0 for none")
	c.That(f.creatorID >= 0, "creator_id", "must be the id of a user")
	c.Text("search", f.search, 0, maxSearch)
	return f, c.Err()
}

// checkLabels names no more than the first label that is not good.
func checkLabels(c *errs.Check, field string, labels []string) {
	if len(labels) > maxLabels {
		c.Fail(field, "must be at most %d", maxLabels)
		return
	}
	for _, l := range labels {
		var one errs.Check
		if one.Line(field, l, 1, 50); one.Err() != nil {
			c.Line(field, l, 1, 50)
			return
		}
	}
}

// tidy gives the labels trimmed, sorted and distinct; never nil.
func tidy(labels []string) []string {
	out := make([]string, 0, len(labels))
	for _, l := range labels {
		out = append(out, strings.TrimSpace(l))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func knownStatus(s tasksv1.Status) bool {
	_, known := tasksv1.Status_name[int32(s)]
	return known && s != tasksv1.Status_STATUS_UNSPECIFIED
}

func knownPriority(p tasksv1.Priority) bool {
	_, known := tasksv1.Priority_name[int32(p)]
	return known && p != tasksv1.Priority_PRIORITY_UNSPECIFIED
}

func all[T any](things []T, ok func(T) bool) bool {
	return !slices.ContainsFunc(things, func(t T) bool { return !ok(t) })
}

// now is the time as Postgres keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// given is the id, if there is one.
func given(id *int64) []int64 {
	if id == nil {
		return nil
	}
	return []int64{*id}
}

// distinct gives the different keys of the things, sorted.
func distinct[T any, K cmp.Ordered](things []T, key func(T) K) []K {
	keys := make([]K, 0, len(things))
	for _, t := range things {
		keys = append(keys, key(t))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
