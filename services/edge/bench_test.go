package edge

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkRequests shows what the door costs, and what a call to a service in memory costs beside it.
func BenchmarkRequests(b *testing.B) {
	w := newWorld(b, func(c *Config) { c.RateLimit = 0 }) // whose script would run in this process too
	for _, bb := range []struct{ name, method, path, body string }{
		{"index", http.MethodGet, "/api/", ""},
		{"invalid", http.MethodPost, "/api/tasks/", `{"title":""}`},
		{"get", http.MethodGet, "/api/tasks/1/", ""},
		{"patch", http.MethodPatch, "/api/tasks/1/", `{"title":"New"}`},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), bb.method, bb.path, strings.NewReader(bb.body))
				r.Header.Set("Authorization", "Bearer "+w.token)
				w.handler.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}
