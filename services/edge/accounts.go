package edge

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trackway/trackway/services/platform/auth"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

const (
	// everywhere is how many times as many attempts an account takes from all addresses as from one.
	everywhere = 10
	// knownFor is how long an address from which somebody has signed in to an account is known to it.
	knownFor = 30 * 24 * time.Hour
	// familySize is how much of a refresh token names its session: all of its tokens begin so.
	familySize = 20
)

// throttled is the users service as both doors call it: what signs in is limited for each account, too.
//
// Whoever guesses passwords must not lock their owner out. So an account's attempts are counted by address, and those
// from all addresses together, of which there may be ten times as many, only where nobody has signed in to it before: an
// attacker with many addresses uses these up, while the owner's go on, to sign in and to have a link mailed. What is counted
// is named by a hash of the e-mail address, whether or not there is such an account, by one of the session's part of a
// refresh token, or by the user who is signed in.
type throttled struct {
	usersv1.UsersServiceClient

	rates *rates
}

// Login counts an attempt for the account, and knows the address when it succeeds.
func (t throttled) Login(ctx context.Context, req *usersv1.LoginRequest, opts ...grpc.CallOption) (*usersv1.Tokens, error) {
	account := name(req.GetEmail())
	if err := t.rates.attempt(ctx, "sign-in", account); err != nil {
		return nil, err
	}
	tokens, err := t.UsersServiceClient.Login(ctx, req, opts...)
	if err == nil {
		t.rates.know(ctx, account)
	}
	return tokens, err
}

// RefreshTokens counts an attempt for the session.
func (t throttled) RefreshTokens(ctx context.Context, req *usersv1.RefreshTokensRequest, opts ...grpc.CallOption) (*usersv1.Tokens, error) {
	token := req.GetRefreshToken()
	if err := t.rates.attempt(ctx, "refresh", name(token[:min(len(token), familySize)])); err != nil {
		return nil, err
	}
	return t.UsersServiceClient.RefreshTokens(ctx, req, opts...)
}

// RequestPasswordReset counts a request for the account.
func (t throttled) RequestPasswordReset(ctx context.Context, req *usersv1.RequestPasswordResetRequest, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	if err := t.rates.attempt(ctx, "reset", name(req.GetEmail())); err != nil {
		return nil, err
	}
	return t.UsersServiceClient.RequestPasswordReset(ctx, req, opts...)
}

// RequestEmailChange counts a request for the caller, who could have mail sent to anybody.
func (t throttled) RequestEmailChange(ctx context.Context, req *usersv1.RequestEmailChangeRequest, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	if err := t.rates.attempt(ctx, "email", strconv.FormatInt(auth.CallerFrom(ctx).UserID, 10)); err != nil {
		return nil, err
	}
	return t.UsersServiceClient.RequestEmailChange(ctx, req, opts...)
}

// ChangePassword counts an attempt for the caller, whose token might be stolen.
func (t throttled) ChangePassword(ctx context.Context, req *usersv1.ChangePasswordRequest, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	if err := t.rates.attempt(ctx, "password", strconv.FormatInt(auth.CallerFrom(ctx).UserID, 10)); err != nil {
		return nil, err
	}
	return t.UsersServiceClient.ChangePassword(ctx, req, opts...)
}

// name stands for an address or a secret in a key: Redis keeps neither.
func name(text string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(strings.TrimSpace(text))))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// attempt counts an attempt of a kind for an account from the address of ctx, and from everywhere.
func (s *rates) attempt(ctx context.Context, kind, account string) error {
	address, key := exchangeOf(ctx).address, kind+":"+account
	if err := s.count(ctx, &s.accounts, key+":"+address); err != nil || s.accounts.limit == 0 {
		return err
	}
	if s.known(ctx, account, address) {
		return nil
	}
	return s.count(ctx, &s.everywhere, key)
}

// know remembers that the address has signed in to the account. What fails is of no consequence: it is not known then.
func (s *rates) know(ctx context.Context, account string) {
	if s.accounts.limit == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	address := exchangeOf(ctx).address
	if err := s.redis.Set(ctx, knownKey(account, address), 1, knownFor).Err(); err != nil {
		s.log.DebugContext(ctx, "an address is not remembered", "error", err)
	}
}

func (s *rates) known(ctx context.Context, account, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	n, err := s.redis.Exists(ctx, knownKey(account, address)).Result()
	return err == nil && n > 0
}

func knownKey(account, address string) string { return "known:sign-in:" + account + ":" + address }
