package app

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/trackway/trackway/services/platform/telemetry"
)

// statements makes a span of every SQL statement whose trace is recorded, and measures all of them. bun writes the
// arguments into a statement's text; the span gets it without them, since they are what people have typed.
type statements struct {
	tracer   trace.Tracer
	meter    metric.MeterProvider
	duration *telemetry.Durations[statement]
}

// statement is what statements that are measured together have in common. There are as many as there are queries in our
// stores.
type statement struct {
	operation, summary string
	state              string // SQLSTATE of one that failed, or another kind of error
}

func (s statement) labels() []attribute.KeyValue {
	l := []attribute.KeyValue{
		semconv.DBSystemNamePostgreSQL, semconv.DBOperationName(s.operation), semconv.DBQuerySummary(s.summary),
	}
	if s.state != "" {
		l = append(l, semconv.ErrorTypeKey.String(s.state))
		if len(s.state) == sqlState {
			l = append(l, semconv.DBResponseStatusCode(s.state))
		}
	}
	return l
}

// sqlState is the length of every SQLSTATE.
const sqlState = 5

func newStatements(tp trace.TracerProvider, mp metric.MeterProvider) (*statements, error) {
	duration, err := telemetry.NewDurations(mp, "db.client.operation.duration", "How long statements and commands take.",
		statement.labels)
	if err != nil {
		return nil, err
	}
	return &statements{tracer: tp.Tracer(telemetry.Scope), meter: mp, duration: duration}, nil
}

// BeforeQuery begins the span.
func (s *statements) BeforeQuery(ctx context.Context, q *bun.QueryEvent) context.Context {
	if telemetry.Recorded(ctx) {
		ctx, _ = s.tracer.Start(ctx, q.Operation(), trace.WithSpanKind(trace.SpanKindClient), //nolint:spancheck // AfterQuery
			trace.WithAttributes(semconv.DBSystemNamePostgreSQL))
	}
	return ctx
}

// AfterQuery ends the span.
func (s *statements) AfterQuery(ctx context.Context, q *bun.QueryEvent) {
	st := statement{summary: summary(q.Query), state: failed(q.Err)}
	st.operation, _, _ = strings.Cut(st.summary, " ")
	s.duration.Record(ctx, st, time.Since(q.StartTime))
	if !telemetry.Recorded(ctx) {
		return
	}
	span := trace.SpanFromContext(ctx)
	span.SetName(st.summary)
	span.SetAttributes(st.labels()...)
	span.SetAttributes(semconv.DBQueryText(withoutValues(q.Query)))
	if st.state != "" {
		span.SetStatus(codes.Error, describe(q.Err))
	}
	span.End()
}

// failed is the kind of an error; "" for one that says only that there is no row.
func failed(err error) string {
	if err == nil {
		return ""
	}
	var pg *pgconn.PgError
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ""
	case errors.As(err, &pg):
		return pg.Code
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	default:
		return "connection"
	}
}

// describe tells no more of an error than its SQLSTATE and the names of the schema: messages quote values.
func describe(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return "the statement failed"
	}
	return strings.TrimSpace(pg.Code + " " + pg.ConstraintName)
}

// maxText is how much of a statement a span holds, in bytes.
const maxText = 2000

// withoutValues puts ? in the place of every literal, as the conventions ask for; a list of them becomes one.
// https://opentelemetry.io/docs/specs/semconv/database/database-spans/#sanitization-of-dbquerytext
func withoutValues(text string) string {
	var out strings.Builder
	for i := 0; i < len(text) && out.Len() < maxText; {
		switch c := text[i]; {
		case c == '\'':
			i = endOfString(text, i)
			out.WriteByte('?')
		case strings.HasPrefix(text[i:], "/*"):
			i = endOfComment(text, i)
		case isDigit(c):
			for i < len(text) && (isDigit(text[i]) || text[i] == '.' || text[i] == 'e') {
				i++
			}
			out.WriteByte('?')
		case isLetter(c) || c == '"':
			end := endOfName(text, i)
			out.WriteString(text[i:end])
			i = end
		default:
			out.WriteByte(c)
			i++
		}
	}
	return foldLists(out.String())
}

// endOfString gives the index behind the string literal that begins at i.
func endOfString(text string, i int) int {
	for i++; i < len(text); i++ {
		if text[i] == '\'' {
			if i+1 < len(text) && text[i+1] == '\'' {
				i++ // a quote inside
				continue
			}
			return i + 1
		}
	}
	return len(text)
}

// endOfComment gives the index behind the comment that begins at i.
func endOfComment(text string, i int) int {
	if n := strings.Index(text[i:], "*/"); n >= 0 {
		return i + n + len("*/")
	}
	return len(text)
}

// foldLists makes "?, ?, ?" one "?", so that statements which differ in the length of a list are one.
func foldLists(text string) string {
	for _, list := range []string{"?, ?", "?,?", "(?), (?)"} {
		one := list[:strings.IndexByte(list, ',')]
		for strings.Contains(text, list) {
			text = strings.ReplaceAll(text, list, one)
		}
	}
	return text
}

// summary is the operation and its first table: "SELECT tasks". It reads no further than that, and no literals.
func summary(text string) string {
	verb, target := "", false
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\'':
			i = endOfString(text, i)
		case isLetter(c) || c == '"':
			start := i
			i = endOfName(text, i)
			word := text[start:i]
			switch {
			case verb == "":
				verb = strings.ToUpper(word)
				target = verb == "UPDATE"
			case target && strings.EqualFold(word, "ONLY"):
			case target:
				return verb + " " + strings.Trim(word, `"`)
			default:
				target = strings.EqualFold(word, "FROM") || strings.EqualFold(word, "INTO")
			}
		case c == '(' && target: // FROM a subquery, or a function's argument
			target = false
			i++
		default:
			i++
		}
	}
	return cmp.Or(verb, "SQL")
}

// endOfName gives the index behind the word, or the quoted name, that begins at i.
func endOfName(text string, i int) int {
	if text[i] == '"' {
		if n := strings.IndexByte(text[i+1:], '"'); n >= 0 {
			return i + 1 + n + 1
		}
		return len(text)
	}
	for i < len(text) && (isLetter(text[i]) || isDigit(text[i])) {
		i++
	}
	return i
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}
