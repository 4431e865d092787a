package graph

import (
	"context"
	"strings"

	"github.com/trackway/trackway/services/platform/errs"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// explainName is the member of a request's extensions that asks what a PERMISSION_DENIED is for want of, and of the
// error's extensions that says it.
const explainName = "explain"

type explainKey struct{}

// explanation says which permission the caller's role lacks, and who could grant it. It is what explain=true adds to a 403
// of the REST API.
type explanation struct {
	Permission string    `json:"permission"`
	ProjectID  int64     `json:"projectId"` //nolint:tagliatelle // as in the schema
	Roles      []string  `json:"roles"`
	GrantedBy  []string  `json:"grantedBy"` //nolint:tagliatelle // as in the schema
	Grantors   []grantor `json:"grantors"`
}

type grantor struct {
	UserID int64  `json:"userId"` //nolint:tagliatelle // as in the schema
	Role   string `json:"role"`
}

// explain gives the explanation of an error, if the request asks for one and a role is the reason; else nil.
func (s *server) explain(ctx context.Context, e *errs.Error) *explanation {
	if ctx.Value(explainKey{}) == nil || e.Code != errs.Denied || e.Permission == "" {
		return nil
	}
	res, err := s.cfg.Projects.ExplainAccess(ctx, &projectsv1.ExplainAccessRequest{ProjectId: e.Project, Permission: e.Permission})
	if err != nil {
		_ = s.failure(ctx, err) // it is logged, and the error stands without
		return nil
	}
	why := &explanation{
		Permission: e.Permission, ProjectID: e.Project, Roles: roleNames(res.GetRoles()),
		GrantedBy: roleNames(res.GetGrantedBy()), Grantors: make([]grantor, 0, len(res.GetGrantors())),
	}
	for _, m := range res.GetGrantors() {
		why.Grantors = append(why.Grantors, grantor{m.GetUserId(), roleName(m.GetRole())})
	}
	return why
}

func roleNames(roles []projectsv1.Role) []string {
	names := make([]string, 0, len(roles))
	for _, r := range roles {
		names = append(names, roleName(r))
	}
	return names
}

// roleName spells a role as the schema does.
func roleName(r projectsv1.Role) string { return strings.TrimPrefix(r.String(), "ROLE_") }
