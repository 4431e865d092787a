package users

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/mail"
	"github.com/trackway/trackway/services/platform/write"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

const (
	// signInTTL is how long a browser may be at the provider, and codeTTL how long the app may take to ask for its tokens.
	signInTTL = 10 * time.Minute
	codeTTL   = time.Minute

	maxSubject  = 255 // OpenID Connect Core 1.0, section 2
	maxIDToken  = 16 << 10
	minNonce    = 16
	maxNonce    = 200
	minVerifier = 43 // RFC 7636, section 4.1
	maxVerifier = 128
	maxURI      = 2000
	maxCode     = 4096 // of the provider's
)

// The values of #error, of those of RFC 6749, section 4.1.2.1.
const (
	errorDenied = "access_denied"
	errorDown   = "temporarily_unavailable"
	errorServer = "server_error"
)

func errNoProvider() error {
	return errs.New(errs.NotFound, "There is no external provider to sign in with.")
}

// randomText is 256 random bits, as text for a URL.
func randomText() string {
	bits := make([]byte, sha256.Size)
	rand.Read(bits)
	return base64.RawURLEncoding.EncodeToString(bits)
}

// challengeOf is the S256 challenge of a verifier (RFC 7636, section 4.2).
func challengeOf(verifier string) string {
	return base64.RawURLEncoding.EncodeToString(hashOf([]byte(verifier)))
}

// BeginProviderSignIn sends the browser to the provider. Two things tie what follows together: the browser has to come
// back with what it is given here, and the app has to have the verifier of its challenge. So nobody can make another's
// browser or app finish a sign-in that they began.
func (s *service) BeginProviderSignIn(ctx context.Context, req *usersv1.BeginProviderSignInRequest) (*usersv1.BeginProviderSignInResponse, error) {
	if s.provider == nil {
		return nil, errNoProvider()
	}
	var c errs.Check
	c.That(slices.Contains(s.provider.cfg.Redirects, req.GetRedirectUri()), "redirect_uri", "is not one that this installation allows")
	challenge, err := base64.RawURLEncoding.Strict().DecodeString(req.GetCodeChallenge())
	c.That(err == nil && len(challenge) == sha256.Size && len(req.GetCodeChallenge()) == minVerifier, "code_challenge",
		"must be the SHA-256 of a verifier in base64url (S256)")
	if err := c.Err(); err != nil {
		return nil, err
	}
	browser := req.GetBrowser()
	if len(browser) != minVerifier {
		browser = randomText()
	}
	state := randomText()
	going := &signIn{
		Hash: hashOf([]byte(state)), BrowserHash: hashOf([]byte(browser)), Nonce: randomText(), Verifier: randomText(),
		Challenge: req.GetCodeChallenge(), RedirectURI: req.GetRedirectUri(), ExpiresAt: time.Now().Add(signInTTL),
	}
	page, err := s.provider.page(ctx, state, going.Nonce, going.Verifier)
	if err != nil {
		return nil, err
	}
	if err := s.store.beginSignIn(ctx, going); err != nil {
		return nil, err
	}
	return &usersv1.BeginProviderSignInResponse{
		AuthorizationUrl: page, Browser: browser, ExpiresIn: int64(signInTTL.Seconds()),
	}, nil
}

// FinishProviderSignIn takes the provider's answer. The state is used up before anything else is done with it. Whose
// account that is turns out when the app asks for the tokens: who has a browser finish a sign-in changes nothing.
func (s *service) FinishProviderSignIn(ctx context.Context, req *usersv1.FinishProviderSignInRequest) (*usersv1.FinishProviderSignInResponse, error) {
	if s.provider == nil {
		return nil, errNoProvider()
	}
	going, err := s.store.takeSignIn(ctx, hashOf([]byte(req.GetState())), hashOf([]byte(req.GetBrowser())))
	if errs.Is(err, errs.NotFound) {
		return nil, errs.New(errs.Unauthenticated, "This sign-in is none that this browser began in the last minutes. Begin again.")
	}
	if err != nil {
		return nil, err
	}
	back := func(name, value string) (*usersv1.FinishProviderSignInResponse, error) {
		return &usersv1.FinishProviderSignInResponse{RedirectUri: going.RedirectURI + "#" + url.Values{name: {value}}.Encode()}, nil
	}
	switch {
	case req.GetIssuer() != "" && req.GetIssuer() != s.provider.cfg.Issuer: // RFC 9207: another provider's answer
		return back("error", errorServer)
	case req.GetError() == errorDenied:
		return back("error", errorDenied)
	case req.GetError() == errorDown:
		return back("error", errorDown)
	case req.GetError() != "" || req.GetCode() == "" || len(req.GetCode()) > maxCode:
		return back("error", errorServer)
	}
	c, err := s.provider.redeem(ctx, req.GetCode(), going.Nonce, going.Verifier)
	if err != nil {
		s.log.WarnContext(ctx, "a sign-in with the provider fails", "error", err)
		if errs.Is(err, errs.Unavailable) {
			return back("error", errorDown)
		}
		return back("error", errorServer)
	}
	code := randomText()
	err = s.store.createCode(ctx, &signInCode{
		Hash: hashOf([]byte(code)), Challenge: going.Challenge, Subject: c.Subject, Email: c.Email, EmailVerified: c.EmailVerified,
		Name: c.Name, ExpiresAt: time.Now().Add(codeTTL),
	})
	if err != nil {
		return nil, err
	}
	return back("code", code)
}

// ExchangeCode begins the session that a sign-in in the browser was for. A code is used up by the first who presents it,
// also when they do not have the verifier.
func (s *service) ExchangeCode(ctx context.Context, req *usersv1.ExchangeCodeRequest) (*usersv1.Tokens, error) {
	if s.provider == nil {
		return nil, errNoProvider()
	}
	var c errs.Check
	c.Text("code", req.GetCode(), 1, maxLink)
	c.Text("code_verifier", req.GetCodeVerifier(), minVerifier, maxVerifier)
	if err := c.Err(); err != nil {
		return nil, err
	}
	code, err := s.store.takeCode(ctx, hashOf([]byte(req.GetCode())))
	if err != nil && !errs.Is(err, errs.NotFound) {
		return nil, err
	}
	if err != nil || !equal([]byte(challengeOf(req.GetCodeVerifier())), []byte(code.Challenge)) {
		return nil, errs.New(errs.Unauthenticated, "The code is not one that still works. Sign in again.")
	}
	return s.signInAs(ctx, &claims{
		Issuer: s.provider.cfg.Issuer, Subject: code.Subject, Email: code.Email, EmailVerified: code.EmailVerified, Name: code.Name,
	})
}

// ExchangeIdToken begins a session for an ID token that an app got from the provider. It must hold the nonce that the app
// asked with, and works once: whoever finds one that was used has nothing.
func (s *service) ExchangeIdToken(ctx context.Context, req *usersv1.ExchangeIdTokenRequest) (*usersv1.Tokens, error) { //nolint:revive // the contract's name
	if s.provider == nil {
		return nil, errNoProvider()
	}
	var c errs.Check
	c.Text("id_token", req.GetIdToken(), 1, maxIDToken)
	c.Text("nonce", req.GetNonce(), minNonce, maxNonce)
	if err := c.Err(); err != nil {
		return nil, err
	}
	_, who, err := s.provider.verify(ctx, req.GetIdToken(), append([]string{s.provider.cfg.ClientID}, s.provider.cfg.Audiences...)...)
	if err != nil {
		return nil, err
	}
	if !equal([]byte(who.Nonce), []byte(req.GetNonce())) {
		return nil, errIDToken(errors.New("it has another nonce"))
	}
	// The nonce stands for the token: its text can be written in more than one way.
	hash := hashOf([]byte(who.Issuer + "\x00" + who.Subject + "\x00" + who.Nonce))
	fresh, err := s.store.useNonce(ctx, hash, who.Expires.Add(2*providerSkew))
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, errIDToken(errors.New("it was used before"))
	}
	return s.signInAs(ctx, who)
}

// signInAs begins a session of the user that the provider's subject is. One that is seen for the first time becomes that of
// the account with its address, or of a new one, if the provider has verified the address.
func (s *service) signInAs(ctx context.Context, c *claims) (*usersv1.Tokens, error) {
	newcomer := &user{
		Name: nameOf(c), Email: strings.TrimSpace(c.Email), ProvedEmail: strings.TrimSpace(c.Email), Role: usersv1.Role_ROLE_USER, Active: true,
	}
	var tokens *usersv1.Tokens
	err := write.Retry(ctx, func(ctx context.Context) error {
		u, err := s.store.userOf(ctx, c.Issuer, c.Subject)
		if errs.Is(err, errs.NotFound) {
			if err := newcomer.checkIdentity(c); err != nil {
				return err
			}
			u, err = s.store.linkIdentity(ctx, &identity{Issuer: c.Issuer, Subject: c.Subject}, newcomer, adopt)
		}
		if err != nil {
			return err
		}
		if !u.Active {
			return errs.New(errs.Unauthenticated, "The account is not active.")
		}
		tokens, err = s.begin(ctx, u)
		return err
	})
	if err != nil {
		return nil, err
	}
	return tokens, nil
}

// checkIdentity refuses a subject of which no account can be made, and none found.
func (u *user) checkIdentity(c *claims) error {
	var check errs.Check
	u.check(&check)
	if !c.EmailVerified || check.Err() != nil {
		return errs.New(errs.Denied, "The provider has verified no e-mail address of yours, by which your account could be found.")
	}
	return nil
}

// nameOf is what the user of a new account is called.
func nameOf(c *claims) string {
	name := strings.Join(strings.Fields(c.Name), " ") // one line
	if r := []rune(name); len(r) > maxName {
		name = strings.TrimSpace(string(r[:maxName]))
	}
	if name == "" {
		name, _, _ = strings.Cut(c.Email, "@")
	}
	return name
}

// adopt says what becomes of an account whose address the provider has verified to be somebody's who signs in for the
// first time.
//
// Registration confirms no address, so it may be that of an attacker who was there first and waits for its owner. Unless
// all that signs in to it was chosen by whoever reads the address's mail, it ends: the password, sessions, personal access
// tokens and links. An administrator's account is too much to be given to whoever the provider says.
func adopt(u *user) (adoption, error) {
	if !u.Active {
		return adoption{}, errs.New(errs.Unauthenticated, "The account is not active.")
	}
	if u.proved() {
		return adoption{tell: linkedMail(u, "Nothing else has changed.")}, nil
	}
	if u.Role == usersv1.Role_ROLE_ADMIN {
		return adoption{}, errs.New(errs.Denied, "Set a new password by a mailed link first: the address of this administrator's "+
			"account has not been confirmed.")
	}
	u.PasswordHash, u.ProvedEmail = "", u.Email
	return adoption{
		out: signOut{all: true, tokens: true, links: true},
		tell: linkedMail(u, "As nobody had confirmed before that the account is yours, its password, sessions and personal access "+
			"tokens no longer work. You can set a new password by a link that is mailed to you."),
	}, nil
}

func linkedMail(u *user, more string) mail.Message {
	return mail.Message{To: u.Email, Subject: "A new way to sign in", Expires: time.Now().Add(24 * time.Hour), Text: fmt.Sprintf(
		"Hello %s,\n\nyour Trackway account can now be signed in to with the account that you have at the sign-in provider. %s "+
			"If it was not you, ask an administrator for help.\n", u.Name, more)}
}
