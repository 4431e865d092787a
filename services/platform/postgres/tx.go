package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"
)

// Statement is what bun builds: a SELECT, an INSERT, and so on.
type Statement interface {
	AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error)
}

// Querier is a database, or a transaction in it.
type Querier interface {
	bun.IDB
	// Scan runs a statement and reads what it gives: into a pointer to a model, to a slice of models, of pointers to
	// them or of values, or into pointers to the values of a row. Where one row is wanted and there is none, it is
	// sql.ErrNoRows. It costs about half of what bun's own Scan does.
	Scan(ctx context.Context, q Statement, dest ...any) error
}

// tries is how often a statement is given to another connection, when one has turned out to be gone before it ran.
const tries = 3

// Scan is Querier's, on any connection of the pool.
func (db *DB) Scan(ctx context.Context, q Statement, dest ...any) error {
	query, err := db.text(q)
	if err != nil {
		return err
	}
	_, walks := q.(walk)
	return db.observed(ctx, query, func(ctx context.Context) error {
		for try := 1; ; try++ {
			err := db.scan(ctx, query, walks, dest)
			if try == tries || err == nil || !pgconn.SafeToRetry(err) && !outdated(err) {
				return err
			}
		}
	})
}

func (db *DB) scan(ctx context.Context, query string, walks bool, dest []any) error {
	r, err := newRows(db.DB, dest)
	if err != nil {
		return err
	}
	c, err := db.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer c.Release()
	what := newCommand(query, r)
	if walks && what.native {
		return sessionOf(c.Conn()).run(ctx, command{text: asWalk, native: true, rows: nothing()}, what)
	}
	return sessionOf(c.Conn()).run(ctx, what)
}

// Walk says that an index has the rows which the statement wants beside each other, in its order, whatever the native
// arguments are. Postgres does not know that, and plans a statement anew, each time, of which some arguments have more rows
// than others: with as many indexes as a list has orders, that takes longer than to read a page. A walk is planned once a
// connection, and never so that rows are sorted. In a transaction, whose other statements that would concern, it is a
// statement like others.
func Walk(q Statement) Statement { return walk{q} }

type walk struct{ Statement }

// asWalk holds for the rest of the implicit transaction, which is one round trip.
const asWalk = "SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_sort', 'off', true)"

// usualText is how long a statement is, usually.
const usualText = 1024

func (db *DB) text(q Statement) (string, error) {
	b, err := q.AppendQuery(db.QueryGen(), make([]byte, 0, usualText))
	if err != nil {
		return "", fmt.Errorf("build a statement: %w", err)
	}
	return string(b), nil
}

// AddQueryHook lets another hook see the statements.
func (db *DB) AddQueryHook(h bun.QueryHook) {
	db.hooks = append(db.hooks, h)
	db.DB.AddQueryHook(h) //nolint:staticcheck // not the copy that WithQueryHook makes: another one reads
}

// observed runs a statement that the hooks see.
func (db *DB) observed(ctx context.Context, query string, run func(context.Context) error) error {
	ctx, end := db.observe(ctx, query)
	err := run(ctx)
	end(err)
	return err
}

// observe tells the hooks that a statement begins, and gives what tells them that it has ended.
func (db *DB) observe(ctx context.Context, query string) (_ context.Context, end func(error)) {
	if len(db.hooks) == 0 {
		return ctx, func(error) {}
	}
	e := &bun.QueryEvent{DB: db.DB, Query: query, QueryTemplate: query, StartTime: time.Now()}
	for _, h := range db.hooks {
		ctx = h.BeforeQuery(ctx, e) //nolint:fatcontext // each hook gets that of the one before
	}
	return ctx, func(err error) {
		e.Err = err
		for _, h := range slices.Backward(db.hooks) {
			h.AfterQuery(ctx, e)
		}
	}
}

// Tx is a transaction. BEGIN goes with its first statement, and COMMIT with those that Later puts off.
type Tx struct {
	bun.Tx

	db   *DB
	conn *conn
}

// InTx runs do in a transaction, which is committed unless do fails. When the connection turns out to be gone with the
// first statement, and so before anything was done, do runs once more on another one.
func (db *DB) InTx(ctx context.Context, do func(ctx context.Context, tx Tx) error) error {
	for try := 1; ; try++ {
		again, err := db.inTx(ctx, do)
		if !again || try == tries {
			return err
		}
	}
}

func (db *DB) inTx(ctx context.Context, do func(ctx context.Context, tx Tx) error) (again bool, err error) {
	held, err := db.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = held.Close() }() // gives it back
	c, err := connOf(held)
	if err != nil {
		return false, err
	}
	// database/sql would roll back by itself when ctx ends, while a statement of ours uses the connection.
	tx, err := held.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return false, err
	}
	c.ctx = ctx
	done := false
	defer func() {
		if !done {
			_ = tx.Rollback()
		}
	}()
	if err := do(ctx, Tx{Tx: tx, db: db, conn: c}); err != nil {
		return c.gone && ctx.Err() == nil, err
	}
	done = true
	return false, db.observed(ctx, "COMMIT", func(context.Context) error { return tx.Tx.Commit() })
}

// Scan is Querier's.
func (tx Tx) Scan(ctx context.Context, q Statement, dest ...any) error {
	r, err := newRows(tx.db.DB, dest)
	if err != nil {
		return err
	}
	return tx.run(ctx, q, r)
}

// Run runs a statement whose rows nobody reads, and says how many there were.
func (tx Tx) Run(ctx context.Context, q Statement) (affected int64, err error) {
	r := nothing()
	err = tx.run(ctx, q, r)
	return r.tag.RowsAffected(), err
}

func (tx Tx) run(ctx context.Context, q Statement, r *rows) error {
	query, err := tx.db.text(q)
	if err != nil {
		return err
	}
	return tx.db.observed(ctx, query, func(ctx context.Context) error { return tx.conn.run(ctx, newCommand(query, r)) })
}

// Later puts a statement off until the next one, or the COMMIT, and runs it in one round trip with that. If it fails, so
// does that. What it gives is read then, as Scan does.
func (tx Tx) Later(ctx context.Context, q Statement, dest ...any) error {
	query, err := tx.db.text(q)
	if err != nil {
		return err
	}
	r, err := newRows(tx.db.DB, dest)
	if err != nil {
		return err
	}
	tx.conn.later = append(tx.conn.later, putOff{newCommand(query, r), ctx, query, tx.db})
	return nil
}

// putOff is a statement that is run later.
type putOff struct {
	command

	ctx   context.Context //nolint:containedctx // of the one who put it off
	query string
	db    *DB
}

// connector opens connections whose statements with marked arguments are prepared.
type connector struct{ driver.Connector }

// Connect gives a connection.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	opened, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // database/sql looks at it
	}
	if pg, ok := opened.(*stdlib.Conn); ok {
		return &conn{Conn: pg}, nil
	}
	return opened, nil
}

// conn is a connection as database/sql and bun use it. Its transactions begin with their first statement.
type conn struct {
	*stdlib.Conn

	ctx     context.Context //nolint:containedctx // of the transaction
	pending bool            // BEGIN is still to be sent
	later   []putOff        // what goes with the next one
	gone    bool            // the connection was, when BEGIN was sent
}

// connOf gives the connection that is held.
func connOf(held bun.Conn) (c *conn, err error) {
	err = held.Raw(func(opened any) (err error) {
		var ok bool
		if c, ok = opened.(*conn); !ok {
			err = fmt.Errorf("the connection is a %T", opened)
		}
		return err
	})
	return c, err
}

// QueryContext runs a statement that gives rows.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.catchUp(ctx); err != nil {
		return nil, err
	}
	query, args = prepared(query, args)
	return c.Conn.QueryContext(ctx, query, args) //nolint:wrapcheck // database/sql looks at it
}

// ExecContext runs a statement that gives none.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.catchUp(ctx); err != nil {
		return nil, err
	}
	query, args = prepared(query, args)
	return c.Conn.ExecContext(ctx, query, args) //nolint:wrapcheck // database/sql looks at it
}

// PrepareContext prepares a statement.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.catchUp(ctx); err != nil {
		return nil, err
	}
	return c.Conn.PrepareContext(ctx, query) //nolint:wrapcheck // database/sql looks at it
}

// BeginTx begins a transaction. One without special wishes sends nothing yet.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if opts != (driver.TxOptions{}) {
		return c.Conn.BeginTx(ctx, opts) //nolint:wrapcheck // database/sql looks at it
	}
	if c.Conn.Conn().IsClosed() {
		return nil, driver.ErrBadConn
	}
	c.ctx, c.pending, c.later, c.gone = ctx, true, nil, false
	return (*ending)(c), nil
}

// run runs a command, and ahead of it what waits for that.
func (c *conn) run(ctx context.Context, last ...command) error {
	begins, later, commands := c.pending, c.later, last
	c.pending, c.later = false, nil
	if begins || len(later) > 0 {
		commands = make([]command, 0, 1+len(later)+len(last))
		if begins {
			commands = append(commands, command{text: "BEGIN", native: true, rows: nothing()})
		}
		for _, l := range later {
			commands = append(commands, l.command)
		}
		commands = append(commands, last...)
	}
	ended := make([]func(error), 0, len(later))
	for _, l := range later {
		_, end := l.db.observe(l.ctx, l.query)
		ended = append(ended, end)
	}
	err := sessionOf(c.Conn.Conn()).run(ctx, commands...)
	for _, end := range ended {
		end(err)
	}
	c.gone = begins && err != nil && c.Conn.Conn().IsClosed()
	return err
}

// catchUp runs what waits, before a statement that does not go with it.
func (c *conn) catchUp(ctx context.Context) error {
	if !c.pending && len(c.later) == 0 {
		return nil
	}
	err := c.run(ctx)
	if err != nil && pgconn.SafeToRetry(err) {
		return driver.ErrBadConn
	}
	return err
}

// ending ends a transaction of conn.
type ending conn

// rollbackTimeout bounds a ROLLBACK, which must be tried when the time of the request is over.
const rollbackTimeout = 5 * time.Second

// Commit runs what waits, and commits.
func (e *ending) Commit() error {
	c := (*conn)(e)
	if c.pending && len(c.later) == 0 {
		c.pending = false
		return nil
	}
	end := command{text: "COMMIT", native: true, rows: nothing()}
	if err := c.run(c.ctx, end); err != nil {
		return err
	}
	if end.rows.tag.String() == "ROLLBACK" {
		return pgx.ErrTxCommitRollback
	}
	return nil
}

// Rollback forgets what waits, and rolls back.
func (e *ending) Rollback() error {
	c := (*conn)(e)
	pg := c.Conn.Conn().PgConn()
	begun := !c.pending
	c.pending, c.later = false, nil
	if !begun || pg.IsClosed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), rollbackTimeout)
	defer cancel()
	return c.run(ctx, command{text: "ROLLBACK", rows: nothing()})
}

// Uncommitted reports whether a transaction that failed with the error has surely not been committed: Postgres has said
// so, or nothing was sent. One whose connection broke with the COMMIT may have been.
func Uncommitted(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR" || errors.Is(err, pgx.ErrTxCommitRollback) || pgconn.SafeToRetry(err)
}
