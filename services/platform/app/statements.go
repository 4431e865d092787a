package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// statements makes a span of every SQL statement whose trace is recorded, and measures all of them. bun writes the
// arguments into a statement's text; the span gets it without them, since they are what people have typed.
type statements struct {
	tracer   trace.Tracer
	duration metric.Float64Histogram
}

func newStatements(tp trace.TracerProvider, mp metric.MeterProvider) (*statements, error) {
	duration, err := mp.Meter(scope).Float64Histogram("db.client.operation.duration",
		metric.WithUnit("s"), metric.WithDescription("How long SQL statements take."),
		metric.WithExplicitBucketBoundaries(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10))
	if err != nil {
		return nil, fmt.Errorf("measure statements: %w", err)
	}
	return &statements{tracer: tp.Tracer(scope), duration: duration}, nil
}

// BeforeQuery begins the span.
func (s *statements) BeforeQuery(ctx context.Context, q *bun.QueryEvent) context.Context {
	if trace.SpanContextFromContext(ctx).IsSampled() {
		ctx, _ = s.tracer.Start(ctx, q.Operation(), trace.WithSpanKind(trace.SpanKindClient), //nolint:spancheck // AfterQuery
			trace.WithAttributes(semconv.DBSystemNamePostgreSQL, operation(q.Operation())))
	}
	return ctx
}

// AfterQuery ends the span.
func (s *statements) AfterQuery(ctx context.Context, q *bun.QueryEvent) {
	attrs := []attribute.KeyValue{semconv.DBSystemNamePostgreSQL, operation(q.Operation())}
	var pg *pgconn.PgError
	if errors.As(q.Err, &pg) {
		attrs = append(attrs, semconv.DBResponseStatusCode(pg.Code), semconv.ErrorTypeKey.String(pg.Code))
	}
	s.duration.Record(ctx, time.Since(q.StartTime).Seconds(), metric.WithAttributes(attrs...))
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return
	}
	span := trace.SpanFromContext(ctx)
	text := withoutValues(q.Query)
	span.SetAttributes(semconv.DBQueryText(text), semconv.DBQuerySummary(summary(text)))
	span.SetName(summary(text))
	if q.Err != nil && pg != nil {
		span.SetAttributes(semconv.DBResponseStatusCode(pg.Code), semconv.ErrorTypeKey.String(pg.Code))
		span.SetStatus(codes.Error, pg.Code+" "+pg.ConstraintName) // the message quotes values
	} else if q.Err != nil {
		span.SetStatus(codes.Error, "the statement failed")
	}
	span.End()
}

// maxText is how much of a statement a span holds, in bytes.
const maxText = 2000

// withoutValues puts ? in the place of every literal, as the conventions ask for; a list of them becomes one.
// https://opentelemetry.io/docs/specs/semconv/database/database-spans/#sanitization-of-dbquerytext
func withoutValues(sql string) string {
	var out strings.Builder
	for i := 0; i < len(sql) && out.Len() < maxText; {
		switch c := sql[i]; {
		case c == '\'':
			i = endOfString(sql, i)
			out.WriteByte('?')
		case c == '"':
			end := i + 1 + strings.IndexByte(sql[i+1:], '"') + 1
			if end <= i+1 {
				end = len(sql)
			}
			out.WriteString(sql[i:end])
			i = end
		case isDigit(c):
			for i < len(sql) && (isDigit(sql[i]) || sql[i] == '.' || sql[i] == 'e') {
				i++
			}
			out.WriteByte('?')
		case isLetter(c):
			start := i
			for i < len(sql) && (isLetter(sql[i]) || isDigit(sql[i])) {
				i++
			}
			out.WriteString(sql[start:i])
		default:
			out.WriteByte(c)
			i++
		}
	}
	return foldLists(out.String())
}

// endOfString gives the index behind the string literal that begins at i.
func endOfString(sql string, i int) int {
	for i++; i < len(sql); i++ {
		if sql[i] == '\'' {
			if i+1 < len(sql) && sql[i+1] == '\'' {
				i++ // a quote inside
				continue
			}
			return i + 1
		}
	}
	return len(sql)
}

// foldLists makes "?, ?, ?" one "?", so that statements which differ in the length of a list are one.
func foldLists(sql string) string {
	for _, list := range []string{"?, ?", "?,?", "(?), (?)"} {
		one := list[:strings.IndexByte(list, ',')]
		for strings.Contains(sql, list) {
			sql = strings.ReplaceAll(sql, list, one)
		}
	}
	return sql
}

// summary is the operation and its first table: "SELECT tasks".
func summary(sql string) string {
	words := strings.FieldsFunc(sql, func(r rune) bool { return strings.ContainsRune(" \t\n(),;", r) })
	if len(words) == 0 {
		return "SQL"
	}
	verb := strings.ToUpper(words[0])
	for i, w := range words[:len(words)-1] {
		switch strings.ToUpper(w) {
		case "FROM", "INTO", "UPDATE":
			return verb + " " + strings.Trim(words[i+1], `"`)
		}
	}
	return verb
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}
