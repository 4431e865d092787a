package users

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// code is what became of a call; no error is the empty code.
func code(err error) errs.Code {
	if err == nil {
		return ""
	}
	return errs.From(err).Code
}

func mask(fields ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: fields} }

// action is one thing that a caller tries to do to a user.
type action struct {
	method                        string // of the contract
	name                          string
	nobody, stranger, self, admin errs.Code // what becomes of it, by caller
	do                            func(ctx context.Context, w *world, u *usersv1.User) (proto.Message, error)
}

func actions() []action {
	const u, d, i, m = errs.Unauthenticated, errs.Denied, errs.Invalid, errs.NotFound
	update := func(fields ...string) func(context.Context, *world, *usersv1.User) (proto.Message, error) {
		return func(ctx context.Context, w *world, u *usersv1.User) (proto.Message, error) {
			return w.UpdateUser(ctx, &usersv1.UpdateUserRequest{
				Id: u.GetId(), UpdateMask: mask(fields...), Name: u.GetName() + " new", Email: "new." + u.GetEmail(),
				Role: usersv1.Role_ROLE_ADMIN, Password: "new " + password,
			})
		}
	}
	return []action{
		{"Register", "register", "", "", "", "", func(ctx context.Context, w *world, u *usersv1.User) (proto.Message, error) {
			return w.Register(ctx, &usersv1.RegisterRequest{Name: "New", Email: "new." + u.GetEmail(), Password: password})
		}},
		{"Login", "sign in", "", "", "", "", func(ctx context.Context, w *world, u *usersv1.User) (proto.Message, error) {
			return w.Login(ctx, &usersv1.LoginRequest{Email: u.GetEmail(), Password: password})
		}},
		// There is no provider: identities_test.go has one.
		{"BeginProviderSignIn", "go to a provider", m, m, m, m, func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.BeginProviderSignIn(ctx, &usersv1.BeginProviderSignInRequest{})
		}},
		{"FinishProviderSignIn", "come back from it", m, m, m, m, func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.FinishProviderSignIn(ctx, &usersv1.FinishProviderSignInRequest{})
		}},
		{"ExchangeCode", "exchange a code", m, m, m, m, func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.ExchangeCode(ctx, &usersv1.ExchangeCodeRequest{})
		}},
		{"ExchangeIdToken", "exchange an ID token", m, m, m, m, func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.ExchangeIdToken(ctx, &usersv1.ExchangeIdTokenRequest{})
		}},
		{"GetKeys", "get keys", "", "", "", "", func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.GetKeys(ctx, &usersv1.GetKeysRequest{})
		}},
		{"GetUser", "get", u, "", "", "", func(ctx context.Context, w *world, u *usersv1.User) (proto.Message, error) {
			return w.GetUser(ctx, &usersv1.GetUserRequest{Id: u.GetId()})
		}},
		{"BatchGetUsers", "batch get", u, "", "", "", func(ctx context.Context, w *world, u *usersv1.User) (proto.Message, error) {
			return w.BatchGetUsers(ctx, &usersv1.BatchGetUsersRequest{Ids: []int64{u.GetId()}})
		}},
		{"ListUsers", "list", u, "", "", "", func(ctx context.Context, w *world, u *usersv1.User) (proto.Message, error) {
			return w.ListUsers(ctx, &usersv1.ListUsersRequest{Search: u.GetName()})
		}},
		{"CreateUser", "create", u, d, d, "", func(ctx context.Context, w *world, u *usersv1.User) (proto.Message, error) {
			return w.CreateUser(ctx, &usersv1.CreateUserRequest{Name: "New", Email: "new." + u.GetEmail(), Password: password})
		}},
		{"UpdateUser", "update nothing", u, d, "", "", update()},
		{"UpdateUser", "update name", u, d, "", "", update("name")},
		{"UpdateUser", "update email", u, d, d, "", update("email")},
		{"UpdateUser", "update role", u, d, d, "", update("role")},
		{"UpdateUser", "update active", u, d, d, "", update("active")},
		{"UpdateUser", "update password", u, d, d, "", update("password")},
		{"UpdateUser", "update name and role", u, d, d, "", update("name", "role")},
		{"RefreshTokens", "refresh", "", "", "", "", func(ctx context.Context, w *world, u *usersv1.User) (proto.Message, error) {
			tokens, err := w.Login(ctx, &usersv1.LoginRequest{Email: u.GetEmail(), Password: password})
			if err != nil {
				return nil, err
			}
			return w.RefreshTokens(ctx, &usersv1.RefreshTokensRequest{RefreshToken: tokens.GetRefreshToken()})
		}},
		{"Logout", "sign out", u, "", "", "", func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.Logout(ctx, &usersv1.LogoutRequest{})
		}},
		{"ChangePassword", "change the password without it", u, i, i, i, func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.ChangePassword(ctx, &usersv1.ChangePasswordRequest{CurrentPassword: "guessed", NewPassword: "new " + password})
		}},
		{"ListSessions", "list sessions", u, "", "", "", func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.ListSessions(ctx, &usersv1.ListSessionsRequest{})
		}},
		{"DeleteSession", "end a session", u, m, "", m, func(ctx context.Context, w *world, u *usersv1.User) (proto.Message, error) {
			tokens, err := w.Login(ctx, &usersv1.LoginRequest{Email: u.GetEmail(), Password: password})
			if err != nil {
				return nil, err
			}
			return w.DeleteSession(ctx, &usersv1.DeleteSessionRequest{Id: sessionOf(tokens)})
		}},
		{"DeleteSessions", "end all sessions", u, "", "", "", func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.DeleteSessions(ctx, &usersv1.DeleteSessionsRequest{})
		}},
		{"RequestPasswordReset", "ask for a link", "", "", "", "", func(ctx context.Context, w *world, u *usersv1.User) (proto.Message, error) {
			return w.RequestPasswordReset(ctx, &usersv1.RequestPasswordResetRequest{Email: u.GetEmail()})
		}},
		{"ResetPassword", "set a password without a link", i, i, i, i, func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.ResetPassword(ctx, &usersv1.ResetPasswordRequest{Token: "guessed", NewPassword: "new " + password})
		}},
		{"RequestEmailChange", "change the e-mail without the password", u, i, i, i, func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.RequestEmailChange(ctx, &usersv1.RequestEmailChangeRequest{Email: "new@example.org", CurrentPassword: "guessed"})
		}},
		{"ConfirmEmailChange", "confirm without a link", i, i, i, i, func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.ConfirmEmailChange(ctx, &usersv1.ConfirmEmailChangeRequest{Token: "guessed"})
		}},
		{"ListSecurityEvents", "list a user's security events", u, d, "", "", func(ctx context.Context, w *world, u *usersv1.User) (proto.Message, error) {
			return w.ListSecurityEvents(ctx, &usersv1.ListSecurityEventsRequest{UserId: u.GetId()})
		}},
		{"ListSecurityEvents", "list all security events", u, d, d, "", func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.ListSecurityEvents(ctx, &usersv1.ListSecurityEventsRequest{})
		}},
		{"CreateToken", "make a token", u, "", "", "", func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.CreateToken(ctx, &usersv1.CreateTokenRequest{Name: "Report", Scopes: []string{"tasks:read"}})
		}},
		{"GetToken", "get a token", u, m, m, m, func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.GetToken(ctx, &usersv1.GetTokenRequest{Id: 1 << 40})
		}},
		{"ListTokens", "list tokens", u, "", "", "", func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.ListTokens(ctx, &usersv1.ListTokensRequest{})
		}},
		{"DeleteToken", "end a token", u, m, m, m, func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.DeleteToken(ctx, &usersv1.DeleteTokenRequest{Id: 1 << 40})
		}},
		{"ExchangeToken", "exchange no token", u, u, u, u, func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.ExchangeToken(ctx, &usersv1.ExchangeTokenRequest{Secret: "twk_"})
		}},
		{"ListRevocations", "list what ended", "", "", "", "", func(ctx context.Context, w *world, _ *usersv1.User) (proto.Message, error) {
			return w.ListRevocations(ctx, &usersv1.ListRevocationsRequest{})
		}},
		{"DeleteUser", "delete", u, d, "", "", func(ctx context.Context, w *world, u *usersv1.User) (proto.Message, error) {
			return w.DeleteUser(ctx, &usersv1.DeleteUserRequest{Id: u.GetId()})
		}},
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	w := start(t)
	stranger := w.register(t, "stranger")
	all := actions()
	for _, m := range usersv1.UsersService_ServiceDesc.Methods {
		if !slices.ContainsFunc(all, func(a action) bool { return a.method == m.MethodName }) {
			t.Errorf("%s: got no row, want one", m.MethodName)
		}
	}
	for i, a := range all {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			u := w.register(t, fmt.Sprintf("user %d", i))
			seen := w.get(t, u.GetId())
			// Whoever is refused comes first, so that the user is as it was.
			for _, tt := range []struct {
				caller string
				ctx    context.Context
				want   errs.Code
			}{
				{"nobody", t.Context(), a.nobody},
				{"stranger", w.as(t, stranger), a.stranger},
				{"self", w.as(t, u), a.self},
				{"admin", w.as(t, w.admin), a.admin},
			} {
				if a.method == "DeleteUser" && tt.caller == "admin" || a.method == "Register" {
					u = w.register(t, u.GetName()+tt.caller)
					seen = u
				}
				answer, err := a.do(tt.ctx, w, u)
				if got := code(err); got != tt.want {
					t.Errorf("%s by %s: got %q, want %q", a.name, tt.caller, got, tt.want)
				}
				if err != nil {
					if got := w.get(t, u.GetId()); !proto.Equal(got, seen) {
						t.Errorf("%s by %s, refused, left %v, want %v", a.name, tt.caller, got, seen)
					}
				}
				if err == nil && tt.caller == "stranger" && a.nobody != "" && strings.Contains(prototext.Format(answer), "@") {
					t.Errorf("%s by a stranger answers with an e-mail: %v", a.name, answer)
				}
			}
		})
	}
}

func TestTheEmailIsForTheUserItselfAndAdmins(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada, bob := w.register(t, "ada"), w.register(t, "bob")
	if ada.GetEmail() != address("ada") {
		t.Errorf("e-mail in the answer to a registration: got %q, want %q", ada.GetEmail(), address("ada"))
	}
	page := &pagev1.PageRequest{OrderBy: "name"}
	for _, tt := range []struct {
		name   string
		caller *usersv1.User
		want   []string // the e-mails that this caller sees of admin, ada and bob
	}{
		{"a user", bob, []string{"", "", address("bob")}},
		{"an admin", w.admin, []string{adminEmail, address("ada"), address("bob")}},
	} {
		ctx := w.as(t, tt.caller)
		list, err := w.ListUsers(ctx, &usersv1.ListUsersRequest{Page: page})
		if err != nil {
			t.Fatal(err)
		}
		batch, err := w.BatchGetUsers(ctx, &usersv1.BatchGetUsersRequest{Ids: []int64{w.admin.GetId(), ada.GetId(), bob.GetId()}})
		if err != nil {
			t.Fatal(err)
		}
		plain, err := w.BatchGetUsers(ctx, &usersv1.BatchGetUsersRequest{Ids: []int64{w.admin.GetId(), ada.GetId(), bob.GetId()}, WithoutEmail: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range plain.GetUsers() {
			if u.Email != nil || u.GetName() == "" {
				t.Errorf("without addresses got %v", u)
			}
		}
		var single []*usersv1.User
		for _, u := range list.GetUsers() {
			got, err := w.GetUser(ctx, &usersv1.GetUserRequest{Id: u.GetId()})
			if err != nil {
				t.Fatal(err)
			}
			single = append(single, got)
		}
		for from, users := range map[string][]*usersv1.User{"list": list.GetUsers(), "batch": batch.GetUsers(), "get": single} {
			slices.SortFunc(users, func(a, b *usersv1.User) int { return strings.Compare(a.GetName(), b.GetName()) })
			var got []string
			for _, u := range users {
				got = append(got, u.GetEmail())
				if u.Email != nil && u.GetEmail() == "" {
					t.Errorf("%s by %s: got an empty e-mail, want none", from, tt.name)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("e-mails of %s by %s: got %q, want %q", from, tt.name, got, tt.want)
			}
		}
	}
	// Nothing else tells of it either.
	for _, search := range []string{address("ada"), "example", "example.org"} {
		list, err := w.ListUsers(w.as(t, bob), &usersv1.ListUsersRequest{Search: search})
		if err != nil || len(list.GetUsers()) != 0 {
			t.Errorf("search for %q: got %v, %v, want nobody", search, list.GetUsers(), err)
		}
	}
	_, err := w.ListUsers(w.as(t, bob), &usersv1.ListUsersRequest{Page: &pagev1.PageRequest{OrderBy: "email"}})
	if !errs.Is(err, errs.Invalid) {
		t.Errorf("order by email: got %v, want %v", err, errs.Invalid)
	}
}

// resign is a way in which an admin ceases to be one.
func resign(ctx context.Context, w *world, how string, id int64) error {
	if how == "delete" {
		_, err := w.DeleteUser(ctx, &usersv1.DeleteUserRequest{Id: id})
		return err
	}
	_, err := w.UpdateUser(ctx, &usersv1.UpdateUserRequest{Id: id, UpdateMask: mask(how), Role: usersv1.Role_ROLE_USER})
	return err
}

func TestThereIsAlwaysAnActiveAdmin(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"role", "active", "delete"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			// An admin who is not active can not act, and does not count.
			_, err := w.CreateUser(w.as(t, w.admin), &usersv1.CreateUserRequest{
				Name: "idle", Email: address("idle"), Password: password, Role: usersv1.Role_ROLE_ADMIN, Active: new(false),
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := resign(w.as(t, w.admin), w, how, w.admin.GetId()); !errs.Is(err, errs.Conflict) {
				t.Errorf("the last admin resigns: got %v, want %v", err, errs.Conflict)
			}
			if got := w.get(t, w.admin.GetId()); !proto.Equal(got, w.admin) {
				t.Errorf("the last admin: got %v, want %v", got, w.admin)
			}
			admins := []*usersv1.User{w.admin}
			for i := range 5 {
				u, err := w.CreateUser(w.as(t, w.admin), &usersv1.CreateUserRequest{
					Name: "admin", Email: fmt.Sprintf("admin%d@example.org", i), Password: password, Role: usersv1.Role_ROLE_ADMIN,
				})
				if err != nil {
					t.Fatal(err)
				}
				admins = append(admins, u)
			}
			// All at once, each about the next: in a ring nobody is spared.
			failed := each(len(admins), func(i int) error {
				return resign(w.as(t, admins[i]), w, how, admins[(i+1)%len(admins)].GetId())
			})
			var refused int
			for _, err := range failed {
				if err != nil {
					refused++
				}
				if err != nil && !errs.Is(err, errs.Conflict) {
					t.Errorf("resign: got %v, want no error or %v", err, errs.Conflict)
				}
			}
			left := w.count(t, "users WHERE role = 2 AND active AND deleted_at IS NULL")
			if left != 1 || refused != 1 {
				t.Errorf("got %d admins left and %d refused, want one", left, refused)
			}
		})
	}
}

func TestARegistrationWithOneKeyHappensOnce(t *testing.T) {
	t.Parallel()
	w := start(t)
	req := &usersv1.RegisterRequest{Name: "Ada", Email: "ada@example.org", Password: password}
	var (
		mu      sync.Mutex
		answers []*usersv1.User
	)
	register := func(opts ...grpc.CallOption) error {
		u, err := w.Register(idempotency.WithKey(t.Context(), "one"), req, opts...)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			answers = append(answers, u)
		}
		return err
	}
	for _, err := range each(20, func(int) error { return register() }) {
		if err != nil && !errs.Is(err, errs.InProgress) {
			t.Errorf("register: got %v, want no error or %v", err, errs.InProgress)
		}
	}
	var header metadata.MD
	if err := register(grpc.Header(&header)); err != nil || len(header.Get(idempotency.ReplayedHeader)) != 1 {
		t.Errorf("register again: got %v and header %v, want a replay", err, header)
	}
	for _, got := range answers {
		if !proto.Equal(got, answers[0]) || got.GetEmail() != req.GetEmail() {
			t.Errorf("answer: got %v, want %v", got, answers[0])
		}
	}
	users, events := w.count(t, "users WHERE name = 'Ada'"), w.count(t, "events WHERE subject_id = ?", answers[0].GetId())
	if users != 1 || events != 1 {
		t.Errorf("got %d users and %d events, want one each", users, events)
	}
}

// Who sends another secret with the key of what has been done is not told that it is done.
func TestAKeyStandsForItsSecrets(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.register(t, "ada")
	w.register(t, "bob")
	w.register(t, "eve")
	link := func(name string) string {
		t.Helper()
		if _, err := w.RequestPasswordReset(t.Context(), &usersv1.RequestPasswordResetRequest{Email: address(name)}); err != nil {
			t.Fatal(err)
		}
		return tokenIn(t, w.mails(t, address(name), 1)[0])
	}
	forBob, forEve := link("bob"), link("eve")
	const first, second = "the first of two", "the second of two"
	for _, tt := range []struct {
		name           string
		as             context.Context
		secret, others string
		do             func(ctx context.Context, secret string) error
	}{
		{"register", t.Context(), first, second, func(ctx context.Context, secret string) error {
			_, err := w.Register(ctx, &usersv1.RegisterRequest{Name: "Joe", Email: address("joe"), Password: secret})
			return err
		}},
		{"create a user", w.as(t, w.admin), first, second, func(ctx context.Context, secret string) error {
			_, err := w.CreateUser(ctx, &usersv1.CreateUserRequest{Name: "Dan", Email: address("dan"), Password: secret})
			return err
		}},
		{"set another's password", w.as(t, w.admin), first, second, func(ctx context.Context, secret string) error {
			_, err := w.UpdateUser(ctx, &usersv1.UpdateUserRequest{Id: ada.GetId(), UpdateMask: mask("password"), Password: secret})
			return err
		}},
		{"ask for another address", w.as(t, ada), first, second, func(ctx context.Context, secret string) error {
			_, err := w.RequestEmailChange(ctx, &usersv1.RequestEmailChangeRequest{Email: address("ann"), CurrentPassword: secret})
			return err
		}},
		{"change the password", w.as(t, ada), second, first, func(ctx context.Context, secret string) error {
			_, err := w.ChangePassword(ctx, &usersv1.ChangePasswordRequest{CurrentPassword: first, NewPassword: secret})
			return err
		}},
		{"set a password by a link", t.Context(), first, second, func(ctx context.Context, secret string) error {
			_, err := w.ResetPassword(ctx, &usersv1.ResetPasswordRequest{Token: forBob, NewPassword: secret})
			return err
		}},
		{"set a password by one link of two", t.Context(), forEve, forBob, func(ctx context.Context, secret string) error {
			_, err := w.ResetPassword(ctx, &usersv1.ResetPasswordRequest{Token: secret, NewPassword: first})
			return err
		}},
	} {
		ctx := idempotency.WithKey(tt.as, tt.name)
		for range 2 {
			if err := tt.do(ctx, tt.secret); err != nil {
				t.Errorf("%s: got %v, want success", tt.name, err)
			}
		}
		if err := tt.do(ctx, tt.others); !errs.Is(err, errs.KeyReused) {
			t.Errorf("%s, with another secret: got %v, want %v", tt.name, err, errs.KeyReused)
		}
	}
}

func TestAnAddressIsOneAccounts(t *testing.T) {
	t.Parallel()
	w := start(t)
	const email = "ada.lovelace@example.org"
	failed := each(20, func(i int) error {
		written := email[:i] + strings.ToUpper(email[i:i+1]) + email[i+1:] // at most one letter differs
		_, err := w.Register(t.Context(), &usersv1.RegisterRequest{Name: "Ada", Email: written, Password: password})
		return err
	})
	var won int
	for _, err := range failed {
		if err == nil {
			won++
			continue
		}
		if e := errs.From(err); e.Code != errs.Conflict || len(e.Fields) != 1 || e.Fields[0].Name != "email" {
			t.Errorf("register: got %v, want no error or a conflict about the e-mail", err)
		}
	}
	if got := w.count(t, "users WHERE name = 'Ada'"); won != 1 || got != 1 {
		t.Errorf("got %d winners and %d rows, want one", won, got)
	}

	// Nor can it be taken by an update; a deleted account gives it back.
	bob := w.register(t, "bob")
	take := &usersv1.UpdateUserRequest{Id: bob.GetId(), UpdateMask: mask("email"), Email: strings.ToUpper(email)}
	if _, err := w.UpdateUser(w.as(t, w.admin), take); !errs.Is(err, errs.Conflict) {
		t.Errorf("take an address: got %v, want %v", err, errs.Conflict)
	}
	tokens, err := w.Login(t.Context(), &usersv1.LoginRequest{Email: email, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	ada := tokens.GetUser()
	if _, err := w.DeleteUser(w.as(t, ada), &usersv1.DeleteUserRequest{Id: ada.GetId()}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.UpdateUser(w.as(t, w.admin), take); err != nil {
		t.Errorf("take a free address: got %v, want no error", err)
	}
	if _, err := w.Login(t.Context(), &usersv1.LoginRequest{Email: email, Password: password}); err != nil {
		t.Errorf("sign in with the new address: got %v, want no error", err)
	}
}

func TestOfTwoUpdatesOfOneVersionOneWins(t *testing.T) {
	t.Parallel()
	w := start(t)
	u := w.register(t, "ada")
	ctx := w.as(t, u)
	const rounds = 20
	for round := range rounds {
		before := w.get(t, u.GetId())
		failed := each(2, func(i int) error {
			_, err := w.UpdateUser(ctx, &usersv1.UpdateUserRequest{
				Id: u.GetId(), ExpectedVersion: before.GetVersion(), UpdateMask: mask("name"), Name: fmt.Sprint(round, " by ", i),
			})
			return err
		})
		won := slices.IndexFunc(failed, func(err error) bool { return err == nil })
		if won < 0 || !errs.Is(failed[1-won], errs.PreconditionFailed) {
			t.Fatalf("round %d: got %v, want one winner and one %v", round, failed, errs.PreconditionFailed)
		}
		after := w.get(t, u.GetId())
		if after.GetVersion() != before.GetVersion()+1 || after.GetName() != fmt.Sprint(round, " by ", won) {
			t.Fatalf("round %d, won by %d: got %v after %v", round, won, after, before)
		}
	}
	// Without an expectation none fails and none is lost.
	for _, err := range each(5, func(i int) error {
		_, err := w.UpdateUser(ctx, &usersv1.UpdateUserRequest{Id: u.GetId(), UpdateMask: mask("name"), Name: fmt.Sprint("last by ", i)})
		return err
	}) {
		if err != nil {
			t.Errorf("update without an expectation: got %v, want no error", err)
		}
	}
	const want = 1 + rounds + 5
	var versions []int64
	err := w.db.NewSelect().Table("events").Column("version").Where("subject_id = ?", u.GetId()).Order("id").Scan(t.Context(), &versions)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.get(t, u.GetId()).GetVersion(); got != want || len(versions) != want || versions[want-1] != want {
		t.Errorf("got version %d and events of versions %v, want %d each", got, versions, want)
	}
}

func TestAnUpdateThatChangesNothingWritesNothing(t *testing.T) {
	t.Parallel()
	w := start(t)
	u := w.register(t, "ada")
	admin := w.as(t, w.admin)
	tests := []struct {
		name string
		req  *usersv1.UpdateUserRequest
		want int64 // version
	}{
		{"no field", &usersv1.UpdateUserRequest{Name: "Bob", Role: usersv1.Role_ROLE_ADMIN}, 1},
		{"the same again", &usersv1.UpdateUserRequest{
			UpdateMask: mask("name", "email", "role", "active"), Name: " ada ", Email: u.GetEmail(), Role: u.GetRole(), Active: true,
		}, 1},
		{"the same password, which nobody can tell", &usersv1.UpdateUserRequest{UpdateMask: mask("password"), Password: password}, 2},
		{"another name", &usersv1.UpdateUserRequest{UpdateMask: mask("name"), Name: "Ada"}, 3},
	}
	for _, tt := range tests {
		tt.req.Id = u.GetId()
		got, err := w.UpdateUser(admin, tt.req)
		if err != nil || got.GetVersion() != tt.want {
			t.Errorf("%s: got %v, %v, want version %d", tt.name, got, err, tt.want)
		}
		if n := w.count(t, "events WHERE subject_id = ? AND type IN ('user.created', 'user.updated')", u.GetId()); int64(n) != tt.want {
			t.Errorf("%s: got %d events, want %d", tt.name, n, tt.want)
		}
	}
}

func TestADeletedUserIsGone(t *testing.T) {
	t.Parallel()
	w := start(t)
	u := w.register(t, "ada")
	admin := w.as(t, w.admin)
	_, err := w.DeleteUser(admin, &usersv1.DeleteUserRequest{Id: u.GetId(), ExpectedVersion: 2})
	if !errs.Is(err, errs.PreconditionFailed) {
		t.Errorf("delete another version: got %v, want %v", err, errs.PreconditionFailed)
	}
	if _, err := w.DeleteUser(admin, &usersv1.DeleteUserRequest{Id: u.GetId(), ExpectedVersion: 1}); err != nil {
		t.Fatal(err)
	}
	_, get := w.GetUser(admin, &usersv1.GetUserRequest{Id: u.GetId()})
	_, update := w.UpdateUser(admin, &usersv1.UpdateUserRequest{Id: u.GetId(), UpdateMask: mask("name"), Name: "Ada"})
	_, remove := w.DeleteUser(admin, &usersv1.DeleteUserRequest{Id: u.GetId()})
	for name, err := range map[string]error{"get": get, "update": update, "delete": remove} {
		if !errs.Is(err, errs.NotFound) {
			t.Errorf("%s: got %v, want %v", name, err, errs.NotFound)
		}
	}
	batch, err := w.BatchGetUsers(admin, &usersv1.BatchGetUsersRequest{Ids: []int64{u.GetId(), w.admin.GetId(), 1 << 40, 0, -1}})
	if err != nil || len(batch.GetUsers()) != 1 {
		t.Errorf("batch get: got %v, %v, want the admin only", batch.GetUsers(), err)
	}
	if got := w.rpc.Statements(usersv1.UsersService_BatchGetUsers_FullMethodName); len(got) != 1 {
		t.Errorf("batch get: got the statements %q, want one", got)
	}
	list, err := w.ListUsers(admin, &usersv1.ListUsersRequest{Page: &pagev1.PageRequest{Count: true}})
	if err != nil || len(list.GetUsers()) != 1 || list.GetPage().GetTotalCount() != 1 {
		t.Errorf("list: got %v, %v, want the admin only", list, err)
	}
	if got := w.count(t, "events WHERE type = 'user.deleted' AND subject_id = ? AND actor_id = ? AND version = 2", u.GetId(), w.admin.GetId()); got != 1 {
		t.Errorf("events of the deletion: got %d, want 1", got)
	}
}

func TestAListIsNarrowedAndOrdered(t *testing.T) {
	t.Parallel()
	w := start(t)
	admin := w.as(t, w.admin)
	for _, c := range []*usersv1.CreateUserRequest{
		{Name: "Ada Lovelace"},
		{Name: "Alan Turing", Active: new(false)},
		{Name: "Grace Hopper", Role: usersv1.Role_ROLE_ADMIN},
		{Name: "Ada Yonath"},
	} {
		c.Email, c.Password = address(strings.ToLower(c.GetName())), password
		if _, err := w.CreateUser(admin, c); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		req  *usersv1.ListUsersRequest
		want string
	}{
		{"all, as they came", &usersv1.ListUsersRequest{}, "Administrator, Ada Lovelace, Alan Turing, Grace Hopper, Ada Yonath"},
		{"by name, backwards", order("-name"), "Grace Hopper, Alan Turing, Administrator, Ada Yonath, Ada Lovelace"},
		{"by creation", order("created_at"), "Administrator, Ada Lovelace, Alan Turing, Grace Hopper, Ada Yonath"},
		{"by update", order("-updated_at"), "Ada Yonath, Grace Hopper, Alan Turing, Ada Lovelace, Administrator"},
		{"a word", &usersv1.ListUsersRequest{Search: "ada"}, "Ada Yonath, Ada Lovelace"},
		{"a word that others begin with", &usersv1.ListUsersRequest{Search: "ad"}, "Administrator, Ada Yonath, Ada Lovelace"},
		{"the beginnings of words", &usersv1.ListUsersRequest{Search: "LOVE ad"}, "Ada Lovelace"},
		{"the middle of a word", &usersv1.ListUsersRequest{Search: "velace"}, ""},
		{"operators", &usersv1.ListUsersRequest{Search: "ada | grace' & !\\:*"}, ""},
		{"signs only", &usersv1.ListUsersRequest{Search: "':*"}, ""},
		{"inactive", &usersv1.ListUsersRequest{Active: new(false)}, "Alan Turing"},
		{"active admins", &usersv1.ListUsersRequest{Active: new(true), Role: usersv1.Role_ROLE_ADMIN}, "Administrator, Grace Hopper"},
	}
	for _, tt := range tests {
		tt.req.Page = cmp.Or(tt.req.GetPage(), &pagev1.PageRequest{})
		tt.req.Page.Size = 2
		var got []string
		for {
			list, err := w.ListUsers(admin, tt.req)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			for _, u := range list.GetUsers() {
				got = append(got, u.GetName())
			}
			if !list.GetPage().GetHasNext() {
				break
			}
			tt.req.Page.After = list.GetPage().GetCursors()[1]
		}
		if got := strings.Join(got, ", "); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func order(by string) *usersv1.ListUsersRequest {
	return &usersv1.ListUsersRequest{Page: &pagev1.PageRequest{OrderBy: by}}
}

// fields are the fields that the error is about, in order.
func fields(err error) []string {
	if err == nil {
		return nil
	}
	var names []string
	for _, f := range errs.From(err).Fields {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return names
}

func TestInputIsChecked(t *testing.T) {
	t.Parallel()
	w := start(t)
	admin := w.as(t, w.admin)
	long := func(n int) string { return strings.Repeat("ä", n) }
	ada := w.register(t, "ada")
	// What a registration refuses is refused by every other way in, in the same words.
	try := func(name, email, password string) func() error {
		return func() error {
			_, refused := w.Register(t.Context(), &usersv1.RegisterRequest{Name: name, Email: email, Password: password})
			if refused == nil {
				return nil
			}
			_, create := w.CreateUser(admin, &usersv1.CreateUserRequest{Name: name, Email: email, Password: password})
			_, update := w.UpdateUser(admin, &usersv1.UpdateUserRequest{
				Id: ada.GetId(), UpdateMask: mask("name", "email", "password"), Name: name, Email: email, Password: password,
			})
			for how, err := range map[string]error{"creation": create, "update": update} {
				a, b := fields(err), fields(refused)
				if !slices.Equal(a, b) {
					t.Errorf("%q, %q: got %q from a %s, want %q as from a registration", name, email, a, how, b)
				}
			}
			return refused
		}
	}
	name := func(s string) func() error { return try(s, "name@example.org", password) }
	email := func(s string) func() error { return try("Ada", s, password) }
	secret := func(s string) func() error { return try("Ada", fmt.Sprint("password", len(s), "@example.org"), s) }
	update := func(req *usersv1.UpdateUserRequest) func() error {
		return func() error {
			req.Id = w.admin.GetId()
			_, err := w.UpdateUser(admin, req)
			return err
		}
	}
	login := func(email, password string) func() error {
		return func() error {
			_, err := w.Login(t.Context(), &usersv1.LoginRequest{Email: email, Password: password})
			return err
		}
	}
	list := func(req *usersv1.ListUsersRequest) func() error {
		return func() error {
			_, err := w.ListUsers(admin, req)
			return err
		}
	}
	tests := []struct {
		name string
		do   func() error
		want string // the fields that are wrong
	}{
		{"the longest name", name(long(200)), ""},
		{"a longer name", name(long(201)), "name"},
		{"no name", name(" "), "name"},
		{"a name of two lines", name("Ada\nLovelace"), "name"},
		{"a name with NUL", name("Ada\x00"), "name"},

		{"the longest e-mail", email(strings.Repeat("a", 242) + "@example.org"), ""},
		{"a longer e-mail", email(strings.Repeat("a", 243) + "@example.org"), "email"},
		{"an e-mail with plus and dots", email("a.d+a@mail.example.org"), ""},
		{"an e-mail in a local network", email("root@localhost"), ""},
		{"an e-mail in another script", email("józef@exämple.org"), ""},
		{"no e-mail", email(""), "email"},
		{"an e-mail without @", email("ada.example.org"), "email"},
		{"an e-mail without domain", email("ada@"), "email"},
		{"an e-mail without user", email("@example.org"), "email"},
		{"an e-mail with two @", email("ada@bob@example.org"), "email"},
		{"an e-mail with a quoted @", email(`"a@b"@example.org`), "email"},
		{"an e-mail with a space", email("a da@example.org"), "email"},
		{"an e-mail with a name", email("Ada <ada@example.org>"), "email"},
		{"an e-mail with a comment", email("ada@example.org (Ada)"), "email"},
		{"two e-mails", email("ada@example.org,bob@example.org"), "email"},
		{"an e-mail with a line break", email("ada@example.org\r\nBcc: eve"), "email"},
		{"an e-mail with NUL", email("ada\x00@example.org"), "email"},
		{"an e-mail with an invisible character", email("ada\u200b@example.org"), "email"},

		{"the shortest password", secret("tr4ckway"), ""},
		{"a common password", secret("Password123"), "password"},
		{"a shorter password", secret("1234567"), "password"},
		{"the longest password", secret(long(200)), ""},
		{"a longer password", secret(long(201)), "password"},
		{"all wrong", try("", "", ""), "email name password"},

		{"an unknown role", update(&usersv1.UpdateUserRequest{UpdateMask: mask("role"), Role: 3}), "role"},
		{"no role", update(&usersv1.UpdateUserRequest{UpdateMask: mask("role")}), "role"},
		{"an unknown field", update(&usersv1.UpdateUserRequest{UpdateMask: mask("id")}), "update_mask"},
		{"a hidden field", update(&usersv1.UpdateUserRequest{UpdateMask: mask("password_hash")}), "update_mask"},
		{"an update to a short password", update(&usersv1.UpdateUserRequest{UpdateMask: mask("password"), Password: "x"}), "password"},

		{"a sign-in without anything", login("", ""), "email password"},
		{"a sign-in with NUL", login("a\x00", "b\x00"), "email password"},
		{"a sign-in with a huge password", login(adminEmail, long(100_000)), "password"},

		{"a search without end", list(&usersv1.ListUsersRequest{Search: long(201)}), "search"},
		{"the longest search", list(&usersv1.ListUsersRequest{Search: long(200)}), ""},
		{"a list of an unknown role", list(&usersv1.ListUsersRequest{Role: 9}), "role"},
		{"a batch without end", func() error {
			_, err := w.BatchGetUsers(admin, &usersv1.BatchGetUsersRequest{Ids: make([]int64, maxBatch+1)})
			return err
		}, "ids"},
	}
	for _, tt := range tests {
		err := tt.do()
		if got := strings.Join(fields(err), " "); got != tt.want || err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: got %q (%v), want %q", tt.name, got, err, tt.want)
		}
	}
}
