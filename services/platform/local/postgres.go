// Package local starts private Postgres and Redis servers from the machine's own programs: for `make run`, which keeps
// the data, and for tests, which throw it away. They listen on 127.0.0.1 only, ask for a random password, and on Linux
// end with this process even if that is killed.
package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	superuser    = "postgres"
	startTimeout = time.Minute
)

// PostgresOptions says how to start Postgres. Dir is required.
type PostgresOptions struct {
	Dir     string // where data, password and log are kept; created if missing
	Port    int    // 0 takes a free one
	Durable bool   // what is committed survives a crash, of the server or the machine; false is faster
	// Settings are more of Postgres's own, as name=value.
	Settings []string
}

// Postgres is a running server that this process owns.
type Postgres struct {
	dir      string
	durable  bool
	settings []string
	account  account
	binaries binaries
	password string
	port     int
	child    *child
	unlock   func()
}

// StartPostgres starts a server on the data in o.Dir, which it creates at first. It returns when the server answers;
// ctx bounds the start and not the server's life. Nobody else can start one on the same folder until Stop, and a server
// that a killed run left there is stopped first. If we are root, the server runs as the user postgres or nobody.
func StartPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	p := &Postgres{dir: dir, durable: o.Durable, settings: o.Settings}
	if p.account, err = serverAccount(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the server's user must be able to pass through it
		return nil, err
	}
	if err := p.account.letIn(dir); err != nil {
		return nil, err
	}
	if p.unlock, err = lock(dir, "postgres.lock"); err != nil {
		return nil, err
	}
	if err := p.start(ctx, o.Port); err != nil {
		p.unlock()
		return nil, fmt.Errorf("start Postgres in %s: %w", dir, err)
	}
	return p, nil
}

func (p *Postgres) start(ctx context.Context, port int) error {
	made, err := p.madeBy()
	if err != nil {
		return err
	}
	if p.binaries, err = findPostgres(ctx, made); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if made == 0 {
		err = p.initialise(ctx)
	} else {
		err = p.endFormer(ctx)
	}
	if err != nil {
		return err
	}
	password, err := os.ReadFile(p.path("password"))
	if err != nil {
		return fmt.Errorf("the password of the data is lost (%w): remove the folder to start afresh", err)
	}
	p.password = string(password)
	return onPort(ctx, port, func(port int) error {
		p.port = port
		return p.run(ctx)
	})
}

func (p *Postgres) path(name string) string { return filepath.Join(p.dir, name) }

// madeBy returns the major version that made the data, 0 if there is none yet.
func (p *Postgres) madeBy() (int, error) {
	b, err := os.ReadFile(p.path("data/PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// initialise makes the data folder. It appears under its name when it is complete, so that a run killed in between
// leaves nothing that a later one would mistake for data. The initdb of such a run may still be at work: until then it has
// another name each time.
func (p *Postgres) initialise(ctx context.Context) error {
	if former, err := filepath.Glob(p.path("data.new*")); err == nil { // a folder with odd characters keeps them
		for _, f := range former {
			_ = os.RemoveAll(f) // fails while something is written to it
		}
	}
	unfinished, err := os.MkdirTemp(p.dir, "data.new")
	if err != nil {
		return err
	}
	if err := p.account.own(unfinished); err != nil {
		return err
	}
	if err := os.WriteFile(p.path("password"), []byte(rand.Text()), 0o600); err != nil {
		return err
	}
	if err := p.account.own(p.path("password")); err != nil { // initdb reads it
		return err
	}
	args := []string{
		"--pgdata=" + unfinished, "--username=" + superuser, "--pwfile=" + p.path("password"), "--auth=scram-sha-256",
		"--encoding=UTF8", "--no-instructions",
	}
	switch {
	case p.binaries.major >= 17:
		args = append(args, "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
	case runtime.GOOS == "darwin":
		args = append(args, "--locale=C", "--lc-ctype=UTF-8") // its name there
	default:
		args = append(args, "--locale=C.UTF-8")
	}
	if !p.durable {
		args = append(args, "--no-sync")
	}
	if out, err := p.command(ctx, p.binaries.initdb(), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return os.Rename(unfinished, p.path("data"))
}

// command runs a program of Postgres as its account, in a folder that this may enter and with messages in English.
func (p *Postgres) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.account.cred}
	return cmd
}

// endFormer stops the server that a killed run left behind.
func (p *Postgres) endFormer(ctx context.Context) error {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		pid, err := p.former(ctx)
		if err != nil || pid == 0 {
			return err
		}
		if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the former server (process %d): %w", pid, err)
		}
		if ended, err := p.awaitFormer(ctx); err != nil || ended {
			return err
		}
	}
	return errors.New("the server of a former run does not end")
}

// awaitFormer reports whether the former server has ended in the time that one has to stop.
func (p *Postgres) awaitFormer(ctx context.Context) (ended bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		pid, err := p.former(context.WithoutCancel(ctx))
		if err != nil || pid == 0 {
			return true, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, nil
		}
	}
}

// former returns the process of a server that uses the data, 0 if there is none. It removes a pid file whose server is
// gone: the number may by now be another program's, which Postgres would take for a server and refuse to start.
func (p *Postgres) former(ctx context.Context) (pid int, err error) {
	pidFile := p.path("data/postmaster.pid")
	b, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	pid, err = strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", pidFile, err)
	}
	program, args := commandLine(ctx, pid)
	if name := filepath.Base(program); name != "postgres" && name != "postmaster" {
		if err := os.Remove(pidFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		return 0, nil
	}
	if !strings.Contains(args, p.path("data")+" ") {
		return 0, fmt.Errorf("process %d, named in %s, is a Postgres of another folder: remove that file if no server uses "+
			"this data", pid, pidFile)
	}
	return pid, nil
}

// commandLine returns the program of a living process, and its arguments each followed by a space; "" if there is none.
func commandLine(ctx context.Context, pid int) (program, args string) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err == nil {
		program, args, _ = strings.Cut(string(line), "\x00")
		return program, strings.ReplaceAll(args, "\x00", " ")
	}
	line, err = exec.CommandContext(ctx, "ps", "-o", "args=", "-p", strconv.Itoa(pid)).Output() // where there is no /proc
	if err != nil {
		return "", ""
	}
	program, args, _ = strings.Cut(strings.TrimSpace(string(line)), " ")
	return program, args + " "
}

// run starts the server and waits until it answers.
func (p *Postgres) run(ctx context.Context) error {
	settings := []string{
		"listen_addresses=127.0.0.1",
		"unix_socket_directories=", // a socket's path may have 107 bytes at most, and ours may be longer
		"port=" + strconv.Itoa(p.port),
		"max_connections=200",
		"timezone=UTC",
		"log_timezone=UTC",
		"log_min_error_statement=panic", // statements hold e-mails and hashes, and the errors say enough
	}
	if !p.durable {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off",
			"max_wal_size=128MB",              // the folder may be in memory
			"dynamic_shared_memory_type=mmap") // in the folder: the usual kind is left behind by a server that is killed
	}
	args := []string{"-D", p.path("data")}
	for _, s := range append(settings, p.settings...) {
		args = append(args, "-c", s)
	}
	cmd := p.command(context.WithoutCancel(ctx), p.binaries.postgres(), args...)
	c, err := startChild(cmd, p.path("postgres.log"), syscall.SIGINT)
	if err != nil {
		return err
	}
	p.child = c
	return c.awaitReady(ctx, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, p.URL(superuser))
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
}

// CreateDatabase creates a database unless there is one of that name.
func (p *Postgres) CreateDatabase(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.URL(superuser))
	if err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	var exists bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists)
	if err == nil && !exists {
		_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	}
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	return nil
}

// URL returns the address of a database on the server, for its superuser, with the password in it.
func (p *Postgres) URL(database string) string {
	return (&url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, p.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}).String()
}

// Done gets an error if the server ends before Stop is called, and is closed once it has ended.
func (p *Postgres) Done() <-chan error { return p.child.ended() }

// Stop disconnects the clients and ends the server. One that has not stopped when ctx ends, or after ten seconds, is
// ended the hard way; if it is durable, that still loses nothing that was committed.
func (p *Postgres) Stop(ctx context.Context) error {
	defer p.unlock()
	return p.child.stop(ctx, syscall.SIGINT, syscall.SIGQUIT)
}
