package tasks_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

func TestAKeyedWriteHappensOnce(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	const callers = 20
	answers := make([]*tasksv1.Task, callers)
	ctx := idempotency.WithKey(s.as(worker), "key-1")
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for answers[i] == nil {
				a, err := s.tasks.CreateTask(ctx, &tasksv1.CreateTaskRequest{ProjectId: project, Title: "Once"})
				if err != nil && !errs.Is(err, errs.InProgress) {
					t.Error(err)
					return
				}
				answers[i] = a
			}
		})
	}
	wg.Wait()
	for _, a := range answers[1:] {
		if diff := cmp.Diff(answers[0], a, protocmp.Transform()); diff != "" {
			t.Fatalf("two answers differ (-first +other):\n%s", diff)
		}
	}
	s.count(1, "tasks", "true")
	s.count(1, "events", "true")
	s.count(1, "counters", "last_number = 1")

	_, err := s.tasks.CreateTask(ctx, &tasksv1.CreateTaskRequest{ProjectId: project, Title: "Twice"})
	if got := code(err); got != errs.KeyReused {
		t.Errorf("another request with the key: got %q, want %q", got, errs.KeyReused)
	}
	other, err := s.tasks.CreateTask(idempotency.WithKey(s.as(owner), "key-1"), &tasksv1.CreateTaskRequest{ProjectId: project, Title: "Once"})
	if err != nil || other.GetNumber() != 2 {
		t.Errorf("the key of another caller: got %v, %v, want task 2", other, err)
	}
	// Every other write, and its retry, which must neither fail nor happen, though it would by itself.
	comment := s.comment(other, worker)
	for name, write := range map[string]func(ctx context.Context) (proto.Message, error){
		"update a task": func(ctx context.Context) (proto.Message, error) {
			return s.tasks.UpdateTask(ctx, &tasksv1.UpdateTaskRequest{
				Id: other.GetId(), ExpectedVersion: 1, Completed: true, UpdateMask: mask("completed"),
			})
		},
		"create a comment": func(ctx context.Context) (proto.Message, error) {
			return s.tasks.CreateComment(ctx, &tasksv1.CreateCommentRequest{TaskId: other.GetId(), Body: "Well"})
		},
		"update a comment": func(ctx context.Context) (proto.Message, error) {
			return s.tasks.UpdateComment(ctx, &tasksv1.UpdateCommentRequest{
				Id: comment, ExpectedVersion: 1, Body: "Better", UpdateMask: mask("body"),
			})
		},
		"delete a task": func(ctx context.Context) (proto.Message, error) {
			return s.tasks.DeleteTask(ctx, &tasksv1.DeleteTaskRequest{Id: answers[0].GetId()})
		},
	} {
		ctx := idempotency.WithKey(s.as(worker), name)
		first, err := write(ctx)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		again, err := write(ctx)
		if diff := cmp.Diff(first, again, protocmp.Transform()); err != nil || diff != "" {
			t.Errorf("%s again: %v (-first +again):\n%s", name, err, diff)
		}
	}
	s.count(6, "events", "true")
}

func TestOneOfTwoEditorsWins(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	task := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project()})
	comment := s.comment(task, worker)
	const rounds = 50
	editors := map[string]func(version int64, text string) error{
		"task": func(version int64, text string) error {
			_, err := s.tasks.UpdateTask(s.as(worker), &tasksv1.UpdateTaskRequest{
				Id: task.GetId(), ExpectedVersion: version, Title: text, UpdateMask: mask("title"),
			})
			return err
		},
		"comment": func(version int64, text string) error {
			_, err := s.tasks.UpdateComment(s.as(worker), &tasksv1.UpdateCommentRequest{
				Id: comment, ExpectedVersion: version, Body: text, UpdateMask: mask("body"),
			})
			return err
		},
	}
	for noun, edit := range editors {
		for round := range rounds {
			outcomes := make([]errs.Code, 2)
			var wg sync.WaitGroup
			for i := range outcomes {
				wg.Go(func() { outcomes[i] = code(edit(int64(round)+1, fmt.Sprintf("round %d editor %d", round, i))) })
			}
			wg.Wait()
			slices.Sort(outcomes)
			if want := []errs.Code{"", errs.PreconditionFailed}; !slices.Equal(outcomes, want) {
				t.Fatalf("%s, round %d: got %q, want %q", noun, round, outcomes, want)
			}
		}
		s.count(rounds, "events", "type = ?", noun+".updated")
	}
	// Without a precondition nobody is refused, and every change counts.
	const many = 5
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			if err := editors["task"](0, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.count(1, "tasks", "version = ?", 1+rounds+many)
}

func TestEveryChangeHasItsEvent(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	var want []string
	happened := func(what string, version int64, after proto.Message, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("%s v%d %v", what, version, encoded(t, after)))
	}
	task, err := s.tasks.CreateTask(s.as(worker), &tasksv1.CreateTaskRequest{ProjectId: project, Title: "Ship"})
	happened("task.created", 1, task, err)
	task, err = s.tasks.UpdateTask(s.as(manager), &tasksv1.UpdateTaskRequest{Id: task.GetId(), Completed: true, UpdateMask: mask("completed")})
	happened("task.updated", 2, task, err)
	comment, err := s.tasks.CreateComment(s.as(commenter), &tasksv1.CreateCommentRequest{TaskId: task.GetId(), Body: "Well"})
	happened("comment.created", 1, comment, err)
	comment, err = s.tasks.UpdateComment(s.as(commenter), &tasksv1.UpdateCommentRequest{Id: comment.GetId(), Body: "Done", UpdateMask: mask("body")})
	happened("comment.updated", 2, comment, err)
	_, err = s.tasks.DeleteComment(s.as(manager), &tasksv1.DeleteCommentRequest{Id: comment.GetId()})
	comment.Version = 3
	happened("comment.deleted", 3, comment, err)
	_, err = s.tasks.DeleteTask(s.as(worker), &tasksv1.DeleteTaskRequest{Id: task.GetId()})
	task.Version = 3
	happened("task.deleted", 3, task, err)

	var events []struct {
		Type                                   string
		SubjectID, ProjectID, ActorID, Version int64
		Payload                                []byte
	}
	err = s.db.NewSelect().Table("events").Column("type", "subject_id", "project_id", "actor_id", "version", "payload").
		Order("id").Scan(t.Context(), &events)
	if err != nil {
		t.Fatal(err)
	}
	var (
		got    []string
		actors []int64
	)
	for _, e := range events {
		subject, message := task.GetId(), proto.Message(&tasksv1.Task{})
		if strings.HasPrefix(e.Type, "comment.") {
			subject, message = comment.GetId(), &tasksv1.Comment{}
		}
		if err := proto.Unmarshal(e.Payload, message); err != nil {
			t.Fatal(err)
		}
		if e.SubjectID != subject || e.ProjectID != project {
			t.Errorf("%s: got subject %d in project %d, want %d in %d", e.Type, e.SubjectID, e.ProjectID, subject, project)
		}
		actors = append(actors, e.ActorID)
		got = append(got, fmt.Sprintf("%s v%d %v", e.Type, e.Version, encoded(t, message)))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int64{worker, manager, commenter, commenter, manager, worker}, actors); diff != "" {
		t.Errorf("actors (-want +got):\n%s", diff)
	}
}

// encoded is a message as text, without the times of a deletion, which its answer does not tell.
func encoded(t *testing.T, m proto.Message) string {
	t.Helper()
	m = proto.Clone(m)
	switch m := m.(type) {
	case *tasksv1.Task:
		m.UpdatedAt, m.DeletedAt = nil, nil
	case *tasksv1.Comment:
		m.UpdatedAt, m.DeletedAt = nil, nil
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%q", b)
}

func TestNumbersHaveNoGaps(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	const creators, each = 8, 6
	var wg sync.WaitGroup
	for range creators {
		wg.Go(func() {
			for i := range each {
				// Some fail, after validation and inside the transaction.
				_, err := s.tasks.CreateTask(s.as(worker), &tasksv1.CreateTaskRequest{ProjectId: project, Title: "Lost", ParentId: new(int64(1 << 40))})
				if code(err) != errs.Invalid {
					t.Errorf("got %v, want %q", err, errs.Invalid)
				}
				if _, err = s.tasks.CreateTask(s.as(worker), &tasksv1.CreateTaskRequest{ProjectId: project, Title: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	by := func(order string) []int64 {
		answer, err := s.tasks.ListTasks(s.as(worker), &tasksv1.ListTasksRequest{
			ProjectId: project, Page: &pagev1.PageRequest{Size: 100, OrderBy: order},
		})
		if err != nil {
			t.Fatal(err)
		}
		return mapped(answer.GetTasks(), (*tasksv1.Task).GetNumber)
	}
	var want []int64
	for i := range int64(creators * each) {
		want = append(want, i+1)
	}
	if diff := cmp.Diff(want, by("number")); diff != "" {
		t.Errorf("numbers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, by("position")); diff != "" {
		t.Errorf("numbers by position (-want +got):\n%s", diff)
	}
}

func TestNoTaskIsBelowItself(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	project := s.project()
	move := func(task, parent *tasksv1.Task) error {
		_, err := s.tasks.UpdateTask(s.as(worker), &tasksv1.UpdateTaskRequest{
			Id: task.GetId(), ParentId: &parent.Id, UpdateMask: mask("parent_id"),
		})
		return err
	}
	top := s.task(&tasksv1.CreateTaskRequest{ProjectId: project})
	middle := s.task(&tasksv1.CreateTaskRequest{ProjectId: project, ParentId: &top.Id})
	bottom := s.task(&tasksv1.CreateTaskRequest{ProjectId: project, ParentId: &middle.Id})
	if _, err := s.tasks.DeleteTask(s.as(worker), &tasksv1.DeleteTaskRequest{Id: middle.GetId()}); err != nil {
		t.Fatal(err)
	}
	if err := move(top, bottom); code(err) != errs.Invalid { // the deleted one between them may be restored
		t.Errorf("below a task below it: got %v, want %q", err, errs.Invalid)
	}
	if err := move(bottom, top); err != nil {
		t.Errorf("up: %v", err)
	}
	// Two tasks that become each other's parent at once, and three in a ring: somebody has to give way.
	for round := range 30 {
		ring := make([]*tasksv1.Task, 2+round%2)
		for i := range ring {
			ring[i] = s.task(&tasksv1.CreateTaskRequest{ProjectId: project})
		}
		outcomes := make([]errs.Code, len(ring))
		var wg sync.WaitGroup
		for i := range ring {
			wg.Go(func() { outcomes[i] = code(move(ring[i], ring[(i+1)%len(ring)])) })
		}
		wg.Wait()
		slices.Sort(outcomes)
		want := append(make([]errs.Code, len(ring)-1), errs.Invalid)
		if !slices.Equal(outcomes, want) {
			t.Fatalf("round %d: got %q, want %q", round, outcomes, want)
		}
	}
}

// While a list is walked, others add and delete tasks: what was there throughout is neither skipped nor repeated.
func TestAWalkSkipsAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	one, other := s.project(), s.project()
	random := func(project int64) *tasksv1.CreateTaskRequest {
		req := &tasksv1.CreateTaskRequest{
			ProjectId: project, Title: fmt.Sprintf("%c ü", 'a'+rand.IntN(5)), Priority: tasksv1.Priority(1 + rand.IntN(5)),
		}
		if rand.IntN(2) == 0 {
			req.DueDate = new(fmt.Sprintf("20%02d-01-01", rand.IntN(5)))
		}
		return req
	}
	const stable = 30 // in each project
	stays := make(map[int64]bool)
	for range stable {
		stays[s.task(random(one)).GetId()] = true
		stays[s.task(random(other)).GetId()] = true
	}
	type walk struct {
		project  int64 // 0 is both
		by       string
		backward bool
	}
	var orders []string
	for _, by := range []string{"id", "number", "title", "priority", "due_date", "position", "created_at", "updated_at"} {
		orders = append(orders, by, "-"+by)
	}
	want := make(map[walk][]int64)
	for _, by := range append(orders, "-priority,due_date", "due_date,-title,-number", "") {
		for project, size := range map[int64]int{one: stable, 0: 2 * stable} {
			whole, _ := s.stable(project, &pagev1.PageRequest{Size: 100, OrderBy: by}, stays)
			if len(whole) != size {
				t.Fatalf("by %q: got %d tasks, want %d", by, len(whole), size)
			}
			want[walk{project, by, false}], want[walk{project, by, true}] = whole, whole
		}
	}
	for w, whole := range want {
		t.Run(fmt.Sprintf("%+v", w), func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			changes := 0
			got := s.walk(w.project, w.by, w.backward, stays, func() {
				if changes++; changes > stable/7 {
					return // a walk must be able to get to an end that others move on
				}
				extra := s.task(random(one))
				s.task(random(other))
				if _, err := s.tasks.DeleteTask(s.as(worker), &tasksv1.DeleteTaskRequest{Id: extra.GetId()}); err != nil {
					t.Error(err)
				}
			})
			if diff := cmp.Diff(whole, got); diff != "" {
				t.Errorf("the walk (-whole +walk):\n%s", diff)
			}
		})
	}
}

func (s *suite) walk(project int64, by string, backward bool, stays map[int64]bool, between func()) []int64 {
	s.Helper()
	page := &pagev1.PageRequest{Size: 7, OrderBy: by, Backward: backward}
	var got []int64
	for {
		ids, info := s.stable(project, page, stays)
		if backward {
			got = append(ids, got...)
			if !info.GetHasPrevious() {
				return got
			}
			page.Before = info.GetCursors()[0]
		} else {
			got = append(got, ids...)
			if !info.GetHasNext() {
				return got
			}
			page.After = info.GetCursors()[len(info.GetCursors())-1]
		}
		between()
	}
}

func TestAReadIsOneStatementAndOneCall(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	a := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project()})
	b := s.task(&tasksv1.CreateTaskRequest{ProjectId: s.project()})
	hidden := s.task(&tasksv1.CreateTaskRequest{ProjectId: foreign + 1})
	var comments []int64
	for _, task := range []*tasksv1.Task{a, a, b, hidden} {
		comments = append(comments, s.comment(task, worker))
	}
	ids, projects := []int64{a.GetId(), b.GetId(), hidden.GetId()}, []int64{a.GetProjectId(), b.GetProjectId(), foreign + 1}
	count := &pagev1.PageRequest{Count: true}
	tests := []struct {
		method     string
		statements int
		call       func(ctx context.Context) (int, error)
		want       int // things
	}{
		{tasksv1.TasksService_GetTask_FullMethodName, 1, func(ctx context.Context) (int, error) {
			_, err := s.tasks.GetTask(ctx, &tasksv1.GetTaskRequest{Id: ids[0]})
			return 1, err
		}, 1},
		{tasksv1.TasksService_BatchGetTasks_FullMethodName, 1, func(ctx context.Context) (int, error) {
			got, err := s.tasks.BatchGetTasks(ctx, &tasksv1.BatchGetTasksRequest{Ids: ids})
			return len(got.GetTasks()), err
		}, 2},
		{tasksv1.TasksService_ListTasks_FullMethodName, 1, func(ctx context.Context) (int, error) {
			got, err := s.tasks.ListTasks(ctx, &tasksv1.ListTasksRequest{ProjectId: projects[0]})
			return len(got.GetTasks()), err
		}, 1},
		{tasksv1.TasksService_ListTasks_FullMethodName, 2, func(ctx context.Context) (int, error) {
			got, err := s.tasks.ListTasks(ctx, &tasksv1.ListTasksRequest{Page: count})
			return len(got.GetTasks()), err
		}, 2},
		{tasksv1.TasksService_BatchListTasks_FullMethodName, 1, func(ctx context.Context) (int, error) {
			got, err := s.tasks.BatchListTasks(ctx, &tasksv1.BatchListTasksRequest{ProjectIds: projects})
			return len(got.GetPages()), err
		}, 2},
		{tasksv1.TasksService_BatchListTasks_FullMethodName, 2, func(ctx context.Context) (int, error) {
			got, err := s.tasks.BatchListTasks(ctx, &tasksv1.BatchListTasksRequest{ProjectIds: projects, Page: count})
			return len(got.GetPages()), err
		}, 2},
		{tasksv1.TasksService_GetComment_FullMethodName, 1, func(ctx context.Context) (int, error) {
			_, err := s.tasks.GetComment(ctx, &tasksv1.GetCommentRequest{Id: comments[0]})
			return 1, err
		}, 1},
		{tasksv1.TasksService_BatchGetComments_FullMethodName, 1, func(ctx context.Context) (int, error) {
			got, err := s.tasks.BatchGetComments(ctx, &tasksv1.BatchGetCommentsRequest{Ids: comments})
			return len(got.GetComments()), err
		}, 3},
		// The task first, so that a hidden one's comments are not read.
		{tasksv1.TasksService_ListComments_FullMethodName, 2, func(ctx context.Context) (int, error) {
			got, err := s.tasks.ListComments(ctx, &tasksv1.ListCommentsRequest{TaskId: ids[0], Page: count})
			return len(got.GetComments()), err
		}, 2},
		{tasksv1.TasksService_ListComments_FullMethodName, 1, func(ctx context.Context) (int, error) {
			got, err := s.tasks.ListComments(ctx, &tasksv1.ListCommentsRequest{})
			return len(got.GetComments()), err
		}, 3},
		{tasksv1.TasksService_BatchListComments_FullMethodName, 1, func(ctx context.Context) (int, error) {
			got, err := s.tasks.BatchListComments(ctx, &tasksv1.BatchListCommentsRequest{TaskIds: ids, Page: count})
			return len(got.GetPages()), err
		}, 2},
	}
	for _, tt := range tests {
		s.world.Statements(tt.method)
		s.projects.calls.Store(0)
		got, err := tt.call(s.as(worker))
		if err != nil || got != tt.want {
			t.Errorf("%s: got %d things, %v, want %d", tt.method, got, err, tt.want)
		}
		if got := s.world.Statements(tt.method); len(got) != tt.statements {
			t.Errorf("%s: got %d statements, want %d:\n%q", tt.method, len(got), tt.statements, got)
		}
		if got := s.projects.calls.Load(); got != 1 {
			t.Errorf("%s: got %d calls to projects, want 1", tt.method, got)
		}
	}
}

func TestForeignKeysAreIndexed(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	var keys []struct {
		Name    string
		Indexed bool
	}
	err := s.db.NewRaw(`SELECT c.conname AS name, EXISTS (
			SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indpred IS NULL
			AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey) AS indexed
		FROM pg_constraint c WHERE c.contype = 'f'`).Scan(t.Context(), &keys)
	if err != nil || len(keys) < 2 {
		t.Fatalf("got %v, %v, want the foreign keys of tasks and comments", keys, err)
	}
	for _, k := range keys {
		if !k.Indexed {
			t.Errorf("%s is not indexed", k.Name)
		}
	}
}

// stable reads one page, of which it gives the tasks that stay.
func (s *suite) stable(project int64, page *pagev1.PageRequest, stays map[int64]bool) ([]int64, *pagev1.PageInfo) {
	s.Helper()
	answer, err := s.tasks.ListTasks(s.as(worker), &tasksv1.ListTasksRequest{ProjectId: project, Page: page})
	if err != nil {
		s.Fatal(err)
	}
	ids := mapped(answer.GetTasks(), (*tasksv1.Task).GetId)
	return slices.DeleteFunc(ids, func(id int64) bool { return !stays[id] }), answer.GetPage()
}
