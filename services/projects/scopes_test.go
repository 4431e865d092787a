package projects_test

import (
	"context"
	"slices"
	"testing"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/pgtest"
	eventsv1 "github.com/trackway/trackway/services/rpc/events/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// limited is the context of a token of the user's that is for certain projects.
func (s *suite) limited(user int64, projects ...int64) context.Context {
	s.Helper()
	token, _, err := s.world.Issuer.Grant(auth.Grant{
		UserID: user, Admin: user == admin, Session: "token:1", Scopes: auth.Scopes(), Projects: projects,
	})
	if err != nil {
		s.Fatal(err)
	}
	return auth.WithCaller(s.Context(), &auth.Caller{UserID: user, Token: token})
}

// TestATokenForOneProjectKnowsNoOther: neither the user's own, nor public ones, nor those of an administrator.
func TestATokenForOneProjectKnowsNoOther(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	mine, other := s.project(projectsv1.Visibility_VISIBILITY_PUBLIC), s.project(projectsv1.Visibility_VISIBILITY_PUBLIC)
	for _, user := range []int64{owner, admin, viewer} {
		ctx := s.limited(user, mine.GetId())
		if _, err := s.projects.GetProject(ctx, &projectsv1.GetProjectRequest{Id: mine.GetId()}); err != nil {
			t.Errorf("%d gets the project: %v", user, err)
		}
		for name, do := range map[string]func() error{
			"get": func() error {
				_, err := s.projects.GetProject(ctx, &projectsv1.GetProjectRequest{Id: other.GetId()})
				return err
			},
			"delete": func() error {
				_, err := s.projects.DeleteProject(ctx, &projectsv1.DeleteProjectRequest{Id: other.GetId()})
				return err
			},
			"restore": func() error {
				_, err := s.projects.RestoreProject(ctx, &projectsv1.RestoreProjectRequest{Id: other.GetId()})
				return err
			},
			"list the members": func() error {
				_, err := s.projects.ListMembers(ctx, &projectsv1.ListMembersRequest{ProjectId: other.GetId()})
				return err
			},
		} {
			if got := code(do()); got != errs.NotFound {
				t.Errorf("%d: %s: got %q, want %q", user, name, got, errs.NotFound)
			}
		}
		both := []int64{mine.GetId(), other.GetId()}
		access, err := s.projects.BatchGetAccess(ctx, &projectsv1.BatchGetAccessRequest{ProjectIds: both})
		if err != nil || len(access.GetAccess()) != 1 || access.GetAccess()[0].GetProjectId() != mine.GetId() {
			t.Errorf("%d: access: got %v, %v, want the one project", user, access, err)
		}
		for _, list := range []*projectsv1.ListProjectsRequest{{}, {Visibility: projectsv1.Visibility_VISIBILITY_PUBLIC}} {
			res, err := s.projects.ListProjects(ctx, list)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(res.GetProjects(), func(p *projectsv1.Project) bool { return p.GetId() != mine.GetId() }) {
				t.Errorf("%d: list %v: got %v, want the one project at most", user, list, res.GetProjects())
			}
		}
		all, err := s.projects.ListAccess(ctx, &projectsv1.ListAccessRequest{})
		if err != nil || slices.ContainsFunc(all.GetAccess(), func(a *projectsv1.Access) bool { return a.GetProjectId() != mine.GetId() }) {
			t.Errorf("%d: all access: got %v, %v, want the one project at most", user, all, err)
		}
		_, err = s.projects.CreateProject(ctx, &projectsv1.CreateProjectRequest{Name: "Another"})
		if got := code(err); got != errs.Denied {
			t.Errorf("%d: make another: got %q, want %q", user, got, errs.Denied)
		}
	}
}

// TestATokenForOneProjectIsNotToldOfTheEndOfAnother, though its user is.
func TestATokenForOneProjectIsNotToldOfTheEndOfAnother(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	mine, other := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE), s.project(projectsv1.Visibility_VISIBILITY_PRIVATE)
	for _, p := range []int64{mine.GetId(), other.GetId()} {
		if _, err := s.projects.DeleteProject(s.as(owner), &projectsv1.DeleteProjectRequest{Id: p}); err != nil {
			t.Fatal(err)
		}
	}
	pgtest.Settle(t)
	for _, req := range []*eventsv1.ListEventsRequest{{}, {Mine: true}, {Mine: true, ProjectId: other.GetId()}} {
		answer, err := s.projects.ListEvents(s.limited(viewer, mine.GetId()), req)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(answer.GetEvents(), func(e *eventsv1.Event) bool { return e.GetProjectId() != mine.GetId() }) {
			t.Errorf("%v: got %v, want events of the one project at most", req, answer.GetEvents())
		}
		if req.GetProjectId() == 0 && len(answer.GetEvents()) == 0 {
			t.Errorf("%v: got nothing, want the end of the one project", req)
		}
	}
}
