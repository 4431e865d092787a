package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strconv"
	"strings"

	"github.com/trackway/trackway/tools/system"
)

// services are the programs of the system.
//
//nolint:gochecknoglobals // a list, which nothing writes to
var services = []string{"users", "projects", "tasks", "edge"}

// serve starts Trackway as `make run` does, without demo data, and stops it when the parent wants no more of it.
type serve struct {
	Dir  string   `required:""`
	Mode string   `required:"" enum:"split,one"`
	Env  []string `sep:"none"`
	// Postgres are settings of its own.
	Postgres []string `sep:"none"`
}

// endpoints are where the system answers, and what a measurer needs besides.
type endpoints struct {
	URL        string            `json:"url"`
	Databases  map[string]string `json:"databases"` // URLs by service
	Redis      string            `json:"redis"`
	SigningKey string            `json:"signing_key"` // the file
}

// Run serves.
func (s *serve) Run(ctx context.Context) (err error) {
	vars := map[string]string{
		"PATH": os.Getenv("PATH"),
		// Counting requests is part of what each costs, so the limits stay, out of reach.
		"PPROF":      "true", // which tells of allocations as they are, where /metrics tells of them as they were
		"RATE_LIMIT": "1000000000", "GRAPHQL_BUDGET": "1000000000", "AUTH_RATE_LIMIT": "1000000000", "ACCOUNT_RATE_LIMIT": "0",
	}
	for _, v := range s.Env {
		name, value, _ := strings.Cut(v, "=")
		vars[name] = value
	}
	running, err := system.Start(ctx, system.Options{
		Dir: s.Dir, Environ: vars, Log: os.Stderr, Split: s.Mode == "split", Postgres: s.Postgres,
	})
	if err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = errors.Join(err, running.Stop(stop))
	}()
	where := endpoints{
		URL: running.URL, Redis: running.RedisURL(), Databases: map[string]string{},
		SigningKey: filepath.Join(running.Dir, "signing-key.pem"),
	}
	for _, name := range []string{"users", "projects", "tasks"} {
		where.Databases[name] = running.Database(name)
	}
	return attend(where, func() (any, error) { return s.allocations(ctx, running) })
}

// allocations are the objects that the services have allocated so far.
func (s *serve) allocations(ctx context.Context, running *system.System) (int64, error) {
	if s.Mode == "one" {
		sample := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}}
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64()), nil
	}
	var all int64
	for _, name := range services {
		n, err := mallocs(ctx, "http://"+running.Admin(name)+"/debug/pprof/allocs?debug=1")
		if err != nil {
			return 0, fmt.Errorf("allocations of %s: %w", name, err)
		}
		all += n
	}
	return all, nil
}

// mallocs reads how many objects a process has allocated off its profile, which ends in its runtime.MemStats.
func mallocs(ctx context.Context, url string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if n, ok := strings.CutPrefix(lines.Text(), "# Mallocs = "); ok {
			return strconv.ParseInt(n, 10, 64)
		}
	}
	return 0, errors.Join(fmt.Errorf("%s tells of no allocations", url), lines.Err())
}
