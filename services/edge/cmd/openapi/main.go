// Command openapi writes the OpenAPI document of the REST API to standard output, in lines that a person can compare.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trackway/trackway/services/edge/rest"
)

func main() {
	if err := write(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(to io.Writer) error {
	text := jsontext.Value(rest.Document())
	if err := text.Indent(jsontext.WithIndent("  ")); err != nil {
		return fmt.Errorf("indent: %w", err)
	}
	if _, err := to.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
