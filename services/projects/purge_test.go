package projects_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/trash"
	"github.com/trackway/trackway/services/projects"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// trashed makes a project that is in the trash for some days already.
func (s *suite) trashed(days int) int64 {
	s.Helper()
	p := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE)
	_, err := s.projects.CreateInvitation(s.as(owner), &projectsv1.CreateInvitationRequest{
		ProjectId: p.GetId(), Email: "ada@example.org", Role: projectsv1.Role_ROLE_MEMBER,
	})
	if err != nil {
		s.Fatal(err)
	}
	_, err = s.db.NewRaw("UPDATE projects SET deleted_at = now() - ? * interval '1 day' WHERE id = ?", days, p.GetId()).Exec(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return p.GetId()
}

// purge starts a replica, named so, that keeps the trash for 30 days, and waits until the project has gone.
func (s *suite) purge(replica string, id int64) {
	s.Helper()
	cfg := s.cfg
	cfg.Trash = trash.Config{Keep: 30 * 24 * time.Hour}
	s.world.Start(s, replica, func(ctx context.Context, common app.Config, env app.Env) error {
		cfg.App = common
		return projects.Run(ctx, cfg, env)
	})
	for deadline := time.After(time.Minute); s.left("projects", "id", id) > 0; {
		select {
		case <-deadline:
			s.Fatalf("project %d is left", id)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// left is how many rows of a table there are of a project.
func (s *suite) left(table, column string, id int64) int64 {
	s.Helper()
	n, err := s.db.NewSelect().Table(table).Where(column+" = ?", id).Count(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return n
}

func TestAProjectThatWasDeletedLongAgoIsPurged(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	live, old, young := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE).GetId(), s.trashed(31), s.trashed(29)
	s.purge("purger", old)
	for table, want := range map[string]int64{"members": 5, "invitations": 1} {
		if got := s.left(table, "project_id", old); got != 0 {
			t.Errorf("%s of a project that was purged: got %d, want none", table, got)
		}
		if got := s.left(table, "project_id", young); got != want {
			t.Errorf("%s of a younger one: got %d, want %d", table, got, want)
		}
	}
	got, err := s.projects.ListProjects(s.as(owner), &projectsv1.ListProjectsRequest{Deleted: true})
	if err != nil {
		t.Fatal(err)
	}
	if trash := got.GetProjects(); len(trash) != 1 || trash[0].GetId() != young {
		t.Errorf("the trash: got %v, want project %d alone", trash, young)
	}
	if _, err := s.projects.RestoreProject(s.as(owner), &projectsv1.RestoreProjectRequest{Id: old}); code(err) != errs.NotFound {
		t.Errorf("restoring what was purged: got %v, want %q", err, errs.NotFound)
	}
	// Other services ask on their own behalf, without a token.
	purged, err := s.projects.BatchGetPurged(t.Context(), &projectsv1.BatchGetPurgedRequest{ProjectIds: []int64{live, old, young, young + 1}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{old}, purged.GetProjectIds()); diff != "" {
		t.Errorf("what was purged (-want +got):\n%s", diff)
	}
	if _, err := s.projects.RestoreProject(s.as(owner), &projectsv1.RestoreProjectRequest{Id: young}); err != nil {
		t.Errorf("restoring a younger one: %v", err)
	}
	for _, id := range []int64{live, young} {
		if _, err := s.projects.GetProject(s.as(worker), &projectsv1.GetProjectRequest{Id: id}); err != nil {
			t.Errorf("project %d: %v", id, err)
		}
	}
}

// What somebody is taking out of the trash a purge neither deletes nor waits for.
func TestAProjectThatIsRestoredJustInTimeIsNotPurged(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	restored, old := s.trashed(32), s.trashed(31)
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.NewRaw("UPDATE projects SET deleted_at = NULL WHERE id = ?", restored).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.purge("purger", old)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	s.purge("another", s.trashed(31))
	if _, err := s.projects.GetProject(s.as(worker), &projectsv1.GetProjectRequest{Id: restored}); err != nil {
		t.Errorf("the restored project: %v", err)
	}
}

func TestMoreProjectsThanGoAtOnceArePurged(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	_, err := s.db.NewRaw(`INSERT INTO projects (name, visibility, owner_id, deleted_at)
		SELECT 'Old', 1, ?, now() - interval '40 days' FROM generate_series(1, 45)`, owner).Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.purge("purger", s.trashed(31))
	if n, err := s.db.NewSelect().Table("projects").Count(t.Context()); err != nil || n != 0 {
		t.Errorf("got %d projects, %v, want none", n, err)
	}
	var transactions int
	err = s.db.NewRaw("SELECT count(DISTINCT purged_at) FROM purged_projects").Scan(t.Context(), &transactions)
	if err != nil || transactions != 3 {
		t.Errorf("got %d transactions, %v, want 3", transactions, err)
	}
}
