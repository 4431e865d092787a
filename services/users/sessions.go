package users

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	"github.com/trackway/trackway/services/platform/telemetry"
	"github.com/trackway/trackway/services/platform/write"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// reusable is how long a refresh token that was used gives the same answer again, to a retry with the same key.
const reusable = time.Minute

// purgeAfter is how long a session is kept after it ended and its access tokens did.
const purgeAfter = 24 * time.Hour

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
	var tokens *usersv1.Tokens
	err := write.Retry(ctx, func(ctx context.Context) error {
		u, err := s.store.getByEmail(ctx, email)
		if err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
		ok, err := s.hasher.matches(ctx, req.GetPassword(), u.PasswordHash) // a user that was not found has no hash
		if err != nil {
			return err
		}
		if !ok || !u.Active {
			return errs.New(errs.Unauthenticated, "The e-mail or the password is wrong.")
		}
		if outdated(u.PasswordHash) {
			if err := s.rehash(ctx, u, req.GetPassword()); err != nil {
				return err
			}
		}
		tokens, err = s.begin(ctx, u)
		return err
	})
	if err != nil {
		return nil, err
	}
	return tokens, nil
}

// rehash makes a hash at today's cost, while the password is at hand.
func (s *service) rehash(ctx context.Context, u *user, password string) error {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.store.rehash(ctx, u, hash)
}

// begin makes a session and its tokens.
func (s *service) begin(ctx context.Context, u *user) (*usersv1.Tokens, error) {
	token := newRefreshToken()
	ses := &session{
		ID: token.session.String(), UserID: u.ID, ExpiresAt: time.Now().Add(s.refreshTTL), Device: auth.DeviceFrom(ctx),
		RefreshHash: token.hash(), FamilyHash: token.familyHash(),
	}
	if err := s.store.createSession(auth.WithCaller(ctx, u.caller()), ses, u); err != nil {
		return nil, err
	}
	return s.tokens(u, ses, token)
}

func (s *service) tokens(u *user, ses *session, refresh refreshToken) (*usersv1.Tokens, error) {
	caller := u.caller()
	// No longer than the session: what has expired is not there to be revoked.
	access, lifetime, err := s.issuer.Grant(auth.Grant{UserID: caller.UserID, Admin: caller.Admin, Session: ses.ID, Until: ses.ExpiresAt})
	if err != nil {
		return nil, err
	}
	return &usersv1.Tokens{
		AccessToken: access, ExpiresIn: int64(lifetime.Seconds()), RefreshToken: refresh.String(),
		User: u.proto(caller),
	}, nil
}

// RefreshTokens exchanges a refresh token for the next one and a new access token.
func (s *service) RefreshTokens(ctx context.Context, req *usersv1.RefreshTokensRequest) (*usersv1.Tokens, error) {
	refused := errs.New(errs.Unauthenticated, "The refresh token is not valid. Sign in again.")
	key, err := idempotency.Key(ctx)
	if err != nil {
		return nil, err
	}
	presented, ok := parseRefreshToken(req.GetRefreshToken())
	if !ok {
		return nil, refused
	}
	var (
		next refreshToken
		use  refreshUse
	)
	u, ses, err := s.store.useSession(ctx, presented.session.String(), func(u *user, ses *session) refreshUse {
		next, use = ses.use(u, presented, key, time.Now())
		return use
	})
	switch {
	case errs.Is(err, errs.NotFound):
		return nil, refused
	case err != nil:
		return nil, err
	case use == refreshRefused || use == refreshReused:
		return nil, refused
	case use == refreshRepeated:
		if err := idempotency.MarkReplayed(ctx); err != nil {
			return nil, err
		}
	}
	return s.tokens(u, ses, next)
}

// refreshUse is what the use of a refresh token comes to.
type refreshUse int

const (
	refreshRefused  refreshUse = iota // the token is none, or its session has ended
	refreshReused                     // it was used before, by this client or another: the session ends
	refreshRepeated                   // its answer was lost, and is given again
	refreshRotated                    // it is used up, and the next one is in force
)

// use decides what becomes of the session, which is locked, and its user when a refresh token is presented. A rotated
// session is changed accordingly.
func (s *session) use(u *user, presented refreshToken, key string, now time.Time) (refreshToken, refreshUse) {
	live := s.RevokedAt.IsZero() && now.Before(s.ExpiresAt) && u.Active
	if !live || !equal(presented.familyHash(), s.FamilyHash) {
		return refreshToken{}, refreshRefused
	}
	if equal(presented.hash(), s.RefreshHash) {
		s.Salt = make([]byte, sha256.Size)
		rand.Read(s.Salt)
		next := presented.next(s.Salt, key)
		s.RefreshHash, s.LastUsedAt = next.hash(), now
		return next, refreshRotated
	}
	// Only from the token before the present one, with the salt and the key of its use, follows the present one.
	if key != "" && s.Salt != nil && now.Sub(s.LastUsedAt) < reusable {
		if next := presented.next(s.Salt, key); equal(next.hash(), s.RefreshHash) {
			return next, refreshRepeated
		}
	}
	return refreshToken{}, refreshReused
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// refreshToken is a refresh token: the session it is of, what it shares with all others of the session, and what is its
// own.
//
// Of the session's tokens only the hash of the present one is stored, and the hash of what they share. That is enough to
// tell a token that was used before, which ends the session, from one that somebody made up, which does nothing, however
// many there have been.
type refreshToken struct {
	session uuid.UUID
	family  [16]byte
	own     [32]byte
}

const refreshSize = 16 + 16 + 32

func newRefreshToken() refreshToken {
	t := refreshToken{session: uuid.New()}
	rand.Read(t.family[:])
	rand.Read(t.own[:])
	return t
}

// next derives the token that follows this one. A client whose answer was lost sends the same token and key again, and
// from them and the salt, which is kept until the next use, the same successor is derived: it need not be stored to be
// given again. Whoever reads the database has the salt but not the token; whoever stole the token, not the key; and of
// a use without a key nothing can be repeated.
func (t refreshToken) next(salt []byte, key string) refreshToken {
	mac := hmac.New(sha256.New, t.own[:])
	mac.Write([]byte("trackway refresh token\x00"))
	mac.Write(salt) // of one length, so that no salt and key are another's
	mac.Write([]byte(key))
	n := t
	mac.Sum(n.own[:0])
	return n
}

func (t refreshToken) String() string {
	return base64.RawURLEncoding.EncodeToString(slices.Concat(t.session[:], t.family[:], t.own[:]))
}

func (t refreshToken) hash() []byte { return hashOf([]byte(t.String())) }

func (t refreshToken) familyHash() []byte { return hashOf(t.family[:]) }

func hashOf(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

func parseRefreshToken(s string) (t refreshToken, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != refreshSize {
		return refreshToken{}, false
	}
	copy(t.session[:], b[:16])
	copy(t.family[:], b[16:32])
	copy(t.own[:], b[32:])
	return t, t.String() == s // base64 skips line breaks
}

// Logout ends the session of the caller's access token. One that has ended already is no failure.
func (s *service) Logout(ctx context.Context, _ *usersv1.LogoutRequest) (*emptypb.Empty, error) {
	c := auth.CallerFrom(ctx)
	err := s.store.endSessions(ctx, c.UserID, signOut{one: c.SessionID})
	if err != nil && !errs.Is(err, errs.NotFound) {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// ListSessions gives the caller's sessions.
func (s *service) ListSessions(ctx context.Context, _ *usersv1.ListSessionsRequest) (*usersv1.ListSessionsResponse, error) {
	c := auth.CallerFrom(ctx)
	sessions, err := s.store.listSessions(ctx, c.UserID)
	if err != nil {
		return nil, err
	}
	res := &usersv1.ListSessionsResponse{}
	for _, ses := range sessions {
		res.Sessions = append(res.Sessions, ses.proto(c.SessionID))
	}
	return res, nil
}

// DeleteSession ends one of the caller's sessions.
func (s *service) DeleteSession(ctx context.Context, req *usersv1.DeleteSessionRequest) (*emptypb.Empty, error) {
	id, err := uuid.Parse(req.GetId())
	if err != nil {
		return nil, errs.Missing("session")
	}
	if err := s.store.endSessions(ctx, auth.CallerFrom(ctx).UserID, signOut{one: id.String()}); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// DeleteSessions ends all of the caller's sessions.
func (s *service) DeleteSessions(ctx context.Context, _ *usersv1.DeleteSessionsRequest) (*emptypb.Empty, error) {
	if err := s.store.endSessions(ctx, auth.CallerFrom(ctx).UserID, signOut{all: true}); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// ChangePassword changes the caller's own password, and ends its other sessions.
func (s *service) ChangePassword(ctx context.Context, req *usersv1.ChangePasswordRequest) (*emptypb.Empty, error) {
	var c errs.Check
	c.Text("current_password", req.GetCurrentPassword(), 1, maxPassword)
	checkNewPassword(&c, "new_password", req.GetNewPassword())
	if err := c.Err(); err != nil {
		return nil, err
	}
	caller := auth.CallerFrom(ctx)
	err := write.Retry(ctx, func(ctx context.Context) error {
		u, err := s.store.get(ctx, caller.UserID)
		if err != nil {
			return err
		}
		ok, err := s.hasher.matches(ctx, req.GetCurrentPassword(), u.PasswordHash)
		if err != nil {
			return err
		}
		if !ok { // no 401: a client would take that for its token's end
			return errs.InvalidField("current_password", "is wrong")
		}
		if u.PasswordHash, err = s.newPassword(ctx, req.GetNewPassword()); err != nil {
			return err
		}
		return s.store.changePassword(ctx, u, signOut{all: true, but: caller.SessionID, links: true})
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// ListRevocations gives the sessions that ended so lately that an access token of theirs can still be accepted.
func (s *service) ListRevocations(ctx context.Context, req *usersv1.ListRevocationsRequest) (*usersv1.ListRevocationsResponse, error) {
	lifetime := s.issuer.Accepted()
	since := req.GetSince().AsTime() // 1970 when absent
	ids, readAt, err := s.store.listRevoked(ctx, since, lifetime)
	if err != nil {
		return nil, err
	}
	return &usersv1.ListRevocationsResponse{
		SessionIds: ids, ReadAt: timestamppb.New(readAt), Lifetime: durationpb.New(lifetime),
	}, nil
}

// purgeSessions deletes sessions some time after they ended, until ctx ends: long after the last of their access tokens,
// which would work again without the row, and when nobody needs to be told any more that a token was used before.
func (s *service) purgeSessions(ctx context.Context, log *slog.Logger, tracer trace.Tracer) {
	telemetry.Every(ctx, tracer, log, purgeEvery, "purge sessions", func(ctx context.Context) (err error) {
		for more := true; more; {
			more, err = s.store.purge(ctx, time.Now().Add(-s.issuer.Accepted()-purgeAfter))
		}
		return err
	})
}

// GetKeys gives the public keys that verify access tokens.
func (s *service) GetKeys(ctx context.Context, _ *usersv1.GetKeysRequest) (*usersv1.Keys, error) {
	jwks, err := s.keys.jwks(ctx)
	if err != nil {
		return nil, err
	}
	return &usersv1.Keys{Jwks: jwks}, nil
}
