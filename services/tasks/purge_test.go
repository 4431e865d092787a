package tasks_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/pgtest"
	"github.com/trackway/trackway/services/platform/trash"
	eventsv1 "github.com/trackway/trackway/services/rpc/events/v1"
	"github.com/trackway/trackway/services/rpc/tags"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	"github.com/trackway/trackway/services/tasks"
)

// age puts a row into the trash as of some days ago.
func (s *suite) age(table string, id int64, days int) {
	s.Helper()
	_, err := s.db.NewRaw("UPDATE ? SET deleted_at = now() - ? * interval '1 day' WHERE id = ?", ident(table), days, id).Exec(s.Context())
	if err != nil {
		s.Fatal(err)
	}
}

// purge starts a replica, named so, that keeps the trash for 30 days, and waits until nothing is left of a kind.
func (s *suite) purge(replica, table, where string, args ...any) {
	s.Helper()
	cfg := s.cfg
	cfg.Trash = trash.Config{Keep: 30 * 24 * time.Hour}
	s.world.Start(s, replica, func(ctx context.Context, common app.Config, env app.Env) error {
		cfg.App = common
		return tasks.Run(ctx, cfg, env)
	})
	for deadline := time.After(time.Minute); ; {
		left, err := s.db.NewSelect().Table(table).Where(where, args...).Count(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		if left == 0 {
			return
		}
		select {
		case <-deadline:
			s.Fatalf("%s where %s: %d are left", table, where, left)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

const longAgo = "deleted_at < now() - interval '30 days'"

func TestWhatWasDeletedLongAgoIsPurged(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	task := func(parent *int64) *tasksv1.Task {
		t.Helper()
		return s.task(&tasksv1.CreateTaskRequest{ProjectId: project, ParentId: parent})
	}
	live, old := task(nil), task(nil)
	young, below, belowYoung, belowOld := task(&old.Id), task(&old.Id), task(&old.Id), task(&old.Id)
	kept, keptToo := s.comment(live, worker), s.comment(young, worker)
	commentYoung, commentOld := s.comment(live, worker), s.comment(live, worker)
	for _, of := range []*tasksv1.Task{old, old, belowOld} { // they go with their tasks, be they deleted or not
		s.comment(of, worker)
	}
	s.age("comments", s.comment(old, worker), 1)
	s.age("comments", commentYoung, 29)
	s.age("comments", commentOld, 31)
	s.age("tasks", old.GetId(), 32)
	s.age("tasks", belowOld.GetId(), 31)
	s.age("tasks", young.GetId(), 29)
	s.age("tasks", belowYoung.GetId(), 28)
	s.purge("purger", "tasks", longAgo)

	for _, id := range []int64{old.GetId(), belowOld.GetId()} {
		if _, err := s.tasks.RestoreTask(s.as(owner), &tasksv1.RestoreTaskRequest{Id: id}); code(err) != errs.NotFound {
			t.Errorf("restoring task %d, which was purged: got %v, want %q", id, err, errs.NotFound)
		}
	}
	if _, err := s.tasks.RestoreComment(s.as(worker), &tasksv1.RestoreCommentRequest{Id: commentOld}); code(err) != errs.NotFound {
		t.Errorf("restoring a comment that was purged: got %v, want %q", err, errs.NotFound)
	}
	got, err := s.tasks.ListTasks(s.as(worker), &tasksv1.ListTasksRequest{ProjectId: project, Filter: &tasksv1.TaskFilter{Deleted: true}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{young.GetId(), belowYoung.GetId()}, mapped(got.GetTasks(), (*tasksv1.Task).GetId)); diff != "" {
		t.Errorf("the trash (-want +got):\n%s", diff)
	}
	s.count(3, "comments", "project_id = ?", project)
	if back, err := s.tasks.RestoreTask(s.as(worker), &tasksv1.RestoreTaskRequest{Id: young.GetId()}); err != nil || back.ParentId != nil {
		t.Errorf("restoring a younger task: got %v, %v, want it without a parent", back, err)
	}
	if _, err := s.tasks.RestoreComment(s.as(worker), &tasksv1.RestoreCommentRequest{Id: commentYoung}); err != nil {
		t.Errorf("restoring a younger comment: %v", err)
	}
	for _, id := range []int64{kept, keptToo, commentYoung} {
		if _, err := s.tasks.GetComment(s.as(worker), &tasksv1.GetCommentRequest{Id: id}); err != nil {
			t.Errorf("comment %d: %v", id, err)
		}
	}
	// A task below one that was purged has changed, and so it has another version and an event.
	if got, err := s.tasks.GetTask(s.as(worker), &tasksv1.GetTaskRequest{Id: below.GetId()}); err != nil || got.ParentId != nil || got.GetVersion() != 2 {
		t.Errorf("a task below: got %v, %v, want it without a parent, at version 2", got, err)
	}
	s.count(1, "events", "type = 'task.updated' AND changed = '{parent_id}' AND subject_id = ? AND version = 2", below.GetId())
	s.count(1, "events", "type = 'task.updated'")
	// What shows the trash is stale.
	s.count(2, "events", "type = 'trash.purged' AND ('project:' || ? || ':inside') = ANY(tags)", project)
	// What happened to what was purged is still told, and the purge itself is for nobody.
	pgtest.Settle(t)
	told, err := s.tasks.ListEvents(s.as(worker), &eventsv1.ListEventsRequest{ProjectId: project, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(told.GetEvents(), func(e *eventsv1.Event) bool {
		return e.GetType() == "task.created" && e.GetSubjectId() == old.GetId()
	}) {
		t.Errorf("the events: got %v, want the beginning of task %d among them", told.GetEvents(), old.GetId())
	}
	if slices.ContainsFunc(told.GetEvents(), func(e *eventsv1.Event) bool { return e.GetType() == "trash.purged" }) {
		t.Errorf("the events: got %v, want no purge among them", told.GetEvents())
	}
}

// The edge keeps answers with the trash in them, until something inside the project changes.
func TestAnAnswerWithThePurgedIsNotKept(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	task := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project()})
	s.age("tasks", task.GetId(), 31)
	client, err := cache.Open(s.cfg.Redis.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	answers, err := cache.NewAnswers(client, []string{"tasks"}, 1<<20, s.world.Env.Log, s.world.Env.MeterProvider())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var job sync.WaitGroup
	job.Go(func() { answers.Run(ctx) })
	t.Cleanup(func() { cancel(); job.Wait() })
	trash := &cache.Question{Kind: "trash", Name: "the trash", Tags: []string{tags.Inside(task.GetProjectId())}, Access: tags.Access(worker)}
	for deadline := time.After(time.Minute); ; {
		look := answers.Look(t.Context(), trash)
		if look.Answer != nil {
			break
		}
		answers.Keep(t.Context(), trash, look, &cache.Answer{Body: []byte("a task")})
		select {
		case <-deadline:
			t.Fatal("no answer is kept")
		case <-time.After(5 * time.Millisecond):
		}
	}
	s.purge("purger", "tasks", longAgo)
	if look := answers.Look(t.Context(), trash); look.Answer != nil {
		t.Errorf("after the purge: got %q from the cache, want nothing", look.Answer.Body)
	}
}

func TestTheNumbersOfPurgedTasksAreNotGivenAgain(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	for range 2 {
		s.age("tasks", s.task(&tasksv1.CreateTaskRequest{ProjectId: project}).GetId(), 31)
	}
	s.purge("purger", "tasks", "project_id = ?", project)
	if got := s.task(&tasksv1.CreateTaskRequest{ProjectId: project}); got.GetNumber() != 3 {
		t.Errorf("the task after two that were purged: got number %d, want 3", got.GetNumber())
	}
}

func TestAPurgeGoesInBatches(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	task := s.task(&tasksv1.CreateTaskRequest{ProjectId: project})
	for _, statement := range []string{
		`INSERT INTO tasks (project_id, number, title, status, priority, creator_id, position, deleted_at)
			SELECT ?0, 1 + n, 'Old', 1, 1, 1, 'z' || n, now() - interval '31 days' FROM generate_series(1, 250) AS n`,
		`INSERT INTO comments (project_id, task_id, author_id, body, deleted_at)
			SELECT ?0, ?1, 1, 'Old', now() - interval '31 days' FROM generate_series(1, 150) AS n`,
	} {
		if _, err := s.db.NewRaw(statement, project, task.GetId()).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.purge("purger", "tasks", longAgo)
	s.count(0, "comments", longAgo)
	s.count(2+3, "events", "type = 'trash.purged'") // one for each transaction
}

// What somebody is taking out of the trash a purge neither deletes nor waits for.
func TestWhatIsRestoredJustInTimeIsNotPurged(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	task := func() *tasksv1.Task { return s.task(&tasksv1.CreateTaskRequest{ProjectId: project}) }
	live, restored, old := task(), task(), task()
	comment, restoredComment := s.comment(restored, worker), s.comment(live, worker)
	s.age("tasks", restored.GetId(), 32)
	s.age("comments", restoredComment, 32)
	s.age("tasks", old.GetId(), 31)
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	for table, id := range map[string]int64{"tasks": restored.GetId(), "comments": restoredComment} {
		if _, err := tx.NewRaw("UPDATE ? SET deleted_at = NULL WHERE id = ?", ident(table), id).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.purge("purger", "tasks", "id = ?", old.GetId())
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	old = task()
	s.age("tasks", old.GetId(), 31)
	s.purge("another", "tasks", "id = ?", old.GetId())
	if _, err := s.tasks.GetTask(s.as(worker), &tasksv1.GetTaskRequest{Id: restored.GetId()}); err != nil {
		t.Errorf("the restored task: %v", err)
	}
	for _, id := range []int64{comment, restoredComment} {
		if _, err := s.tasks.GetComment(s.as(worker), &tasksv1.GetCommentRequest{Id: id}); err != nil {
			t.Errorf("comment %d: %v", id, err)
		}
	}
}

func TestAPurgedProjectTakesItsTasksWithIt(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	purged, other := s.project(), s.project()
	kept := s.task(&tasksv1.CreateTaskRequest{ProjectId: other})
	s.comment(kept, worker)
	task := s.task(&tasksv1.CreateTaskRequest{ProjectId: purged})
	// More than go at once, each below another.
	for _, statement := range []string{
		`INSERT INTO tasks (project_id, number, title, status, priority, creator_id, position)
			SELECT ?0, 1 + n, 'Lost', 1, 1, 1, 'z' || n FROM generate_series(1, 1100) AS n`,
		"UPDATE tasks AS t SET parent_id = p.id FROM tasks AS p WHERE t.project_id = ?0 AND p.project_id = ?0 AND p.number = t.number + 1",
		"INSERT INTO comments (project_id, task_id, author_id, body) SELECT ?0, ?1, 1, 'Lost' FROM generate_series(1, 1100)",
	} {
		if _, err := s.db.NewRaw(statement, purged, task.GetId()).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.projects.mu.Lock()
	s.projects.purged[purged] = true
	s.projects.mu.Unlock()
	s.purge("purger", "counters", "project_id = ?", purged)
	for _, table := range []string{"tasks", "comments"} {
		s.count(0, table, "project_id = ?", purged)
		s.count(1, table, "project_id = ?", other)
	}
}
