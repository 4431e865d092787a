// Package e2e plays Trackway's story from outside: it starts the program of `make run`, speaks HTTP to it as clients
// do, kills it and looks into its databases.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	buildTimeout = 10 * time.Minute
	startTimeout = 3 * time.Minute // on a busy machine, with the four programs of the split mode to build
	stopTimeout  = time.Minute
)

// binary is the program that `go run ./tools/run` builds and runs.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "trackway-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system cleans its temporary folder too
	binary = filepath.Join(dir, "run")
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/trackway/trackway/tools/run")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// program is a running program of `make run`.
type program struct {
	t              *testing.T
	cmd            *exec.Cmd
	dir            string
	url            string
	stdout, stderr output
	done           chan struct{} // closed when the process has ended
}

// dataDir makes a folder for DATA_DIR that Postgres, as another user, may enter.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// launch starts a program with its data in dir. It is killed when the test ends.
func launch(t *testing.T, dir string, vars []string, name string, args ...string) *program {
	t.Helper()
	p := &program{t: t, dir: dir, cmd: exec.Command(name, args...), done: make(chan struct{})} //nolint:noctx // lives as long as the test
	// The last of two entries counts.
	p.cmd.Env = append(append(os.Environ(), "PORT=0", "DATA_DIR="+dir, "REDIS_URL=", "LOG_LEVEL="), vars...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the exit code is in ProcessState
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		p.await()
		if t.Failed() {
			t.Logf("the program wrote:\n%s%s", p.stdout.String(), p.stderr.String())
		}
	})
	return p
}

// start starts the system, and returns when its screen says where it is. When the test ends it must leave nothing
// behind.
func start(t *testing.T, dir string, args ...string) *program {
	t.Helper()
	t.Cleanup(func() { awaitNothing(t, dir) })
	p := launch(t, dir, []string{
		// A test is many clients at one address.
		"RATE_LIMIT=0", "AUTH_RATE_LIMIT=0",
	}, binary, args...)
	p.awaitScreen()
	return p
}

// awaitScreen returns when the program says where it is.
func (p *program) awaitScreen() {
	p.t.Helper()
	screen := regexp.MustCompile(`(?s)REST +(http://localhost:\d+)/api/.*Ctrl-C`)
	await(p.t, startTimeout, "the screen of a running system", func() (bool, error) {
		if m := screen.FindStringSubmatch(p.stdout.String()); m != nil {
			p.url = m[1]
			return true, nil
		}
		select {
		case <-p.done:
			return false, fmt.Errorf("the program ended: %s%s", p.stdout.String(), p.stderr.String())
		default:
			return false, nil
		}
	})
}

func (p *program) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // fails only if it has ended

// await returns the exit code; -1 if a signal ended the program.
func (p *program) await() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(stopTimeout):
		p.t.Fatal("the program does not end")
		return 0
	}
}

// kill ends the program as a power cut would.
func (p *program) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.await()
}

// await polls until done, or fails the test.
func await(t *testing.T, timeout time.Duration, what string, done func() (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, timeout)
		case <-tick.C:
		}
	}
}

// awaitNothing returns when no process has anything to do with the folder any more.
func awaitNothing(t *testing.T, dir string) {
	t.Helper()
	var left []string
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if left = processes(t, dir); len(left) == 0 {
			return
		}
		select {
		case <-deadline:
			t.Errorf("processes were left behind: %q", left)
			return
		case <-tick.C:
		}
	}
}

// processes lists those whose command line or working folder is in dir.
func processes(t *testing.T, dir string) (found []string) {
	t.Helper()
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "ps", "-axo", "pid=,args=").Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, dir) {
				found = append(found, line)
			}
		}
		return found
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		folder, _ := os.Readlink(filepath.Join(filepath.Dir(path), "cwd"))
		if bytes.Contains(line, []byte(dir)) || strings.HasPrefix(folder, dir) {
			found = append(found, fmt.Sprintf("%s %s in %s", path, bytes.ReplaceAll(line, []byte{0}, []byte(" ")), folder))
		}
	}
	return found
}

// file reads a file of the system's Postgres.
func (p *program) file(name string) string {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, "postgres", name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// open connects to a database of the running system, as the superuser of its Postgres.
func (p *program) open(database string) *pgx.Conn {
	p.t.Helper()
	pid := strings.Split(p.file("data/postmaster.pid"), "\n") // its fourth line is the port
	if len(pid) < 4 {
		p.t.Fatalf("unexpected postmaster.pid: %q", pid)
	}
	port, err := strconv.Atoi(pid[3])
	if err != nil {
		p.t.Fatal(err)
	}
	conn, err := pgx.Connect(p.t.Context(), fmt.Sprintf("postgres://postgres:%s@127.0.0.1:%d/%s?sslmode=disable",
		strings.TrimSpace(p.file("password")), port, database))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(p.t.Context())) })
	return conn
}

// column gives what a query finds, as text, sorted.
func column(t *testing.T, conn *pgx.Conn, query string, args ...any) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// output is what a program has written so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write adds p.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is all of it.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
