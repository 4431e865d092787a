// Package postgres opens a service's database, migrates it, and translates its errors.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
)

// Config says where a service's database is.
type Config struct {
	URL      string `env:"DATABASE_URL,required,notEmpty" doc:"Postgres database of the service, postgres://user:password@host:port/name"`
	MaxConns int32  `env:"DATABASE_MAX_CONNS" envDefault:"20" doc:"Most connections of one replica to its database"`
}

// Limits that keep one bad statement from holding up the rest.
const (
	statementTimeout = 10 * time.Second
	lockTimeout      = 5 * time.Second
	idleInTxTimeout  = 15 * time.Second
	connectTimeout   = 5 * time.Second
)

// DB is a database and its connections.
type DB struct {
	*bun.DB

	pool     *pgxpool.Pool
	hooks    []bun.QueryHook
	appended chan struct{}
}

// Appended says that a transaction that appended events has been committed.
func (db *DB) Appended() {
	select {
	case db.appended <- struct{}{}:
	default: // it has been said, and nobody has listened yet
	}
}

// Appends tells of such commits in this process, several at once, to the one who listens.
func (db *DB) Appends() <-chan struct{} { return db.appended }

// Conn is a connection beside the pool, of which its owner holds the session: an advisory lock lasts as long as it.
type Conn struct {
	bun.Conn

	own  *DB
	conn *conn
}

// Scan is Querier's.
func (c *Conn) Scan(ctx context.Context, q Statement, dest ...any) error {
	query, err := c.own.text(q)
	if err != nil {
		return err
	}
	r, err := newRows(c.own.DB, dest)
	if err != nil {
		return err
	}
	return c.conn.run(ctx, newCommand(query, r))
}

// Close ends the connection, and with it the session.
func (c *Conn) Close() error {
	if err := errors.Join(c.Conn.Close(), c.own.DB.Close()); err != nil {
		return fmt.Errorf("close a connection: %w", err)
	}
	return nil
}

// Dedicated opens a connection of its own. Hooks do not see its statements.
func (db *DB) Dedicated(ctx context.Context) (*Conn, error) {
	own := bun.NewDB(sql.OpenDB(connector{stdlib.GetConnector(*db.pool.Config().ConnConfig)}), newDialect())
	held, err := own.Conn(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), own.Close())
	}
	c, err := connOf(held)
	if err != nil {
		return nil, errors.Join(err, held.Close(), own.Close())
	}
	return &Conn{Conn: held, own: &DB{DB: own}, conn: c}, nil
}

// Close ends all connections, after those in use are given back.
func (db *DB) Close() error {
	err := db.DB.Close()
	db.pool.Close()
	if err != nil {
		return fmt.Errorf("close the database: %w", err)
	}
	return nil
}

// Alone runs statements, each in a transaction of its own, on a connection beside the pool: all of its connections may
// be taken by those who wait for this.
func (db *DB) Alone(ctx context.Context, statements []string) (err error) {
	conn, err := pgx.ConnectConfig(ctx, db.pool.Config().ConnConfig)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// poolObserver is a hook that sees the connections beside the statements.
type poolObserver interface {
	ObservePool(pool *pgxpool.Pool) error
}

// Open prepares a pool of connections; the first query connects.
func Open(ctx context.Context, cfg Config, hooks ...bun.QueryHook) (*DB, error) {
	c, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL is not a Postgres URL: %w", err)
	}
	// What has no native arguments (native.go) is seldom the same twice: preparing it would be waste.
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	// pgx makes the room for its statements, 512 and 512 descriptions, when it connects. The latter that mode never needs.
	c.ConnConfig.StatementCacheCapacity, c.ConnConfig.DescriptionCacheCapacity = maxPrepared, 0
	c.ConnConfig.ConnectTimeout = connectTimeout
	c.MaxConns = cfg.MaxConns
	for name, limit := range map[string]time.Duration{
		"statement_timeout": statementTimeout, "lock_timeout": lockTimeout,
		"idle_in_transaction_session_timeout": idleInTxTimeout,
	} {
		c.ConnConfig.RuntimeParams[name] = fmt.Sprint(limit.Milliseconds())
	}
	c.ConnConfig.RuntimeParams["timezone"] = "UTC"
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	pooled := sql.OpenDB(connector{stdlib.GetPoolConnector(pool)})
	pooled.SetMaxIdleConns(0) // the pool keeps them
	db := bun.NewDB(pooled, newDialect())
	for _, h := range hooks {
		db = db.WithQueryHook(h)
		if o, ok := h.(poolObserver); ok {
			if err := o.ObservePool(pool); err != nil {
				pool.Close()
				return nil, err
			}
		}
	}
	return &DB{DB: db, pool: pool, hooks: hooks, appended: make(chan struct{}, 1)}, nil
}
