package rest

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/auth"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// Task is one thing to do.
type Task struct {
	Meta

	ProjectID   int64      `json:"project_id" minimum:"1" example:"1" doc:"The project it belongs to."`
	Number      int64      `json:"number" minimum:"1" example:"1" doc:"Counts from 1 in each project and is never used again."`
	Title       string     `json:"title" maxLength:"500" pattern:"^[\\s\\S]*$" example:"Learn the API" doc:"What is to be done, in a line."`
	Description string     `json:"description" maxLength:"50000" pattern:"^[\\s\\S]*$" example:"Begin with the README." doc:"The same at length."`
	Status      Status     `json:"status" example:"todo" doc:"Where it stands."`
	Completed   bool       `json:"completed" doc:"Whether the status is done."`
	Priority    Priority   `json:"priority" example:"none" doc:"How urgent it is."`
	Labels      Labels     `json:"labels" example:"docs" doc:"Words to find it by, sorted."`
	AssigneeID  *int64     `json:"assignee_id" minimum:"1" example:"2" doc:"The member that does it."`
	CreatorID   int64      `json:"creator_id" minimum:"1" example:"1" doc:"The user that made it."`
	ParentID    *int64     `json:"parent_id" minimum:"1" doc:"The task that it is a part of."`
	DueDate     *string    `json:"due_date" format:"date" example:"2026-12-31" doc:"The day by which it is to be done."`
	Position    string     `json:"position" maxLength:"1000" pattern:"^[\\s\\S]*$" example:"a0" doc:"Its place on the board: positions compare as bytes."`
	CompletedAt *time.Time `json:"completed_at" doc:"When it was done."`
	DeletedAt   *time.Time `json:"deleted_at" doc:"When it was put into the trash; null elsewhere."`
}

// Labels are the labels of a task.
type Labels []string

// Schema bounds them.
func (Labels) Schema(huma.Registry) *huma.Schema {
	least, most, items := 1, 50, 20
	return &huma.Schema{
		Type: huma.TypeArray, MaxItems: &items,
		Items: &huma.Schema{Type: huma.TypeString, MinLength: &least, MaxLength: &most, Pattern: `^[\s\S]*$`},
	}
}

func newTask(t *tasksv1.Task) Task {
	return Task{
		Meta: newMeta(t), ProjectID: t.GetProjectId(), Number: t.GetNumber(), Title: t.GetTitle(),
		Description: t.GetDescription(), Status: statuses.rest(t.GetStatus()),
		Completed: t.GetStatus() == tasksv1.Status_STATUS_DONE, Priority: priorities.rest(t.GetPriority()),
		Labels: t.GetLabels(), CreatorID: t.GetCreatorId(), Position: t.GetPosition(),
		AssigneeID: t.AssigneeId, ParentID: t.ParentId, DueDate: t.DueDate,
		CompletedAt: maybeMoment(t.GetCompletedAt()), DeletedAt: maybeMoment(t.GetDeletedAt()),
	}
}

// TaskShape is how tasks are to be given.
type TaskShape struct {
	Selection[Task]
	Permitted

	Expand []string `query:"expand" enum:"assignee,creator,project,parent" maxItems:"4" doc:"What to embed beside its id; null where there is nothing that the caller may see."`
}

func (Task) beside(r huma.Registry) map[string]*huma.Schema {
	return map[string]*huma.Schema{
		"assignee":      embedded[User](r, "The assignee; with expand=assignee."),
		"creator":       embedded[User](r, "The creator; with expand=creator."),
		"project":       embedded[Project](r, "The project; with expand=project."),
		"parent":        embedded[Task](r, "The task that it is a part of; with expand=parent."),
		permissionsName: may[TaskPermissions](r),
	}
}

// TaskPermissions is what the caller may do with a task now.
type TaskPermissions struct {
	Update  bool `json:"update" doc:"Change it."`
	Delete  bool `json:"delete" doc:"Delete it."`
	Comment bool `json:"comment" doc:"Comment on it."`
}

func (a *api) viewTasks(ctx context.Context, s *TaskShape, tasks []*tasksv1.Task) ([]View[Task], error) {
	var (
		people, inside, above []int64
		with                  = func(name string) bool { return slices.Contains(s.Expand, name) }
	)
	if with("assignee") {
		people = append(people, each(tasks, (*tasksv1.Task).GetAssigneeId)...)
	}
	if with("creator") {
		people = append(people, each(tasks, (*tasksv1.Task).GetCreatorId)...)
	}
	if with("project") {
		inside = each(tasks, (*tasksv1.Task).GetProjectId)
	}
	if with("parent") {
		above = each(tasks, (*tasksv1.Task).GetParentId)
	}
	users, err := a.usersOf(ctx, people)
	if err != nil {
		return nil, err
	}
	projects, err := a.projectsOf(ctx, inside)
	if err != nil {
		return nil, err
	}
	parents, err := a.tasksOf(ctx, above)
	if err != nil {
		return nil, err
	}
	var roles map[int64]access
	if s.Permissions {
		if roles, err = a.accessTo(ctx, each(tasks, (*tasksv1.Task).GetProjectId)); err != nil {
			return nil, err
		}
	}
	views := make([]View[Task], 0, len(tasks))
	for _, t := range tasks {
		v := newView(newTask(t), s.Selection)
		for _, name := range s.Expand {
			switch name {
			case "assignee":
				v.add(name, users[t.GetAssigneeId()])
			case "creator":
				v.add(name, users[t.GetCreatorId()])
			case "project":
				v.add(name, projects[t.GetProjectId()])
			case "parent":
				v.add(name, parents[t.GetParentId()])
			}
		}
		if in := roles[t.GetProjectId()]; s.Permissions {
			v.add(permissionsName, TaskPermissions{
				Update: in.allows(auth.WriteTasks), Delete: in.allows(auth.DeleteTasks),
				Comment: in.allows(auth.WriteComments),
			})
		}
		views = append(views, v)
	}
	return views, nil
}

func (a *api) registerTasks() {
	register(a, operation(http.MethodGet, "/api/tasks/", "listTasks", tagTasks, "List tasks",
		"Gives the tasks of one project, or of every project that the caller is a member of."), a.listTasks)
	register(a, operation(http.MethodPost, "/api/tasks/", "createTask", tagTasks, "Make a task",
		"Adds a task to a project."), a.createTask)
	register(a, operation(http.MethodGet, "/api/projects/{id}/tasks/", "listProjectTasks", tagTasks,
		"List the tasks of a project", "Gives the tasks of a project."), a.listProjectTasks)
	register(a, operation(http.MethodPost, "/api/projects/{id}/tasks/", "createProjectTask", tagTasks,
		"Make a task in a project", "Adds a task to a project."), a.createProjectTask)
	register(a, operation(http.MethodGet, "/api/tasks/{id}/", "getTask", tagTasks, "Get a task", "Gives one task."), a.getTask)
	register(a, operation(http.MethodPut, "/api/tasks/{id}/", "replaceTask", tagTasks, "Replace a task",
		"Replaces all that can be written; what is absent goes to its default."), a.replaceTask)
	register(a, operation(http.MethodPatch, "/api/tasks/{id}/", "updateTask", tagTasks, "Change a task",
		"Changes the members that are given (RFC 7396); null is the default."), a.updateTask)
	register(a, operation(http.MethodDelete, "/api/tasks/{id}/", "deleteTask", tagTasks, "Delete a task",
		"Deletes a task, and with it its comments. It can be restored from the trash."), a.deleteTask)
	register(a, answers200(operation(http.MethodPost, "/api/tasks/{id}/restore/", "restoreTask", tagTasks, "Restore a task",
		"Takes a task out of the trash, with its comments. One that is not there stays as it is.")), a.restoreTask)
	register(a, answers200(operation(http.MethodPost, "/api/tasks/{id}/move/", "moveTask", tagTasks, "Move a task on the board",
		"Puts a task behind another one, ahead of another one, or between two. Only the task itself changes.")), a.moveTask)
}

// TaskFilter narrows a list of tasks.
type TaskFilter struct {
	Ordering     []string    `query:"ordering" enum:"id,-id,number,-number,title,-title,priority,-priority,due_date,-due_date,position,-position,created_at,-created_at,updated_at,-updated_at,deleted_at,-deleted_at,relevance,-relevance" maxItems:"20" doc:"The order: fields, each falling when preceded by a minus; deleted_at only in the trash, relevance only with search. Tasks without a due date come last. By id when absent, but for a search."`
	Status       []Status    `query:"status,explode" maxItems:"4" doc:"Any of these; repeated, or separated by commas."`
	Completed    Maybe[bool] `query:"completed" doc:"Whether the status is done."`
	Assignee     string      `query:"assignee" maxLength:"19" pattern:"^(me|none|[1-9][0-9]{0,18})$" patternDescription:"the id of a user, me or none" doc:"Assigned to this user, to the caller (me), or to nobody (none)."`
	Creator      string      `query:"creator" maxLength:"19" pattern:"^(me|[1-9][0-9]{0,18})$" patternDescription:"the id of a user or me" doc:"Made by this user, or by the caller (me)."`
	Label        Labels      `query:"label,explode" doc:"Has this label; repeated, all of them."`
	Priority     []Priority  `query:"priority,explode" maxItems:"5" doc:"Any of these; repeated, or separated by commas."`
	DueBefore    string      `query:"due_before" format:"date" doc:"Due before this day, and not on it."`
	DueAfter     string      `query:"due_after" format:"date" doc:"Due after this day, and not on it."`
	UpdatedSince time.Time   `query:"updated_since" doc:"Changed at or after this moment."`
	Parent       string      `query:"parent" maxLength:"19" pattern:"^(none|[1-9][0-9]{0,18})$" patternDescription:"the id of a task or none" doc:"A part of this task, or of none."`
	Search       string      `query:"search" maxLength:"200" pattern:"^[\\s\\S]*$" doc:"Words that title or description contain, or begin with. The best match comes first, unless there is an ordering."`
	Trash        bool        `query:"trash" default:"false" doc:"The deleted tasks instead, where the caller may delete tasks. They stay there for a time, 30 days unless the installation says otherwise, and are purged then."`
}

func (f *TaskFilter) proto(ctx context.Context) (*tasksv1.TaskFilter, error) {
	var (
		wrong  invalid
		caller = auth.CallerFrom(ctx).UserID
		out    = &tasksv1.TaskFilter{
			Statuses: statuses.protos(f.Status), Completed: f.Completed.pointer(),
			Priorities: priorities.protos(f.Priority), Labels: f.Label, DueBefore: f.DueBefore, DueAfter: f.DueAfter,
			Search: f.Search, Deleted: f.Trash, AssigneeId: reference(&wrong, "assignee", f.Assignee, caller),
			ParentId: reference(&wrong, "parent", f.Parent, 0),
		}
	)
	if creator := reference(&wrong, "creator", f.Creator, caller); creator != nil {
		out.CreatorId = *creator
	}
	if !f.UpdatedSince.IsZero() {
		out.UpdatedSince = timestamppb.New(f.UpdatedSince)
	}
	if wrong != nil {
		return nil, wrong
	}
	return out, nil
}

// reference reads an id, "me" or "none", which is 0. It is nil when absent.
func reference(wrong *invalid, name, value string, caller int64) *int64 {
	var id int64
	switch value {
	case "":
		return nil
	case "me":
		id = caller
	case "none":
	default:
		var err error
		if id, err = strconv.ParseInt(value, 10, 64); err != nil {
			*wrong = append(*wrong, Violation{Parameter: name, Detail: "is no id"})
		}
	}
	return &id
}

type taskList struct {
	Listing
	TaskFilter
	TaskShape

	Project int64 `query:"project" minimum:"1" doc:"The tasks of this project."`
}

func (a *api) listTasks(ctx context.Context, in *taskList) (*List[View[Task]], error) {
	filter, err := in.proto(ctx)
	if err != nil {
		return nil, err
	}
	res, err := a.tasks.ListTasks(ctx, &tasksv1.ListTasksRequest{
		Page: in.request(in.Ordering), ProjectId: in.Project, Filter: filter,
		ReadMask: in.mask((*tasksv1.Task)(nil), len(in.Expand) > 0 || in.Permissions),
	})
	if err != nil {
		return nil, err
	}
	tell(ctx, in.Project)
	views, err := a.viewTasks(ctx, &in.TaskShape, res.GetTasks())
	return listOf(&in.Listing, views, res.GetPage()), err
}

type projectTaskList struct {
	ID
	Listing
	TaskFilter
	TaskShape
}

func (a *api) listProjectTasks(ctx context.Context, in *projectTaskList) (*List[View[Task]], error) {
	return a.listTasks(ctx, &taskList{in.Listing, in.TaskFilter, in.TaskShape, in.ID.ID})
}

type taskGet struct {
	ID
	TaskShape
}

func (a *api) getTask(ctx context.Context, in *taskGet) (*Read[View[Task]], error) {
	t, err := a.tasks.GetTask(ctx, &tasksv1.GetTaskRequest{Id: in.ID.ID})
	if err != nil {
		return nil, err
	}
	tell(ctx, t.GetProjectId())
	views, err := a.viewTasks(ctx, &in.TaskShape, []*tasksv1.Task{t})
	return readView(t, views), err
}

// TaskContent is what a new task or a replacement says.
type TaskContent struct {
	Title       string           `json:"title" minLength:"1" maxLength:"500" pattern:"^[\\s\\S]*$" example:"Learn the API" doc:"What is to be done, in a line."`
	Description Change[string]   `json:"description,omitzero" nullable:"true" maxLength:"50000" pattern:"^[\\s\\S]*$" example:"Begin with the README." doc:"The same at length; empty when absent."`
	Status      Change[Status]   `json:"status,omitzero" nullable:"true" doc:"Where it stands; when absent, done if completed is true, else todo."`
	Completed   Change[bool]     `json:"completed,omitzero" nullable:"true" doc:"Whether the status is done; a status beside it must say the same."`
	Priority    Change[Priority] `json:"priority,omitzero" nullable:"true" doc:"How urgent it is; none when absent."`
	Labels      Change[Labels]   `json:"labels,omitzero" nullable:"true" example:"docs" doc:"Words to find it by; empty when absent."`
	AssigneeID  Change[int64]    `json:"assignee_id,omitzero" nullable:"true" minimum:"1" example:"2" doc:"The member that does it; nobody when absent."`
	ParentID    Change[int64]    `json:"parent_id,omitzero" nullable:"true" minimum:"1" doc:"The task of the same project that it is a part of; none when absent."`
	DueDate     Change[string]   `json:"due_date,omitzero" nullable:"true" format:"date" example:"2026-12-31" doc:"The day by which it is to be done; none when absent."`
}

// status is the one that status and completed say together.
func (c *TaskContent) status() (Status, error) {
	done := c.Completed.Value
	switch {
	case c.Status.Value == "" && done:
		return "done", nil
	case c.Status.Value == "":
		return "todo", nil
	case c.Completed.Given && !c.Completed.Null && done != (c.Status.Value == "done"):
		return "", invalid{{Pointer: "#/completed", Detail: "contradicts the status"}}
	default:
		return c.Status.Value, nil
	}
}

// TaskCreation is what makes a task.
type TaskCreation struct {
	TaskContent

	ProjectID int64 `json:"project_id" minimum:"1" example:"1" doc:"The project it belongs to."`
}

func (a *api) createTask(ctx context.Context, in *Create[TaskCreation]) (*Created[Task], error) {
	req, err := taskCreation(&in.Body)
	if err != nil {
		return nil, err
	}
	return create(ctx, in.Keyed, "/api/tasks/", a.tasks.CreateTask, req, newTask)
}

func taskCreation(b *TaskCreation) (*tasksv1.CreateTaskRequest, error) {
	status, err := b.status()
	if err != nil {
		return nil, err
	}
	return &tasksv1.CreateTaskRequest{
		ProjectId: b.ProjectID, Title: b.Title, Description: b.Description.Value, Status: statuses.proto(status),
		Priority: priorities.proto(b.Priority.Value), Labels: b.Labels.Value, AssigneeId: b.AssigneeID.pointer(),
		ParentId: b.ParentID.pointer(), DueDate: b.DueDate.pointer(),
	}, nil
}

type projectTaskCreate struct {
	ID
	Create[TaskContent]
}

func (a *api) createProjectTask(ctx context.Context, in *projectTaskCreate) (*Created[Task], error) {
	return a.createTask(ctx, &Create[TaskCreation]{in.Keyed, TaskCreation{in.Body, in.ID.ID}})
}

// TaskReplacement is what replaces a task.
type TaskReplacement struct {
	TaskContent

	ProjectID Change[int64] `json:"project_id,omitzero" minimum:"1" example:"1" doc:"The project it belongs to, which can not change; may be absent."`
}

type taskReplace struct {
	ID
	Write[TaskReplacement]
}

func (a *api) replaceTask(ctx context.Context, in *taskReplace) (*Changed[Task], error) {
	b := &in.Body
	status, err := b.status()
	if err != nil {
		return nil, err
	}
	err = stays(ctx, "project_id", b.ProjectID, func(ctx context.Context) (int64, error) {
		t, err := a.tasks.GetTask(ctx, &tasksv1.GetTaskRequest{Id: in.ID.ID})
		return t.GetProjectId(), err
	})
	if err != nil {
		return nil, err
	}
	return a.updateTask(ctx, &taskUpdate{in.ID, Write[TaskPatch]{in.Keyed, in.Conditional, TaskPatch{
		Title: given(b.Title), Description: b.Description.replace(), Status: given(status),
		Priority: b.Priority.replace(), Labels: b.Labels.replace(), AssigneeID: b.AssigneeID.replace(),
		ParentID: b.ParentID.replace(), DueDate: b.DueDate.replace(),
	}}})
}

// TaskPatch changes a task.
type TaskPatch struct {
	Title       Change[string]   `json:"title,omitzero" minLength:"1" maxLength:"500" pattern:"^[\\s\\S]*$" example:"Learn the API" doc:"What is to be done, in a line."`
	Description Change[string]   `json:"description,omitzero" nullable:"true" maxLength:"50000" pattern:"^[\\s\\S]*$" example:"Begin with the README." doc:"The same at length."`
	Status      Change[Status]   `json:"status,omitzero" nullable:"true" doc:"Where it stands."`
	Completed   Change[bool]     `json:"completed,omitzero" nullable:"true" doc:"True makes the status done; false makes a done task todo, and leaves others."`
	Priority    Change[Priority] `json:"priority,omitzero" nullable:"true" doc:"How urgent it is."`
	Labels      Change[Labels]   `json:"labels,omitzero" nullable:"true" example:"docs" doc:"Words to find it by. They replace those before."`
	AssigneeID  Change[int64]    `json:"assignee_id,omitzero" nullable:"true" minimum:"1" example:"2" doc:"The member that does it."`
	ParentID    Change[int64]    `json:"parent_id,omitzero" nullable:"true" minimum:"1" doc:"The task of the same project that it is a part of."`
	DueDate     Change[string]   `json:"due_date,omitzero" nullable:"true" format:"date" example:"2026-12-31" doc:"The day by which it is to be done."`
}

type taskUpdate struct {
	ID
	Write[TaskPatch]
}

func (a *api) updateTask(ctx context.Context, in *taskUpdate) (*Changed[Task], error) {
	req, err := taskChange(in.ID.ID, &in.Body)
	if err != nil {
		return nil, err
	}
	if req.ExpectedVersion, err = in.expected(ctx, a.taskVersion(in.ID)); err != nil {
		return nil, err
	}
	return change(ctx, in.Keyed, a.tasks.UpdateTask, req, newTask)
}

func taskChange(id int64, b *TaskPatch) (*tasksv1.UpdateTaskRequest, error) {
	var (
		p   patch
		req = &tasksv1.UpdateTaskRequest{Id: id}
		err error
	)
	set(&p, "title", b.Title, &req.Title)
	setOr(&p, "description", b.Description, &req.Description, "")
	setEnumOr(&p, "status", b.Status, &req.Status, statuses, tasksv1.Status_STATUS_TODO)
	setOr(&p, "completed", b.Completed, &req.Completed, false)
	setEnumOr(&p, "priority", b.Priority, &req.Priority, priorities, tasksv1.Priority_PRIORITY_NONE)
	setOr(&p, "labels", Change[[]string]{b.Labels.Given, b.Labels.Null, b.Labels.Value}, &req.Labels, nil)
	setOrClear(&p, "assignee_id", b.AssigneeID, &req.AssigneeId)
	setOrClear(&p, "parent_id", b.ParentID, &req.ParentId)
	setOrClear(&p, "due_date", b.DueDate, &req.DueDate)
	req.UpdateMask, err = p.mask()
	return req, err
}

func (a *api) deleteTask(ctx context.Context, in *deleteByID) (*Written, error) {
	expected, err := in.expected(ctx, a.taskVersion(in.ID))
	if err != nil {
		return nil, err
	}
	return remove(ctx, in.Keyed, a.tasks.DeleteTask,
		&tasksv1.DeleteTaskRequest{Id: in.ID.ID, ExpectedVersion: expected})
}

func (a *api) restoreTask(ctx context.Context, in *restoreByID) (*Changed[Task], error) {
	expected, err := in.expected(ctx, unseen)
	if err != nil {
		return nil, err
	}
	return change(ctx, in.Keyed, a.tasks.RestoreTask,
		&tasksv1.RestoreTaskRequest{Id: in.ID.ID, ExpectedVersion: expected}, newTask)
}

// TaskMove is a place on the board, by its neighbours.
type TaskMove struct {
	AfterID  Change[int64]  `json:"after_id,omitzero" nullable:"true" minimum:"1" example:"2" doc:"The task ahead of the new place. Alone: right behind it."`
	BeforeID Change[int64]  `json:"before_id,omitzero" nullable:"true" minimum:"1" doc:"The task behind the new place. Alone: right ahead of it."`
	Status   Change[Status] `json:"status,omitzero" nullable:"true" doc:"The status that it gets there, as in another column; stays when absent."`
}

type taskMove struct {
	ID
	Write[TaskMove]
}

func (a *api) moveTask(ctx context.Context, in *taskMove) (*Changed[Task], error) {
	b := &in.Body
	expected, err := in.expected(ctx, a.taskVersion(in.ID))
	if err != nil {
		return nil, err
	}
	return change(ctx, in.Keyed, a.tasks.MoveTask, &tasksv1.MoveTaskRequest{
		Id: in.ID.ID, ExpectedVersion: expected, AfterId: b.AfterID.pointer(), BeforeId: b.BeforeID.pointer(),
		Status: statuses.proto(b.Status.Value),
	}, newTask)
}

func (a *api) taskVersion(id ID) versionOf {
	return func(ctx context.Context) (int64, error) {
		t, err := a.tasks.GetTask(ctx, &tasksv1.GetTaskRequest{Id: id.ID})
		return t.GetVersion(), err
	}
}
