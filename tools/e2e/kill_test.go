package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Killed in the middle of a stream of keyed writes, the system has every write that it acknowledged, and every write
// that is sent again with its key exactly once: one row, one event.
func TestAKilledSystemHasEveryAcknowledgedWriteOnce(t *testing.T) {
	t.Parallel()
	const (
		clients = 4
		rounds  = 2
		enough  = 40 // acknowledged writes before the kill
	)
	dir := dataDir(t)
	p := start(t, dir)
	c, _ := register(t, p.url, "Kim Keys", "kim@example.org")
	project := c.create("/api/projects/", object{"name": "Stream"})["id"]

	sent := map[string]any{} // title: the id acknowledged, nil if none was
	for round := range rounds {
		ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
		var (
			mu    sync.Mutex
			acked int
			wait  sync.WaitGroup
		)
		for n := range clients {
			wait.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					title := fmt.Sprintf("task %d.%d.%d", round, n, i)
					mu.Lock()
					sent[title] = nil
					mu.Unlock()
					a, err := c.try(ctx, http.MethodPost, "/api/tasks/", object{"project_id": project, "title": title},
						"Idempotency-Key", title)
					if err != nil || a.status != http.StatusCreated {
						continue // no acknowledgement, so no promise
					}
					made, ok := a.body.(object)
					if !ok {
						t.Errorf("%s was answered with %v", title, a.body)
					}
					mu.Lock()
					sent[title] = made["id"]
					acked++
					if acked == enough {
						p.signal(syscall.SIGKILL) // others are on their way
						cancel()
					}
					mu.Unlock()
				}
			})
		}
		wait.Wait()
		cancel()
		t.Logf("%d writes have been sent, and %d acknowledged in this round", len(sent), acked)
		if acked < enough {
			t.Fatalf("only %d writes were acknowledged in %v", acked, startTimeout)
		}
		p.await()
		p = start(t, dir)
		c.url = p.url
	}

	for title, id := range sent {
		a := c.do(http.StatusCreated, http.MethodPost, "/api/tasks/", object{"project_id": project, "title": title},
			"Idempotency-Key", title)
		if got := as[object](t, a.body)["id"]; id != nil && got != id {
			t.Errorf("%s was acknowledged with the id %v, and its repetition with %v", title, id, got)
		}
		if id != nil && a.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s was acknowledged, and its repetition is not said to be one", title)
		}
	}
	var want []string
	for title := range sent {
		want = append(want, title)
	}
	slices.Sort(want)
	if diff := cmp.Diff(titles(t, c, project), want); diff != "" {
		t.Errorf("the API gives other tasks than were sent (-got +want):\n%s", diff)
	}
	tasks := p.open("tasks")
	rows := column(t, tasks, "SELECT title FROM tasks WHERE project_id = $1", path("%d", project))
	if diff := cmp.Diff(rows, want); diff != "" {
		t.Errorf("the table has other tasks than were sent (-got +want):\n%s", diff)
	}
	events := column(t, tasks, `SELECT t.title FROM events e JOIN tasks t ON t.id = e.subject_id
		WHERE e.type = 'task.created' AND t.project_id = $1`, path("%d", project))
	if diff := cmp.Diff(events, want); diff != "" {
		t.Errorf("there are events of other tasks than were sent (-got +want):\n%s", diff)
	}
}

// titles reads the whole list of a project's tasks, page by page, and sorts it.
func titles(t *testing.T, c *client, project any) (all []string) {
	t.Helper()
	next := path("/api/tasks/?project=%d&limit=30", project)
	for next != "" {
		a := c.do(http.StatusOK, http.MethodGet, next, nil)
		for _, task := range objects(t, a.body) {
			all = append(all, as[string](t, task["title"]))
		}
		next = link(a, "next")
	}
	slices.Sort(all)
	return all
}
