package rest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

func TestARetiredOperationSaysSo(t *testing.T) {
	t.Parallel()
	customize()
	a := &api{mux: http.NewServeMux(), bodyLimit: 1}
	a.huma = huma.NewAPI(description(), a)
	since, until := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC)
	old := retire(public(operation(http.MethodGet, "/api/old/", "old", tagMeta, "Old", "Old.")), since, until)
	register(a, old, func(context.Context, *struct{}) (*Read[Index], error) { return &Read[Index]{}, nil })
	for path, want := range map[string]int{"/api/old/": http.StatusOK, "/api/old/?x=1": http.StatusBadRequest} {
		rec := httptest.NewRecorder()
		a.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if rec.Code != want || rec.Header().Get("Deprecation") != "@1798761600" ||
			rec.Header().Get("Sunset") != "Sat, 01 Jan 2028 00:00:00 GMT" {
			t.Errorf("%s: got %d %v, want %d with Deprecation and Sunset", path, rec.Code, rec.Header(), want)
		}
	}
	finish(a.huma.OpenAPI())
	text, err := a.huma.OpenAPI().MarshalJSON()
	if err != nil || !strings.Contains(string(text), `"deprecated":true`) || !strings.Contains(string(text), `"Sunset":`) {
		t.Errorf("got %v, %s, want it documented", err, text)
	}
}
