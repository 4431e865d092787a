package tasks

import (
	"context"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/page"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/write"
)

// store holds every SQL statement of the service.
type store struct{ db *postgres.DB }

// task gives one task that is not deleted.
func (s store) task(ctx context.Context, id int64) (*task, error) {
	t := new(task)
	err := s.db.NewSelect().Model(t).Where("t.id = ? AND t.deleted_at IS NULL", id).Scan(ctx)
	return t, postgres.Error(err, "task")
}

// tasks gives the tasks among the ids that are not deleted.
func (s store) tasks(ctx context.Context, ids []int64) ([]*task, error) {
	var tasks []*task
	err := s.db.NewSelect().Model(&tasks).Where("t.id = ANY(?) AND t.deleted_at IS NULL", pgdialect.Array(ids)).Scan(ctx)
	return tasks, postgres.Error(err, "task")
}

// taskFilter narrows a list of tasks; what is zero does not narrow.
type taskFilter struct {
	statuses, priorities []int32
	completed            *bool
	labels               []string
	assigneeID, parentID *int64 // 0 finds the tasks without one
	creatorID            int64
	dueBefore, dueAfter  date
	updatedSince         time.Time
	search               string
}

func (f taskFilter) narrow(s *bun.SelectQuery) *bun.SelectQuery {
	s = s.Where("t.deleted_at IS NULL")
	if len(f.statuses) > 0 { // IN, because one alone is an equality then, whose rows come in order from an index
		s = s.Where("t.status IN (?)", bun.List(f.statuses))
	}
	if len(f.priorities) > 0 {
		s = s.Where("t.priority IN (?)", bun.List(f.priorities))
	}
	if f.completed != nil {
		s = s.Where("(t.status = 3) = ?", *f.completed)
	}
	if len(f.labels) > 0 {
		s = s.Where("t.labels @> ?", pgdialect.Array(f.labels))
	}
	if f.assigneeID != nil {
		s = equalOrNull(s, "t.assignee_id", *f.assigneeID)
	}
	if f.parentID != nil {
		s = equalOrNull(s, "t.parent_id", *f.parentID)
	}
	if f.creatorID != 0 {
		s = s.Where("t.creator_id = ?", f.creatorID)
	}
	if f.dueBefore != "" {
		s = s.Where("? < ?", bun.Safe(dueDate), f.dueBefore)
	}
	if f.dueAfter != "" {
		s = s.Where("? > ? AND t.due_date IS NOT NULL", bun.Safe(dueDate), f.dueAfter)
	}
	if !f.updatedSince.IsZero() {
		s = s.Where("t.updated_at >= ?", f.updatedSince)
	}
	if f.search != "" {
		s = s.Where("t.search @@ to_tsquery('simple', ?)", postgres.Prefixes(f.search))
	}
	return s
}

// equalOrNull keeps the rows with the id, or those without one for 0, in the two forms that an index answers.
func equalOrNull(s *bun.SelectQuery, column bun.Safe, id int64) *bun.SelectQuery {
	if id == 0 {
		return s.Where("? IS NULL", column)
	}
	return s.Where("? = ?", column, id)
}

// listTasks gives one page of the projects' tasks, taken together.
func (s store) listTasks(ctx context.Context, projectIDs []int64, f taskFilter, q *page.Query[*task]) (page.Page[*task], error) {
	p, err := q.SelectAcross(ctx, s.db, s.db.NewSelect().Apply(f.narrow), "project_id", projectIDs)
	return p, postgres.Error(err, "task")
}

// tasksOf gives the same page of each project's tasks.
func (s store) tasksOf(ctx context.Context, projectIDs []int64, f taskFilter, q *page.Query[*task],
) (map[int64]page.Page[*task], error) {
	pages, err := q.SelectEach(ctx, s.db, s.db.NewSelect().Apply(f.narrow), "project_id", projectIDs,
		func(t *task) int64 { return t.ProjectID })
	return pages, postgres.Error(err, "task")
}

// tasksBelow gives the same page of the tasks below each task.
func (s store) tasksBelow(ctx context.Context, taskIDs []int64, f taskFilter, q *page.Query[*task],
) (map[int64]page.Page[*task], error) {
	pages, err := q.SelectEach(ctx, s.db, s.db.NewSelect().Apply(f.narrow), "parent_id", taskIDs,
		func(t *task) int64 { return *t.ParentID })
	return pages, postgres.Error(err, "task")
}

// createTask adds the task behind all others of its project, with the project's next number.
func (s store) createTask(ctx context.Context, t *task) error {
	return write.Tx(ctx, s.db, "task", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		if err := checkParent(ctx, tx, t); err != nil {
			return write.Change{}, err
		}
		// The counter's row stays locked until the commit: no number is skipped, and positions are as the numbers.
		err := tx.NewRaw(`INSERT INTO counters AS c (project_id, last_number) VALUES (?, 1)
			ON CONFLICT (project_id) DO UPDATE SET last_number = c.last_number + 1 RETURNING last_number`, t.ProjectID).
			Scan(ctx, &t.Number)
		if err != nil {
			return write.Change{}, err
		}
		t.Position = appended(t.Number)
		_, err = tx.NewInsert().Model(t).Returning("id, version, created_at, updated_at").Exec(ctx)
		return write.Changed(t.proto(), t.event("created")), err
	})
}

// updateTask writes the task's fields over the version it was read at, or is write.ErrRaced. A task that moves gets
// another parent.
func (s store) updateTask(ctx context.Context, t *task, moves bool) error {
	return write.Tx(ctx, s.db, "task", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		if moves {
			// One at a time in a project: two moves at once could each find no cycle, and make one together.
			if _, err := tx.NewRaw("SELECT FROM counters WHERE project_id = ? FOR UPDATE", t.ProjectID).Exec(ctx); err != nil {
				return write.Change{}, err
			}
			if err := checkParent(ctx, tx, t); err != nil {
				return write.Change{}, err
			}
		}
		err := write.Row(ctx, tx.NewUpdate().Model(t).
			Column("title", "description", "status", "priority", "labels", "assignee_id", "parent_id", "due_date", "completed_at").
			Set("version = version + 1, updated_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", t.ID, t.Version).
			Returning("version, updated_at"))
		return write.Changed(t.proto(), t.event("updated")), err
	})
}

// checkParent is Invalid unless the task's parent is a task of the same project that is not deleted, and neither the
// task itself nor below it. It climbs over deleted tasks too, which may be restored.
func checkParent(ctx context.Context, tx bun.Tx, t *task) error {
	if t.ParentID == nil {
		return nil
	}
	var found, cycle bool
	err := tx.NewRaw(`WITH RECURSIVE above AS (
			SELECT id, parent_id FROM tasks WHERE id = ? AND project_id = ? AND deleted_at IS NULL
			UNION
			SELECT t.id, t.parent_id FROM tasks AS t JOIN above ON t.project_id = ? AND t.id = above.parent_id
		) SELECT count(*) > 0, coalesce(bool_or(id = ?), false) FROM above`, *t.ParentID, t.ProjectID, t.ProjectID, t.ID).
		Scan(ctx, &found, &cycle)
	switch {
	case err != nil:
		return err
	case !found:
		return errs.InvalidField("parent_id", "names no task of this project")
	case cycle:
		return errs.InvalidField("parent_id", "must not be the task itself or one below it")
	}
	return nil
}

// removeTask deletes the task softly at the version it was read at, or is write.ErrRaced.
func (s store) removeTask(ctx context.Context, t *task) error {
	return write.Tx(ctx, s.db, "task", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		err := write.Row(ctx, tx.NewUpdate().Model(t).
			Set("version = version + 1, updated_at = now(), deleted_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", t.ID, t.Version).
			Returning("version, updated_at"))
		return write.Changed(&emptypb.Empty{}, t.event("deleted")), err
	})
}

// comments selects the comments that are deleted neither themselves nor with their task.
func (s store) comments() *bun.SelectQuery {
	return s.db.NewSelect().
		Join("JOIN tasks AS t ON t.project_id = c.project_id AND t.id = c.task_id AND t.deleted_at IS NULL").
		Where("c.deleted_at IS NULL")
}

// comment gives one comment.
func (s store) comment(ctx context.Context, id int64) (*comment, error) {
	c := new(comment)
	err := s.comments().Model(c).Where("c.id = ?", id).Scan(ctx)
	return c, postgres.Error(err, "comment")
}

// commentsAmong gives the comments among the ids.
func (s store) commentsAmong(ctx context.Context, ids []int64) ([]*comment, error) {
	var comments []*comment
	err := s.comments().Model(&comments).Where("c.id = ANY(?)", pgdialect.Array(ids)).Scan(ctx)
	return comments, postgres.Error(err, "comment")
}

// listComments gives one page of the projects' comments, taken together.
func (s store) listComments(ctx context.Context, projectIDs []int64, authorID int64, q *page.Query[*comment],
) (page.Page[*comment], error) {
	sel := s.comments()
	if authorID != 0 {
		sel = sel.Where("c.author_id = ?", authorID)
	}
	p, err := q.SelectAcross(ctx, s.db, sel, "project_id", projectIDs)
	return p, postgres.Error(err, "comment")
}

// commentList is one page of a task's comments.
type commentList struct {
	page.Page[*comment]

	taskID, projectID int64
}

// commentsOf gives the same page of each task's comments, in one statement. It starts from the tasks, so that a task
// without comments has its empty page, and one that is deleted or was never there has none.
func (s store) commentsOf(ctx context.Context, taskIDs []int64, authorID int64, q *page.Query[*comment]) ([]*commentList, error) {
	var rows []*comment
	of := s.db.NewSelect().Model(&rows).
		Where("c.project_id = t.project_id AND c.task_id = t.id AND c.deleted_at IS NULL")
	if authorID != 0 {
		of = of.Where("c.author_id = ?", authorID)
	}
	sel := s.db.NewSelect().TableExpr("tasks AS t").
		Join("LEFT JOIN LATERAL (?) AS c ON true", q.Keyset(of.Clone())).
		ColumnExpr("c.*, t.id AS task_id, t.project_id").
		Where("t.id = ANY(?) AND t.deleted_at IS NULL", pgdialect.Array(taskIDs))
	if q.Counts() {
		sel = sel.ColumnExpr("(?) AS total", of.Clone().ColumnExpr("count(*)"))
	}
	if err := q.Order(sel).Scan(ctx, &rows); err != nil {
		return nil, postgres.Error(err, "comment")
	}
	return commentLists(rows, q), nil
}

// commentLists sorts what commentsOf selected by task. A row without an id stands for a task without comments.
func commentLists(rows []*comment, q *page.Query[*comment]) []*commentList {
	type list struct {
		first    *comment
		comments []*comment
	}
	var (
		order  []int64
		byTask = make(map[int64]*list)
	)
	for _, r := range rows {
		l, ok := byTask[r.TaskID]
		if !ok {
			l = &list{first: r}
			byTask[r.TaskID] = l
			order = append(order, r.TaskID)
		}
		if r.ID != 0 {
			l.comments = append(l.comments, r)
		}
	}
	lists := make([]*commentList, 0, len(order))
	for _, id := range order {
		l := byTask[id]
		p := q.Cut(l.comments)
		p.Total = l.first.Total
		lists = append(lists, &commentList{Page: p, taskID: id, projectID: l.first.ProjectID})
	}
	return lists
}

// createComment adds the comment, unless its task has been deleted meanwhile: the lock makes a deletion wait, so that
// nothing happens to a task after the event of its end.
func (s store) createComment(ctx context.Context, c *comment) error {
	return write.Tx(ctx, s.db, "comment", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		var id int64
		err := tx.NewSelect().Model((*task)(nil)).Column("id").
			Where("t.id = ? AND t.deleted_at IS NULL", c.TaskID).For("SHARE").Scan(ctx, &id)
		if err != nil {
			return write.Change{}, postgres.Error(err, "task")
		}
		_, err = tx.NewInsert().Model(c).Returning("id, version, created_at, updated_at").Exec(ctx)
		return write.Changed(c.proto(), c.event("created")), err
	})
}

// updateComment writes the comment's body over the version it was read at, or is write.ErrRaced.
func (s store) updateComment(ctx context.Context, c *comment) error {
	return write.Tx(ctx, s.db, "comment", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		err := write.Row(ctx, tx.NewUpdate().Model(c).
			Column("body").
			Set("version = version + 1, updated_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", c.ID, c.Version).
			Returning("version, updated_at"))
		return write.Changed(c.proto(), c.event("updated")), err
	})
}

// removeComment deletes the comment softly at the version it was read at, or is write.ErrRaced.
func (s store) removeComment(ctx context.Context, c *comment) error {
	return write.Tx(ctx, s.db, "comment", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		err := write.Row(ctx, tx.NewUpdate().Model(c).
			Set("version = version + 1, updated_at = now(), deleted_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", c.ID, c.Version).
			Returning("version, updated_at"))
		return write.Changed(&emptypb.Empty{}, c.event("deleted")), err
	})
}
