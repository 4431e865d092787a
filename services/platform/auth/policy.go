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

// policy is the policy table: the least role that each permission takes.
//
//nolint:gochecknoglobals // a constant, as far as Go has them
var policy = map[Permission]Role{
	ReadProject:     Viewer,
	WriteComments:   Commenter,
	WriteTasks:      Member,
	DeleteTasks:     Member,
	ModerateComment: Admin,
	UpdateProject:   Admin,
	ManageMembers:   Admin,
	DeleteProject:   Owner,
	ManageOwners:    Owner,
}

// Allows reports whether the role may do this.
func (r Role) Allows(p Permission) bool {
	least, known := policy[p]
	return known && r >= least
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

// RequireAdmin is nil for a global admin, Denied for anybody else.
func RequireAdmin(ctx context.Context) error {
	if !CallerFrom(ctx).Admin {
		return errs.New(errs.Denied, "Only administrators may do this.")
	}
	return nil
}
