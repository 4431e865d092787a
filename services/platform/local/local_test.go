package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// TestMain also plays the run that gets killed, when a test starts this program again for that.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		serve(os.Args[2])
		return
	}
	os.Exit(m.Run())
}

// serve starts both servers in dir, tells their URLs, and stays until it is killed or a minute is over.
func serve(dir string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := StartPostgres(ctx, PostgresOptions{Dir: dir, Durable: true})
	if err != nil {
		fmt.Println(err) //nolint:forbidigo // the test reads it
		return
	}
	r, err := StartRedis(ctx, RedisOptions{Dir: dir})
	if err != nil {
		fmt.Println(err) //nolint:forbidigo // the test reads it
		return
	}
	fmt.Println(p.URL("postgres"), r.URL()) //nolint:forbidigo // the test reads it
	<-ctx.Done()
}

// eventually polls until done holds.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick, deadline := time.NewTicker(5*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// folder makes one that Postgres can enter if it runs as another user.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func startPostgres(t *testing.T, o PostgresOptions) *Postgres {
	t.Helper()
	p, err := StartPostgres(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return p
}

// query runs sql on a connection of its own and returns its answer, if it has one, as text.
func query(t *testing.T, url, sql string) (answer string, err error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return "", err
	}
	rows, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if len(rows) > 0 && len(rows[0].Rows) > 0 {
		answer = string(rows[0].Rows[0][0])
	}
	return answer, errors.Join(err, conn.Close(t.Context()))
}

func TestPostgresKeepsItsDataBetweenRuns(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{true, false} {
		o := PostgresOptions{Dir: folder(t), Durable: durable}
		first := startPostgres(t, o)
		for range 2 {
			if err := first.CreateDatabase(t.Context(), "it's"); err != nil {
				t.Fatalf("create a database, also when it is there: %v", err)
			}
		}
		if _, err := query(t, first.URL("it's"), "CREATE TABLE t AS SELECT 'Ärger' AS v"); err != nil {
			t.Fatal(err)
		}
		if err := first.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err, open := <-first.Done(); open {
			t.Errorf("Done after Stop: got %v, want it closed", err)
		}
		second := startPostgres(t, o)
		if got, err := query(t, second.URL("it's"), "SELECT lower(v) FROM t"); err != nil || got != "ärger" {
			t.Errorf("durable %v: lower case of what was stored: got %q, %v, want ärger", durable, got, err)
		}
	}
}

func TestPostgresLetsNobodyElseIn(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	p := startPostgres(t, PostgresOptions{Dir: dir})
	if _, err := query(t, strings.Replace(p.URL("postgres"), p.password, "guess", 1), "SELECT 1"); err == nil {
		t.Error("a wrong password is let in")
	}
	for _, file := range []string{"password", "postgres.log"} {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("mode of %s: got %o, want 600", file, got)
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		ip, _, err := net.ParseCIDR(a.String())
		if err != nil || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			continue
		}
		d := net.Dialer{Timeout: 5 * time.Second}
		if conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(ip.String(), strconv.Itoa(p.port))); err == nil {
			t.Errorf("it listens on %v", ip)
			_ = conn.Close()
		}
	}
}

func TestOneFolderServesOneRun(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	p := startPostgres(t, PostgresOptions{Dir: dir})
	_, err := StartPostgres(t.Context(), PostgresOptions{Dir: dir})
	if want := fmt.Sprintf("in use by process %d", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("second start on a folder: got %v, want %q", err, want)
	}
	if _, err := query(t, p.URL("postgres"), "SELECT 1"); err != nil {
		t.Errorf("the first server after the second start: %v", err)
	}

	unlock, err := Lock(dir) // of the caller, and so another one
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); err == nil {
		t.Error("a locked folder was locked again")
	}
	unlock()
	unlock, err = Lock(dir)
	if err != nil {
		t.Fatalf("lock an unlocked folder: %v", err)
	}
	unlock()
}

func TestATakenPortIsNamed(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, PostgresOptions{Dir: folder(t)})
	want := fmt.Sprintf("port %d of 127.0.0.1 is not free", p.port)
	if _, err := StartPostgres(t.Context(), PostgresOptions{Dir: folder(t), Port: p.port}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Postgres: got %v, want %q", err, want)
	}
	if _, err := StartRedis(t.Context(), RedisOptions{Dir: folder(t), Port: p.port}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Redis: got %v, want %q", err, want)
	}
}

func TestAFreePortThatIsLostIsReplaced(t *testing.T) {
	t.Parallel()
	tries := 0
	err := onPort(t.Context(), 0, func(port int) error {
		tries++
		if tries == 2 {
			return nil
		}
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // there is nothing to wait for
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return errors.New("address already in use")
	})
	if err != nil || tries != 2 {
		t.Errorf("got %v after %d tries, want none after 2", err, tries)
	}
	broken := errors.New("broken")
	if err := onPort(t.Context(), 0, func(int) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("failure that is not the port's: got %v, want %v", err, broken)
	}
}

func TestDoneTellsWhenAServerDies(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, PostgresOptions{Dir: folder(t)})
	if err := p.child.cmd.Process.Signal(syscall.SIGTERM); err != nil { // from outside
		t.Fatal(err)
	}
	select {
	case err := <-p.Done():
		if err == nil || !strings.Contains(err.Error(), "ended by itself") || !strings.Contains(err.Error(), "database system is shut down") {
			t.Errorf("got %v, want an error with the server's last words", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Done says nothing")
	}
}

func TestAStartThatFailsSaysWhyAndLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	p := startPostgres(t, PostgresOptions{Dir: dir})
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "data", "postgresql.auto.conf")
	if err := os.WriteFile(conf, []byte("no_such_setting = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := StartPostgres(t.Context(), PostgresOptions{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("got %v, want the server's last words", err)
	}
	if err := os.Truncate(conf, 0); err != nil {
		t.Fatal(err)
	}
	startPostgres(t, PostgresOptions{Dir: dir}) // the lock was given back
}

func TestAServerLeftBehindIsStopped(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	left := startPostgres(t, PostgresOptions{Dir: dir})
	left.unlock() // as if its run had been killed
	p := startPostgres(t, PostgresOptions{Dir: dir})
	if err := <-left.Done(); err == nil {
		t.Error("the server that was left behind: got no error, want that it has ended")
	}
	if _, err := query(t, p.URL("postgres"), "SELECT 1"); err != nil {
		t.Error(err)
	}
}

func TestTheDataOfAKilledRunIsKept(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	run := exec.CommandContext(t.Context(), os.Args[0], "serve", dir)
	run.Stderr = os.Stderr
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var postgresURL, redisURL string
	if _, err := fmt.Sscan(line, &postgresURL, &redisURL); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	if _, err := query(t, postgresURL, "CREATE TABLE t AS SELECT 'committed' AS v"); err != nil {
		t.Fatal(err)
	}
	if err := run.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = run.Wait() // it was killed, and says so
	p := startPostgres(t, PostgresOptions{Dir: dir, Durable: true})
	if got, err := query(t, p.URL("postgres"), "SELECT v FROM t"); err != nil || got != "committed" {
		t.Errorf("got %q, %v, want committed", got, err)
	}
	endsWithItsRun(t, redisURL)
}

// An initdb outlives its run and goes on writing, while that of the next start is at work.
func TestTheDataOfARunKilledTooEarlyIsMadeAnew(t *testing.T) {
	t.Parallel()
	found, err := findPostgres(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	bin, dir := folder(t), folder(t)
	if err := os.Chmod(bin, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"begun", "go", "written"} {
		if err := errors.Join(syscall.Mkfifo(filepath.Join(bin, name), 0o666), os.Chmod(filepath.Join(bin, name), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	// The first tells that it has begun, and writes when the second has begun too, which waits for that.
	for name, script := range map[string]string{
		"postgres": `exec ` + found.postgres() + ` "$@"`,
		"initdb": `cd "${0%/*}"
if mkdir first 2>/dev/null
then echo >begun; read -r _ <go; touch "${1#--pgdata=}/late"; echo >written
else echo >go; read -r _ <written; exec ` + found.initdb() + ` "$@"
fi`,
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run := func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "serve", dir)
		cmd.Env = append(cmd.Environ(), "PATH="+bin+":/usr/local/bin:/usr/bin:/bin")
		return cmd
	}
	first := run()
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(filepath.Join(bin, "begun")); err != nil {
		t.Fatal(err)
	}
	_ = first.Process.Kill()
	_ = first.Wait() // it was killed, and says so
	second := run()
	out, err := second.StdoutPipe()
	if err == nil {
		err = second.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = second.Process.Kill()
	_ = second.Wait() // as above
	if err != nil || !strings.HasPrefix(line, "postgres://") {
		t.Errorf("the second run: got %q, %v, want the URL of its Postgres", line, err)
	}
}

func TestAPidFileOfAnotherProgramIsNoServer(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	p := startPostgres(t, PostgresOptions{Dir: dir})
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	bystander := exec.CommandContext(t.Context(), "sleep", "60")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bystander.Wait() }()
	defer func() { _ = bystander.Process.Kill() }()
	pidFile := fmt.Sprintf("%d\n%s\n", bystander.Process.Pid, filepath.Join(dir, "data"))
	if err := os.WriteFile(filepath.Join(dir, "data", "postmaster.pid"), []byte(pidFile), 0o600); err != nil {
		t.Fatal(err)
	}
	startPostgres(t, PostgresOptions{Dir: dir})
	if err := bystander.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the other program: %v", err)
	}
}

func TestStopEndsAServerThatHangs(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, PostgresOptions{Dir: folder(t)})
	conn, err := pgx.Connect(t.Context(), p.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.child.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("the server still answers")
	}
}

func TestFoldersThatPostgresCannotEnter(t *testing.T) {
	t.Parallel()
	stranger := account{"stranger", &syscall.Credential{Uid: 54321, Gid: 54321}}
	root := folder(t)
	closed := filepath.Join(root, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := stranger.barrier(filepath.Join(root, "open", "not", "there")); got != "" {
		t.Errorf("barrier on an open way: got %s, want none", got)
	}
	if got := stranger.barrier(filepath.Join(closed, "not", "there")); got != closed {
		t.Errorf("barrier on a closed way: got %q, want %s", got, closed)
	}
	err := stranger.letIn(filepath.Join(closed, "data"))
	if want := "the user stranger may not enter " + closed; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a folder in a closed one: got %v, want %q", err, want)
	}

	got, err := DataDir(filepath.Join(closed, ".data"))
	if err != nil {
		t.Fatal(err)
	}
	if want := os.Geteuid() == 0; strings.HasPrefix(got, "/var/lib/trackway/") != want {
		t.Errorf("DataDir of a closed folder: got %s, want one under /var/lib/trackway: %v", got, want)
	}
	if got, err := DataDir(filepath.Join(root, ".data")); err != nil || got != filepath.Join(root, ".data") {
		t.Errorf("DataDir of an open folder: got %s, %v, want it", got, err)
	}
}

func TestWhichPostgresIsChosen(t *testing.T) {
	t.Parallel()
	found := []binaries{{"/path", 14}, {"/new", 17}, {"/old", 15}}
	tests := []struct {
		name   string
		wanted int
		want   string
	}{
		{"the first that is new enough for new data", 0, "/new"},
		{"the same version for old data", 15, "/old"},
		{"even one that is too old to be chosen for new data", 14, "/path"},
		{"none", 16, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got, ok := choose(found, tt.wanted); got.dir != tt.want || ok != (tt.want != "") {
				t.Errorf("got %q, %v, want %q", got.dir, ok, tt.want)
			}
		})
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	for _, inProcess := range []bool{false, true} {
		t.Run(fmt.Sprintf("in process %v", inProcess), func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			r, err := StartRedis(ctx, RedisOptions{Dir: folder(t), InProcess: inProcess})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = r.Stop(context.WithoutCancel(ctx)) })
			if inProcess && r.Real() {
				t.Error("got a redis-server, want none")
			}
			o, err := redis.ParseURL(r.URL())
			if err != nil {
				t.Fatal(err)
			}
			o.MaxRetries, o.DialerRetries = -1, 1
			client := redis.NewClient(o)
			defer func() { _ = client.Close() }()
			intruder := redis.NewClient(&redis.Options{Addr: o.Addr})
			defer func() { _ = intruder.Close() }()

			if err := intruder.Ping(ctx).Err(); err == nil {
				t.Error("no password is let in")
			}
			if err := client.Set(ctx, "short", "", 100*time.Millisecond).Err(); err != nil {
				t.Fatal(err)
			}
			if err := client.Set(ctx, "kept", "", 0).Err(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a key expires", func() bool { return client.Exists(ctx, "short").Val() == 0 })
			if got := client.Exists(ctx, "kept").Val(); got != 1 {
				t.Errorf("keys that do not expire: got %d, want 1", got)
			}

			if err := r.Stop(ctx); err != nil {
				t.Fatal(err)
			}
			if err, open := <-r.Done(); open {
				t.Errorf("Done after Stop: got %v, want it closed", err)
			}
			if err := client.Ping(ctx).Err(); err == nil {
				t.Error("it answers after it was stopped")
			}
			if err := r.Restart(ctx); err != nil {
				t.Fatal(err)
			}
			if got, err := client.Exists(ctx, "kept").Result(); err != nil || got != 0 {
				t.Errorf("keys after the restart: got %d, %v, want 0", got, err)
			}
		})
	}
}
