package app

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Parse reads a configuration from the environment, or from vars if they are not nil. Every mistake is named by its
// variable, all in one sentence.
func Parse[C any](vars map[string]string) (C, error) {
	cfg, err := env.ParseAsWithOptions[C](env.Options{Environment: vars})
	if err == nil {
		return cfg, nil
	}
	var all env.AggregateError
	if !errors.As(err, &all) {
		return cfg, fmt.Errorf("read the configuration: %w", err)
	}
	mistakes := make([]string, 0, len(all.Errors))
	for _, err := range all.Errors {
		mistakes = append(mistakes, mistake(err, reflect.TypeFor[C]()))
	}
	return cfg, errors.New(strings.Join(mistakes, "; "))
}

func mistake(err error, config reflect.Type) string {
	var (
		unset env.VarIsNotSetError
		empty env.EmptyVarError
		parse env.ParseError
	)
	switch {
	case errors.As(err, &unset):
		return unset.Key + " is not set"
	case errors.As(err, &empty):
		return empty.Key + " is empty"
	case errors.As(err, &parse):
		return variable(config, parse) + ": " + parse.Err.Error()
	default:
		return err.Error()
	}
}

// variable finds the variable of the field that could not be parsed, of which the error knows only name and type.
func variable(config reflect.Type, parse env.ParseError) string {
	for _, f := range reflect.VisibleFields(config) {
		if name, _, _ := strings.Cut(f.Tag.Get("env"), ","); name != "" && f.Name == parse.Name && f.Type == parse.Type {
			return name
		}
		if f.Type.Kind() == reflect.Struct && !f.Anonymous {
			if name := variable(f.Type, parse); name != "" {
				return name
			}
		}
	}
	return ""
}
