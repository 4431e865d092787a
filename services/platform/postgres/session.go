package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// session is a connection as Scan and transactions use it: beside database/sql and beside bun's scanning, which cost more
// than the statement of a hot path does. Statements that need nothing of each other share a round trip.
type session struct {
	conn     *pgconn.PgConn
	types    *pgtype.Map
	prepared *simplelru.LRU[string, *statement]
	stale    []string // prepared statements that there was no more room for
	number   int      // of the last prepared statement
}

// statement is one that has been prepared.
type statement struct {
	*pgconn.StatementDescription

	plan *plan // for what its rows were read into last
}

// maxPrepared is how many statements a connection keeps prepared: about twice as many as a service has on its paths.
const maxPrepared = 256

// sessionKey is where a connection keeps its session.
const sessionKey = "trackway"

func sessionOf(c *pgx.Conn) *session {
	kept := c.PgConn().CustomData()
	if s, ok := kept[sessionKey].(*session); ok {
		return s
	}
	s := &session{conn: c.PgConn(), types: c.TypeMap()}
	lru, err := simplelru.NewLRU(maxPrepared, func(_ string, st *statement) { s.stale = append(s.stale, st.Name) })
	if err != nil {
		panic(err) // only a size below one is an error
	}
	s.prepared = lru
	kept[sessionKey] = s
	return s
}

// command is one statement to be run, and what becomes of its rows.
type command struct {
	text   string // with placeholders, if it has native arguments
	args   [][]byte
	native bool // has native arguments, and so is prepared
	rows   *rows
}

// newCommand takes the native arguments out of a statement of bun's.
func newCommand(query string, r *rows) command {
	if text, args, ok := lift(query); ok {
		return command{text: text, args: args, native: true, rows: r}
	}
	return command{text: query, rows: r}
}

// binary is the format of all results.
var binary = []int16{pgtype.BinaryFormatCode} //nolint:gochecknoglobals // a constant

// run runs the commands in one round trip, and up to the first that fails.
func (s *session) run(ctx context.Context, commands ...command) error {
	err := s.send(ctx, commands)
	if outdated(err) {
		for _, c := range commands {
			s.prepared.Remove(c.text)
		}
	}
	return err
}

func (s *session) send(ctx context.Context, commands []command) error {
	var few [4]*statement
	statements := few[:0]
	for _, c := range commands {
		var st *statement
		if c.native {
			var err error
			if st, err = s.prepare(ctx, c.text); err != nil {
				return err
			}
		}
		statements = append(statements, st)
	}
	if len(commands) == 1 {
		c := commands[0]
		if st := statements[0]; st != nil {
			return c.rows.read(s.types, st, s.conn.ExecStatement(ctx, st.StatementDescription, c.args, nil, binary))
		}
		return c.rows.read(s.types, nil, s.conn.ExecParams(ctx, c.text, nil, nil, nil, binary))
	}
	var batch pgconn.Batch
	for i, c := range commands {
		if st := statements[i]; st != nil {
			batch.ExecStatement(st.StatementDescription, c.args, nil, binary)
		} else {
			batch.ExecParams(c.text, nil, nil, nil, binary)
		}
	}
	var failed error
	results := s.conn.ExecBatch(ctx, &batch)
	for i := 0; i < len(commands) && results.NextResult(); i++ {
		failed = errors.Join(failed, commands[i].rows.read(s.types, statements[i], results.ResultReader()))
	}
	if err := results.Close(); err != nil {
		return err //nolint:wrapcheck // Error looks at it
	}
	return failed
}

// prepare prepares a statement, unless it has been: that takes a round trip of its own.
func (s *session) prepare(ctx context.Context, text string) (*statement, error) {
	if st, ok := s.prepared.Get(text); ok {
		return st, nil
	}
	for len(s.stale) > 0 {
		if err := s.conn.Deallocate(ctx, s.stale[0]); err != nil {
			return nil, fmt.Errorf("forget a statement: %w", err)
		}
		s.stale = s.stale[1:]
	}
	s.number++
	d, err := s.conn.Prepare(ctx, "trackway_"+strconv.Itoa(s.number), text, nil)
	if err != nil {
		return nil, err //nolint:wrapcheck // Error looks at it
	}
	st := &statement{StatementDescription: d}
	s.prepared.Add(text, st)
	return st, nil
}

// outdated reports whether a statement failed because it was prepared before the schema changed.
func outdated(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "0A000" || pg.Code == "26000") // feature_not_supported, invalid_sql_statement_name
}
