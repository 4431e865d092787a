package graph_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/trackway/trackway/graph"
)

// fetched is the head of an answer.
type fetched struct {
	StatusCode int
	Header     http.Header
}

// fetch gets something as it is on the wire.
func (w *world) fetch(t *testing.T, path string, header map[string]string) (head fetched, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := (&http.Transport{DisableCompression: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return fetched{res.StatusCode, res.Header}, readAll(t, res)
}

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

func TestBrowsersGetAPageThatNeedsNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.config
	cfg.GraphiQL = true
	w.url = w.serve(t, cfg)
	res, html := w.fetch(t, "/graphql", map[string]string{"Accept": browser})
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("got %d %s", res.StatusCode, res.Header.Get("Content-Type"))
	}
	policy := res.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "http") {
		t.Errorf("got the policy %q, want one that allows only what is ours", policy)
	}
	var named []string
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(html, -1) {
		if m[1] != "data:," {
			named = append(named, strings.TrimPrefix(m[1], "graphql/"))
		}
	}
	if slices.Sort(named); !slices.Equal(named, slices.Sorted(slices.Values(graph.PageFiles()))) {
		t.Errorf("the page names %q, want %q", named, graph.PageFiles())
	}
	for _, name := range named {
		plain, text := w.fetch(t, "/graphql/"+name, nil)
		if plain.StatusCode != http.StatusOK || plain.Header.Get("Content-Encoding") != "" || len(text) < 100_000 {
			t.Errorf("%s: got %d and %d bytes, want the file", name, plain.StatusCode, len(text))
		}
		if regexp.MustCompile(`@import|url\(['"]?(https?:)?//`).MatchString(text) && strings.HasSuffix(name, "css") {
			t.Errorf("%s fetches from elsewhere", name)
		}
		for accept, want := range map[string]string{"br, gzip": "gzip", "gzip;q=0": "", "*": "gzip", "gzip;q=0.5": "gzip", "identity": ""} {
			packed, body := w.fetch(t, "/graphql/"+name, map[string]string{"Accept-Encoding": accept})
			if got := packed.Header.Get("Content-Encoding"); got != want {
				t.Errorf("%s for %q: got the coding %q, want %q", name, accept, got, want)
				continue
			}
			if want != "" {
				unpacked, err := gzip.NewReader(strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(unpacked)
				if err != nil || string(b) != text {
					t.Errorf("%s: packed and unpacked differ: %v", name, err)
				}
			}
		}
	}
}

func TestOnlyBrowsersGetThePage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.config
	cfg.GraphiQL = true
	for _, on := range []bool{true, false} {
		cfg.GraphiQL = on
		w.url = w.serve(t, cfg)
		for path, accepts := range map[string][]string{
			"":                              {"", "*/*", "application/json", "application/json, text/html;q=0.1"},
			"?query=%7B%20__typename%20%7D": {"*/*", browser},
		} {
			for _, accept := range accepts {
				res, text := w.fetch(t, path, map[string]string{"Accept": accept})
				if got := res.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") || !strings.HasPrefix(text, "{") {
					t.Errorf("%q for %q: got %q, want JSON", path, accept, got)
				}
			}
		}
	}
	if res, text := w.fetch(t, "", map[string]string{"Accept": browser}); res.StatusCode != http.StatusBadRequest {
		t.Errorf("switched off: got %d %s, want 400", res.StatusCode, text)
	}
}
