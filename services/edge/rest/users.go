package rest

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trackway/trackway/services/platform/auth"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// User is an account.
type User struct {
	Meta

	Name   string   `json:"name" maxLength:"200" pattern:"^[\\s\\S]*$" example:"Ada Lovelace" doc:"The name that others see."`
	Email  *string  `json:"email,omitempty" format:"email" maxLength:"254" example:"ada@example.com" doc:"Only for the user itself and administrators."`
	Role   UserRole `json:"role" example:"user" doc:"What the user may do in the whole installation."`
	Active bool     `json:"active" doc:"Whether the user can sign in."`
}

func newUser(u *usersv1.User) User {
	return User{
		Meta: newMeta(u), Name: u.GetName(), Email: u.Email,
		Role: userRoles.rest(u.GetRole()), Active: u.GetActive(),
	}
}

func (User) beside(huma.Registry) map[string]*huma.Schema { return nil }

func (a *api) registerUsers() {
	register(a, operation(http.MethodGet, "/api/users/", "listUsers", tagUsers, "List users",
		"Gives all users, whom every signed-in user may see."), a.listUsers)
	register(a, operation(http.MethodPost, "/api/users/", "createUser", tagUsers, "Make an account for someone",
		"Makes an account for someone else. Administrators only."), a.createUser)
	register(a, operation(http.MethodGet, "/api/users/{id}/", "getUser", tagUsers, "Get a user", "Gives one user."), a.getUser)
	register(a, operation(http.MethodPut, "/api/users/{id}/", "replaceUser", tagUsers, "Replace a user",
		"Replaces the name. The rest belongs to the administration of the installation, and stays as it is where absent."),
		a.replaceUser)
	register(a, operation(http.MethodPatch, "/api/users/{id}/", "updateUser", tagUsers, "Change a user",
		"Changes the members that are given (RFC 7396). A user may change its own name, an administrator everything."),
		a.updateUser)
	register(a, operation(http.MethodDelete, "/api/users/{id}/", "deleteUser", tagUsers, "Delete a user",
		"Deletes an account: it is gone from reads and can not sign in."), a.deleteUser)

	register(a, operation(http.MethodGet, "/api/users/me/", "getMe", tagUsers, "Get the caller",
		"Gives the caller's own account."),
		func(ctx context.Context, in *Selection[User]) (*Read[View[User]], error) {
			return a.getUser(ctx, &userGet{*me(ctx), *in})
		})
	name := map[string]any{"name": "Ada Lovelace"} // all that is the caller's own to change
	register(a, example(operation(http.MethodPut, "/api/users/me/", "replaceMe", tagUsers, "Replace the caller",
		"Does what replaceUser does, to the caller's own account."), name),
		func(ctx context.Context, in *Write[UserReplacement]) (*Changed[User], error) {
			return a.replaceUser(ctx, &userReplace{*me(ctx), *in})
		})
	register(a, example(operation(http.MethodPatch, "/api/users/me/", "updateMe", tagUsers, "Change the caller",
		"Does what updateUser does, to the caller's own account."), name),
		func(ctx context.Context, in *Write[UserPatch]) (*Changed[User], error) {
			return a.updateUser(ctx, &userUpdate{*me(ctx), *in})
		})
	register(a, operation(http.MethodDelete, "/api/users/me/", "deleteMe", tagUsers, "Delete the caller",
		"Does what deleteUser does, to the caller's own account."),
		func(ctx context.Context, in *Delete) (*Written, error) {
			return a.deleteUser(ctx, &deleteByID{*me(ctx), *in})
		})
}

func me(ctx context.Context) *ID { return &ID{auth.CallerFrom(ctx).UserID} }

type userList struct {
	Listing
	Selection[User]

	Ordering []string    `query:"ordering" enum:"id,-id,name,-name,created_at,-created_at,updated_at,-updated_at,relevance,-relevance" maxItems:"10" doc:"The order: fields, each falling when preceded by a minus; relevance only with search. By id when absent, but for a search."`
	Search   string      `query:"search" maxLength:"200" pattern:"^[\\s\\S]*$" doc:"Words that the name contains, or begins with. The best match comes first, unless there is an ordering."`
	Active   Maybe[bool] `query:"active" doc:"Only users that can, or can not, sign in."`
	Role     UserRole    `query:"role" doc:"Only users with this role."`
}

func (a *api) listUsers(ctx context.Context, in *userList) (*List[View[User]], error) {
	res, err := a.users.ListUsers(ctx, &usersv1.ListUsersRequest{
		Page: in.request(in.Ordering), Search: in.Search, Active: in.Active.pointer(), Role: userRoles.proto(in.Role),
	})
	if err != nil {
		return nil, err
	}
	return list(&in.Listing, res.GetUsers(), res.GetPage(), func(u *usersv1.User) View[User] {
		return newView(newUser(u), in.Selection)
	}), nil
}

type userGet struct {
	ID
	Selection[User]
}

func (a *api) getUser(ctx context.Context, in *userGet) (*Read[View[User]], error) {
	u, err := a.users.GetUser(ctx, &usersv1.GetUserRequest{Id: in.ID.ID})
	return read(u, err, func(u *usersv1.User) View[User] { return newView(newUser(u), in.Selection) })
}

// UserCreation is what makes an account for someone else.
type UserCreation struct {
	Registration

	Role   UserRole `json:"role,omitempty" nullable:"true" doc:"What the user may do in the whole installation; user when absent."`
	Active *bool    `json:"active,omitempty" nullable:"true" doc:"Whether the user can sign in; true when absent."`
}

func (a *api) createUser(ctx context.Context, in *Create[UserCreation]) (*Created[User], error) {
	return create(ctx, in.Keyed, "/api/users/", a.users.CreateUser, &usersv1.CreateUserRequest{
		Name: in.Body.Name, Email: in.Body.Email, Password: in.Body.Password,
		Role: userRoles.proto(in.Body.Role), Active: in.Body.Active,
	}, newUser)
}

// UserReplacement is what replaces a user. What administrators decide about an account has no default that would be
// safe to fall back to, so it stays where it is absent.
type UserReplacement struct {
	Name     string           `json:"name" minLength:"1" maxLength:"200" pattern:"^[\\s\\S]*$" example:"Ada Lovelace" doc:"The name that others see."`
	Email    Change[string]   `json:"email,omitzero" format:"email" minLength:"3" maxLength:"254" example:"ada@example.com" doc:"The address to sign in with; stays when absent."`
	Role     Change[UserRole] `json:"role,omitzero" doc:"What the user may do in the whole installation; stays when absent."`
	Active   Change[bool]     `json:"active,omitzero" doc:"Whether the user can sign in; stays when absent."`
	Password Change[string]   `json:"password,omitzero" format:"password" minLength:"8" maxLength:"200" writeOnly:"true" doc:"A new password; stays when absent."`
}

type userReplace struct {
	ID
	Write[UserReplacement]
}

func (a *api) replaceUser(ctx context.Context, in *userReplace) (*Changed[User], error) {
	b := &in.Body
	return a.updateUser(ctx, &userUpdate{in.ID, Write[UserPatch]{in.Keyed, in.Conditional, UserPatch{
		Name: given(b.Name), Email: b.Email, Role: b.Role, Active: b.Active, Password: b.Password,
	}}})
}

// UserPatch changes a user.
type UserPatch struct {
	Name     Change[string]   `json:"name,omitzero" minLength:"1" maxLength:"200" pattern:"^[\\s\\S]*$" example:"Ada Lovelace" doc:"The name that others see."`
	Email    Change[string]   `json:"email,omitzero" format:"email" minLength:"3" maxLength:"254" example:"ada@example.com" doc:"The address to sign in with."`
	Role     Change[UserRole] `json:"role,omitzero" doc:"What the user may do in the whole installation."`
	Active   Change[bool]     `json:"active,omitzero" doc:"Whether the user can sign in."`
	Password Change[string]   `json:"password,omitzero" format:"password" minLength:"8" maxLength:"200" writeOnly:"true" doc:"A new password."`
}

type userUpdate struct {
	ID
	Write[UserPatch]
}

func (a *api) updateUser(ctx context.Context, in *userUpdate) (*Changed[User], error) {
	var (
		p   patch
		b   = &in.Body
		req = &usersv1.UpdateUserRequest{Id: in.ID.ID}
		err error
	)
	set(&p, "name", b.Name, &req.Name)
	set(&p, "email", b.Email, &req.Email)
	setEnum(&p, "role", b.Role, &req.Role, userRoles)
	set(&p, "active", b.Active, &req.Active)
	set(&p, "password", b.Password, &req.Password)
	if req.UpdateMask, err = p.mask(); err != nil {
		return nil, err
	}
	if req.ExpectedVersion, err = in.expected(ctx, a.userVersion(in.ID)); err != nil {
		return nil, err
	}
	return change(ctx, in.Keyed, a.users.UpdateUser, req, newUser)
}

func (a *api) deleteUser(ctx context.Context, in *deleteByID) (*Written, error) {
	expected, err := in.expected(ctx, a.userVersion(in.ID))
	if err != nil {
		return nil, err
	}
	return remove(ctx, in.Keyed, a.users.DeleteUser,
		&usersv1.DeleteUserRequest{Id: in.ID.ID, ExpectedVersion: expected})
}

func (a *api) userVersion(id ID) versionOf {
	return func(ctx context.Context) (int64, error) {
		u, err := a.users.GetUser(ctx, &usersv1.GetUserRequest{Id: id.ID})
		return u.GetVersion(), err
	}
}
