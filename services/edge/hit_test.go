package edge

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/local"
)

// newCachingWorld is a world with a real Redis, and leases that last as long as any test.
func newCachingWorld(tb testing.TB) *world {
	tb.Helper()
	server, err := local.StartRedis(tb.Context(), local.RedisOptions{Dir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = server.Stop(context.WithoutCancel(tb.Context())) })
	client, err := cache.Open(server.URL())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = client.Close() })
	_, err = client.Pipelined(tb.Context(), func(p redis.Pipeliner) error {
		for _, name := range []string{"users", "projects", "tasks"} {
			p.Set(tb.Context(), "lease:"+name, "for ever", time.Hour)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return newWorld(tb, func(c *Config) {
		c.Redis.URL, c.CacheMemory, c.RateLimit, c.Concurrency = server.URL(), 16<<20, 1_000_000_000, 1024
	})
}

// hot gives a request whose answer is in the cache.
func (w *world) hot(path string) *http.Request {
	w.tb.Helper()
	r := httptest.NewRequestWithContext(w.tb.Context(), http.MethodGet, path, http.NoBody)
	r.Header.Set("Authorization", "Bearer "+w.token)
	r.Header.Set("Accept-Encoding", "gzip")
	for end := time.Now().Add(10 * time.Second); ; {
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		if strings.Contains(rec.Header().Get("Server-Timing"), `desc="hit"`) {
			return r
		}
		if time.Now().After(end) {
			w.tb.Fatalf("%s: got %d and no hit: %v", path, rec.Code, rec.Header())
		}
	}
}

// fill gives the world tasks enough for a page.
func (w *world) fill(tasks int64) {
	w.fake.mu.Lock()
	defer w.fake.mu.Unlock()
	for id := range tasks {
		t := newFakeTask(id + 1)
		t.Title = "Task " + strconv.FormatInt(id, 10)
		t.Description = strings.Repeat("What is to be done, and why. ", 10)
		w.fake.tasks[id+1] = t
	}
}

// What an answer from the cache allocates, from the request's headers to the last byte, the question to Redis included. It
// is no more for fifty tasks than for one: the bytes to send are kept, packed as well.
func TestAHitAllocatesLittle(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	w := newCachingWorld(t)
	w.fill(50)
	for _, path := range []string{"/api/tasks/1/", "/api/tasks/?project=1&limit=50&status=todo"} {
		r := w.hot(path)
		sink := &silent{header: make(http.Header)}
		allocations := testing.AllocsPerRun(500, func() {
			clear(sink.header)
			w.handler.ServeHTTP(sink, r)
		})
		const most = 75
		if t.Logf("%s: %.0f allocations", path, allocations); allocations > most {
			t.Errorf("%s: got %.0f allocations, want at most %d", path, allocations, most)
		}
	}
}

// Whatever coding the client wants, and whether it is the one in which the answer is kept, it gets the same.
func TestAHitComesInEveryCoding(t *testing.T) {
	t.Parallel()
	w := newCachingWorld(t)
	w.fill(50)
	r := w.hot("/api/tasks/?project=1&limit=50&status=todo")
	read := func(accepted string, headers ...string) *httptest.ResponseRecorder {
		asked := r.Clone(t.Context())
		asked.Header.Set("Accept-Encoding", accepted)
		for i := 0; i < len(headers); i += 2 {
			asked.Header.Set(headers[i], headers[i+1])
		}
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, asked)
		if !strings.Contains(rec.Header().Get("Server-Timing"), `desc="hit"`) {
			t.Errorf("%s: got %v, want a hit", accepted, rec.Header())
		}
		return rec
	}
	plain := read("identity")
	if plain.Code != http.StatusOK || plain.Body.Len() < 10_000 || plain.Header().Get("Content-Length") != strconv.Itoa(plain.Body.Len()) {
		t.Fatalf("got %d with %d bytes and %v", plain.Code, plain.Body.Len(), plain.Header())
	}
	for accepted, want := range map[string]string{
		"gzip": "gzip", "gzip, deflate, br, zstd": "gzip", "*": "gzip", "br, gzip;q=0.5": "br", "zstd": "zstd", "gzip;q=0": "",
		"gzip;q=0.5, identity": "",
	} {
		got := read(accepted)
		if coding := got.Header().Get("Content-Encoding"); coding != want {
			t.Errorf("%s: got %q, want %q", accepted, coding, want)
			continue
		}
		if got.Header().Get("Content-Length") != strconv.Itoa(got.Body.Len()) || got.Header().Get("ETag") != plain.Header().Get("ETag") {
			t.Errorf("%s: got %v and %d bytes", accepted, got.Header(), got.Body.Len())
		}
		if decode(t, want, got.Body.String()) != plain.Body.String() {
			t.Errorf("%s: got another answer than without a coding", accepted)
		}
		get := w.do("GET", r.URL.String(), "", "Accept-Encoding", accepted)
		head := w.do("HEAD", r.URL.String(), "", "Accept-Encoding", accepted)
		for _, name := range []string{"Content-Encoding", "Content-Length", "ETag", "Link"} {
			if got, want := head.Header.Get(name), get.Header.Get(name); got != want || head.body != "" {
				t.Errorf("HEAD in %s: got %s %q and the body %q, want what GET says, %q", accepted, name, got, head.body, want)
			}
		}
	}
	unchanged := read("gzip", "If-None-Match", plain.Header().Get("ETag"))
	if unchanged.Code != http.StatusNotModified || unchanged.Header().Get("Content-Encoding") != "" || unchanged.Body.Len() > 0 {
		t.Errorf("a conditional request: got %d and %v", unchanged.Code, unchanged.Header())
	}
}

// What HEAD has made is what GET is answered with.
func TestHeadKeepsWhatGetIsFor(t *testing.T) {
	t.Parallel()
	w := newCachingWorld(t)
	w.hot("/api/tasks/1/")
	w.fill(2)
	const path = "/api/tasks/2/"
	if head := w.do("HEAD", path, ""); head.StatusCode != http.StatusOK || head.body != "" {
		t.Fatalf("HEAD: got %d and %q", head.StatusCode, head.body)
	}
	get := w.do("GET", path, "")
	if !strings.Contains(get.Header.Get("Server-Timing"), `desc="hit"`) || !strings.Contains(get.body, `"title":"Task 1"`) {
		t.Errorf("GET: got %v and %q, want the task, from the cache", get.Header, get.body)
	}
}

// BenchmarkHit shows what the door costs where the cache has the answer; by many at once, the round trips are shared.
func BenchmarkHit(b *testing.B) {
	w := newCachingWorld(b)
	w.fill(50)
	for _, bb := range []struct{ name, path string }{
		{"one", "/api/tasks/1/"}, {"fifty", "/api/tasks/?project=1&limit=50&status=todo"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := w.hot(bb.path)
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				sink := &silent{header: make(http.Header)}
				for pb.Next() {
					clear(sink.header)
					w.handler.ServeHTTP(sink, r)
				}
			})
		})
	}
}
