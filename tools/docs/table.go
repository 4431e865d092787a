package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/trackway/trackway/services/edge"
	"github.com/trackway/trackway/services/projects"
	"github.com/trackway/trackway/services/tasks"
	"github.com/trackway/trackway/services/users"
)

// variable is an environment variable as one or more services read it.
type variable struct {
	name         string
	services     []string
	defaultValue string
	required     bool
	meaning      string
}

type service struct {
	name   string
	config any
}

func services() []service {
	return []service{
		{"users", users.Config{}}, {"projects", projects.Config{}}, {"tasks", tasks.Config{}}, {"edge", edge.Config{}},
	}
}

// variables lists those of all services, in the order of their structs. One that means something else to another
// service is listed again.
func variables() []variable {
	var all []variable
	for _, s := range services() {
		for _, v := range read(reflect.TypeOf(s.config), "") {
			i := slices.IndexFunc(all, func(other variable) bool {
				return other.name == v.name && other.defaultValue == v.defaultValue && other.required == v.required &&
					other.meaning == v.meaning
			})
			if i < 0 {
				i = len(all)
				all = append(all, v)
			}
			all[i].services = append(all[i].services, s.name)
		}
	}
	// What all services read comes first.
	slices.SortStableFunc(all, func(a, b variable) int { return len(b.services) - len(a.services) })
	return all
}

// read walks a struct with the tags of github.com/caarlos0/env, and ours for the meaning.
func read(t reflect.Type, prefix string) []variable {
	var found []variable
	for f := range t.Fields() {
		key, options, _ := strings.Cut(f.Tag.Get("env"), ",")
		switch {
		case key != "" && key != "-":
			found = append(found, variable{
				name:         prefix + key,
				defaultValue: f.Tag.Get("envDefault"),
				required:     slices.Contains(strings.Split(options, ","), "required"),
				meaning:      f.Tag.Get("doc"),
			})
		case key == "" && f.Type.Kind() == reflect.Struct:
			found = append(found, read(f.Type, prefix+f.Tag.Get("envPrefix"))...)
		}
	}
	return found
}

// table is the Markdown of the variables.
func table(variables []variable) string {
	var b strings.Builder
	b.WriteString("| variable | services | default | meaning |\n|---|---|---|---|\n")
	for _, v := range variables {
		names := strings.Join(v.services, ", ")
		if len(v.services) == len(services()) {
			names = "all"
		}
		value := ""
		switch {
		case v.required:
			value = "(required)"
		case v.defaultValue != "":
			value = "`" + v.defaultValue + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", v.name, names, escape(value), escape(v.meaning))
	}
	return b.String()
}

// escape keeps a text in its cell.
func escape(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
