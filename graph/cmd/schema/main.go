// Command schema prints the GraphQL schema, and compares two printed ones:
//
//	schema                          the schema of this build, on standard output
//	schema breaking OLD NEW         what of OLD a client may rely on and NEW does not keep; exit code 1 if there is any
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"

	"github.com/trackway/trackway/graph"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string, to io.Writer) error {
	switch {
	case len(args) == 0:
		formatter.NewFormatter(to, formatter.WithIndent("  ")).FormatSchema(graph.Schema())
		return nil
	case len(args) == 3 && args[0] == "breaking":
		before, err := read(args[1])
		if err != nil {
			return err
		}
		after, err := read(args[2])
		if err != nil {
			return err
		}
		var list []error
		for _, b := range breaking(before, after) {
			list = append(list, errors.New(b))
		}
		return errors.Join(list...)
	}
	return errors.New("usage: schema [breaking OLD NEW]")
}

func read(name string) (*ast.Schema, error) {
	text, err := os.ReadFile(name) //nolint:gosec // the file that the caller names
	if err != nil {
		return nil, fmt.Errorf("read a schema: %w", err)
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: name, Input: string(text)})
	if err != nil {
		return nil, fmt.Errorf("load a schema: %w", err)
	}
	return schema, nil
}
