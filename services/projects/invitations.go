package projects

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	netmail "net/mail"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/mail"
	"github.com/trackway/trackway/services/platform/write"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

const (
	// invitationTTL is how long an invitation can be accepted.
	invitationTTL = 7 * 24 * time.Hour
	// An inviter can send so many invitations an hour, and so many a day to one address. However many invite it, an address
	// gets no more than so many mails a day: those beyond are not sent, and nobody learns that others invite it, too.
	invitationsAnHour = 50
	invitationsToOne  = 5
	mailsToOne        = 20
	maxEmail          = 254
	maxInvitation     = 200 // characters of a token
)

// CreateInvitation mails an invitation to join a project.
func (s *service) CreateInvitation(ctx context.Context, req *projectsv1.CreateInvitationRequest) (*projectsv1.Invitation, error) {
	i, token := newInvitation(ctx, req)
	if err := i.check(); err != nil {
		return nil, err
	}
	err := write.Retry(ctx, func(ctx context.Context) error {
		p, err := s.require(ctx, i.ProjectID, auth.ManageMembers)
		if err != nil {
			return err
		}
		if i.Role > p.role(ctx) {
			return errs.New(errs.Denied, "You can give others no more than your own role.")
		}
		inviter, err := s.users.GetUser(ctx, &usersv1.GetUserRequest{Id: i.InviterID})
		if err != nil {
			return err
		}
		return s.store.createInvitation(ctx, i, p.Role, mail.Message{
			To: i.Email, Subject: fmt.Sprintf("Invitation to %s", p.Name), Expires: i.ExpiresAt,
			Text: fmt.Sprintf("Hello,\n\n%s invites you to the project %q on Trackway. To join, follow this link within a week, and "+
				"sign in with this address, or make an account with it first:\n\n%s\n\nIt works once. If you do not know what this is "+
				"about, do nothing.\n", inviter.GetName(), p.Name, s.mail.Link("accept-invitation", token)),
		})
	})
	if err != nil {
		return nil, err
	}
	return i.proto(), nil
}

func newInvitation(ctx context.Context, req *projectsv1.CreateInvitationRequest) (*invitation, string) {
	bits := make([]byte, sha256.Size)
	rand.Read(bits)
	token := base64.RawURLEncoding.EncodeToString(bits)
	return &invitation{
		ProjectID: req.GetProjectId(), Email: strings.TrimSpace(req.GetEmail()),
		Role: cmp.Or(auth.Role(req.GetRole()), auth.Member), InviterID: auth.CallerFrom(ctx).UserID,
		Hash: invitationHash(token), ExpiresAt: now().Add(invitationTTL),
	}, token
}

func invitationHash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// GetInvitation gives one invitation that is still open.
func (s *service) GetInvitation(ctx context.Context, req *projectsv1.GetInvitationRequest) (*projectsv1.Invitation, error) {
	if _, err := s.require(ctx, req.GetProjectId(), auth.ManageMembers); err != nil {
		return nil, err
	}
	i, err := s.store.invitation(ctx, req.GetProjectId(), req.GetId())
	if err != nil {
		return nil, err
	}
	return i.proto(), nil
}

// ListInvitations gives a project's invitations that are still open.
func (s *service) ListInvitations(ctx context.Context, req *projectsv1.ListInvitationsRequest) (*projectsv1.ListInvitationsResponse, error) {
	if _, err := s.require(ctx, req.GetProjectId(), auth.ManageMembers); err != nil {
		return nil, err
	}
	all, err := s.store.invitations(ctx, req.GetProjectId())
	if err != nil {
		return nil, err
	}
	return &projectsv1.ListInvitationsResponse{Invitations: protos(all)}, nil
}

// DeleteInvitation ends an invitation that is still open.
func (s *service) DeleteInvitation(ctx context.Context, req *projectsv1.DeleteInvitationRequest) (*emptypb.Empty, error) {
	err := write.Retry(ctx, func(ctx context.Context) error {
		if _, err := s.require(ctx, req.GetProjectId(), auth.ManageMembers); err != nil {
			return err
		}
		i, err := s.store.invitation(ctx, req.GetProjectId(), req.GetId())
		if err != nil {
			return err
		}
		if err := write.Expect(req.GetExpectedVersion(), i.Version, "invitation"); err != nil {
			return err
		}
		return s.store.revokeInvitation(ctx, i)
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// AcceptInvitation makes the caller a member, if the account has the address that was invited. Whatever is wrong with the
// link is the same error. The caller who has accepted it before is told so by the same answer.
func (s *service) AcceptInvitation(ctx context.Context, req *projectsv1.AcceptInvitationRequest) (*projectsv1.Member, error) {
	var c errs.Check
	c.Text("token", req.GetToken(), 1, maxInvitation)
	if err := c.Err(); err != nil {
		return nil, err
	}
	caller := auth.CallerFrom(ctx).UserID
	u, err := s.users.GetUser(ctx, &usersv1.GetUserRequest{Id: caller})
	if err != nil {
		return nil, err
	}
	i, err := s.store.invitationByHash(ctx, invitationHash(req.GetToken()))
	if err != nil && !errs.Is(err, errs.NotFound) {
		return nil, err
	}
	switch {
	case err != nil, !strings.EqualFold(i.Email, u.GetEmail()), !i.RevokedAt.IsZero(),
		i.AcceptedBy != 0 && i.AcceptedBy != caller, i.AcceptedBy == 0 && !now().Before(i.ExpiresAt):
		return nil, errs.InvalidField("token", "is not that of an invitation that you can accept; ask for another one")
	case i.AcceptedBy == caller:
		m, err := s.store.member(ctx, i.ProjectID, caller)
		if err != nil {
			return nil, err
		}
		return m.proto(), write.Unchanged(ctx, s.store.db, "member", m.proto())
	}
	m := &member{ProjectID: i.ProjectID, UserID: caller, Role: i.Role}
	if err := s.store.acceptInvitation(ctx, i, m); err != nil {
		return nil, err
	}
	return m.proto(), nil
}

func (i *invitation) check() error {
	var c errs.Check
	addr, err := netmail.ParseAddress(i.Email)
	c.That(err == nil && addr.Address == i.Email && !strings.ContainsAny(i.Email, " \t"), "email",
		"must be an e-mail address, such as ada@example.org")
	c.Line("email", i.Email, 3, maxEmail)
	c.That(i.Role >= auth.Viewer && i.Role <= auth.Admin, "role", "must be viewer, commenter, member or admin")
	return c.Err()
}
