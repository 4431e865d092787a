package tasks

import (
	"fmt"
	"time"

	"github.com/uptrace/bun"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/page"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	"github.com/trackway/trackway/services/rpc/tags"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// task is a row of tasks.
type task struct {
	bun.BaseModel `bun:"table:tasks,alias:t"`

	ID          int64     `bun:",pk,autoincrement"`
	Version     int64     `bun:",nullzero,default:1"`
	CreatedAt   time.Time `bun:",nullzero,default:now()"`
	UpdatedAt   time.Time `bun:",nullzero,default:now()"`
	ProjectID   int64
	Number      int64
	Title       string
	Description string
	Status      tasksv1.Status
	Priority    tasksv1.Priority
	Labels      []string `bun:",array"` // never nil
	AssigneeID  *int64
	CreatorID   int64
	ParentID    *int64
	DueDate     *date
	Position    string
	CompletedAt time.Time `bun:",nullzero"`
	DeletedAt   time.Time `bun:",nullzero"`

	// changed are the fields that an update has changed.
	changed []string
	// left is the status that an update has taken the task out of, if it has.
	left tasksv1.Status

	// Relevance is how well the task matches a search, where there was one.
	Relevance int64 `bun:",scanonly"`
}

// taskOrders are the orders that lists of tasks offer.
func taskOrders(f *tasksv1.TaskFilter) page.List[*task] {
	orders := page.List[*task]{
		{Name: "id", Expr: "t.id", Kind: page.Int, Value: func(t *task) any { return t.ID }},
		{Name: "number", Expr: "t.number", Kind: page.Int, Value: func(t *task) any { return t.Number }},
		{Name: "title", Expr: "t.title", Kind: page.Text, Value: func(t *task) any { return t.Title }},
		{Name: "priority", Expr: "t.priority", Kind: page.Small, Value: func(t *task) any { return int64(t.Priority) }},
		{Name: "due_date", Expr: dueDate, Kind: page.Date, Value: func(t *task) any { return t.DueDate.order() }},
		{Name: "position", Expr: "t.position", Kind: page.Text, Value: func(t *task) any { return t.Position }},
		{Name: "created_at", Expr: "t.created_at", Kind: page.Time, Value: func(t *task) any { return t.CreatedAt }},
		{Name: "updated_at", Expr: "t.updated_at", Kind: page.Time, Value: func(t *task) any { return t.UpdatedAt }},
	}
	if f.GetDeleted() {
		orders = append(orders, page.Field[*task]{
			Name: "deleted_at", Expr: "t.deleted_at", Kind: page.Time, Value: func(t *task) any { return t.DeletedAt },
		})
	}
	return orders.Searched(f.GetSearch(), func(t *task) int64 { return t.Relevance })
}

// taskColumns are the columns of tasks: what a card of a board shows, what it takes to change one, the times, and the
// text, which may be large.
func taskColumns() page.Columns {
	return page.Columns{
		{"t.id", "t.project_id", "t.title", "t.status", "t.assignee_id"},
		{"t.version", "t.number", "t.priority", "t.labels", "t.creator_id", "t.parent_id", "t.due_date", "t.position"},
		{"t.created_at", "t.updated_at", "t.completed_at", "t.deleted_at"},
		{"t.description"},
	}
}

// whereTask are the columns that say whose a task is.
const whereTask bun.Safe = "t.id, t.project_id"

// dueDate puts the tasks without a due date behind all others, as the index tasks_due_date does.
const dueDate = "coalesce(t.due_date, 'infinity')"

// taskMessage is a message with the times that each task has: in one piece, as a page is of many.
type taskMessage struct {
	tasksv1.Task

	created, updated timestamppb.Timestamp
}

// proto is the message. What has not been read is not in it.
func (t *task) proto() *tasksv1.Task { return t.fill(new(taskMessage)) }

func (t *task) fill(m *taskMessage) *tasksv1.Task {
	m.Id, m.Version, m.ProjectId, m.Number, m.Title, m.Description = t.ID, t.Version, t.ProjectID, t.Number, t.Title, t.Description
	m.Status, m.Priority, m.Labels, m.AssigneeId, m.CreatorId = t.Status, t.Priority, t.Labels, t.AssigneeID, t.CreatorID
	m.ParentId, m.DueDate, m.Position = t.ParentID, (*string)(t.DueDate), t.Position
	m.CompletedAt, m.DeletedAt = timestamp(t.CompletedAt), timestamp(t.DeletedAt)
	m.CreatedAt, m.UpdatedAt = set(&m.created, t.CreatedAt), set(&m.updated, t.UpdatedAt)
	return &m.Task
}

// fields are what an update may change, as JSON for Postgres.
type fields struct {
	ID          int64            `json:"id"`
	Version     int64            `json:"version"`
	Title       string           `json:"title"`
	Description string           `json:"description"`
	Status      tasksv1.Status   `json:"status"`
	Priority    tasksv1.Priority `json:"priority"`
	Labels      []string         `json:"labels"`
	AssigneeID  *int64           `json:"assignee_id"`
	ParentID    *int64           `json:"parent_id"`
	DueDate     *date            `json:"due_date"`
	CompletedAt time.Time        `json:"completed_at,omitzero"`
}

func (t *task) fields() fields {
	return fields{
		ID: t.ID, Version: t.Version, Title: t.Title, Description: t.Description, Status: t.Status, Priority: t.Priority,
		Labels: t.Labels, AssigneeID: t.AssigneeID, ParentID: t.ParentID, DueDate: t.DueDate, CompletedAt: t.CompletedAt,
	}
}

// event is what happened to the task: "created", "updated", "moved", "deleted" or "restored".
func (t *task) event(happened string) events.Event {
	stale := []string{
		tags.Task(t.ID), tags.Tasks(t.ProjectID), tags.TasksIn(t.ProjectID, int32(t.Status)), tags.Inside(t.ProjectID),
	}
	if t.left != 0 {
		stale = append(stale, tags.TasksIn(t.ProjectID, int32(t.left)))
	}
	return events.Event{
		Type: "task." + happened, SubjectID: t.ID, ProjectID: t.ProjectID, Version: t.Version, Payload: t.proto(),
		Tags: stale, Changed: t.changed, Audience: append(given(t.AssigneeID), t.CreatorID),
	}
}

// comment is a row of comments.
type comment struct {
	bun.BaseModel `bun:"table:comments,alias:c"`

	ID        int64     `bun:",pk,autoincrement"`
	Version   int64     `bun:",nullzero,default:1"`
	CreatedAt time.Time `bun:",nullzero,default:now()"`
	UpdatedAt time.Time `bun:",nullzero,default:now()"`
	ProjectID int64
	TaskID    int64
	AuthorID  int64
	Body      string
	DeletedAt time.Time `bun:",nullzero"`
	DeletedBy int64     `bun:",nullzero"`

	// concerns are those who wait for word of the comment's task.
	concerns []int64

	// Total is the number of comments in the list that the comment is from, where it was asked for.
	Total *int64 `bun:",scanonly"`
}

// commentOrders are the orders that lists of comments offer.
func commentOrders(deleted bool) page.List[*comment] {
	orders := page.List[*comment]{
		{Name: "id", Expr: "c.id", Kind: page.Int, Value: func(c *comment) any { return c.ID }},
		{Name: "created_at", Expr: "c.created_at", Kind: page.Time, Value: func(c *comment) any { return c.CreatedAt }},
		{Name: "updated_at", Expr: "c.updated_at", Kind: page.Time, Value: func(c *comment) any { return c.UpdatedAt }},
	}
	if deleted {
		orders = append(orders, page.Field[*comment]{
			Name: "deleted_at", Expr: "c.deleted_at", Kind: page.Time, Value: func(c *comment) any { return c.DeletedAt },
		})
	}
	return orders
}

// commentColumns are the columns of comments, which are read together with their tasks t.
func commentColumns() page.Columns {
	return page.Columns{
		{"c.id", "t.id AS task_id", "t.project_id", "c.author_id"},
		{"c.version", "c.created_at", "c.updated_at", "c.deleted_at"},
		{"c.body"},
	}
}

// proto is the message. What has not been read is not in it.
func (c *comment) proto() *tasksv1.Comment { return c.fill(new(commentMessage)) }

// commentMessage is a message with its times, as taskMessage is.
type commentMessage struct {
	tasksv1.Comment

	created, updated timestamppb.Timestamp
}

func (c *comment) fill(m *commentMessage) *tasksv1.Comment {
	m.Id, m.Version, m.TaskId, m.AuthorId, m.Body, m.ProjectId = c.ID, c.Version, c.TaskID, c.AuthorID, c.Body, c.ProjectID
	m.DeletedAt = timestamp(c.DeletedAt)
	m.CreatedAt, m.UpdatedAt = set(&m.created, c.CreatedAt), set(&m.updated, c.UpdatedAt)
	return &m.Comment
}

// event is what happened to the comment: "created", "updated", "deleted" or "restored".
func (c *comment) event(happened string) events.Event {
	return events.Event{
		Type: "comment." + happened, SubjectID: c.ID, ProjectID: c.ProjectID, Version: c.Version, Payload: c.proto(),
		Tags:     []string{tags.Comments(c.TaskID), tags.Inside(c.ProjectID)},
		Audience: c.concerns,
	}
}

// purged is what happens to a project in whose trash something was purged: what shows the trash is stale. It is for nobody
// to read, as a thing that has been gone from reads for long is no news.
func purged(projectID int64) events.Event {
	return events.Event{
		Type: "trash.purged", SubjectID: projectID, ProjectID: projectID, Payload: &emptypb.Empty{},
		Tags: []string{tags.Inside(projectID)},
	}
}

// date is a day, YYYY-MM-DD. It is no time.Time, whose zero is a day that a task can be due on.
type date string

// newDate is a request's date, still to be checked; nil stays nil.
func newDate(s *string) *date { return (*date)(s) }

// Scan reads a column of type date.
func (d *date) Scan(src any) error {
	t, ok := src.(time.Time)
	if !ok {
		return fmt.Errorf("a date can not be read from a %T", src)
	}
	*d = date(t.Format(time.DateOnly))
	return nil
}

// valid reports whether there is such a day, from the year 1 to 9999.
func (d *date) valid() bool {
	t, err := time.Parse(time.DateOnly, string(*d))
	return err == nil && t.Year() > 0
}

// order is what the day is in the order of due dates.
func (d *date) order() string {
	if d == nil {
		return "infinity"
	}
	return string(*d)
}

// set gives the timestamp, which has become t; nil for no time.
func set(to *timestamppb.Timestamp, t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	to.Seconds, to.Nanos = t.Unix(), int32(t.Nanosecond())
	return to
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// protos maps rows to messages, all of them in one piece.
func protos[R interface{ fill(m *P) M }, P any, M proto.Message](rows []R) []M {
	room := make([]P, len(rows))
	out := make([]M, 0, len(rows))
	for i, r := range rows {
		out = append(out, r.fill(&room[i]))
	}
	return out
}

// pageInfo says where a page lies, and describe says it in a message that is there.
func pageInfo[T any](p page.Page[T]) *pagev1.PageInfo { return describe(new(pagev1.PageInfo), p) }

func describe[T any](m *pagev1.PageInfo, p page.Page[T]) *pagev1.PageInfo {
	m.Cursors, m.HasNext, m.HasPrevious, m.TotalCount = p.Cursors, p.HasNext, p.HasPrevious, p.Total
	return m
}
