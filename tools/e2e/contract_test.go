package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What the contract says beyond single answers, on the real system.
func TestTheFinePrintHolds(t *testing.T) {
	t.Parallel()
	p := start(t, dataDir(t))
	c, _ := register(t, p.url, "Fina Print", "fina@example.org")
	f := fine{T: t, c: c, project: c.create("/api/projects/", object{"name": "Fine print"})["id"]}
	t.Run("a page that was emptied leads back", f.in(fine.emptiedPages))
	t.Run("a condition of several tags is one request with its repetition", f.in(fine.severalTags))
	t.Run("a replacement has the defaults and an empty patch changes nothing", f.in(fine.replacements))
	t.Run("relevance takes a search", f.in(fine.relevance))
}

type fine struct {
	*testing.T

	c       *client
	project any
}

// in is a test of the group.
func (f fine) in(test func(fine)) func(*testing.T) {
	return func(t *testing.T) {
		c := *f.c
		c.t = t
		test(fine{t, &c, f.project})
	}
}

func (f fine) tasks(label string, n int) (ids []any) {
	f.Helper()
	for i := range n {
		made := f.c.do(http.StatusCreated, http.MethodPost, "/api/tasks/",
			object{"project_id": f.project, "title": fmt.Sprint(label, i), "labels": []any{label}})
		ids = append(ids, as[object](f.T, made.body)["id"])
	}
	return ids
}

func (f fine) read(path string) (ids []any, a answer) {
	f.Helper()
	a = f.c.do(http.StatusOK, http.MethodGet, path, nil)
	for _, o := range objects(f.T, a.body) {
		ids = append(ids, o["id"])
	}
	return ids, a
}

func (f fine) emptiedPages() {
	ids := f.tasks("emptied", 5)
	_, first := f.read("/api/tasks/?limit=2&label=emptied")
	_, second := f.read(link(first, "next"))
	for _, id := range ids[4:] {
		f.c.do(http.StatusNoContent, http.MethodDelete, path("/api/tasks/%d/", id), nil)
	}
	got, last := f.read(link(second, "next"))
	if len(got) != 0 || link(last, "next") != "" {
		f.Errorf("behind all: got %v and the next page %q, want nothing", got, link(last, "next"))
	}
	got, before := f.read(link(last, "prev"))
	if diff := cmp.Diff(ids[2:4], got); diff != "" {
		f.Errorf("back from the emptied page (-want +got):\n%s", diff)
	}
	got, _ = f.read(link(before, "prev"))
	if diff := cmp.Diff(ids[:2], got); diff != "" {
		f.Errorf("back from there (-want +got):\n%s", diff)
	}
	// The same at the other end.
	toFirst := link(second, "prev")
	for _, id := range ids[:2] {
		f.c.do(http.StatusNoContent, http.MethodDelete, path("/api/tasks/%d/", id), nil)
	}
	got, start := f.read(toFirst)
	if len(got) != 0 || link(start, "prev") != "" {
		f.Errorf("ahead of all: got %v and the page before %q, want nothing", got, link(start, "prev"))
	}
	if got, _ = f.read(link(start, "next")); cmp.Diff(ids[2:4], got) != "" {
		f.Errorf("on from the emptied page: got %v, want %v", got, ids[2:4])
	}
}

func (f fine) severalTags() {
	task := path("/api/tasks/%d/", f.tasks("tags", 1)[0])
	for _, condition := range [][]string{{"If-Match", `"1", "7"`}, {"If-None-Match", `"9"`}} {
		headers := []string{condition[0], condition[1], "Idempotency-Key", condition[0]}
		body := object{"title": "By " + condition[0]}
		first := f.c.do(http.StatusOK, http.MethodPatch, task, body, headers...)
		second := f.c.do(http.StatusOK, http.MethodPatch, task, body, headers...)
		if second.header.Get("Idempotency-Replayed") != "true" || second.header.Get("ETag") != first.header.Get("ETag") {
			f.Errorf("%v again: got %v, want the first answer again", condition, second.header)
		}
		f.c.do(http.StatusUnprocessableEntity, http.MethodPatch, task, body, condition[0], `"3"`, "Idempotency-Key", condition[0])
	}
	f.c.do(http.StatusPreconditionFailed, http.MethodDelete, task, nil, "If-Match", `"1", "2"`)
	for _, replayed := range []string{"", "true"} {
		gone := f.c.do(http.StatusNoContent, http.MethodDelete, task, nil, "If-Match", `"2", "3"`, "Idempotency-Key", "gone")
		if got := gone.header.Get("Idempotency-Replayed"); got != replayed {
			f.Errorf("deleting: got replayed %q, want %q", got, replayed)
		}
	}
	f.c.do(http.StatusNotFound, http.MethodDelete, task, nil, "If-Match", `"2", "3"`)
}

func (f fine) replacements() {
	task := path("/api/tasks/%d/", f.tasks("replaced", 1)[0])
	set := f.c.do(http.StatusOK, http.MethodPatch, task, object{
		"description": "Long", "status": "done", "priority": "high", "labels": []any{"a"}, "due_date": "2031-03-01",
	})
	same := f.c.do(http.StatusOK, http.MethodPatch, task, object{}, "If-Match", set.header.Get("ETag"))
	if diff := cmp.Diff(set.body, same.body); diff != "" || same.header.Get("ETag") != set.header.Get("ETag") {
		f.Errorf("an empty patch (-before +after):\n%s", diff)
	}
	got := as[object](f.T, f.c.do(http.StatusOK, http.MethodPut, task, object{"title": "Only this"}).body)
	want := object{
		"title": "Only this", "description": "", "status": "todo", "completed": false, "priority": "none", "labels": []any{},
		"due_date": nil, "assignee_id": nil, "parent_id": nil, "completed_at": nil, "version": 3.0,
	}
	for name, value := range want {
		if diff := cmp.Diff(value, got[name]); diff != "" {
			f.Errorf("%s of the replacement (-want +got):\n%s", name, diff)
		}
	}
}

func (f fine) relevance() {
	for _, list := range []string{"/api/tasks/", "/api/projects/", "/api/users/"} {
		a := f.c.do(http.StatusBadRequest, http.MethodGet, list+"?ordering=-relevance", nil)
		wrong := objects(f.T, as[object](f.T, a.body)["errors"])
		if len(wrong) != 1 || wrong[0]["parameter"] != "ordering" || !strings.Contains(fmt.Sprint(wrong[0]["detail"]), "created_at") {
			f.Errorf("%s by relevance without a search: got %v, want a 400 that lists the orders", list, wrong)
		}
	}
}
