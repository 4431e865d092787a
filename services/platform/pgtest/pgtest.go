// Package pgtest gives each test a migrated Postgres database of its own, cloned from a template, and a Redis of its own.
//
// The package's TestMain has to end what the tests share:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trackway/trackway/services/platform/local"
)

// timeout bounds each thing that a test may wait for here, on a machine that is busy.
const timeout = time.Minute

//nolint:gochecknoglobals // a test process has no other place for what all its tests share
var shared server

// server is the Postgres and the Redis of this test process, started when the first test asks for them.
type server struct {
	start sync.Once
	err   error
	admin *pgxpool.Pool
	url   func(database string) string
	stop  []func(context.Context) error // in reverse order

	prefix    string // of our databases: the server of TEST_POSTGRES_URL may serve other processes
	databases atomic.Int64

	mu        sync.Mutex // held while a template is made
	templates map[string]string

	startRedis sync.Once
	redisErr   error
	redis      *local.Redis
	redisTaken atomic.Int64
	stopRedis  func(context.Context) error
}

// Main runs the tests, ends what they shared, and returns the exit code. It is called by TestMain, once.
func Main(m *testing.M) int {
	code := m.Run()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := shared.close(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return max(code, 1)
	}
	return code
}

// Open returns the URL of a database of the test's own, as migrate left the one that it was called for, and drops it
// when the test ends. migrate is called once per process and name. The server is a private one, or that of
// TEST_POSTGRES_URL, whose user must be allowed to create databases and to end others' connections.
func Open(tb testing.TB, name string, migrate func(ctx context.Context, url string) error) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), timeout)
	defer cancel()
	shared.start.Do(func() { shared.err = shared.open(ctx) })
	if shared.err != nil {
		tb.Fatalf("pgtest: %v", shared.err)
	}
	template, err := shared.template(ctx, name, migrate)
	if err != nil {
		tb.Fatalf("pgtest: make the template %s: %v", name, err)
	}
	database := fmt.Sprintf("%s_%d", shared.prefix, shared.databases.Add(1))
	if err := shared.create(ctx, database, template); err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		if err := shared.drop(ctx, database); err != nil {
			tb.Errorf("pgtest: %v", err)
		}
	})
	return shared.url(database)
}

// Settle waits until every transaction that is in flight has ended, in all databases of the server: until then readers
// are not told of the events of those that came after (see package events), and other tests' transactions count.
func Settle(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), timeout)
	defer cancel()
	var next string
	err := shared.admin.QueryRow(ctx, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text").Scan(&next)
	for settled := false; err == nil && !settled; {
		err = shared.admin.QueryRow(ctx,
			"SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::text::xid8", next).Scan(&settled)
	}
	if err != nil {
		tb.Fatalf("pgtest: wait for the transactions in flight: %v", err)
	}
}

// redisDatabases is how many tests of a process may ask for a Redis.
const redisDatabases = 4096

// Redis returns the URL of a Redis database of the test's own, empty, on the one server of this test process; channels
// alone are everybody's. A test that has to kill and restart a server starts it with local.StartRedis.
func Redis(tb testing.TB) string {
	tb.Helper()
	shared.startRedis.Do(func() { shared.redisErr = shared.openRedis(tb.Context()) })
	if shared.redisErr != nil {
		tb.Fatalf("pgtest: %v", shared.redisErr)
	}
	number := shared.redisTaken.Add(1) - 1
	if number >= redisDatabases {
		tb.Fatalf("pgtest: more than %d tests ask for a Redis", redisDatabases)
	}
	return shared.redis.Database(int(number))
}

func (s *server) openRedis(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "trackway-pgtest-redis-")
	if err != nil {
		return err
	}
	s.redis, err = local.StartRedis(ctx, local.RedisOptions{Dir: dir, Databases: redisDatabases})
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	s.stopRedis = func(ctx context.Context) error {
		return errors.Join(s.redis.Stop(ctx), os.RemoveAll(dir))
	}
	return nil
}

func (s *server) open(ctx context.Context) error {
	s.templates = map[string]string{}
	s.prefix = "test_" + strings.ToLower(rand.Text()[:8])
	if outside := os.Getenv("TEST_POSTGRES_URL"); outside != "" { //nolint:forbidigo // tests have no configuration
		u, err := url.Parse(outside)
		if err != nil {
			return errors.New("TEST_POSTGRES_URL is not a URL") // err holds the password
		}
		s.url = func(database string) string {
			u := *u
			u.Path = "/" + database
			return u.String()
		}
		return s.connect(ctx, outside)
	}
	dir, err := s.makeDir()
	if err != nil {
		return err
	}
	p, err := local.StartPostgres(ctx, local.PostgresOptions{Dir: dir})
	if err != nil {
		return err
	}
	s.stop = append(s.stop, p.Stop)
	s.url = p.URL
	return s.connect(ctx, p.URL("postgres"))
}

// makeDir makes the folder of our Postgres, which goes when the process ends, and removes those that killed processes
// left behind.
func (s *server) makeDir() (string, error) {
	base, err := local.DataDir(scratch())
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(base, 0o755); err != nil { //nolint:gosec // Postgres, as another user, must pass through it
		return "", err
	}
	const name = "trackway-pgtest-"
	old, err := filepath.Glob(filepath.Join(base, name+"*"))
	if err != nil {
		return "", err
	}
	for _, dir := range old {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < time.Minute { // a new one may not be locked yet
			continue
		}
		if unlock, err := local.Lock(dir); err == nil {
			_ = os.RemoveAll(dir) // of another user, perhaps
			unlock()
		}
	}
	dir, err := os.MkdirTemp(base, name)
	if err != nil {
		return "", err
	}
	s.stop = append(s.stop, func(context.Context) error { return os.RemoveAll(dir) })
	unlock, err := local.Lock(dir)
	if err != nil {
		return "", err
	}
	s.stop = append(s.stop, func(context.Context) error { unlock(); return nil })
	return dir, nil
}

// scratch prefers a folder in memory that has room for several of us: on the disk of a virtual machine a clone took 74 ms
// where it takes 5 here, because ext4 without a journal is slow to use the place of dropped databases again.
func scratch() string {
	const memory, enough = "/dev/shm", 2 << 30
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memory, &fs); err == nil && fs.Bavail*uint64(fs.Bsize) > enough {
		return memory
	}
	return os.TempDir()
}

func (s *server) connect(ctx context.Context, url string) error {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	s.admin = pool
	s.stop = append(s.stop, func(ctx context.Context) error {
		var errs []error
		for _, template := range s.templates {
			errs = append(errs, s.drop(ctx, template))
		}
		pool.Close()
		return errors.Join(errs...)
	})
	return pool.Ping(ctx)
}

func (s *server) close(ctx context.Context) error {
	var errs []error
	if s.stopRedis != nil {
		errs = append(errs, s.stopRedis(ctx))
	}
	for _, stop := range slices.Backward(s.stop) {
		errs = append(errs, stop(ctx))
	}
	return errors.Join(errs...)
}

// template returns the template database of that name, which it makes at the first call.
func (s *server) template(ctx context.Context, name string, migrate func(context.Context, string) error) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if template, ok := s.templates[name]; ok {
		return template, nil
	}
	template := fmt.Sprintf("%s_template_%d", s.prefix, len(s.templates))
	if err := s.create(ctx, template, "template1"); err != nil {
		return "", err
	}
	err := migrate(ctx, s.url(template))
	if err == nil {
		err = s.seal(ctx, template)
	}
	if err != nil {
		return "", errors.Join(err, s.drop(ctx, template))
	}
	s.templates[name] = template
	return template, nil
}

// seal ends the connections to a database and lets nobody in again, for one with connections cannot be cloned.
func (s *server) seal(ctx context.Context, database string) error {
	_, err := s.admin.Exec(ctx, "ALTER DATABASE "+quote(database)+" WITH ALLOW_CONNECTIONS false")
	if err != nil {
		return err
	}
	_, err = s.admin.Exec(ctx,
		"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1", database)
	return err
}

// create clones a template by copying its files: for databases this small it is faster than by way of the WAL.
func (s *server) create(ctx context.Context, database, template string) error {
	_, err := s.admin.Exec(ctx, "CREATE DATABASE "+quote(database)+" TEMPLATE "+quote(template)+" STRATEGY FILE_COPY")
	return err
}

func (s *server) drop(ctx context.Context, database string) error {
	_, err := s.admin.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(database)+" WITH (FORCE)")
	return err
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
