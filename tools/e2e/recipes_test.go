package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/trackway/trackway/tools/system"
)

const (
	mailTimeout = 30 * time.Second
	otherPhrase = "thirteen red candles"
)

// recipes sends each operation one request that it must do what it is for, in an order in which each finds what those
// before it made. Chance decides nothing here. Secrets that only mails hold are read where this machine shows mails.
func (f *fuzzer) recipes(p *program) {
	f.t.Helper()
	r := &recipes{fuzzer: f, program: p, operations: map[string]operation{}}
	for _, op := range f.spec.operations() {
		r.operations[op.id] = op
	}
	r.accounts()
	project := r.projects()
	r.tasks(project)
	r.do("deleteProject", nil, project)
	r.do("restoreProject", nil, project)
	r.leave()
	r.administration()
}

// recipes are the requests of one person after the other.
type recipes struct {
	*fuzzer

	program    *program
	operations map[string]operation
	token      string // of who asks now
}

// do sends the operation a request, which must succeed, and gives what is answered. Its path has the variables.
func (r *recipes) do(id string, body any, variables ...any) any {
	r.t.Helper()
	op, ok := r.operations[id]
	if !ok {
		r.t.Fatalf("there is no operation %s", id)
	}
	target := path(regexp.MustCompile(`\{\w+\}`).ReplaceAllString(op.path, "%v"), variables...)
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			r.t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(r.t.Context()), op.method, r.client.url+target, bytes.NewReader(content))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	r.who = "cook"
	sent := fmt.Sprintf("%s %s\n%.600q", op.method, target, content)
	status, answer := r.exchange(op, req, sent)
	if !success(status) {
		r.t.Fatalf("%s is answered with %d %v:\n%s", id, status, answer, sent)
	}
	return answer
}

// make is do, and gives the id of what was made.
func (r *recipes) make(id string, body any, variables ...any) any {
	r.t.Helper()
	return as[object](r.t, r.do(id, body, variables...))["id"]
}

// login signs in, and gives the refresh token.
func (r *recipes) login(email, password string) any {
	r.t.Helper()
	r.token = ""
	tokens := as[object](r.t, r.do("login", object{"email": email, "password": password}))
	r.token = as[string](r.t, tokens["access_token"])
	return tokens["refresh_token"]
}

// mailed gives the secret of a link that was mailed.
func (r *recipes) mailed(to, page string) string {
	r.t.Helper()
	link := regexp.MustCompile(`(?s)--- mail to ` + regexp.QuoteMeta(to) + `: [^\n]*---\n.*?/` + page + `#token=([\w-]+)`)
	var token string
	await(r.t, mailTimeout, "a mail to "+to, func() (bool, error) {
		found := link.FindStringSubmatch(r.program.stdout.String() + r.program.stderr.String())
		if found != nil {
			token = found[1]
		}
		return found != nil, nil
	})
	return token
}

func (r *recipes) accounts() {
	r.t.Helper()
	const email, moved = "cook@example.org", "chef@example.org"
	r.do("getIndex", nil)
	r.do("register", object{"name": "Cook", "email": email, "password": passphrase})
	r.login(email, passphrase)
	r.do("requestEmailChange", object{"email": moved, "current_password": passphrase})
	r.do("confirmEmailChange", object{"token": r.mailed(moved, "confirm-email")})
	r.token = ""
	r.do("requestPasswordReset", object{"email": moved})
	r.do("resetPassword", object{"token": r.mailed(moved, "reset-password"), "new_password": otherPhrase})
	refresh := r.login(moved, otherPhrase)
	tokens := as[object](r.t, r.do("refreshTokens", object{"refresh_token": refresh}))
	r.token = as[string](r.t, tokens["access_token"])
	r.do("changePassword", object{"current_password": otherPhrase, "new_password": passphrase})
	r.login(moved, passphrase)
	r.do("logout", nil)
	r.login(moved, passphrase)
	r.do("deleteSessions", nil)
	r.login(moved, passphrase)
	r.login(moved, passphrase)
	for _, session := range objects(r.t, r.do("listSessions", nil)) {
		if session["current"] != true {
			r.do("deleteSession", nil, session["id"])
		}
	}
	r.do("getMe", nil)
	r.do("updateMe", object{"name": "Chef"})
	r.do("replaceMe", object{"name": "Chef de cuisine"})
	r.do("listOwnSecurityEvents", nil)
	r.do("listUsers", nil)
	token := r.make("createToken", object{"name": "Till", "scopes": []string{"tasks:read"}})
	r.do("listTokens", nil)
	r.do("getToken", nil, token)
	r.do("deleteToken", nil, token)
}

func (r *recipes) projects() (project any) {
	r.t.Helper()
	const guest = "guest@example.org"
	cook := r.token
	r.token = ""
	waiter := r.make("register", object{"name": "Waiter", "email": "waiter@example.org", "password": passphrase})
	r.do("register", object{"name": "Guest", "email": guest, "password": passphrase})
	r.token = cook
	r.do("getUser", nil, waiter)
	project = r.make("createProject", object{"name": "Dinner"})
	r.do("listProjects", nil)
	r.do("getProject", nil, project)
	r.do("updateProject", object{"description": "For two"}, project)
	r.do("replaceProject", object{"name": "Dinner for two"}, project)
	r.do("createMember", object{"user_id": waiter, "role": "viewer"}, project)
	r.do("listMembers", nil, project)
	r.do("getMember", nil, project, waiter)
	r.do("updateMember", object{"role": "member"}, project, waiter)
	r.do("replaceMember", object{"role": "admin"}, project, waiter)
	r.do("deleteMember", nil, project, waiter)
	again := r.make("createInvitation", object{"email": "nobody@example.org", "role": "viewer"}, project)
	r.do("getInvitation", nil, project, again)
	r.do("deleteInvitation", nil, project, again)
	r.do("createInvitation", object{"email": guest, "role": "member"}, project)
	r.do("listInvitations", nil, project)
	r.login(guest, passphrase)
	r.do("acceptInvitation", object{"token": r.mailed(guest, "accept-invitation")})
	r.token = cook
	return project
}

func (r *recipes) tasks(project any) {
	r.t.Helper()
	task := r.make("createTask", object{"project_id": project, "title": "Soup"})
	other := r.make("createProjectTask", object{"title": "Fish"}, project)
	r.do("listTasks", nil)
	r.do("listProjectTasks", nil, project)
	r.do("getTask", nil, task)
	r.do("updateTask", object{"priority": "high"}, task)
	r.do("replaceTask", object{"title": "Cold soup"}, task)
	r.do("moveTask", object{"after_id": other}, task)
	r.do("bulkCreateTasks", object{"tasks": []object{{"project_id": project, "title": "Bread"}}})
	r.do("bulkUpdateTasks", object{"tasks": []object{{"id": task, "completed": true}}})
	comment := r.make("createComment", object{"task_id": task, "body": "Salt"})
	r.do("createTaskComment", object{"body": "Pepper"}, task)
	r.do("listComments", nil)
	r.do("listTaskComments", nil, task)
	r.do("getComment", nil, comment)
	r.do("updateComment", object{"body": "More salt"}, comment)
	r.do("replaceComment", object{"body": "Less salt"}, comment)
	r.do("deleteComment", nil, comment)
	r.do("restoreComment", nil, comment)
	r.do("deleteTask", nil, task)
	r.do("restoreTask", nil, task)
}

// leave deletes an account that owns nothing.
func (r *recipes) leave() {
	r.t.Helper()
	r.login("waiter@example.org", passphrase)
	r.do("deleteMe", nil)
}

// administration is what only administrators may do.
func (r *recipes) administration() {
	r.t.Helper()
	r.login(system.AdminEmail, strings.TrimSpace(r.callers[len(r.callers)-1].password))
	user := r.make("createUser", object{"name": "Temp", "email": "temp@example.org", "password": passphrase})
	r.do("updateUser", object{"name": "Temporary"}, user)
	r.do("replaceUser", object{"name": "Temporary help"}, user)
	r.do("deleteUser", nil, user)
	r.do("listSecurityEvents", nil)
}
