package rest

import (
	"context"
	"net/http"
	"time"

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
}

func newProject(p *projectsv1.Project) Project {
	return Project{
		Meta: newMeta(p), Name: p.GetName(), Description: p.GetDescription(),
		Visibility: visibilities.rest(p.GetVisibility()), OwnerID: p.GetOwnerId(),
		ArchivedAt: maybeMoment(p.GetArchivedAt()),
	}
}

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
		"Deletes a project, and with it its tasks and comments."), a.deleteProject)
}

type projectList struct {
	Listing

	Ordering   []string    `query:"ordering" enum:"id,-id,name,-name,created_at,-created_at,updated_at,-updated_at" maxItems:"8" doc:"The order: fields, each falling when preceded by a minus."`
	Search     string      `query:"search" maxLength:"200" pattern:"^[\\s\\S]*$" doc:"Words that name or description contain, or begin with."`
	Visibility Visibility  `query:"visibility" doc:"public asks for all public projects, and not only the caller's."`
	Role       MemberRole  `query:"role" doc:"Only projects in which the caller has this role."`
	Archived   Maybe[bool] `query:"archived" doc:"Only projects that are, or are not, archived."`
}

func (a *api) listProjects(ctx context.Context, in *projectList) (*List[Project], error) {
	res, err := a.projects.ListProjects(ctx, &projectsv1.ListProjectsRequest{
		Page: in.request(in.Ordering), Search: in.Search, Visibility: visibilities.proto(in.Visibility),
		Role: memberRoles.proto(in.Role), Archived: in.Archived.pointer(),
	})
	if err != nil {
		return nil, err
	}
	return list(&in.Listing, res.GetProjects(), res.GetPage(), newProject), nil
}

func (a *api) getProject(ctx context.Context, in *ID) (*Read[Project], error) {
	p, err := a.projects.GetProject(ctx, &projectsv1.GetProjectRequest{Id: in.ID})
	return read(p, err, newProject)
}

// ProjectCreation is what makes a project.
type ProjectCreation struct {
	Name        string     `json:"name" minLength:"1" maxLength:"200" pattern:"^[\\s\\S]*$" example:"Apollo" doc:"The name."`
	Description string     `json:"description,omitempty" nullable:"true" maxLength:"10000" pattern:"^[\\s\\S]*$" example:"To the moon." doc:"What it is about; empty when absent."`
	Visibility  Visibility `json:"visibility,omitempty" nullable:"true" doc:"Who may read it; private when absent."`
}

func (a *api) createProject(ctx context.Context, in *Create[ProjectCreation]) (*Created[Project], error) {
	return create(ctx, in.Keyed, "/api/projects/", a.projects.CreateProject, &projectsv1.CreateProjectRequest{
		Name: in.Body.Name, Description: in.Body.Description, Visibility: visibilities.proto(in.Body.Visibility),
	}, newProject)
}

// ProjectReplacement is what replaces a project.
type ProjectReplacement struct {
	Name        string             `json:"name" minLength:"1" maxLength:"200" pattern:"^[\\s\\S]*$" example:"Apollo" doc:"The name."`
	Description Change[string]     `json:"description,omitzero" nullable:"true" maxLength:"10000" pattern:"^[\\s\\S]*$" example:"To the moon." doc:"What it is about; empty when absent."`
	Visibility  Change[Visibility] `json:"visibility,omitzero" nullable:"true" doc:"Who may read it; private when absent."`
	Archived    Change[bool]       `json:"archived,omitzero" nullable:"true" doc:"Whether it is read-only; false when absent."`
}

type projectReplace struct {
	ID
	Write[ProjectReplacement]
}

func (a *api) replaceProject(ctx context.Context, in *projectReplace) (*Changed[Project], error) {
	b := &in.Body
	return a.updateProject(ctx, &projectUpdate{in.ID, Write[ProjectPatch]{in.Keyed, in.Conditional, ProjectPatch{
		Name: given(b.Name), Description: b.Description.replace(), Visibility: b.Visibility.replace(),
		Archived: b.Archived.replace(),
	}}})
}

// ProjectPatch changes a project.
type ProjectPatch struct {
	Name        Change[string]     `json:"name,omitzero" minLength:"1" maxLength:"200" pattern:"^[\\s\\S]*$" example:"Apollo" doc:"The name."`
	Description Change[string]     `json:"description,omitzero" nullable:"true" maxLength:"10000" pattern:"^[\\s\\S]*$" example:"To the moon." doc:"What it is about."`
	Visibility  Change[Visibility] `json:"visibility,omitzero" nullable:"true" doc:"Who may read it."`
	Archived    Change[bool]       `json:"archived,omitzero" nullable:"true" doc:"Whether it is read-only."`
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

func (a *api) projectVersion(id ID) versionOf {
	return func(ctx context.Context) (int64, error) {
		p, err := a.projects.GetProject(ctx, &projectsv1.GetProjectRequest{Id: id.ID})
		return p.GetVersion(), err
	}
}
