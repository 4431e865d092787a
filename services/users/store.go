package users

import (
	"context"
	"slices"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/page"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/write"
)

// store holds every SQL statement of the service.
type store struct{ db *postgres.DB }

// live selects the users that are not deleted.
func (s store) live() *bun.SelectQuery { return s.db.NewSelect().Where("u.deleted_at IS NULL") }

// get gives one user.
func (s store) get(ctx context.Context, id int64) (*user, error) {
	u := new(user)
	err := s.live().Model(u).Where("u.id = ?", id).Scan(ctx)
	return u, postgres.Error(err, "user")
}

// getByEmail gives the user with the address, in whatever case it is written.
func (s store) getByEmail(ctx context.Context, email string) (*user, error) {
	u := new(user)
	err := s.live().Model(u).Where("lower(u.email) = lower(?)", email).Scan(ctx)
	return u, postgres.Error(err, "user")
}

// batchGet gives the users among the ids that exist.
func (s store) batchGet(ctx context.Context, ids []int64) ([]*user, error) {
	var users []*user
	err := s.live().Model(&users).Where("u.id = ANY(?)", pgdialect.Array(ids)).Scan(ctx)
	return users, postgres.Error(err, "user")
}

// userFilter narrows a list of users.
type userFilter struct {
	search string
	active *bool
	role   int32
}

// list gives one page of users.
func (s store) list(ctx context.Context, f userFilter, q *page.Query[*user]) (page.Page[*user], error) {
	sel := s.live()
	if f.search != "" {
		sel = sel.Where("u.search @@ to_tsquery('simple', ?)", postgres.Prefixes(f.search))
	}
	if f.active != nil {
		sel = sel.Where("u.active = ?", *f.active)
	}
	if f.role != 0 {
		sel = sel.Where("u.role = ?", f.role)
	}
	p, err := q.Select(ctx, sel)
	return p, postgres.Error(err, "user")
}

// create adds the user. The answer has the e-mail: whoever makes an account knows it.
func (s store) create(ctx context.Context, u *user) error {
	return write.Tx(ctx, s.db, "user", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		_, err := tx.NewInsert().Model(u).Returning("id, version, created_at, updated_at").Exec(ctx)
		return write.Changed(u.proto(u.caller()), u.event("created")), err
	})
}

// update writes the user's fields over the version it was read at, or is write.ErrRaced. When resigns is set, another
// admin has to remain.
func (s store) update(ctx context.Context, u *user, resigns bool) error {
	return write.Tx(ctx, s.db, "user", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		if resigns {
			if err := requireOtherAdmin(ctx, tx, u.ID); err != nil {
				return write.Change{}, err
			}
		}
		err := write.Row(ctx, tx.NewUpdate().Model(u).
			Column("name", "email", "role", "active", "password_hash").
			Set("version = version + 1, updated_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", u.ID, u.Version).
			Returning("version, updated_at"))
		return write.Changed(u.proto(auth.CallerFrom(ctx)), u.event("updated")), err
	})
}

// remove deletes the user softly at the version it was read at, or is write.ErrRaced. When resigns is set, another
// admin has to remain.
func (s store) remove(ctx context.Context, u *user, resigns bool) error {
	return write.Tx(ctx, s.db, "user", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		if resigns {
			if err := requireOtherAdmin(ctx, tx, u.ID); err != nil {
				return write.Change{}, err
			}
		}
		err := write.Row(ctx, tx.NewUpdate().Model(u).
			Set("version = version + 1, updated_at = now(), deleted_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", u.ID, u.Version).
			Returning("version, updated_at"))
		return write.Changed(&emptypb.Empty{}, u.event("deleted")), err
	})
}

// requireOtherAdmin is a Conflict when the user is the only active admin. It locks the rows of all of them, in one
// order, so that of admins who resign at the same time each sees what those before it have done.
func requireOtherAdmin(ctx context.Context, tx bun.Tx, id int64) error {
	var admins []int64
	err := tx.NewSelect().Model((*user)(nil)).Column("id").
		Where("u.role = 2 AND u.active AND u.deleted_at IS NULL").
		OrderExpr("u.id").For("UPDATE").Scan(ctx, &admins)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(admins, func(other int64) bool { return other != id }) {
		return errs.New(errs.Conflict, "This is the last active administrator. Make another user one first.")
	}
	return nil
}

// createSession adds the session. It is not a write of write.Tx: the answer of a sign-in is tokens, which are not
// stored, and a sign-in changes nothing that others see.
func (s store) createSession(ctx context.Context, ses *session) error {
	_, err := s.db.NewInsert().Model(ses).Returning("id, created_at").Exec(ctx)
	return postgres.Error(err, "session")
}
