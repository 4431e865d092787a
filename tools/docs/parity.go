package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/trackway/trackway/graph"
)

// pair is what does the same at the two doors. A side that is missing has its reason.
type pair struct {
	operations []string // of REST; none has the reason
	fields     []string // of GraphQL, as Type.field; none has the reason
	reason     string   // why a side is missing, or what else there is to know
}

// pairs says which operation and which field do the same. A test fails for one that stands nowhere here.
func pairs() []pair {
	one := func(operation, field string) pair {
		return pair{operations: []string{operation}, fields: []string{field}}
	}
	return []pair{
		{operations: []string{"getIndex"}, reason: "GraphQL describes itself, by introspection"},
		{fields: []string{"Query.node", "Query.nodes"}, reason: "REST has a path for each noun"},
		{
			fields: []string{
				"Subscription.taskChanged", "Subscription.commentAdded", "Subscription.projectChanged", "Subscription.notifications",
			},
			reason: "a REST answer is no stream",
		},
		one("register", "Mutation.register"),
		one("login", "Mutation.login"),
		{
			operations: []string{"exchangeCode"}, fields: []string{"Mutation.exchangeCode"},
			reason: "the browser's way there, /api/auth/oidc/start/ and /api/auth/oidc/callback/, is of redirects and is neither's",
		},
		one("exchangeIdToken", "Mutation.exchangeIdToken"),
		one("refreshTokens", "Mutation.refreshTokens"),
		one("logout", "Mutation.logout"),
		one("changePassword", "Mutation.changePassword"),
		one("listSessions", "Query.sessions"),
		one("deleteSession", "Mutation.endSession"),
		one("deleteSessions", "Mutation.endSessions"),
		one("requestPasswordReset", "Mutation.requestPasswordReset"),
		one("resetPassword", "Mutation.resetPassword"),
		one("requestEmailChange", "Mutation.requestEmailChange"),
		one("confirmEmailChange", "Mutation.confirmEmailChange"),
		{
			operations: []string{"listSecurityEvents", "listOwnSecurityEvents"}, fields: []string{"Query.securityEvents"},
			reason: "one's own with the viewer's id as filter",
		},
		one("listTokens", "Query.personalAccessTokens"),
		one("getToken", "Query.personalAccessToken"),
		one("createToken", "Mutation.createPersonalAccessToken"),
		one("deleteToken", "Mutation.deletePersonalAccessToken"),
		one("getMe", "Query.viewer"),
		{operations: []string{"updateMe", "replaceMe"}, fields: []string{"Mutation.updateUser"}, reason: "with the viewer's id"},
		{operations: []string{"deleteMe"}, fields: []string{"Mutation.deleteUser"}, reason: "with the viewer's id"},
		one("listUsers", "Query.users"),
		one("createUser", "Mutation.createUser"),
		one("getUser", "Query.user"),
		{operations: []string{"updateUser", "replaceUser"}, fields: []string{"Mutation.updateUser"}},
		one("deleteUser", "Mutation.deleteUser"),
		one("listProjects", "Query.projects"),
		one("createProject", "Mutation.createProject"),
		one("getProject", "Query.project"),
		{operations: []string{"updateProject", "replaceProject"}, fields: []string{"Mutation.updateProject"}},
		one("deleteProject", "Mutation.deleteProject"),
		one("restoreProject", "Mutation.restoreProject"),
		one("listMembers", "Project.members"),
		one("getMember", "Project.members"),
		one("createMember", "Mutation.addMember"),
		{operations: []string{"updateMember", "replaceMember"}, fields: []string{"Mutation.updateMember"}},
		one("deleteMember", "Mutation.removeMember"),
		one("listInvitations", "Query.invitations"),
		one("createInvitation", "Mutation.createInvitation"),
		one("getInvitation", "Query.invitation"),
		one("deleteInvitation", "Mutation.revokeInvitation"),
		one("acceptInvitation", "Mutation.acceptInvitation"),
		one("listTasks", "Query.tasks"),
		one("listProjectTasks", "Project.tasks"),
		{operations: []string{"createTask", "createProjectTask"}, fields: []string{"Mutation.createTask"}},
		one("getTask", "Query.task"),
		{operations: []string{"updateTask", "replaceTask"}, fields: []string{"Mutation.updateTask"}},
		one("deleteTask", "Mutation.deleteTask"),
		one("restoreTask", "Mutation.restoreTask"),
		one("moveTask", "Mutation.moveTask"),
		one("bulkCreateTasks", "Mutation.createTasks"),
		one("bulkUpdateTasks", "Mutation.updateTasks"),
		one("listComments", "Query.comments"),
		one("listTaskComments", "Task.comments"),
		{operations: []string{"createComment", "createTaskComment"}, fields: []string{"Mutation.createComment"}},
		one("getComment", "Query.comment"),
		{operations: []string{"updateComment", "replaceComment"}, fields: []string{"Mutation.updateComment"}},
		one("deleteComment", "Mutation.deleteComment"),
		one("restoreComment", "Mutation.restoreComment"),
	}
}

// operations gives the method and path of each operation of the OpenAPI document, by its id.
func operations(repository string) (map[string]string, error) {
	b, err := os.ReadFile(filepath.Join(repository, "services", "edge", "openapi.json"))
	if err != nil {
		return nil, err
	}
	var document struct {
		Paths map[string]map[string]struct {
			ID string `json:"operationId"` //nolint:tagliatelle // as OpenAPI writes it
		} `json:"paths"`
	}
	if err := json.Unmarshal(b, &document); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	found := map[string]string{}
	for path, methods := range document.Paths {
		for method, operation := range methods {
			if operation.ID != "" {
				found[operation.ID] = strings.ToUpper(method) + " " + path
			}
		}
	}
	return found, nil
}

// fields gives the type of each field of the GraphQL schema, as Type.field.
func fields() map[string]string {
	found := map[string]string{}
	for name, definition := range graph.Schema().Types {
		for _, field := range definition.Fields {
			if !strings.HasPrefix(name, "__") && !strings.HasPrefix(field.Name, "__") {
				found[name+"."+field.Name] = field.Type.String()
			}
		}
	}
	return found
}

// gaps says what stands in no pair, and what pairs name that is not there.
func gaps(operations, fields map[string]string) (wrong []string) {
	named, namedFields := map[string]bool{}, map[string]bool{}
	for _, p := range pairs() {
		for _, id := range p.operations {
			if operations[id] == "" {
				wrong = append(wrong, fmt.Sprintf("REST has no operation %s, which does what %q do", id, p.fields))
			}
			if named[id] {
				wrong = append(wrong, "the operation "+id+" stands in two pairs")
			}
			named[id] = true
		}
		for _, field := range p.fields {
			if fields[field] == "" {
				wrong = append(wrong, fmt.Sprintf("GraphQL has no field %s, which does what %q do", field, p.operations))
			}
			namedFields[field] = true
		}
		if (len(p.operations) == 0 || len(p.fields) == 0) && p.reason == "" {
			wrong = append(wrong, fmt.Sprintf("%q and %q: a side is missing without a reason", p.operations, p.fields))
		}
	}
	for id := range operations {
		if !named[id] {
			wrong = append(wrong, "the operation "+id+" has no pair")
		}
	}
	for field := range fields {
		root, _, _ := strings.Cut(field, ".")
		if (root == "Query" || root == "Mutation" || root == "Subscription") && !namedFields[field] {
			wrong = append(wrong, "the field "+field+" has no pair")
		}
	}
	slices.Sort(wrong)
	return wrong
}

// parity is the Markdown of the pairs.
func parity(operations map[string]string) string {
	var b strings.Builder
	b.WriteString("# REST beside GraphQL\n\nWritten by `go run ./tools/docs` from the two schemas and `tools/docs/parity.go`; a test fails while " +
		"one side can do\nwhat the other can not. The query, filters and orders are the same on both sides.\n\n" +
		"| REST | operation | GraphQL | note |\n|---|---|---|---|\n")
	for _, p := range pairs() {
		var paths []string
		for _, id := range p.operations {
			paths = append(paths, operations[id])
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", code(paths), code(p.operations), code(p.fields), escape(p.reason))
	}
	return b.String()
}

// code writes names as such, or a dash for none.
func code(names []string) string {
	if len(names) == 0 {
		return "–"
	}
	return "`" + strings.Join(names, "`, `") + "`"
}
