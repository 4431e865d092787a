package projects_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/trackway/trackway/services/platform/errs"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// Owners give a project away, while others are removed, leave and come back, all at the same time: at no moment is it
// without its one owner.
func TestAProjectIsNeverWithoutItsOwner(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	const rounds = 40
	people := []int64{owner, manager, worker, commenter, viewer}
	p := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE)
	id := p.GetId()
	// wrong counts the projects that have not one owner, who is the one that the project names.
	wrong := func(ctx context.Context) (n int, err error) {
		err = s.db.NewRaw(`SELECT count(*) FROM projects p WHERE
			(SELECT count(*) FROM members m WHERE m.project_id = p.id AND m.role = 5) <> 1 OR
			NOT EXISTS (SELECT FROM members m WHERE m.project_id = p.id AND m.role = 5 AND m.user_id = p.owner_id)`).Scan(ctx, &n)
		return n, err
	}
	var (
		workers, watcher sync.WaitGroup
		looks            atomic.Int64
		mu               sync.Mutex
		came             = map[string]int{} // how often each was done, or refused how
	)
	note := func(what string, err error) {
		mu.Lock()
		defer mu.Unlock()
		came[fmt.Sprintf("%s %s", what, code(err))]++
		if err != nil && !slices.Contains([]errs.Code{errs.NotFound, errs.Denied, errs.Conflict, errs.Unavailable}, code(err)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	over, stop := context.WithCancel(t.Context())
	watcher.Go(func() {
		for over.Err() == nil {
			if n, err := wrong(t.Context()); err != nil || n > 0 {
				t.Errorf("projects without their one owner: %d, %v", n, err)
				return
			}
			looks.Add(1)
		}
	})
	for _, one := range people {
		workers.Go(func() {
			for range rounds {
				other := people[rand.IntN(len(people))]
				_, err := s.projects.UpdateMember(s.as(one), &projectsv1.UpdateMemberRequest{
					ProjectId: id, UserId: other, Role: projectsv1.Role_ROLE_OWNER, UpdateMask: mask("role"),
				})
				note("transfer", err)
			}
		})
		workers.Go(func() {
			for range rounds {
				_, err := s.projects.DeleteMember(s.as(one), &projectsv1.DeleteMemberRequest{ProjectId: id, UserId: one})
				note("leave", err)
				_, err = s.projects.CreateMember(s.as(admin), &projectsv1.CreateMemberRequest{
					ProjectId: id, UserId: one, Role: projectsv1.Role_ROLE_ADMIN,
				})
				note("come back", err)
			}
		})
		workers.Go(func() {
			for range rounds {
				other := people[rand.IntN(len(people))]
				_, err := s.projects.DeleteMember(s.as(one), &projectsv1.DeleteMemberRequest{ProjectId: id, UserId: other})
				note("remove", err)
			}
		})
	}
	workers.Wait()
	stop()
	watcher.Wait()
	if n, err := wrong(t.Context()); err != nil || n > 0 {
		t.Errorf("projects without their one owner in the end: %d, %v", n, err)
	}
	for _, what := range []string{"transfer ", "leave ", "remove ", "come back "} {
		if came[what] < 3 {
			t.Errorf("%swas done %d times, and proves nothing: %v", what, came[what], came)
		}
	}
	t.Logf("%d looks; %v", looks.Load(), came)
}
