package scalar

import (
	"slices"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// The enums of the schema are those of the contract without their prefix: STATUS_TODO is TODO. They are bound here and
// not by gqlgen's enum_values, which reads a name that it does not know as the first value, without an error.

func write(e protoreflect.Enum, prefix string) graphql.Marshaler {
	v := e.Descriptor().Values().ByNumber(e.Number())
	if v == nil || v.Number() == 0 {
		return graphql.Null // unspecified; a field that is never null then fails, as it should
	}
	return graphql.MarshalString(strings.TrimPrefix(string(v.Name()), prefix))
}

func read[E protoreflect.Enum](in any, prefix string) (E, error) {
	var zero E
	s, _ := in.(string)
	v := zero.Descriptor().Values().ByName(protoreflect.Name(prefix + s))
	if v == nil || v.Number() == 0 {
		return zero, errs.New(errs.Invalid, "There is no such value.")
	}
	e, _ := zero.Type().New(v.Number()).(E)
	return e, nil
}

// MarshalTokenScope writes a scope, such as tasks:read, as TASKS_READ.
func MarshalTokenScope(s string) graphql.Marshaler {
	return graphql.MarshalString(strings.ToUpper(strings.ReplaceAll(s, ":", "_")))
}

// UnmarshalTokenScope reads a scope.
func UnmarshalTokenScope(v any) (string, error) {
	s, _ := v.(string)
	s = strings.ToLower(strings.ReplaceAll(s, "_", ":"))
	if !slices.Contains(auth.Scopes(), auth.Scope(s)) {
		return "", errs.New(errs.Invalid, "There is no such value.")
	}
	return s, nil
}

// MarshalUserRole writes a users.v1.Role.
func MarshalUserRole(e usersv1.Role) graphql.Marshaler { return write(e, "ROLE_") }

// UnmarshalUserRole reads a users.v1.Role.
func UnmarshalUserRole(v any) (usersv1.Role, error) { return read[usersv1.Role](v, "ROLE_") }

// MarshalProjectRole writes a projects.v1.Role.
func MarshalProjectRole(e projectsv1.Role) graphql.Marshaler { return write(e, "ROLE_") }

// UnmarshalProjectRole reads a projects.v1.Role.
func UnmarshalProjectRole(v any) (projectsv1.Role, error) {
	return read[projectsv1.Role](v, "ROLE_")
}

// MarshalProjectVisibility writes a projects.v1.Visibility.
func MarshalProjectVisibility(e projectsv1.Visibility) graphql.Marshaler {
	return write(e, "VISIBILITY_")
}

// UnmarshalProjectVisibility reads a projects.v1.Visibility.
func UnmarshalProjectVisibility(v any) (projectsv1.Visibility, error) {
	return read[projectsv1.Visibility](v, "VISIBILITY_")
}

// MarshalTaskStatus writes a tasks.v1.Status.
func MarshalTaskStatus(e tasksv1.Status) graphql.Marshaler { return write(e, "STATUS_") }

// UnmarshalTaskStatus reads a tasks.v1.Status.
func UnmarshalTaskStatus(v any) (tasksv1.Status, error) { return read[tasksv1.Status](v, "STATUS_") }

// MarshalTaskPriority writes a tasks.v1.Priority.
func MarshalTaskPriority(e tasksv1.Priority) graphql.Marshaler { return write(e, "PRIORITY_") }

// UnmarshalTaskPriority reads a tasks.v1.Priority.
func UnmarshalTaskPriority(v any) (tasksv1.Priority, error) {
	return read[tasksv1.Priority](v, "PRIORITY_")
}
