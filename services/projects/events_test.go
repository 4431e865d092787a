package projects_test

import (
	"slices"
	"testing"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/pgtest"
	eventsv1 "github.com/trackway/trackway/services/rpc/events/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

func TestEventsOfAProjectAreForItsReadersAndItsEndForThoseWhoLoseIt(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	p := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE)
	list := func(user int64, req *eventsv1.ListEventsRequest) []string {
		t.Helper()
		pgtest.Settle(t)
		answer, err := s.projects.ListEvents(s.as(user), req)
		if err != nil {
			t.Fatal(err)
		}
		var types []string
		for _, e := range answer.GetEvents() {
			if e.GetProjectId() != p.GetId() {
				t.Errorf("got an event of project %d", e.GetProjectId())
			}
			types = append(types, e.GetType())
		}
		return types
	}
	if got := list(viewer, &eventsv1.ListEventsRequest{ProjectId: p.GetId()}); len(got) < 3 || got[0] != "project.created" {
		t.Errorf("got %v, want how the project and its members were made", got)
	}
	if _, err := s.projects.ListEvents(s.as(stranger), &eventsv1.ListEventsRequest{ProjectId: p.GetId()}); !errs.Is(err, errs.NotFound) {
		t.Errorf("a stranger: got %v, want %v", err, errs.NotFound)
	}
	if got := list(stranger, &eventsv1.ListEventsRequest{}); len(got) != 0 {
		t.Errorf("a stranger's own: got %v, want none", got)
	}
	if _, err := s.projects.DeleteMember(s.as(owner), &projectsv1.DeleteMemberRequest{ProjectId: p.GetId(), UserId: viewer}); err != nil {
		t.Fatal(err)
	}
	if got := list(viewer, &eventsv1.ListEventsRequest{Mine: true}); !slices.Equal(got, []string{"member.deleted"}) {
		t.Errorf("who was taken out: got %v, want only that", got)
	}
	if _, err := s.projects.DeleteProject(s.as(owner), &projectsv1.DeleteProjectRequest{Id: p.GetId()}); err != nil {
		t.Fatal(err)
	}
	ended := &eventsv1.ListEventsRequest{Types: []string{"project.deleted"}}
	if got := list(commenter, ended); !slices.Equal(got, []string{"project.deleted"}) {
		t.Errorf("a member: got %v, want the project's end", got)
	}
	if got := list(viewer, ended); len(got) != 0 {
		t.Errorf("who was no member any more: got %v, want none", got)
	}
}
