package users

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// sessionOf is the id of the session that the tokens are of.
func sessionOf(t *usersv1.Tokens) string {
	r, _ := parseRefreshToken(t.GetRefreshToken())
	return r.session.String()
}

// login signs a registered user in.
func (w *world) login(t *testing.T, name string) *usersv1.Tokens {
	t.Helper()
	tokens, err := w.Login(t.Context(), &usersv1.LoginRequest{Email: address(name), Password: password})
	if err != nil {
		t.Fatalf("sign in %s: %v", name, err)
	}
	return tokens
}

// with is the context of someone who has the access token.
func with(ctx context.Context, tokens *usersv1.Tokens) context.Context {
	return auth.WithCaller(ctx, &auth.Caller{Token: tokens.GetAccessToken()})
}

func (w *world) refresh(ctx context.Context, token string) (*usersv1.Tokens, error) {
	return w.RefreshTokens(ctx, &usersv1.RefreshTokensRequest{RefreshToken: token})
}

func TestARefreshTokenGivesTheNextOnce(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.register(t, "ada")
	tokens := w.login(t, "ada")
	used := []*usersv1.Tokens{tokens}
	for range 3 {
		next, err := w.refresh(t.Context(), tokens.GetRefreshToken())
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(next.GetUser(), ada) || next.GetExpiresIn() != 600 || sessionOf(next) != sessionOf(tokens) {
			t.Errorf("refreshed: got %v, want ada's, of the same session, for 600 s", next)
		}
		for _, old := range used {
			if next.GetRefreshToken() == old.GetRefreshToken() || next.GetAccessToken() == old.GetAccessToken() {
				t.Error("refreshed: got a token that was there before, want new ones")
			}
		}
		if _, err := w.GetUser(with(t.Context(), next), &usersv1.GetUserRequest{Id: ada.GetId()}); err != nil {
			t.Errorf("the new access token: got %v, want no error", err)
		}
		used = append(used, next)
		tokens = next
	}
	// The oldest of all ends the session, and the newest is then worth nothing.
	_, err := w.refresh(t.Context(), used[0].GetRefreshToken())
	if !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("the oldest: got %v, want %v", err, errs.Unauthenticated)
	}
	if _, err := w.refresh(t.Context(), tokens.GetRefreshToken()); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("the newest after the oldest came again: got %v, want %v", err, errs.Unauthenticated)
	}
	if got := w.count(t, "events WHERE type = 'session.reused' AND subject_id = ?", ada.GetId()); got != 1 {
		t.Errorf("events of reuse: got %d, want 1", got)
	}
}

func TestOfTwentyUsesOfARefreshTokenAtMostOneSucceeds(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.register(t, "ada")
	token := w.login(t, "ada").GetRefreshToken()
	next := make([]*usersv1.Tokens, 20)
	failed := each(len(next), func(i int) error {
		ctx := t.Context()
		if i%2 == 0 { // half of them with keys of their own
			ctx = idempotency.WithKey(ctx, "key "+string(rune('a'+i)))
		}
		var err error
		next[i], err = w.refresh(ctx, token)
		return err
	})
	succeeded := 0
	for i, err := range failed {
		switch {
		case err == nil:
			succeeded++
			if _, err := w.refresh(t.Context(), next[i].GetRefreshToken()); !errs.Is(err, errs.Unauthenticated) {
				t.Errorf("the winner's next token: got %v, want %v, for the session is over", err, errs.Unauthenticated)
			}
		case !errs.Is(err, errs.Unauthenticated):
			t.Errorf("use %d: got %v, want %v", i, err, errs.Unauthenticated)
		}
	}
	if succeeded != 1 {
		t.Errorf("uses that succeeded: got %d, want 1", succeeded)
	}
}

func TestALostAnswerIsGivenAgainToTheSameKeyOnly(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.register(t, "ada")
	keyed := func(key string) context.Context { return idempotency.WithKey(t.Context(), key) }
	first := w.login(t, "ada").GetRefreshToken()
	second, err := w.refresh(keyed("one"), first)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var header metadata.MD
		again, err := w.RefreshTokens(keyed("one"), &usersv1.RefreshTokensRequest{RefreshToken: first}, grpc.Header(&header))
		if err != nil || again.GetRefreshToken() != second.GetRefreshToken() {
			t.Fatalf("a retry: got %v, %v, want the same refresh token", again, err)
		}
		if got := header.Get(idempotency.ReplayedHeader); len(got) != 1 || got[0] != "true" {
			t.Errorf("a retry: got replayed %v, want true", got)
		}
	}
	// The next token is used: the first is no longer the one before the present one.
	third, err := w.refresh(keyed("two"), second.GetRefreshToken())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.refresh(keyed("one"), first); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("a retry too late: got %v, want %v", err, errs.Unauthenticated)
	}
	if _, err := w.refresh(keyed("three"), third.GetRefreshToken()); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("after that: got %v, want %v", err, errs.Unauthenticated)
	}

	for name, retry := range map[string]struct{ used, again context.Context }{
		"another key":            {keyed("one"), keyed("other")},
		"no key":                 {keyed("one"), t.Context()},
		"a key where none was":   {t.Context(), keyed("one")},
		"no key where none was":  {t.Context(), t.Context()},
		"a key that is a prefix": {keyed("one"), keyed("on")},
	} {
		token := w.login(t, "ada").GetRefreshToken()
		next, err := w.refresh(retry.used, token)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.refresh(retry.again, token); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("%s: got %v, want %v", name, err, errs.Unauthenticated)
		}
		if _, err := w.refresh(t.Context(), next.GetRefreshToken()); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("%s, then the next token: got %v, want %v", name, err, errs.Unauthenticated)
		}
	}
}

// TestARefreshTokenIsUsedAsItsSessionIs looks at what time does, which no test can wait for.
func TestARefreshTokenIsUsedAsItsSessionIs(t *testing.T) {
	t.Parallel()
	now := time.Now()
	token := newRefreshToken()
	used := func() (*user, *session) {
		u := &user{ID: 1, Active: true}
		s := &session{ID: token.session.String(), ExpiresAt: now.Add(time.Hour), RefreshHash: token.hash(), FamilyHash: token.familyHash()}
		if _, use := s.use(u, token, "key", now); use != refreshRotated {
			t.Fatalf("the first use: got %v, want %v", use, refreshRotated)
		}
		return u, s
	}
	guessed := token
	guessed.own[0]++
	stranger := newRefreshToken()
	stranger.session = token.session
	tests := []struct {
		name   string
		token  refreshToken
		after  time.Duration
		change func(*user, *session)
		want   refreshUse
	}{
		{"again, at once", token, 0, nil, refreshRepeated},
		{"again, just in time", token, reusable - 1, nil, refreshRepeated},
		{"again, too late", token, reusable, nil, refreshReused},
		{"one of the family that was never there", guessed, 0, nil, refreshReused},
		{"one that somebody made up for the session", stranger, 0, nil, refreshRefused},
		{"again, after the session", token, time.Hour, nil, refreshRefused},
		{"again, of a session that was revoked", token, 0, func(_ *user, s *session) { s.RevokedAt = now }, refreshRefused},
		{"again, of a user that was deactivated", token, 0, func(u *user, _ *session) { u.Active = false }, refreshRefused},
	}
	for _, tt := range tests {
		u, s := used()
		if tt.change != nil {
			tt.change(u, s)
		}
		if _, got := s.use(u, tt.token, "key", now.Add(tt.after)); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestARefusedRefreshTellsNothing(t *testing.T) {
	t.Parallel()
	w := start(t)
	admin := w.as(t, w.admin)
	for _, name := range []string{"ada", "inactive", "deleted", "out", "changed"} {
		w.register(t, name)
	}
	ada, inactive, deleted, out := w.login(t, "ada"), w.login(t, "inactive"), w.login(t, "deleted"), w.login(t, "out")
	if _, err := w.UpdateUser(admin, &usersv1.UpdateUserRequest{Id: inactive.GetUser().GetId(), UpdateMask: mask("active")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.DeleteUser(admin, &usersv1.DeleteUserRequest{Id: deleted.GetUser().GetId()}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Logout(with(t.Context(), out), &usersv1.LogoutRequest{}); err != nil {
		t.Fatal(err)
	}
	good := ada.GetRefreshToken()
	stranger, unknown := newRefreshToken(), newRefreshToken()
	mine, _ := parseRefreshToken(good)
	stranger.session = mine.session
	var want *status.Status
	for name, token := range map[string]string{
		"nothing": "", "no base64": "ä", "too short": good[:80], "too long": good + "AAAA", "a line break": good + "\n",
		"an access token": ada.GetAccessToken(), "NUL": "\x00", "padded": good + "==", "standard base64": base64.StdEncoding.EncodeToString([]byte(good)),
		"long": strings.Repeat("A", 100_000), "unknown": unknown.String(), "made up for a session": stranger.String(),
		"inactive": inactive.GetRefreshToken(), "deleted": deleted.GetRefreshToken(), "signed out": out.GetRefreshToken(),
	} {
		_, err := w.refresh(t.Context(), token)
		got := status.Convert(err)
		if want == nil {
			want = got
		}
		if !errs.Is(err, errs.Unauthenticated) || !proto.Equal(got.Proto(), want.Proto()) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if _, err := w.refresh(t.Context(), good); err != nil {
		t.Errorf("the good one, after all these: got %v, want no error", err)
	}
}
