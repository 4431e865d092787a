package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trackway/trackway/services/platform/errs"
)

// Error translates what Postgres says about a statement on the noun into what a caller may see, by SQLSTATE and
// constraint name (https://www.postgresql.org/docs/current/errcodes-appendix.html). Constraints are named
// table_field_key, table_field_check and table_field_fkey, and so name the field. Every other error passes
// unchanged, and is internal. Error(nil, …) is nil.
func Error(err error, noun string) error {
	if err == nil {
		return nil
	}
	pg, answered := errors.AsType[*pgconn.PgError](err)
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return errs.Missing(noun)
	case answered && !connecting: // a connection can be refused because the password is just being changed
		return sqlState(pg, noun)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return errs.From(err)
	case connecting, pgconn.SafeToRetry(err), lost(err):
		return errs.New(errs.Unavailable, "The database can not be reached. Try again shortly.").Because(err)
	default:
		return err
	}
}

// lost reports whether the connection went while it was in use. What became of the statement nobody knows: a write may
// have been done, and with its idempotency key it is safe to send again.
func lost(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone)
}

func sqlState(pg *pgconn.PgError, noun string) error {
	switch pg.Code {
	case "23505": // unique_violation
		e := errs.New(errs.Conflict, "There is such a %s already.", noun)
		e.Fields = []errs.Field{{Name: field(pg), Detail: "is taken"}}
		return e.Because(pg)
	case "23503": // foreign_key_violation
		return errs.InvalidField(field(pg), "names nothing that exists")
	case "23514", "22001", "22003": // check_violation, string_data_right_truncation, numeric_value_out_of_range
		return errs.InvalidField(field(pg), "is out of range")
	case "40001", "40P01", "55P03": // serialization_failure, deadlock_detected, lock_not_available
		return errs.New(errs.Unavailable, "Another change was in the way. Try again.").Because(pg)
	case "57014": // query_canceled, by the statement timeout
		return errs.New(errs.DeadlineExceeded, "The request took too long.").Because(pg)
	case "57P01", "57P02", "57P03", "53300": // shutdown, crash, starting up, too_many_connections
		return errs.New(errs.Unavailable, "The database can not be reached. Try again shortly.").Because(pg)
	default:
		return pg
	}
}

// field reads the field out of the constraint's name.
func field(pg *pgconn.PgError) string {
	name := strings.TrimPrefix(pg.ConstraintName, pg.TableName+"_")
	for _, suffix := range []string{"_key", "_check", "_fkey"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

// Constraint reports whether err is a violation of the named constraint.
func Constraint(err error, name string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.ConstraintName == name
}
