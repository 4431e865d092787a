package edge

import (
	"context"
	"fmt"
	"time"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// accessMaps knows what callers are in their projects, each as of a version of the caller's access.
type accessMaps struct {
	projects projectsv1.ProjectsServiceClient
	timeout  time.Duration // of one question
	known    *cache.Remembered[auth.AccessOf, map[int64]auth.Role]
}

// maxAccessMaps bounds how many are remembered.
const maxAccessMaps = 10_000

func newAccessMaps(projects projectsv1.ProjectsServiceClient, timeout time.Duration) *accessMaps {
	return &accessMaps{projects: projects, timeout: timeout, known: cache.Remember[auth.AccessOf, map[int64]auth.Role](maxAccessMaps)}
}

// role is what the caller is in the project, as of the look; no role when that can not be known, or when the caller is
// no member, whom only the service can judge.
func (a *accessMaps) role(ctx context.Context, caller *auth.Caller, look *cache.Look, projectID int64) auth.Role {
	roles, _ := a.known.Get(ctx, caller.AccessOf(), look, a.list)
	return roles[projectID]
}

// list asks the projects service.
func (a *accessMaps) list(ctx context.Context) (map[int64]auth.Role, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	res, err := a.projects.ListAccess(ctx, &projectsv1.ListAccessRequest{})
	if err != nil {
		return nil, fmt.Errorf("list the caller's access: %w", err)
	}
	roles := make(map[int64]auth.Role, len(res.GetAccess()))
	for _, in := range res.GetAccess() {
		roles[in.GetProjectId()] = auth.Role(in.GetRole())
	}
	return roles, nil
}
