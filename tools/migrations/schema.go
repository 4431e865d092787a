package main

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// schema is what code can use of a database.
type schema struct {
	columns map[string]column // by table.column
	others  map[string]bool   // tables, views, functions, values of enums, unique indexes, each with its kind
}

type column struct {
	kind string // its type
	// insists: a row can not be inserted without it. nullable: it may be null.
	insists, nullable bool
}

const columns = `
SELECT c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod),
       a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', NOT a.attnotnull
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped`

// Unique indexes count with all they are: ON CONFLICT names their columns, and errors their names.
const others = `
SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'view' ELSE 'table' END || ' ' || relname
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
UNION ALL
SELECT 'unique index ' || indexdef FROM pg_indexes i
WHERE schemaname = 'public' AND (SELECT indisunique FROM pg_index WHERE indexrelid = (quote_ident(i.schemaname) || '.' || quote_ident(i.indexname))::regclass)
UNION ALL
SELECT 'function ' || oid::regprocedure::text FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
	AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'value ' || quote_literal(enumlabel) || ' of ' || enumtypid::regtype::text FROM pg_enum`

func read(ctx context.Context, conn *pgx.Conn) (s schema, err error) {
	s = schema{columns: map[string]column{}, others: map[string]bool{}}
	rows, err := conn.Query(ctx, columns)
	if err != nil {
		return s, err
	}
	var (
		name string
		c    column
	)
	if _, err = pgx.ForEachRow(rows, []any{&name, &c.kind, &c.insists, &c.nullable}, func() error {
		s.columns[name] = c
		return nil
	}); err != nil {
		return s, err
	}
	if rows, err = conn.Query(ctx, others); err != nil {
		return s, err
	}
	_, err = pgx.ForEachRow(rows, []any{&name}, func() error {
		s.others[name] = true
		return nil
	})
	return s, err
}

// lost tells what the old code can not do any more: old and now are the schemas, code the words of the old code. What it
// never names it does not use.
func lost(old, now schema, code map[string]bool) (found []string) {
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for _, name := range slices.Sorted(maps.Keys(old.others)) {
		if !now.others[name] && used(name, code) {
			say("the %s is gone, and the last release uses it", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old.columns)) {
		was := old.columns[name]
		table, field, _ := strings.Cut(name, ".")
		is, ok := now.columns[name]
		switch {
		case !now.others["table "+table] && !now.others["view "+table]: // which has been told
		case !ok && used(field, code):
			say("the column %s is gone, and the last release uses it", name)
		case !ok:
		case is.kind != was.kind:
			say("the column %s is %s, and the last release takes it for %s", name, is.kind, was.kind)
		case was.nullable && !is.nullable:
			say("the column %s is not null any more, and the last release may leave it so", name)
		case is.insists && !was.insists:
			say("the column %s has no default any more, and the last release may leave it out", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now.columns)) {
		table, _, _ := strings.Cut(name, ".")
		if _, was := old.columns[name]; !was && old.others["table "+table] && now.columns[name].insists {
			say("the new column %s is not null and has no default: the last release, which does not know it, can insert nothing", name)
		}
	}
	return found
}

// used reports whether code names a thing, be it in SQL or as bun derives the names of columns from those of fields. Of
// a longer description the last word that is a name counts.
func used(name string, code map[string]bool) bool {
	all := identifier.FindAllString(name, -1)
	switch {
	case strings.HasPrefix(name, "unique index "), strings.HasPrefix(name, "value "):
		return true // too many ways to use it
	case strings.HasPrefix(name, "function "), strings.HasPrefix(name, "table "), strings.HasPrefix(name, "view "):
		name = all[1]
	}
	return code[strings.ReplaceAll(strings.ToLower(name), "_", "")]
}

var identifier = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)

// words are the identifiers in the code below the folders, without case and underscores.
func words(root fs.FS, dirs ...string) (map[string]bool, error) {
	all := map[string]bool{}
	for _, dir := range dirs {
		err := fs.WalkDir(root, dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := fs.ReadFile(root, path)
			for _, word := range identifier.FindAllString(string(text), -1) {
				all[strings.ReplaceAll(strings.ToLower(word), "_", "")] = true
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
