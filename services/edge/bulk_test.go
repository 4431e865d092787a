package edge

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestABulkRequestTellsOfEachItem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	type outcome struct {
		Status  int       `json:"status"`
		Task    *struct{} `json:"task"`
		Problem *problem  `json:"problem"`
	}
	var got struct {
		Results []outcome `json:"results"`
	}
	res := w.do("POST", "/api/tasks/bulk/",
		`{"atomic":false,"tasks":[{"project_id":1,"title":"good"},{"project_id":1,"title":"bad"}]}`)
	res.json(t, &got)
	if len(got.Results) != 2 || got.Results[0].Status != http.StatusCreated || got.Results[0].Task == nil ||
		got.Results[1].Status != http.StatusBadRequest || got.Results[1].Problem == nil {
		t.Fatalf("got %d %s, want a task and a problem", res.StatusCode, res.body)
	}
	want := []violation{{Pointer: "#/tasks/1/title", Detail: "is bad"}}
	if diff := cmp.Diff(want, got.Results[1].Problem.Errors); diff != "" {
		t.Errorf("the second problem's errors (-want +got):\n%s", diff)
	}

	res = w.do("POST", "/api/tasks/bulk/", `{"tasks":[{"project_id":1,"title":"good"},{"project_id":1,"title":"bad"}]}`)
	if diff := cmp.Diff(want, checkProblem(t, "atomic", res).Errors); diff != "" || res.StatusCode != http.StatusBadRequest {
		t.Errorf("atomic: got %d, errors (-want +got):\n%s", res.StatusCode, diff)
	}

	got.Results = nil
	w.do("PATCH", "/api/tasks/bulk/", `{"atomic":false,"tasks":[{"id":1},{"id":99},{"id":2,"version":1}]}`).json(t, &got)
	var statuses []int
	for _, r := range got.Results {
		statuses = append(statuses, r.Status)
	}
	if diff := cmp.Diff([]int{200, 404, 412}, statuses); diff != "" {
		t.Errorf("statuses of changes (-want +got):\n%s", diff)
	}

	for body, want := range map[string][]violation{
		`{"tasks":[]}`: {{Pointer: "#/tasks", Detail: "must have at least 1 items"}},
		`{"tasks":[{"id":1,"title":null},{"id":2,"version":null}]}`: {
			{Pointer: "#/tasks/0/title", Detail: "must not be null"}, {Pointer: "#/tasks/1/version", Detail: "must not be null"},
		},
		`{"tasks":[{"id":1},{"id":2,"number":1}]}`: {
			{Pointer: "#/tasks/1/number", Detail: "is not a field that can be written here"},
		},
	} {
		res := w.do("PATCH", "/api/tasks/bulk/", body)
		if diff := cmp.Diff(want, checkProblem(t, body, res).Errors); diff != "" || res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %d, errors (-want +got):\n%s", body, res.StatusCode, diff)
		}
	}

	// A condition that is not asked about must not be taken for one that holds.
	for _, header := range []string{"If-Match", "If-None-Match"} {
		res := w.do("PATCH", "/api/tasks/bulk/", `{"tasks":[{"id":1,"title":"New"}]}`, header, `"1"`)
		want := []violation{{Header: header, Detail: "is not taken here: give each its version in the body"}}
		if diff := cmp.Diff(want, checkProblem(t, header, res).Errors); diff != "" || res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %d, errors (-want +got):\n%s", header, res.StatusCode, diff)
		}
	}
}
