package system

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/tools/story"
)

const redisPassword = "of-several-servers"

// redisNode is a redis-server of a test.
type redisNode struct {
	port   string
	client *redis.Client
	kill   func()
}

func startNode(t *testing.T, args []string, config ...string) *redisNode {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("this test wants a redis-server: ", err)
	}
	dir := t.TempDir()
	n := &redisNode{port: freePort(t)}
	config = append(config, "bind 127.0.0.1", "port "+n.port, "dir "+strconv.Quote(dir), "daemonize no")
	file := filepath.Join(dir, "redis.conf")
	if err := os.WriteFile(file, []byte(strings.Join(config, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, program, append([]string{file}, args...)...)
	cmd.Stdout = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.kill = func() { cancel(); _ = cmd.Wait() }
	t.Cleanup(n.kill)
	n.client = redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + n.port, Password: redisPassword, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = n.client.Close() })
	eventually(t, "Redis answers", func() bool { return n.client.Ping(t.Context()).Err() == nil })
	return n
}

func freePort(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.After(startTimeout); !done(); {
		select {
		case <-deadline:
			t.Fatalf("%s: not in time", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// startCluster starts a Redis Cluster of three nodes without replicas, and gives its URL.
func startCluster(t *testing.T) (url string, lose func()) {
	t.Helper()
	const slots, size = 16384, 3
	var nodes []*redisNode
	for i := range size {
		n := startNode(t, nil, "cluster-enabled yes", "cluster-port "+freePort(t), "cluster-node-timeout 2000",
			"requirepass "+redisPassword, "masterauth "+redisPassword, `save ""`)
		if err := n.client.ClusterAddSlotsRange(t.Context(), i*slots/size, (i+1)*slots/size-1).Err(); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	for _, n := range nodes[1:] {
		bus, err := n.client.ConfigGet(t.Context(), "cluster-port").Result()
		if err != nil {
			t.Fatal(err)
		}
		if err := nodes[0].client.Do(t.Context(), "CLUSTER", "MEET", "127.0.0.1", n.port, bus["cluster-port"]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		eventually(t, "the cluster is whole", func() bool {
			info, err := n.client.ClusterInfo(t.Context()).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	return "redis-cluster://:" + redisPassword + "@127.0.0.1:" + nodes[0].port, nil
}

// startSentinel starts a server, its replica and a Sentinel, and gives their URL, and what kills the server.
func startSentinel(t *testing.T) (url string, lose func()) {
	t.Helper()
	with := []string{"requirepass " + redisPassword, "masterauth " + redisPassword, `save ""`, "repl-diskless-sync-delay 0"}
	master := startNode(t, nil, with...)
	startNode(t, nil, append(with, "replicaof 127.0.0.1 "+master.port)...)
	eventually(t, "the replica follows", func() bool {
		info, err := master.client.Info(t.Context(), "replication").Result()
		return err == nil && strings.Contains(info, "state=online")
	})
	sentinel := startNode(t, []string{"--sentinel"}, "requirepass "+redisPassword,
		"sentinel monitor trackway 127.0.0.1 "+master.port+" 1", "sentinel auth-pass trackway "+redisPassword,
		"sentinel down-after-milliseconds trackway 500", "sentinel failover-timeout trackway 5000")
	eventually(t, "the Sentinel knows the replica", func() bool {
		info, err := sentinel.client.Info(t.Context(), "sentinel").Result()
		return err == nil && strings.Contains(info, "slaves=1")
	})
	return "redis-sentinel://:" + redisPassword + "@127.0.0.1:" + sentinel.port + "/trackway?sentinel_password=" + redisPassword, master.kill
}

// TestARedisOfSeveralServers: on a Cluster, and behind Sentinels, everything works as on one server: the story, answers
// from the cache that are never old, limits, and events. When the master dies, writes go on and are seen.
func TestARedisOfSeveralServers(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*testing.T) (string, func()){"Cluster": startCluster, "Sentinel": startSentinel} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, lose := begin(t)
			s := start(t, dataDir(t), Options{Environ: map[string]string{"REDIS_URL": url, "RATE_LIMIT": "100000"}})
			if err := story.Play(t.Context(), story.Client{URL: s.URL, HTTP: http.DefaultClient}, func(string) {}); err != nil {
				t.Fatal(err)
			}
			r := newScribe(t, s)
			const tasks = 20 // and so on all nodes
			for i := range tasks {
				r.create(i)
			}
			for i := range tasks {
				r.awaitHit(i)
			}
			for i := range tasks {
				r.rename(i)
				r.awaitHit(i)
			}
			if r.limit == "" {
				t.Error("no answer tells what is left of the limit: it was not counted")
			}
			client, err := cache.Open(url)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			eventually(t, "all events are in the stream", func() bool {
				n, err := client.XLen(t.Context(), "events:tasks").Result()
				return err == nil && n >= 2*tasks
			})
			if lose == nil {
				return
			}
			lose()
			for i := range tasks {
				r.rename(i)
			}
			for i := range tasks {
				r.awaitHit(i)
			}
		})
	}
}

// scribe writes tasks and reads them again.
type scribe struct {
	*testing.T

	url, token string
	project    int64
	ids        []int64
	titles     []string
	limit      string // of the last answer
	cached     bool   // whether it came from the cache
}

func newScribe(t *testing.T, s *System) *scribe {
	t.Helper()
	r := &scribe{T: t, url: s.URL}
	const account = `{"name": "Ada", "email": "ada@redis.example", "password": "a password of hers"}`
	r.send(http.MethodPost, "/api/auth/register/", account)
	r.token, _ = r.send(http.MethodPost, "/api/auth/login/", `{"email": "ada@redis.example", "password": "a password of hers"}`)["access_token"].(string)
	r.project = story.ID(r.send(http.MethodPost, "/api/projects/", `{"name": "Written"}`))
	return r
}

func (r *scribe) send(method, path, body string) map[string]any {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= http.StatusBadRequest {
		r.Fatalf("%s %s: got %d %s, %v", method, path, res.StatusCode, text, err)
	}
	r.limit, r.cached = res.Header.Get("Ratelimit"), strings.Contains(res.Header.Get("Server-Timing"), `cache;desc="hit"`)
	var thing map[string]any
	if err := json.Unmarshal(text, &thing); err != nil {
		r.Fatalf("%v: %s", err, text)
	}
	return thing
}

func (r *scribe) create(i int) {
	r.Helper()
	title := fmt.Sprintf("Task %d", i)
	made := r.send(http.MethodPost, "/api/tasks/", fmt.Sprintf(`{"project_id": %d, "title": %q}`, r.project, title))
	r.ids, r.titles = append(r.ids, story.ID(made)), append(r.titles, title)
}

// rename gives a task another title, and reads that.
func (r *scribe) rename(i int) {
	r.Helper()
	r.titles[i] += ", renamed"
	r.send(http.MethodPatch, fmt.Sprintf("/api/tasks/%d/", r.ids[i]), fmt.Sprintf(`{"title": %q}`, r.titles[i]))
	r.read(i)
}

func (r *scribe) read(i int) {
	r.Helper()
	if got := r.send(http.MethodGet, fmt.Sprintf("/api/tasks/%d/", r.ids[i]), "")["title"]; got != r.titles[i] {
		r.Fatalf("task %d: got %q, want %q", i, got, r.titles[i])
	}
}

// awaitHit reads a task, which is always as it was written last, until it comes from the cache.
func (r *scribe) awaitHit(i int) {
	r.Helper()
	eventually(r.T, "the cache answers", func() bool { r.read(i); return r.cached })
}
