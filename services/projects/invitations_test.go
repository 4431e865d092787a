package projects_test

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"testing"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// invited is a user whose e-mail address is address(invited), in no project yet.
const invited = 40

// invite invites the address, and gives the token that is mailed there.
func (s *suite) invite(ctx context.Context, project int64, email string, role projectsv1.Role) (*projectsv1.Invitation, string) {
	s.Helper()
	i, err := s.projects.CreateInvitation(ctx, &projectsv1.CreateInvitationRequest{ProjectId: project, Email: email, Role: role})
	if err != nil {
		s.Fatal(err)
	}
	return i, s.mailed(email)
}

// mailed is the token in the last mail to the address.
func (s *suite) mailed(email string) string {
	s.Helper()
	var text string
	err := s.db.NewSelect().Table("mails").Column("body").Where("recipient = ?", email).OrderExpr("id DESC").Limit(1).
		Scan(s.Context(), &text)
	found := regexp.MustCompile(`/accept-invitation#token=([A-Za-z0-9_-]{43})\n`).FindStringSubmatch(text)
	if err != nil || found == nil {
		s.Fatalf("the mail is %q, %v, want one with a link", text, err)
	}
	return found[1]
}

func (s *suite) accept(ctx context.Context, token string) (*projectsv1.Member, error) {
	s.Helper()
	return s.projects.AcceptInvitation(ctx, &projectsv1.AcceptInvitationRequest{Token: token})
}

func TestWhoWasInvitedJoinsOnce(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	id := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE).GetId()
	i, token := s.invite(s.as(manager), id, "User40@Example.org", projectsv1.Role_ROLE_COMMENTER)
	if _, err := s.accept(s.as(stranger), token); code(err) != errs.Invalid {
		t.Errorf("accepted with another address: got %v, want %q", err, errs.Invalid)
	}
	if _, err := s.accept(s.as(invited), token+"x"); code(err) != errs.Invalid {
		t.Errorf("another token: got %v, want %q", err, errs.Invalid)
	}
	// Twenty at once, as a client that has lost the answers sends them: one of them joins, and all are told of it.
	var wait sync.WaitGroup
	for n := range 20 {
		wait.Go(func() {
			m, err := s.accept(s.as(invited), token)
			if err == nil && (m.GetUserId() != invited || m.GetRole() != projectsv1.Role_ROLE_COMMENTER || m.GetVersion() != 1) ||
				err != nil && code(err) != errs.Conflict {
				t.Errorf("attempt %d: got %v, %v, want a commenter", n, m, err)
			}
		})
	}
	wait.Wait()
	if m, err := s.accept(s.as(invited), token); err != nil || m.GetUserId() != invited {
		t.Errorf("afterwards: got %v, %v, want the member that it made", m, err)
	}
	s.once("members", fmt.Sprintf("user_id = %d", invited))
	s.once("events", "type = 'invitation.created'")
	s.once("events", "type = 'invitation.accepted'")
	s.once("events", fmt.Sprintf("type = 'member.created' AND actor_id = %d", invited))
	_, err := s.projects.GetInvitation(s.as(owner), &projectsv1.GetInvitationRequest{ProjectId: id, Id: i.GetId()})
	if code(err) != errs.NotFound {
		t.Errorf("the accepted invitation: got %v, want %q", err, errs.NotFound)
	}
	// Who was taken out is not let in again by the old link.
	if _, err := s.projects.DeleteMember(s.as(owner), &projectsv1.DeleteMemberRequest{ProjectId: id, UserId: invited}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.accept(s.as(invited), token); code(err) != errs.NotFound {
		t.Errorf("accepted again after the removal: got %v, want %q", err, errs.NotFound)
	}
}

func TestAnInvitationIsEndedAtTheVersionThatIsExpected(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	id := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE).GetId()
	i, _ := s.invite(s.as(manager), id, "user40@example.org", projectsv1.Role_ROLE_MEMBER)
	for _, tt := range []struct {
		version int64
		want    errs.Code
	}{{i.GetVersion() + 1, errs.PreconditionFailed}, {i.GetVersion(), ""}} {
		_, err := s.projects.DeleteInvitation(s.as(manager), &projectsv1.DeleteInvitationRequest{
			ProjectId: id, Id: i.GetId(), ExpectedVersion: tt.version,
		})
		if code(err) != tt.want {
			t.Errorf("version %d: got %v, want %q", tt.version, err, tt.want)
		}
	}
}

func TestAKeyStandsForOneInvitation(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	var tokens []string
	for range 2 {
		id := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE).GetId()
		_, token := s.invite(s.as(manager), id, "User40@Example.org", projectsv1.Role_ROLE_MEMBER)
		tokens = append(tokens, token)
	}
	ctx := idempotency.WithKey(s.as(invited), "join")
	for range 2 {
		if _, err := s.accept(ctx, tokens[0]); err != nil {
			t.Errorf("got %v, want success", err)
		}
	}
	if _, err := s.accept(ctx, tokens[1]); code(err) != errs.KeyReused {
		t.Errorf("another invitation with the key: got %v, want %q", err, errs.KeyReused)
	}
}

func TestWhatEndsAnInvitation(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]func(s *suite, project, invitation int64) error{
		"it is ended": func(s *suite, project, invitation int64) error {
			_, err := s.projects.DeleteInvitation(s.as(owner), &projectsv1.DeleteInvitationRequest{ProjectId: project, Id: invitation})
			return err
		},
		"another one is sent": func(s *suite, project, _ int64) error {
			_, err := s.projects.CreateInvitation(s.as(owner), &projectsv1.CreateInvitationRequest{
				ProjectId: project, Email: "USER40@example.org",
			})
			return err
		},
		"the inviter is taken out": func(s *suite, project, _ int64) error {
			_, err := s.projects.DeleteMember(s.as(owner), &projectsv1.DeleteMemberRequest{ProjectId: project, UserId: manager})
			return err
		},
		"the inviter may not invite any more": func(s *suite, project, _ int64) error {
			_, err := s.projects.UpdateMember(s.as(owner), &projectsv1.UpdateMemberRequest{
				ProjectId: project, UserId: manager, Role: projectsv1.Role_ROLE_MEMBER, UpdateMask: mask("role"),
			})
			return err
		},
		"the project is deleted": func(s *suite, project, _ int64) error {
			_, err := s.projects.DeleteProject(s.as(owner), &projectsv1.DeleteProjectRequest{Id: project})
			return err
		},
		"its time is over": func(s *suite, _, invitation int64) error {
			_, err := s.db.NewUpdate().Table("invitations").Set("expires_at = now()").Where("id = ?", invitation).Exec(s.Context())
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newSuite(t)
			id := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE).GetId()
			i, token := s.invite(s.as(manager), id, "user40@example.org", projectsv1.Role_ROLE_ADMIN)
			if err := end(s, id, i.GetId()); err != nil {
				t.Fatal(err)
			}
			if _, err := s.accept(s.as(invited), token); code(err) != errs.Invalid {
				t.Errorf("got %v, want %q", err, errs.Invalid)
			}
		})
	}
}

func TestInvitersGiveNoMoreThanTheyHave(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	id := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE).GetId()
	for _, tt := range []struct {
		by    int64
		email string
		role  projectsv1.Role
		want  errs.Code
	}{
		{manager, "a@example.org", projectsv1.Role_ROLE_ADMIN, ""},
		{admin, "b@example.org", projectsv1.Role_ROLE_ADMIN, ""},
		{manager, "c@example.org", projectsv1.Role_ROLE_OWNER, errs.Invalid},
		{owner, "c@example.org", projectsv1.Role_ROLE_OWNER, errs.Invalid},
		{worker, "c@example.org", projectsv1.Role_ROLE_VIEWER, errs.Denied},
		{stranger, "c@example.org", projectsv1.Role_ROLE_VIEWER, errs.NotFound},
		{owner, "Ada <c@example.org>", projectsv1.Role_ROLE_VIEWER, errs.Invalid},
		{owner, "c", projectsv1.Role_ROLE_VIEWER, errs.Invalid},
	} {
		_, err := s.projects.CreateInvitation(s.as(tt.by), &projectsv1.CreateInvitationRequest{ProjectId: id, Email: tt.email, Role: tt.role})
		if got := code(err); got != tt.want {
			t.Errorf("%d invites %q as %v: got %q, want %q", tt.by, tt.email, tt.role, got, tt.want)
		}
	}
	all, err := s.projects.ListInvitations(s.as(owner), &projectsv1.ListInvitationsRequest{ProjectId: id})
	if err != nil || len(all.GetInvitations()) != 2 || all.GetInvitations()[0].GetEmail() != "b@example.org" {
		t.Errorf("got %v, %v, want the two, the newest first", all, err)
	}
}

func TestInvitationsAreLimitedAndRetried(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	id := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE).GetId()
	invite := func(by int64, email, key string) (*projectsv1.Invitation, error) {
		return s.projects.CreateInvitation(idempotency.WithKey(s.as(by), key),
			&projectsv1.CreateInvitationRequest{ProjectId: id, Email: email})
	}
	first, err := invite(owner, "one@example.org", "key")
	if err != nil {
		t.Fatal(err)
	}
	again, err := invite(owner, "one@example.org", "key")
	if err != nil || again.GetId() != first.GetId() {
		t.Errorf("a retry: got %v, %v, want the first again", again, err)
	}
	s.once("mails", "recipient = 'one@example.org'")
	for n := range 4 {
		if _, err := invite(owner, "one@example.org", ""); err != nil {
			t.Fatalf("invitation %d to one address: %v", n+2, err)
		}
	}
	if _, err := invite(owner, "ONE@example.org", ""); code(err) != errs.RateLimited || errs.From(err).Retry == 0 {
		t.Errorf("the sixth to one address: got %v, want %q", err, errs.RateLimited)
	}
	if _, err := invite(manager, "one@example.org", ""); err != nil {
		t.Errorf("by another: %v", err)
	}
	for n := range 45 {
		if _, err := invite(owner, fmt.Sprintf("many-%d@example.org", n), ""); err != nil {
			t.Fatalf("invitation %d of one inviter: %v", n+6, err)
		}
	}
	if _, err := invite(owner, "more@example.org", ""); code(err) != errs.RateLimited {
		t.Errorf("the fifty-first of one inviter: got %v, want %q", err, errs.RateLimited)
	}
	s.once("invitations", "email = 'one@example.org' AND revoked_at IS NULL")
}

// An inviter who is being taken out of the project leaves no invitation behind that is made at the same time.
func TestNobodyInvitesWhileTheyAreTakenOut(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	id := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE).GetId()
	removal, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := removal.ExecContext(t.Context(), "DELETE FROM members WHERE user_id = ?", manager); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.projects.CreateInvitation(s.as(manager), &projectsv1.CreateInvitationRequest{
			ProjectId: id, Email: "user40@example.org",
		})
		done <- err
	}()
	for waits := 0; waits == 0 && len(done) == 0; {
		err := s.db.NewRaw("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()").
			Scan(t.Context(), &waits)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := removal.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; code(err) != errs.NotFound {
		t.Errorf("got %v, want %q", err, errs.NotFound)
	}
}
