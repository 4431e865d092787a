package graph

import (
	"context"
	"slices"

	"github.com/99designs/gqlgen/graphql"

	"github.com/trackway/trackway/graph/generated"
	"github.com/trackway/trackway/graph/relay"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

func (r *resolver) batchGetUsers(ctx context.Context, ids []int64) ([]*usersv1.User, error) {
	// An e-mail address that is selected anywhere is asked for: what is loaded of a user serves the whole operation. Without
	// addresses users are the same for everybody, and remembered.
	res, err := r.cfg.Users.BatchGetUsers(ctx, &usersv1.BatchGetUsersRequest{
		Ids: ids, WithoutEmail: !slices.Contains(r.fields(ctx, "User"), "email"),
	})
	return res.GetUsers(), r.failure(ctx, err)
}

func (r *resolver) listUsers(ctx context.Context, req *usersv1.ListUsersRequest) (*relay.UserConnection, error) {
	res, err := r.cfg.Users.ListUsers(ctx, req)
	if err != nil {
		return nil, r.failure(ctx, err)
	}
	r.users.put(res.GetUsers()...)
	return connect(r.loads, place(graphql.GetFieldContext(ctx)), res.GetUsers(), res.GetPage()), nil
}

func (r *resolver) viewer(ctx context.Context) (*usersv1.User, error) {
	id := auth.CallerFrom(ctx).UserID
	if id == 0 {
		return nil, errs.New(errs.Unauthenticated, "Sign in first.")
	}
	return one(ctx, r, r.users, relay.ID{Type: relay.User, Key: id}, relay.User)
}

// tokenPair is what a sign-in gives, or nil.
func tokenPair(t *usersv1.Tokens) *generated.Tokens {
	if t == nil {
		return nil
	}
	return &generated.Tokens{
		AccessToken: t.GetAccessToken(), TokenType: "Bearer",
		ExpiresIn: int(t.GetExpiresIn()), RefreshToken: t.GetRefreshToken(),
	}
}

func updateUser(f *update, input generated.UpdateUserInput) *usersv1.UpdateUserRequest {
	req := &usersv1.UpdateUserRequest{
		Id: f.id("id", input.ID, relay.User), ExpectedVersion: f.version(input.ExpectedVersion), UpdateMask: &f.mask,
	}
	set(f, "name", input.Name, &req.Name)
	set(f, "email", input.Email, &req.Email)
	set(f, "role", input.Role, &req.Role)
	set(f, "active", input.Active, &req.Active)
	set(f, "password", input.Password, &req.Password)
	return req
}
