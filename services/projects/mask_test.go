package projects_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/trackway/trackway/services/platform/errs"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// Each field that a mask names is what a read gives without a mask, in every order.
func TestAReadWithAMaskGivesWhatItNames(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	for _, name := range []string{"Apollo", "Artemis"} {
		p, err := s.projects.CreateProject(s.as(owner), &projectsv1.CreateProjectRequest{
			Name: name, Description: "To the moon", Visibility: projectsv1.Visibility_VISIBILITY_PUBLIC, RequireIfMatch: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.projects.UpdateProject(s.as(owner), &projectsv1.UpdateProjectRequest{
			Id: p.GetId(), ExpectedVersion: 1, Archived: true, UpdateMask: mask("archived"),
		}); err != nil {
			t.Fatal(err)
		}
	}
	last, err := s.projects.CreateProject(s.as(owner), &projectsv1.CreateProjectRequest{Name: "Gone", Description: "To the moon"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.projects.DeleteProject(s.as(owner), &projectsv1.DeleteProjectRequest{Id: last.GetId()}); err != nil {
		t.Fatal(err)
	}
	lists := []*projectsv1.ListProjectsRequest{
		{Deleted: true, Page: &pagev1.PageRequest{OrderBy: "-deleted_at"}},
		{Search: "moon"},
		{Visibility: projectsv1.Visibility_VISIBILITY_PUBLIC, Page: &pagev1.PageRequest{Count: true}},
	}
	for _, by := range []string{"", "name", "-created_at", "updated_at,name"} {
		lists = append(lists, &projectsv1.ListProjectsRequest{Page: &pagev1.PageRequest{OrderBy: by, Size: 1}})
	}
	fields := last.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		same := func(what any, whole, some []*projectsv1.Project) {
			t.Helper()
			if len(whole) == 0 || len(whole) != len(some) {
				t.Fatalf("%v: got %d projects, want %d", what, len(some), len(whole))
			}
			for i, w := range whole {
				got, want := fmt.Sprint(some[i].GetId(), some[i].ProtoReflect().Get(field)), fmt.Sprint(w.GetId(), w.ProtoReflect().Get(field))
				if got != want || strings.Contains(fmt.Sprint(some[i]), "moon") && field.Name() != "description" {
					t.Errorf("%v, the field %s: got %v, want that of %v", what, field.Name(), some[i], w)
				}
			}
		}
		for _, req := range lists {
			whole, err := s.projects.ListProjects(s.as(owner), req)
			if err != nil {
				t.Fatal(err)
			}
			req, _ := proto.Clone(req).(*projectsv1.ListProjectsRequest)
			req.ReadMask = mask(string(field.Name()))
			some, err := s.projects.ListProjects(s.as(owner), req)
			if err != nil {
				t.Fatal(err)
			}
			same(req, whole.GetProjects(), some.GetProjects())
			if got, want := some.GetPage(), whole.GetPage(); !proto.Equal(got, want) {
				t.Errorf("%v: got the page %v, want %v", req, got, want)
			}
		}
		ids := []int64{last.GetId() - 1}
		whole, err := s.projects.BatchGetProjects(s.as(owner), &projectsv1.BatchGetProjectsRequest{Ids: ids})
		if err != nil {
			t.Fatal(err)
		}
		some, err := s.projects.BatchGetProjects(s.as(owner), &projectsv1.BatchGetProjectsRequest{Ids: ids, ReadMask: mask(string(field.Name()))})
		if err != nil {
			t.Fatal(err)
		}
		same("by id", whole.GetProjects(), some.GetProjects())
	}
	if _, err := s.projects.ListProjects(s.as(owner), &projectsv1.ListProjectsRequest{ReadMask: mask("role")}); code(err) != errs.Invalid {
		t.Errorf("a mask with a field that is none: got %v, want %s", err, errs.Invalid)
	}
}
