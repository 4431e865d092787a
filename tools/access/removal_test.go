package access

import (
	"bytes"
	"context"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trackway/trackway/services/platform/errs"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

const (
	removals = 6
	hammers  = 8  // requests at a time
	before   = 40 // that each of them sends before the removal, at least
	after    = 25 // that each of them begins after it
)

// hammered are the requests of a member who is removed meanwhile, of every kind that the caches know and that they do not.
func hammered() map[string]want {
	task := from("task")
	return map[string]want{
		"getProject": nil, "listProjects": nil, "listMembers": nil, "getMember": nil, "getTask": nil, "listProjectTasks": nil,
		"listTasks": {"search": "Zeppelin"}, "getComment": nil, "listTaskComments": nil, "listComments": nil,
		"createTask": nil, "updateTask": {"title": "Zeppelin"}, "moveTask": {"before_id": from("first")}, "createComment": nil,
		"bulkUpdateTasks": {"title": "Zeppelin"},
		"Query.project":   nil, "Project.members": nil, "Project.tasks": nil, "Query.task": nil, "Task.comments": nil,
		"Query.nodes": {"ids": from("global")}, "Query.tasks": nil, "Query.projects": nil, "Query.comments": {"task_id": task},
		"Mutation.createTask": nil, "Mutation.createComment": nil, "Mutation.updateTask": {"title": "Zeppelin"},
	}
}

// attempt is one request of the member's.
type attempt struct {
	name    string
	edge    int
	began   time.Time
	granted bool
}

// Once the removal of a member is acknowledged, nothing that the member begins afterwards succeeds, through any replica,
// whatever is in the caches and whatever else is asked at the same time; and no stream that was open tells of what is
// written afterwards, over either transport.
func TestNothingSucceedsAfterAMembersRemoval(t *testing.T) {
	t.Parallel()
	h := &hammer{T: t, world: here, operations: restOperations(t)}
	maps.Copy(h.operations, graphFields())
	for round := range removals {
		by := "the owner removes the member"
		if round%2 == 1 {
			by = "the member leaves"
		}
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			h.in(t).round(round%2 == 1)
		})
	}
}

type hammer struct {
	*testing.T
	*world

	operations map[string]operation
}

func (h *hammer) in(t *testing.T) *hammer {
	t.Helper()
	return &hammer{t, h.world, h.operations}
}

func (h *hammer) round(leaves bool) {
	h.Helper()
	ctx := h.Context()
	u, err := h.register(ctx, "hammer")
	if err != nil {
		h.Fatal(err)
	}
	s, err := h.scene(ctx, places()[0], h.owner)
	if err != nil {
		h.Fatal(err)
	}
	id := s.id("project")
	_, err = h.projects.CreateMember(h.as(ctx, h.owner), &projectsv1.CreateMemberRequest{ProjectId: id, UserId: u.GetId()})
	if err != nil {
		h.Fatal(err)
	}
	s["user"], s["caller"], s["target"] = h.target, u.GetId(), h.target

	var (
		mu      sync.Mutex
		all     []attempt
		sent    atomic.Int64
		removed atomic.Bool
		wait    sync.WaitGroup
	)
	ears := h.ears(h.T, u.GetId(), s)
	defer wait.Wait() // which end when the test has failed
	names := slices.Sorted(maps.Keys(hammered()))
	for range hammers {
		wait.Go(func() {
			left := after
			for n := rand.IntN(len(names)); left > 0 && !h.Failed(); n++ {
				if removed.Load() {
					left--
				}
				a := h.try(names[n%len(names)], s, u.GetId())
				sent.Add(1)
				mu.Lock()
				all = append(all, a)
				mu.Unlock()
			}
		})
	}
	h.await(&sent, hammers*before)
	h.awaken(s, ears)
	by := h.owner
	if leaves {
		by = u.GetId()
	}
	status, body := h.ask(ctx, "deleteMember", s, want{"user_id": from("caller")}, by, rand.IntN(len(h.URLs)))
	acknowledged := time.Now()
	removed.Store(true)
	h.deaf(s, ears)
	if status != http.StatusNoContent {
		h.Fatalf("the removal is answered %d: %s", status, body)
	}
	wait.Wait()

	ever := map[string]bool{}
	late := 0
	for _, a := range all {
		switch {
		case !a.began.After(acknowledged):
			ever[a.name] = ever[a.name] || a.granted
		case a.granted:
			h.Errorf("%s through edge %d succeeded, which began %v after the removal was acknowledged",
				a.name, a.edge, a.began.Sub(acknowledged))
		default:
			late++
		}
	}
	for _, name := range names {
		if !ever[name] {
			h.Errorf("%s never succeeded before the removal, so that nothing is proved of it", name)
		}
	}
	if late < hammers*after/2 {
		h.Errorf("only %d requests began after the removal", late)
	}
}

// await returns when so many have been sent.
func (h *hammer) await(sent *atomic.Int64, enough int64) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for sent.Load() < enough {
		select {
		case <-ctx.Done():
			h.Fatalf("only %d requests were answered", sent.Load())
		case <-tick.C:
		}
	}
}

// try sends one request of the member's through either edge.
func (h *hammer) try(name string, s scene, by int64) attempt {
	a := attempt{name: name, edge: rand.IntN(len(h.URLs)), began: time.Now()}
	status, body := h.ask(h.Context(), name, s, hammered()[name], by, a.edge)
	code, err := h.operations[name].outcome(status, body)
	if err != nil || !slices.Contains([]errs.Code{"", errs.NotFound, errs.Conflict, errs.Unavailable}, code) {
		h.Errorf("%s: %q, %v: %s", name, code, err, body)
	}
	a.granted = code == "" && string(body) != "[]" && !bytes.Contains(body, []byte(`"nodes":[]`))
	return a
}

func (h *hammer) ask(ctx context.Context, name string, s scene, with want, by int64, edge int) (status int, body []byte) {
	req, err := h.operations[name].request(ctx, h.URLs[edge], s, with)
	if err != nil {
		h.Error(err)
		return 0, nil
	}
	token, err := h.token(by)
	if err != nil {
		h.Error(err)
		return 0, nil
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := h.http.Do(req)
	if err != nil {
		h.Error(err)
		return 0, nil
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err != nil {
		h.Error(err)
	}
	return res.StatusCode, body
}
