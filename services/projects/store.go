package projects

import (
	"context"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/page"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/write"
)

// made is what the database adds to a new row, and moved what it changes in an old one.
const (
	made  = "id, version, created_at, updated_at"
	moved = "version, updated_at"
)

// store holds every SQL statement of the service.
type store struct{ db *write.DB }

// visibleTo selects live projects together with the user's role in each.
func (s store) visibleTo(userID int64) *bun.SelectQuery {
	return s.withRole(userID).Where("p.deleted_at IS NULL")
}

// withRole selects projects, whether or not they are deleted, together with the user's role in each.
func (s store) withRole(userID int64) *bun.SelectQuery {
	return s.db.NewSelect().
		ColumnExpr("?TableColumns, coalesce(mine.role, 0) AS role").
		Join("LEFT JOIN members AS mine ON mine.project_id = p.id AND mine.user_id = ?", userID)
}

// projectOrTrash gives one project, whether or not it is deleted, with the user's role in it.
func (s store) projectOrTrash(ctx context.Context, userID, id int64) (*project, error) {
	p := new(project)
	err := s.withRole(userID).Model(p).Where("p.id = ?", id).Scan(ctx)
	return p, postgres.Error(err, "project")
}

// get gives the projects among the ids that are not deleted, each with the user's role in it.
func (s store) get(ctx context.Context, userID int64, ids ...int64) ([]*project, error) {
	var projects []*project
	err := s.visibleTo(userID).Model(&projects).Where("p.id = ANY(?)", pgdialect.Array(ids)).Scan(ctx)
	return projects, postgres.Error(err, "project")
}

// projectFilter narrows a list of projects.
type projectFilter struct {
	userID   int64
	public   bool // all public projects, and not the user's own
	role     auth.Role
	archived *bool
	search   string
	deleted  bool    // the user's own deleted projects, and not the live ones
	among    []int64 // nil is all
}

// list gives one page of projects.
func (s store) list(ctx context.Context, f projectFilter, q *page.Query[*project]) (page.Page[*project], error) {
	sel := s.withRole(f.userID)
	if f.deleted {
		sel = sel.Where("p.deleted_at IS NOT NULL AND p.owner_id = ?", f.userID)
	} else {
		sel = sel.Where("p.deleted_at IS NULL")
	}
	if f.public {
		sel = sel.Where("p.visibility = 2")
	} else {
		sel = sel.Where("mine.role IS NOT NULL")
	}
	if f.role != auth.NoRole {
		sel = sel.Where("mine.role = ?", f.role)
	}
	if f.archived != nil {
		sel = sel.Where("(p.archived_at IS NOT NULL) = ?", *f.archived)
	}
	if f.among != nil {
		sel = sel.Where("p.id = ANY(?)", pgdialect.Array(f.among))
	}
	p, err := q.Select(ctx, page.Search(sel, f.search))
	return p, postgres.Error(err, "project")
}

// create adds the project, and its owner as the first member.
func (s store) create(ctx context.Context, p *project) error {
	return write.Tx(ctx, s.db, "project", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		if _, err := tx.NewInsert().Model(p).Returning(made).Exec(ctx); err != nil {
			return write.Change{}, err
		}
		m := &member{ProjectID: p.ID, UserID: p.OwnerID, Role: auth.Owner}
		if _, err := tx.NewInsert().Model(m).Returning(made).Exec(ctx); err != nil {
			return write.Change{}, err
		}
		return write.Changed(p.proto(), p.event("created"), m.event("created")), nil
	})
}

// update writes the project's fields over the version it was read at, or is write.ErrRaced.
func (s store) update(ctx context.Context, p *project) error {
	return write.Tx(ctx, s.db, "project", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		members, err := holdMembers(ctx, tx, p.ID)
		if err != nil {
			return write.Change{}, err
		}
		err = write.Row(ctx, tx.NewUpdate().Model(p).
			Column("name", "description", "visibility", "archived_at", "require_if_match").
			Set("version = version + 1, updated_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", p.ID, p.Version).
			Returning(moved))
		return write.Changed(p.proto(), p.event("updated", members...)), err
	})
}

// remove deletes the project softly at the version it was read at, or is write.ErrRaced.
func (s store) remove(ctx context.Context, p *project) error {
	return write.Tx(ctx, s.db, "project", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		members, err := holdMembers(ctx, tx, p.ID)
		if err != nil {
			return write.Change{}, err
		}
		err = write.Row(ctx, tx.NewUpdate().Model(p).
			Set("version = version + 1, updated_at = now(), deleted_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", p.ID, p.Version).
			Returning(moved+", deleted_at"))
		return write.Changed(&emptypb.Empty{}, p.event("deleted", members...)), err
	})
}

// restore takes the project out of the trash at the version it was read at, or is write.ErrRaced.
func (s store) restore(ctx context.Context, p *project) error {
	return write.Tx(ctx, s.db, "project", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		members, err := holdMembers(ctx, tx, p.ID)
		if err != nil {
			return write.Change{}, err
		}
		err = write.Row(ctx, tx.NewUpdate().Model(p).
			Set("version = version + 1, updated_at = now(), deleted_at = NULL").
			Where("id = ? AND version = ? AND deleted_at IS NOT NULL", p.ID, p.Version).
			Returning(moved))
		p.DeletedAt = time.Time{}
		return write.Changed(p.proto(), p.event("restored", members...)), err
	})
}

// holdMembers gives the members of a project that is about to change. Nobody becomes one before the transaction ends:
// their access would be cached as it was before the change, of which they would not be told.
func holdMembers(ctx context.Context, tx bun.Tx, projectID int64) (userIDs []int64, err error) {
	if _, err := tx.NewRaw("SELECT FROM projects WHERE id = ? FOR UPDATE", projectID).Exec(ctx); err != nil {
		return nil, err
	}
	err = tx.NewRaw("SELECT user_id FROM members WHERE project_id = ?", projectID).Scan(ctx, &userIDs)
	return userIDs, err
}

// access gives the user's own roles, by project.
func (s store) access(ctx context.Context, userID int64) ([]*project, error) {
	var projects []*project
	err := s.visibleTo(userID).Model(&projects).Where("mine.role IS NOT NULL").OrderExpr("p.id").Scan(ctx)
	return projects, postgres.Error(err, "project")
}

// membersAmong gives the members of the projects who are among the users.
func (s store) membersAmong(ctx context.Context, projectIDs, userIDs []int64) ([]*member, error) {
	var members []*member
	err := s.db.NewSelect().Model(&members).
		Where("m.project_id = ANY(?) AND m.user_id = ANY(?)", pgdialect.Array(projectIDs), pgdialect.Array(userIDs)).
		Scan(ctx)
	return members, postgres.Error(err, "member")
}

// member gives one member of a project.
func (s store) member(ctx context.Context, projectID, userID int64) (*member, error) {
	m := new(member)
	err := s.db.NewSelect().Model(m).Where("m.project_id = ? AND m.user_id = ?", projectID, userID).Scan(ctx)
	return m, postgres.Error(err, "member")
}

// members gives the same page of each project's members.
func (s store) members(ctx context.Context, projectIDs []int64, role auth.Role, q *page.Query[*member],
) (map[int64]page.Page[*member], error) {
	sel := s.db.NewSelect()
	if role != auth.NoRole {
		sel = sel.Where("m.role = ?", role)
	}
	pages, err := q.SelectEach(ctx, s.db, sel, "project_id", projectIDs, func(m *member) int64 { return m.ProjectID })
	return pages, postgres.Error(err, "member")
}

// createMember adds a member.
func (s store) createMember(ctx context.Context, m *member) error {
	return write.Tx(ctx, s.db, "member", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		_, err := tx.NewInsert().Model(m).Returning(made).Exec(ctx)
		return write.Changed(m.proto(), m.event("created")), err
	})
}

// updateMember writes the member's role over the version it was read at, or is write.ErrRaced.
func (s store) updateMember(ctx context.Context, m *member) error {
	return write.Tx(ctx, s.db, "member", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		err := setRole(ctx, tx, m)
		return write.Changed(m.proto(), m.event("updated")), err
	})
}

func setRole(ctx context.Context, tx bun.Tx, m *member) error {
	return write.Row(ctx, tx.NewUpdate().Model(m).
		Column("role").
		Set("version = version + 1, updated_at = now()").
		Where("id = ? AND version = ?", m.ID, m.Version).
		Returning(moved))
}

// transfer makes the member the owner of the project and its present owner an admin, at the versions they were read
// at, or is write.ErrRaced.
func (s store) transfer(ctx context.Context, p *project, from, to *member) error {
	return write.Tx(ctx, s.db, "project", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		members, err := holdMembers(ctx, tx, p.ID)
		if err != nil {
			return write.Change{}, err
		}
		from.Role, to.Role, p.OwnerID = auth.Admin, auth.Owner, to.UserID
		for _, m := range []*member{from, to} { // in this order: a project has one owner at a time
			if err := setRole(ctx, tx, m); err != nil {
				return write.Change{}, err
			}
		}
		err = write.Row(ctx, tx.NewUpdate().Model(p).
			Column("owner_id").
			Set("version = version + 1, updated_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", p.ID, p.Version).
			Returning(moved))
		return write.Changed(to.proto(), from.event("updated"), to.event("updated"), p.event("updated", members...)), err
	})
}

// removeMember takes the member out at the version it was read at, or is write.ErrRaced.
func (s store) removeMember(ctx context.Context, m *member) error {
	return write.Tx(ctx, s.db, "member", func(ctx context.Context, tx bun.Tx) (write.Change, error) {
		err := write.Row(ctx, tx.NewDelete().Model(m).Where("id = ? AND version = ?", m.ID, m.Version))
		m.Version++ // the deletion is a change of its own
		return write.Changed(&emptypb.Empty{}, m.event("deleted")), err
	})
}
