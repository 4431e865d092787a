package access

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/go-json-experiment/json"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/trackway/trackway/services/platform/auth"
)

// A 403 says, if asked, what is missing and who could grant it, the same at both doors; and a 404 says nothing more than
// without the question.
func TestARefusalIsExplainedToWhoCanSeeTheThing(t *testing.T) {
	t.Parallel()
	s, err := here.scene(t.Context(), places()[0], here.owner)
	if err != nil {
		t.Fatal(err)
	}
	project, task := s.id("project"), s.id("task")
	managers := []any{
		object{"user_id": float64(here.owner), "role": "owner"}, object{"user_id": float64(here.manager), "role": "admin"},
	}
	for _, tt := range []struct {
		by                       int64
		method, path, body       string
		mutation                 string
		permission               auth.Permission
		roles, granted, grantors []any
	}{
		{
			here.commenter, http.MethodPatch, fmt.Sprintf("/api/tasks/%d/", task), `{"title": "New"}`,
			fmt.Sprintf(`updateTask(input: {id: %d, title: "New"})`, task),
			auth.WriteTasks,
			[]any{"member", "admin", "owner"},
			[]any{"admin", "owner"},
			managers,
		},
		{
			here.manager, http.MethodDelete, fmt.Sprintf("/api/projects/%d/", project), "",
			fmt.Sprintf(`deleteProject(input: {id: %d})`, project),
			auth.DeleteProject,
			[]any{"owner"},
			[]any{"owner"},
			managers[:1],
		},
		{
			here.member, http.MethodDelete, fmt.Sprintf("/api/projects/%d/members/%d/", project, here.target), "",
			fmt.Sprintf(`removeMember(input: {projectId: %d, userId: %d})`, project, here.target),
			auth.ManageMembers,
			[]any{"admin", "owner"},
			[]any{"admin", "owner"},
			managers,
		},
	} {
		want := any(object{
			"permission": string(tt.permission), "project_id": float64(project), "roles": tt.roles, "granted_by": tt.granted,
			"grantors": tt.grantors,
		})
		status, answer := here.raw(t, tt.by, tt.method, tt.path+"?explain=true", tt.body)
		if diff := gocmp.Diff(want, answer["explanation"]); status != http.StatusForbidden || diff != "" {
			t.Errorf("%s %s: got %d (-want +got):\n%s", tt.method, tt.path, status, diff)
		}
		if _, answer = here.raw(t, tt.by, tt.method, tt.path, tt.body); answer["explanation"] != nil {
			t.Errorf("%s %s is explained to who has not asked: %v", tt.method, tt.path, answer["explanation"])
		}
		query := object{"query": "mutation { " + tt.mutation + " { userErrors { code } } }", "extensions": object{"explain": true}}
		b, err := json.Marshal(query)
		if err != nil {
			t.Fatal(err)
		}
		_, answer = here.raw(t, tt.by, http.MethodPost, "/graphql", string(b))
		if got := lowered(answer); gocmp.Diff(want, got) != "" {
			t.Errorf("%s (-want +got):\n%s", tt.mutation, gocmp.Diff(want, got))
		}
		// Who may not know that it exists is told the same with and without the question.
		_, asked := here.raw(t, here.stranger, tt.method, tt.path+"?explain=true", tt.body)
		status, unasked := here.raw(t, here.stranger, tt.method, tt.path, tt.body)
		delete(asked, "trace_id")
		delete(unasked, "trace_id")
		if diff := gocmp.Diff(unasked, asked); status != http.StatusNotFound || diff != "" {
			t.Errorf("%s %s: a stranger gets %d (-without +with explain):\n%s", tt.method, tt.path, status, diff)
		}
	}
}

// raw sends a request in the name of a user.
func (w *world) raw(t *testing.T, by int64, method, path, body string) (status int, answer object) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.URL+path, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	token, err := w.token(by)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("%s %s: %v: %s", method, path, err, text)
	}
	return res.StatusCode, answer
}

// lowered is the explanation in the first error of a GraphQL answer, spelled as REST does.
func lowered(answer object) any {
	failures, _ := answer["errors"].([]any)
	if len(failures) == 0 {
		return nil
	}
	extensions, _ := as[object](failures[0])["extensions"].(object)
	return respell(extensions["explain"])
}

func respell(value any) any {
	switch v := value.(type) {
	case string:
		return string(bytes.ToLower([]byte(v)))
	case []any:
		out := make([]any, 0, len(v))
		for _, item := range v {
			out = append(out, respell(item))
		}
		return out
	case object:
		out := object{}
		for name, item := range v {
			out[snake(name)] = respell(item)
		}
		return out
	default:
		return value
	}
}
