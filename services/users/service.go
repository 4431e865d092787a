package users

import (
	"cmp"
	"context"
	"log/slog"
	netmail "net/mail"
	"slices"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/idempotency"
	"github.com/trackway/trackway/services/platform/mail"
	"github.com/trackway/trackway/services/platform/write"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// maxBatch is how many things one BatchGet may ask for.
const maxBatch = 1000

// The bounds of texts, in characters.
const (
	maxName     = 200
	maxEmail    = 254
	minPassword = 8
	maxPassword = 200
	maxSearch   = 200
)

// service answers the RPCs.
type service struct {
	usersv1.UnimplementedUsersServiceServer

	store       store
	hasher      *hasher
	keys        *keyring
	issuer      *auth.Issuer // of the keyring
	refreshTTL  time.Duration
	tokenMaxTTL time.Duration
	mail        mail.Config
	log         *slog.Logger
	provider    *provider // nil without one
}

// Register makes an account for whoever asks.
func (s *service) Register(ctx context.Context, req *usersv1.RegisterRequest) (*usersv1.User, error) {
	u := &user{
		Name: strings.TrimSpace(req.GetName()), Email: strings.TrimSpace(req.GetEmail()),
		Role: usersv1.Role_ROLE_USER, Active: true,
	}
	if err := u.checkNew(req.GetPassword()); err != nil {
		return nil, err
	}
	if err := s.create(ctx, u, req.GetPassword()); err != nil {
		return nil, err
	}
	return u.proto(u.caller()), nil
}

// GetUser gives one user.
func (s *service) GetUser(ctx context.Context, req *usersv1.GetUserRequest) (*usersv1.User, error) {
	u, err := s.store.get(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return u.proto(auth.CallerFrom(ctx)), nil
}

// BatchGetUsers gives the users among the ids that exist.
func (s *service) BatchGetUsers(ctx context.Context, req *usersv1.BatchGetUsersRequest) (*usersv1.BatchGetUsersResponse, error) {
	if len(req.GetIds()) > maxBatch {
		return nil, errs.InvalidField("ids", "must be at most %d", maxBatch)
	}
	users, err := s.store.batchGet(ctx, req.GetIds())
	if err != nil {
		return nil, err
	}
	caller := auth.CallerFrom(ctx)
	if req.GetWithoutEmail() {
		caller = &auth.Caller{} // who sees nobody's
	}
	return &usersv1.BatchGetUsersResponse{Users: protos(users, caller)}, nil
}

// ListUsers gives one page of all users.
func (s *service) ListUsers(ctx context.Context, req *usersv1.ListUsersRequest) (*usersv1.ListUsersResponse, error) {
	q, err := userOrders(req).Query(req.GetPage())
	if err != nil {
		return nil, err
	}
	var c errs.Check
	c.Text("search", req.GetSearch(), 0, maxSearch)
	if req.GetRole() != usersv1.Role_ROLE_UNSPECIFIED {
		checkRole(&c, req.GetRole())
	}
	if err := c.Err(); err != nil {
		return nil, err
	}
	p, err := s.store.list(ctx, userFilter{search: req.GetSearch(), active: req.Active, role: int32(req.GetRole())}, q)
	if err != nil {
		return nil, err
	}
	return &usersv1.ListUsersResponse{Users: protos(p.Rows, auth.CallerFrom(ctx)), Page: pageInfo(p)}, nil
}

// CreateUser makes an account for someone else.
func (s *service) CreateUser(ctx context.Context, req *usersv1.CreateUserRequest) (*usersv1.User, error) {
	u := &user{
		Name: strings.TrimSpace(req.GetName()), Email: strings.TrimSpace(req.GetEmail()),
		Role: cmp.Or(req.GetRole(), usersv1.Role_ROLE_USER), Active: req.Active == nil || req.GetActive(),
	}
	if err := u.checkNew(req.GetPassword()); err != nil {
		return nil, err
	}
	if err := auth.RequireAdmin(ctx); err != nil {
		return nil, err
	}
	if u.Role != usersv1.Role_ROLE_USER {
		if err := auth.RequireSession(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.create(ctx, u, req.GetPassword()); err != nil {
		return nil, err
	}
	return u.proto(auth.CallerFrom(ctx)), nil
}

// UpdateUser changes the fields named by the mask.
func (s *service) UpdateUser(ctx context.Context, req *usersv1.UpdateUserRequest) (*usersv1.User, error) {
	var u *user
	err := write.Retry(ctx, func(ctx context.Context) error {
		var err error
		if u, err = s.store.get(ctx, req.GetId()); err != nil {
			return err
		}
		if err := u.requireUpdate(ctx, req.GetUpdateMask().GetPaths()); err != nil {
			return err
		}
		if err := write.Expect(req.GetExpectedVersion(), u.Version, "user"); err != nil {
			return err
		}
		before := *u
		if err := u.apply(req); err != nil {
			return err
		}
		if slices.Contains(req.GetUpdateMask().GetPaths(), "password") {
			if u.PasswordHash, err = s.newPassword(ctx, req.GetPassword()); err != nil {
				return err
			}
		}
		if *u == before {
			return write.Unchanged(ctx, s.store.db, "user", u.proto(auth.CallerFrom(ctx)))
		}
		return s.store.update(ctx, u, before.governs() && !u.governs(), u.signOut(ctx, &before), u.changes(&before)...)
	})
	if err != nil {
		return nil, err
	}
	return u.proto(auth.CallerFrom(ctx)), nil
}

// DeleteUser deletes an account softly. Users may delete their own.
func (s *service) DeleteUser(ctx context.Context, req *usersv1.DeleteUserRequest) (*emptypb.Empty, error) {
	err := write.Retry(ctx, func(ctx context.Context) error {
		u, err := s.store.get(ctx, req.GetId())
		if err != nil {
			return err
		}
		if err := u.requireSelf(ctx); err != nil {
			return err
		}
		if err := write.Expect(req.GetExpectedVersion(), u.Version, "user"); err != nil {
			return err
		}
		return s.store.remove(ctx, u, u.governs())
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// create adds a user that has been checked.
func (s *service) create(ctx context.Context, u *user, password string) error {
	var err error
	if u.PasswordHash, err = s.newPassword(ctx, password); err != nil {
		return err
	}
	return s.store.create(ctx, u)
}

// newPassword hashes the password that the request sets. Another one is another request, whatever its idempotency key.
func (s *service) newPassword(ctx context.Context, password string) (string, error) {
	hash, err := s.hasher.hash(ctx, password)
	if err == nil {
		idempotency.Seal(ctx, hash)
	}
	return hash, err
}

// opens reports whether the request has the password that the answer of its idempotency key was sealed with.
func (s *service) opens(ctx context.Context, req proto.Message, seal string) (bool, error) {
	var password string
	switch req := req.(type) {
	case interface{ GetNewPassword() string }: // be there a current one, too
		password = req.GetNewPassword()
	case interface{ GetPassword() string }:
		password = req.GetPassword()
	case interface{ GetCurrentPassword() string }:
		password = req.GetCurrentPassword()
	}
	return s.hasher.matches(ctx, password, seal)
}

// governs reports whether the user can act as a global admin.
func (u *user) governs() bool { return u.Role == usersv1.Role_ROLE_ADMIN && u.Active }

// signOut tells which sessions of the user a change ends. Access tokens say what a user may do, so those that say too
// much must stop working; and a new password is to keep out whoever knows the old one.
func (u *user) signOut(ctx context.Context, before *user) signOut {
	switch {
	case before.Active && !u.Active, before.Role == usersv1.Role_ROLE_ADMIN && u.Role != before.Role:
		return signOut{all: true, tokens: true, links: true}
	case u.PasswordHash != before.PasswordHash:
		return signOut{all: true, but: auth.CallerFrom(ctx).SessionID, links: true}
	case u.Email != before.Email:
		return signOut{links: true}
	default:
		return signOut{}
	}
}

// changes are the events of the audit trail for what an administrator changed.
func (u *user) changes(before *user) (all []events.Event) {
	for _, c := range []struct {
		changed bool
		typ     string
	}{
		{before.Active && !u.Active, "user.deactivated"},
		{!before.Active && u.Active, "user.reactivated"},
		{u.Role != before.Role, "role.changed"},
		{u.Email != before.Email, "email.changed"},
		{u.PasswordHash != before.PasswordHash, "password.changed"},
	} {
		if c.changed {
			e := u.security(c.typ)
			e.Version++ // which the update makes it
			all = append(all, e)
		}
	}
	return all
}

// requireSelf lets only the user itself and global admins pass.
func (u *user) requireSelf(ctx context.Context) error {
	if auth.CallerFrom(ctx).UserID == u.ID {
		return nil
	}
	return auth.RequireAdmin(ctx)
}

// requireUpdate lets the user itself change its name, and global admins everything. By what signs in, or by more power,
// a personal access token would become more than it is.
func (u *user) requireUpdate(ctx context.Context, fields []string) error {
	if slices.ContainsFunc(fields, func(f string) bool { return f != "name" && f != "active" }) {
		if err := auth.RequireSession(ctx); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(fields, func(f string) bool { return f != "name" }) {
		return auth.RequireAdmin(ctx)
	}
	return u.requireSelf(ctx)
}

// apply changes the fields that the request's mask names, and checks the outcome. The password is only checked.
func (u *user) apply(req *usersv1.UpdateUserRequest) error {
	var c errs.Check
	for _, field := range req.GetUpdateMask().GetPaths() {
		switch field {
		case "name":
			u.Name = strings.TrimSpace(req.GetName())
		case "email":
			u.Email = strings.TrimSpace(req.GetEmail())
		case "role":
			u.Role = req.GetRole()
		case "active":
			u.Active = req.GetActive()
		case "password":
			checkPassword(&c, req.GetPassword())
		default:
			return errs.InvalidField("update_mask", "%q can not be changed", field)
		}
	}
	u.check(&c)
	return c.Err()
}

// checkNew checks a user that is to be made with the password.
func (u *user) checkNew(password string) error {
	var c errs.Check
	u.check(&c)
	checkPassword(&c, password)
	return c.Err()
}

func (u *user) check(c *errs.Check) {
	c.Line("name", u.Name, 1, maxName)
	checkEmail(c, u.Email)
	checkRole(c, u.Role)
}

func checkPassword(c *errs.Check, password string) {
	checkNewPassword(c, "password", password)
}

func checkNewPassword(c *errs.Check, field, password string) {
	c.Text(field, password, minPassword, maxPassword)
	c.That(!isCommon(password), field, "must not be one of the most common passwords, which attackers try first")
}

func checkRole(c *errs.Check, role usersv1.Role) {
	_, known := usersv1.Role_name[int32(role)]
	c.That(known && role != usersv1.Role_ROLE_UNSPECIFIED, "role", "must be user or admin")
}

// checkEmail takes a bare address in the dot-atom form (RFC 5322, section 3.4.1, and RFC 6532) of characters that can
// be seen, so that two addresses which look the same are the same.
func checkEmail(c *errs.Check, email string) {
	addr, err := netmail.ParseAddress(email)
	hidden := strings.ContainsFunc(email, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) })
	if err != nil || addr.Address != email || hidden || strings.Count(email, "@") != 1 {
		c.Fail("email", "must be an e-mail address, such as ada@example.org")
		return
	}
	c.Line("email", email, 3, maxEmail)
}
