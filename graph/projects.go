package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"

	"github.com/trackway/trackway/graph/generated"
	"github.com/trackway/trackway/graph/relay"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// maxProjects is how many projects a BatchList takes.
const maxProjects = 100

func (r *resolver) batchGetProjects(ctx context.Context, ids []int64) ([]*projectsv1.Project, error) {
	res, err := r.cfg.Projects.BatchGetProjects(ctx, &projectsv1.BatchGetProjectsRequest{
		Ids: ids, ReadMask: r.mask(ctx, (*projectsv1.Project)(nil)),
	})
	return res.GetProjects(), r.failure(ctx, err)
}

func (r *resolver) listProjects(
	ctx context.Context, req *projectsv1.ListProjectsRequest,
) (*relay.ProjectConnection, error) {
	req.ReadMask = r.mask(ctx, (*projectsv1.Project)(nil))
	res, err := r.cfg.Projects.ListProjects(ctx, req)
	if err != nil {
		return nil, r.failure(ctx, err)
	}
	if !req.GetDeleted() {
		r.projects.put(res.GetProjects()...)
	}
	return connect(r.loads, place(graphql.GetFieldContext(ctx)), res.GetProjects(), res.GetPage()), nil
}

// listMembers lists the members of a project and of its siblings; it fills in whose.
func (r *resolver) listMembers(
	ctx context.Context, of *projectsv1.Project, req *projectsv1.BatchListMembersRequest,
) (*relay.MemberConnection, error) {
	return listEach(ctx, r, of, maxProjects,
		func(ctx context.Context, projects []*projectsv1.Project) ([]*projectsv1.MemberPage, error) {
			req.ProjectIds = ids(projects)
			res, err := r.cfg.Projects.BatchListMembers(ctx, req)
			return res.GetPages(), err
		}, (*projectsv1.MemberPage).GetMembers)
}

func projectUsers() references[*projectsv1.Project] {
	return references[*projectsv1.Project]{"owner": (*projectsv1.Project).GetOwnerId}
}

func memberUsers() references[*projectsv1.Member] {
	return references[*projectsv1.Member]{"user": (*projectsv1.Member).GetUserId}
}

func memberProjects() references[*projectsv1.Member] {
	return references[*projectsv1.Member]{"project": (*projectsv1.Member).GetProjectId}
}

func updateProject(f *update, input generated.UpdateProjectInput) *projectsv1.UpdateProjectRequest {
	req := &projectsv1.UpdateProjectRequest{
		Id: f.id("id", input.ID, relay.Project), ExpectedVersion: f.version(input.ExpectedVersion), UpdateMask: &f.mask,
	}
	var description *string
	set(f, "name", input.Name, &req.Name)
	empty(f, "description", input.Description, &description)
	set(f, "visibility", input.Visibility, &req.Visibility)
	set(f, "archived", input.Archived, &req.Archived)
	set(f, "require_if_match", input.RequireIfMatch, &req.RequireIfMatch)
	req.Description = value(description)
	return req
}
