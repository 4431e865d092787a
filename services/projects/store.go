package projects

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/mail"
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

// visibleTo selects columns of live projects together with the user's role in each.
func (s store) visibleTo(userID int64, columns bun.Safe) *bun.SelectQuery {
	return s.withRole(userID, columns).Where("p.deleted_at IS NULL")
}

// withRole selects columns of projects, whether or not they are deleted, together with the user's role in each.
func (s store) withRole(userID int64, columns bun.Safe) *bun.SelectQuery {
	return s.db.NewSelect().
		ColumnExpr("?, coalesce(mine.role, 0) AS role", columns).
		Join("LEFT JOIN members AS mine ON mine.project_id = p.id AND mine.user_id = ?", postgres.Arg(userID))
}

// projectOrTrash gives one project, whether or not it is deleted, with the user's role in it.
func (s store) projectOrTrash(ctx context.Context, userID, id int64) (*project, error) {
	p := new(project)
	err := s.db.Scan(ctx, s.withRole(userID, projectColumns().All()).Model(p).Where("p.id = ?", postgres.Arg(id)), p)
	return p, postgres.Error(err, "project")
}

// get gives columns of the projects among the ids that are not deleted, each with the user's role in it.
func (s store) get(ctx context.Context, columns bun.Safe, userID int64, ids ...int64) ([]*project, error) {
	var projects []*project
	err := s.db.Scan(ctx, s.visibleTo(userID, columns).Model(&projects).
		Where("p.id = ANY(?)", postgres.ArrayArg(ids)), &projects)
	return projects, postgres.Error(err, "project")
}

// projectFilter narrows a list of projects.
type projectFilter struct {
	columns  bun.Safe // what is read of them
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
	sel := s.withRole(f.userID, f.columns)
	if f.deleted {
		sel = sel.Where("p.deleted_at IS NOT NULL AND p.owner_id = ?", postgres.Arg(f.userID))
	} else {
		sel = sel.Where("p.deleted_at IS NULL")
	}
	if f.public {
		sel = sel.Where("p.visibility = 2")
	} else {
		sel = sel.Where("mine.role IS NOT NULL")
	}
	if f.role != auth.NoRole {
		sel = sel.Where("mine.role = ?", postgres.Arg(f.role))
	}
	if f.archived != nil {
		sel = sel.Where("(p.archived_at IS NOT NULL) = ?", postgres.Arg(*f.archived))
	}
	if f.among != nil {
		sel = sel.Where("p.id = ANY(?)", postgres.ArrayArg(f.among))
	}
	p, err := q.Select(ctx, s.db, page.Search(sel, f.search))
	return p, postgres.Error(err, "project")
}

// create adds the project, and its owner as the first member.
func (s store) create(ctx context.Context, p *project) error {
	return write.Tx(ctx, s.db, "project", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
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

// update writes the project's fields, of which these have changed, over the version it was read at, or is
// write.ErrRaced.
func (s store) update(ctx context.Context, p *project, changed []string) error {
	return write.Tx(ctx, s.db, "project", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		members, err := holdMembers(ctx, tx, p.ID)
		if err != nil {
			return write.Change{}, err
		}
		err = write.Row(ctx, tx, p, tx.NewUpdate().Model(p).
			Column("name", "description", "visibility", "archived_at", "require_if_match").
			Set("version = version + 1, updated_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", postgres.Arg(p.ID), postgres.Arg(p.Version)).
			Returning(moved))
		e := p.event("updated", members...)
		e.Changed = changed
		return write.Changed(p.proto(), e), err
	})
}

// remove deletes the project softly at the version it was read at, or is write.ErrRaced.
func (s store) remove(ctx context.Context, p *project) error {
	return write.Tx(ctx, s.db, "project", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		members, err := holdMembers(ctx, tx, p.ID)
		if err != nil {
			return write.Change{}, err
		}
		err = write.Row(ctx, tx, p, tx.NewUpdate().Model(p).
			Set("version = version + 1, updated_at = now(), deleted_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", postgres.Arg(p.ID), postgres.Arg(p.Version)).
			Returning(moved+", deleted_at"))
		e := p.event("deleted", members...)
		e.Audience = members
		return write.Changed(&emptypb.Empty{}, e), err
	})
}

// restore takes the project out of the trash at the version it was read at, or is write.ErrRaced.
func (s store) restore(ctx context.Context, p *project) error {
	return write.Tx(ctx, s.db, "project", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		members, err := holdMembers(ctx, tx, p.ID)
		if err != nil {
			return write.Change{}, err
		}
		err = write.Row(ctx, tx, p, tx.NewUpdate().Model(p).
			Set("version = version + 1, updated_at = now(), deleted_at = NULL").
			Where("id = ? AND version = ? AND deleted_at IS NOT NULL", postgres.Arg(p.ID), postgres.Arg(p.Version)).
			Returning(moved))
		p.DeletedAt = time.Time{}
		return write.Changed(p.proto(), p.event("restored", members...)), err
	})
}

// holdMembers gives the members of a project that is about to change. Nobody becomes one before the transaction ends:
// their access would be cached as it was before the change, of which they would not be told.
func holdMembers(ctx context.Context, tx postgres.Tx, projectID int64) (userIDs []int64, err error) {
	if _, err := tx.NewRaw("SELECT FROM projects WHERE id = ? FOR UPDATE", projectID).Exec(ctx); err != nil {
		return nil, err
	}
	err = tx.NewRaw("SELECT user_id FROM members WHERE project_id = ?", projectID).Scan(ctx, &userIDs)
	return userIDs, err
}

// maxAccess is in how many projects at most it is said at once what a user is. Others can make somebody a member of any
// number.
const maxAccess = 10_000

// access gives the user's own roles, by project, and of the projects no more than decides on access: of those among the
// ids, or without ids of all.
func (s store) access(ctx context.Context, userID int64, ids ...int64) ([]*project, error) {
	var projects []*project
	sel := s.db.NewSelect().Model(&projects).
		Column("id", "visibility", "archived_at", "require_if_match").ColumnExpr("mine.role").
		Join("JOIN members AS mine ON mine.project_id = p.id AND mine.user_id = ?", postgres.Arg(userID)).
		Where("p.deleted_at IS NULL").OrderExpr("p.id").Limit(maxAccess)
	if len(ids) > 0 {
		sel = sel.Where("p.id = ANY(?)", postgres.ArrayArg(ids))
	}
	err := s.db.Scan(ctx, sel, &projects)
	return projects, postgres.Error(err, "project")
}

// membersAmong gives the members of the projects who are among the users.
func (s store) membersAmong(ctx context.Context, projectIDs, userIDs []int64) ([]*member, error) {
	var members []*member
	err := s.db.Scan(ctx, s.db.NewSelect().Model(&members).
		Where("m.project_id = ANY(?) AND m.user_id = ANY(?)", postgres.ArrayArg(projectIDs), postgres.ArrayArg(userIDs)), &members)
	return members, postgres.Error(err, "member")
}

// member gives one member of a project.
func (s store) member(ctx context.Context, projectID, userID int64) (*member, error) {
	m := new(member)
	err := s.db.Scan(ctx, s.db.NewSelect().Model(m).
		Where("m.project_id = ? AND m.user_id = ?", postgres.Arg(projectID), postgres.Arg(userID)), m)
	return m, postgres.Error(err, "member")
}

// members gives the same page of each project's members.
func (s store) members(ctx context.Context, projectIDs []int64, role auth.Role, q *page.Query[*member],
) (map[int64]page.Page[*member], error) {
	sel := s.db.NewSelect()
	if role != auth.NoRole {
		sel = sel.Where("m.role = ?", postgres.Arg(role))
	}
	pages, err := q.SelectEach(ctx, s.db, sel, "project_id", projectIDs, func(m *member) int64 { return m.ProjectID })
	return pages, postgres.Error(err, "member")
}

// membersWith gives the members who have one of the roles, the owner first.
func (s store) membersWith(ctx context.Context, projectID int64, roles []auth.Role, most int64) ([]*member, error) {
	var members []*member
	err := s.db.NewSelect().Model(&members).Where("m.project_id = ? AND m.role = ANY(?)", projectID, pgdialect.Array(roles)).
		OrderExpr("m.role DESC, m.id").Limit(most).Scan(ctx)
	return members, postgres.Error(err, "member")
}

// createMember adds a member.
func (s store) createMember(ctx context.Context, m *member) error {
	return write.Tx(ctx, s.db, "member", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		_, err := tx.NewInsert().Model(m).Returning(made).Exec(ctx)
		return write.Changed(m.proto(), m.event("created")), err
	})
}

// updateMember writes the member's role over the version it was read at, or is write.ErrRaced.
func (s store) updateMember(ctx context.Context, m *member) error {
	return write.Tx(ctx, s.db, "member", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		if err := setRole(ctx, tx, m); err != nil {
			return write.Change{}, err
		}
		var ended []events.Event
		if !m.Role.Allows(auth.ManageMembers) {
			var err error
			if ended, err = revokeOf(ctx, tx, m); err != nil {
				return write.Change{}, err
			}
		}
		return write.Changed(m.proto(), append(ended, m.event("updated"))...), nil
	})
}

func setRole(ctx context.Context, tx postgres.Tx, m *member) error {
	return write.Row(ctx, tx, m, tx.NewUpdate().Model(m).
		Column("role").
		Set("version = version + 1, updated_at = now()").
		Where("id = ? AND version = ?", postgres.Arg(m.ID), postgres.Arg(m.Version)).
		Returning(moved))
}

// transfer makes the member the owner of the project and its present owner an admin, at the versions they were read
// at, or is write.ErrRaced.
func (s store) transfer(ctx context.Context, p *project, from, to *member) error {
	return write.Tx(ctx, s.db, "project", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
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
		err = write.Row(ctx, tx, p, tx.NewUpdate().Model(p).
			Column("owner_id").
			Set("version = version + 1, updated_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", postgres.Arg(p.ID), postgres.Arg(p.Version)).
			Returning(moved))
		return write.Changed(to.proto(), from.event("updated"), to.event("updated"), p.event("updated", members...)), err
	})
}

// removeMember takes the member out at the version it was read at, or is write.ErrRaced.
func (s store) removeMember(ctx context.Context, m *member) error {
	return write.Tx(ctx, s.db, "member", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		if err := write.Row(ctx, tx, m, tx.NewDelete().Model(m).Where("id = ? AND version = ?", m.ID, m.Version).Returning("id")); err != nil {
			return write.Change{}, err
		}
		ended, err := revokeOf(ctx, tx, m)
		m.Version++ // the deletion is a change of its own
		return write.Changed(&emptypb.Empty{}, append(ended, m.event("deleted"))...), err
	})
}

// open are invitations that can still be accepted, or revoked.
const open = "i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now()"

// maxInvitations is how many open invitations of a project are given.
const maxInvitations = 200

// invitation gives an open invitation to a project.
func (s store) invitation(ctx context.Context, projectID, id int64) (*invitation, error) {
	i := new(invitation)
	err := s.db.NewSelect().Model(i).Where("i.project_id = ? AND i.id = ?", projectID, id).Where(open).Scan(ctx)
	return i, postgres.Error(err, "invitation")
}

// invitations gives the open invitations to a project.
func (s store) invitations(ctx context.Context, projectID int64) ([]*invitation, error) {
	var all []*invitation
	err := s.db.NewSelect().Model(&all).Where("i.project_id = ?", projectID).Where(open).
		OrderExpr("i.id DESC").Limit(maxInvitations).Scan(ctx)
	return all, postgres.Error(err, "invitation")
}

// invitationByHash gives an invitation to a project that is not deleted, open or not.
func (s store) invitationByHash(ctx context.Context, hash []byte) (*invitation, error) {
	i := new(invitation)
	err := s.db.NewSelect().Model(i).
		Join("JOIN projects AS p ON p.id = i.project_id AND p.deleted_at IS NULL").
		Where("i.hash = ?", hash).Scan(ctx)
	return i, postgres.Error(err, "invitation")
}

// createInvitation adds the invitation, ends what the address had been sent for the project before, and queues the mail;
// or is RateLimited. It is write.ErrRaced when the inviter is not any more what they were in the project.
func (s store) createInvitation(ctx context.Context, i *invitation, inviter auth.Role, m mail.Message) error {
	return write.Tx(ctx, s.db, "invitation", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		if err := holdInviter(ctx, tx, i, inviter); err != nil {
			return write.Change{}, err
		}
		// One inviter's come one after the other, and one address', so that they can be counted.
		var anHour, toOne, mails int
		_, err := tx.NewRaw("SELECT pg_advisory_xact_lock(hashtextextended('invitations by', ?)), "+
			"pg_advisory_xact_lock(hashtextextended('invitations to ' || lower(?), 0))", i.InviterID, i.Email).Exec(ctx)
		if err != nil {
			return write.Change{}, err
		}
		err = tx.NewRaw(`SELECT
			(SELECT count(*) FROM invitations WHERE inviter_id = ? AND created_at > now() - interval '1 hour'),
			(SELECT count(*) FROM invitations WHERE lower(email) = lower(?) AND inviter_id = ? AND created_at > now() - interval '1 day'),
			(SELECT count(*) FROM invitations WHERE lower(email) = lower(?) AND created_at > now() - interval '1 day')`,
			i.InviterID, i.Email, i.InviterID, i.Email).Scan(ctx, &anHour, &toOne, &mails)
		if err != nil {
			return write.Change{}, err
		}
		if anHour >= invitationsAnHour || toOne >= invitationsToOne {
			e := errs.New(errs.RateLimited, "You have sent too many invitations. Try again later.")
			e.Retry = time.Hour
			return write.Change{}, e
		}
		happened, err := revokeWhere(ctx, tx, "i.project_id = ? AND lower(i.email) = lower(?)", i.ProjectID, i.Email)
		if err != nil {
			return write.Change{}, err
		}
		if _, err := tx.NewInsert().Model(i).Returning(made).Exec(ctx); err != nil {
			return write.Change{}, err
		}
		if mails < mailsToOne {
			if err := mail.Queue(ctx, tx, m); err != nil {
				return write.Change{}, err
			}
		}
		return write.Changed(i.proto(), append(happened, i.event("created"))...), nil
	})
}

// holdInviter makes whoever takes the inviter's role away wait for the end of the transaction: what it adds ends with the
// role, too. The project comes first, as where it is handed over.
func holdInviter(ctx context.Context, tx postgres.Tx, i *invitation, role auth.Role) error {
	if role == auth.NoRole {
		return nil // a global admin, who has none to lose
	}
	m := new(member)
	return errors.Join(
		tx.Later(ctx, tx.NewRaw("SELECT FROM projects WHERE id = ? FOR KEY SHARE", postgres.Arg(i.ProjectID))),
		write.Row(ctx, tx, m, tx.NewSelect().Model(m).Column("id").
			Where("m.project_id = ? AND m.user_id = ? AND m.role = ?",
				postgres.Arg(i.ProjectID), postgres.Arg(i.InviterID), postgres.Arg(role)).For("SHARE")),
	)
}

// revokeInvitation ends an open invitation, or is write.ErrRaced.
func (s store) revokeInvitation(ctx context.Context, i *invitation) error {
	return write.Tx(ctx, s.db, "invitation", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		happened, err := revokeWhere(ctx, tx, "i.project_id = ? AND i.id = ?", i.ProjectID, i.ID)
		if err == nil && len(happened) == 0 {
			err = write.ErrRaced
		}
		return write.Changed(&emptypb.Empty{}, happened...), err
	})
}

// revokeWhere ends those invitations that have neither been accepted nor revoked.
func revokeWhere(ctx context.Context, tx postgres.Tx, where string, args ...any) ([]events.Event, error) {
	var ended []*invitation
	_, err := tx.NewUpdate().Model(&ended).
		Set("version = version + 1, updated_at = now(), revoked_at = now()").
		Where("i.accepted_at IS NULL AND i.revoked_at IS NULL").Where(where, args...).
		Returning("*").Exec(ctx)
	happened := make([]events.Event, 0, len(ended))
	for _, i := range ended {
		happened = append(happened, i.event("revoked"))
	}
	return happened, err
}

// revokeOf ends the invitations of a member who may not invite any more.
func revokeOf(ctx context.Context, tx postgres.Tx, m *member) ([]events.Event, error) {
	return revokeWhere(ctx, tx, "i.project_id = ? AND i.inviter_id = ?", m.ProjectID, m.UserID)
}

// acceptInvitation uses the invitation up, and adds the member.
func (s store) acceptInvitation(ctx context.Context, i *invitation, m *member) error {
	return write.Tx(ctx, s.db, "member", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		i.AcceptedBy = m.UserID
		err := write.Row(ctx, tx, i, tx.NewUpdate().Model(i).
			Column("accepted_by").
			Set("version = version + 1, updated_at = now(), accepted_at = now()").
			Where("i.project_id = ? AND i.id = ?", postgres.Arg(i.ProjectID), postgres.Arg(i.ID)).Where(open).
			Returning(moved))
		if errors.Is(err, write.ErrRaced) {
			err = errs.New(errs.Conflict, "The invitation has just been used or ended.")
		}
		if err != nil {
			return write.Change{}, err
		}
		if _, err := tx.NewInsert().Model(m).Returning(made).Exec(ctx); err != nil {
			return write.Change{}, err
		}
		return write.Changed(m.proto(), m.event("created"), i.event("accepted")), nil
	})
}

// purgeBatch is how many projects one transaction purges. Events of all services wait for the end of each that is under way.
const purgeBatch = 20

// purge deletes some of the projects that were deleted longer than keep ago, with their members and invitations, and tells
// whether there may be more. One that somebody is restoring it leaves, and what it deletes nobody restores meanwhile.
func (s store) purge(ctx context.Context, keep time.Duration) (more bool, err error) {
	err = write.Tx(ctx, s.db, "project", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		var ids []int64
		err := tx.NewRaw(`SELECT id FROM projects WHERE deleted_at < now() - ? * interval '1 second'
			ORDER BY deleted_at LIMIT ? FOR UPDATE SKIP LOCKED`, keep.Seconds(), purgeBatch).Scan(ctx, &ids)
		more = len(ids) == purgeBatch
		if err != nil || len(ids) == 0 {
			return write.Change{}, err
		}
		for _, statement := range []string{
			"DELETE FROM invitations WHERE project_id = ANY(?)",
			"DELETE FROM members WHERE project_id = ANY(?)",
			"INSERT INTO purged_projects (id) SELECT unnest(?::bigint[])",
			"DELETE FROM projects WHERE id = ANY(?)",
		} {
			if _, err := tx.NewRaw(statement, pgdialect.Array(ids)).Exec(ctx); err != nil {
				return write.Change{}, err
			}
		}
		return write.Change{}, nil
	})
	if err != nil {
		return false, fmt.Errorf("purge projects: %w", err)
	}
	return more, nil
}

// purged gives those of the projects that were purged.
func (s store) purged(ctx context.Context, ids []int64) (purged []int64, err error) {
	err = s.db.NewRaw("SELECT id FROM purged_projects WHERE id = ANY(?)", pgdialect.Array(ids)).Scan(ctx, &purged)
	return purged, postgres.Error(err, "project")
}
