package app //nolint:testpackage // what it hides has no other face

import (
	"strings"
	"testing"

	"github.com/uptrace/bun/dialect/pgdialect"
)

func TestASpanHasTheStatementWithoutItsValues(t *testing.T) {
	t.Parallel()
	tests := []struct{ sql, want, summary string }{
		{
			`SELECT "t"."id" FROM "tasks" AS "t" WHERE (t.title = 'Anna''s; \') AND (t.id = ANY('{1,2,3}'))`,
			`SELECT "t"."id" FROM "tasks" AS "t" WHERE (t.title = ?) AND (t.id = ANY(?))`, "SELECT tasks",
		},
		{
			`INSERT INTO "users" ("id", "email") VALUES (DEFAULT, 'a@b.c'), (DEFAULT, 'd''e') RETURNING "id"`,
			`INSERT INTO "users" ("id", "email") VALUES (DEFAULT, ?), (DEFAULT, ?) RETURNING "id"`, "INSERT users",
		},
		{`UPDATE "t2" SET a1 = 1.5e3, b = -7 WHERE id IN (1, 2, 3)`, `UPDATE "t2" SET a1 = ?, b = -? WHERE id IN (?)`, "UPDATE t2"},
		{
			`WITH x AS (SELECT ' from secrets', "from" FROM (VALUES (1)) AS v) SELECT * FROM x`,
			`WITH x AS (SELECT ?, "from" FROM (VALUES (?)) AS v) SELECT * FROM x`, "WITH x",
		},
		{`DELETE FROM ONLY "comments" WHERE id = 7`, `DELETE FROM ONLY "comments" WHERE id = ?`, "DELETE comments"},
		{`SELECT 'never closed`, `SELECT ?`, "SELECT"},
		{`BEGIN`, `BEGIN`, "BEGIN"},
		{``, ``, "SQL"},
	}
	for _, tt := range tests {
		got := withoutValues(tt.sql)
		if got != tt.want || summary(tt.sql) != tt.summary {
			t.Errorf("%s:\ngot  %s (%s)\nwant %s (%s)", tt.sql, got, summary(tt.sql), tt.want, tt.summary)
		}
	}
}

// Whatever bun writes as an argument stays out of the span.
func FuzzValuesStayOut(f *testing.F) {
	f.Add("secret'--")
	f.Add(`\' OR "x`)
	dialect := pgdialect.New()
	f.Fuzz(func(t *testing.T, value string) {
		value = strings.ReplaceAll(value, "\x00", "") // which bun refuses to write
		marked := "s3cr3t" + value + "s3cr3t"
		sql := "SELECT " + string(dialect.AppendString(nil, marked)) + ", x FROM t WHERE n = 7"
		if got := withoutValues(sql); strings.Contains(got, "s3cr3t") || !strings.HasPrefix(got, "SELECT ?, x FROM t") {
			t.Errorf("%s: got %s", sql, got)
		}
	})
}
