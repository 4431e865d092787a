package projects

import (
	"cmp"
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/write"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// GetMember gives one member of a project.
func (s *service) GetMember(ctx context.Context, req *projectsv1.GetMemberRequest) (*projectsv1.Member, error) {
	if _, err := s.require(ctx, req.GetProjectId(), auth.ReadProject); err != nil {
		return nil, err
	}
	m, err := s.store.member(ctx, req.GetProjectId(), req.GetUserId())
	if err != nil {
		return nil, err
	}
	return m.proto(), nil
}

// ListMembers gives one page of a project's members.
func (s *service) ListMembers(ctx context.Context, req *projectsv1.ListMembersRequest) (*projectsv1.ListMembersResponse, error) {
	q, err := memberOrders().Query(req.GetPage())
	if err != nil {
		return nil, err
	}
	if _, err := s.require(ctx, req.GetProjectId(), auth.ReadProject); err != nil {
		return nil, err
	}
	pages, err := s.store.members(ctx, []int64{req.GetProjectId()}, auth.Role(req.GetRole()), q)
	if err != nil {
		return nil, err
	}
	p := pages[req.GetProjectId()]
	return &projectsv1.ListMembersResponse{Members: protos(p.Rows), Page: pageInfo(p)}, nil
}

// BatchListMembers gives the same page of several projects' members.
func (s *service) BatchListMembers(ctx context.Context, req *projectsv1.BatchListMembersRequest) (*projectsv1.BatchListMembersResponse, error) {
	q, err := memberOrders().Query(req.GetPage())
	if err != nil {
		return nil, err
	}
	readable, err := s.readable(ctx, accessColumns, req.GetProjectIds(), "project_ids", maxLists)
	if err != nil {
		return nil, err
	}
	pages, err := s.store.members(ctx, ids(readable), auth.Role(req.GetRole()), q)
	if err != nil {
		return nil, err
	}
	answer := &projectsv1.BatchListMembersResponse{Pages: make([]*projectsv1.MemberPage, 0, len(pages))}
	for id, p := range pages {
		answer.Pages = append(answer.Pages, &projectsv1.MemberPage{ParentId: id, Members: protos(p.Rows), Page: pageInfo(p)})
	}
	return answer, nil
}

// CreateMember adds a user to a project.
func (s *service) CreateMember(ctx context.Context, req *projectsv1.CreateMemberRequest) (*projectsv1.Member, error) {
	m := &member{
		ProjectID: req.GetProjectId(), UserID: req.GetUserId(), Role: cmp.Or(auth.Role(req.GetRole()), auth.Member),
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	if _, err := s.require(ctx, m.ProjectID, auth.ManageMembers); err != nil {
		return nil, err
	}
	if m.Role == auth.Owner {
		return nil, errs.New(errs.Conflict, "The project has an owner. Make the user a member, and then the owner.")
	}
	_, err := s.users.GetUser(ctx, &usersv1.GetUserRequest{Id: m.UserID})
	if errs.Is(err, errs.NotFound) {
		return nil, errs.InvalidField("user_id", "names no user")
	} else if err != nil {
		return nil, err
	}
	if err := s.store.createMember(ctx, m); err != nil {
		return nil, err
	}
	return m.proto(), nil
}

// UpdateMember changes a member's role. Making a member the owner makes the owner an admin.
func (s *service) UpdateMember(ctx context.Context, req *projectsv1.UpdateMemberRequest) (*projectsv1.Member, error) {
	var m *member
	err := write.Retry(ctx, func(ctx context.Context) error {
		p, err := s.require(ctx, req.GetProjectId(), auth.ManageMembers)
		if err != nil {
			return err
		}
		if m, err = s.store.member(ctx, p.ID, req.GetUserId()); err != nil {
			return err
		}
		if err := write.Expect(req.GetExpectedVersion(), m.Version, "member"); err != nil {
			return err
		}
		before := m.Role
		if err := m.apply(req); err != nil {
			return err
		}
		if m.Role == before {
			return write.Unchanged(ctx, s.store.db, "member", m.proto())
		}
		if before == auth.Owner {
			return errs.New(errs.Conflict, "A project is never without an owner. Make another member the owner.")
		}
		if m.Role == auth.Owner {
			return s.transfer(ctx, p, m)
		}
		return s.store.updateMember(ctx, m)
	})
	if err != nil {
		return nil, err
	}
	return m.proto(), nil
}

// transfer makes the member the owner. If the account of the present one was deleted, nobody else could: then whoever
// manages the members does it.
func (s *service) transfer(ctx context.Context, p *project, to *member) error {
	if denied := p.role(ctx).Require(auth.ManageOwners, "project"); denied != nil {
		orphaned, err := s.orphaned(ctx, p)
		if err != nil {
			return err
		}
		if !orphaned {
			return errs.InProject(denied, p.ID)
		}
	}
	from, err := s.store.member(ctx, p.ID, p.OwnerID)
	if err != nil {
		return err
	}
	return s.store.transfer(ctx, p, from, to)
}

// orphaned reports whether the account of the project's owner was deleted, as far as the caller may know.
func (s *service) orphaned(ctx context.Context, p *project) (bool, error) {
	_, err := s.users.GetUser(ctx, &usersv1.GetUserRequest{Id: p.OwnerID})
	switch {
	case errs.Is(err, errs.NotFound):
		return true, nil
	case errs.Is(err, errs.InsufficientScope):
		return false, nil
	default:
		return false, err
	}
}

// DeleteMember takes a user out of a project. Members may take themselves out.
func (s *service) DeleteMember(ctx context.Context, req *projectsv1.DeleteMemberRequest) (*emptypb.Empty, error) {
	needed := auth.ManageMembers
	if req.GetUserId() == auth.CallerFrom(ctx).UserID {
		needed = auth.ReadProject
	}
	err := write.Retry(ctx, func(ctx context.Context) error {
		if _, err := s.require(ctx, req.GetProjectId(), needed); err != nil {
			return err
		}
		m, err := s.store.member(ctx, req.GetProjectId(), req.GetUserId())
		if err != nil {
			return err
		}
		if err := write.Expect(req.GetExpectedVersion(), m.Version, "member"); err != nil {
			return err
		}
		if m.Role == auth.Owner {
			return errs.New(errs.Conflict, "A project is never without an owner. Make another member the owner first.")
		}
		return s.store.removeMember(ctx, m)
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// apply changes the fields that the request's mask names, and checks the outcome.
func (m *member) apply(req *projectsv1.UpdateMemberRequest) error {
	for _, field := range req.GetUpdateMask().GetPaths() {
		if field != "role" {
			return errs.InvalidField("update_mask", "%q can not be changed", field)
		}
		m.Role = auth.Role(req.GetRole())
	}
	return m.check()
}

func (m *member) check() error {
	var c errs.Check
	c.That(m.UserID > 0, "user_id", "must be the id of a user")
	c.That(slices.Contains([]auth.Role{auth.Viewer, auth.Commenter, auth.Member, auth.Admin, auth.Owner}, m.Role),
		"role", "must be viewer, commenter, member, admin or owner")
	return c.Err()
}
