// Command docs writes the table of environment variables into the README, from the configuration of the services.
// With --check it changes nothing, and fails if the table is stale.
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
		Check bool `help:"Change nothing, and fail if the table is stale."`
	}
	parser, err := kong.New(&o, kong.Name("docs"), kong.Description("Write the table of variables into the README."))
	if err != nil {
		return err
	}
	if _, err := parser.Parse(args); err != nil {
		return err
	}
	path, err := readme()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	current, err := replace(text, table(variables()))
	switch {
	case err != nil:
		return err
	case bytes.Equal(text, current):
		return nil
	case o.Check:
		return errors.New("the README's table of environment variables is stale: run `go run ./tools/docs`")
	default:
		return os.WriteFile(path, current, 0o644) //nolint:gosec // everybody may read a README
	}
}

// readme finds the README beside go.work.
func readme() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// -m: of this module, wherever in the workspace the command is started.
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/trackway/trackway/tools").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "..", "README.md"), nil
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
