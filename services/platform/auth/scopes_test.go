package auth

import (
	"slices"
	"testing"
	"time"

	"github.com/trackway/trackway/services/platform/errs"
)

func TestATokenCarriesWhatItMayBeUsedFor(t *testing.T) {
	t.Parallel()
	i, v := issuing(t, time.Minute)
	for _, tt := range []struct {
		name  string
		grant Grant
		admin bool
	}{
		{"scopes and projects", Grant{UserID: 7, Scopes: []Scope{ReadTasksScope, WriteUsersScope}, Projects: []int64{3, 4}}, false},
		{"no scope at all", Grant{UserID: 7, Scopes: []Scope{}}, false},
		{"an admin without the scope", Grant{UserID: 7, Admin: true, Scopes: []Scope{ReadTasksScope}}, false},
		{"an admin with the scope", Grant{UserID: 7, Admin: true, Scopes: []Scope{AdminScope}}, true},
		{"a session", Grant{UserID: 7, Admin: true}, true},
	} {
		token, _, err := i.Grant(tt.grant)
		if err != nil {
			t.Fatal(err)
		}
		c, err := v.Verify(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(c.Scopes, tt.grant.Scopes) || (c.Scopes == nil) != (tt.grant.Scopes == nil) ||
			!slices.Equal(c.Projects, tt.grant.Projects) || c.Admin != tt.admin {
			t.Errorf("%s: got %+v, want %+v, admin %v", tt.name, c, tt.grant, tt.admin)
		}
	}
}

func TestATokenEndsWithWhatItWasGotFor(t *testing.T) {
	t.Parallel()
	i, v := issuing(t, time.Hour)
	until := time.Now().Add(time.Minute)
	token, life, err := i.Grant(Grant{UserID: 7, Until: until})
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if c.Expires.After(until) || life > time.Minute {
		t.Errorf("got an end at %v in %v, want none after %v", c.Expires, life, until)
	}
}

func TestWhatScopesAreFor(t *testing.T) {
	t.Parallel()
	const (
		list, create = "/tasks.v1.TasksService/ListTasks", "/tasks.v1.TasksService/CreateTask"
		access       = "/projects.v1.ProjectsService/BatchGetAccess"
		password     = "/users.v1.UsersService/ChangePassword"
	)
	for _, tt := range []struct {
		scopes []Scope
		method string
		want   errs.Code
		scope  string
	}{
		{nil, password, "", ""},
		{nil, "/unknown/RPC", "", ""},
		{[]Scope{ReadTasksScope}, list, "", ""},
		{[]Scope{WriteTasksScope}, list, "", ""}, // whoever may write may read
		{[]Scope{WriteTasksScope}, create, "", ""},
		{[]Scope{ReadTasksScope}, create, errs.InsufficientScope, "tasks:write"},
		{[]Scope{WriteCommentsScope}, list, errs.InsufficientScope, "tasks:read"},
		{[]Scope{ReadCommentsScope}, access, "", ""},
		{[]Scope{}, access, errs.InsufficientScope, "projects:read"},
		{Scopes(), password, errs.Denied, ""},
		{Scopes(), "/unknown/RPC", errs.Denied, ""},
	} {
		e := errs.From((&Caller{Scopes: tt.scopes}).RequireScope(tt.method))
		if e == nil {
			e = &errs.Error{}
		}
		if e.Code != tt.want || e.Scope != tt.scope {
			t.Errorf("%v for %s: got %s %s, want %s %s", tt.scopes, tt.method, e.Code, e.Scope, tt.want, tt.scope)
		}
		if tt.want != "" {
			if over := errs.From(e.GRPCStatus().Err()); over.Code != tt.want || over.Scope != tt.scope {
				t.Errorf("over gRPC: got %s %s, want %s %s", over.Code, over.Scope, tt.want, tt.scope)
			}
		}
	}
}
