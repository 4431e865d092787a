package local

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// RedisOptions says how to start Redis. Dir is required.
type RedisOptions struct {
	Dir       string // where the log is kept; created if missing
	Port      int    // 0 takes a free one
	InProcess bool   // do not start a redis-server even if this machine has one
	Databases int    // how many it has, numbered from 0; 0 is 16
}

// Redis is a running server that this process owns. It keeps its data in memory only. Restart must not be called while
// another method is.
type Redis struct {
	dir      string
	program  string // "" for one in process
	password string
	port     int
	many     int // databases
	server   interface {
		stop(context.Context, ...syscall.Signal) error
		ended() <-chan error
	}
}

// StartRedis starts redis-server from PATH or, if there is none, a smaller Redis in this process. It returns when the
// server answers; ctx bounds the start and not the server's life.
func StartRedis(ctx context.Context, o RedisOptions) (*Redis, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // Postgres may be in a folder below, as another user
		return nil, err
	}
	r := &Redis{dir: dir, password: rand.Text(), many: cmp.Or(o.Databases, 16)}
	if !o.InProcess {
		if r.program, err = exec.LookPath("redis-server"); err != nil {
			r.program = ""
		}
	}
	err = onPort(ctx, o.Port, func(port int) error {
		r.port = port
		return r.start(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("start Redis: %w", err)
	}
	return r, nil
}

func (r *Redis) start(ctx context.Context) error {
	if r.program == "" {
		s, err := startInProcess(ctx, r.address(), r.password)
		if err != nil {
			return err
		}
		r.server = s
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	config := []string{
		"bind 127.0.0.1",
		"port " + strconv.Itoa(r.port),
		"requirepass " + r.password,
		"databases " + strconv.Itoa(r.many),
		"dir " + strconv.Quote(r.dir),
		`save ""`,
		"appendonly no",
		"daemonize no",
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), r.program, "-")
	cmd.Stdin = strings.NewReader(strings.Join(config, "\n") + "\n") // in arguments others could read the password
	cmd.WaitDelay = endTimeout
	c, err := startChild(cmd, filepath.Join(r.dir, "redis.log"), syscall.SIGKILL)
	if err != nil {
		return err
	}
	r.server = c
	return c.awaitReady(ctx, r.ping)
}

// ping speaks the protocol itself: go-redis would log every time that the server is not there yet.
func (r *Redis) ping(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", r.address())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(conn, "AUTH %s\r\nPING\r\n", r.password); err != nil {
		return err
	}
	const want = "+OK\r\n+PONG\r\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != want {
		return fmt.Errorf("unexpected answer %q", got)
	}
	return nil
}

func (r *Redis) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)) }

// URL returns the server's address, with the password in it.
func (r *Redis) URL() string { return r.Database(0) }

// Database returns the address of one of the server's databases.
func (r *Redis) Database(number int) string {
	return (&url.URL{
		Scheme: "redis", User: url.UserPassword("", r.password), Host: r.address(), Path: "/" + strconv.Itoa(number),
	}).String()
}

// Real reports whether this is a redis-server, and not the one in this process.
func (r *Redis) Real() bool { return r.program != "" }

// Done gets an error if the server ends by itself, and is closed once it has ended. After Restart there is a new one.
func (r *Redis) Done() <-chan error { return r.server.ended() }

// Stop ends the server as a crash would, for there is nothing to save: connections break and its data is gone.
func (r *Redis) Stop(ctx context.Context) error { return r.server.stop(ctx, syscall.SIGKILL) }

// Restart starts the server again after Stop, empty, at the same URL.
func (r *Redis) Restart(ctx context.Context) error {
	if err := r.start(ctx); err != nil {
		return fmt.Errorf("restart Redis: %w", err)
	}
	return nil
}

// inProcess is a miniredis whose keys expire. Its own way to do that looks at every key on every command.
type inProcess struct {
	redis *miniredis.Miniredis
	quit  context.CancelFunc
	died  chan error
}

func startInProcess(ctx context.Context, address, password string) (*inProcess, error) {
	m := miniredis.NewMiniRedis()
	m.RequireAuth(password)
	if err := m.StartAddr(address); err != nil {
		return nil, err
	}
	ctx, quit := context.WithCancel(context.WithoutCancel(ctx)) // ctx is that of the start
	s := &inProcess{redis: m, quit: quit, died: make(chan error)}
	go func() {
		defer close(s.died)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case now := <-tick.C:
				m.FastForward(now.Sub(last))
				last = now
			case <-ctx.Done():
				return
			}
		}
	}()
	return s, nil
}

func (s *inProcess) stop(context.Context, ...syscall.Signal) error {
	s.quit()
	s.redis.Close()
	return <-s.died // nil, when the clock has stopped
}

func (s *inProcess) ended() <-chan error { return s.died }
