package e2e

import (
	"context"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trackway/trackway/tools/system"
)

// nodeTimeout bounds one command; the first installs packages.
const nodeTimeout = 5 * time.Minute

// The TypeScript client compiles strictly and works against a running system, and so do Apollo Client, urql and Relay,
// unmodified, and GraphiQL in a browser. The reference audit of GraphQL over HTTP finds nothing. Clients of server-sent
// events need not be kept at one replica, nor do they on a single connection.
func TestTheTypeScriptClientsAndTheGraphQLAuditPass(t *testing.T) {
	t.Parallel()
	folder := filepath.Join("..", "clients", "typescript")
	node(t, folder, "", "npm", "ci", "--no-fund", "--no-audit")
	node(t, folder, "", "npm", "run", "build")
	p := start(t, dataDir(t))
	node(t, folder, p.url, "npm", "test")
	node(t, folder, startReplicas(t), "node", "--test", "--test-timeout=120000", filepath.Join("dist", "test", "sse.test.js"))
}

// startReplicas starts a system whose public door has two replicas, behind a proxy that sends each request to the next.
func startReplicas(t *testing.T) string {
	t.Helper()
	s, err := system.Start(t.Context(), system.Options{
		Dir: dataDir(t), Edges: 2, Throwaway: true, Log: t.Output(), Environ: map[string]string{"RATE_LIMIT": "0", "AUTH_RATE_LIMIT": "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var doors []*url.URL
	for _, text := range s.URLs {
		door, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		doors = append(doors, door)
	}
	var next atomic.Uint64
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(doors[next.Add(1)%uint64(len(doors))]) },
		FlushInterval: -1, // events must not wait
	})
	t.Cleanup(func() {
		proxy.CloseClientConnections()
		proxy.Close()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), stopTimeout)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return proxy.URL
}

// The linters of OpenAPI have no error to tell of the document.
func TestTheLintersOfOpenAPIAreContent(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	edge := filepath.Join("..", "..", "services", "edge")
	for _, name := range []string{"openapi.json", "openapi/.spectral.yaml", "openapi/redocly.yaml"} {
		text, err := os.ReadFile(filepath.Join(edge, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		// Spectral looks for rulesets beside its own ruleset file.
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(name)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join("..", "openapi", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	node(t, folder, "", "npm", "ci", "--no-fund", "--no-audit")
	node(t, folder, "", "npx", "spectral", "lint", "openapi.json", "-r", ".spectral.yaml", "--fail-severity", "error")
	node(t, folder, "", "npx", "redocly", "lint", "openapi.json", "--config", "redocly.yaml")
}

// node runs a command of Node's, which must succeed.
func node(t *testing.T, folder, at, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), nodeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "TRACKWAY_URL="+at, "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true")
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
