package main

import (
	"context"
	"os"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/trackway/trackway/services/platform/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const releasedSQL = `
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE books (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text NOT NULL, note text, pages int NOT NULL DEFAULT 0, dusty text,
	mood mood, CONSTRAINT books_title_key UNIQUE (title));
CREATE TABLE attic (id int);
CREATE FUNCTION shelve(int) RETURNS int LANGUAGE sql AS 'SELECT $1';`

// It names everything but dusty and attic.
const releasedCode = "package books\n\ntype Book struct { ID int; Title, Note string; Pages int; Mood string }\n\nconst q = `SELECT shelve(id) FROM books`\n"

func TestAMigrationMayAddButTakeNothingAwayThatTheLastReleaseUses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, sql string
		want      []string
	}{
		{"may add what the old code can leave out", `ALTER TABLE books ADD COLUMN more text, ADD COLUMN stars int NOT NULL DEFAULT 0;
			CREATE TABLE shelves (id int NOT NULL); CREATE INDEX ON books (pages); ALTER TYPE mood ADD VALUE 'fine'`, nil},
		{"may take away what the old code does not name", "DROP TABLE attic; ALTER TABLE books DROP COLUMN dusty", nil},
		{"drops a column", "ALTER TABLE books DROP COLUMN note", []string{"the column books.note is gone, and the last release uses it"}},
		{"renames a column", "ALTER TABLE books RENAME note TO remark", []string{"the column books.note is gone, and the last release uses it"}},
		{"drops a table", "DROP TABLE books", []string{
			"the table books is gone, and the last release uses it",
			"the unique index CREATE UNIQUE INDEX books_pkey ON public.books USING btree (id) is gone, and the last release uses it",
			"the unique index CREATE UNIQUE INDEX books_title_key ON public.books USING btree (title) is gone, and the last release uses it",
		}},
		{"changes a type", "ALTER TABLE books ALTER pages TYPE bigint", []string{"the column books.pages is bigint, and the last release takes it for integer"}},
		{"forbids null", "ALTER TABLE books ALTER note SET NOT NULL", []string{"the column books.note is not null any more, and the last release may leave it so"}},
		{"drops a default", "ALTER TABLE books ALTER pages DROP DEFAULT", []string{"the column books.pages has no default any more, and the last release may leave it out"}},
		{"adds a column that must be given", "ALTER TABLE books ADD COLUMN isbn text NOT NULL", []string{
			"the new column books.isbn is not null and has no default: the last release, which does not know it, can insert nothing",
		}},
		{"drops a unique index", "ALTER TABLE books DROP CONSTRAINT books_title_key", []string{
			"the unique index CREATE UNIQUE INDEX books_title_key ON public.books USING btree (title) is gone, and the last release uses it",
		}},
		{"drops a function", "DROP FUNCTION shelve", []string{"the function shelve(integer) is gone, and the last release uses it"}},
		{"renames a value", "ALTER TYPE mood RENAME VALUE 'bad' TO 'sad'", []string{"the value 'bad' of mood is gone, and the last release uses it"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			released := fstest.MapFS{
				"services/books/migrations/101_books.tx.up.sql": {Data: []byte(releasedSQL)},
				"services/books/model.go":                       {Data: []byte(releasedCode)},
				"services/platform/app/app.go":                  {Data: []byte("package app\n")},
			}
			current := fstest.MapFS{
				"services/books/migrations/101_books.tx.up.sql": {Data: []byte(releasedSQL)},
				"services/books/migrations/102_new.tx.up.sql":   {Data: []byte(test.sql)},
			}
			got, err := compare(t.Context(), empty(t), "books", released, current)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, test.want); diff != "" {
				t.Errorf("-got +want:\n%s", diff)
			}
		})
	}
}

func TestAReleasedMigrationStaysAsItWas(t *testing.T) {
	t.Parallel()
	const name = "services/books/migrations/101_books.tx.up.sql"
	released := fstest.MapFS{
		name: {Data: []byte("CREATE TABLE books (id int)")}, "services/books/migrations/102_more.tx.up.sql": {Data: []byte("SELECT 1")},
	}
	current := fstest.MapFS{name: {Data: []byte("CREATE TABLE books (id bigint)")}}
	got, err := compare(t.Context(), empty(t), "books", released, current)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"101_books.tx.up.sql was released, and is not what it was: write another migration", "102_more.tx.up.sql was released, and is gone"}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("-got +want:\n%s", diff)
	}
}

// empty opens databases with nothing in them.
func empty(t *testing.T) func(ctx context.Context, _ string) (*pgx.Conn, error) {
	t.Helper()
	return func(ctx context.Context, _ string) (*pgx.Conn, error) {
		return pgx.Connect(ctx, pgtest.Open(t, "empty", func(context.Context, string) error { return nil }))
	}
}
