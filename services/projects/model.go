package projects

import (
	"time"

	"github.com/uptrace/bun"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/page"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	"github.com/trackway/trackway/services/rpc/tags"
)

// project is a row of projects.
type project struct {
	bun.BaseModel `bun:"table:projects,alias:p"`

	ID          int64     `bun:",pk,autoincrement"`
	Version     int64     `bun:",nullzero,default:1"`
	CreatedAt   time.Time `bun:",nullzero,default:now()"`
	UpdatedAt   time.Time `bun:",nullzero,default:now()"`
	Name        string
	Description string
	Visibility  projectsv1.Visibility
	OwnerID     int64
	ArchivedAt  time.Time `bun:",nullzero"`
	DeletedAt   time.Time `bun:",nullzero"`

	// RequireIfMatch makes changes of the project, its tasks and their comments take an expected version.
	RequireIfMatch bool

	// Role is the caller's own in the project, where it was asked for.
	Role auth.Role `bun:",scanonly"`

	// Relevance is how well the project matches a search, where there was one.
	Relevance int64 `bun:",scanonly"`
}

// projectOrders are the orders that lists of projects offer.
func projectOrders(req *projectsv1.ListProjectsRequest) page.List[*project] {
	orders := page.List[*project]{
		{Name: "id", Expr: "p.id", Kind: page.Int, Value: func(p *project) any { return p.ID }},
		{Name: "name", Expr: "p.name", Kind: page.Text, Value: func(p *project) any { return p.Name }},
		{Name: "created_at", Expr: "p.created_at", Kind: page.Time, Value: func(p *project) any { return p.CreatedAt }},
		{Name: "updated_at", Expr: "p.updated_at", Kind: page.Time, Value: func(p *project) any { return p.UpdatedAt }},
	}
	if req.GetDeleted() {
		orders = append(orders, page.Field[*project]{
			Name: "deleted_at", Expr: "p.deleted_at", Kind: page.Time, Value: func(p *project) any { return p.DeletedAt },
		})
	}
	return orders.Searched(req.GetSearch(), func(p *project) int64 { return p.Relevance })
}

// projectColumns are the columns of projects: what says who may do what, and what others are named by; the rest; and the
// text, which may be large.
func projectColumns() page.Columns {
	return page.Columns{
		{"p.id", "p.name", "p.visibility", "p.owner_id", "p.archived_at", "p.require_if_match"},
		{"p.version", "p.created_at", "p.updated_at", "p.deleted_at"},
		{"p.description"},
	}
}

// accessColumns are those that say who may do what.
const accessColumns bun.Safe = "p.id, p.visibility, p.archived_at, p.require_if_match"

// proto is the message. What has not been read is not in it.
func (p *project) proto() *projectsv1.Project {
	return &projectsv1.Project{
		Id: p.ID, Version: p.Version, CreatedAt: timestamp(p.CreatedAt), UpdatedAt: timestamp(p.UpdatedAt),
		Name: p.Name, Description: p.Description, Visibility: p.Visibility, OwnerId: p.OwnerID,
		ArchivedAt: timestamp(p.ArchivedAt), DeletedAt: timestamp(p.DeletedAt), RequireIfMatch: p.RequireIfMatch,
	}
}

// event is what happened to the project: "created", "updated", "deleted" or "restored". What its members know of it and
// their own role changes with it.
func (p *project) event(happened string, members ...int64) events.Event {
	stale := []string{tags.Project(p.ID), tags.Inside(p.ID)}
	for _, id := range members {
		stale = append(stale, tags.Access(id))
	}
	return events.Event{
		Type: "project." + happened, SubjectID: p.ID, ProjectID: p.ID, Version: p.Version, Payload: p.proto(),
		Tags: stale,
	}
}

// member is a row of members.
type member struct {
	bun.BaseModel `bun:"table:members,alias:m"`

	ID        int64     `bun:",pk,autoincrement"`
	Version   int64     `bun:",nullzero,default:1"`
	CreatedAt time.Time `bun:",nullzero,default:now()"`
	UpdatedAt time.Time `bun:",nullzero,default:now()"`
	ProjectID int64
	UserID    int64
	Role      auth.Role
}

// memberOrders are the orders that lists of members offer.
func memberOrders() page.List[*member] {
	return page.List[*member]{
		{Name: "id", Expr: "m.id", Kind: page.Int, Value: func(m *member) any { return m.ID }},
		{Name: "role", Expr: "m.role", Kind: page.Small, Value: func(m *member) any { return int64(m.Role) }},
		{Name: "created_at", Expr: "m.created_at", Kind: page.Time, Value: func(m *member) any { return m.CreatedAt }},
	}
}

func (m *member) proto() *projectsv1.Member {
	return &projectsv1.Member{
		Id: m.ID, Version: m.Version, CreatedAt: timestamppb.New(m.CreatedAt), UpdatedAt: timestamppb.New(m.UpdatedAt),
		ProjectId: m.ProjectID, UserId: m.UserID, Role: projectsv1.Role(m.Role),
	}
}

// event is what happened to the member: "created", "updated" or "deleted".
func (m *member) event(happened string) events.Event {
	return events.Event{
		Type: "member." + happened, SubjectID: m.ID, ProjectID: m.ProjectID, Version: m.Version, Payload: m.proto(),
		Tags:     []string{tags.Access(m.UserID), tags.Members(m.ProjectID)},
		Audience: []int64{m.UserID},
	}
}

// invitation is a row of invitations.
type invitation struct {
	bun.BaseModel `bun:"table:invitations,alias:i"`

	ID         int64     `bun:",pk,autoincrement"`
	Version    int64     `bun:",nullzero,default:1"`
	CreatedAt  time.Time `bun:",nullzero,default:now()"`
	UpdatedAt  time.Time `bun:",nullzero,default:now()"`
	ExpiresAt  time.Time
	ProjectID  int64
	Email      string
	Role       auth.Role
	InviterID  int64
	Hash       []byte
	AcceptedAt time.Time `bun:",nullzero"`
	AcceptedBy int64     `bun:",nullzero"`
	RevokedAt  time.Time `bun:",nullzero"`
}

func (i *invitation) proto() *projectsv1.Invitation {
	return &projectsv1.Invitation{
		Id: i.ID, Version: i.Version, CreatedAt: timestamppb.New(i.CreatedAt), ExpiresAt: timestamppb.New(i.ExpiresAt),
		ProjectId: i.ProjectID, Email: i.Email, Role: projectsv1.Role(i.Role), InviterId: i.InviterID,
	}
}

// event is what happened to the invitation: "created", "accepted" or "revoked". Whom it was sent to is for those who
// manage members, and events are for all of them.
func (i *invitation) event(happened string) events.Event {
	payload := i.proto()
	payload.Email = ""
	return events.Event{
		Type: "invitation." + happened, SubjectID: i.ID, ProjectID: i.ProjectID, Version: i.Version, Payload: payload,
	}
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// protos maps rows to messages.
func protos[R interface{ proto() M }, M proto.Message](rows []R) []M {
	out := make([]M, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.proto())
	}
	return out
}

// pageInfo says where a page lies.
func pageInfo[T any](p page.Page[T]) *pagev1.PageInfo {
	return &pagev1.PageInfo{
		Cursors: p.Cursors, HasNext: p.HasNext, HasPrevious: p.HasPrevious, TotalCount: p.Total,
	}
}
