// Command bench measures what Trackway costs: CPU seconds per 1,000 requests over all its processes, Postgres and Redis
// included, because that holds on a noisy machine, and beside it, in the same run, what the least would cost that could
// give the same answers. Nothing is asserted here: times are for people to read.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// commands are what the program does. It starts itself again for what is to be measured as a process of its own.
type commands struct {
	Run   measure    `cmd:"" default:"withargs" help:"Measure, and print a table."`
	Serve serve      `cmd:"" hidden:"" help:"Serve Trackway, for Run."`
	Floor floorServe `cmd:"" hidden:"" help:"Serve the floors, for Run."`
	Rows  rowsServe  `cmd:"" hidden:"" help:"Serve rows from Postgres, for the floors."`
}

// measure is the command that people call.
type measure struct {
	Tasks       int           `default:"200000" help:"Tasks to load, with two comments each."`
	Duration    time.Duration `default:"3s" help:"How long each warm run and each run of writes lasts."`
	Connections []int         `default:"16,64" help:"Connections of the closed loop."`
	Modes       []string      `default:"split,one" enum:"split,one" help:"Four processes, and all services in one."`
	Only        string        `help:"Only the scenarios whose name contains this."`
	Floors      bool          `default:"true" negatable:"" help:"Measure the floors, too."`
	Dir         string        `help:"Folder that keeps the data between runs; one that is removed afterwards when it is not given."`
	Env         []string      `help:"More configuration of the services, as NAME=VALUE."`
	Postgres    []string      `help:"Settings of Postgres, as name=value, such as shared_buffers=4GB where there are more tasks than its 128 MB hold."`
}

func main() {
	var c commands
	call := kong.Parse(&c, kong.Name("bench"), kong.Description("Measure what Trackway costs."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	call.BindTo(ctx, (*context.Context)(nil))
	call.FatalIfErrorf(call.Run())
}

// Run measures every scenario in every mode, and the floors.
func (m *measure) Run(ctx context.Context) error {
	if m.Tasks < 2*bigProject {
		return fmt.Errorf("--tasks is %d, and must be at least %d, so that there is a page 1,000", m.Tasks, 2*bigProject)
	}
	dir, remove, err := m.folder()
	if err != nil {
		return err
	}
	defer remove()
	fmt.Println(machine())
	var out table
	for _, mode := range m.Modes {
		if err := m.mode(ctx, dir, mode, &out); err != nil {
			return fmt.Errorf("%s: %w", mode, err)
		}
	}
	out.print(os.Stdout)
	return nil
}

func (m *measure) folder() (dir string, remove func(), err error) {
	if m.Dir != "" {
		return m.Dir, func() {}, os.MkdirAll(m.Dir, 0o755) //nolint:gosec // Postgres, as another user, must be able to enter
	}
	// Postgres can not use a folder below one that only root may enter.
	dir, err = os.MkdirTemp("", "trackway-bench-")
	if err != nil {
		return "", nil, err
	}
	return dir, func() { _ = os.RemoveAll(dir) }, os.Chmod(dir, 0o755) //nolint:gosec // see above
}

// mode starts the system, loads it unless it is loaded, and measures it.
func (m *measure) mode(ctx context.Context, dir, mode string, out *table) (err error) {
	began := time.Now()
	args := slices.Concat([]string{"serve", "--dir", dir, "--mode", mode}, repeated("--env", m.Env), repeated("--postgres", m.Postgres))
	var where endpoints
	system, err := startChild(ctx, &where, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, system.stop()) }()
	fmt.Printf("\n%s: started in %.1f s", mode, time.Since(began).Seconds())
	d, took, err := load(ctx, where, m.Tasks)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if took > 0 {
		fmt.Printf("; loaded %d users, %d projects, %d tasks, %d comments in %.0f s", users, projects, m.Tasks,
			commentsEach*m.Tasks, took.Seconds())
	}
	fmt.Println()
	r := runner{measure: m, where: where, data: d, system: system, mode: mode, out: out}
	if m.Floors && mode == m.Modes[0] {
		if r.floors, err = startFloors(ctx, where, d, system); err != nil {
			return fmt.Errorf("floors: %w", err)
		}
		defer func() { err = errors.Join(err, r.floors.stop()) }()
	}
	for _, s := range scenarios() {
		if !strings.Contains(s.name, m.Only) {
			continue
		}
		if err := r.scenario(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	r.memory()
	if r.floors != nil {
		return r.pgbench(ctx, r.floors.dir)
	}
	return nil
}

// repeated gives the flag with each of the values.
func repeated(flag string, values []string) []string {
	args := make([]string, 0, 2*len(values)) //nolint:mnd // flag and value
	for _, v := range values {
		args = append(args, flag, v)
	}
	return args
}
