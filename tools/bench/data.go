package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/trackway/trackway/services/platform/auth"
)

// What is loaded. The first project is big enough for a page 1,000; the others share the rest of the tasks.
const (
	users        = 1000
	projects     = 200
	projectsEach = 20 // that each user is a member of
	commentsEach = 2  // on each task
	bigProject   = 60_000
	// A token is valid for longer than any run.
	tokenLifetime = 12 * time.Hour
	// seed makes every run send the same requests.
	seed = 1
)

// data is what the requests are made of.
type data struct {
	tasks int
	// issuer makes the callers' tokens; to sign in is not what is measured.
	issuer *auth.Issuer
	mu     sync.Mutex
	tokens map[int64]string
}

// Everything about who and what follows from the numbers: user u is a member of the projects u, u+1, … in a circle, and
// project p owned by user p; task t is in the first project up to bigProject, and in the others in turn behind that.

func memberOf(user, n int64) (project int64) { return (user-1+n)%projects + 1 }

// member is one of the members of a project.
func member(project int64, r *rand.Rand) int64 {
	// Users project, project+200, … begin with this project.
	return project + projects*r.Int64N(users/projects)
}

func projectOf(task int64) int64 {
	if task <= bigProject {
		return 1
	}
	return 2 + (task-bigProject-1)%(projects-1)
}

// token is the Authorization of a user.
func (d *data) token(user int64) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t, ok := d.tokens[user]; ok {
		return t, nil
	}
	t, err := d.issuer.Issue(user, false, "bench")
	if err != nil {
		return "", err
	}
	d.tokens[user] = "Bearer " + t
	return d.tokens[user], nil
}

// load fills the databases by COPY, unless they have been.
func load(ctx context.Context, where endpoints, tasks int) (*data, time.Duration, error) {
	key, err := os.ReadFile(where.SigningKey)
	if err != nil {
		return nil, 0, err
	}
	issuer, err := auth.NewIssuer(auth.Config{Issuer: "https://trackway.invalid", Audience: "trackway"}, tokenLifetime, key)
	if err != nil {
		return nil, 0, err
	}
	d := &data{tasks: tasks, issuer: issuer, tokens: map[int64]string{}}
	conns := map[string]*pgx.Conn{}
	defer func() {
		for _, c := range conns {
			_ = c.Close(context.WithoutCancel(ctx))
		}
	}()
	for name, url := range where.Databases {
		if conns[name], err = pgx.Connect(ctx, url); err != nil {
			return nil, 0, err
		}
	}
	var loaded int
	if err := conns["tasks"].QueryRow(ctx, "SELECT count(*) FROM (SELECT FROM tasks LIMIT 1) one").Scan(&loaded); err != nil {
		return nil, 0, err
	}
	if loaded > 0 {
		var count int64
		if err := conns["tasks"].QueryRow(ctx, "SELECT last_number FROM counters WHERE project_id = 0").Scan(&count); err != nil {
			return nil, 0, fmt.Errorf("the folder holds something else, or what was loaded by half: %w", err)
		}
		if count != int64(tasks) {
			return nil, 0, fmt.Errorf("the folder holds %d tasks: give another --dir, or --tasks %[1]d", count)
		}
		return d, 0, nil
	}
	began := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return loadUsers(ctx, conns["users"]) })
	g.Go(func() error { return loadProjects(ctx, conns["projects"]) })
	g.Go(func() error { return loadTasks(ctx, conns["tasks"], tasks) })
	err = g.Wait()
	return d, time.Since(began), err
}

// rows gives COPY n rows.
func rows(n int, row func(i int64) []any) pgx.CopyFromSource {
	i := 0
	return pgx.CopyFromFunc(func() ([]any, error) {
		if i == n {
			return nil, nil
		}
		i++
		return row(int64(i)), nil
	})
}

// copyIn fills a table, and sets the sequence of its ids behind them.
func copyIn(ctx context.Context, c *pgx.Conn, table string, n int, row func(i int64) []any, columns ...string) error {
	if _, err := c.CopyFrom(ctx, pgx.Identifier{table}, columns, rows(n, row)); err != nil {
		return fmt.Errorf("copy %s: %w", table, err)
	}
	if !slices.Contains(columns, "id") {
		return nil
	}
	_, err := c.Exec(ctx, "SELECT setval(pg_get_serial_sequence($1, 'id'), GREATEST((SELECT max(id) FROM "+
		pgx.Identifier{table}.Sanitize()+"), 1))", table)
	return err
}

func analyze(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, "VACUUM ANALYZE")
	return err
}

func loadUsers(ctx context.Context, c *pgx.Conn) error {
	// The service made its administrator at its first start; the loaded users have the ids 1 to users.
	for _, statement := range []string{
		fmt.Sprintf("SELECT setval(pg_get_serial_sequence('users', 'id'), %d)", users), "UPDATE users SET id = DEFAULT WHERE id = 1",
	} {
		if _, err := c.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return errors.Join(copyIn(ctx, c, "users", users, func(i int64) []any {
		return []any{
			i, fmt.Sprintf("Person %d", i), fmt.Sprintf("person%d@example.org", i), int16(1), true,
			"$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		}
	}, "id", "name", "email", "role", "active", "password_hash"), analyze(ctx, c))
}

func loadProjects(ctx context.Context, c *pgx.Conn) error {
	err := copyIn(ctx, c, "projects", projects, func(i int64) []any {
		return []any{i, fmt.Sprintf("Project %d", i), "What there is to know about it, in a few words.", int16(1), i}
	}, "id", "name", "description", "visibility", "owner_id")
	if err != nil {
		return err
	}
	return errors.Join(copyIn(ctx, c, "members", users*projectsEach, func(i int64) []any {
		user, n := (i-1)/projectsEach+1, (i-1)%projectsEach
		role := int16(3)
		if user <= projects && n == 0 { // user p owns project p
			role = 5
		}
		return []any{i, memberOf(user, n), user, role}
	}, "id", "project_id", "user_id", "role"), analyze(ctx, c))
}

const description = "Long enough to be like one that people write: what is wrong, what was expected instead, and where to look first."

// loadTasks fills the tables of tasks and comments. Their indexes are made behind the rows, all of an index at once, and their
// foreign keys are checked by one join. It is one transaction: whoever ends it halfway has the indexes still.
func loadTasks(ctx context.Context, c *pgx.Conn, tasks int) error {
	err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL maintenance_work_mem = '256MB'"); err != nil {
			return err
		}
		again, err := dropChecks(ctx, tx, "tasks", "comments")
		if err != nil {
			return err
		}
		if err := copyTasks(ctx, c, tasks); err != nil {
			return err
		}
		for _, statement := range again {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return fmt.Errorf("%s: %w", statement, err)
			}
		}
		// The counter of no project says that all was loaded, and how much.
		_, err = tx.Exec(ctx, `INSERT INTO counters (project_id, last_number, first_place, last_place)
			SELECT project_id, max(number), 1, max(number) FROM tasks GROUP BY project_id UNION ALL SELECT 0, $1, 1, 0`, tasks)
		return err
	})
	if err != nil {
		return err
	}
	return analyze(ctx, c)
}

// dropChecks drops what is checked or kept at each row of the tables, but for their keys, and returns the statements that make
// it again.
func dropChecks(ctx context.Context, tx pgx.Tx, tables ...string) (again []string, err error) {
	rows, err := tx.Query(ctx, `
		SELECT 'DROP INDEX ' || indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index
		WHERE indrelid::regclass::text = ANY($1) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
		UNION ALL
		SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
			format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
		FROM pg_constraint WHERE conrelid::regclass::text = ANY($1) AND contype = 'f'`, tables)
	if err != nil {
		return nil, err
	}
	var drop []string
	var without, with string
	_, err = pgx.ForEachRow(rows, []any{&without, &with}, func() error {
		drop, again = append(drop, without), append(again, with)
		return nil
	})
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, strings.Join(drop, ";"))
	return again, err
}

func copyTasks(ctx context.Context, c *pgx.Conn, tasks int) error {
	r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // the same data each time
	numbers := map[int64]int64{}
	now := time.Now().UTC().Truncate(time.Microsecond)
	err := copyIn(ctx, c, "tasks", tasks, func(i int64) []any {
		p := projectOf(i)
		numbers[p]++
		made := now.Add(time.Duration(i-int64(tasks)) * time.Second)
		status := 1 + r.IntN(4)
		var assignee, completed, due any
		if r.IntN(4) > 0 {
			assignee = member(p, r)
		}
		if status == 3 {
			completed = made
		}
		if r.IntN(3) == 0 {
			due = now.AddDate(0, 0, r.IntN(200)-100)
		}
		return []any{
			i, made, made, p, numbers[p], fmt.Sprintf("Task %d: make the thing work", i), description, int16(status),
			int16(1 + r.IntN(5)),
			[]string{fmt.Sprintf("area-%d", r.IntN(20))},
			assignee, member(p, r), due, position(numbers[p]),
			completed,
		}
	}, "id", "created_at", "updated_at", "project_id", "number", "title", "description", "status", "priority", "labels",
		"assignee_id", "creator_id", "due_date", "position", "completed_at")
	if err != nil {
		return err
	}
	return copyIn(ctx, c, "comments", commentsEach*tasks, func(i int64) []any {
		task := (i-1)/commentsEach + 1
		made := now.Add(time.Duration(task-int64(tasks)) * time.Second)
		return []any{i, made, made, projectOf(task), task, member(projectOf(task), r), "Tried it: it works here, with the last version."}
	}, "id", "created_at", "updated_at", "project_id", "task_id", "author_id", "body")
}

// position is a place on the board as the tasks service gives them: a letter for the number of digits, and the digits.
func position(n int64) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	width, count := 1, int64(len(digits))
	for n >= count {
		n -= count
		width++
		count *= int64(len(digits))
	}
	key := make([]byte, width+1)
	key[0] = 'a' + byte(width) - 1
	for i := width; i > 0; i-- {
		key[i] = digits[n%int64(len(digits))]
		n /= int64(len(digits))
	}
	return string(key)
}
