package edge

import (
	"context"
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// accessMaps knows what callers are in their projects, each as of a version of the caller's access.
type accessMaps struct {
	projects projectsv1.ProjectsServiceClient
	known    *lru.Cache[accessOf, *accessMap]
	flight   singleflight.Group
}

// accessOf is whose access it is. A global admin has other roles than the same user without that, whose token may be
// older.
type accessOf struct {
	userID int64
	admin  bool
}

type accessMap struct {
	epoch, version string
	roles          map[int64]auth.Role
}

// maxAccessMaps bounds how many are remembered.
const maxAccessMaps = 10_000

func newAccessMaps(projects projectsv1.ProjectsServiceClient) *accessMaps {
	known, err := lru.New[accessOf, *accessMap](maxAccessMaps)
	if err != nil {
		panic(err) // only a size below one is an error
	}
	return &accessMaps{projects: projects, known: known}
}

// role is what the caller is in the project, as of the look; no role when that can not be known, or when the caller is
// no member, whom only the service can judge.
func (a *accessMaps) role(ctx context.Context, caller *auth.Caller, look *cache.Look, projectID int64) auth.Role {
	if look.Access == "" || look.Epoch == "" {
		return auth.NoRole
	}
	of := accessOf{caller.UserID, caller.Admin}
	if m, ok := a.known.Get(of); ok && m.version == look.Access && m.epoch == look.Epoch {
		return m.roles[projectID]
	}
	m, err := a.fetch(ctx, of, look)
	if err != nil {
		return auth.NoRole
	}
	return m.roles[projectID]
}

// fetch asks the projects service, once for all that ask at the same time.
func (a *accessMaps) fetch(ctx context.Context, of accessOf, look *cache.Look) (*accessMap, error) {
	// Versions tell apart what one tag was at different times, and not the tags: one write gives several the same.
	key := fmt.Sprint(of, look.Epoch, look.Access)
	v, err, _ := a.flight.Do(key, func() (any, error) {
		res, err := a.projects.ListAccess(ctx, &projectsv1.ListAccessRequest{})
		if err != nil {
			return nil, fmt.Errorf("list the caller's access: %w", err)
		}
		m := &accessMap{epoch: look.Epoch, version: look.Access, roles: make(map[int64]auth.Role, len(res.GetAccess()))}
		for _, in := range res.GetAccess() {
			m.roles[in.GetProjectId()] = auth.Role(in.GetRole())
		}
		a.known.Add(of, m)
		return m, nil
	})
	if err != nil {
		return nil, err
	}
	m, _ := v.(*accessMap)
	return m, nil
}
