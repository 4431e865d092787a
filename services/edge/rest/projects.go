package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// Project is a set of tasks with members.
type Project struct {
	Meta

	Name        string     `json:"name" maxLength:"200" pattern:"^[\\s\\S]*$" example:"Apollo" doc:"The name."`
	Description string     `json:"description" maxLength:"10000" pattern:"^[\\s\\S]*$" example:"To the moon." doc:"What it is about."`
	Visibility  Visibility `json:"visibility" example:"private" doc:"Who may read it: its members, or every signed-in user."`
	OwnerID     int64      `json:"owner_id" minimum:"1" example:"1" doc:"The user that owns it."`
	ArchivedAt  *time.Time `json:"archived_at" doc:"When it was made read-only; null while it is in use. Written by archived."`
	DeletedAt   *time.Time `json:"deleted_at" doc:"When it was put into the trash; null elsewhere."`

	RequireIfMatch bool `json:"require_if_match" doc:"Whether changing or deleting the project, its tasks and their comments takes If-Match; without it, that is 428."`
}

func newProject(p *projectsv1.Project) Project {
	return Project{
		Meta: newMeta(p), Name: p.GetName(), Description: p.GetDescription(),
		Visibility: visibilities.rest(p.GetVisibility()), OwnerID: p.GetOwnerId(),
		ArchivedAt: maybeMoment(p.GetArchivedAt()), DeletedAt: maybeMoment(p.GetDeletedAt()),
		RequireIfMatch: p.GetRequireIfMatch(),
	}
}

// ProjectShape is how projects are to be given.
type ProjectShape struct {
	Selection[Project]
	Permitted

	Expand []string `query:"expand" enum:"owner" maxItems:"1" doc:"What to embed beside its id; null where there is nothing that the caller may see."`
}

func (Project) beside(r huma.Registry) map[string]*huma.Schema {
	return map[string]*huma.Schema{
		"owner":         embedded[User](r, "The owner; with expand=owner."),
		permissionsName: may[ProjectPermissions](r),
	}
}

// ProjectPermissions is what the caller may do with a project now.
type ProjectPermissions struct {
	Update        bool `json:"update" doc:"Change it."`
	Delete        bool `json:"delete" doc:"Delete it."`
	ManageMembers bool `json:"manage_members" doc:"Add, change and remove members."`
	Transfer      bool `json:"transfer" doc:"Make another member the owner."`
	CreateTasks   bool `json:"create_tasks" doc:"Make tasks in it."`
	Comment       bool `json:"comment" doc:"Comment on its tasks."`
}

func (a *api) viewProjects(ctx context.Context, s *ProjectShape, projects []*projectsv1.Project) ([]View[Project], error) {
	var (
		people []int64
		owners map[int64]*User
		roles  map[int64]access
		err    error
	)
	if s.Permissions {
		if roles, err = a.accessTo(ctx, each(projects, (*projectsv1.Project).GetId)); err != nil {
			return nil, err
		}
	}
	for _, p := range projects {
		if len(s.Expand) > 0 || roles[p.GetId()].inherits() {
			people = append(people, p.GetOwnerId())
		}
	}
	owners, err = a.usersOf(ctx, people)
	blind := len(s.Expand) == 0 && errs.Is(err, errs.InsufficientScope) // and so nothing can be inherited
	if err != nil && !blind {
		return nil, err
	}
	views := make([]View[Project], 0, len(projects))
	for _, p := range projects {
		v := newView(newProject(p), s.Selection)
		if len(s.Expand) > 0 {
			v.add("owner", owners[p.GetOwnerId()])
		}
		if in := roles[p.GetId()]; s.Permissions {
			orphaned := !blind && owners[p.GetOwnerId()] == nil
			v.add(permissionsName, ProjectPermissions{
				Update: in.role.Allows(auth.UpdateProject), Delete: in.allows(auth.DeleteProject),
				ManageMembers: in.allows(auth.ManageMembers), Transfer: in.allows(auth.ManageOwners) || in.inherits() && orphaned,
				CreateTasks: in.allows(auth.WriteTasks), Comment: in.allows(auth.WriteComments),
			})
		}
		views = append(views, v)
	}
	return views, nil
}

// inherits reports whether the caller could make another member the owner if the account of the present one were deleted.
func (a access) inherits() bool { return a.allows(auth.ManageMembers) && !a.allows(auth.ManageOwners) }

func (a *api) registerProjects() {
	register(a, operation(http.MethodGet, "/api/projects/", "listProjects", tagProjects, "List projects",
		"Gives the projects that the caller is a member of, or with visibility=public all public ones."), a.listProjects)
	register(a, operation(http.MethodPost, "/api/projects/", "createProject", tagProjects, "Make a project",
		"Makes a project, and the caller its owner."), a.createProject)
	register(a, operation(http.MethodGet, "/api/projects/{id}/", "getProject", tagProjects, "Get a project",
		"Gives one project."), a.getProject)
	register(a, operation(http.MethodPut, "/api/projects/{id}/", "replaceProject", tagProjects, "Replace a project",
		"Replaces all that can be written; what is absent goes to its default."), a.replaceProject)
	register(a, operation(http.MethodPatch, "/api/projects/{id}/", "updateProject", tagProjects, "Change a project",
		"Changes the members that are given (RFC 7396); null is the default."), a.updateProject)
	register(a, operation(http.MethodDelete, "/api/projects/{id}/", "deleteProject", tagProjects, "Delete a project",
		"Deletes a project, and with it its tasks and comments. It can be restored from the trash."), a.deleteProject)
	register(a, answers200(operation(http.MethodPost, "/api/projects/{id}/restore/", "restoreProject", tagProjects,
		"Restore a project", "Takes a project out of the trash, with its tasks and comments. One that is not there stays as "+
			"it is.")), a.restoreProject)
}

type projectList struct {
	Listing
	ProjectShape

	Ordering   []string    `query:"ordering" enum:"id,-id,name,-name,created_at,-created_at,updated_at,-updated_at,deleted_at,-deleted_at,relevance,-relevance" maxItems:"12" doc:"The order: fields, each falling when preceded by a minus; deleted_at only in the trash, relevance only with search. By id when absent, but for a search."`
	Search     string      `query:"search" maxLength:"200" pattern:"^[\\s\\S]*$" doc:"Words that name or description contain, or begin with. The best match comes first, unless there is an ordering."`
	Visibility Visibility  `query:"visibility" doc:"public asks for all public projects, and not only the caller's."`
	Role       MemberRole  `query:"role" doc:"Only projects in which the caller has this role."`
	Archived   Maybe[bool] `query:"archived" doc:"Only projects that are, or are not, archived."`
	Trash      bool        `query:"trash" default:"false" doc:"The deleted projects instead, which the caller owned. They stay there for a time, 30 days unless the installation says otherwise, and are purged then."`
}

func (a *api) listProjects(ctx context.Context, in *projectList) (*List[View[Project]], error) {
	res, err := a.projects.ListProjects(ctx, &projectsv1.ListProjectsRequest{
		Page: in.request(in.Ordering), Search: in.Search, Visibility: visibilities.proto(in.Visibility),
		Role: memberRoles.proto(in.Role), Archived: in.Archived.pointer(), Deleted: in.Trash,
		ReadMask: in.mask((*projectsv1.Project)(nil), len(in.Expand) > 0 || in.Permissions),
	})
	if err != nil {
		return nil, err
	}
	views, err := a.viewProjects(ctx, &in.ProjectShape, res.GetProjects())
	return listOf(&in.Listing, views, res.GetPage()), err
}

type projectGet struct {
	ID
	ProjectShape
}

func (a *api) getProject(ctx context.Context, in *projectGet) (*Read[View[Project]], error) {
	p, err := a.projects.GetProject(ctx, &projectsv1.GetProjectRequest{Id: in.ID.ID})
	if err != nil {
		return nil, err
	}
	tell(ctx, p.GetId())
	views, err := a.viewProjects(ctx, &in.ProjectShape, []*projectsv1.Project{p})
	return readView(p, views), err
}

// ProjectCreation is what makes a project.
type ProjectCreation struct {
	Name        string     `json:"name" minLength:"1" maxLength:"200" pattern:"^[\\s\\S]*$" example:"Apollo" doc:"The name."`
	Description string     `json:"description,omitempty" nullable:"true" maxLength:"10000" pattern:"^[\\s\\S]*$" example:"To the moon." doc:"What it is about; empty when absent."`
	Visibility  Visibility `json:"visibility,omitempty" nullable:"true" doc:"Who may read it; private when absent."`

	RequireIfMatch bool `json:"require_if_match,omitempty" nullable:"true" doc:"Whether changes take If-Match; false when absent."`
}

func (a *api) createProject(ctx context.Context, in *Create[ProjectCreation]) (*Created[Project], error) {
	return create(ctx, in.Keyed, "/api/projects/", a.projects.CreateProject, &projectsv1.CreateProjectRequest{
		Name: in.Body.Name, Description: in.Body.Description, Visibility: visibilities.proto(in.Body.Visibility),
		RequireIfMatch: in.Body.RequireIfMatch,
	}, newProject)
}

// ProjectReplacement is what replaces a project.
type ProjectReplacement struct {
	Name        string             `json:"name" minLength:"1" maxLength:"200" pattern:"^[\\s\\S]*$" example:"Apollo" doc:"The name."`
	Description Change[string]     `json:"description,omitzero" nullable:"true" maxLength:"10000" pattern:"^[\\s\\S]*$" example:"To the moon." doc:"What it is about; empty when absent."`
	Visibility  Change[Visibility] `json:"visibility,omitzero" nullable:"true" doc:"Who may read it; private when absent."`
	Archived    Change[bool]       `json:"archived,omitzero" nullable:"true" doc:"Whether it is read-only; false when absent."`

	RequireIfMatch Change[bool] `json:"require_if_match,omitzero" nullable:"true" doc:"Whether changes take If-Match; false when absent."`
}

type projectReplace struct {
	ID
	Write[ProjectReplacement]
}

func (a *api) replaceProject(ctx context.Context, in *projectReplace) (*Changed[Project], error) {
	b := &in.Body
	return a.updateProject(ctx, &projectUpdate{in.ID, Write[ProjectPatch]{in.Keyed, in.Conditional, ProjectPatch{
		Name: given(b.Name), Description: b.Description.replace(), Visibility: b.Visibility.replace(),
		Archived: b.Archived.replace(), RequireIfMatch: b.RequireIfMatch.replace(),
	}}})
}

// ProjectPatch changes a project.
type ProjectPatch struct {
	Name        Change[string]     `json:"name,omitzero" minLength:"1" maxLength:"200" pattern:"^[\\s\\S]*$" example:"Apollo" doc:"The name."`
	Description Change[string]     `json:"description,omitzero" nullable:"true" maxLength:"10000" pattern:"^[\\s\\S]*$" example:"To the moon." doc:"What it is about."`
	Visibility  Change[Visibility] `json:"visibility,omitzero" nullable:"true" doc:"Who may read it."`
	Archived    Change[bool]       `json:"archived,omitzero" nullable:"true" doc:"Whether it is read-only."`

	RequireIfMatch Change[bool] `json:"require_if_match,omitzero" nullable:"true" doc:"Whether changes take If-Match."`
}

type projectUpdate struct {
	ID
	Write[ProjectPatch]
}

func (a *api) updateProject(ctx context.Context, in *projectUpdate) (*Changed[Project], error) {
	var (
		p   patch
		b   = &in.Body
		req = &projectsv1.UpdateProjectRequest{Id: in.ID.ID}
		err error
	)
	set(&p, "name", b.Name, &req.Name)
	setOr(&p, "description", b.Description, &req.Description, "")
	setEnumOr(&p, "visibility", b.Visibility, &req.Visibility, visibilities, projectsv1.Visibility_VISIBILITY_PRIVATE)
	setOr(&p, "archived", b.Archived, &req.Archived, false)
	setOr(&p, "require_if_match", b.RequireIfMatch, &req.RequireIfMatch, false)
	if req.UpdateMask, err = p.mask(); err != nil {
		return nil, err
	}
	if req.ExpectedVersion, err = in.expected(ctx, a.projectVersion(in.ID)); err != nil {
		return nil, err
	}
	return change(ctx, in.Keyed, a.projects.UpdateProject, req, newProject)
}

func (a *api) deleteProject(ctx context.Context, in *deleteByID) (*Written, error) {
	expected, err := in.expected(ctx, a.projectVersion(in.ID))
	if err != nil {
		return nil, err
	}
	return remove(ctx, in.Keyed, a.projects.DeleteProject,
		&projectsv1.DeleteProjectRequest{Id: in.ID.ID, ExpectedVersion: expected})
}

func (a *api) restoreProject(ctx context.Context, in *restoreByID) (*Changed[Project], error) {
	expected, err := in.expected(ctx, unseen)
	if err != nil {
		return nil, err
	}
	return change(ctx, in.Keyed, a.projects.RestoreProject,
		&projectsv1.RestoreProjectRequest{Id: in.ID.ID, ExpectedVersion: expected}, newProject)
}

func (a *api) projectVersion(id ID) versionOf {
	return func(ctx context.Context) (int64, error) {
		p, err := a.projects.GetProject(ctx, &projectsv1.GetProjectRequest{Id: id.ID})
		return p.GetVersion(), err
	}
}
