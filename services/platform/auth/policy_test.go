package auth

import (
	"testing"

	"github.com/trackway/trackway/services/platform/errs"
)

func TestThePolicyTableIsTotal(t *testing.T) {
	t.Parallel()
	roles := []Role{NoRole, Viewer, Commenter, Member, Admin, Owner}
	table := map[Permission]string{ // y: the role of this column may
		ReadProject:     "-yyyyy",
		WriteComments:   "--yyyy",
		WriteTasks:      "---yyy",
		DeleteTasks:     "---yyy",
		ModerateComment: "----yy",
		UpdateProject:   "----yy",
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
			may := row[i] == 'y'
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
