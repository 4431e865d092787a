package edge

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

const (
	// exchangedTokens is how many exchanged tokens a replica keeps; those used least are exchanged again.
	exchangedTokens = 4096
	// exchangeTimeout bounds one exchange.
	exchangeTimeout = 5 * time.Second
	// renewEarly is which part of an access token's life is left when the next one is got.
	renewEarly = 10
)

// authenticator says who a token belongs to. Personal access tokens are exchanged for access tokens, so that behind the
// door there is one kind, which is kept until shortly before it ends. A personal access token that is revoked stops as a
// session does: its access token names it as its session.
type authenticator struct {
	verifier *auth.Verifier
	users    usersv1.UsersServiceClient
	rates    *rates
	known    *lru.Cache[[sha256.Size]byte, exchanged]
	asking   singleflight.Group
}

type exchanged struct {
	token string
	renew time.Time
}

func newAuthenticator(verifier *auth.Verifier, users usersv1.UsersServiceClient, limits *rates) *authenticator {
	known, err := lru.New[[sha256.Size]byte, exchanged](exchangedTokens)
	if err != nil {
		panic(err) // only a size below one is an error
	}
	return &authenticator{verifier: verifier, users: users, rates: limits, known: known}
}

// caller gives the caller that the token stands for. What is asked of the users service is counted against the address,
// so that whoever makes tokens up is held up, and not others.
func (a *authenticator) caller(ctx context.Context, token, address string) (*auth.Caller, error) {
	if !strings.HasPrefix(token, auth.SecretPrefix) {
		return a.verifier.Verify(ctx, token)
	}
	if !auth.IsSecret(token) {
		return nil, errs.New(errs.Unauthenticated, "The access token is not valid.")
	}
	key := sha256.Sum256([]byte(token))
	if e, ok := a.known.Get(key); ok && time.Now().Before(e.renew) {
		if c, err := a.verifier.Verify(ctx, e.token); !errs.Is(err, errs.Unauthenticated) {
			return c, err
		}
		a.known.Remove(key)
	}
	if err := a.rates.count(ctx, &a.rates.requests, address); err != nil {
		return nil, err
	}
	e, err := a.exchange(ctx, key, token)
	if err != nil {
		return nil, err
	}
	return a.verifier.Verify(ctx, e.token)
}

// verify gives the caller of a token that came in the body of a request, such as a WebSocket's first message.
func (a *authenticator) verify(ctx context.Context, token string) (*auth.Caller, error) {
	return a.caller(ctx, token, exchangeOf(ctx).address)
}

// exchange asks once, however many requests come with the token at the same time.
func (a *authenticator) exchange(ctx context.Context, key [sha256.Size]byte, secret string) (exchanged, error) {
	answer := a.asking.DoChan(string(key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTimeout)
		defer cancel()
		asked := time.Now()
		res, err := a.users.ExchangeToken(ctx, &usersv1.ExchangeTokenRequest{Secret: secret})
		if err != nil {
			return exchanged{}, err
		}
		life := time.Duration(res.GetExpiresIn()) * time.Second
		e := exchanged{token: res.GetAccessToken(), renew: asked.Add(life - life/renewEarly)}
		a.known.Add(key, e)
		return e, nil
	})
	select {
	case r := <-answer:
		e, _ := r.Val.(exchanged)
		return e, r.Err
	case <-ctx.Done():
		return exchanged{}, ctx.Err()
	}
}
