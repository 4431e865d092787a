package access

import (
	"context"
	"strings"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	"github.com/trackway/trackway/services/users/oidctest"
)

// row says what some operations take. Every operation of the OpenAPI document, every field of GraphQL's root types and
// every other field with arguments has at least one; a test fails for those that have none.
type row struct {
	about   string // beside the names, if they have several rows
	rest    string // ids of the OpenAPI document, separated by spaces
	graphql string // Type.field, separated by spaces
	rule    rule
	// rpcs are those that it calls, by their names, of which the scope table says what a personal access token needs;
	// graphRPCs are those of GraphQL where they are others.
	rpcs, graphRPCs string
	open            bool // nobody need sign in
	anywhere        bool // it is about no project
	with            want
	// before prepares the scene, in the name of the owner or of the comment's author.
	before func(ctx context.Context, w *world, s scene) error
	// spends is for what ends the caller's own account or session: each caller gets one to lose.
	spends bool
}

// rule is what becomes of it: the code of what goes wrong, or "". It asks the policy table.
type rule func(c caller, at place) errs.Code

// caller is who asks.
type caller struct {
	name   string
	user   int64
	role   auth.Role // as a member of the scene's project
	admin  bool      // a global one
	token  string
	scopes []auth.Scope // of a personal access token; nil for a session
	always errs.Code    // what comes of everything that the caller asks for; "" if that depends
}

// in is the caller's role in the project.
func (c caller) in(at place) auth.Role { return auth.RoleIn(c.role, at.public, c.admin) }

// has is for what takes a permission in the project, be it archived or not.
func has(p auth.Permission) rule {
	return func(c caller, at place) errs.Code { return code(c.in(at).Require(p, "thing")) }
}

// takes is for what takes a permission in the project, and a project that is not archived if the table says so.
func takes(p auth.Permission) rule {
	return then(has(p), func(_ caller, at place) errs.Code { return code(p.RequireInUse(at.archived)) })
}

func code(err error) errs.Code {
	if err == nil {
		return ""
	}
	return errs.From(err).Code
}

// scoped is what becomes of a personal access token's call of the RPCs, by the scope table.
func (c caller) scoped(rpcs string) errs.Code {
	for name := range strings.FieldsSeq(rpcs) {
		method := ""
		for _, service := range []string{"/users.v1.UsersService/", "/projects.v1.ProjectsService/", "/tasks.v1.TasksService/"} {
			if _, known := auth.ScopesOf(service + name); known {
				method = service + name
			}
		}
		if code := code((&auth.Caller{Scopes: c.scopes}).RequireScope(method)); code != "" {
			return code
		}
	}
	return ""
}

// then is for what takes all of the rules, of which the first that fails counts.
func then(rules ...rule) rule {
	return func(c caller, at place) errs.Code {
		for _, r := range rules {
			if code := r(c, at); code != "" {
				return code
			}
		}
		return ""
	}
}

// always is for what is answered so to everybody.
func always(code errs.Code) rule { return func(caller, place) errs.Code { return code } }

// governs is for what only global admins may do.
func governs(c caller, _ place) errs.Code {
	return code(auth.RequireAdmin(auth.WithCaller(context.Background(), &auth.Caller{Admin: c.admin})))
}

// isMember is for what only members can do, as it is about their own place in the project.
func isMember(c caller, _ place) errs.Code {
	if c.role == auth.NoRole {
		return errs.NotFound
	}
	return ""
}

// notOwner is for what a project's owner can not do: the project would be without one.
func notOwner(c caller, _ place) errs.Code {
	if c.role == auth.Owner {
		return errs.Conflict
	}
	return ""
}

// trashed is for a project in the trash, which only its owner knows of.
func trashed(c caller, at place) errs.Code {
	if !c.in(at).Allows(auth.DeleteProject) {
		return errs.NotFound
	}
	return ""
}

// table is the table of rows.
func table() []row {
	var (
		anybody = always("")
		read    = takes(auth.ReadProject)
		title   = want{"title": "New"}
		body    = want{"body": "New"}
		other   = want{"id": from("other"), "body": "New"} // somebody else's comment
		owner   = want{"user_id": from("owner"), "role": enum("viewer")}
	)
	return []row{
		// Nobody need sign in.
		{rest: "getIndex", open: true, anywhere: true, rule: always("")},
		{rest: "register", graphql: "Mutation.register", open: true, anywhere: true, rule: always("")},
		{rest: "login", graphql: "Mutation.login", open: true, anywhere: true, rule: always(""), spends: true},
		{rest: "refreshTokens", graphql: "Mutation.refreshTokens", open: true, anywhere: true, rule: always(""), spends: true},

		{ // Which codes work is in oidc_test.go.
			rest: "exchangeCode", graphql: "Mutation.exchangeCode", open: true, anywhere: true, rule: always(errs.Unauthenticated),
			with: want{"code": "made-up", "code_verifier": verifier},
		},
		{
			rest: "exchangeIdToken", graphql: "Mutation.exchangeIdToken", open: true, anywhere: true, rule: always(""),
			with: want{"id_token": from("id_token"), "nonce": from("nonce")},
			before: func(_ context.Context, w *world, s scene) (err error) {
				nonce := w.email("a-nonce-of")
				s["nonce"] = nonce
				s["id_token"], err = w.provider.Token(w.provider.Claims(oidctest.User{
					ID: nonce, Email: w.email("subject"), EmailVerified: true,
				}, nonce))
				return err
			},
		},

		{rest: "requestPasswordReset", graphql: "Mutation.requestPasswordReset", open: true, anywhere: true, rule: always("")},
		{rest: "resetPassword", graphql: "Mutation.resetPassword", open: true, anywhere: true, rule: always(errs.Invalid)},
		{rest: "confirmEmailChange", graphql: "Mutation.confirmEmailChange", open: true, anywhere: true, rule: always(errs.Invalid)},

		// The caller's own.
		{
			rest: "requestEmailChange", rpcs: "RequestEmailChange", graphql: "Mutation.requestEmailChange", anywhere: true,
			rule: anybody, spends: true,
		},
		{rest: "listOwnSecurityEvents", rpcs: "ListSecurityEvents", anywhere: true, rule: anybody},
		{
			rest: "listSecurityEvents", rpcs: "ListSecurityEvents", graphql: "Query.securityEvents", anywhere: true,
			rule: governs,
		},
		{rest: "getMe", rpcs: "GetUser", graphRPCs: "BatchGetUsers", graphql: "Query.viewer", anywhere: true, rule: anybody},
		{rest: "updateMe replaceMe", rpcs: "UpdateUser", anywhere: true, rule: anybody, with: want{"name": "New"}, spends: true},
		{rest: "deleteMe", rpcs: "DeleteUser", anywhere: true, rule: anybody, spends: true},
		{rest: "logout", rpcs: "Logout", graphql: "Mutation.logout", anywhere: true, rule: anybody, spends: true},
		{rest: "changePassword", rpcs: "ChangePassword", graphql: "Mutation.changePassword", anywhere: true, rule: anybody, spends: true},
		{rest: "listSessions", rpcs: "ListSessions", graphql: "Query.sessions", anywhere: true, rule: anybody, spends: true},
		{rest: "deleteSession", rpcs: "DeleteSession", graphql: "Mutation.endSession", anywhere: true, rule: anybody, spends: true},
		{rest: "deleteSessions", rpcs: "DeleteSessions", graphql: "Mutation.endSessions", anywhere: true, rule: anybody, spends: true},

		{
			rest: "createToken", rpcs: "CreateToken", anywhere: true, rule: anybody,
			with: want{"scopes": []any{"tasks:read"}},
		},
		{
			graphql: "Mutation.createPersonalAccessToken", rpcs: "CreateToken", anywhere: true, rule: anybody,
			with: want{"scopes": []any{"TASKS_READ"}},
		},
		{rest: "listTokens", graphql: "Query.personalAccessTokens", rpcs: "ListTokens", anywhere: true, rule: anybody},
		{
			rest: "getToken", graphql: "Query.personalAccessToken", rpcs: "GetToken", anywhere: true, rule: anybody,
			with: want{"id": from("token")}, spends: true,
		},
		{
			rest: "deleteToken", graphql: "Mutation.deletePersonalAccessToken", rpcs: "DeleteToken", anywhere: true,
			rule: anybody, with: want{"id": from("token")}, spends: true,
		},

		// Users.
		{rest: "listUsers", rpcs: "ListUsers", graphql: "Query.users", anywhere: true, rule: anybody},
		{rest: "getUser", rpcs: "GetUser", graphRPCs: "BatchGetUsers", graphql: "Query.user", anywhere: true, rule: anybody},
		{rest: "createUser", rpcs: "CreateUser", graphql: "Mutation.createUser", anywhere: true, rule: governs},
		{
			about: "another's", rest: "updateUser replaceUser", rpcs: "UpdateUser", graphql: "Mutation.updateUser", anywhere: true,
			rule: governs, with: want{"name": "New"},
		},
		{
			about: "one's own name", rest: "updateUser replaceUser", rpcs: "UpdateUser", graphql: "Mutation.updateUser", anywhere: true,
			rule: anybody, with: want{"id": from("caller"), "name": "New"}, spends: true,
		},
		{
			about: "one's own role", rest: "updateUser replaceUser", rpcs: "UpdateUser", graphql: "Mutation.updateUser", anywhere: true,
			rule: governs, with: want{"id": from("caller"), "name": "New", "role": enum("admin")}, spends: true,
		},
		{
			about: "another", rest: "deleteUser", rpcs: "DeleteUser", graphql: "Mutation.deleteUser", anywhere: true, rule: governs,
			before: func(ctx context.Context, w *world, s scene) error {
				u, err := w.register(ctx, "deleted")
				s["user"] = u.GetId()
				return err
			},
		},
		{
			about: "oneself", rest: "deleteUser", rpcs: "DeleteUser", graphql: "Mutation.deleteUser", anywhere: true, rule: anybody,
			with: want{"id": from("caller")}, spends: true,
		},

		// Projects.
		{rest: "listProjects", rpcs: "ListProjects", graphql: "Query.projects", anywhere: true, rule: anybody},
		{rest: "createProject", rpcs: "CreateProject", graphql: "Mutation.createProject", anywhere: true, rule: anybody},
		{rest: "getProject", rpcs: "GetProject", graphRPCs: "BatchGetProjects", graphql: "Query.project", rule: read},
		{
			rest: "updateProject replaceProject", rpcs: "UpdateProject", graphql: "Mutation.updateProject", rule: takes(auth.UpdateProject),
			with: want{"name": "New", "archived": from("archived")},
		},
		{
			about: "to take it into use", rest: "updateProject replaceProject", rpcs: "UpdateProject", graphql: "Mutation.updateProject",
			rule: has(auth.UpdateProject), with: want{"name": "New", "archived": false},
		},
		{rest: "deleteProject", rpcs: "DeleteProject", graphql: "Mutation.deleteProject", rule: takes(auth.DeleteProject)},
		{
			about: "that is not deleted", rest: "restoreProject", rpcs: "RestoreProject", graphql: "Mutation.restoreProject",
			rule: takes(auth.DeleteProject),
		},
		{
			about: "in the trash", rest: "restoreProject", rpcs: "RestoreProject", graphql: "Mutation.restoreProject", rule: trashed,
			before: func(ctx context.Context, w *world, s scene) error {
				_, err := w.projects.DeleteProject(ctx, &projectsv1.DeleteProjectRequest{Id: s.id("project")})
				return err
			},
		},

		// Members.
		{rest: "listMembers", rpcs: "ListMembers", graphRPCs: "BatchGetProjects BatchListMembers", graphql: "Project.members", rule: read},
		{rest: "getMember", rpcs: "GetMember", rule: read},
		{
			rest: "createMember", rpcs: "CreateMember", graphql: "Mutation.addMember", rule: takes(auth.ManageMembers),
			with: want{"user_id": from("newcomer")},
		},
		{
			rest: "updateMember replaceMember", rpcs: "UpdateMember", graphql: "Mutation.updateMember", rule: takes(auth.ManageMembers),
			with: want{"role": enum("viewer")},
		},
		{
			about: "to the owner", rest: "updateMember replaceMember", rpcs: "UpdateMember", graphql: "Mutation.updateMember",
			rule: then(takes(auth.ManageMembers), takes(auth.ManageOwners)), with: want{"role": enum("owner")},
		},
		{
			about: "who is the owner", rest: "updateMember replaceMember", rpcs: "UpdateMember", graphql: "Mutation.updateMember",
			rule: then(takes(auth.ManageMembers), always(errs.Conflict)), with: owner,
		},
		{rest: "deleteMember", rpcs: "DeleteMember", graphql: "Mutation.removeMember", rule: takes(auth.ManageMembers)},
		{
			about: "who is the owner", rest: "deleteMember", rpcs: "DeleteMember", graphql: "Mutation.removeMember", with: owner,
			rule: func(c caller, at place) errs.Code {
				if c.role == auth.Owner {
					return errs.Conflict
				}
				return then(takes(auth.ManageMembers), always(errs.Conflict))(c, at)
			},
		},
		{
			about: "who is the caller", rest: "deleteMember", rpcs: "DeleteMember", graphql: "Mutation.removeMember",
			rule: then(read, isMember, notOwner), with: want{"user_id": from("caller")},
		},

		// Invitations.
		{rest: "listInvitations", graphql: "Query.invitations", rpcs: "ListInvitations", rule: takes(auth.ManageMembers)},
		{
			rest: "createInvitation", graphql: "Mutation.createInvitation", rpcs: "CreateInvitation",
			rule: takes(auth.ManageMembers),
		},
		{
			rest: "getInvitation", graphql: "Query.invitation", rpcs: "GetInvitation", rule: takes(auth.ManageMembers),
			before: invite,
		},
		{
			rest: "deleteInvitation", graphql: "Mutation.revokeInvitation", rpcs: "DeleteInvitation",
			rule: takes(auth.ManageMembers), before: invite,
		},
		{ // Who may accept it is in the mail; services/projects tests that.
			rest: "acceptInvitation", graphql: "Mutation.acceptInvitation", rpcs: "AcceptInvitation", anywhere: true,
			rule: always(errs.Invalid), with: want{"token": "made-up"},
		},

		// Tasks.
		{rest: "listTasks", rpcs: "ListTasks", graphql: "Query.tasks", anywhere: true, rule: anybody},
		{about: "of a project", rest: "listTasks", rpcs: "ListTasks", rule: read, with: want{"project": from("project")}},
		{about: "of a project", graphql: "Query.tasks", rpcs: "ListTasks", rule: read, with: want{"project_id": from("project")}},
		{
			about: "in the trash", rest: "listProjectTasks", rpcs: "ListTasks", graphRPCs: "BatchGetProjects BatchListTasks", rule: has(auth.DeleteTasks), with: want{"trash": true},
		},
		{rest: "listProjectTasks", rpcs: "ListTasks", graphRPCs: "BatchGetProjects BatchListTasks", graphql: "Project.tasks", rule: read},
		{rest: "getTask", rpcs: "GetTask", graphRPCs: "BatchGetTasks", graphql: "Query.task Task.subtasks", rule: read},
		{graphql: "Query.node", rpcs: "BatchGetTasks", rule: read, with: want{"id": from("global")}},
		{graphql: "Query.nodes", rpcs: "BatchGetTasks", rule: read, with: want{"ids": from("global")}},
		{
			rest: "createTask createProjectTask bulkCreateTasks", rpcs: "CreateTask", graphql: "Mutation.createTask Mutation.createTasks",
			rule: takes(auth.WriteTasks),
		},
		{
			rest: "updateTask replaceTask bulkUpdateTasks", rpcs: "UpdateTask", graphql: "Mutation.updateTask Mutation.updateTasks",
			rule: takes(auth.WriteTasks), with: title,
		},
		{rest: "deleteTask", rpcs: "DeleteTask", graphql: "Mutation.deleteTask", rule: takes(auth.DeleteTasks)},
		{
			rest: "restoreTask", rpcs: "RestoreTask", graphql: "Mutation.restoreTask", rule: takes(auth.DeleteTasks),
			before: func(ctx context.Context, w *world, s scene) error {
				_, err := w.tasks.DeleteTask(ctx, &tasksv1.DeleteTaskRequest{Id: s.id("task")})
				return err
			},
		},
		{
			rest: "moveTask", rpcs: "MoveTask", graphql: "Mutation.moveTask", rule: takes(auth.WriteTasks),
			with: want{"before_id": from("first")},
		},

		// Events.
		{
			graphql: "Subscription.projectChanged Subscription.taskChanged Subscription.commentAdded", rule: read,
			with: want{"project_id": from("project")},
		},
		{graphql: "Subscription.notifications", anywhere: true, rule: anybody},

		// Comments.
		{rest: "listComments", rpcs: "ListComments", graphql: "Query.comments", anywhere: true, rule: anybody},
		{about: "on a task", rest: "listComments", rpcs: "ListComments", rule: read, with: want{"task": from("task")}},
		{about: "on a task", graphql: "Query.comments", rpcs: "ListComments", rule: read, with: want{"task_id": from("task")}},
		{
			about: "in the trash", rest: "listTaskComments", rpcs: "ListComments", graphRPCs: "BatchGetTasks BatchListComments", rule: has(auth.WriteComments), with: want{"trash": true},
		},
		{rest: "listTaskComments", rpcs: "ListComments", graphRPCs: "BatchGetTasks BatchListComments", graphql: "Task.comments", rule: read},
		{rest: "getComment", rpcs: "GetComment", graphRPCs: "BatchGetComments", graphql: "Query.comment", rule: read},
		{
			rest: "createComment createTaskComment", rpcs: "CreateComment", graphql: "Mutation.createComment", rule: takes(auth.WriteComments),
		},
		{
			about: "one's own", rest: "updateComment replaceComment", rpcs: "UpdateComment", graphql: "Mutation.updateComment",
			rule: takes(auth.WriteComments), with: body,
		},
		{
			about: "another's", rest: "updateComment replaceComment", rpcs: "UpdateComment", graphql: "Mutation.updateComment",
			rule: then(takes(auth.WriteComments), always(errs.Denied)), with: other,
		},
		{about: "one's own", rest: "deleteComment", rpcs: "DeleteComment", graphql: "Mutation.deleteComment", rule: takes(auth.WriteComments)},
		{
			about: "another's", rest: "deleteComment", rpcs: "DeleteComment", graphql: "Mutation.deleteComment",
			rule: then(takes(auth.WriteComments), takes(auth.ModerateComment)), with: other,
		},
		{
			about: "one's own", rest: "restoreComment", rpcs: "RestoreComment", graphql: "Mutation.restoreComment", rule: takes(auth.WriteComments),
			before: func(ctx context.Context, w *world, s scene) error {
				_, err := w.tasks.DeleteComment(ctx, &tasksv1.DeleteCommentRequest{Id: s.id("comment")})
				return err
			},
		},
		{
			about: "another's", rest: "restoreComment", rpcs: "RestoreComment", graphql: "Mutation.restoreComment", with: want{"id": from("other")},
			rule: then(takes(auth.WriteComments), takes(auth.ModerateComment)),
			before: func(ctx context.Context, w *world, s scene) error {
				_, err := w.tasks.DeleteComment(ctx, &tasksv1.DeleteCommentRequest{Id: s.id("other")})
				return err
			},
		},
	}
}

// invite invites somebody, in the name of the project's admin.
func invite(ctx context.Context, w *world, s scene) error {
	i, err := w.projects.CreateInvitation(w.as(ctx, w.manager), &projectsv1.CreateInvitationRequest{
		ProjectId: s.id("project"), Email: w.email("invited"),
	})
	s["invitation"] = i.GetId()
	return err
}
