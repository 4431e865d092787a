package postgres

import (
	"database/sql/driver"
	"reflect"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/schema"
)

// bun writes arguments into a statement's text, so that no two statements are alike and Postgres parses and plans each
// of them anew: for a row by its key that is four fifths of what the statement costs. So what is an argument is marked
// in the text, by a comment in front of the literal, and the connection puts a native placeholder in its place and has
// the statement prepared, once a connection. The values of models are marked by the dialect, other arguments by Arg.
// What is not marked stays in the text: a statement without marks is sent as it is.

// argument is the mark. No literal can imitate it: what is inside of quotes is not looked at.
const argument = "/*$*/"

// literally is the mark of a literal whose statement is not prepared.
const literally = "/*=*/"

// maxArguments is how many arguments a statement may have to be prepared. Those with more, such as an INSERT of many
// rows, are seldom the same twice.
const maxArguments = 64

// Arg makes v a native argument of a statement: Where("t.id = ?", Arg(id)). It is for statements that are run often, and
// whose plan does not depend on the value.
func Arg(v any) schema.QueryAppender { return arg{argument, v} }

// ArrayArg is Arg for an array, such as in "t.id = ANY(?)".
func ArrayArg(slice any) schema.QueryAppender { return arg{argument, pgdialect.Array(slice)} }

// ListArg is Arg for each of the values of a list: "t.status IN (?)".
func ListArg[T any](values []T) schema.QueryAppender { return bun.List(args(values)) }

// TupleArg is Arg for each of the values of a row: "(a, b) > (?)".
func TupleArg(values []any) schema.QueryAppender { return bun.Tuple(args(values)) }

func args[T any](values []T) []schema.QueryAppender {
	marked := make([]schema.QueryAppender, 0, len(values))
	for _, v := range values {
		marked = append(marked, Arg(v))
	}
	return marked
}

// Literal keeps v in the text of a statement, which is then planned for this value, whatever native arguments it has.
func Literal(v any) schema.QueryAppender { return arg{literally, v} }

type arg struct {
	mark string
	v    any
}

// AppendQuery writes the marked literal.
func (a arg) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	return gen.Append(append(b, a.mark...), a.v), nil
}

// dialect is bun's for Postgres, with the values of models marked.
type dialect struct {
	*pgdialect.Dialect

	tables *schema.Tables
}

func newDialect() *dialect {
	d := &dialect{Dialect: pgdialect.New()}
	d.tables = schema.NewTables(d)
	return d
}

// Tables are those whose fields are marked.
func (d *dialect) Tables() *schema.Tables { return d.tables }

// OnTable marks the values of the table's fields.
func (d *dialect) OnTable(table *schema.Table) {
	d.Dialect.OnTable(table)
	for _, field := range table.FieldMap {
		if write := field.Append; write != nil {
			field.Append = func(gen schema.QueryGen, b []byte, v reflect.Value) []byte {
				return write(gen, append(b, argument...), v)
			}
		}
	}
}

// prepared gives a statement with native arguments, and with the order to prepare it, in the place of one with marks.
func prepared(query string, args []driver.NamedValue) (string, []driver.NamedValue) {
	if len(args) > 0 {
		return query, args
	}
	text, values, ok := lift(query)
	if !ok {
		return query, args
	}
	args = make([]driver.NamedValue, 0, len(values)+1)
	args = append(args, driver.NamedValue{Ordinal: 1, Value: pgx.QueryExecModeCacheStatement})
	for i, v := range values {
		arg := driver.NamedValue{Ordinal: i + 2} //nolint:mnd // behind the order
		if v != nil {
			arg.Value = string(v)
		}
		args = append(args, arg)
	}
	return text, args
}

// lift takes the marked literals out of a statement. The values are texts, or nil for NULL, which Postgres reads as what
// stands in their place, as it does with literals. It is not ok when there is none, or one that can not be read.
func lift(query string) (text string, values [][]byte, ok bool) {
	n := strings.Count(query, argument)
	if n == 0 || n > maxArguments {
		return "", nil, false
	}
	values = make([][]byte, 0, n)
	var out strings.Builder
	out.Grow(len(query))
	for i := 0; i < len(query); {
		n := strings.IndexAny(query[i:], `'"/`)
		if n < 0 {
			out.WriteString(query[i:])
			break
		}
		out.WriteString(query[i : i+n])
		i += n
		if strings.HasPrefix(query[i:], argument) {
			value, cast, end := literal(query, i+len(argument))
			if end < 0 {
				return "", nil, false
			}
			values = append(values, value)
			out.WriteByte('$')
			out.WriteString(strconv.Itoa(len(values)))
			out.WriteString(cast)
			i = end
			continue
		}
		if strings.HasPrefix(query[i:], literally) {
			return "", nil, false
		}
		end := i + 1
		if c := query[i]; c != '/' {
			if end = endOfQuoted(query, i); end < 0 {
				return "", nil, false
			}
		}
		out.WriteString(query[i:end])
		i = end
	}
	return out.String(), values, len(values) > 0
}

// literal reads what bun has written for a value: its text, the type that it has wherever it stands, and the index
// behind it, which is below 0 if it is no literal.
func literal(query string, i int) (value []byte, cast string, end int) {
	rest := query[i:]
	switch {
	case rest == "":
		return nil, "", -1
	case rest[0] == '\'':
		if end = endOfQuoted(query, i); end < 0 {
			return nil, "", -1
		}
		return []byte(strings.ReplaceAll(query[i+1:end-1], "''", "'")), "", end
	case strings.HasPrefix(rest, "NULL"):
		return nil, "", i + len("NULL")
	case strings.HasPrefix(rest, "TRUE"):
		return []byte("true"), "", i + len("TRUE")
	case strings.HasPrefix(rest, "FALSE"):
		return []byte("false"), "", i + len("FALSE")
	}
	n := 0
	for n < len(rest) && (rest[n] >= '0' && rest[n] <= '9' || n == 0 && rest[n] == '-') {
		n++
	}
	if n == 0 || n < len(rest) && (rest[n] == '.' || rest[n] == 'e') {
		return nil, "", -1
	}
	// A number that is beyond a column's type is no error when it is compared, as it is not without a placeholder.
	return []byte(rest[:n]), "::bigint", i + n
}

// endOfQuoted gives the index behind what begins at i with a quote, which is doubled inside; below 0 if it has no end.
func endOfQuoted(query string, i int) int {
	quote := query[i]
	for i++; i < len(query); i++ {
		n := strings.IndexByte(query[i:], quote)
		if n < 0 {
			return -1
		}
		i += n
		if i+1 == len(query) || query[i+1] != quote {
			return i + 1
		}
		i++
	}
	return -1
}
