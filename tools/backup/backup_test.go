// Package backup tests the scripts by which the chart makes, fetches and restores dumps. What the cluster adds to them is
// tested by tools/kind.
package backup

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/trackway/trackway/services/platform/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// pod is what the scripts find in theirs: a volume of dumps, the Secret of one database, and programs.
type pod struct {
	t    *testing.T
	dir  string
	from string // the dump to restore, as the values name it
}

func newPod(t *testing.T, url string) pod {
	t.Helper()
	p := pod{t: t, dir: t.TempDir()}
	for _, dir := range []string{"backups", "secrets/tasks", "bin"} {
		if err := os.MkdirAll(filepath.Join(p.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p.write("secrets/tasks/url", url)
	return p
}

func (p pod) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o700); err != nil {
		p.t.Fatal(err)
	}
}

// run runs a script of the chart. Programs in the pod's bin go before those of this machine.
func (p pod) run(script string) (string, error) {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join("../../charts/trackway/files", script))
	if err != nil {
		p.t.Fatal(err)
	}
	places := strings.NewReplacer("/backups", filepath.Join(p.dir, "backups"), "/run/secrets/databases", filepath.Join(p.dir, "secrets"))
	cmd := exec.CommandContext(p.t.Context(), "sh", "-c", places.Replace(string(text)))
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(p.dir, "bin")+":"+os.Getenv("PATH"), "KEEP=2", "FROM="+p.from, "REMOTE=s3:dumps")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A restore that loses its dump halfway changes nothing, and one that does not brings everything back.
func TestARestoreIsWholeOrNone(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("pg_restore")
	if err != nil {
		t.Fatal("this test wants the client programs of Postgres: ", err)
	}
	url := pgtest.Open(t, "backup", func(ctx context.Context, url string) error {
		return query(ctx, url, "CREATE TABLE tasks (id int); CREATE TABLE events (xid xid8);"+
			"INSERT INTO tasks SELECT generate_series(1, 100); INSERT INTO events VALUES (pg_current_xact_id())", nil)
	})
	p := newPod(t, url)
	if out, err := p.run("backup.sh"); err != nil {
		t.Fatalf("backup: %v\n%s", err, out)
	}
	if err := query(t.Context(), url, "DELETE FROM tasks WHERE id > 7", nil); err != nil {
		t.Fatal(err)
	}

	p.write("bin/pg_restore", "#!/bin/sh\ncase $1 in --file=-) "+program+` "$@" | sed '/^50$/,$d'; exit 1 ;; *) exec `+program+` "$@" ;; esac`)
	out, err := p.run("restore.sh")
	if err == nil || strings.Contains(out, "Restored") {
		t.Errorf("half a dump: got %v and %q, want a failure", err, out)
	}
	if got, want := tasks(t, url), 7; got != want {
		t.Errorf("half a dump leaves %d tasks, want the %d of before", got, want)
	}

	if err := os.Remove(filepath.Join(p.dir, "bin/pg_restore")); err != nil {
		t.Fatal(err)
	}
	out, err = p.run("restore.sh")
	if err != nil || !strings.Contains(out, "Restored tasks") {
		t.Errorf("a whole dump: got %v and %q, want it restored", err, out)
	}
	if got, want := tasks(t, url), 100; got != want {
		t.Errorf("a whole dump leaves %d tasks, want its %d", got, want)
	}
}

// The upgrade that names a dump to restore makes one too, which must not push that one out.
func TestABackupForgetsTheOldestButNotTheOneToRestore(t *testing.T) {
	t.Parallel()
	p := newPod(t, pgtest.Open(t, "empty", func(context.Context, string) error { return nil }))
	for _, name := range []string{"20260101T000000Z", "20260102T000000Z", "20260103T000000Z"} {
		if err := os.Mkdir(filepath.Join(p.dir, "backups", name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p.from = "20260101T000000Z"
	if out, err := p.run("backup.sh"); err != nil {
		t.Fatalf("backup: %v\n%s", err, out)
	}
	left, err := filepath.Glob(filepath.Join(p.dir, "backups", "*Z"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	if want := []string{p.from, "20260103T000000Z"}; len(left) != 3 || !slices.Equal(left[:2], want) {
		t.Errorf("got the dumps %q, want %q and a new one", left, want)
	}
}

// Without an answer of the store nobody knows which dump is the newest, and an older one of the volume is not it.
func TestAStoreThatCanNotBeAskedIsNotAnEmptyOne(t *testing.T) {
	t.Parallel()
	p := newPod(t, "")
	p.write("bin/rclone", "#!/bin/sh\nexit 1\n")
	if out, err := p.run("download.sh"); err == nil {
		t.Errorf("a store out of reach: got %q, want a failure", out)
	}
	p.write("bin/rclone", "#!/bin/sh\nexit 0\n")
	if out, err := p.run("download.sh"); err != nil {
		t.Errorf("an empty store: got %v and %q, want success", err, out)
	}
	p.write("bin/rclone", `#!/bin/sh
case $1 in lsf) printf '20260131T021700Z/\n20260201T021700Z/\nother/\n' ;; copy) echo "$2" && mkdir "$3" ;; esac`)
	if out, err := p.run("download.sh"); err != nil || !strings.Contains(out, "s3:dumps/20260201T021700Z") {
		t.Errorf("a store with two dumps: got %v and %q, want the newer one", err, out)
	}
}

func tasks(t *testing.T, url string) (n int) {
	t.Helper()
	if err := query(t.Context(), url, "SELECT count(*) FROM tasks", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// query runs statements and reads the one value of the last, if there is somewhere to put it.
func query(ctx context.Context, url, statements string, value *int) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if value != nil {
		return conn.QueryRow(ctx, statements).Scan(value)
	}
	_, err = conn.Exec(ctx, statements)
	return err
}
