package projects

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/mail"
	"github.com/trackway/trackway/services/platform/write"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// maxBatch is how many things one BatchGet may ask for; maxLists is how many lists one BatchList may.
const (
	maxBatch = 1000
	maxLists = 100
	// maxSearch is how long a search may be, in characters.
	maxSearch = 200
)

// service answers the RPCs.
type service struct {
	projectsv1.UnimplementedProjectsServiceServer

	store store
	users userGetter
	mail  mail.Config
}

// userGetter is what the service needs of the users service.
type userGetter interface {
	GetUser(ctx context.Context, req *usersv1.GetUserRequest, opts ...grpc.CallOption) (*usersv1.User, error)
}

// GetProject gives one project that the caller may read.
func (s *service) GetProject(ctx context.Context, req *projectsv1.GetProjectRequest) (*projectsv1.Project, error) {
	p, err := s.require(ctx, req.GetId(), auth.ReadProject)
	if err != nil {
		return nil, err
	}
	return p.proto(), nil
}

// BatchGetProjects gives the projects among the ids that the caller may read.
func (s *service) BatchGetProjects(ctx context.Context, req *projectsv1.BatchGetProjectsRequest) (*projectsv1.BatchGetProjectsResponse, error) {
	columns, err := projectColumns().Read(req.GetReadMask())
	if err != nil {
		return nil, err
	}
	readable, err := s.readable(ctx, columns, req.GetIds(), "ids", maxBatch)
	if err != nil {
		return nil, err
	}
	return &projectsv1.BatchGetProjectsResponse{Projects: protos(readable)}, nil
}

// ListProjects gives one page of the caller's projects, or of the public ones.
func (s *service) ListProjects(ctx context.Context, req *projectsv1.ListProjectsRequest) (*projectsv1.ListProjectsResponse, error) {
	q, err := projectOrders(req).Query(req.GetPage())
	if err != nil {
		return nil, err
	}
	columns, err := projectColumns().Read(req.GetReadMask(), q.Fields()...)
	if err != nil {
		return nil, err
	}
	var c errs.Check
	c.Text("search", req.GetSearch(), 0, maxSearch)
	if err := c.Err(); err != nil {
		return nil, err
	}
	p, err := s.store.list(ctx, projectFilter{
		columns: columns, userID: auth.CallerFrom(ctx).UserID, public: req.GetVisibility() == projectsv1.Visibility_VISIBILITY_PUBLIC,
		role: auth.Role(req.GetRole()), archived: req.Archived, search: req.GetSearch(),
		deleted: req.GetDeleted(), among: auth.CallerFrom(ctx).Projects,
	}, q)
	if err != nil {
		return nil, err
	}
	return &projectsv1.ListProjectsResponse{Projects: protos(p.Rows), Page: pageInfo(p)}, nil
}

// CreateProject makes a project and its caller the owner.
func (s *service) CreateProject(ctx context.Context, req *projectsv1.CreateProjectRequest) (*projectsv1.Project, error) {
	p := &project{
		Name: strings.TrimSpace(req.GetName()), Description: req.GetDescription(),
		Visibility: cmp.Or(req.GetVisibility(), projectsv1.Visibility_VISIBILITY_PRIVATE),
		OwnerID:    auth.CallerFrom(ctx).UserID, RequireIfMatch: req.GetRequireIfMatch(),
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	if auth.CallerFrom(ctx).Projects != nil {
		return nil, errs.New(errs.Denied, "The token is limited to certain projects, and can not make another.")
	}
	if err := s.store.create(ctx, p); err != nil {
		return nil, err
	}
	return p.proto(), nil
}

// UpdateProject changes the fields named by the mask. All that can be changed about an archived project is that.
func (s *service) UpdateProject(ctx context.Context, req *projectsv1.UpdateProjectRequest) (*projectsv1.Project, error) {
	var p *project
	err := write.Retry(ctx, func(ctx context.Context) error {
		var err error
		if p, err = s.require(ctx, req.GetId(), auth.UpdateProject); err != nil {
			return err
		}
		if err := p.expect(req.GetExpectedVersion()); err != nil {
			return err
		}
		before := *p
		if err := p.apply(req); err != nil {
			return err
		}
		if *p == before {
			return write.Unchanged(ctx, s.store.db, "project", p.proto())
		}
		if err := auth.UpdateProject.RequireInUse(before.archived() && p.archived()); err != nil {
			return err
		}
		return s.store.update(ctx, p, events.Differences(before.proto(), p.proto()))
	})
	if err != nil {
		return nil, err
	}
	return p.proto(), nil
}

// DeleteProject deletes a project softly, and with it everything inside: what is in a project is read through it.
func (s *service) DeleteProject(ctx context.Context, req *projectsv1.DeleteProjectRequest) (*emptypb.Empty, error) {
	err := write.Retry(ctx, func(ctx context.Context) error {
		p, err := s.require(ctx, req.GetId(), auth.DeleteProject)
		if err != nil {
			return err
		}
		if err := p.expect(req.GetExpectedVersion()); err != nil {
			return err
		}
		return s.store.remove(ctx, p)
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// RestoreProject takes a project out of the trash, and with it everything inside. Until then only its owner, who may,
// knows that it is there; if the owner's account was deleted, whoever may manage the members may.
func (s *service) RestoreProject(ctx context.Context, req *projectsv1.RestoreProjectRequest) (*projectsv1.Project, error) {
	var p *project
	err := write.Retry(ctx, func(ctx context.Context) error {
		var err error
		if p, err = s.store.projectOrTrash(ctx, auth.CallerFrom(ctx).UserID, req.GetId()); err != nil {
			return err
		}
		live := p.DeletedAt.IsZero()
		denied := p.role(ctx).Require(auth.DeleteProject, "project")
		switch {
		case denied != nil && live:
			return errs.InProject(denied, p.ID)
		case denied != nil && !p.role(ctx).Allows(auth.ManageMembers):
			return errs.Missing("project")
		case denied != nil:
			orphaned, err := s.orphaned(ctx, p)
			if err != nil {
				return err
			}
			if !orphaned {
				return errs.Missing("project")
			}
		}
		if err := write.Expect(req.GetExpectedVersion(), p.Version, "project"); err != nil {
			return err
		}
		if live {
			return write.Unchanged(ctx, s.store.db, "project", p.proto())
		}
		return s.store.restore(ctx, p)
	})
	if err != nil {
		return nil, err
	}
	return p.proto(), nil
}

// expect is nil if the expected version is the project's. 0 is no expectation, which is PreconditionRequired when the
// project asks for one.
func (p *project) expect(version int64) error {
	if version == 0 && p.RequireIfMatch {
		return errs.New(errs.PreconditionRequired, "This project takes changes only with the version that they are made to.")
	}
	return write.Expect(version, p.Version, "project")
}

// BatchGetAccess says what the caller is in each of the projects.
func (s *service) BatchGetAccess(ctx context.Context, req *projectsv1.BatchGetAccessRequest) (*projectsv1.BatchGetAccessResponse, error) {
	readable, err := s.readable(ctx, accessColumns, req.GetProjectIds(), "project_ids", maxBatch)
	if err != nil {
		return nil, err
	}
	var members []*member
	if len(req.GetUserIds()) > 0 {
		if members, err = s.store.membersAmong(ctx, ids(readable), req.GetUserIds()); err != nil {
			return nil, err
		}
	}
	answer := &projectsv1.BatchGetAccessResponse{}
	for _, p := range readable {
		a := p.access(ctx)
		for _, m := range members {
			if m.ProjectID == p.ID {
				a.MemberIds = append(a.MemberIds, m.UserID)
			}
		}
		answer.Access = append(answer.Access, a)
	}
	return answer, nil
}

// ListAccess says what the caller is in the projects that it is a member of, or in some of them.
func (s *service) ListAccess(ctx context.Context, req *projectsv1.ListAccessRequest) (*projectsv1.ListAccessResponse, error) {
	if len(req.GetProjectIds()) > maxBatch {
		return nil, errs.InvalidField("project_ids", "must be at most %d", maxBatch)
	}
	projects, err := s.store.access(ctx, auth.CallerFrom(ctx).UserID, req.GetProjectIds()...)
	if err != nil {
		return nil, err
	}
	answer := &projectsv1.ListAccessResponse{}
	for _, p := range projects {
		if !p.role(ctx).Allows(auth.ReadProject) {
			continue
		}
		answer.Access = append(answer.Access, p.access(ctx))
	}
	return answer, nil
}

// maxGrantors is how many members are named as able to give a permission.
const maxGrantors = 50

// ExplainAccess says what a permission in a project takes, and who can give it: to those who can read the project, and so
// its members.
func (s *service) ExplainAccess(ctx context.Context, req *projectsv1.ExplainAccessRequest) (*projectsv1.ExplainAccessResponse, error) {
	p := auth.Permission(req.GetPermission())
	if len(p.Roles()) == 0 {
		return nil, errs.InvalidField("permission", "is none that there is")
	}
	if _, err := s.require(ctx, req.GetProjectId(), auth.ReadProject); err != nil {
		return nil, err
	}
	grantors, err := s.store.membersWith(ctx, req.GetProjectId(), p.Grantors(), maxGrantors)
	if err != nil {
		return nil, err
	}
	answer := &projectsv1.ExplainAccessResponse{Grantors: protos(grantors)}
	for _, r := range p.Roles() {
		answer.Roles = append(answer.Roles, projectsv1.Role(r))
	}
	for _, r := range p.Grantors() {
		answer.GrantedBy = append(answer.GrantedBy, projectsv1.Role(r))
	}
	return answer, nil
}

// require gives a project in which the caller may do this.
func (s *service) require(ctx context.Context, id int64, p auth.Permission) (*project, error) {
	found, err := s.store.get(ctx, projectColumns().All(), auth.CallerFrom(ctx).UserID, id)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errs.Missing("project")
	}
	return found[0], errs.InProject(found[0].role(ctx).Require(p, "project"), id)
}

// readable gives columns of the projects among the ids that the caller may read; field is where the ids came from.
func (s *service) readable(ctx context.Context, columns bun.Safe, ids []int64, field string, most int) ([]*project, error) {
	if len(ids) > most {
		return nil, errs.InvalidField(field, "must be at most %d", most)
	}
	found, err := s.store.get(ctx, columns, auth.CallerFrom(ctx).UserID, ids...)
	return slices.DeleteFunc(found, func(p *project) bool { return !p.role(ctx).Allows(auth.ReadProject) }), err
}

// role is what the caller is in the project, which is nothing by a token that is not for it.
func (p *project) role(ctx context.Context) auth.Role {
	c := auth.CallerFrom(ctx)
	if !c.InProject(p.ID) {
		return auth.NoRole
	}
	return auth.RoleIn(p.Role, p.Visibility == projectsv1.Visibility_VISIBILITY_PUBLIC, c.Admin)
}

func (p *project) archived() bool { return !p.ArchivedAt.IsZero() }

func (p *project) access(ctx context.Context) *projectsv1.Access {
	return &projectsv1.Access{
		ProjectId: p.ID, Role: projectsv1.Role(p.role(ctx)), Archived: p.archived(), RequireIfMatch: p.RequireIfMatch,
	}
}

// apply changes the fields that the request's mask names, and checks the outcome.
func (p *project) apply(req *projectsv1.UpdateProjectRequest) error {
	for _, field := range req.GetUpdateMask().GetPaths() {
		switch field {
		case "name":
			p.Name = strings.TrimSpace(req.GetName())
		case "description":
			p.Description = req.GetDescription()
		case "visibility":
			p.Visibility = req.GetVisibility()
		case "archived":
			if req.GetArchived() != p.archived() {
				p.ArchivedAt = time.Time{}
				if req.GetArchived() {
					p.ArchivedAt = now()
				}
			}
		case "require_if_match":
			p.RequireIfMatch = req.GetRequireIfMatch()
		default:
			return errs.InvalidField("update_mask", "%q can not be changed", field)
		}
	}
	return p.check()
}

func (p *project) check() error {
	var c errs.Check
	c.Line("name", p.Name, 1, 200)
	c.Text("description", p.Description, 0, 10_000)
	_, known := projectsv1.Visibility_name[int32(p.Visibility)]
	c.That(known && p.Visibility != 0, "visibility", "must be private or public")
	return c.Err()
}

// now is the time as Postgres keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func ids(projects []*project) []int64 {
	out := make([]int64, 0, len(projects))
	for _, p := range projects {
		out = append(out, p.ID)
	}
	return out
}
