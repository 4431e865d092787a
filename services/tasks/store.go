package tasks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/page"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/write"
)

// store holds every SQL statement of the service.
type store struct{ db *write.DB }

// task gives one task that is not deleted.
func (s store) task(ctx context.Context, id int64) (*task, error) {
	t, err := s.taskOrTrash(ctx, id)
	if err == nil && !t.DeletedAt.IsZero() {
		return nil, errs.Missing("task")
	}
	return t, err
}

// taskOrTrash gives one task, whether or not it is deleted.
func (s store) taskOrTrash(ctx context.Context, id int64) (*task, error) {
	t := new(task)
	err := s.db.Scan(ctx, s.db.NewSelect().Model(t).Where("t.id = ?", postgres.Arg(id)), t)
	return t, postgres.Error(err, "task")
}

// tasks gives columns of the tasks among the ids that are not deleted.
func (s store) tasks(ctx context.Context, columns bun.Safe, ids []int64) ([]*task, error) {
	var tasks []*task
	err := s.db.Scan(ctx, s.db.NewSelect().Model(&tasks).ColumnExpr("?", columns).
		Where("t.id = ANY(?) AND t.deleted_at IS NULL", postgres.ArrayArg(ids)), &tasks)
	return tasks, postgres.Error(err, "task")
}

// taskFilter narrows a list of tasks; what is zero does not narrow.
type taskFilter struct {
	columns              bun.Safe // what is read of them
	statuses, priorities []int32
	completed            *bool
	labels               []string
	assigneeID, parentID *int64 // 0 finds the tasks without one
	creatorID            int64
	dueBefore, dueAfter  date
	updatedSince         time.Time
	search               string
	deleted              bool // only deleted tasks, and not only live ones
}

// isOpen reports whether the filter lets all tasks through that are not deleted.
func (f taskFilter) isOpen() bool {
	return len(f.statuses) == 0 && len(f.priorities) == 0 && f.completed == nil && len(f.labels) == 0 && f.assigneeID == nil &&
		f.parentID == nil && f.creatorID == 0 && f.dueBefore == "" && f.dueAfter == "" && f.updatedSince.IsZero() &&
		f.search == "" && !f.deleted
}

func (f taskFilter) narrow(s *bun.SelectQuery) *bun.SelectQuery {
	if f.deleted {
		s = s.Where("t.deleted_at IS NOT NULL")
	} else {
		s = s.Where("t.deleted_at IS NULL")
	}
	if len(f.statuses) > 0 { // IN, because one alone is an equality then, whose rows come in order from an index
		s = s.Where("t.status IN (?)", postgres.ListArg(f.statuses))
	}
	if len(f.priorities) > 0 {
		s = s.Where("t.priority IN (?)", postgres.ListArg(f.priorities))
	}
	if f.completed != nil {
		s = s.Where("(t.status = 3) = ?", postgres.Arg(*f.completed))
	}
	if len(f.labels) > 0 {
		s = s.Where("t.labels @> ?", postgres.Literal(pgdialect.Array(f.labels)))
	}
	if f.assigneeID != nil {
		s = equalOrNull(s, "t.assignee_id", *f.assigneeID)
	}
	if f.parentID != nil {
		s = equalOrNull(s, "t.parent_id", *f.parentID)
	}
	if f.creatorID != 0 {
		s = s.Where("t.creator_id = ?", postgres.Arg(f.creatorID))
	}
	if f.dueBefore != "" {
		s = s.Where("? < ?", bun.Safe(dueDate), postgres.Literal(f.dueBefore))
	}
	if f.dueAfter != "" {
		s = s.Where("? > ? AND t.due_date IS NOT NULL", bun.Safe(dueDate), postgres.Literal(f.dueAfter))
	}
	if !f.updatedSince.IsZero() {
		s = s.Where("t.updated_at >= ?", postgres.Literal(f.updatedSince))
	}
	return page.Search(s.ColumnExpr("?", f.columns), f.search)
}

// equalOrNull keeps the rows with the id, or those without one for 0, in the two forms that an index answers.
func equalOrNull(s *bun.SelectQuery, column bun.Safe, id int64) *bun.SelectQuery {
	if id == 0 {
		return s.Where("? IS NULL", column)
	}
	return s.Where("? = ?", column, postgres.Arg(id))
}

// listTasks gives one page of the projects' tasks, taken together.
func (s store) listTasks(ctx context.Context, projectIDs []int64, f taskFilter, q *page.Query[*task]) (page.Page[*task], error) {
	if f.isOpen() {
		q.Walk()
	}
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
	return write.Tx(ctx, s.db, "task", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		if err := checkParent(ctx, tx, t); err != nil {
			return write.Change{}, err
		}
		if err := number(ctx, tx, []*task{t}); err != nil {
			return write.Change{}, err
		}
		err := tx.Scan(ctx, tx.NewInsert().Model(t).Returning("id, version, created_at, updated_at"), t)
		return write.Changed(t.proto(), t.event("created")), err
	})
}

// createTasks adds those of the tasks whose request has not failed, as createTask does. What fails here becomes a
// failure too; answer says what becomes of the failures, and ends the transaction if it is an error.
func (s store) createTasks(ctx context.Context, tasks []*task, failed failures, answer func() (proto.Message, error)) error {
	return write.Tx(ctx, s.db, "task", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		if err := checkParents(ctx, tx, tasks, failed); err != nil {
			return write.Change{}, err
		}
		good := of(failed, tasks)
		if _, err := answer(); err != nil || len(good) == 0 {
			return changedTasks(nil, "", answer)
		}
		if err := number(ctx, tx, good); err != nil {
			return write.Change{}, err
		}
		if _, err := tx.NewInsert().Model(&good).Returning("id, version, created_at, updated_at").Exec(ctx); err != nil {
			return write.Change{}, err
		}
		return changedTasks(good, "created", answer)
	})
}

// changedTasks is the Change of a write to several tasks.
func changedTasks(tasks []*task, happened string, answer func() (proto.Message, error)) (write.Change, error) {
	a, err := answer()
	return write.Changed(a, mapped(tasks, func(t *task) events.Event { return t.event(happened) })...), err
}

// checkParents makes a failure of each new task whose parent is no task of the same project that is not deleted.
func checkParents(ctx context.Context, tx postgres.Tx, tasks []*task, failed failures) error {
	var ids []int64
	for _, t := range of(failed, tasks) {
		ids = append(ids, given(t.ParentID)...)
	}
	if len(ids) == 0 {
		return nil
	}
	var parents []*task
	err := tx.NewSelect().Model(&parents).Column("id", "project_id").
		Where("t.id = ANY(?) AND t.deleted_at IS NULL", pgdialect.Array(ids)).Scan(ctx)
	if err != nil {
		return err
	}
	projects := make(map[int64]int64, len(parents))
	for _, p := range parents {
		projects[p.ID] = p.ProjectID
	}
	for i, t := range tasks {
		if _, done := failed[i]; !done && t.ParentID != nil && projects[*t.ParentID] != t.ProjectID {
			failed[i] = errNoParent()
		}
	}
	return nil
}

// updateTasks writes those of the changes whose request has not failed over the versions they were read at, or is
// write.ErrRaced. What fails here becomes a failure too; answer says what becomes of the failures, and ends the
// transaction if it is an error.
func (s store) updateTasks(ctx context.Context, changes []change, failed failures, answer func() (proto.Message, error)) error {
	return write.Tx(ctx, s.db, "task", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		good := of(failed, changes)
		moves := slices.DeleteFunc(slices.Clone(good), func(c change) bool { return !c.parent })
		if err := lockCounters(ctx, tx, distinct(moves, func(c change) int64 { return c.ProjectID })...); err != nil {
			return write.Change{}, err
		}
		if err := lockTasks(ctx, tx, mapped(good, func(c change) int64 { return c.ID })); err != nil {
			return write.Change{}, err
		}
		if err := moveTasks(ctx, tx, changes, failed); err != nil {
			return write.Change{}, err
		}
		var changed []*task
		for _, c := range of(failed, changes) {
			if c.any {
				changed = append(changed, c.task)
			}
		}
		if _, err := answer(); err != nil || len(changed) == 0 {
			return changedTasks(nil, "", answer)
		}
		if err := overwrite(ctx, tx, changed); err != nil {
			return write.Change{}, err
		}
		return changedTasks(changed, "updated", answer)
	})
}

// moveTasks gives tasks their other parents, one after the other, so that each is checked against those before it.
func moveTasks(ctx context.Context, tx postgres.Tx, changes []change, failed failures) error {
	for i, c := range changes {
		if _, done := failed[i]; done || !c.parent {
			continue
		}
		if err := checkParent(ctx, tx, c.task); err != nil {
			if err := failed.add(i, err); err != nil {
				return err
			}
			continue
		}
		_, err := tx.NewUpdate().Model(c.task).Column("parent_id").Where("id = ? AND version = ?", postgres.Arg(c.ID), postgres.Arg(c.Version)).Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

// overwrite writes the tasks' fields over the versions they were read at, or is write.ErrRaced.
func overwrite(ctx context.Context, tx postgres.Tx, tasks []*task) error {
	data, err := json.Marshal(mapped(tasks, (*task).fields))
	if err != nil {
		return fmt.Errorf("encode tasks: %w", err)
	}
	var rows []struct {
		ID, Version int64
		UpdatedAt   time.Time
	}
	err = tx.NewRaw(`UPDATE tasks AS t SET title = d.title, description = d.description, status = d.status,
			priority = d.priority, labels = d.labels, assignee_id = d.assignee_id, parent_id = d.parent_id,
			due_date = d.due_date, completed_at = d.completed_at, version = t.version + 1, updated_at = now()
		FROM jsonb_to_recordset(?::jsonb) AS d(id bigint, version bigint, title text, description text, status smallint,
			priority smallint, labels text[], assignee_id bigint, parent_id bigint, due_date date, completed_at timestamptz)
		WHERE t.id = d.id AND t.version = d.version AND t.deleted_at IS NULL
		RETURNING t.id, t.version, t.updated_at`, string(data)).Scan(ctx, &rows)
	if err != nil {
		return err
	}
	if len(rows) != len(tasks) {
		return write.ErrRaced
	}
	byID := make(map[int64]*task, len(tasks))
	for _, t := range tasks {
		byID[t.ID] = t
	}
	for _, r := range rows {
		byID[r.ID].Version, byID[r.ID].UpdatedAt = r.Version, r.UpdatedAt
	}
	return nil
}

// number gives new tasks the next numbers of their projects, in this order, and the places behind all others. The
// counters' rows stay locked until the commit: no number is skipped, and no place is given twice.
func number(ctx context.Context, tx postgres.Tx, tasks []*task) error {
	byProject := make(map[int64][]*task)
	for _, t := range tasks {
		byProject[t.ProjectID] = append(byProject[t.ProjectID], t)
	}
	ids := slices.Sorted(maps.Keys(byProject)) // all lock in this order, so that nobody waits for each other
	counts := make([]int64, 0, len(ids))
	for _, id := range ids {
		counts = append(counts, int64(len(byProject[id])))
	}
	var counters []struct{ ProjectID, LastNumber, LastPlace int64 }
	err := tx.Scan(ctx, tx.NewRaw(`INSERT INTO counters AS c (project_id, last_number, last_place)
		SELECT id, n, n FROM unnest(?::bigint[], ?::bigint[]) AS given(id, n) ORDER BY id
		ON CONFLICT (project_id) DO UPDATE SET
			last_number = c.last_number + excluded.last_number, last_place = c.last_place + excluded.last_place
		RETURNING project_id, last_number, last_place`, postgres.ArrayArg(ids), postgres.ArrayArg(counts)), &counters)
	if err != nil {
		return err
	}
	for _, c := range counters {
		of := byProject[c.ProjectID]
		for i, t := range of {
			before := int64(len(of) - 1 - i)
			t.Number, t.Position = c.LastNumber-before, place(c.LastPlace-before)
		}
	}
	return nil
}

// lockCounters makes all that gives numbers, places or parents in the projects wait for the end of the transaction.
func lockCounters(ctx context.Context, tx postgres.Tx, projectIDs ...int64) error {
	if len(projectIDs) == 0 {
		return nil
	}
	_, err := tx.Run(ctx, tx.NewRaw("SELECT FROM counters WHERE project_id = ANY(?) ORDER BY project_id FOR UPDATE",
		postgres.ArrayArg(projectIDs)))
	return err
}

// lockTasks locks the tasks, all in one order, so that no two transactions wait for each other.
func lockTasks(ctx context.Context, tx postgres.Tx, ids []int64) error {
	_, err := tx.Run(ctx, tx.NewRaw("SELECT FROM tasks WHERE id = ANY(?) ORDER BY id FOR UPDATE", postgres.ArrayArg(ids)))
	return err
}

// updateTask writes the fields that have changed over the version the task was read at, or is write.ErrRaced. A task that
// moves gets another parent.
func (s store) updateTask(ctx context.Context, t *task, moves bool) error {
	return write.Tx(ctx, s.db, "task", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		if moves {
			// One at a time in a project: two moves at once could each find no cycle, and make one together.
			if err := lockCounters(ctx, tx, t.ProjectID); err != nil {
				return write.Change{}, err
			}
			if err := checkParent(ctx, tx, t); err != nil {
				return write.Change{}, err
			}
		}
		err := write.Row(ctx, tx, t, tx.NewUpdate().Model(t).
			Column(t.changed...). // and no more: a text that is written is taken apart for the search again
			Set("version = version + 1, updated_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", postgres.Arg(t.ID), postgres.Arg(t.Version)).
			Returning("version, updated_at"))
		return write.Changed(t.proto(), t.event("updated")), err
	})
}

// checkParent is Invalid unless the task's parent is a task of the same project that is not deleted, and neither the
// task itself nor below it. It climbs over deleted tasks too, which may be restored.
func checkParent(ctx context.Context, tx postgres.Tx, t *task) error {
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
		return errNoParent()
	case cycle:
		return errs.InvalidField("parent_id", "must not be the task itself or one below it")
	}
	return nil
}

// neighbours are the positions around a task's new place.
type neighbours struct {
	Own           *string // the task's; nil when it has changed since it was read
	After, Before *string // those of the tasks that the move names; nil when there is no such task
	Next          *string // of whatever follows After, or precedes Before, other than the task itself; nil at the board's end
	Previous      *string
}

// moveTask gives the task, at the version it was read at, the place that the move asks for, and the status that it has
// now; or is write.ErrRaced. A task that is in its place and had the status already stays as it is.
func (s store) moveTask(ctx context.Context, t *task, m move, statusChanged bool) error {
	return write.Tx(ctx, s.db, "task", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		// The places are looked at after the lock is held: those who move to one gap at once come one behind the other.
		if err := lockCounters(ctx, tx, t.ProjectID); err != nil {
			return write.Change{}, err
		}
		var n neighbours
		err := tx.NewRaw(`WITH named AS (
				SELECT (SELECT position FROM tasks WHERE project_id = ?0 AND id = ?3 AND deleted_at IS NULL) AS after,
					(SELECT position FROM tasks WHERE project_id = ?0 AND id = ?4 AND deleted_at IS NULL) AS before
			) SELECT after, before,
				(SELECT position FROM tasks WHERE project_id = ?0 AND id = ?1 AND version = ?2 AND deleted_at IS NULL) AS own,
				(SELECT position FROM tasks WHERE project_id = ?0 AND position > after AND id <> ?1
					ORDER BY position LIMIT 1) AS next,
				(SELECT position FROM tasks WHERE project_id = ?0 AND position < before AND id <> ?1
					ORDER BY position DESC LIMIT 1) AS previous
			FROM named`, t.ProjectID, t.ID, t.Version, m.afterID, m.beforeID).Scan(ctx, &n)
		if err != nil {
			return write.Change{}, err
		}
		if n.Own == nil {
			return write.Change{}, write.ErrRaced
		}
		inPlace, err := m.check(n)
		if err != nil {
			return write.Change{}, err
		}
		if inPlace {
			if !statusChanged {
				return write.Changed(t.proto()), nil
			}
		} else if t.Position, err = m.position(n, func(end string) (n int64, err error) {
			return n, tx.NewRaw(end, t.ProjectID).Scan(ctx, &n)
		}); err != nil {
			return write.Change{}, err
		}
		err = write.Row(ctx, tx, t, tx.NewUpdate().Model(t).
			Column("position", "status", "completed_at").
			Set("version = version + 1, updated_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", postgres.Arg(t.ID), postgres.Arg(t.Version)).
			Returning("version, updated_at"))
		return write.Changed(t.proto(), t.event("moved")), err
	})
}

// The statements that give the next place at an end of a project's board.
const (
	firstPlace = "UPDATE counters SET first_place = first_place - 1 WHERE project_id = ? RETURNING first_place"
	lastPlace  = "UPDATE counters SET last_place = last_place + 1 WHERE project_id = ? RETURNING last_place"
)

func errNoParent() error { return errs.InvalidField("parent_id", "names no task of this project") }

// removeTask deletes the task softly at the version it was read at, or is write.ErrRaced.
func (s store) removeTask(ctx context.Context, t *task) error {
	return write.Tx(ctx, s.db, "task", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		err := write.Row(ctx, tx, t, tx.NewUpdate().Model(t).
			Set("version = version + 1, updated_at = now(), deleted_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", postgres.Arg(t.ID), postgres.Arg(t.Version)).
			Returning("version, updated_at, deleted_at"))
		return write.Changed(&emptypb.Empty{}, t.event("deleted")), err
	})
}

// restoreTask takes the task out of the trash at the version it was read at, or is write.ErrRaced.
func (s store) restoreTask(ctx context.Context, t *task) error {
	return write.Tx(ctx, s.db, "task", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		err := write.Row(ctx, tx, t, tx.NewUpdate().Model(t).
			Set("version = version + 1, updated_at = now(), deleted_at = NULL").
			Where("id = ? AND version = ? AND deleted_at IS NOT NULL", postgres.Arg(t.ID), postgres.Arg(t.Version)).
			Returning("version, updated_at"))
		t.DeletedAt = time.Time{}
		return write.Changed(t.proto(), t.event("restored")), err
	})
}

// comments selects the comments that are deleted neither themselves nor with their task.
func (s store) comments() *bun.SelectQuery {
	return s.commentsOrTrash().Where("c.deleted_at IS NULL")
}

// commentsOrTrash selects the comments that are not deleted with their task.
func (s store) commentsOrTrash() *bun.SelectQuery {
	return s.db.NewSelect().
		Join("JOIN tasks AS t ON t.project_id = c.project_id AND t.id = c.task_id AND t.deleted_at IS NULL")
}

// comment gives one comment that is not deleted.
func (s store) comment(ctx context.Context, id int64) (*comment, error) {
	c, err := s.commentOrTrash(ctx, id)
	if err == nil && !c.DeletedAt.IsZero() {
		return nil, errs.Missing("comment")
	}
	return c, err
}

// commentOrTrash gives one comment, whether or not it is deleted, on a task that is not.
func (s store) commentOrTrash(ctx context.Context, id int64) (*comment, error) {
	c := new(comment)
	err := s.db.Scan(ctx, s.commentsOrTrash().Model(c).Where("c.id = ?", postgres.Arg(id)), c)
	return c, postgres.Error(err, "comment")
}

// deletedComments gives one page of the deleted comments of the projects, or of one task, taken together: the user's
// own which nobody else has deleted, and everybody's in the projects that the user moderates.
func (s store) deletedComments(ctx context.Context, columns bun.Safe, f trashFilter, q *page.Query[*comment],
) (page.Page[*comment], error) {
	sel := s.commentsOrTrash().ColumnExpr("?", columns).Where("c.deleted_at IS NOT NULL").
		Where("(c.author_id = ? AND coalesce(c.deleted_by, c.author_id) = c.author_id OR c.project_id = ANY(?))", postgres.Arg(f.userID), postgres.ArrayArg(f.moderated))
	if f.taskID != 0 {
		sel = sel.Where("c.task_id = ?", postgres.Arg(f.taskID))
	}
	if f.authorID != 0 {
		sel = sel.Where("c.author_id = ?", postgres.Arg(f.authorID))
	}
	p, err := q.SelectAcross(ctx, s.db, sel, "project_id", f.projects)
	return p, postgres.Error(err, "comment")
}

// trashFilter narrows the list of deleted comments; a task or author of 0 does not narrow.
type trashFilter struct {
	userID, taskID, authorID int64
	projects, moderated      []int64
}

// commentsAmong gives columns of the comments among the ids.
func (s store) commentsAmong(ctx context.Context, columns bun.Safe, ids []int64) ([]*comment, error) {
	var comments []*comment
	err := s.db.Scan(ctx, s.comments().Model(&comments).ColumnExpr("?", columns).
		Where("c.id = ANY(?)", postgres.ArrayArg(ids)), &comments)
	return comments, postgres.Error(err, "comment")
}

// listComments gives one page of the projects' comments, taken together.
func (s store) listComments(ctx context.Context, columns bun.Safe, projectIDs []int64, authorID int64, q *page.Query[*comment],
) (page.Page[*comment], error) {
	sel := s.comments().ColumnExpr("?", columns)
	if authorID != 0 {
		sel = sel.Where("c.author_id = ?", postgres.Arg(authorID))
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
func (s store) commentsOf(ctx context.Context, columns bun.Safe, taskIDs []int64, authorID int64, q *page.Query[*comment],
) ([]commentList, error) {
	var rows []*comment
	of := s.db.NewSelect().Model(&rows).
		Where("c.project_id = t.project_id AND c.task_id = t.id AND c.deleted_at IS NULL")
	if authorID != 0 {
		of = of.Where("c.author_id = ?", postgres.Arg(authorID))
	}
	sel := s.db.NewSelect().TableExpr("tasks AS t").
		Join("LEFT JOIN LATERAL (?) AS c ON true", q.Keyset(of.Clone())).
		ColumnExpr("?", columns).
		Where("t.id = ANY(?) AND t.deleted_at IS NULL", postgres.ArrayArg(taskIDs))
	if q.Counts() {
		sel = sel.ColumnExpr("(?) AS total", of.Clone().ColumnExpr("count(*)"))
	}
	if err := s.db.Scan(ctx, q.Order(sel), &rows); err != nil {
		return nil, postgres.Error(err, "comment")
	}
	return commentLists(rows, q), nil
}

// commentLists sorts what commentsOf selected by task. A row without an id stands for a task without comments.
func commentLists(rows []*comment, q *page.Query[*comment]) []commentList {
	var lists []commentList
	for of := range page.Lists(rows, func(c *comment) int64 { return c.TaskID }) {
		l := commentList{taskID: of[0].TaskID, projectID: of[0].ProjectID}
		total := of[0].Total
		if of[0].ID == 0 {
			of = nil
		}
		l.Page = q.Cut(of)
		l.Total = total
		lists = append(lists, l)
	}
	return lists
}

// createComment adds the comment, unless its task has been deleted meanwhile: the lock makes a deletion wait, so that
// nothing happens to a task after the event of its end.
func (s store) createComment(ctx context.Context, c *comment) error {
	return write.Tx(ctx, s.db, "comment", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		if err := holdTask(ctx, tx, c); err != nil {
			return write.Change{}, err
		}
		err := tx.Scan(ctx, tx.NewInsert().Model(c).Returning("id, version, created_at, updated_at"), c)
		return write.Changed(c.proto(), c.event("created")), err
	})
}

// holdTask is NotFound if the comment's task is deleted, and otherwise makes its deletion wait for the end of the
// transaction.
func holdTask(ctx context.Context, tx postgres.Tx, c *comment) error {
	t := new(task)
	err := tx.Scan(ctx, tx.NewSelect().Model(t).Column("creator_id", "assignee_id").
		Where("t.id = ? AND t.deleted_at IS NULL", postgres.Arg(c.TaskID)).For("SHARE"), t)
	c.concerns = append(given(t.AssigneeID), t.CreatorID)
	return postgres.Error(err, "task")
}

// updateComment writes the comment's body over the version it was read at, or is write.ErrRaced.
func (s store) updateComment(ctx context.Context, c *comment) error {
	return write.Tx(ctx, s.db, "comment", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		err := write.Row(ctx, tx, c, tx.NewUpdate().Model(c).
			Column("body").
			Set("version = version + 1, updated_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", postgres.Arg(c.ID), postgres.Arg(c.Version)).
			Returning("version, updated_at"))
		return write.Changed(c.proto(), c.event("updated")), err
	})
}

// removeComment deletes the comment softly at the version it was read at, or is write.ErrRaced.
func (s store) removeComment(ctx context.Context, c *comment) error {
	return write.Tx(ctx, s.db, "comment", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		c.DeletedBy = auth.CallerFrom(ctx).UserID
		err := write.Row(ctx, tx, c, tx.NewUpdate().Model(c).
			Column("deleted_by").
			Set("version = version + 1, updated_at = now(), deleted_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", postgres.Arg(c.ID), postgres.Arg(c.Version)).
			Returning("version, updated_at, deleted_at"))
		return write.Changed(&emptypb.Empty{}, c.event("deleted")), err
	})
}

// restoreComment takes the comment out of the trash at the version it was read at, or is write.ErrRaced. Its task stays
// where it is meanwhile, as in createComment.
func (s store) restoreComment(ctx context.Context, c *comment) error {
	return write.Tx(ctx, s.db, "comment", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		if err := holdTask(ctx, tx, c); err != nil {
			return write.Change{}, err
		}
		err := write.Row(ctx, tx, c, tx.NewUpdate().Model(c).
			Set("version = version + 1, updated_at = now(), deleted_at = NULL, deleted_by = NULL").
			Where("id = ? AND version = ? AND deleted_at IS NOT NULL", postgres.Arg(c.ID), postgres.Arg(c.Version)).
			Returning("version, updated_at"))
		c.DeletedAt = time.Time{}
		return write.Changed(c.proto(), c.event("restored")), err
	})
}

// purgeBatch is how many things one transaction purges. Events of all services wait for the end of each that is under way.
const purgeBatch = 100

// purge deletes some of the trash, and tells whether there may be more. What remove locks nobody takes out of the trash
// meanwhile, and what somebody is taking out it leaves. It gives the project of each thing that has gone, and what else
// has happened.
func (s store) purge(ctx context.Context, noun string, remove func(ctx context.Context, tx postgres.Tx) (of []int64, happened []events.Event, err error),
) (more bool, err error) {
	err = write.Tx(ctx, s.db, noun, func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		if err := lockPurge(ctx, tx); err != nil {
			return write.Change{}, err
		}
		of, happened, err := remove(ctx, tx)
		more = len(of) == purgeBatch
		for _, id := range distinct(of, func(id int64) int64 { return id }) {
			happened = append(happened, purged(id))
		}
		return write.Change{Events: happened}, err
	})
	if err != nil {
		return false, fmt.Errorf("purge a %s: %w", noun, err)
	}
	return more, nil
}

// lockPurge makes replicas that purge at once do it one behind the other.
func lockPurge(ctx context.Context, tx postgres.Tx) error {
	_, err := tx.NewRaw("SELECT pg_advisory_xact_lock(hashtextextended('purge', 0))").Exec(ctx)
	return err
}

// purgeComments purges comments that were deleted longer than keep ago.
func (s store) purgeComments(ctx context.Context, keep time.Duration) (more bool, err error) {
	return s.purge(ctx, "comment", func(ctx context.Context, tx postgres.Tx) (of []int64, _ []events.Event, err error) {
		err = tx.NewRaw(`WITH old AS (
				SELECT project_id, task_id, id FROM comments WHERE deleted_at < now() - ? * interval '1 second'
				ORDER BY deleted_at LIMIT ? FOR UPDATE SKIP LOCKED
			) DELETE FROM comments AS c USING old
			WHERE c.project_id = old.project_id AND c.task_id = old.task_id AND c.id = old.id
			RETURNING c.project_id`, keep.Seconds(), purgeBatch).Scan(ctx, &of)
		return of, nil, err
	})
}

// purgeTasks purges tasks that were deleted longer than keep ago, with their comments. The tasks below them have no parent
// any more. Their numbers stay given: the counters know them.
func (s store) purgeTasks(ctx context.Context, keep time.Duration) (more bool, err error) {
	return s.purge(ctx, "task", func(ctx context.Context, tx postgres.Tx) (of []int64, happened []events.Event, err error) {
		var old []*task
		err = tx.NewSelect().Model(&old).Column("project_id", "id").Where("t.deleted_at < now() - ? * interval '1 second'", keep.Seconds()).
			OrderExpr("t.deleted_at").Limit(purgeBatch).For("UPDATE SKIP LOCKED").Scan(ctx)
		if err != nil || len(old) == 0 {
			return nil, nil, err
		}
		of = mapped(old, func(t *task) int64 { return t.ProjectID })
		ids := pgdialect.Array(mapped(old, func(t *task) int64 { return t.ID }))
		if happened, err = leaveParents(ctx, tx, pgdialect.Array(of), ids); err != nil {
			return nil, nil, err
		}
		for _, statement := range []string{
			"DELETE FROM comments AS c USING unnest(?::bigint[], ?::bigint[]) AS old(project_id, id) WHERE c.project_id = old.project_id AND c.task_id = old.id",
			"DELETE FROM tasks AS t USING unnest(?::bigint[], ?::bigint[]) AS old(project_id, id) WHERE t.project_id = old.project_id AND t.id = old.id",
		} {
			if _, err := tx.NewRaw(statement, pgdialect.Array(of), ids).Exec(ctx); err != nil {
				return nil, nil, err
			}
		}
		return of, happened, nil
	})
}

// leaveParents makes the tasks below the old ones, which go themselves, tasks without a parent; and gives what has happened
// to those of them that are not deleted.
func leaveParents(ctx context.Context, tx postgres.Tx, projectIDs, ids any) ([]events.Event, error) {
	// All lock tasks in this order.
	if _, err := tx.NewRaw(`SELECT FROM tasks AS t JOIN unnest(?0::bigint[], ?1::bigint[]) AS old(project_id, id)
			ON t.project_id = old.project_id AND t.parent_id = old.id
		WHERE t.id <> ALL(?1::bigint[]) ORDER BY t.id FOR UPDATE OF t`, projectIDs, ids).Exec(ctx); err != nil {
		return nil, err
	}
	var below []*task
	err := tx.NewRaw(`UPDATE tasks AS t SET parent_id = NULL, version = version + 1, updated_at = now()
		FROM unnest(?0::bigint[], ?1::bigint[]) AS old(project_id, id)
		WHERE t.project_id = old.project_id AND t.parent_id = old.id AND t.id <> ALL(?1::bigint[])
		RETURNING ?2`, projectIDs, ids, taskColumns().All()).Scan(ctx, &below)
	var happened []events.Event
	for _, t := range below {
		if t.DeletedAt.IsZero() {
			t.changed = []string{"parent_id"}
			happened = append(happened, t.event("updated"))
		}
	}
	return happened, err
}

// projectsAfter gives, in order, some of the projects in which there have been tasks, behind the last ones.
func (s store) projectsAfter(ctx context.Context, last int64) (ids []int64, err error) {
	err = s.db.NewRaw("SELECT project_id FROM counters WHERE project_id > ? ORDER BY project_id LIMIT ?", last, maxBatch).Scan(ctx, &ids)
	return ids, postgres.Error(err, "project")
}

// forgetBatch is how many rows of each kind one transaction deletes of a project that was purged.
const forgetBatch = 1000

// forget deletes some of what there is of a project that nobody can read any more, and tells whether there may be more.
// The counter goes last: by it the project is known.
func (s store) forget(ctx context.Context, projectID int64) (more bool, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx postgres.Tx) error {
		more = false
		if err := lockPurge(ctx, tx); err != nil {
			return err
		}
		for _, statement := range []string{
			"DELETE FROM comments WHERE project_id = ?0 AND (task_id, id) IN (SELECT task_id, id FROM comments WHERE project_id = ?0 LIMIT ?1)",
			"UPDATE tasks SET parent_id = NULL WHERE project_id = ?0 AND id IN (SELECT id FROM tasks WHERE project_id = ?0 AND parent_id IS NOT NULL LIMIT ?1)",
			"DELETE FROM tasks WHERE project_id = ?0 AND id IN (SELECT id FROM tasks WHERE project_id = ?0 LIMIT ?1)",
			"DELETE FROM counters WHERE project_id = ?0",
		} {
			n, err := tx.Run(ctx, tx.NewRaw(statement, projectID, forgetBatch))
			if more = n == forgetBatch; more || err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("forget project %d: %w", projectID, err)
	}
	return more, nil
}
