package users

import (
	"context"
	"testing"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/page"
	"github.com/trackway/trackway/services/platform/page/pagetest"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/write"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

func TestTheLastPageCostsWhatTheFirstCosts(t *testing.T) {
	t.Parallel()
	s := store{db: &write.DB{DB: pagetest.Fill(t, "users", func(ctx context.Context, url string) error {
		return Migrate(ctx, Config{Postgres: postgres.Config{URL: url}}, app.Env{})
	},
		`INSERT INTO users (name, email, role, active, password_hash, created_at, updated_at)
			SELECT 'User ' || n % 1000, 'user' || n || '@example.org', 1 + (n % 11 = 0)::int, n % 3 > 0, '$argon2id$x',
				now() - n * interval '1 minute', now() - n % 7000 * interval '1 minute'
			FROM generate_series(1, 24000) AS n`,
		`INSERT INTO events (type, subject_id, version, payload)
			SELECT CASE WHEN n % 2 > 0 THEN 'session.created' ELSE 'user.updated' END, 1 + n % 3, n, '' FROM generate_series(1, 24000) AS n`,
	)}}
	for _, f := range []userFilter{{}, {role: int32(usersv1.Role_ROLE_ADMIN)}, {active: new(true)}, {active: new(false)}} {
		pagetest.SameCost(t, s.db.DB, userOrders(&usersv1.ListUsersRequest{}), func(ctx context.Context, q *page.Query[*user]) (page.Page[*user], error) {
			return s.list(ctx, f, q)
		})
	}
	for _, user := range []int64{0, 1} { // everybody's, and one user's own
		pagetest.SameCost(t, s.db.DB, eventOrders(), func(ctx context.Context, q *page.Query[*event]) (page.Page[*event], error) {
			return s.listEvents(ctx, user, audited(), q)
		})
	}
}
