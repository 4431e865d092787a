package tasks

import (
	"context"
	"testing"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/page"
	"github.com/trackway/trackway/services/platform/page/pagetest"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/write"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// deep is a database with so many tasks and comments that reading them all is seen.
func deep(t *testing.T) store {
	t.Helper()
	db := pagetest.Fill(t, "tasks", func(ctx context.Context, url string) error {
		return Migrate(ctx, Config{Postgres: postgres.Config{URL: url}}, app.Env{})
	},
		`INSERT INTO tasks (project_id, number, title, description, status, priority, creator_id, due_date, position,
				created_at, updated_at)
			SELECT CASE WHEN n % 6 < 4 THEN 1 ELSE n % 6 - 2 END, n, 'Task ' || n % 1000, 'word' || n % 3000, 1 + n % 2, 1 + n % 5, 1,
				CASE WHEN n % 3 > 0 THEN date '2030-01-01' + n % 500 END, lpad(n::text, 8, '0'),
				now() - n * interval '1 minute', now() - n % 7000 * interval '1 minute'
			FROM generate_series(1, 24000) AS n`,
		`INSERT INTO comments (project_id, task_id, author_id, body, created_at, updated_at)
			SELECT project_id, id, 1 + id % 3, 'Well', created_at, updated_at FROM tasks`,
	)
	return store{&write.DB{DB: db}}
}

func TestTheLastPageCostsWhatTheFirstCosts(t *testing.T) {
	t.Parallel()
	s := deep(t)
	for _, projects := range [][]int64{{1}, {1, 2, 3}} {
		pagetest.SameCost(t, s.db.DB, taskOrders(nil), func(ctx context.Context, q *page.Query[*task]) (page.Page[*task], error) {
			return s.listTasks(ctx, projects, taskFilter{columns: taskColumns().All()}, q)
		})
		pagetest.SameCost(t, s.db.DB, commentOrders(false), func(ctx context.Context, q *page.Query[*comment]) (page.Page[*comment], error) {
			return s.listComments(ctx, commentColumns().All(), projects, 0, q)
		})
	}
	f := taskFilter{columns: taskColumns().All(), search: "word77"}
	orders := taskOrders(&tasksv1.TaskFilter{Search: f.search})
	found := page.List[*task]{orders[0], orders[len(orders)-1]} // by id and by relevance
	pagetest.SameCost(t, s.db.DB, found, func(ctx context.Context, q *page.Query[*task]) (page.Page[*task], error) {
		return s.listTasks(ctx, []int64{1}, f, q)
	})
}

// A search in a large project reads the index over the words, and not the tasks.
func TestASearchReadsItsIndex(t *testing.T) {
	t.Parallel()
	s := deep(t)
	pagetest.Reads(t, s.db.DB, "tasks_search", func(ctx context.Context) error {
		q, err := taskOrders(&tasksv1.TaskFilter{Search: "word77"}).Query(&pagev1.PageRequest{})
		if err != nil {
			return err
		}
		_, err = s.listTasks(ctx, []int64{1}, taskFilter{columns: taskColumns().All(), search: "word77"}, q)
		return err
	})
}
