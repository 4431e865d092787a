// Command migrations holds the migrations against those of the last release, whose services go on working on the new
// schema while they are replaced, and after a rollback: a migration may add, but not take away or rename what they use.
// It migrates two real databases for each service, as the release did and as this tree does, and compares them.
//
//	go run ./tools/migrations DIR    with the last release's files below DIR/services
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trackway/trackway/services/platform/local"
)

// timeout bounds the whole comparison.
const timeout = 5 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "migrations:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) != 1 {
		return fmt.Errorf("want one argument, the folder of the last release, not %q", args)
	}
	dir, err := os.MkdirTemp("", "trackway-migrations-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if dir, err = local.DataDir(dir); err != nil {
		return err
	}
	server, err := local.StartPostgres(ctx, local.PostgresOptions{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
	open := func(ctx context.Context, name string) (*pgx.Conn, error) {
		if err := server.CreateDatabase(ctx, name); err != nil {
			return nil, err
		}
		return pgx.Connect(ctx, server.URL(name))
	}
	var all []error
	for _, service := range []string{"users", "projects", "tasks"} {
		found, err := compare(ctx, open, service, os.DirFS(args[0]), os.DirFS("."))
		if err != nil {
			return fmt.Errorf("%s: %w", service, err)
		}
		for _, f := range found {
			all = append(all, fmt.Errorf("%s: %s", service, f))
		}
	}
	return errors.Join(all...)
}

// compare returns what the last release could not work with, for one service. Both trees are the repository's root.
func compare(ctx context.Context, open func(ctx context.Context, name string) (*pgx.Conn, error), service string, released,
	current fs.FS,
) ([]string, error) {
	before, err := files(released, service)
	if err != nil {
		return nil, err
	}
	after, err := files(current, service)
	if err != nil {
		return nil, err
	}
	found, err := changed(released, current, before)
	if err != nil || len(found) > 0 {
		return found, err
	}
	old, err := migrated(ctx, open, service+"_released", released, before)
	if err != nil {
		return nil, err
	}
	now, err := migrated(ctx, open, service, current, after)
	if err != nil {
		return nil, err
	}
	code, err := words(released, "services/"+service, "services/platform")
	if err != nil {
		return nil, err
	}
	return lost(old, now, code), nil
}

// files are a service's migrations, in the order in which they run.
func files(root fs.FS, service string) ([]string, error) {
	var all []string
	for _, pattern := range []string{"services/platform/*/migrations/*.up.sql", "services/" + service + "/migrations/*.up.sql"} {
		names, err := fs.Glob(root, pattern)
		if err != nil {
			return nil, err
		}
		all = append(all, names...)
	}
	if len(all) == 0 {
		return nil, errors.New("it has no migrations")
	}
	slices.SortFunc(all, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	return all, nil
}

// changed finds released migrations that are not as they were: databases that have them never see the change.
func changed(released, current fs.FS, names []string) (found []string, err error) {
	for _, name := range names {
		old, err := fs.ReadFile(released, name)
		if err != nil {
			return nil, err
		}
		now, err := fs.ReadFile(current, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			found = append(found, filepath.Base(name)+" was released, and is gone")
		case err != nil:
			return nil, err
		case !bytes.Equal(old, now):
			found = append(found, filepath.Base(name)+" was released, and is not what it was: write another migration")
		}
	}
	return found, nil
}

// migrated runs the migrations in a new database, and reads what they made.
func migrated(ctx context.Context, open func(ctx context.Context, name string) (*pgx.Conn, error), database string, root fs.FS,
	names []string,
) (s schema, err error) {
	conn, err := open(ctx, database)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for _, name := range names {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return s, err
		}
		if _, err := conn.Exec(ctx, string(text), pgx.QueryExecModeSimpleProtocol); err != nil {
			return s, fmt.Errorf("%s: %w", filepath.Base(name), err)
		}
	}
	return read(ctx, conn)
}
