package rest

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trackway/trackway/services/platform/auth"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// Member is a user's place in a project.
type Member struct {
	Meta

	ProjectID int64      `json:"project_id" minimum:"1" example:"1" doc:"The project."`
	UserID    int64      `json:"user_id" minimum:"1" example:"2" doc:"The user."`
	Role      MemberRole `json:"role" example:"member" doc:"What the user may do in the project; each role includes those before it."`
}

func newMember(m *projectsv1.Member) Member {
	return Member{
		Meta: newMeta(m), ProjectID: m.GetProjectId(), UserID: m.GetUserId(), Role: memberRoles.rest(m.GetRole()),
	}
}

// MemberShape is how members are to be given.
type MemberShape struct {
	Selection[Member]
	Permitted

	Expand []string `query:"expand" enum:"user" maxItems:"1" doc:"What to embed beside its id; null where there is nothing that the caller may see."`
}

func (Member) beside(r huma.Registry) map[string]*huma.Schema {
	return map[string]*huma.Schema{
		"user":          embedded[User](r, "The user; with expand=user."),
		permissionsName: may[MemberPermissions](r),
	}
}

// MemberPermissions is what the caller may do with a member now.
type MemberPermissions struct {
	Update bool `json:"update" doc:"Change the role."`
	Delete bool `json:"delete" doc:"Take the user out of the project."`
}

func (a *api) viewMembers(ctx context.Context, s *MemberShape, members []*projectsv1.Member) ([]View[Member], error) {
	var (
		people []int64
		users  map[int64]*User
		roles  map[int64]access
		err    error
	)
	if len(s.Expand) > 0 {
		people = each(members, (*projectsv1.Member).GetUserId)
	}
	if users, err = a.usersOf(ctx, people); err != nil {
		return nil, err
	}
	if s.Permissions {
		if roles, err = a.accessTo(ctx, each(members, (*projectsv1.Member).GetProjectId)); err != nil {
			return nil, err
		}
	}
	views := make([]View[Member], 0, len(members))
	for _, m := range members {
		v := newView(newMember(m), s.Selection)
		if len(s.Expand) > 0 {
			v.add("user", users[m.GetUserId()])
		}
		if in := roles[m.GetProjectId()]; s.Permissions {
			// A project keeps its owner, until another member is made the owner.
			stays := m.GetRole() == projectsv1.Role_ROLE_OWNER
			self := m.GetUserId() == auth.CallerFrom(ctx).UserID
			v.add(permissionsName, MemberPermissions{
				Update: !stays && in.allows(auth.ManageMembers),
				Delete: !stays && (in.allows(auth.ManageMembers) || self && in.allows(auth.ReadProject)),
			})
		}
		views = append(views, v)
	}
	return views, nil
}

func (a *api) registerMembers() {
	const (
		all = "/api/projects/{id}/members/"
		one = "/api/projects/{id}/members/{user_id}/"
	)
	register(a, operation(http.MethodGet, all, "listMembers", tagMembers, "List the members of a project",
		"Gives who belongs to a project, in which role."), a.listMembers)
	register(a, operation(http.MethodPost, all, "createMember", tagMembers, "Add a member",
		"Takes a user into a project."), a.createMember)
	register(a, operation(http.MethodGet, one, "getMember", tagMembers, "Get a member", "Gives one member."), a.getMember)
	register(a, operation(http.MethodPut, one, "replaceMember", tagMembers, "Replace a member",
		"Replaces the role; member when absent."), a.replaceMember)
	register(a, operation(http.MethodPatch, one, "updateMember", tagMembers, "Change a member",
		"Changes the role, if it is given (RFC 7396)."), a.updateMember)
	register(a, operation(http.MethodDelete, one, "deleteMember", tagMembers, "Remove a member",
		"Takes a user out of a project. Members may take themselves out; the owner stays."), a.deleteMember)
}

type memberList struct {
	ID
	Listing
	MemberShape

	Ordering []string   `query:"ordering" enum:"id,-id,role,-role,created_at,-created_at" maxItems:"6" doc:"The order: fields, each falling when preceded by a minus. By id when absent."`
	Role     MemberRole `query:"role" doc:"Only members with this role."`
}

func (a *api) listMembers(ctx context.Context, in *memberList) (*List[View[Member]], error) {
	res, err := a.projects.ListMembers(ctx, &projectsv1.ListMembersRequest{
		Page: in.request(in.Ordering), ProjectId: in.ID.ID, Role: memberRoles.proto(in.Role),
	})
	if err != nil {
		return nil, err
	}
	tell(ctx, in.ID.ID)
	views, err := a.viewMembers(ctx, &in.MemberShape, res.GetMembers())
	return listOf(&in.Listing, views, res.GetPage()), err
}

// MemberID are the ids in the path of a member.
type MemberID struct {
	ID

	UserID int64 `path:"user_id" minimum:"1" example:"2" doc:"The id of the user."`
}

type memberGet struct {
	MemberID
	MemberShape
}

func (a *api) getMember(ctx context.Context, in *memberGet) (*Read[View[Member]], error) {
	m, err := a.projects.GetMember(ctx, &projectsv1.GetMemberRequest{ProjectId: in.ID.ID, UserId: in.UserID})
	if err != nil {
		return nil, err
	}
	views, err := a.viewMembers(ctx, &in.MemberShape, []*projectsv1.Member{m})
	return readView(m, views), err
}

// MemberCreation is what makes a member.
type MemberCreation struct {
	UserID int64      `json:"user_id" minimum:"1" example:"2" doc:"The user."`
	Role   MemberRole `json:"role,omitempty" nullable:"true" doc:"What the user may do in the project; member when absent."`
}

type memberCreate struct {
	ID
	Create[MemberCreation]
}

func (a *api) createMember(ctx context.Context, in *memberCreate) (*Created[Member], error) {
	out, err := create(ctx, in.Keyed, "", a.projects.CreateMember, &projectsv1.CreateMemberRequest{
		ProjectId: in.ID.ID, UserId: in.Body.UserID, Role: memberRoles.proto(in.Body.Role),
	}, newMember)
	if err != nil {
		return nil, err
	}
	// A member is found by its user.
	out.Location = fmt.Sprintf("/api/projects/%d/members/%d/", in.ID.ID, in.Body.UserID)
	return out, nil
}

// MemberReplacement is what replaces a member.
type MemberReplacement struct {
	UserID Change[int64]      `json:"user_id,omitzero" minimum:"1" example:"2" doc:"The user, as in the path; may be absent."`
	Role   Change[MemberRole] `json:"role,omitzero" nullable:"true" doc:"What the user may do in the project; member when absent."`
}

type memberReplace struct {
	MemberID
	Write[MemberReplacement]
}

func (a *api) replaceMember(ctx context.Context, in *memberReplace) (*Changed[Member], error) {
	if err := stays(ctx, "user_id", in.Body.UserID, func(context.Context) (int64, error) { return in.UserID, nil }); err != nil {
		return nil, err
	}
	return a.updateMember(ctx, &memberUpdate{in.MemberID, Write[MemberPatch]{in.Keyed, in.Conditional, MemberPatch{
		Role: in.Body.Role.replace(),
	}}})
}

// MemberPatch changes a member.
type MemberPatch struct {
	Role Change[MemberRole] `json:"role,omitzero" nullable:"true" doc:"What the user may do in the project."`
}

type memberUpdate struct {
	MemberID
	Write[MemberPatch]
}

func (a *api) updateMember(ctx context.Context, in *memberUpdate) (*Changed[Member], error) {
	var (
		p   patch
		req = &projectsv1.UpdateMemberRequest{ProjectId: in.ID.ID, UserId: in.UserID}
		err error
	)
	setEnumOr(&p, "role", in.Body.Role, &req.Role, memberRoles, projectsv1.Role_ROLE_MEMBER)
	if req.UpdateMask, err = p.mask(); err != nil {
		return nil, err
	}
	if req.ExpectedVersion, err = in.expected(ctx, a.memberVersion(in.MemberID)); err != nil {
		return nil, err
	}
	return change(ctx, in.Keyed, a.projects.UpdateMember, req, newMember)
}

type memberDelete struct {
	MemberID
	Delete
}

func (a *api) deleteMember(ctx context.Context, in *memberDelete) (*Written, error) {
	expected, err := in.expected(ctx, a.memberVersion(in.MemberID))
	if err != nil {
		return nil, err
	}
	return remove(ctx, in.Keyed, a.projects.DeleteMember, &projectsv1.DeleteMemberRequest{
		ProjectId: in.ID.ID, UserId: in.UserID, ExpectedVersion: expected,
	})
}

func (a *api) memberVersion(id MemberID) versionOf {
	return func(ctx context.Context) (int64, error) {
		m, err := a.projects.GetMember(ctx, &projectsv1.GetMemberRequest{ProjectId: id.ID.ID, UserId: id.UserID})
		return m.GetVersion(), err
	}
}
