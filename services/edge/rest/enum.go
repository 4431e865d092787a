package rest

import (
	"github.com/danielgtaylor/huma/v2"

	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// enum is the one place where the values of an enumeration have their public names. A value without a name, the
// unspecified one, is the empty name.
type enum[N ~string, P comparable] []struct {
	name  N
	value P
}

func (e enum[N, P]) proto(name N) P {
	for _, row := range e {
		if row.name == name {
			return row.value
		}
	}
	var none P
	return none
}

func (e enum[N, P]) protos(names []N) []P {
	values := make([]P, 0, len(names))
	for _, n := range names {
		values = append(values, e.proto(n))
	}
	return values
}

func (e enum[N, P]) rest(value P) N {
	for _, row := range e {
		if row.value == value {
			return row.name
		}
	}
	return ""
}

func (e enum[N, P]) schema() *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for _, row := range e {
		s.Enum = append(s.Enum, string(row.name))
	}
	return s
}

// The public names. They are tables, which nothing writes to.
//
//nolint:gochecknoglobals // constants that Go has no form for
var (
	statuses = enum[Status, tasksv1.Status]{
		{"todo", tasksv1.Status_STATUS_TODO},
		{"in_progress", tasksv1.Status_STATUS_IN_PROGRESS},
		{"done", tasksv1.Status_STATUS_DONE},
		{"cancelled", tasksv1.Status_STATUS_CANCELLED},
	}
	priorities = enum[Priority, tasksv1.Priority]{
		{"none", tasksv1.Priority_PRIORITY_NONE},
		{"low", tasksv1.Priority_PRIORITY_LOW},
		{"medium", tasksv1.Priority_PRIORITY_MEDIUM},
		{"high", tasksv1.Priority_PRIORITY_HIGH},
		{"urgent", tasksv1.Priority_PRIORITY_URGENT},
	}
	visibilities = enum[Visibility, projectsv1.Visibility]{
		{"private", projectsv1.Visibility_VISIBILITY_PRIVATE},
		{"public", projectsv1.Visibility_VISIBILITY_PUBLIC},
	}
	memberRoles = enum[MemberRole, projectsv1.Role]{
		{"viewer", projectsv1.Role_ROLE_VIEWER},
		{"commenter", projectsv1.Role_ROLE_COMMENTER},
		{"member", projectsv1.Role_ROLE_MEMBER},
		{"admin", projectsv1.Role_ROLE_ADMIN},
		{"owner", projectsv1.Role_ROLE_OWNER},
	}
	userRoles = enum[UserRole, usersv1.Role]{
		{"user", usersv1.Role_ROLE_USER},
		{"admin", usersv1.Role_ROLE_ADMIN},
	}
)

// Status is where a task stands.
type Status string

// Schema lists the values.
func (Status) Schema(huma.Registry) *huma.Schema { return statuses.schema() }

// Proto is the status of tasks.v1, or unspecified for what is none.
func (s Status) Proto() tasksv1.Status { return statuses.proto(s) }

// Priority is how urgent a task is.
type Priority string

// Schema lists the values.
func (Priority) Schema(huma.Registry) *huma.Schema { return priorities.schema() }

// Visibility is who may read a project.
type Visibility string

// Schema lists the values.
func (Visibility) Schema(huma.Registry) *huma.Schema { return visibilities.schema() }

// MemberRole is what a member may do in a project.
type MemberRole string

// Schema lists the values.
func (MemberRole) Schema(huma.Registry) *huma.Schema { return memberRoles.schema() }

// UserRole is what a user may do in the whole installation.
type UserRole string

// Schema lists the values.
func (UserRole) Schema(huma.Registry) *huma.Schema { return userRoles.schema() }
