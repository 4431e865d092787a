package tasks

import (
	"context"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/write"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// move is the place that a task is to have: behind one task, ahead of another, or both. 0 is no task.
type move struct{ afterID, beforeID int64 }

// MoveTask gives a task another place on its project's board, and another status if one is given.
func (s *service) MoveTask(ctx context.Context, req *tasksv1.MoveTaskRequest) (*tasksv1.Task, error) {
	m, err := newMove(req)
	if err != nil {
		return nil, err
	}
	var t *task
	err = write.Retry(ctx, func(ctx context.Context) error {
		var (
			a   access
			err error
		)
		if t, a, err = s.require(ctx, req.GetId(), auth.WriteTasks); err != nil {
			return err
		}
		if err := a.expect(t.ProjectID, req.GetExpectedVersion(), t.Version, "task"); err != nil {
			return err
		}
		before := t.Status
		if req.GetStatus() != tasksv1.Status_STATUS_UNSPECIFIED {
			t.become(req.GetStatus())
		}
		if t.Status != before {
			t.changed = []string{"status"}
		}
		return s.store.moveTask(ctx, t, m, t.Status != before)
	})
	if err != nil {
		return nil, err
	}
	return t.proto(), nil
}

func newMove(req *tasksv1.MoveTaskRequest) (move, error) {
	m := move{afterID: req.GetAfterId(), beforeID: req.GetBeforeId()}
	var c errs.Check
	c.That(req.AfterId == nil || m.afterID > 0, "after_id", "must be the id of a task")
	c.That(req.BeforeId == nil || m.beforeID > 0, "before_id", "must be the id of a task")
	c.That(m != move{}, "after_id", "or before_id must be given")
	c.That(m.afterID == 0 || m.afterID != req.GetId(), "after_id", "must not be the task itself")
	c.That(m.beforeID == 0 || m.beforeID != req.GetId(), "before_id", "must not be the task itself")
	c.That(m.afterID == 0 || m.afterID != m.beforeID, "before_id", "must not be the same task as after_id")
	c.That(req.GetStatus() == 0 || knownStatus(req.GetStatus()), "status", "must be todo, in_progress, done or cancelled")
	return m, c.Err()
}

// check reports whether the task is in its place already. It is an error when there is no such place.
func (m move) check(n neighbours) (inPlace bool, err error) {
	var c errs.Check
	c.That(m.afterID == 0 || n.After != nil, "after_id", "names no task of this project")
	c.That(m.beforeID == 0 || n.Before != nil, "before_id", "names no task of this project")
	if err := c.Err(); err != nil {
		return false, err
	}
	switch {
	case m.beforeID == 0:
		return *n.After < *n.Own && (n.Next == nil || *n.Own < *n.Next), nil
	case m.afterID == 0:
		return *n.Own < *n.Before && (n.Previous == nil || *n.Previous < *n.Own), nil
	case *n.After >= *n.Before:
		return false, errs.New(errs.Conflict, "The task of after_id is not ahead of the one of before_id any more.")
	default:
		return *n.After < *n.Own && *n.Own < *n.Before, nil
	}
}

// position is a new position in the place. At the ends of the board the statement of the end gives a number for it.
func (m move) position(n neighbours, end func(statement string) (int64, error)) (string, error) {
	low, high := n.After, n.Next
	if m.afterID == 0 {
		low, high = n.Previous, n.Before
	}
	switch {
	case low == nil:
		first, err := end(firstPlace)
		return place(first), err
	case high == nil:
		last, err := end(lastPlace)
		return place(last), err
	}
	key := between(*low, *high)
	if len(key) > maxPosition {
		return "", errs.New(errs.Conflict, "There is no room left between these tasks. Move one of them first.")
	}
	return key, nil
}
