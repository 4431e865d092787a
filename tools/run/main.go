// Command run starts all of Trackway on this machine, with its own Postgres and Redis and, at the first start, demo
// data. Ctrl-C stops it; the next start goes on with the same data.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/trackway/trackway/services/platform/local"
	"github.com/trackway/trackway/tools/seed"
	"github.com/trackway/trackway/tools/system"
)

// stopTimeout is longer than all that the system takes to stop its parts, the hard way if need be.
const stopTimeout = time.Minute

type options struct {
	Port    uint16 `env:"PORT" default:"8080" help:"Port of 127.0.0.1 to answer on; 0 takes a free one."`
	DataDir string `env:"DATA_DIR" default:".trackway" help:"Folder of the data and the secrets."`
	Split   bool   `help:"Start each service as a process of its own, as in the cluster."`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		// One sentence, also where several things went wrong.
		fmt.Fprintln(os.Stderr, "trackway:", strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
		os.Exit(1)
	}
}

func run(args []string) (err error) {
	var o options
	parser, err := kong.New(&o, kong.Name("run"), kong.Description("Start all of Trackway on this machine."))
	if err != nil {
		return err
	}
	if _, err := parser.Parse(args); err != nil {
		return err
	}
	dir, err := local.DataDir(o.DataDir)
	if err != nil {
		return err
	}

	ctx, release := signal.NotifyContext(context.Background(), signals()...)
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	watching := watchParents(ctx, cancel)
	defer func() { cancel(nil); <-watching }()

	began := time.Now()
	fmt.Println("Starting Trackway …")
	view, err := openView(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.close(context.WithoutCancel(ctx))) }()
	s, err := system.Start(ctx, system.Options{
		Dir: dir, Port: int(o.Port), Environ: environ(), Log: os.Stderr, Demo: true, Split: o.Split,
	})
	switch {
	case err != nil && ctx.Err() != nil: // told to stop while starting
		return nil
	case err != nil:
		return err
	}
	fmt.Print(screen(s, view.url, time.Since(began)))

	select {
	case err = <-s.Died():
	case <-ctx.Done():
	}
	release() // a second Ctrl-C ends this process at once, and with it Postgres and Redis
	fmt.Println("Stopping Trackway …")
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	return errors.Join(err, s.Stop(stop))
}

// signals are those that ask for a stop. A closed terminal sends SIGHUP, unless nohup has said to ignore that.
func signals() []os.Signal {
	all := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	return all
}

func environ() map[string]string {
	vars := make(map[string]string)
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		vars[name] = value
	}
	return vars
}

// screen is what a person needs to know to begin.
func screen(s *system.System, traces string, took time.Duration) string {
	return fmt.Sprintf(`
Trackway runs (started in %.1f s).

  REST      %[2]s/api/            try it: %[2]s/docs
  OpenAPI   %[2]s/api/openapi.json
  GraphQL   %[2]s/graphql         try it there, in a browser
  Traces    %[9]s

  Sign in   %[3]s, password %[4]s
  Admin     %[5]s, password in %[6]s

  Data      %[7]s   (kept between starts; remove it to start afresh)
  Redis     %[8]s
  Stop      Ctrl-C

`, took.Seconds(), s.URL, seed.Email, seed.Password, system.AdminEmail, s.AdminPassword, s.Dir, s.Redis, traces)
}
