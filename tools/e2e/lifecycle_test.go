package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/trackway/trackway/tools/seed"
	"github.com/trackway/trackway/tools/system"
)

// modes are the ways in which the program starts the services.
func modes() map[string][]string {
	return map[string][]string{"in one process": nil, "each in a process": {"--split"}}
}

func TestASignalStopsEverythingAndTheNextStartKeepsTheData(t *testing.T) {
	t.Parallel()
	for name, mode := range modes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := dataDir(t)
			var before []string
			for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
				p := start(t, dir, mode...)
				c := newClient(t, p.url)
				c.login(seed.Email, seed.Password)
				if len(c.list("/api/projects/")) == 0 {
					t.Error("the demo account is in no project")
				}
				password, err := os.ReadFile(filepath.Join(dir, "admin-password"))
				if err != nil {
					t.Fatal(err)
				}
				c.login(system.AdminEmail, strings.TrimSpace(string(password)))
				if got, want := c.get("/api/users/me/")["role"], "admin"; got != want {
					t.Errorf("the admin's role is %v, want %v", got, want)
				}
				tasks := column(t, p.open("tasks"), "SELECT id || ' ' || title FROM tasks")
				if len(tasks) == 0 {
					t.Fatal("there is no demo data")
				}
				if before != nil && strings.Join(before, "\n") != strings.Join(tasks, "\n") {
					t.Errorf("after the second start there are the tasks\n%q, want\n%q", tasks, before)
				}
				before = tasks
				p.signal(s)
				if got, want := p.await(), 0; got != want {
					t.Errorf("after %v the exit code is %d, want %d", s, got, want)
				}
				if got := processes(t, dir); len(got) > 0 {
					t.Errorf("after %v there are still %q", s, got)
				}
			}
		})
	}
}

func TestWhatKeepsItFromStartingIsToldInOneSentence(t *testing.T) {
	t.Parallel()
	running := start(t, dataDir(t))
	_, taken, err := net.SplitHostPort(strings.TrimPrefix(running.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	old := dataDir(t)
	if err := os.MkdirAll(filepath.Join(old, "postgres", "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(old, "postgres", "data", "PG_VERSION"), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		dir  string
		vars []string
		args []string
		want string
	}{
		{name: "another start runs", dir: running.dir, want: `is in use by process \d+: stop that one first`},
		{name: "the port is taken", dir: dataDir(t), vars: []string{"PORT=" + taken}, want: `port ` + taken + ` is taken`},
		{
			name: "the port is taken, split", dir: dataDir(t), vars: []string{"PORT=" + taken}, args: []string{"--split"},
			want: `port ` + taken + ` is taken`,
		},
		{name: "there is no such Postgres", dir: old, want: `Postgres 99, which this machine has not .*install that version`},
		{name: "the port is no number", dir: dataDir(t), vars: []string{"PORT=http"}, want: `"http" .*PORT`},
		{name: "the log level is none", dir: dataDir(t), vars: []string{"LOG_LEVEL=loud"}, want: `loud`},
		{name: "a service refuses", dir: dataDir(t), vars: []string{"BODY_LIMIT=-1"}, want: `edge: BODY_LIMIT is -1`},
		{
			name: "a service refuses, split", dir: dataDir(t), vars: []string{"BODY_LIMIT=-1"}, args: []string{"--split"},
			want: `BODY_LIMIT is -1`,
		},
		{name: "there is no such flag", dir: dataDir(t), args: []string{"--nope"}, want: `--nope`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := launch(t, test.dir, test.vars, binary, test.args...)
			code, said := p.await(), p.stderr.String()
			if code != 1 {
				t.Errorf("the exit code is %d, want 1", code)
			}
			if !regexp.MustCompile(`^trackway: .*`+test.want+`.*\n$`).MatchString(said) || strings.Count(said, "\n") != 1 {
				t.Errorf("it says\n%s, want one line with %q", said, test.want)
			}
		})
	}
}

// go run passes on Ctrl-C, but is itself ended by SIGTERM and SIGKILL.
func TestItEndsWithTheGoRunThatStartedIt(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := launch(t, dir, nil, "go", "run", "github.com/trackway/trackway/tools/run")
	p.awaitScreen()
	p.kill()
	awaitNothing(t, dir)
	start(t, dir) // nothing is in the way
}

func TestItStopsWhenItsPostgresDies(t *testing.T) {
	t.Parallel()
	p := start(t, dataDir(t))
	var pid int
	if _, err := fmt.Sscan(p.file("data/postmaster.pid"), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got, want := p.await(), 1; got != want {
		t.Errorf("the exit code is %d, want %d", got, want)
	}
	lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
	if got, want := lines[len(lines)-1], "postgres ended by itself"; !strings.Contains(got, want) {
		t.Errorf("it says %q, want %q", got, want)
	}
}
