package users

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/uptrace/bun"
	"golang.org/x/crypto/argon2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	"github.com/trackway/trackway/services/platform/write"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// revoked gives the sessions that ended since then.
func (w *world) revoked(t *testing.T, since *timestamppb.Timestamp) *usersv1.ListRevocationsResponse {
	t.Helper()
	res, err := w.ListRevocations(t.Context(), &usersv1.ListRevocationsRequest{Since: since})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (w *world) mustRefresh(t *testing.T, tokens *usersv1.Tokens, works bool) {
	t.Helper()
	if _, err := w.refresh(t.Context(), tokens.GetRefreshToken()); works != (err == nil) || err != nil && !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("refresh: got %v, want it to work: %v", err, works)
	}
}

func TestWhatEndsASession(t *testing.T) {
	t.Parallel()
	w := start(t)
	admin := w.as(t, w.admin)
	promote := func(t *testing.T, u *usersv1.User) {
		t.Helper()
		_, err := w.UpdateUser(admin, &usersv1.UpdateUserRequest{Id: u.GetId(), UpdateMask: mask("role"), Role: usersv1.Role_ROLE_ADMIN})
		if err != nil {
			t.Fatal(err)
		}
	}
	change := func(field string) func(context.Context, *usersv1.Tokens, *usersv1.Tokens) error {
		return func(_ context.Context, mine, _ *usersv1.Tokens) error {
			_, err := w.UpdateUser(admin, &usersv1.UpdateUserRequest{
				Id: mine.GetUser().GetId(), UpdateMask: mask(field), Name: "New", Role: usersv1.Role_ROLE_USER, Password: "another " + password,
			})
			return err
		}
	}
	tests := []struct {
		name        string
		mine, other bool // whether they work afterwards
		do          func(ctx context.Context, mine, other *usersv1.Tokens) error
	}{
		{"nothing", true, true, func(context.Context, *usersv1.Tokens, *usersv1.Tokens) error { return nil }},
		{"signing out", false, true, func(ctx context.Context, _, _ *usersv1.Tokens) error {
			_, err := w.Logout(ctx, &usersv1.LogoutRequest{})
			return err
		}},
		{"signing out twice", false, true, func(ctx context.Context, _, _ *usersv1.Tokens) error {
			for range 2 {
				if _, err := w.Logout(ctx, &usersv1.LogoutRequest{}); err != nil {
					return err
				}
			}
			return nil
		}},
		{"ending the other", true, false, func(ctx context.Context, _, other *usersv1.Tokens) error {
			_, err := w.DeleteSession(ctx, &usersv1.DeleteSessionRequest{Id: sessionOf(other)})
			return err
		}},
		{"signing out everywhere", false, false, func(ctx context.Context, _, _ *usersv1.Tokens) error {
			_, err := w.DeleteSessions(ctx, &usersv1.DeleteSessionsRequest{})
			return err
		}},
		{"changing the password", true, false, func(ctx context.Context, _, _ *usersv1.Tokens) error {
			_, err := w.ChangePassword(ctx, &usersv1.ChangePasswordRequest{CurrentPassword: password, NewPassword: "new " + password})
			return err
		}},
		{"a name changed by an admin", true, true, change("name")},
		{"a password set by an admin", false, false, change("password")},
		{"being deactivated", false, false, change("active")},
		{"being demoted", false, false, change("role")},
		{"being deleted", false, false, func(_ context.Context, mine, _ *usersv1.Tokens) error {
			_, err := w.DeleteUser(admin, &usersv1.DeleteUserRequest{Id: mine.GetUser().GetId()})
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			promote(t, w.register(t, tt.name))
			mine, other := w.login(t, tt.name), w.login(t, tt.name)
			before := w.revoked(t, nil).GetReadAt()
			if err := tt.do(with(t.Context(), mine), mine, other); err != nil {
				t.Fatal(err)
			}
			ended := w.revoked(t, before).GetSessionIds()
			for _, s := range []struct {
				name   string
				tokens *usersv1.Tokens
				works  bool
			}{{"the session", mine, tt.mine}, {"the other", other, tt.other}} {
				if got := !slices.Contains(ended, sessionOf(s.tokens)); got != s.works {
					t.Errorf("%s: got it among the living: %v, want %v", s.name, got, s.works)
				}
				w.mustRefresh(t, s.tokens, s.works)
			}
			want := 0
			if !tt.mine || !tt.other {
				want = 1
			}
			if got := w.count(t, "events WHERE type = 'session.revoked' AND subject_id = ?", mine.GetUser().GetId()); got != want {
				t.Errorf("events: got %d, want %d", got, want)
			}
		})
	}
}

func TestSessionsAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.register(t, "ada")
	w.register(t, "eve")
	phone, err := w.Login(auth.WithDevice(t.Context(), "Phone/1.0 (ärger)\r\n"), &usersv1.LoginRequest{Email: address("ada"), Password: password})
	if err != nil {
		t.Fatal(err)
	}
	desk, eve := w.login(t, "ada"), w.login(t, "eve")
	next, err := w.refresh(t.Context(), phone.GetRefreshToken())
	if err != nil {
		t.Fatal(err)
	}
	list := func(tokens *usersv1.Tokens) []*usersv1.Session {
		t.Helper()
		res, err := w.ListSessions(with(t.Context(), tokens), &usersv1.ListSessionsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetSessions()
	}
	got := list(desk)
	if len(got) != 2 || got[0].GetId() != sessionOf(next) || got[1].GetId() != sessionOf(desk) {
		t.Fatalf("ada's sessions: got %v, want the phone's, which was used last, and the desk's", got)
	}
	if got[0].GetCurrent() || !got[1].GetCurrent() || got[0].GetDevice() != "Phone/1.0 (rger)" || got[1].GetDevice() != "" {
		t.Errorf("ada's sessions: got %v, want the second one current, and the phone named", got)
	}
	if !got[0].GetLastUsedAt().AsTime().After(got[0].GetCreatedAt().AsTime()) {
		t.Errorf("the phone's session: got it used at %v, want later than %v", got[0].GetLastUsedAt(), got[0].GetCreatedAt())
	}
	for name, id := range map[string]string{
		"someone else's": sessionOf(phone), "one that is not there": newRefreshToken().session.String(), "no id": "x", "NUL": "\x00", "nothing": "",
		"an injection": "' OR true --",
	} {
		_, err := w.DeleteSession(with(t.Context(), eve), &usersv1.DeleteSessionRequest{Id: id})
		if !errs.Is(err, errs.NotFound) {
			t.Errorf("end %s: got %v, want %v", name, err, errs.NotFound)
		}
	}
	if got := list(eve); len(got) != 1 {
		t.Errorf("eve's sessions: got %v, want one", got)
	}
	if _, err := w.DeleteSession(with(t.Context(), desk), &usersv1.DeleteSessionRequest{Id: sessionOf(phone)}); err != nil {
		t.Fatal(err)
	}
	if got := list(desk); len(got) != 1 || got[0].GetId() != sessionOf(desk) {
		t.Errorf("ada's sessions afterwards: got %v, want the desk's", got)
	}
	if got := w.dump(t, "events"); strings.Contains(got, "Phone") {
		t.Error("an event tells a device")
	}
}

func TestAPasswordIsChangedByWhoKnowsIt(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.register(t, "ada")
	tokens := w.login(t, "ada")
	ctx := idempotency.WithKey(with(t.Context(), tokens), "a key")
	const fresh = "another one altogether"
	for _, tt := range []struct{ name, current, fresh, want string }{
		{"a wrong one", password + "x", fresh, "current_password"},
		{"none", "", fresh, "current_password"},
		{"to a short one", password, "short", "new_password"},
		{"to a common one", password, "iLoveYou2", "new_password"},
	} {
		_, err := w.ChangePassword(ctx, &usersv1.ChangePasswordRequest{CurrentPassword: tt.current, NewPassword: tt.fresh})
		if got := strings.Join(fields(err), " "); got != tt.want {
			t.Errorf("%s: got %q (%v), want %q", tt.name, got, err, tt.want)
		}
	}
	for range 2 { // also when the answer was lost, and the old one is no longer right
		_, err := w.ChangePassword(ctx, &usersv1.ChangePasswordRequest{CurrentPassword: password, NewPassword: fresh})
		if err != nil {
			t.Fatal(err)
		}
	}
	for p, want := range map[string]errs.Code{password: errs.Unauthenticated, fresh: ""} {
		_, err := w.Login(t.Context(), &usersv1.LoginRequest{Email: address("ada"), Password: p})
		if got := code(err); got != want {
			t.Errorf("sign in with %q: got %q, want %q", p, got, want)
		}
	}
	if got := w.get(t, tokens.GetUser().GetId()).GetVersion(); got != 2 {
		t.Errorf("version: got %d, want 2", got)
	}
}

func TestAnOldHashIsRenewedAtSignIn(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.register(t, "ada")
	old := encode(phc{
		memory: 64, time: 1, threads: 1, salt: []byte("sixteen bytes ok"),
		key: argon2.IDKey([]byte(password), []byte("sixteen bytes ok"), 1, 64, 1, keySize),
	})
	// As it was stored when the cost was lower.
	if _, err := w.db.NewUpdate().Model((*user)(nil)).Set("password_hash = ?", old).Where("id = ?", ada.GetId()).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Ten at once: each of them finds the old hash.
	for i, err := range each(10, func(int) error {
		_, err := w.Login(t.Context(), &usersv1.LoginRequest{Email: address("ada"), Password: password})
		return err
	}) {
		if err != nil {
			t.Errorf("sign-in %d: got %v, want no error", i, err)
		}
	}
	var u user
	if err := w.db.NewSelect().Model(&u).Where("id = ?", ada.GetId()).Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if u.PasswordHash == old || outdated(u.PasswordHash) {
		t.Error("the hash: got the old one, want one at today's cost")
	}
	if got := w.get(t, ada.GetId()); !proto.Equal(got, ada) {
		t.Errorf("the user: got %v, want %v", got, ada)
	}
}

func TestSignInsThatRaceADeactivationLeaveNoSession(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.register(t, "ada")
	tokens := make([]*usersv1.Tokens, 12)
	for i, err := range each(len(tokens), func(i int) error {
		if i == 4 {
			_, err := w.UpdateUser(w.as(t, w.admin), &usersv1.UpdateUserRequest{Id: ada.GetId(), UpdateMask: mask("active")})
			return err
		}
		var err error
		tokens[i], err = w.Login(t.Context(), &usersv1.LoginRequest{Email: address("ada"), Password: password})
		return err
	}) {
		if err != nil && !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("sign-in %d: got %v, want %v or success", i, err, errs.Unauthenticated)
		}
	}
	if got := w.count(t, "sessions WHERE revoked_at IS NULL"); got != 0 {
		t.Errorf("living sessions of someone who is not active: got %d, want none", got)
	}
}

func TestEndedSessionsArePurgedWhenNobodyAsksForThemAnyMore(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.register(t, "ada")
	ends := map[string]*usersv1.Tokens{"living": w.login(t, "ada"), "ended": w.login(t, "ada"), "expired": w.login(t, "ada")}
	if _, err := w.Logout(with(t.Context(), ends["ended"]), &usersv1.LogoutRequest{}); err != nil {
		t.Fatal(err)
	}
	_, err := w.db.NewUpdate().Model((*session)(nil)).Set("expires_at = now()").Where("id = ?", sessionOf(ends["expired"])).Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := store{&write.DB{DB: w.db}}
	for _, tt := range []struct {
		before time.Time
		want   int
	}{{time.Now().Add(-time.Hour), 3}, {time.Now().Add(time.Hour), 1}} {
		if more, err := s.purge(t.Context(), tt.before); err != nil || more {
			t.Errorf("purge: got %v, %v, want no more and no error", more, err)
		}
		if got := w.count(t, "sessions"); got != tt.want {
			t.Errorf("sessions left of those that ended before %v: got %d, want %d", tt.before, got, tt.want)
		}
	}
	w.mustRefresh(t, ends["living"], true)
	w.mustRefresh(t, ends["ended"], false)
}

func TestTheMostCommonPasswordsAreKnown(t *testing.T) {
	t.Parallel()
	all := strings.Split(strings.TrimSuffix(common, "\n"), "\n")
	if !slices.IsSorted(all) || len(all) < 10_000 {
		t.Fatalf("the list: got %d lines, sorted: %v, want more, in order", len(all), slices.IsSorted(all))
	}
	for _, p := range all {
		if !isCommon(p) || !isCommon(strings.ToUpper(p)) && strings.ToLower(strings.ToUpper(p)) == p {
			t.Errorf("%q: got it unknown, want it known", p)
		}
	}
	for _, p := range []string{"", "\n", "!", "zzzzzzzzzzzzzzzz", "\xff\xff", password, all[0][1:], all[0] + "\n" + all[1], all[7] + "\n"} {
		if isCommon(p) {
			t.Errorf("%q: got it known, want it unknown", p)
		}
	}
}

// TestAnAccessTokenStopsOnEveryReplica shows that what the unit tests of package auth time is wired: it takes as long as
// the next question for what ended.
func TestAnAccessTokenStopsOnEveryReplica(t *testing.T) {
	t.Parallel()
	cfg := configure(t)
	var replicas []usersv1.UsersServiceClient
	for range 2 {
		_, client := run(t, cfg, new(logBuffer))
		replicas = append(replicas, client)
	}
	var admin int64 // not always 1: of two replicas that make it at once, one makes nothing with the id it has taken
	login := func() context.Context {
		t.Helper()
		tokens, err := replicas[0].Login(t.Context(), &usersv1.LoginRequest{Email: adminEmail, Password: adminPassword})
		if err != nil {
			t.Fatal(err)
		}
		admin = tokens.GetUser().GetId()
		return with(t.Context(), tokens)
	}
	out, stays := login(), login()
	get := func(ctx context.Context, replica int) errs.Code {
		_, err := replicas[replica].GetUser(ctx, &usersv1.GetUserRequest{Id: admin})
		return code(err)
	}
	for i := range replicas {
		if got := get(out, i); got != "" {
			t.Fatalf("replica %d, signed in: got %q, want no error", i, got)
		}
	}
	if _, err := replicas[0].Logout(out, &usersv1.LogoutRequest{}); err != nil {
		t.Fatal(err)
	}
	const soon = time.Minute // far less than a token lasts; how soon is shown in platform/auth
	deadline, again := time.After(soon), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	for i := range replicas {
		for get(out, i) != errs.Unauthenticated {
			select {
			case <-deadline:
				t.Fatalf("replica %d, %v after: got %q, want %q", i, soon, get(out, i), errs.Unauthenticated)
			case <-again.C:
			}
		}
		if got := get(stays, i); got != "" {
			t.Errorf("replica %d, another session: got %q, want no error", i, got)
		}
	}
}

// TestAnAccessTokenEndsWithItsSession: of a session that has expired nothing is left that would have to be ended.
func TestAnAccessTokenEndsWithItsSession(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *Config) { c.RefreshTTL = c.AccessTTL })
	w.register(t, "ada")
	tokens := w.login(t, "ada")
	_, err := w.db.NewRaw("UPDATE sessions SET expires_at = now() + interval '1 minute'").Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tokens, err = w.refresh(t.Context(), tokens.GetRefreshToken())
	if err != nil {
		t.Fatal(err)
	}
	if got := tokens.GetExpiresIn(); got > 60 {
		t.Errorf("expires_in: got %d, want no more than the session has left", got)
	}
	parser := jwt.NewParser()
	var claims jwt.RegisteredClaims
	if _, _, err := parser.ParseUnverified(tokens.GetAccessToken(), &claims); err != nil {
		t.Fatal(err)
	}
	if got := time.Until(claims.ExpiresAt.Time); got > time.Minute {
		t.Errorf("the access token: got one for %v, want no more than the session has left", got)
	}
}

// TestAnEndedSessionLeavesNothingThatLasts: while its access token is still accepted, for a few seconds, no other way in
// can be made with it.
func TestAnEndedSessionLeavesNothingThatLasts(t *testing.T) {
	t.Parallel()
	w := start(t)
	u := w.register(t, "ada")
	admin := w.as(t, w.admin)
	promote := &usersv1.UpdateUserRequest{Id: u.GetId(), UpdateMask: mask("role"), Role: usersv1.Role_ROLE_ADMIN}
	if _, err := w.UpdateUser(admin, promote); err != nil {
		t.Fatal(err)
	}
	ada := with(t.Context(), w.login(t, "ada"))
	script, err := w.exchange(t, w.token(ada, t, auth.WriteUsersScope, auth.AdminScope).GetSecret())
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range []*usersv1.UpdateUserRequest{
		{Id: u.GetId(), UpdateMask: mask("role"), Role: usersv1.Role_ROLE_USER}, // which ends all
		{Id: u.GetId(), UpdateMask: mask("active")},
	} {
		if _, err := w.UpdateUser(admin, req); err != nil {
			t.Fatal(err)
		}
	}
	for name, do := range map[string]func() error{
		"reactivation": func() error {
			_, err := w.UpdateUser(ada, &usersv1.UpdateUserRequest{Id: u.GetId(), UpdateMask: mask("active"), Active: true})
			return err
		},
		"reactivation by a script": func() error {
			_, err := w.UpdateUser(script, &usersv1.UpdateUserRequest{Id: u.GetId(), UpdateMask: mask("active"), Active: true})
			return err
		},
		"promotion": func() error { _, err := w.UpdateUser(ada, promote); return err },
		"another administrator": func() error {
			_, err := w.CreateUser(ada, &usersv1.CreateUserRequest{Name: "Eve", Email: address("eve"), Password: password, Role: usersv1.Role_ROLE_ADMIN})
			return err
		},
	} {
		if err := do(); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("%s: got %v, want %v", name, err, errs.Unauthenticated)
		}
	}

	w.register(t, "bob")
	bob := with(t.Context(), w.login(t, "bob"))
	w.resetPassword(t, "bob", "another "+password)
	if _, err := w.CreateToken(bob, &usersv1.CreateTokenRequest{Name: "Report", Scopes: []string{"tasks:read"}}); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("a personal access token: got %v, want %v", err, errs.Unauthenticated)
	}
}

// TestNobodyMakesAnAdministratorBesideTheirOwnEnd: what ends the caller at the same time comes before it, or after.
func TestNobodyMakesAnAdministratorBesideTheirOwnEnd(t *testing.T) {
	t.Parallel()
	w := start(t)
	bob := w.register(t, "bob")
	for name, do := range map[string]func(ctx context.Context) error{
		"create": func(ctx context.Context) error {
			_, err := w.CreateUser(ctx, &usersv1.CreateUserRequest{Name: "Eve", Email: address("eve"), Password: password, Role: usersv1.Role_ROLE_ADMIN})
			return err
		},
		"update": func(ctx context.Context) error {
			_, err := w.UpdateUser(ctx, &usersv1.UpdateUserRequest{Id: bob.GetId(), UpdateMask: mask("role"), Role: usersv1.Role_ROLE_ADMIN})
			return err
		},
	} {
		caller := w.register(t, name)
		promote := &usersv1.UpdateUserRequest{Id: caller.GetId(), UpdateMask: mask("role"), Role: usersv1.Role_ROLE_ADMIN}
		if _, err := w.UpdateUser(w.as(t, w.admin), promote); err != nil {
			t.Fatal(err)
		}
		ctx := with(t.Context(), w.login(t, name))
		tx, err := w.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		// What a demotion does.
		_, err = tx.NewRaw("UPDATE users SET version = version + 1, role = 1 WHERE id = ?", caller.GetId()).Exec(t.Context())
		if err == nil {
			_, err = tx.NewRaw("UPDATE sessions SET revoked_at = clock_timestamp() WHERE user_id = ?", caller.GetId()).Exec(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		made := make(chan error, 1)
		go func() { made <- do(ctx) }()
		tick := time.NewTicker(10 * time.Millisecond)
		for w.count(t, "pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()") == 0 && len(made) == 0 {
			<-tick.C
		}
		tick.Stop()
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := <-made; !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("%s: got %v, want %v", name, err, errs.Unauthenticated)
		}
	}
}

// TestWhatHasJustExpiredIsEndedToo: its last access tokens are accepted for as long as clocks may differ.
func TestWhatHasJustExpiredIsEndedToo(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.register(t, "ada")
	ses := sessionOf(w.login(t, "ada"))
	first, second := w.token(w.as(t, ada), t, auth.ReadTasksScope), w.token(w.as(t, ada), t, auth.ReadTasksScope)
	for _, table := range []string{"sessions", "tokens"} {
		_, err := w.db.NewRaw("UPDATE ? SET last_used_at = now(), expires_at = now() - interval '5 seconds' WHERE user_id = ?",
			bun.Ident(table), ada.GetId()).Exec(t.Context())
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.DeleteToken(w.as(t, ada), &usersv1.DeleteTokenRequest{Id: first.GetId()}); err != nil {
		t.Errorf("one token: got %v, want success", err)
	}
	if _, err := w.DeleteUser(w.as(t, ada), &usersv1.DeleteUserRequest{Id: ada.GetId()}); err != nil {
		t.Fatal(err)
	}
	got, want := w.revoked(t, nil).GetSessionIds(), []string{ses, sidOf(first.GetId()), sidOf(second.GetId())}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("ended: got %v, want %v", got, want)
	}
}

// TestAUserHasSoManySessionsAtMost: one more ends that which was not used for longest, and no more than that.
func TestAUserHasSoManySessionsAtMost(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.register(t, "ada")
	first := w.login(t, "ada")
	_, err := w.db.NewRaw(`INSERT INTO sessions (user_id, refresh_hash, family_hash, device, expires_at, last_used_at)
		SELECT ?, sha256(n::text::bytea), sha256('family'), '', now() + interval '1 day', now() - n * interval '1 minute'
		FROM generate_series(1, ?) AS n`, ada.GetId(), maxSessions-1).Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	live := func() int {
		return w.count(t, "sessions WHERE user_id = ? AND revoked_at IS NULL", ada.GetId())
	}
	if _, err := w.refresh(t.Context(), first.GetRefreshToken()); err != nil || live() != maxSessions {
		t.Fatalf("got %d sessions, %v, want %d", live(), err, maxSessions)
	}
	for n := range 2 {
		w.mustRefresh(t, w.login(t, "ada"), true)
		oldest := w.count(t, "sessions WHERE user_id = ? AND revoked_at IS NULL AND last_used_at < now() - ? * interval '1 minute'",
			ada.GetId(), maxSessions-1-n)
		if live() != maxSessions || oldest != 0 {
			t.Errorf("got %d sessions, of the oldest %d, want %d and none", live(), oldest, maxSessions)
		}
		if got := w.count(t, "events WHERE type = 'session.revoked' AND subject_id = ?", ada.GetId()); got != n+1 {
			t.Errorf("got %d events of ended sessions, want %d", got, n+1)
		}
	}
}

// TestOnlyWhatCanStillBeAcceptedIsTold: whoever ends very many old sessions at once must not make the answer one that is
// too long to be read, for then nobody would learn of any.
func TestOnlyWhatCanStillBeAcceptedIsTold(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.register(t, "ada")
	idle, busy := w.login(t, "ada"), w.login(t, "ada")
	_, err := w.db.NewRaw("UPDATE sessions SET last_used_at = now() - interval '1 hour' WHERE id = ?", sessionOf(idle)).Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unused, used := w.token(w.as(t, ada), t, auth.ReadTasksScope), w.token(w.as(t, ada), t, auth.ReadTasksScope)
	if _, err := w.exchange(t, used.GetSecret()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.DeleteUser(w.as(t, ada), &usersv1.DeleteUserRequest{Id: ada.GetId()}); err != nil {
		t.Fatal(err)
	}
	got, want := w.revoked(t, nil).GetSessionIds(), []string{sessionOf(busy), sidOf(used.GetId())}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("ended: got %v, want %v, and neither %s nor %s", got, want, sessionOf(idle), sidOf(unused.GetId()))
	}
	w.mustRefresh(t, idle, false)
}
