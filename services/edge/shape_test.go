package edge

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trackway/trackway/services/platform/errs"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

func TestReadsGiveTheFieldsThatAreAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, want := range map[string]string{
		"/api/tasks/1/?fields=title,status":                     `{"id":1,"title":"Learn the API","status":"todo"}`,
		"/api/tasks/1/?fields=id":                               `{"id":1}`,
		"/api/tasks/?fields=number&limit=2":                     `[{"id":1,"number":1},{"id":2,"number":2}]`,
		"/api/projects/1/tasks/?fields=number&limit=1":          `[{"id":1,"number":1}]`,
		"/api/projects/?fields=name":                            `[{"id":1,"name":"Apollo"}]`,
		"/api/projects/1/members/2/?fields=role":                `{"id":1,"role":"member"}`,
		"/api/comments/1/?fields=body":                          `{"id":1,"body":"Good."}`,
		"/api/users/me/?fields=name,version":                    `{"id":7,"version":3,"name":"Ada"}`,
		"/api/users/?fields=active":                             `[{"id":7,"active":true}]`,
		"/api/tasks/1/?fields=id&permissions=true":              `{"id":1,"_permissions":{"update":true,"delete":true,"comment":true}}`,
		"/api/comments/1/?fields=id&permissions=true":           `{"id":1,"_permissions":{"update":true,"delete":true}}`,
		"/api/projects/1/members/2/?fields=id&permissions=true": `{"id":1,"_permissions":{"update":false,"delete":false}}`,
		"/api/projects/1/?fields=id&permissions=true": `{"id":1,"_permissions":{"update":false,"delete":false,` +
			`"manage_members":false,"transfer":false,"create_tasks":true,"comment":true}}`,
	} {
		if res := w.do("GET", path, ""); res.StatusCode != http.StatusOK || res.body != want {
			t.Errorf("%s: got %d %s, want %s", path, res.StatusCode, res.body, want)
		}
	}
	for _, path := range []string{"/api/tasks/?fields=title,nope", "/api/tasks/1/?expand=nope", "/api/users/1/?fields=password"} {
		res := w.do("GET", path, "")
		p := checkProblem(t, path, res)
		if res.StatusCode != http.StatusBadRequest || len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Detail, "must be one of") {
			t.Errorf("%s: got %d %+v, want a 400 that lists what is allowed", path, res.StatusCode, p.Errors)
		}
	}
}

// Whoever manages the members of a project whose owner's account is deleted makes one of them the owner.
func TestPermissionsTellWhoMayGiveAProjectAnotherOwner(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		role projectsv1.Role
		gone bool
		lost error
		want string
	}{
		{"the owner", projectsv1.Role_ROLE_OWNER, false, nil, `"transfer":true`},
		{"an admin", projectsv1.Role_ROLE_ADMIN, false, nil, `"transfer":false`},
		{"an admin without an owner", projectsv1.Role_ROLE_ADMIN, true, nil, `"transfer":true`},
		{"a member without an owner", projectsv1.Role_ROLE_MEMBER, true, nil, `"transfer":false`},
		{"an admin's token that can not read users", projectsv1.Role_ROLE_ADMIN, true, errs.New(errs.InsufficientScope, "No."), `"transfer":false`},
	} {
		w := newWorld(t)
		w.fake.role, w.fake.gone, w.fake.lost = tt.role, tt.gone, tt.lost
		for _, path := range []string{"/api/projects/1/?permissions=true", "/api/projects/?permissions=true"} {
			if res := w.do("GET", path, ""); res.StatusCode != http.StatusOK || !strings.Contains(res.body, tt.want) {
				t.Errorf("%s, %s: got %d %s, want %s", tt.name, path, res.StatusCode, res.body, tt.want)
			}
		}
	}
}

func TestEmbeddingAsksOnceForEachKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.tasks[2].AssigneeId = new(int64(8))
	w.fake.tasks[2].ParentId = new(int64(1))
	w.fake.tasks[3].ParentId = new(int64(99)) // deleted
	w.fake.took()
	res := w.do("GET", "/api/tasks/?expand=assignee,creator,project,parent&permissions=true&fields=number&limit=3", "")
	var got []map[string]any
	res.json(t, &got)
	var methods []string
	for _, c := range w.fake.took() {
		methods = append(methods, c.method)
	}
	slices.Sort(methods)
	if diff := cmp.Diff([]string{"BatchGetAccess", "BatchGetProjects", "BatchGetTasks", "BatchGetUsers", "ListTasks"}, methods); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	var seen [][]any
	for _, task := range got {
		row := []any{task["number"]}
		for _, name := range []string{"assignee", "creator", "project", "parent"} {
			thing, _ := task[name].(map[string]any)
			row = append(row, thing["id"])
		}
		seen = append(seen, row)
	}
	want := [][]any{{1.0, nil, 7.0, 1.0, nil}, {2.0, 8.0, 7.0, 1.0, 1.0}, {3.0, nil, 7.0, 1.0, nil}}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("number, and ids of assignee, creator, project, parent (-want +got):\n%s", diff)
	}
	if len(got) == 3 && !strings.Contains(res.body, `"parent":null`) {
		t.Errorf("got %s, want null for what is not there", res.body)
	}
}

// TestAnETagIsOfAllThatIsInTheAnswer: what is embedded changes without the thing's version.
func TestAnETagIsOfAllThatIsInTheAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.tasks[2].ParentId = new(int64(1))
	if got := w.do("GET", "/api/tasks/2/?fields=title", "").Header.Get("ETag"); got != `"3"` {
		t.Errorf("some fields: got the ETag %s, want the version", got)
	}
	const path = "/api/tasks/2/?expand=parent"
	before := w.do("GET", path, "").Header.Get("ETag")
	if again := w.do("GET", path, "", "If-None-Match", before); again.StatusCode != http.StatusNotModified {
		t.Errorf("unchanged: got %d, want 304", again.StatusCode)
	}
	w.fake.mu.Lock()
	w.fake.tasks[1] = newFakeTask(1)
	w.fake.tasks[1].Title = "Another"
	w.fake.mu.Unlock()
	if after := w.do("GET", path, "", "If-None-Match", before); after.StatusCode != http.StatusOK {
		t.Errorf("another parent: got %d, want 200", after.StatusCode)
	}
}
