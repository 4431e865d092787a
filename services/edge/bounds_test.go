package edge

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// decode undoes a content coding.
func decode(t *testing.T, coding, body string) string {
	t.Helper()
	var (
		r   io.Reader = strings.NewReader(body)
		err error
	)
	switch coding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		var d *zstd.Decoder
		d, err = zstd.NewReader(r)
		t.Cleanup(d.Close)
		r = d
	}
	if err != nil {
		t.Fatalf("%s: %v", coding, err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", coding, err)
	}
	return string(b)
}

func TestAnswersComeInTheCodingThatTheClientLikesBest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plain := w.do("GET", "/api/tasks/", "", "Accept-Encoding", "identity")
	for accepted, want := range map[string]string{
		"gzip":                              "gzip",
		"GZIP;q=0.5":                        "gzip",
		"br":                                "br",
		"zstd":                              "zstd",
		"gzip, deflate, br, zstd":           "zstd",
		"gzip;q=1, br;q=0.8, zstd;q=0.1":    "gzip",
		"*":                                 "zstd",
		"*;q=0.5, zstd;q=0":                 "br",
		"gzip;q=0":                          "",
		"gzip;q=2":                          "",
		"gzip;q=0.5, identity":              "",
		"deflate":                           "",
		"identity":                          "",
		"identity;q=0.5, gzip;q=0.4, *;q=0": "",
	} {
		res := w.do("GET", "/api/tasks/", "", "Accept-Encoding", accepted)
		if got := res.Header.Get("Content-Encoding"); got != want || decode(t, want, res.body) != plain.body {
			t.Errorf("%s: got the coding %q and %d bytes, want %q and the same answer", accepted, got, len(res.body), want)
		}
		if got := res.Header.Get("ETag"); got != plain.Header.Get("ETag") {
			t.Errorf("%s: got the ETag %s, want %s, whatever the coding", accepted, got, plain.Header.Get("ETag"))
		}
		if got := res.Header.Get("Vary"); got != "Authorization, Accept-Encoding" {
			t.Errorf("%s: got Vary %q", accepted, got)
		}
		again := w.do("GET", "/api/tasks/", "", "Accept-Encoding", accepted, "If-None-Match", res.Header.Get("ETag"))
		if again.StatusCode != http.StatusNotModified || again.Header.Get("Content-Encoding") != "" ||
			again.Header.Get("Vary") != "Authorization, Accept-Encoding" {
			t.Errorf("%s, again: got %d %v, want a bare 304", accepted, again.StatusCode, again.Header)
		}
	}
	if res := w.do("GET", "/api/tasks/1/", "", "Accept-Encoding", "br"); res.Header.Get("Content-Encoding") != "" {
		t.Errorf("a small answer: got the coding %s, want none", res.Header.Get("Content-Encoding"))
	}
	tag := w.do("GET", "/api/tasks/1/", "", "Accept-Encoding", "gzip").Header.Get("ETag")
	if res := w.do("PATCH", "/api/tasks/1/", `{"title":"New"}`, "If-Match", tag, "Accept-Encoding", "gzip"); res.StatusCode != http.StatusOK {
		t.Errorf("an ETag received through gzip: got %d, want it to hold in If-Match", res.StatusCode)
	}
}

func TestSecretsAndStreamsAreNotCompressed(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2*compressFrom)
	for name, set := range map[string]func(http.Header){
		"no-store":     func(h http.Header) { h.Set("Cache-Control", "no-store") },
		"no length":    func(h http.Header) { h.Del("Content-Length") },
		"an image":     func(h http.Header) { h.Set("Content-Type", "image/png") },
		"a coding":     func(h http.Header) { h.Set("Content-Encoding", "br") },
		"a small text": func(h http.Header) { h.Set("Content-Length", "9") },
	} {
		rec := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		req.Header.Set("Accept-Encoding", "gzip")
		compress(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", itoa(len(long)))
			set(w.Header())
			_, _ = io.WriteString(w, long)
		})).ServeHTTP(rec, req)
		if rec.Header().Get("Content-Encoding") == "gzip" || rec.Body.String() != long {
			t.Errorf("%s: got %v, want it as it is", name, rec.Header())
		}
	}
}

func TestWhatIsTooLongIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	res := w.do("GET", "/api/tasks/?search="+strings.Repeat("x", maxURI), "")
	if checkProblem(t, "a long address", res); res.StatusCode != http.StatusRequestURITooLong {
		t.Errorf("a long address: got %d, want 414", res.StatusCode)
	}
	for name, headers := range map[string][]string{
		"large headers": {"X-Whatever", strings.Repeat("x", maxHeaders)},
		"huge headers":  {"X-Whatever", strings.Repeat("x", maxHeaderBytes-8<<10)},
		"a long token":  {"X-Whatever", "x", "Authorization", "Bearer " + strings.Repeat("x", maxHeaders)},
		"two headers":   {"X-Whatever", strings.Repeat("x", maxHeaders/2), "X-Request-Id", strings.Repeat("y", maxHeaders/2)},
	} {
		res := w.do("GET", "/api/tasks/", "", headers...)
		checkProblem(t, name, res)
		if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge || res.Header.Get(limitHeader) == "" || res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: got %d %v, want 431 with the usual headers", name, res.StatusCode, res.Header)
		}
	}
	res = w.do("GET", "/api/tasks/?search="+strings.Repeat("x", 500_000), "")
	if checkProblem(t, "a huge address", res); res.StatusCode != http.StatusRequestURITooLong {
		t.Errorf("a huge address: got %d, want 414", res.StatusCode)
	}
	for name, body := range map[string]string{
		"depth":      strings.Repeat("[", 100_000),
		"an object":  strings.Repeat(`{"x":`, 5000) + "1" + strings.Repeat("}", 5000),
		"many names": "{" + strings.TrimSuffix(manyNames(5000), ",") + "}",
		"a name":     `{"` + strings.Repeat("%ü", 5000) + `":1}`,
	} {
		res := w.do("POST", "/api/tasks/", body)
		p := checkProblem(t, name, res)
		if res.StatusCode != http.StatusBadRequest || len(res.body) > 20_000 || len(p.Detail) > 8000 || len(p.Errors) > 100 {
			t.Errorf("%s: got %d with %d bytes, %d errors, want a short 400", name, res.StatusCode, len(res.body), len(p.Errors))
		}
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`"x` + itoa(i) + `":1,`)
	}
	return b.String()
}

func TestOnlySoManyRequestsAtOnce(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	h := atOnce(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-leave
		}
	}), 1)
	send := func(method, path, accept string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		req.Header.Set("Accept", accept)
		h.ServeHTTP(rec, req)
		return rec
	}
	get := func(path, accept string) *httptest.ResponseRecorder { return send(http.MethodGet, path, accept) }
	done := make(chan struct{})
	go func() { defer close(done); get("/slow", "*/*") }()
	<-entered
	if full := get("/", "*/*"); full.Code != http.StatusServiceUnavailable || full.Header().Get("Retry-After") != "1" {
		t.Errorf("beyond the limit: got %d, Retry-After %q, want 503, 1", full.Code, full.Header().Get("Retry-After"))
	}
	if stream := get("/graphql", "text/event-stream"); stream.Code != http.StatusOK {
		t.Errorf("a subscription: got %d, want 200", stream.Code)
	}
	if head := send(http.MethodHead, "/graphql", "text/event-stream"); head.Code != http.StatusServiceUnavailable {
		t.Errorf("a HEAD, which is no stream: got %d, want 503", head.Code)
	}
	close(leave)
	<-done
	if after := get("/", "*/*"); after.Code != http.StatusOK {
		t.Errorf("afterwards: got %d, want 200", after.Code)
	}
}
