// Command docs writes the table of environment variables into the README, from the configuration of the services, and
// graph/PARITY.md, from the two public schemas. With --check it changes nothing, and fails if either is stale.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

const (
	begin = "<!-- config:begin -->\n"
	end   = "<!-- config:end -->\n"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var o struct {
		Check bool `help:"Change nothing, and fail if something is stale."`
	}
	parser, err := kong.New(&o, kong.Name("docs"), kong.Description("Write the README's table of variables and graph/PARITY.md."))
	if err != nil {
		return err
	}
	if _, err := parser.Parse(args); err != nil {
		return err
	}
	repository, err := root()
	if err != nil {
		return err
	}
	readme := filepath.Join(repository, "README.md")
	text, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	current, err := replace(text, table(variables()))
	if err != nil {
		return err
	}
	ids, err := operations(repository)
	if err != nil {
		return err
	}
	return errors.Join(
		write(readme, current, o.Check),
		write(filepath.Join(repository, "graph", "PARITY.md"), []byte(parity(ids)), o.Check),
	)
}

// write makes a file what it should be, or fails where it is not.
func write(path string, want []byte, check bool) error {
	got, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(got, want):
		return nil
	case check:
		return fmt.Errorf("%s is stale: run `go run ./tools/docs`", filepath.Base(path))
	default:
		return os.WriteFile(path, want, 0o644) //nolint:gosec // everybody may read documentation
	}
}

// root finds the repository.
func root() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// -m: of this module, wherever in the workspace the command is started.
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/trackway/trackway/tools").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), ".."), nil
}

// replace puts the table between the markers of the text.
func replace(text []byte, table string) ([]byte, error) {
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return nil, fmt.Errorf("the README has no place for the table of variables: lines %s and %s",
			strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return []byte(before + begin + table + end + after), nil
}
