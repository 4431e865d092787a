package system

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"

	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// A start that ends while it makes the demo data leaves it unfinished; the next start makes the rest, and nothing twice.
func TestTheNextStartCompletesTheDemoData(t *testing.T) {
	t.Parallel()
	whole := demo(t, start(t, dataDir(t), Options{Demo: true}))
	for _, stopAt := range []int64{1, 17} {
		dir := dataDir(t)
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int64
		stop := func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			answer, err := next(ctx, req) // done, but the seeder does not learn of it
			if info.FullMethod == tasksv1.TasksService_CreateTask_FullMethodName && calls.Add(1) == stopAt {
				cancel()
			}
			return answer, err
		}
		_, err := Start(ctx, options(t, dir, Options{Demo: true, Calls: []grpc.UnaryServerInterceptor{stop}}))
		if err == nil {
			t.Fatal("the first start was to fail, and did not")
		}
		if diff := cmp.Diff(demo(t, start(t, dir, Options{Demo: true})), whole); diff != "" {
			t.Errorf("stopped after %d tasks, the demo data differs (-got +want):\n%s", stopAt, diff)
		}
	}
}

func TestAPartThatDiesIsTold(t *testing.T) {
	t.Parallel()
	s := start(t, dataDir(t), Options{})
	if err := s.public["edge"].Close(); err != nil { // and with it the edge
		t.Fatal(err)
	}
	select {
	case err := <-s.Died():
		if err == nil {
			t.Error("the edge died without an error")
		}
	case <-time.After(startTimeout):
		t.Error("nobody tells that the edge has died")
	}
}

func TestAConfigurationThatIsRefusedStopsTheStart(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	o := options(t, dir, Options{})
	o.Environ["BODY_LIMIT"] = "-1"
	_, err := Start(t.Context(), o)
	if got, want := fmt.Sprint(err), "edge: BODY_LIMIT is -1, and must be at least 1"; got != want {
		t.Fatalf("the start ends with %q, want %q", got, want)
	}
	start(t, dir, Options{}) // nothing is in the way
}

// demo is what is in the databases, without ids.
func demo(t *testing.T, s *System) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, q := range []struct{ database, query string }{
		{"users", "SELECT email || ' ' || name FROM users ORDER BY id"},
		{"projects", "SELECT name || ' ' || visibility FROM projects ORDER BY id"},
		{"projects", "SELECT name || ' ' || role FROM members m JOIN projects p ON p.id = project_id ORDER BY m.id"},
		{"projects", "SELECT type || ' ' || project_id || ' ' || version FROM events ORDER BY id"},
		{"tasks", "SELECT project_id || ' ' || number || ' ' || title || ' ' || status FROM tasks ORDER BY id"},
		{"tasks", "SELECT number || ' ' || body FROM comments c JOIN tasks t ON t.id = task_id ORDER BY c.id"},
		{"tasks", "SELECT type || ' ' || project_id || ' ' || version FROM events ORDER BY id"},
	} {
		conn, err := pgx.Connect(t.Context(), s.postgres.URL(q.database))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := conn.Query(t.Context(), q.query)
		if err != nil {
			t.Fatal(err)
		}
		found[q.query], err = pgx.CollectRows(rows, pgx.RowTo[string])
		if err := errors.Join(err, conn.Close(t.Context())); err != nil {
			t.Fatal(err)
		}
		if len(found[q.query]) == 0 {
			t.Errorf("there is nothing: %s", q.query)
		}
	}
	return found
}

// dataDir makes a folder that Postgres, which may run as another user, can enter.
func dataDir(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

func options(t *testing.T, dir string, o Options) Options {
	t.Helper()
	o.Dir, o.Throwaway, o.Log = dir, true, t.Output()
	environ := map[string]string{"RATE_LIMIT": "0", "AUTH_RATE_LIMIT": "0"}
	maps.Copy(environ, o.Environ)
	o.Environ = environ
	return o
}

// start starts a system that stops with the test.
func start(t *testing.T, dir string, o Options) *System {
	t.Helper()
	s, err := Start(t.Context(), options(t, dir, o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), stopTimeout)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}
