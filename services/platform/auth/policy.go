package auth

import (
	"context"

	"github.com/trackway/trackway/services/platform/errs"
)

// Role is what a member may do in a project; each includes those before it. The numbers are those of
// projects.v1.Role.
type Role int32

// The roles, from the least to the most.
const (
	NoRole Role = iota
	Viewer
	Commenter
	Member
	Admin
	Owner
)

// Permission is one thing that a role may allow.
type Permission string

// The permissions.
const (
	ReadProject     Permission = "project.read"
	WriteComments   Permission = "comment.write"
	WriteTasks      Permission = "task.write"
	DeleteTasks     Permission = "task.delete"
	ModerateComment Permission = "comment.moderate"
	UpdateProject   Permission = "project.update"
	ManageMembers   Permission = "member.manage"
	DeleteProject   Permission = "project.delete"
	ManageOwners    Permission = "owner.manage"
)

// rule is a row of the policy table.
type rule struct {
	least    Role // who may
	archived bool // whether it goes on in a project that is archived, and so read-only
}

// policy is the policy table.
//
//nolint:gochecknoglobals // a constant, as far as Go has them
var policy = map[Permission]rule{
	ReadProject:     {Viewer, true},
	WriteComments:   {Commenter, false},
	WriteTasks:      {Member, false},
	DeleteTasks:     {Member, false},
	ModerateComment: {Admin, false},
	UpdateProject:   {Admin, false}, // but for taking it into use again
	ManageMembers:   {Admin, true},  // who may read it must not depend on whether it is in use
	DeleteProject:   {Owner, true},
	ManageOwners:    {Owner, true},
}

// RoleIn is what a user is in a project: its own role as a member, at least a viewer in a public project, and at least
// an admin if it is a global one.
func RoleIn(own Role, public, globalAdmin bool) Role {
	if public {
		own = max(own, Viewer)
	}
	if globalAdmin {
		own = max(own, Admin)
	}
	return own
}

// Allows reports whether the role may do this.
func (r Role) Allows(p Permission) bool {
	row, known := policy[p]
	return known && r >= row.least
}

// Require is nil if the role may do this. Otherwise it is NotFound when the role may not even read, because the
// caller must not learn that the thing exists, and Denied when it may.
func (r Role) Require(p Permission, noun string) error {
	switch {
	case r.Allows(p):
		return nil
	case !r.Allows(ReadProject):
		return errs.Missing(noun)
	default:
		return errs.New(errs.Denied, "Your role in this project does not allow %s.", p)
	}
}

// WhileArchived reports whether this goes on in a project that is archived.
func (p Permission) WhileArchived() bool { return policy[p].archived }

// RequireInUse is Conflict if the project is archived and that ends this.
func (p Permission) RequireInUse(archived bool) error {
	if archived && !p.WhileArchived() {
		return errs.New(errs.Conflict, "The project is archived, and nothing in it can be changed.")
	}
	return nil
}

// RequireAdmin is nil for a global admin, Denied for anybody else.
func RequireAdmin(ctx context.Context) error {
	if !CallerFrom(ctx).Admin {
		return errs.New(errs.Denied, "Only administrators may do this.")
	}
	return nil
}
