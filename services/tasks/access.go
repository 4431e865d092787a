package tasks

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/grpc"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/write"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	"github.com/trackway/trackway/services/rpc/tags"
)

// projectsClient is what the service needs of the projects service.
type projectsClient interface {
	BatchGetAccess(ctx context.Context, req *projectsv1.BatchGetAccessRequest, opts ...grpc.CallOption) (*projectsv1.BatchGetAccessResponse, error)
	ListAccess(ctx context.Context, req *projectsv1.ListAccessRequest, opts ...grpc.CallOption) (*projectsv1.ListAccessResponse, error)
	BatchGetPurged(ctx context.Context, req *projectsv1.BatchGetPurgedRequest, opts ...grpc.CallOption) (*projectsv1.BatchGetPurgedResponse, error)
}

// access is what the caller is in each project; those hidden from the caller are not in it.
type access map[int64]standing

// standing is what an Access says, in less than half of the memory: thousands of users' are remembered.
type standing struct {
	role                     auth.Role
	archived, requireIfMatch bool
	members                  []int64 // those of the asked users that are members
}

// newAccess reads what the projects service says.
func newAccess(answer []*projectsv1.Access) access {
	a := make(access, len(answer))
	for _, in := range answer {
		a[in.GetProjectId()] = standing{auth.Role(in.GetRole()), in.GetArchived(), in.GetRequireIfMatch(), in.GetMemberIds()}
	}
	return a
}

// maxOwn bounds whose access is remembered.
const maxOwn = 10_000

// ownAccess says what the caller is in the projects that it is a member of, as of a moment after the request came. It is
// remembered as of its version, which every change gives anew: that costs a look into Redis and no call.
func (s *service) ownAccess(ctx context.Context) (access, error) {
	if own, ok := s.remembered(ctx); ok {
		return own, nil
	}
	return s.listAccess(ctx)
}

// remembered is ownAccess; not ok when Redis can not tell its version, or the token is for some of the projects only.
func (s *service) remembered(ctx context.Context) (own access, ok bool) {
	caller := auth.CallerFrom(ctx)
	if caller.UserID == 0 || caller.Scopes != nil || caller.Projects != nil {
		return nil, false
	}
	look := s.versions.Look(ctx, &cache.Question{Access: tags.Access(caller.UserID)})
	return s.own.Get(ctx, caller.AccessOf(), look, s.listAccess)
}

// listAccess asks the projects service.
func (s *service) listAccess(ctx context.Context) (access, error) {
	answer, err := s.projects.ListAccess(ctx, &projectsv1.ListAccessRequest{})
	if err != nil {
		return nil, err
	}
	return newAccess(answer.GetAccess()), nil
}

// access says what the caller is in the projects and which of the users are members. It asks the projects service, in
// one call, unless that is about the caller's own projects only.
func (s *service) access(ctx context.Context, projectIDs []int64, userIDs ...int64) (access, error) {
	if len(userIDs) == 0 {
		if own, ok := s.remembered(ctx); ok {
			if a := own.of(projectIDs); len(a) > 0 && len(a) == len(projectIDs) {
				return a, nil
			}
		}
	}
	if len(projectIDs) == 0 {
		projectIDs = []int64{nowhere}
	}
	answer, err := s.projects.BatchGetAccess(ctx, &projectsv1.BatchGetAccessRequest{ProjectIds: projectIDs, UserIds: userIDs})
	if err != nil {
		return nil, err
	}
	a := newAccess(answer.GetAccess())
	delete(a, nowhere) // whatever is said of it
	return a, nil
}

// nowhere is the project of what is not there. It is asked about like others, so that nobody learns from what a request
// costs whether a thing is hidden or does not exist.
const nowhere = 0

// located gives what was looked up, and for what is not there a thing that is nowhere, and so hidden from everybody.
func located[T any](found *T, err error) (*T, error) {
	if errs.Is(err, errs.NotFound) {
		return new(T), nil
	}
	return found, err
}

// of gives what it tells of the projects.
func (a access) of(projectIDs []int64) access {
	of := make(access, len(projectIDs))
	for _, id := range projectIDs {
		if in, ok := a[id]; ok {
			of[id] = in
		}
	}
	return of
}

// allowing gives the projects in which the caller's role allows this, sorted.
func (a access) allowing(p auth.Permission) []int64 {
	ids := slices.Sorted(maps.Keys(a))
	return slices.DeleteFunc(ids, func(id int64) bool { return !a.allows(id, p) })
}

// require is nil if the caller may do this in the project. Otherwise it is NotFound for the noun when the project is
// hidden, Denied when the role does not allow it, and Conflict when the project is archived and that ends it.
func (a access) require(projectID int64, p auth.Permission, noun string) error {
	in := a[projectID]
	if err := in.role.Require(p, noun); err != nil {
		return errs.InProject(err, projectID)
	}
	return p.RequireInUse(in.archived)
}

// allows reports whether the caller's role allows this in the project, be it archived or not.
func (a access) allows(projectID int64, p auth.Permission) bool {
	return a[projectID].role.Allows(p)
}

// expect is nil if the expected version is the present one. 0 is no expectation, which is PreconditionRequired in a
// project that asks for one.
func (a access) expect(projectID, expected, present int64, noun string) error {
	if expected == 0 && a[projectID].requireIfMatch {
		return errs.New(errs.PreconditionRequired, "This project takes changes only with the version that they are made to.")
	}
	return write.Expect(expected, present, noun)
}

// readable reports whether the caller may read the project.
func (a access) readable(projectID int64) bool {
	return a.require(projectID, auth.ReadProject, "") == nil
}

// member reports whether the user, who was asked about, is a member of the project.
func (a access) member(projectID, userID int64) bool {
	return slices.Contains(a[projectID].members, userID)
}
