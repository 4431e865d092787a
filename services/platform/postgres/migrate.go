package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/migrate"
)

// migrationLock is the key of the advisory lock that one migrating process holds; the database is the scope.
const migrationLock = 7_216_339_117

// migrationWait is how long a process waits for another one's migrations.
const migrationWait = 5 * time.Minute

// databaseWait is how long it waits for the database to be there, and databasePause how often it looks.
const (
	databaseWait  = time.Minute
	databasePause = 250 * time.Millisecond
)

// suffix is how the names of migrations end: each runs in a transaction, and none goes back.
const suffix = ".tx.up.sql"

// Migrate applies the migrations that the database lacks: files named NNN_name.tx.up.sql, each in a transaction of
// its own, in the order of their names. Any number of processes may call it at once: one works and the others wait
// for it. The lock is held by the one connection that also migrates, so it ends when the process does.
func Migrate(ctx context.Context, url string, files ...fs.FS) (err error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("DATABASE_URL is not a Postgres URL: %w", err)
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // a migration holds many statements
	cfg.ConnectTimeout = connectTimeout
	sqldb := stdlib.OpenDB(*cfg)
	sqldb.SetMaxOpenConns(2) // the lock's, and the migrator's
	db := bun.NewDB(sqldb, pgdialect.New())
	defer func() { err = errors.Join(err, db.Close()) }()

	conn, err := connect(ctx, sqldb)
	if err != nil {
		return fmt.Errorf("connect to migrate: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := lock(ctx, conn); err != nil {
		return err
	}

	migrations := migrate.NewMigrations()
	for _, f := range files {
		if err := discover(migrations, f, sqldb); err != nil {
			return fmt.Errorf("read the migrations: %w", err)
		}
	}
	migrator := migrate.NewMigrator(db, migrations, migrate.WithMarkAppliedOnSuccess(true))
	if err := migrator.Init(ctx); err != nil {
		return fmt.Errorf("prepare to migrate: %w", err)
	}
	if _, err := migrator.Migrate(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// connect waits for a database that is not there yet, as when everything is started at once.
func connect(ctx context.Context, db *sql.DB) (*sql.Conn, error) {
	wait, cancel := context.WithTimeout(ctx, databaseWait)
	defer cancel()
	for {
		conn, err := db.Conn(wait)
		var (
			absent  *pgconn.ConnectError
			refused *pgconn.PgError
		)
		if err == nil || !errors.As(err, &absent) || errors.As(err, &refused) && refused.Code != "57P03" { // it starts
			return conn, err
		}
		select {
		case <-wait.Done():
			return nil, err
		case <-time.After(databasePause):
		}
	}
}

// discover adds the migrations of a folder. bun's own Discover treats the files as templates of text/template, with which
// the linker leaves out no method of any type, and the program is half as large again.
func discover(migrations *migrate.Migrations, files fs.FS, db *sql.DB) error {
	names, err := fs.Glob(files, "*")
	if err != nil {
		return err
	}
	for _, name := range names {
		number, comment, ok := strings.Cut(strings.TrimSuffix(name, suffix), "_")
		if !ok || !strings.HasSuffix(name, suffix) {
			return fmt.Errorf("%s is not named as NNN_name%s", name, suffix)
		}
		for _, other := range migrations.Sorted() {
			if other.Name == number {
				return fmt.Errorf("%s has the number of %s%s", name, other, suffix)
			}
		}
		statements, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		migrations.Add(migrate.Migration{
			Name: number, Comment: comment,
			Up: func(ctx context.Context, _ *migrate.Migrator, _ *migrate.Migration) error {
				return inTx(ctx, db, string(statements))
			},
		})
	}
	return nil
}

func inTx(ctx context.Context, db *sql.DB, statements string) (err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, statements); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func lock(ctx context.Context, conn *sql.Conn) error {
	wait, cancel := context.WithTimeout(ctx, migrationWait)
	defer cancel()
	if _, err := conn.ExecContext(wait, "SELECT pg_advisory_lock($1)", migrationLock); err != nil {
		return fmt.Errorf("wait for the migration lock: %w", err)
	}
	return nil
}

// MigrationFiles gives the embedded folder "migrations" of a package.
func MigrationFiles(embedded embed.FS) fs.FS {
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // only a malformed path is an error
	}
	return files
}
