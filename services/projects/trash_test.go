package projects_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// A project that is in the trash of an account that is not there any more is restored by who could give it another owner.
func TestADeletedProjectWhoseOwnerIsGoneComesBack(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	for by, want := range map[int64]errs.Code{manager: "", admin: "", worker: errs.NotFound, stranger: errs.NotFound} {
		p, err := s.projects.CreateProject(s.as(nobody), &projectsv1.CreateProjectRequest{Name: "Apollo"})
		if err != nil {
			t.Fatal(err)
		}
		for user, role := range map[int64]projectsv1.Role{manager: projectsv1.Role_ROLE_ADMIN, worker: projectsv1.Role_ROLE_MEMBER} {
			_, err := s.projects.CreateMember(s.as(nobody), &projectsv1.CreateMemberRequest{ProjectId: p.GetId(), UserId: user, Role: role})
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.projects.DeleteProject(s.as(nobody), &projectsv1.DeleteProjectRequest{Id: p.GetId()}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.projects.RestoreProject(s.as(by), &projectsv1.RestoreProjectRequest{Id: p.GetId()}); code(err) != want {
			t.Errorf("restored by user %d: got %v, want %q", by, err, want)
		}
	}
}

func TestADeletedProjectIsInItsOwnersTrashAndComesBack(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	p := s.project(projectsv1.Visibility_VISIBILITY_PUBLIC)
	if _, err := s.projects.DeleteProject(s.as(owner), &projectsv1.DeleteProjectRequest{Id: p.GetId()}); err != nil {
		t.Fatal(err)
	}
	trash := func(user int64) []int64 {
		t.Helper()
		got, err := s.projects.ListProjects(s.as(user), &projectsv1.ListProjectsRequest{
			Deleted: true, Page: &pagev1.PageRequest{OrderBy: "-deleted_at", Count: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		var ids []int64
		for _, in := range got.GetProjects() {
			if in.GetDeletedAt() == nil {
				t.Errorf("project %d in the trash has no deleted_at", in.GetId())
			}
			ids = append(ids, in.GetId())
		}
		return ids
	}
	if diff := cmp.Diff([]int64{p.GetId()}, trash(owner)); diff != "" {
		t.Errorf("the owner's trash (-want +got):\n%s", diff)
	}
	for _, user := range []int64{manager, worker, commenter, viewer, stranger, admin} {
		if got := trash(user); len(got) > 0 {
			t.Errorf("the trash of user %d: got %v, want nothing", user, got)
		}
		_, err := s.projects.RestoreProject(s.as(user), &projectsv1.RestoreProjectRequest{Id: p.GetId()})
		if code(err) != errs.NotFound {
			t.Errorf("restored by user %d: got %v, want %q", user, err, errs.NotFound)
		}
	}
	_, err := s.projects.RestoreProject(s.as(owner), &projectsv1.RestoreProjectRequest{Id: p.GetId(), ExpectedVersion: 1})
	if code(err) != errs.PreconditionFailed {
		t.Errorf("restoring an old version: got %v, want %q", err, errs.PreconditionFailed)
	}
	p.Version = 3
	for _, key := range []string{"k", "k", "other"} { // the second is a replay, the third finds nothing to do
		got, err := s.projects.RestoreProject(idempotency.WithKey(s.as(owner), key), &projectsv1.RestoreProjectRequest{Id: p.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, got, protocmp.Transform(), protocmp.IgnoreFields(p, "updated_at")); diff != "" {
			t.Errorf("key %q (-before +after):\n%s", key, diff)
		}
	}
	s.once("events", "type = 'project.restored' AND version = 3")
	if got := trash(owner); len(got) > 0 {
		t.Errorf("the trash afterwards: got %v, want nothing", got)
	}
	if _, err := s.projects.GetProject(s.as(viewer), &projectsv1.GetProjectRequest{Id: p.GetId()}); err != nil {
		t.Errorf("read by a viewer: %v", err)
	}
}

func TestAProjectCanRequirePreconditions(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	p := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE)
	update := func(version int64, req *projectsv1.UpdateProjectRequest) (*projectsv1.Project, error) {
		req.Id, req.ExpectedVersion = p.GetId(), version
		return s.projects.UpdateProject(s.as(manager), req)
	}
	got, err := update(0, &projectsv1.UpdateProjectRequest{RequireIfMatch: true, UpdateMask: mask("require_if_match")})
	if err != nil || !got.GetRequireIfMatch() || got.GetVersion() != 2 {
		t.Fatalf("got %v, %v, want a project that requires it, at version 2", got, err)
	}
	if _, err := update(0, &projectsv1.UpdateProjectRequest{Name: "New", UpdateMask: mask("name")}); code(err) != errs.PreconditionRequired {
		t.Errorf("updated without a version: got %v, want %q", err, errs.PreconditionRequired)
	}
	if _, err := update(1, &projectsv1.UpdateProjectRequest{Name: "New", UpdateMask: mask("name")}); code(err) != errs.PreconditionFailed {
		t.Errorf("updated with an old version: got %v, want %q", err, errs.PreconditionFailed)
	}
	_, err = s.projects.DeleteProject(s.as(owner), &projectsv1.DeleteProjectRequest{Id: p.GetId()})
	if code(err) != errs.PreconditionRequired {
		t.Errorf("deleted without a version: got %v, want %q", err, errs.PreconditionRequired)
	}
	access, err := s.projects.BatchGetAccess(s.as(worker), &projectsv1.BatchGetAccessRequest{ProjectIds: []int64{p.GetId()}})
	if err != nil || len(access.GetAccess()) != 1 || !access.GetAccess()[0].GetRequireIfMatch() {
		t.Errorf("access: got %v, %v, want it to say so", access, err)
	}
	if _, err = update(2, &projectsv1.UpdateProjectRequest{UpdateMask: mask("require_if_match")}); err != nil {
		t.Fatal(err)
	}
	if _, err = update(0, &projectsv1.UpdateProjectRequest{Name: "New", UpdateMask: mask("name")}); err != nil {
		t.Errorf("not required any more: %v", err)
	}
	strict, err := s.projects.CreateProject(s.as(owner), &projectsv1.CreateProjectRequest{Name: "Strict", RequireIfMatch: true})
	if err != nil || !strict.GetRequireIfMatch() {
		t.Errorf("created: got %v, %v, want it to require preconditions", strict, err)
	}
}
