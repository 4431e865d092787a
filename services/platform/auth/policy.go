package auth

import (
	"context"
	"slices"
	"strings"

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
		e := errs.New(errs.Denied, "Your role in this project does not allow %s.", p)
		e.Permission = string(p)
		return e
	}
}

// Roles are those that allow this, from the least; none if there is no such permission.
func (p Permission) Roles() []Role { return p.among(NoRole) }

// Grantors are the roles that can give others one which allows this: they manage members, and give no more than they have.
func (p Permission) Grantors() []Role { return p.among(policy[ManageMembers].least) }

// among gives the roles from the least on that allow this.
func (p Permission) among(least Role) []Role {
	var all []Role
	for r := max(least, Viewer); r <= Owner; r++ {
		if r.Allows(p) {
			all = append(all, r)
		}
	}
	return all
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

// Scope is one thing that a personal access token may be used for. It takes away from what the user may do, and never
// adds to it.
type Scope string

// The scopes. Whoever may write may read what is written.
const (
	ReadProjectsScope  Scope = "projects:read"
	WriteProjectsScope Scope = "projects:write"
	ReadTasksScope     Scope = "tasks:read"
	WriteTasksScope    Scope = "tasks:write"
	ReadCommentsScope  Scope = "comments:read"
	WriteCommentsScope Scope = "comments:write"
	ReadUsersScope     Scope = "users:read"
	WriteUsersScope    Scope = "users:write"
	// AdminScope leaves a global admin one; with it alone nothing can be done.
	AdminScope Scope = "admin"
)

// Scopes lists every scope.
func Scopes() []Scope {
	return []Scope{
		ReadProjectsScope, WriteProjectsScope, ReadTasksScope, WriteTasksScope, ReadCommentsScope, WriteCommentsScope,
		ReadUsersScope, WriteUsersScope, AdminScope,
	}
}

// scopes is the scope table, beside the policy table: what a personal access token needs to call each RPC. Any one of a
// row is enough, and the first is what a refusal names. An RPC with an empty row takes a session; so does one without
// a row, which a test finds. RPCs that need no token are not here.
//
//nolint:gochecknoglobals // a constant, as far as Go has them
var scopes = func() map[string][]Scope {
	table := make(map[string][]Scope)
	rows := func(service, methods string, enough ...Scope) {
		for method := range strings.FieldsSeq(methods) {
			table[service+method] = enough
		}
	}
	const (
		users    = "/users.v1.UsersService/"
		projects = "/projects.v1.ProjectsService/"
		tasks    = "/tasks.v1.TasksService/"
	)
	rows(users, "BatchGetUsers ListUsers", ReadUsersScope)
	rows(users, "GetUser", ReadUsersScope, WriteProjectsScope) // who adds a member names a user
	rows(users, "CreateUser UpdateUser", WriteUsersScope)
	rows(users, "ListSecurityEvents", AdminScope)
	rows(users, `DeleteUser Logout ChangePassword RequestEmailChange ListSessions DeleteSession DeleteSessions
		CreateToken GetToken ListTokens DeleteToken`)
	rows(projects, `GetProject BatchGetProjects ListProjects GetMember ListMembers BatchListMembers ListEvents
		GetInvitation ListInvitations`, ReadProjectsScope)
	rows(projects, "CreateProject UpdateProject DeleteProject RestoreProject CreateMember UpdateMember DeleteMember "+
		"CreateInvitation DeleteInvitation", WriteProjectsScope)
	rows(projects, "AcceptInvitation")
	rows(projects, "BatchGetAccess ListAccess ExplainAccess", Scopes()...) // how every other service finds out what the caller may
	rows(tasks, "GetTask BatchGetTasks ListTasks BatchListTasks BatchListSubtasks", ReadTasksScope)
	rows(tasks, "CreateTask UpdateTask DeleteTask RestoreTask MoveTask BatchCreateTasks BatchUpdateTasks", WriteTasksScope)
	rows(tasks, "GetComment BatchGetComments ListComments BatchListComments", ReadCommentsScope)
	rows(tasks, "ListEvents", ReadTasksScope, ReadCommentsScope) // which leaves out what the scopes do not cover
	rows(tasks, "CreateComment UpdateComment DeleteComment RestoreComment", WriteCommentsScope)
	return table
}()

// ReadScope is the scope that reading about a noun takes, be it a thing or an event about it; "" when no scope allows it.
func ReadScope(noun string) Scope {
	switch noun {
	case "project", "member":
		return ReadProjectsScope
	case "task":
		return ReadTasksScope
	case "comment":
		return ReadCommentsScope
	case "user":
		return ReadUsersScope
	default:
		return ""
	}
}

// ScopesOf gives the row of an RPC, named in full, in the scope table.
func ScopesOf(method string) (enough []Scope, known bool) {
	enough, known = scopes[method]
	return enough, known
}

// Has reports whether the caller may use the scope, which all sessions may.
func (c *Caller) Has(s Scope) bool {
	if c.Scopes == nil || slices.Contains(c.Scopes, s) {
		return true
	}
	noun, reads := strings.CutSuffix(string(s), ":read")
	return reads && slices.Contains(c.Scopes, Scope(noun+":write"))
}

// RequireScope is nil if the caller's token may be used for an RPC, named in full. Each service asks it before every
// call, and whoever answers without asking a service must ask it, too.
func (c *Caller) RequireScope(method string) error {
	row := scopes[method]
	switch {
	case c.Scopes == nil || slices.ContainsFunc(row, c.Has):
		return nil
	case len(row) == 0:
		return errs.New(errs.Denied, "A personal access token can not be used for this. Sign in.")
	default:
		e := errs.New(errs.InsufficientScope, "The token lacks the scope %s.", row[0])
		e.Scope = string(row[0])
		return e
	}
}

// RequireSession is nil unless the caller's token is a personal access token, which can not be used for what is asked.
func RequireSession(ctx context.Context) error {
	if CallerFrom(ctx).Scopes != nil {
		return errs.New(errs.Denied, "A personal access token can not be used for this. Sign in.")
	}
	return nil
}

// InProject reports whether the caller's token is good for things of the project, be its user a member or not.
func (c *Caller) InProject(id int64) bool {
	return c.Projects == nil || slices.Contains(c.Projects, id)
}
