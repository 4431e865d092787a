package tasks_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trackway/trackway/services/platform/errs"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// board gives a project's tasks in the order of its board.
func (s *suite) board(project int64) []int64 {
	s.Helper()
	got, err := s.tasks.ListTasks(s.as(worker), &tasksv1.ListTasksRequest{
		ProjectId: project, Page: &pagev1.PageRequest{Size: 100, OrderBy: "position"},
	})
	if err != nil {
		s.Fatal(err)
	}
	return mapped(got.GetTasks(), (*tasksv1.Task).GetId)
}

func (s *suite) boardOf(n int) (project int64, ids []int64) {
	s.Helper()
	project = s.project()
	for range n {
		ids = append(ids, s.task(&tasksv1.CreateTaskRequest{ProjectId: project}).GetId())
	}
	return project, ids
}

func (s *suite) move(id, after, before int64) (*tasksv1.Task, error) {
	s.Helper()
	req := &tasksv1.MoveTaskRequest{Id: id}
	if after != 0 {
		req.AfterId = &after
	}
	if before != 0 {
		req.BeforeId = &before
	}
	return s.tasks.MoveTask(s.as(worker), req)
}

func TestATaskMovesBetweenItsNeighbours(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project, ids := s.boardOf(5)
	a, b, c, d, e := ids[0], ids[1], ids[2], ids[3], ids[4]
	for _, tt := range []struct {
		name              string
		id, after, before int64
		want              []int64
	}{
		{"to the front", d, 0, a, []int64{d, a, b, c, e}},
		{"further to the front", e, 0, d, []int64{e, d, a, b, c}},
		{"to the end", d, c, 0, []int64{e, a, b, c, d}},
		{"behind a task", e, a, 0, []int64{a, e, b, c, d}},
		{"ahead of a task", d, 0, e, []int64{a, d, e, b, c}},
		{"between two", b, a, d, []int64{a, b, d, e, c}},
		{"between two far from each other", c, b, e, []int64{a, b, c, d, e}},
	} {
		before, err := s.tasks.GetTask(s.as(worker), &tasksv1.GetTaskRequest{Id: tt.id})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time it is in its place
			got, err := s.move(tt.id, tt.after, tt.before)
			if err != nil || got.GetVersion() != before.GetVersion()+1 {
				t.Fatalf("%s: got %v, %v, want version %d", tt.name, got, err, before.GetVersion()+1)
			}
		}
		if diff := cmp.Diff(tt.want, s.board(project)); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	s.count(7, "events", "type = 'task.moved'")
	s.count(5, "events", "type = 'task.created'")
	behind := s.task(&tasksv1.CreateTaskRequest{ProjectId: project}).GetId()
	if diff := cmp.Diff([]int64{a, b, c, d, e, behind}, s.board(project)); diff != "" {
		t.Errorf("a new task (-want +got):\n%s", diff)
	}
	s.trash("tasks", b)
	if _, err := s.move(e, a, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.tasks.RestoreTask(s.as(worker), &tasksv1.RestoreTaskRequest{Id: b}); err != nil {
		t.Errorf("restored after a move to its place: %v", err)
	}
	if diff := cmp.Diff([]int64{a, e, b, c, d, behind}, s.board(project)); diff != "" {
		t.Errorf("with a restored task (-want +got):\n%s", diff)
	}
}

func TestAMoveCanChangeTheStatus(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	_, ids := s.boardOf(2)
	for range 2 {
		got, err := s.tasks.MoveTask(s.as(worker), &tasksv1.MoveTaskRequest{
			Id: ids[0], BeforeId: &ids[1], Status: tasksv1.Status_STATUS_DONE,
		})
		if err != nil || got.GetStatus() != tasksv1.Status_STATUS_DONE || got.GetCompletedAt() == nil || got.GetVersion() != 2 {
			t.Errorf("got %v, %v, want it done at version 2", got, err)
		}
	}
	s.count(1, "events", "type = 'task.moved'")
}

func TestABadMoveIsNamed(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	_, ids := s.boardOf(3)
	_, others := s.boardOf(1)
	s.trash("tasks", ids[2])
	for _, tt := range []struct {
		name          string
		after, before int64
		want          errs.Code
		field         string
	}{
		{"no neighbour", 0, 0, errs.Invalid, "after_id"},
		{"itself", ids[0], 0, errs.Invalid, "after_id"},
		{"one task on both sides", ids[1], ids[1], errs.Invalid, "before_id"},
		{"a deleted task", 0, ids[2], errs.Invalid, "before_id"},
		{"another project's task", others[0], 0, errs.Invalid, "after_id"},
		{"a negative id", -1, 0, errs.Invalid, "after_id"},
	} {
		_, err := s.move(ids[0], tt.after, tt.before)
		got := errs.From(err)
		if got == nil || got.Code != tt.want || len(got.Fields) != 1 || got.Fields[0].Name != tt.field {
			t.Errorf("%s: got %v, want %q of %s", tt.name, err, tt.want, tt.field)
		}
	}
	project, ids := s.boardOf(3)
	if _, err := s.move(ids[0], ids[2], ids[1]); code(err) != errs.Conflict {
		t.Errorf("neighbours in the other order: got %v, want %q", err, errs.Conflict)
	}
	if diff := cmp.Diff(ids, s.board(project)); diff != "" {
		t.Errorf("the board (-want +got):\n%s", diff)
	}
	s.count(0, "events", "type = 'task.moved'")
}

// Everybody moves tasks to the same gap, and to the ends, at once: each move finds its place, and no two are the same.
func TestRacingMovesKeepTheBoardInOrder(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project, ids := s.boardOf(12)
	var wg sync.WaitGroup
	for _, id := range ids[2:] {
		wg.Go(func() {
			for range 6 {
				var err error
				switch rand.IntN(4) {
				case 0:
					_, err = s.move(id, ids[0], ids[1])
				case 1:
					_, err = s.move(id, ids[0], 0)
				case 2:
					_, err = s.move(id, 0, ids[0])
				default:
					_, err = s.move(id, ids[1], 0)
				}
				if err != nil {
					t.Error(err)
				}
			}
			if _, err := s.move(id, ids[0], ids[1]); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() { s.task(&tasksv1.CreateTaskRequest{ProjectId: project}) })
	}
	wg.Wait()
	board := s.board(project)
	first, last := slices.Index(board, ids[0]), slices.Index(board, ids[1])
	between := slices.Sorted(slices.Values(board[first+1 : last]))
	if diff := cmp.Diff(ids[2:], between); diff != "" {
		t.Errorf("between the two (-want +got):\n%s", diff)
	}
}

func TestAMoveIsFewStatements(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	_, ids := s.boardOf(4)
	s.world.Statements(tasksv1.TasksService_MoveTask_FullMethodName)
	s.projects.calls.Store(0)
	if _, err := s.move(ids[3], ids[0], ids[1]); err != nil {
		t.Fatal(err)
	}
	// The task; begin, the lock, the places, the row, the event, commit.
	const want = 7
	if got := s.world.Statements(tasksv1.TasksService_MoveTask_FullMethodName); len(got) != want {
		t.Errorf("got %d statements, want %d:\n%q", len(got), want, got)
	}
	if got := s.projects.calls.Load(); got != 1 {
		t.Errorf("got %d calls to projects, want 1", got)
	}
}
