package auth

import (
	"testing"

	"github.com/trackway/trackway/services/platform/errs"
)

func TestThePolicyTableIsTotal(t *testing.T) {
	t.Parallel()
	roles := []Role{NoRole, Viewer, Commenter, Member, Admin, Owner}
	table := map[Permission]string{ // y: the role of this column may, in a project that is archived, too; Y: not there
		ReadProject:     "-yyyyy",
		WriteComments:   "--YYYY",
		WriteTasks:      "---YYY",
		DeleteTasks:     "---YYY",
		ModerateComment: "----YY",
		UpdateProject:   "----YY",
		ManageMembers:   "----yy",
		DeleteProject:   "-----y",
		ManageOwners:    "-----y",
		"no.such":       "------",
	}
	for p := range policy {
		if _, ok := table[p]; !ok {
			t.Errorf("%s: got no row, want one", p)
		}
	}
	for p, row := range table {
		for i, r := range roles {
			may := row[i] != '-'
			if got := r.Allows(p); got != may {
				t.Errorf("%s by role %d: got %v, want %v", p, r, got, may)
			}
			var want errs.Code
			switch {
			case may:
			case r == NoRole:
				want = errs.NotFound
			default:
				want = errs.Denied
			}
			err := r.Require(p, "project")
			if want == "" && err != nil || want != "" && !errs.Is(err, want) {
				t.Errorf("%s required of role %d: got %v, want %q", p, r, err, want)
			}
			if may && (p.RequireInUse(true) == nil) != (row[i] == 'y') {
				t.Errorf("%s of an archived project: got %v, want %c", p, p.RequireInUse(true), row[i])
			}
			if err := p.RequireInUse(false); err != nil {
				t.Errorf("%s of a project in use: %v", p, err)
			}
		}
	}
}

func TestARoleIsTheUsersOwnAndWhatEverybodyHas(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		own           Role
		public, admin bool
		want          Role
	}{
		{NoRole, false, false, NoRole},
		{NoRole, true, false, Viewer},
		{NoRole, false, true, Admin},
		{Member, true, false, Member},
		{Member, true, true, Admin},
		{Owner, true, true, Owner},
	} {
		if got := RoleIn(tt.own, tt.public, tt.admin); got != tt.want {
			t.Errorf("%+v: got %d", tt, got)
		}
	}
}

func TestOnlyGlobalAdminsPassAsAdmins(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		caller *Caller
		want   errs.Code
	}{{nil, errs.Denied}, {&Caller{UserID: 7}, errs.Denied}, {&Caller{UserID: 7, Admin: true}, ""}} {
		ctx := t.Context()
		if tt.caller != nil {
			ctx = WithCaller(ctx, tt.caller)
		}
		if err := RequireAdmin(ctx); tt.want == "" && err != nil || tt.want != "" && !errs.Is(err, tt.want) {
			t.Errorf("%+v: got %v, want %q", tt.caller, err, tt.want)
		}
	}
}
