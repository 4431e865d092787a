package users

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// token makes a personal access token of the caller's.
func (w *world) token(ctx context.Context, t *testing.T, scopes ...auth.Scope) *usersv1.Token {
	t.Helper()
	req := &usersv1.CreateTokenRequest{Name: "Report"}
	for _, s := range scopes {
		req.Scopes = append(req.Scopes, string(s))
	}
	made, err := w.CreateToken(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// exchange gives the context of someone who has the secret.
func (w *world) exchange(t *testing.T, secret string) (context.Context, error) {
	t.Helper()
	res, err := w.ExchangeToken(t.Context(), &usersv1.ExchangeTokenRequest{Secret: secret})
	return auth.WithCaller(t.Context(), &auth.Caller{Token: res.GetAccessToken()}), err
}

func TestAPersonalAccessTokenIsForItsScopes(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada, bob := w.register(t, "ada"), w.register(t, "bob")
	root := w.token(w.as(t, w.admin), t, auth.AdminScope, auth.WriteUsersScope)
	ctx, err := w.exchange(t, root.GetSecret())
	if err != nil {
		t.Fatal(err)
	}
	mine, err := w.exchange(t, w.token(w.as(t, ada), t, auth.WriteUsersScope).GetSecret())
	if err != nil {
		t.Fatal(err)
	}
	reads, err := w.exchange(t, w.token(w.as(t, ada), t, auth.ReadUsersScope).GetSecret())
	if err != nil {
		t.Fatal(err)
	}
	tame, err := w.exchange(t, w.token(w.as(t, w.admin), t, auth.WriteUsersScope).GetSecret())
	if err != nil {
		t.Fatal(err)
	}
	update := func(ctx context.Context, u *usersv1.User, fields ...string) error {
		_, err := w.UpdateUser(ctx, &usersv1.UpdateUserRequest{
			Id: u.GetId(), UpdateMask: mask(fields...), Name: "New", Email: "new@example.org", Active: true,
			Role: usersv1.Role_ROLE_ADMIN, Password: "new " + password,
		})
		return err
	}
	for _, tt := range []struct {
		name string
		err  error
		want errs.Code
	}{
		{"its own name", update(mine, ada, "name"), ""},
		{"its own name, reading", update(reads, ada, "name"), errs.InsufficientScope},
		{"another's name", update(mine, bob, "name"), errs.Denied},
		{"another's name by an admin", update(ctx, bob, "name", "active"), ""},
		{"another's name by an admin without the scope", update(tame, bob, "name"), errs.Denied},
		{"a role", update(ctx, bob, "role"), errs.Denied},
		{"a password", update(ctx, bob, "password"), errs.Denied},
		{"an e-mail", update(ctx, bob, "email"), errs.Denied},
		{"an administrator", func() error {
			_, err := w.CreateUser(ctx, &usersv1.CreateUserRequest{
				Name: "Eve", Email: "eve@example.org", Password: password, Role: usersv1.Role_ROLE_ADMIN,
			})
			return err
		}(), errs.Denied},
		{"its sessions", func() error { _, err := w.ListSessions(ctx, &usersv1.ListSessionsRequest{}); return err }(), errs.Denied},
		{"its tokens", func() error {
			_, err := w.CreateToken(ctx, &usersv1.CreateTokenRequest{Name: "More", Scopes: []string{"admin"}})
			return err
		}(), errs.Denied},
	} {
		if got := code(tt.err); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestAPersonalAccessTokenIsShownOnceAndStoredHashed(t *testing.T) {
	t.Parallel()
	w := start(t)
	ctx := w.as(t, w.register(t, "ada"))
	req := &usersv1.CreateTokenRequest{Name: "Report", Scopes: []string{"tasks:read", "tasks:read"}, ProjectIds: []int64{9, 3, 9}}
	first, err := w.CreateToken(idempotency.WithKey(ctx, "once"), req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.CreateToken(idempotency.WithKey(ctx, "once"), req)
	if err != nil {
		t.Fatal(err)
	}
	if !auth.IsSecret(first.GetSecret()) || again.GetSecret() != "" || again.GetId() != first.GetId() {
		t.Errorf("got %v and, again, %v, want one token whose secret is shown once", first, again)
	}
	list, err := w.ListTokens(ctx, &usersv1.ListTokensRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.GetTokens()) != 1 || list.GetTokens()[0].GetSecret() != "" ||
		!slices.Equal(list.GetTokens()[0].GetProjectIds(), []int64{3, 9}) || !slices.Equal(list.GetTokens()[0].GetScopes(), []string{"tasks:read"}) {
		t.Errorf("the list: got %v, want one for projects 3 and 9 without its secret", list.GetTokens())
	}
	var stored []byte
	err = w.db.NewRaw(`SELECT string_agg(convert_to(t::text, 'UTF8'), '') || (SELECT string_agg(answer, '') FROM idempotency_keys)
		|| (SELECT string_agg(payload, '') FROM events) FROM tokens t`).Scan(t.Context(), &stored)
	if err != nil || len(stored) == 0 || bytes.Contains(stored, []byte(first.GetSecret())) {
		t.Errorf("stored: got the secret in %q, %v, want none", stored, err)
	}
	if strings.Contains(w.log.String(), first.GetSecret()) {
		t.Error("log: got the secret, want none")
	}
}

func TestWhatEndsAPersonalAccessToken(t *testing.T) {
	t.Parallel()
	w := start(t)
	admin := w.as(t, w.admin)
	change := func(field string) func(context.Context, *usersv1.User, *usersv1.Token) error {
		return func(_ context.Context, u *usersv1.User, _ *usersv1.Token) error {
			_, err := w.UpdateUser(admin, &usersv1.UpdateUserRequest{
				Id: u.GetId(), UpdateMask: mask(field), Name: "New", Role: usersv1.Role_ROLE_USER, Password: "another " + password,
			})
			return err
		}
	}
	for _, tt := range []struct {
		name string
		ends bool
		do   func(ctx context.Context, u *usersv1.User, token *usersv1.Token) error
	}{
		{"another name", false, change("name")},
		{"another password", false, change("password")},
		{"signing out everywhere", false, func(ctx context.Context, _ *usersv1.User, _ *usersv1.Token) error {
			_, err := w.DeleteSessions(ctx, &usersv1.DeleteSessionsRequest{})
			return err
		}},
		{"being deleted itself", true, func(ctx context.Context, _ *usersv1.User, token *usersv1.Token) error {
			_, err := w.DeleteToken(ctx, &usersv1.DeleteTokenRequest{Id: token.GetId()})
			return err
		}},
		{"its user's deactivation", true, change("active")},
		{"its user's demotion", true, change("role")},
		{"its user's deletion", true, func(_ context.Context, u *usersv1.User, _ *usersv1.Token) error {
			_, err := w.DeleteUser(admin, &usersv1.DeleteUserRequest{Id: u.GetId()})
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := w.register(t, tt.name)
			_, err := w.UpdateUser(admin, &usersv1.UpdateUserRequest{Id: u.GetId(), UpdateMask: mask("role"), Role: usersv1.Role_ROLE_ADMIN})
			if err != nil {
				t.Fatal(err)
			}
			token := w.token(w.as(t, u), t, auth.ReadUsersScope)
			if _, err := w.exchange(t, token.GetSecret()); err != nil {
				t.Fatal(err)
			}
			before := w.revoked(t, nil).GetReadAt()
			if err := tt.do(w.as(t, u), u, token); err != nil {
				t.Fatal(err)
			}
			_, err = w.exchange(t, token.GetSecret())
			if got := code(err); tt.ends != (got == errs.Unauthenticated) || !tt.ends && err != nil {
				t.Errorf("exchange: got %v, want it refused: %v", err, tt.ends)
			}
			sid := sidOf(token.GetId())
			if got := slices.Contains(w.revoked(t, before).GetSessionIds(), sid); got != tt.ends {
				t.Errorf("%s among what ended: got %v, want %v", sid, got, tt.ends)
			}
			if got, want := w.count(t, "events WHERE type = 'token.revoked' AND subject_id = ?", u.GetId()), map[bool]int{true: 1}[tt.ends]; got != want {
				t.Errorf("events: got %d, want %d", got, want)
			}
		})
	}
}

func TestPersonalAccessTokensAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada, eve := w.register(t, "ada"), w.register(t, "eve")
	token := w.token(w.as(t, ada), t, auth.ReadUsersScope)
	for _, who := range []*usersv1.User{eve, w.admin} {
		ctx := w.as(t, who)
		if _, err := w.GetToken(ctx, &usersv1.GetTokenRequest{Id: token.GetId()}); !errs.Is(err, errs.NotFound) {
			t.Errorf("get: got %v, want %v", err, errs.NotFound)
		}
		if _, err := w.DeleteToken(ctx, &usersv1.DeleteTokenRequest{Id: token.GetId()}); !errs.Is(err, errs.NotFound) {
			t.Errorf("delete: got %v, want %v", err, errs.NotFound)
		}
		if list, err := w.ListTokens(ctx, &usersv1.ListTokensRequest{}); err != nil || len(list.GetTokens()) > 0 {
			t.Errorf("list: got %v, %v, want none", list, err)
		}
	}
}

func TestAPersonalAccessTokenThatCanNotBe(t *testing.T) {
	t.Parallel()
	w := start(t)
	ctx := w.as(t, w.register(t, "ada"))
	in := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(d)) }
	read := []string{"tasks:read"}
	for _, tt := range []struct {
		name string
		req  *usersv1.CreateTokenRequest
		want errs.Code
	}{
		{"of a year", &usersv1.CreateTokenRequest{Name: "x", Scopes: read, ExpiresAt: in(365 * 24 * time.Hour)}, ""},
		{"without a name", &usersv1.CreateTokenRequest{Name: " ", Scopes: read}, errs.Invalid},
		{"without a scope", &usersv1.CreateTokenRequest{Name: "x"}, errs.Invalid},
		{"for an unknown scope", &usersv1.CreateTokenRequest{Name: "x", Scopes: []string{"tasks:own"}}, errs.Invalid},
		{"for no project", &usersv1.CreateTokenRequest{Name: "x", Scopes: read, ProjectIds: []int64{0}}, errs.Invalid},
		{"for ever", &usersv1.CreateTokenRequest{Name: "x", Scopes: read, ExpiresAt: in(400 * 24 * time.Hour)}, errs.Invalid},
		{"that has ended", &usersv1.CreateTokenRequest{Name: "x", Scopes: read, ExpiresAt: in(-time.Second)}, errs.Invalid},
		{"for an administrator, by none", &usersv1.CreateTokenRequest{Name: "x", Scopes: []string{"admin"}}, errs.Denied},
	} {
		if _, err := w.CreateToken(ctx, tt.req); code(err) != tt.want {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	for _, secret := range []string{"", "twk_", auth.NewSecret()} {
		if _, err := w.exchange(t, secret); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("exchange %q: got %v, want %v", secret, err, errs.Unauthenticated)
		}
	}
}

func TestAUserHasSoManyTokensAtMost(t *testing.T) {
	t.Parallel()
	w := start(t)
	ctx := w.as(t, w.register(t, "ada"))
	var made, refused int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for range 11 {
				_, err := w.CreateToken(ctx, &usersv1.CreateTokenRequest{Name: "x", Scopes: []string{"tasks:read"}})
				mu.Lock()
				switch {
				case err == nil:
					made++
				case errs.Is(err, errs.Conflict):
					refused++
				default:
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if made != maxTokens || refused != 110-maxTokens {
		t.Errorf("got %d made and %d refused, want %d and %d", made, refused, maxTokens, 110-maxTokens)
	}
}

func TestTheUseOfATokenIsNotedNowAndThen(t *testing.T) {
	t.Parallel()
	w := start(t)
	ctx := w.as(t, w.register(t, "ada"))
	token := w.token(ctx, t, auth.ReadUsersScope)
	w.rpc.Statements(usersv1.UsersService_ExchangeToken_FullMethodName)
	for range 3 {
		if _, err := w.exchange(t, token.GetSecret()); err != nil {
			t.Fatal(err)
		}
	}
	writes := 0
	for _, s := range w.rpc.Statements(usersv1.UsersService_ExchangeToken_FullMethodName) {
		if strings.HasPrefix(s, "UPDATE") {
			writes++
		}
	}
	got, err := w.GetToken(ctx, &usersv1.GetTokenRequest{Id: token.GetId()})
	if err != nil || got.GetLastUsedAt() == nil || writes != 1 {
		t.Errorf("got the use %v and %d writes for three uses, %v, want one", got.GetLastUsedAt(), writes, err)
	}
}

// sidOf is what names a token in its access tokens.
func sidOf(id int64) string { return (&token{ID: id}).sid() }
