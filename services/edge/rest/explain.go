package rest

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trackway/trackway/services/platform/errs"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// explainName is the parameter of the query that asks for an [Explanation].
const explainName = "explain"

// Explanation says what the caller's role lacked, and who could mend that. It is given of what the caller can see, and so
// never with a 404.
type Explanation struct {
	Permission string       `json:"permission" maxLength:"100" pattern:"^[a-z.]+$" example:"task.write" doc:"What the caller's role does not allow."`
	ProjectID  int64        `json:"project_id" minimum:"1" example:"1" doc:"The project in which it does not."`
	Roles      []MemberRole `json:"roles" maxItems:"5" doc:"The roles that would, from the least."`
	GrantedBy  []MemberRole `json:"granted_by" maxItems:"5" doc:"The roles that can give one of these."`
	Grantors   []Grantor    `json:"grantors" maxItems:"50" doc:"The members who have one of the latter, the owner first."`
}

// Grantor is a member who can give others a role.
type Grantor struct {
	UserID int64      `json:"user_id" minimum:"1" example:"1" doc:"The user."`
	Role   MemberRole `json:"role" example:"owner" doc:"The member's own role."`
}

// explainParameter describes the parameter.
func explainParameter() *huma.Param {
	return &huma.Param{
		Name: explainName, In: "query", Schema: &huma.Schema{Type: huma.TypeBoolean, Default: false},
		Description: "Whether a 403 is to say which permission is missing, and who could grant it.",
	}
}

type explainKey struct{}

// asksWhy keeps whether the request asks for an explanation, for the operation.
func asksWhy(r *http.Request) *http.Request {
	if r.URL.RawQuery == "" || r.URL.Query().Get(explainName) != "true" {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), explainKey{}, true))
}

// explained is an error with its explanation.
type explained struct {
	error

	why *Explanation
}

// Unwrap gives the error.
func (e *explained) Unwrap() error { return e.error }

// explain adds to an error why it is one, if the caller asks for that and a role is the reason. An explanation that can not
// be had is left out.
func (a *api) explain(ctx context.Context, err error) error {
	e, ok := errors.AsType[*errs.Error](errs.From(err))
	if ctx.Value(explainKey{}) == nil || !ok || e.Code != errs.Denied || e.Permission == "" {
		return err
	}
	res, failed := a.projects.ExplainAccess(ctx, &projectsv1.ExplainAccessRequest{ProjectId: e.Project, Permission: e.Permission})
	if failed != nil {
		a.report(ctx, "explain", failed)
		return err
	}
	why := &Explanation{
		Permission: e.Permission, ProjectID: e.Project, Roles: roles(res.GetRoles()), GrantedBy: roles(res.GetGrantedBy()),
		Grantors: make([]Grantor, 0, len(res.GetGrantors())),
	}
	for _, m := range res.GetGrantors() {
		why.Grantors = append(why.Grantors, Grantor{m.GetUserId(), memberRoles.rest(m.GetRole())})
	}
	return &explained{err, why}
}

func roles(in []projectsv1.Role) []MemberRole {
	out := make([]MemberRole, 0, len(in))
	for _, r := range in {
		out = append(out, memberRoles.rest(r))
	}
	return out
}
