// Command images builds the container images of Trackway, one a program, each an archive in bin/images: the program,
// alone, on nothing. It needs the go command and no container engine, pulls nothing, and writes the same bytes whenever
// and wherever the same source is built.
//
// The archives are both an OCI image layout and what `docker load` reads. Beside them, values.yaml tells the chart the
// tags; a tag follows from the image's content, so that only what changed is rolled out.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/trackway/trackway/tools/programs"
)

// mostBytes is how large an image may be.
const mostBytes = 40 << 20

// program is what an image holds.
type program struct{ name, does string }

func all() []program {
	return []program{
		{"users", "Accounts, sessions, keys"},
		{"projects", "Projects, members, who may see what"},
		{"tasks", "Tasks and comments"},
		{"edge", "The public door: REST and GraphQL"},
		{programs.Story, "Plays a short story against an installation, for helm test"},
	}
}

type options struct {
	Registry string   `default:"ghcr.io/trackway" help:"Registry and path before the names of the images."`
	Version  string   `env:"IMAGE_VERSION" help:"Version that the images carry; as Git describes the commit, if it is not given."`
	Arch     string   `default:"${arch}" env:"GOARCH" help:"Architecture of the programs."`
	Out      string   `default:"bin/images" help:"Folder of the archives."`
	Only     []string `help:"Only these programs."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	parser, err := kong.New(&o, kong.Name("images"), kong.Vars{"arch": arch()},
		kong.Description("Build the container images of Trackway."))
	if err != nil {
		return err
	}
	if _, err := parser.Parse(args); err != nil {
		return err
	}
	src, err := describe(ctx, o.Version)
	if err != nil {
		return err
	}
	chosen := choose(o.Only)
	var names []string
	for _, p := range chosen {
		names = append(names, p.name)
	}
	build := programs.Options{OS: "linux", Arch: o.Arch}
	if err := programs.Build(ctx, filepath.Join(o.Out, "bin"), build, names...); err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "IMAGE\tMB\tDIGEST")
	var values strings.Builder
	values.WriteString("# What `make images` built: tags for the chart.\n")
	for _, p := range chosen {
		image, err := pack(o, p, src)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Fprintf(table, "%s\t%.1f\t%s\n", image.ref, float64(image.size)/1e6, image.digest)
		if p.name == programs.Story {
			fmt.Fprintf(&values, "test: {image: %q}\n", image.ref)
		} else {
			fmt.Fprintf(&values, "%s: {image: {registry: %q, tag: %q}}\n", p.name, o.Registry, image.tag)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.Out, "values.yaml"), []byte(values.String()), 0o644) //nolint:gosec // no secret
}

func choose(names []string) []program {
	if len(names) == 0 {
		return all()
	}
	var chosen []program
	for _, p := range all() {
		for _, name := range names {
			if p.name == name {
				chosen = append(chosen, p)
			}
		}
	}
	return chosen
}

// source is what an image says about what it was built from.
type source struct {
	version, revision string
	date              time.Time // the commit's, or SOURCE_DATE_EPOCH: https://reproducible-builds.org/specs/source-date-epoch/
}

func describe(ctx context.Context, version string) (s source, err error) {
	s.version, s.date = version, time.Unix(0, 0).UTC()
	if s.version == "" {
		if s.version, err = git(ctx, "describe", "--tags", "--always", "--match", "v*"); err != nil {
			s.version = "unknown" // an archive of the source has no history
		}
	}
	seconds := os.Getenv("SOURCE_DATE_EPOCH")
	if revision, err := git(ctx, "rev-parse", "HEAD"); err == nil {
		s.revision = revision
		if seconds == "" {
			if seconds, err = git(ctx, "log", "-1", "--format=%ct"); err != nil {
				return s, err
			}
		}
	}
	if seconds != "" {
		n, err := strconv.ParseInt(seconds, 10, 64)
		if err != nil {
			return s, errors.New("SOURCE_DATE_EPOCH is no number of seconds")
		}
		s.date = time.Unix(n, 0).UTC()
	}
	return s, nil
}

func git(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
