package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/trackway/trackway/tools/seed"
)

// strict makes bash notice every request that fails, which people see with their eyes.
const strict = `shopt -s inherit_errexit
curl() {
  local answer
  answer=$(command curl --silent --show-error --fail-with-body --max-time 20 "$@") && [[ $answer != *'"errors":'* ]] || {
    printf '%s\n' "$answer" >&2
    return 1
  }
  printf '%s\n' "$answer"
}
`

// The README's first requests are run by bash as they stand, but for the port: another system may use that of
// `make run`. Every curl must succeed, and no answer of GraphQL may have errors.
func TestTheReadmesFirstRequestsWork(t *testing.T) {
	t.Parallel()
	const heading, address = "First requests", "localhost:8080"
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	part := section(string(text), heading)
	commands, queries := fenced(part, "sh"), fenced(part, "graphql")
	script := strings.Join(commands, "\n")
	if !strings.Contains(script, "curl") || !strings.Contains(script, "http://"+address) {
		t.Fatalf("under %q the README has no sh block with a curl of http://%s:\n%s", heading, address, part)
	}
	p := start(t, dataDir(t))
	host := strings.TrimPrefix(p.url, "http://")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-xeuo", "pipefail", "-c", strict+strings.ReplaceAll(script, address, host))
	cmd.Dir = t.TempDir()
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the README's commands fail: %v\n%s", err, out)
	}

	c := newClient(t, p.url)
	c.login(seed.Email, seed.Password)
	for _, q := range queries {
		c.query(q, nil)
	}
}

// section gives what stands under the heading, up to the next one that is not below it.
func section(text, heading string) string {
	var (
		level, code bool
		marks       string
		b           strings.Builder
	)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if m := regexp.MustCompile(`^(#+) +(.*?)\s*$`).FindStringSubmatch(line); m != nil && !code {
			if level && len(m[1]) <= len(marks) {
				break
			}
			if m[2] == heading {
				level, marks = true, m[1]
			}
		}
		if level {
			b.WriteString(line)
		}
	}
	return b.String()
}

// fenced gives the code blocks of a language.
func fenced(text, language string) (blocks []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}
