package projects

import (
	"context"
	"testing"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/page"
	"github.com/trackway/trackway/services/platform/page/pagetest"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/write"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

func TestTheLastPageCostsWhatTheFirstCosts(t *testing.T) {
	t.Parallel()
	// User 1 owns most projects, many of them public and some in the trash, and everybody is in project 1.
	s := store{&write.DB{DB: pagetest.Fill(t, "projects", func(ctx context.Context, url string) error {
		return Migrate(ctx, Config{Postgres: postgres.Config{URL: url}}, app.Env{})
	},
		`INSERT INTO projects (name, description, visibility, owner_id, archived_at, deleted_at, created_at, updated_at)
			SELECT 'Project ' || n % 1000, 'word' || n % 3000, 1 + n % 2, CASE WHEN n % 5 > 0 THEN 1 ELSE n END,
				CASE WHEN n % 7 = 0 THEN now() END, CASE WHEN n % 4 = 2 THEN now() - n % 5000 * interval '1 minute' END,
				now() - n * interval '1 minute', now() - n % 7000 * interval '1 minute'
			FROM generate_series(1, 24000) AS n`,
		`INSERT INTO members (project_id, user_id, role) SELECT id, owner_id, 5 FROM projects`,
		`INSERT INTO members (project_id, user_id, role, created_at)
			SELECT 1, 100000 + n, 1 + n % 4, now() - n % 7000 * interval '1 minute' FROM generate_series(1, 24000) AS n`,
	)}}
	list := func(f projectFilter) func(context.Context, *page.Query[*project]) (page.Page[*project], error) {
		return func(ctx context.Context, q *page.Query[*project]) (page.Page[*project], error) {
			return s.list(ctx, f, q)
		}
	}
	live := projectOrders(&projectsv1.ListProjectsRequest{})
	pagetest.SameCost(t, s.db.DB, live, list(projectFilter{columns: projectColumns().All(), userID: 7, public: true}))
	trash := projectOrders(&projectsv1.ListProjectsRequest{Deleted: true})
	pagetest.SameCost(t, s.db.DB, trash, list(projectFilter{columns: projectColumns().All(), userID: 1, deleted: true}))
	// The user's own come by their memberships: no index has both these and the names. Nobody is in very many.
	pagetest.SameCost(t, s.db.DB, live[:1], list(projectFilter{columns: projectColumns().All(), userID: 1}))
	pagetest.NoDearer(t, s.db.DB, live, list(projectFilter{columns: projectColumns().All(), userID: 1}))
	for _, role := range []auth.Role{auth.NoRole, auth.Member} {
		pagetest.SameCost(t, s.db.DB, memberOrders(), func(ctx context.Context, q *page.Query[*member]) (page.Page[*member], error) {
			pages, err := s.members(ctx, []int64{1}, role, q)
			return pages[1], err
		})
	}
}
