package users

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	"github.com/trackway/trackway/services/platform/mail"
	"github.com/trackway/trackway/services/platform/telemetry"
	"github.com/trackway/trackway/services/platform/write"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

const (
	// linkTTL is how long a link works, and linkPause the least time between two mails of links for one user and purpose, so
	// that nobody's mailbox is flooded and no link is replaced before it can be followed.
	linkTTL   = time.Hour
	linkPause = time.Minute
	// linksToOne is how many links that make an address an account's it has been mailed at once, whoever asks. Those beyond are
	// not sent, and nobody learns that others ask, too.
	linksToOne = 20
	// resetEvery is how often requests for links are looked for, and resetTimeout how long one may take.
	resetEvery   = time.Second
	resetTimeout = 10 * time.Second
	maxLink      = 200 // characters of a token
)

// purpose is what a link is for.
type purpose int16

const (
	setPassword purpose = 1
	setEmail    purpose = 2
)

// newLink makes the link of a user, and the token in it.
func newLink(userID int64, what purpose, email string) (*link, string) {
	bits := make([]byte, sha256.Size)
	rand.Read(bits)
	token := base64.RawURLEncoding.EncodeToString(bits)
	return &link{
		UserID: userID, Purpose: what, Hash: hashOf([]byte(token)), Email: email, ExpiresAt: time.Now().Add(linkTTL),
	}, token
}

// RequestPasswordReset notes that somebody asks for a link. Whether there is such an account is found out later, by
// sendResets, so that neither the answer nor the time that it takes tells.
func (s *service) RequestPasswordReset(ctx context.Context, req *usersv1.RequestPasswordResetRequest) (*emptypb.Empty, error) {
	var c errs.Check
	email := strings.TrimSpace(req.GetEmail())
	c.Line("email", email, 1, maxEmail)
	if err := c.Err(); err != nil {
		return nil, err
	}
	if err := s.store.requestReset(ctx, email); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// sendResets mails the links that were asked for, until ctx ends.
func (s *service) sendResets(ctx context.Context, log *slog.Logger, tracer trace.Tracer) {
	tick := time.NewTicker(resetEvery)
	defer tick.Stop()
	for {
		more, err := s.sendReset(ctx, tracer)
		if err != nil && ctx.Err() == nil {
			log.ErrorContext(ctx, "links to set a password are not sent", "error", err)
		}
		if more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sendReset mails the link that was asked for first, and tells whether there was such a request.
func (s *service) sendReset(ctx context.Context, tracer trace.Tracer) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, resetTimeout)
	defer cancel()
	r, err := s.store.nextReset(ctx)
	if errs.Is(err, errs.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, telemetry.Job(ctx, tracer, "mail a link", func(ctx context.Context) error {
		return s.store.takeReset(ctx, r.ID, linkPause, s.resetLink)
	}, r.Traceparent)
}

// resetLink is a link to set a password, and the mail that brings it.
func (s *service) resetLink(u *user) (*link, mail.Message) {
	l, token := newLink(u.ID, setPassword, u.Email)
	return l, mail.Message{To: u.Email, Subject: "Set a new password", Expires: l.ExpiresAt, Text: fmt.Sprintf(
		"Hello %s,\n\nsomebody, most likely you, wants to set a new password for your Trackway account. To do so, follow "+
			"this link within an hour:\n\n%s\n\nIt works once. If it was not you, do nothing: your password stays as it is.\n",
		u.Name, s.mail.Link("reset-password", token))}
}

// errLink is the same whatever is wrong with a link.
func errLink() error {
	return errs.InvalidField("token", "is not that of a link that still works; ask for another one")
}

// ResetPassword sets a new password by a link.
func (s *service) ResetPassword(ctx context.Context, req *usersv1.ResetPasswordRequest) (*emptypb.Empty, error) {
	var c errs.Check
	c.Text("token", req.GetToken(), 1, maxLink)
	checkNewPassword(&c, "new_password", req.GetNewPassword())
	if err := c.Err(); err != nil {
		return nil, err
	}
	hash := hashOf([]byte(req.GetToken()))
	// Before the password is hashed, so that who makes tokens up costs us nothing; and again in the transaction.
	if _, err := s.store.link(ctx, setPassword, hash); err != nil {
		return nil, linkError(err)
	}
	password, err := s.newPassword(ctx, req.GetNewPassword())
	if err != nil {
		return nil, err
	}
	err = s.store.useLink(ctx, setPassword, hash, func(u *user, _ *link) linkUse {
		// Until now nobody knew whose the address is, and so not whose the tokens and the account at the provider are:
		// somebody may have been there first.
		first := !u.proved()
		others := "Personal access tokens go on working"
		if first {
			others = "Personal access tokens and the account at the sign-in provider, if there were any, no longer work for it, as " +
				"it is the first time that a password was set by a link to this address"
		}
		u.PasswordHash, u.ProvedEmail = password, u.Email
		return linkUse{
			columns: []string{"password_hash", "proved_email"}, happened: "password.reset", out: signOut{all: true, tokens: first, identities: first, links: true},
			tell: mail.Message{To: u.Email, Subject: "Your password was changed", Expires: time.Now().Add(24 * time.Hour), Text: fmt.Sprintf(
				"Hello %s,\n\nthe password of your Trackway account was set anew by a link that was mailed to you, and all your "+
					"sessions have ended. %s. If it was not you, ask an administrator for help.\n", u.Name, others)},
		}
	})
	if err != nil {
		return nil, linkError(err)
	}
	return &emptypb.Empty{}, nil
}

func linkError(err error) error {
	if errs.Is(err, errs.NotFound) {
		return errLink()
	}
	return err
}

// RequestEmailChange mails a link to the address that is to be the caller's. Whether it is another account's is found out
// by whoever can read its mail.
func (s *service) RequestEmailChange(ctx context.Context, req *usersv1.RequestEmailChangeRequest) (*emptypb.Empty, error) {
	var c errs.Check
	email := strings.TrimSpace(req.GetEmail())
	checkEmail(&c, email)
	c.Text("current_password", req.GetCurrentPassword(), 1, maxPassword)
	if err := c.Err(); err != nil {
		return nil, err
	}
	err := write.Retry(ctx, func(ctx context.Context) error {
		u, err := s.store.get(ctx, auth.CallerFrom(ctx).UserID)
		if err != nil {
			return err
		}
		ok, err := s.hasher.matches(ctx, req.GetCurrentPassword(), u.PasswordHash)
		if err != nil {
			return err
		}
		if !ok {
			return errs.InvalidField("current_password", "is wrong")
		}
		idempotency.Seal(ctx, u.PasswordHash)
		l, token := newLink(u.ID, setEmail, email)
		return s.store.createLink(ctx, l, u, mail.Message{To: email, Subject: "Confirm your e-mail address", Expires: l.ExpiresAt, Text: fmt.Sprintf(
			"Hello %s,\n\nto make this the address of your Trackway account, follow this link within an hour:\n\n%s\n\n"+
				"If you do not know what this is about, do nothing.\n", u.Name, s.mail.Link("confirm-email", token))})
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// ConfirmEmailChange changes the address by a link.
func (s *service) ConfirmEmailChange(ctx context.Context, req *usersv1.ConfirmEmailChangeRequest) (*emptypb.Empty, error) {
	var c errs.Check
	c.Text("token", req.GetToken(), 1, maxLink)
	if err := c.Err(); err != nil {
		return nil, err
	}
	err := s.store.useLink(ctx, setEmail, hashOf([]byte(req.GetToken())), func(u *user, l *link) linkUse {
		old := u.Email
		u.Email = l.Email
		return linkUse{
			columns: []string{"email"}, happened: "email.changed", out: signOut{links: true},
			tell: mail.Message{To: old, Subject: "Your e-mail address was changed", Expires: time.Now().Add(24 * time.Hour), Text: fmt.Sprintf(
				"Hello %s,\n\nthe address of your Trackway account is no longer this one. If it was not you who changed it, ask "+
					"an administrator for help.\n", u.Name)},
		}
	})
	if err != nil {
		return nil, linkError(err)
	}
	return &emptypb.Empty{}, nil
}
