package users

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	"github.com/trackway/trackway/services/platform/mail"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// mails gives what is queued for the address, after waiting for as many as are wanted.
func (w *world) mails(t *testing.T, to string, want int) []mail.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var rows []struct{ Recipient, Subject, Body string }
		err := w.db.NewSelect().Table("mails").Column("recipient", "subject", "body").
			Where("recipient = ?", to).Order("id").Scan(ctx, &rows)
		if err != nil {
			t.Fatalf("mails to %s: got %d, want %d: %v", to, len(rows), want, err)
		}
		if len(rows) >= want {
			var all []mail.Message
			for _, r := range rows {
				all = append(all, mail.Message{To: r.Recipient, Subject: r.Subject, Text: r.Body})
			}
			return all
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// handled waits until no request for a link is left to look at.
func (w *world) handled(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for w.count(t, "resets WHERE id > ?", 0) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("requests for links are not looked at within a minute")
		}
	}
}

func tokenIn(t *testing.T, m mail.Message) string {
	t.Helper()
	found := regexp.MustCompile(`#token=([A-Za-z0-9_-]{43})\n`).FindStringSubmatch(m.Text)
	if found == nil {
		t.Fatalf("mail: got %q, want a link", m.Text)
	}
	return found[1]
}

func TestAPasswordIsSetByALinkOnce(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.register(t, "ada")
	before := w.login(t, "ada")
	ask := func(key string) {
		t.Helper()
		_, err := w.RequestPasswordReset(idempotency.WithKey(t.Context(), key), &usersv1.RequestPasswordResetRequest{Email: strings.ToUpper(address("ada"))})
		if err != nil {
			t.Fatal(err)
		}
	}
	ask("one")
	ask("one") // a retry
	ask("two") // and one more within the pause
	w.handled(t)
	mails := w.mails(t, address("ada"), 1)
	if len(mails) != 1 {
		t.Fatalf("mails: got %d, want 1", len(mails))
	}
	token := tokenIn(t, mails[0])
	reset := func(token, to string) errs.Code {
		_, err := w.ResetPassword(t.Context(), &usersv1.ResetPasswordRequest{Token: token, NewPassword: to})
		return code(err)
	}
	if got := reset(token, "password1"); got != errs.Invalid {
		t.Errorf("a common password: got %q, want %q", got, errs.Invalid)
	}
	if got := reset(token, "a wholly new one"); got != "" {
		t.Errorf("the link: got %q, want success", got)
	}
	if got := reset(token, "another new one"); got != errs.Invalid {
		t.Errorf("the link again: got %q, want %q", got, errs.Invalid)
	}
	w.mustRefresh(t, before, false)
	if _, err := w.Login(t.Context(), &usersv1.LoginRequest{Email: address("ada"), Password: password}); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("the old password: got %v, want %v", err, errs.Unauthenticated)
	}
	if _, err := w.Login(t.Context(), &usersv1.LoginRequest{Email: address("ada"), Password: "a wholly new one"}); err != nil {
		t.Errorf("the new password: got %v", err)
	}
	if mails := w.mails(t, address("ada"), 2); !strings.Contains(mails[1].Subject, "was changed") {
		t.Errorf("afterwards: got the mail %q, want one that tells of it", mails[1].Subject)
	}
	if got := w.count(t, "events WHERE type = 'password.reset' AND subject_id = ?", ada.GetId()); got != 1 {
		t.Errorf("events: got %d, want 1", got)
	}
}

// TestNobodyLearnsFromAskingForALinkWhoHasAnAccount: it is the same answer after the same statements.
func TestNobodyLearnsFromAskingForALinkWhoHasAnAccount(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.register(t, "ada")
	var seen [][]string
	trace := regexp.MustCompile(`00-[0-9a-f]{32}-[0-9a-f]{16}`)
	for _, email := range []string{address("ada"), address("eve")} {
		w.rpc.Statements(usersv1.UsersService_RequestPasswordReset_FullMethodName)
		if _, err := w.RequestPasswordReset(t.Context(), &usersv1.RequestPasswordResetRequest{Email: email}); err != nil {
			t.Fatal(err)
		}
		var statements []string
		for _, s := range w.rpc.Statements(usersv1.UsersService_RequestPasswordReset_FullMethodName) {
			statements = append(statements, trace.ReplaceAllString(strings.ReplaceAll(s, email, "…"), "…"))
		}
		seen = append(seen, statements)
	}
	if !slices.Equal(seen[0], seen[1]) || len(seen[0]) == 0 {
		t.Errorf("statements: got %q with an account and %q without, want the same", seen[0], seen[1])
	}
	w.handled(t)
	if got := w.mails(t, address("eve"), 0); len(got) > 0 {
		t.Errorf("mail to nobody: got %v, want none", got)
	}
}

func TestALinkEndsWithWhatItStandsFor(t *testing.T) {
	t.Parallel()
	w := start(t)
	admin := w.as(t, w.admin)
	update := func(field string) func(*testing.T, *usersv1.User) error {
		return func(_ *testing.T, u *usersv1.User) error {
			_, err := w.UpdateUser(admin, &usersv1.UpdateUserRequest{
				Id: u.GetId(), UpdateMask: mask(field), Name: "New", Email: "new." + u.GetEmail(), Password: "another " + password,
			})
			return err
		}
	}
	for _, tt := range []struct {
		name string
		ends bool
		do   func(*testing.T, *usersv1.User) error
	}{
		{"another name", false, update("name")},
		{"another address", true, update("email")},
		{"another password", true, update("password")},
		{"deactivation", true, update("active")},
		{"its time", true, func(t *testing.T, u *usersv1.User) error {
			t.Helper()
			_, err := w.db.NewRaw("UPDATE links SET expires_at = now() WHERE user_id = ?", u.GetId()).Exec(t.Context())
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := w.register(t, tt.name)
			if _, err := w.RequestPasswordReset(t.Context(), &usersv1.RequestPasswordResetRequest{Email: u.GetEmail()}); err != nil {
				t.Fatal(err)
			}
			token := tokenIn(t, w.mails(t, u.GetEmail(), 1)[0])
			if err := tt.do(t, u); err != nil {
				t.Fatal(err)
			}
			_, err := w.ResetPassword(t.Context(), &usersv1.ResetPasswordRequest{Token: token, NewPassword: "a wholly new one"})
			if got := code(err) == errs.Invalid; got != tt.ends || !tt.ends && err != nil {
				t.Errorf("the link: got %v, want it to have ended: %v", err, tt.ends)
			}
		})
	}
}

func TestAnAddressIsChangedByWhoReadsItsMail(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.register(t, "ada")
	w.register(t, "bob")
	tokens := w.login(t, "ada")
	ask := func(email string) string {
		t.Helper()
		w.askedLongAgo(t)
		_, err := w.RequestEmailChange(w.as(t, ada), &usersv1.RequestEmailChangeRequest{Email: email, CurrentPassword: password})
		if err != nil {
			t.Fatal(err)
		}
		return tokenIn(t, w.mails(t, email, 1)[0])
	}
	confirm := func(token string) errs.Code {
		_, err := w.ConfirmEmailChange(t.Context(), &usersv1.ConfirmEmailChangeRequest{Token: token})
		return code(err)
	}
	taken := ask(address("bob")) // the same answer as for any other
	if got := confirm(taken); got != errs.Conflict {
		t.Errorf("bob's address, by bob's mail: got %q, want %q", got, errs.Conflict)
	}
	replaced := ask("first@example.org")
	last := ask("second@example.org")
	if got := confirm(replaced); got != errs.Invalid {
		t.Errorf("a link that another replaced: got %q, want %q", got, errs.Invalid)
	}
	if got := w.get(t, ada.GetId()).GetEmail(); got != ada.GetEmail() {
		t.Errorf("before the link is followed: got %q, want %q", got, ada.GetEmail())
	}
	if got := confirm(last); got != "" {
		t.Errorf("the link: got %q, want success", got)
	}
	if got := confirm(last); got != errs.Invalid {
		t.Errorf("the link again: got %q, want %q", got, errs.Invalid)
	}
	if got := w.get(t, ada.GetId()).GetEmail(); got != "second@example.org" {
		t.Errorf("the address: got %q, want the new one", got)
	}
	w.mails(t, ada.GetEmail(), 1) // the old one is told
	w.mustRefresh(t, tokens, true)
}

// askedLongAgo has the pauses between links be over.
func (w *world) askedLongAgo(t *testing.T) {
	t.Helper()
	if _, err := w.db.NewRaw("UPDATE links SET created_at = created_at - ? * interval '1 second'", linkPause.Seconds()).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestNobodysMailboxIsFloodedByOthersWhoAskForItsAddress: neither by one account, nor by many.
func TestNobodysMailboxIsFloodedByOthersWhoAskForItsAddress(t *testing.T) {
	t.Parallel()
	w := start(t)
	const victim = "victim@example.org"
	ask := func(u *usersv1.User) errs.Code {
		_, err := w.RequestEmailChange(w.as(t, u), &usersv1.RequestEmailChangeRequest{Email: victim, CurrentPassword: password})
		return code(err)
	}
	ada := w.register(t, "ada")
	for i, want := range []errs.Code{"", errs.RateLimited} {
		if got := ask(ada); got != want {
			t.Errorf("request %d: got %q, want %q", i, got, want)
		}
	}
	w.askedLongAgo(t)
	if got := ask(ada); got != "" {
		t.Errorf("after the pause: got %q, want success", got)
	}
	if got := len(w.mails(t, victim, 0)); got != 2 {
		t.Errorf("mails: got %d, want 2", got)
	}
	// As many accounts as there may be have asked, in whatever case.
	_, err := w.db.NewRaw(`WITH made AS (
			INSERT INTO users (name, email, role, active, password_hash) SELECT 'Eve', 'eve' || n || '@example.org', 1, true, '' FROM generate_series(2, ?) AS n
			RETURNING id
		) INSERT INTO links (user_id, purpose, hash, email, expires_at) SELECT id, ?, sha256(id::text::bytea), upper(?), now() + interval '1 hour' FROM made`,
		linksToOne, setEmail, victim).Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(w.register(t, "bob")); got != "" { // who does not learn of it
		t.Errorf("beside many others: got %q, want success", got)
	}
	if got := len(w.mails(t, victim, 0)); got != 2 {
		t.Errorf("mails beside many others: got %d, want no more than 2", got)
	}
}

func TestTheAuditTrailTellsWhatHappened(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.register(t, "ada")
	tokens := w.login(t, "ada")
	made := w.token(w.as(t, ada), t, "tasks:read")
	admin := w.as(t, w.admin)
	for _, req := range []*usersv1.UpdateUserRequest{
		{Id: ada.GetId(), UpdateMask: mask("name"), Name: "Ada L."},
		{Id: ada.GetId(), UpdateMask: mask("role"), Role: usersv1.Role_ROLE_ADMIN},
		{Id: ada.GetId(), UpdateMask: mask("active")},
		{Id: ada.GetId(), UpdateMask: mask("active"), Active: true},
	} {
		if _, err := w.UpdateUser(admin, req); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	after := ""
	for {
		req := &usersv1.ListSecurityEventsRequest{UserId: ada.GetId()}
		req.Page = &pagev1.PageRequest{Size: 3, After: after}
		res, err := w.ListSecurityEvents(w.as(t, ada), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range res.GetEvents() {
			got = append(got, e.GetType())
			if e.GetUserId() != ada.GetId() || e.GetOccurredAt() == nil {
				t.Errorf("got %v, want an event of ada's", e)
			}
			switch e.GetType() {
			case "session.created":
				if e.GetSessionId() != sessionOf(tokens) || e.GetActorId() != ada.GetId() {
					t.Errorf("got %v, want ada's session", e)
				}
			case "token.created":
				if e.GetTokenId() != made.GetId() {
					t.Errorf("got %v, want token %d", e, made.GetId())
				}
			case "role.changed":
				if e.GetActorId() != w.admin.GetId() {
					t.Errorf("got %v, want the administrator to be who did it", e)
				}
			}
		}
		if !res.GetPage().GetHasNext() {
			break
		}
		after = res.GetPage().GetCursors()[len(res.GetPage().GetCursors())-1]
	}
	want := []string{
		"user.reactivated", "user.deactivated", "token.revoked", "session.revoked", "role.changed", "token.created", "session.created", "user.created",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the trail: got %v, want %v", got, want)
	}
	res, err := w.ListSecurityEvents(admin, &usersv1.ListSecurityEventsRequest{Types: []string{"user.deactivated"}})
	if err != nil || len(res.GetEvents()) != 1 {
		t.Errorf("deactivations: got %v, %v, want one", res, err)
	}
	if _, err := w.ListSecurityEvents(admin, &usersv1.ListSecurityEventsRequest{Types: []string{"user.updated"}}); !errs.Is(err, errs.Invalid) {
		t.Errorf("another type: got %v, want %v", err, errs.Invalid)
	}
}

// TestALinkIsNotMadeByAPasswordThatIsNoLongerRight: whoever has somebody's password must not have a link when that is
// replaced, also when they asked for it at the same time.
func TestALinkIsNotMadeByAPasswordThatIsNoLongerRight(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.register(t, "ada")
	tx, err := w.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.NewRaw("SELECT FROM users WHERE id = ? FOR UPDATE", ada.GetId()).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := make(chan error, 1)
	ctx := w.as(t, ada)
	go func() {
		_, err := w.RequestEmailChange(ctx, &usersv1.RequestEmailChangeRequest{Email: "eve@example.org", CurrentPassword: password})
		asked <- err
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for w.count(t, "pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()") == 0 {
		select {
		case err := <-asked:
			t.Fatalf("beside a change of its user: got %v, want it to wait", err)
		case <-tick.C:
		}
	}
	// What a new password does.
	_, err = tx.NewRaw("UPDATE users SET version = version + 1, password_hash = (SELECT password_hash FROM users WHERE id = ?) WHERE id = ?",
		w.admin.GetId(), ada.GetId()).Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-asked; !errs.Is(err, errs.Invalid) {
		t.Errorf("a link by the old password: got %v, want %v", err, errs.Invalid)
	}
	if got := w.count(t, "links"); got != 0 {
		t.Errorf("links: got %d, want none", got)
	}
}
