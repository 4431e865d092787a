package users

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/trackway/trackway/services/platform/errs"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// refreshSize is the size of a refresh token, in bytes.
const refreshSize = 32

// Login begins a session of the user with the e-mail and password. Whatever keeps the user from it, the answer is the
// same and takes the same time, so that nobody learns who has an account.
func (s *service) Login(ctx context.Context, req *usersv1.LoginRequest) (*usersv1.Tokens, error) {
	var c errs.Check
	email := strings.TrimSpace(req.GetEmail())
	c.Line("email", email, 1, maxEmail)
	c.Text("password", req.GetPassword(), 1, maxPassword)
	if err := c.Err(); err != nil {
		return nil, err
	}
	u, err := s.store.getByEmail(ctx, email)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return nil, err
	}
	ok, err := s.hasher.matches(ctx, req.GetPassword(), u.PasswordHash) // a user that was not found has no hash
	if err != nil {
		return nil, err
	}
	if !ok || !u.Active {
		return nil, errs.New(errs.Unauthenticated, "The e-mail or the password is wrong.")
	}
	return s.begin(ctx, u)
}

// begin makes a session and its tokens.
func (s *service) begin(ctx context.Context, u *user) (*usersv1.Tokens, error) {
	refresh, hash := newRefreshToken()
	ses := &session{UserID: u.ID, RefreshHash: hash, ExpiresAt: time.Now().Add(s.refreshTTL)}
	if err := s.store.createSession(ctx, ses); err != nil {
		return nil, err
	}
	caller := u.caller()
	access, err := s.issuer.Issue(caller.UserID, caller.Admin, ses.ID)
	if err != nil {
		return nil, err
	}
	return &usersv1.Tokens{
		AccessToken: access, ExpiresIn: int64(s.issuer.Lifetime().Seconds()), RefreshToken: refresh, User: u.proto(caller),
	}, nil
}

// newRefreshToken gives a new token, and its hash, which alone is stored.
func newRefreshToken() (token string, hash []byte) {
	random := make([]byte, refreshSize)
	rand.Read(random)
	token = base64.RawURLEncoding.EncodeToString(random)
	sum := sha256.Sum256([]byte(token))
	return token, sum[:]
}

// GetKeys gives the public keys that verify access tokens.
func (s *service) GetKeys(context.Context, *usersv1.GetKeysRequest) (*usersv1.Keys, error) {
	jwks, err := s.issuer.JWKS()
	if err != nil {
		return nil, err
	}
	return &usersv1.Keys{Jwks: jwks}, nil
}
