// Package programs compiles the programs of Trackway as they are shipped, so that what is tested and measured is that.
package programs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// timeout bounds the compiling of all programs, on a machine that has compiled nothing yet.
const timeout = 20 * time.Minute

const root = "github.com/trackway/trackway/"

// Story is the program of `helm test`; it is no service.
const Story = "story"

// Services are the names of the four services, each after those that it calls.
func Services() []string { return []string{"users", "projects", "tasks", "edge"} }

// Options change what is built.
type Options struct {
	Arch string   // of GOARCH; that of this machine when empty
	OS   string   // of GOOS; that of this machine when empty
	Tags []string // that build it otherwise than for use
}

// Build compiles the programs of these names into the folder, which it makes: static, stripped, and without any path of
// this machine in them. It needs the go command and the repository.
func Build(ctx context.Context, dir string, o Options, names ...string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // no secret
		return err
	}
	// grpcnotrace leaves out gRPC's own pages, and with their templates a third of the program: see edge/docs.go.
	tags := append([]string{"grpcnotrace"}, o.Tags...)
	args := []string{
		"build", "-trimpath", "-buildvcs=false", "-tags", strings.Join(tags, ","), "-ldflags", "-s -w -buildid=",
		"-o", dir + string(filepath.Separator),
	}
	for _, name := range names {
		args = append(args, path(name))
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if o.Arch != "" {
		cmd.Env = append(cmd.Env, "GOARCH="+o.Arch)
	}
	if o.OS != "" {
		cmd.Env = append(cmd.Env, "GOOS="+o.OS)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the programs, which takes the go command and the repository: %w: %s", err, out)
	}
	return nil
}

// path is the package of a program.
func path(name string) string {
	if name == Story {
		return root + "tools/story/cmd/story"
	}
	return root + "services/" + name + "/cmd/" + name
}
