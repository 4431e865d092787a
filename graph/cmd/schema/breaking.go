package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// comparison collects what breaks clients. The kinds are those of graphql-js' findBreakingChanges.
type comparison struct{ found []string }

// breaking tells, in order, what a client of the schema before may rely on that the schema after does not keep: what
// is gone, what answers may hold that they could not, and what requests need that they did not. New members of enums,
// unions and interfaces in answers are no breaks: clients have to expect them.
func breaking(before, after *ast.Schema) []string {
	var c comparison
	for _, name := range slices.Sorted(maps.Keys(before.Types)) {
		was, is := before.Types[name], after.Types[name]
		if was.BuiltIn {
			continue
		}
		switch {
		case is == nil:
			c.add("type %s is gone", name)
		case was.Kind != is.Kind:
			c.add("type %s was %s and is %s", name, was.Kind, is.Kind)
		default:
			c.definition(was, is)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before.Directives)) {
		was, is := before.Directives[name], after.Directives[name]
		if is == nil {
			c.add("directive @%s is gone", name)
			continue
		}
		c.arguments("@"+name, was.Arguments, is.Arguments)
		for _, l := range was.Locations {
			if !slices.Contains(is.Locations, l) {
				c.add("directive @%s is not allowed at %s any more", name, l)
			}
		}
	}
	return c.found
}

func (c *comparison) add(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

func (c *comparison) definition(was, is *ast.Definition) {
	for _, name := range was.Interfaces {
		if !slices.Contains(is.Interfaces, name) {
			c.add("type %s is no %s any more", was.Name, name)
		}
	}
	for _, name := range was.Types {
		if !slices.Contains(is.Types, name) {
			c.add("union %s has no %s any more", was.Name, name)
		}
	}
	for _, v := range was.EnumValues {
		if is.EnumValues.ForName(v.Name) == nil {
			c.add("enum value %s.%s is gone", was.Name, v.Name)
		}
	}
	for _, field := range was.Fields {
		at := was.Name + "." + field.Name
		now := is.Fields.ForName(field.Name)
		switch {
		case strings.HasPrefix(field.Name, "__"):
		case now == nil:
			c.add("field %s is gone", at)
		case was.Kind == ast.InputObject:
			if !takes(field.Type, now.Type) {
				c.add("input field %s took %s and takes %s", at, field.Type, now.Type)
			}
			c.preset("input field "+at, field.DefaultValue, now.DefaultValue)
		default:
			if !gives(field.Type, now.Type) {
				c.add("field %s gave %s and gives %s", at, field.Type, now.Type)
			}
			c.arguments(at, field.Arguments, now.Arguments)
		}
	}
	for _, field := range is.Fields {
		if was.Kind == ast.InputObject && was.Fields.ForName(field.Name) == nil && required(field.Type, field.DefaultValue) {
			c.add("input field %s.%s is new and required", was.Name, field.Name)
		}
	}
}

func (c *comparison) arguments(at string, was, is ast.ArgumentDefinitionList) {
	for _, a := range was {
		now := is.ForName(a.Name)
		if now == nil {
			c.add("argument %s(%s) is gone", at, a.Name)
			continue
		}
		if !takes(a.Type, now.Type) {
			c.add("argument %s(%s) took %s and takes %s", at, a.Name, a.Type, now.Type)
		}
		c.preset(fmt.Sprintf("argument %s(%s)", at, a.Name), a.DefaultValue, now.DefaultValue)
	}
	for _, a := range is {
		if was.ForName(a.Name) == nil && required(a.Type, a.DefaultValue) {
			c.add("argument %s(%s) is new and required", at, a.Name)
		}
	}
}

// preset compares what is taken when a request says nothing.
func (c *comparison) preset(at string, was, is *ast.Value) {
	if was != nil && (is == nil || was.String() != is.String()) {
		c.add("%s was %s when absent, and is not any more", at, was)
	}
}

func required(t *ast.Type, preset *ast.Value) bool { return t.NonNull && preset == nil }

// gives tells whether every answer of type is was possible for type was: null may be ruled out, not let in.
func gives(was, is *ast.Type) bool {
	if was.NonNull && !is.NonNull || (was.Elem == nil) != (is.Elem == nil) {
		return false
	}
	if was.Elem != nil {
		return gives(was.Elem, is.Elem)
	}
	return was.NamedType == is.NamedType
}

// takes tells whether type is takes every value that type was took: null may be let in, not ruled out.
func takes(was, is *ast.Type) bool {
	if is.NonNull && !was.NonNull || (was.Elem == nil) != (is.Elem == nil) {
		return false
	}
	if was.Elem != nil {
		return takes(was.Elem, is.Elem)
	}
	return was.NamedType == is.NamedType
}
