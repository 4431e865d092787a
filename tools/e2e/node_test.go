package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// nodeTimeout bounds one command; the first installs packages.
const nodeTimeout = 5 * time.Minute

// The TypeScript client compiles strictly and works against a running system, and so do Apollo Client, urql and Relay,
// unmodified, and GraphiQL in a browser. The reference audit of GraphQL over HTTP finds nothing.
func TestTheTypeScriptClientsAndTheGraphQLAuditPass(t *testing.T) {
	t.Parallel()
	folder := filepath.Join("..", "clients", "typescript")
	node(t, folder, "", "npm", "ci", "--no-fund", "--no-audit")
	node(t, folder, "", "npm", "run", "build")
	p := start(t, dataDir(t))
	node(t, folder, p.url, "npm", "test")
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
func node(t *testing.T, folder, url, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), nodeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "TRACKWAY_URL="+url, "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true")
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
