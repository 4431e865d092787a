package edge

import (
	"net/http"
	"net/url"
	"testing"
)

// FuzzRequests sends anything as a body, a cursor and a condition: whatever it is, nothing may break.
func FuzzRequests(f *testing.F) {
	w := newWorld(f)
	f.Add(`{"title":"New","labels":["a"]}`, "a.WyJpZCJd", `"3"`)
	f.Add(`{"title":null,"labels":null}`, "b.x", `W/"3", *`)
	f.Add(`{"assignee_id":1e3}`, "", `"`)
	f.Add("[[[[", "a.", `,,"",`)
	f.Fuzz(func(t *testing.T, body, cursor, condition string) {
		bounded := *w
		bounded.tb = t
		for _, c := range condition {
			if c < ' ' || c == 0x7f {
				return // net/http sends no such header
			}
		}
		res := bounded.do(http.MethodPatch, "/api/tasks/1/", body, "If-Match", condition)
		if res.StatusCode >= 500 || res.StatusCode < 200 {
			t.Errorf("PATCH %q, If-Match: %q: got %d %s", body, condition, res.StatusCode, res.body)
		}
		res = bounded.do(http.MethodGet, "/api/projects/?cursor="+url.QueryEscape(cursor), "", "If-None-Match", condition)
		if res.StatusCode >= 500 || res.StatusCode < 200 {
			t.Errorf("cursor %q, If-None-Match: %q: got %d %s", cursor, condition, res.StatusCode, res.body)
		}
	})
}
