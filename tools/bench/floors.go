package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"
	vegeta "github.com/tsenart/vegeta/v12/lib"
)

//go:embed sql/*.sql
var scripts embed.FS

// floors are what is below the system, with the same Postgres and Redis, running beside it.
type floors struct {
	dir         string
	system      *child
	front, rows *child
	make        map[string]func() (vegeta.Target, error)
}

// startFloors starts them.
func startFloors(ctx context.Context, where endpoints, d *data, system *child) (f *floors, err error) {
	dir, err := os.MkdirTemp("", "trackway-floors-")
	if err != nil {
		return nil, err
	}
	f = &floors{dir: dir, system: system}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.stop())
		}
	}()
	m := newMaker(d, where.URL, 1<<32)
	answers := map[string]answer{}
	for name, target := range map[string]func() (vegeta.Target, error){"one": m.oneTask, "fifty": m.fifty, "nested": m.nested} {
		if answers[name], err = ask(ctx, target); err != nil {
			return f, err
		}
	}
	tokens := make([]string, users)
	for i := range tokens {
		if tokens[i], err = d.token(int64(i + 1)); err != nil {
			return f, err
		}
	}
	// Theirs is a database of its own, which is not emptied when the cache is made cold.
	redisAt, err := url.Parse(where.Redis)
	if err != nil {
		return f, errors.New("the address of Redis is not a URL") // err holds the password
	}
	redisAt.Path = "/1"
	redisURL := redisAt.String()
	answersFile, tokensFile := filepath.Join(dir, "answers"), filepath.Join(dir, "tokens")
	if err := errors.Join(writeFile(answersFile, answers), writeFile(tokensFile, tokens), store(ctx, redisURL, answers)); err != nil {
		return f, err
	}
	var rowsAt hops
	if f.rows, err = startChild(ctx, &rowsAt, "rows", "--redis", redisURL, "--users", where.Databases["users"],
		"--projects", where.Databases["projects"], "--tasks", where.Databases["tasks"]); err != nil {
		return f, err
	}
	var at string
	if f.front, err = startChild(ctx, &at, "floor", "--answers", answersFile, "--tokens", tokensFile, "--redis", redisURL,
		"--rows", rowsAt.HTTP, "--rpc", rowsAt.RPC); err != nil {
		return f, err
	}
	f.requests(newMaker(d, at, 1<<33))
	return f, nil
}

func (f *floors) stop() error {
	var all []error
	for _, c := range []*child{f.front, f.rows} {
		if c != nil {
			all = append(all, c.stop())
		}
	}
	return errors.Join(append(all, os.RemoveAll(f.dir))...)
}

// requests are what each floor is asked.
func (f *floors) requests(m *maker) {
	get := func(path string) func() (vegeta.Target, error) {
		return func() (vegeta.Target, error) { return m.request(http.MethodGet, path, 1+m.r.Int64N(users), nil) }
	}
	task := func(path string) func() (vegeta.Target, error) {
		return func() (vegeta.Target, error) {
			id, _ := m.task()
			return m.request(http.MethodGet, path+strconv.FormatInt(id, 10), 1, nil)
		}
	}
	page := func(path string) func() (vegeta.Target, error) {
		return func() (vegeta.Target, error) {
			return m.request(http.MethodGet, fmt.Sprintf("%s%d/%d/%d", path, 1+m.r.Int64N(projects), 1+m.r.IntN(4), m.r.IntN(len(orders))), 1, nil)
		}
	}
	create := func() (vegeta.Target, error) {
		return m.request(http.MethodPost, fmt.Sprintf("/c/create/%d", 1+m.r.Int64N(projects)), 1,
			written{Title: "New task", Description: description})
	}
	change := func() (vegeta.Target, error) {
		id, _ := m.task()
		return m.request(http.MethodPatch, fmt.Sprintf("/c/change/%d/%d", id, 1+m.r.IntN(4)), 1, nil)
	}
	f.make = map[string]func() (vegeta.Target, error){
		"(a) bytes: one task":       get("/a/one"),
		"(a) bytes: fifty tasks":    get("/a/fifty"),
		"(a) bytes: nested":         get("/a/nested"),
		"(b) a GET: one task":       get("/b/one"),
		"(b) a GET: fifty tasks":    get("/b/fifty"),
		"(b) a GET: nested":         get("/b/nested"),
		"(c) two hops: one task":    task("/c/task/"),
		"(c) two hops: fifty tasks": page("/c/page/"),
		"(f) pieces: one task":      task("/f/task/"),
		"(f) pieces: fifty tasks":   page("/f/page/"),
		"(c) two hops: create":      create,
		"(c) two hops: change":      change,
		"(b, c) mix without a miss": func() (vegeta.Target, error) { return m.mixOf(create, change, get("/b/fifty"), get("/b/one")) },
		"(c) two hops: page 1,000": func() (vegeta.Target, error) {
			return m.request(http.MethodGet, fmt.Sprintf("/c/deep/%d", pageSize*(deepPages-m.r.IntN(deepKept))), 1, nil)
		},
		"(c) two hops: nested": func() (vegeta.Target, error) {
			return m.request(http.MethodPost, fmt.Sprintf("/c/nested/%d", 1+m.r.Int64N(users)), 1, nil)
		},
		"(e) engine: nested": func() (vegeta.Target, error) {
			return m.request(http.MethodPost, "/e", 1, map[string]any{
				"query": nestedQuery, "variables": map[string]int{"projects": projectsEach, "tasks": 10, "comments": 3},
			})
		},
	}
}

// beside are those of the names that run: all, or none.
func (f *floors) beside(names []string) []string {
	if f == nil {
		return nil
	}
	return names
}

func (f *floors) targets(name string) vegeta.Targeter {
	return endless(f.make[name])
}

// tally counts the floors' own processes, Postgres and Redis, and not what the idle services do beside them.
func (f *floors) tally(connections int) *tally {
	t := newTally(connections, f.front, f.rows, f.system)
	t.only = func(program string) bool { return !slices.Contains(services, program) }
	return t
}

func writeFile(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o600)
}

// ask gives what the system answers.
func ask(ctx context.Context, target func() (vegeta.Target, error)) (answer, error) {
	t, err := target()
	if err != nil {
		return answer{}, err
	}
	req, err := t.Request()
	if err != nil {
		return answer{}, err
	}
	res, err := http.DefaultClient.Do(req.WithContext(ctx))
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		return answer{}, errors.Join(fmt.Errorf("%s %s answered %s", t.Method, t.URL, res.Status), err)
	}
	return answer{ETag: res.Header.Get("ETag"), Type: res.Header.Get("Content-Type"), Body: body}, err
}

func store(ctx context.Context, url string, answers map[string]answer) error {
	o, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	c := redis.NewClient(o)
	var all []error
	for name, a := range answers {
		all = append(all, c.Set(ctx, redisKey(name), a.Body, time.Hour).Err())
	}
	return errors.Join(append(all, c.Close())...)
}

// pgbenchCounts finds what pgbench says of its run.
var pgbenchCounts = regexp.MustCompile(`number of transactions actually processed: (\d+)`)

// pgbench runs the statements alone, prepared, in floor (d), after all else. What pgbench itself takes is not counted.
func (r *runner) pgbench(ctx context.Context, dir string) error {
	program, err := findPgbench()
	if err != nil {
		return err
	}
	files, err := scripts.ReadDir("sql")
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := scripts.ReadFile("sql/" + f.Name())
		if err != nil {
			return err
		}
		path := filepath.Join(dir, f.Name())
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return err
		}
		for _, c := range r.Connections {
			c = min(c, 64) // Postgres has 100 connections, of which the services hold some
			before, err := used(r.system.cmd.Process.Pid)
			if err != nil {
				return err
			}
			cmd := exec.CommandContext(ctx, program, "--no-vacuum", "--protocol=prepared", "--client="+strconv.Itoa(c), "--jobs=2",
				"--time="+strconv.Itoa(max(1, int(r.Duration.Seconds()))), "--file="+path,
				"--define=tasks="+strconv.Itoa(r.Tasks), "--define=projects="+strconv.Itoa(projects))
			// The password goes by the environment, where others do not see it.
			u, err := url.Parse(r.where.Databases["tasks"])
			if err != nil {
				return errors.New("the address of the database is not a URL") // err holds the password
			}
			password, _ := u.User.Password()
			cmd.Env = append(os.Environ(), "PGHOST="+u.Hostname(), "PGPORT="+u.Port(), "PGUSER="+u.User.Username(),
				"PGPASSWORD="+password, "PGDATABASE="+u.Path[1:])
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("pgbench: %w: %s", err, out)
			}
			after, err := used(r.system.cmd.Process.Pid)
			if err != nil {
				return err
			}
			found := pgbenchCounts.FindSubmatch(out)
			if found == nil {
				return fmt.Errorf("pgbench does not say how many transactions it made: %s", out)
			}
			n, err := strconv.Atoi(string(found[1]))
			if err != nil || n == 0 {
				return fmt.Errorf("pgbench made %d transactions: %w", n, err)
			}
			cost := after.since(before)
			r.out.add(line{
				mode: "floor", name: "(d) SQL: " + f.Name()[:len(f.Name())-len(".sql")], connections: c, requests: n,
				rate: float64(n) / r.Duration.Seconds(), cpu: cost.total().Seconds() * 1000 / float64(n), each: cost.each(n),
				allocations: -1,
			})
		}
	}
	return nil
}

func findPgbench() (string, error) {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if err != nil || len(found) == 0 {
		return "", errors.New("there is no pgbench (on Debian: apt-get install postgresql)")
	}
	return slices.Max(found), nil
}
