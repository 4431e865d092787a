package users

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/oauth2"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/remote"
)

const (
	// providerAge is how long what the provider says of itself and its keys are believed.
	providerAge = time.Hour
	// providerTimeout bounds one request to it, and providerLimit its answer, in bytes.
	providerTimeout = 5 * time.Second
	providerLimit   = 1 << 20
	// providerSkew is how far its clock may differ from ours.
	providerSkew = 30 * time.Second
)

// ProviderConfig is the external provider that people may sign in with (OpenID Connect).
type ProviderConfig struct {
	Issuer       string   `env:"OIDC_ISSUER" doc:"Issuer of the OpenID Connect provider that people may sign in with; none when empty"`
	ClientID     string   `env:"OIDC_CLIENT_ID" doc:"What this installation is at the provider, with the redirect URI TOKEN_ISSUER/api/auth/oidc/callback/"`
	ClientSecret string   `env:"OIDC_CLIENT_SECRET_FILE" doc:"File with the client's secret, read anew each time; none for a public client"`
	Audiences    []string `env:"OIDC_AUDIENCES" doc:"Clients at the provider, such as mobile apps, whose ID tokens are accepted beside OIDC_CLIENT_ID, separated by commas"`
	Redirects    []string `env:"OIDC_REDIRECT_URIS" doc:"Where a sign-in may send the browser in the end, each in full, separated by commas"`
}

// on reports whether there is a provider.
func (c ProviderConfig) on() bool { return c.Issuer != "" }

func (c ProviderConfig) check() error {
	if !c.on() {
		if c.ClientID != "" || c.ClientSecret != "" || len(c.Audiences) > 0 || len(c.Redirects) > 0 {
			return errors.New("OIDC_ISSUER is empty, and so must be the other OIDC_ variables")
		}
		return nil
	}
	if u, err := url.Parse(c.Issuer); err != nil || !secure(u) || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("OIDC_ISSUER is %q, and must be an https:// URL, or http:// at the machine itself", c.Issuer)
	}
	if c.ClientID == "" {
		return errors.New("OIDC_ISSUER is set, and so must be OIDC_CLIENT_ID")
	}
	if c.ClientSecret != "" {
		if _, err := c.secret(); err != nil {
			return err
		}
	}
	for _, r := range c.Redirects {
		u, err := url.Parse(r)
		// An app's own scheme is a domain backwards (RFC 8252, section 7.1); javascript: and its like are none.
		if err != nil || !secure(u) && !strings.Contains(u.Scheme, ".") || strings.Contains(r, "#") {
			return fmt.Errorf("OIDC_REDIRECT_URIS holds %q, and must hold https:// URLs, http:// ones at the machine itself, or "+
				"such as com.example.app:/signed-in, none with a #", r)
		}
	}
	return nil
}

// secure reports whether nobody on the way can read what is sent there.
func secure(u *url.URL) bool {
	switch u.Scheme {
	case "https":
		return u.Host != ""
	case "http":
		addr, err := netip.ParseAddr(u.Hostname())
		return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
	default:
		return false
	}
}

func (c ProviderConfig) secret() (string, error) {
	if c.ClientSecret == "" {
		return "", nil
	}
	file, err := os.ReadFile(c.ClientSecret)
	if err != nil {
		return "", fmt.Errorf("OIDC_CLIENT_SECRET_FILE: %w", err)
	}
	return string(bytes.TrimSpace(file)), nil
}

// provider is the external provider, as a client of it.
type provider struct {
	cfg      ProviderConfig
	callback string // our own address that it sends browsers back to
	client   *http.Client
	known    *remote.Value[*discovered]
	keys     *remote.Value[[]crypto.PublicKey]
}

// discovered is what the provider says of itself (OpenID Connect Discovery 1.0).
type discovered struct {
	*oidc.Provider

	algorithms []string
	keysURL    string
}

// newProvider makes a client of the provider; callback is where it sends browsers back to. It asks nothing yet.
func newProvider(cfg ProviderConfig, callback string) *provider {
	p := &provider{cfg: cfg, callback: callback, client: &http.Client{Timeout: providerTimeout, Transport: bounded{http.DefaultTransport}}}
	p.known = remote.New(providerAge, p.discover)
	p.keys = remote.New(providerAge, p.fetchKeys)
	return p
}

// bounded cuts off answers that are too long.
type bounded struct{ http.RoundTripper }

// RoundTrip sends the request.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, providerLimit), res.Body}
	}
	return res, err
}

func (p *provider) discover(ctx context.Context) (*discovered, error) {
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.cfg.Issuer) // checks that it is the issuer
	if err != nil {
		return nil, fmt.Errorf("discover the provider: %w", err)
	}
	var more struct {
		Keys       string   `json:"jwks_uri"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err := found.Claims(&more); err != nil {
		return nil, fmt.Errorf("discover the provider: %w", err)
	}
	d := &discovered{Provider: found, keysURL: more.Keys}
	for _, alg := range []string{
		oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
	} { // and so neither "none" nor what a shared secret signs, whatever the provider says
		if slices.Contains(more.Algorithms, alg) {
			d.algorithms = append(d.algorithms, alg)
		}
	}
	return d, nil
}

// fetchKeys gets the provider's public keys. Those of kinds that nobody knows are left out.
func (p *provider) fetchKeys(ctx context.Context) ([]crypto.PublicKey, error) {
	found, err := p.found(ctx)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, found.keysURL, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch the provider's keys: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("fetch the provider's keys: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch the provider's keys: %s", res.Status)
	}
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("read the provider's keys: %w", err)
	}
	var keys []crypto.PublicKey
	for _, text := range set.Keys {
		var k jose.JSONWebKey
		if err := k.UnmarshalJSON(text); err != nil || k.Use == "enc" {
			continue
		}
		switch k.Key.(type) {
		case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
			keys = append(keys, k.Key)
		}
	}
	return keys, nil
}

// found is what the provider says of itself; errs.Unavailable when it can not be asked and never was.
func (p *provider) found(ctx context.Context) (*discovered, error) {
	d, err := p.known.Get(ctx, func(*discovered) bool { return true })
	if err != nil {
		return nil, errProviderDown(err)
	}
	return d, nil
}

// errProviderDown says so. The cause is for the log, and shorter than what clients make of an answer, which they quote.
func errProviderDown(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return errs.New(errs.Unavailable, "The sign-in provider can not be reached. Try again shortly.").
		Because(errors.New(text[:min(len(text), maxQuoted)]))
}

// maxQuoted is how much of an error of the provider's is logged, in bytes.
const maxQuoted = 200

// claims are what the provider says of who signs in.
type claims struct {
	Issuer, Subject, Nonce string
	Email, Name            string
	EmailVerified          bool
	Expires                time.Time
}

// errIDToken is the same whatever is wrong with an ID token.
func errIDToken(because error) error {
	return errs.New(errs.Unauthenticated, "The provider's token is not valid.").Because(because)
}

// verify reads an ID token that is for one of the audiences (OpenID Connect Core 1.0, section 3.1.3.7). The nonce is left to
// the caller.
func (p *provider) verify(ctx context.Context, text string, audiences ...string) (*oidc.IDToken, *claims, error) {
	found, err := p.found(ctx)
	if err != nil {
		return nil, nil, err
	}
	if strings.Count(text, ".") != 2 { // go-jose reads JSON, too
		return nil, nil, errIDToken(errors.New("it is no compact JWT"))
	}
	keys := &trying{keys: p.keys}
	token, err := oidc.NewVerifier(p.cfg.Issuer, keys, &oidc.Config{
		SupportedSigningAlgs: found.algorithms, SkipClientIDCheck: true,
		Now: func() time.Time { return time.Now().Add(-providerSkew) },
	}).Verify(ctx, text)
	switch {
	case keys.missing != nil:
		return nil, nil, errProviderDown(keys.missing)
	case err != nil:
		return nil, nil, errIDToken(err)
	}
	c, err := readClaims(token, audiences)
	if err != nil {
		return nil, nil, errIDToken(err)
	}
	return token, c, nil
}

func readClaims(token *oidc.IDToken, audiences []string) (*claims, error) {
	var more struct {
		Party    string `json:"azp"`
		Email    string `json:"email"`
		Verified any    `json:"email_verified"`
		Name     string `json:"name"`
	}
	if err := token.Claims(&more); err != nil {
		return nil, err
	}
	isFor := func(client string) bool { return slices.Contains(audiences, client) }
	switch {
	case !slices.ContainsFunc(token.Audience, isFor):
		return nil, errors.New("it is for others")
	case (len(token.Audience) > 1 || more.Party != "") && !isFor(more.Party):
		return nil, errors.New("it was issued to others")
	case token.Subject == "" || len(token.Subject) > maxSubject:
		return nil, errors.New("it has no proper subject")
	case token.IssuedAt.After(time.Now().Add(providerSkew)):
		return nil, errors.New("it is of the future")
	}
	return &claims{
		Issuer: token.Issuer, Subject: token.Subject, Nonce: token.Nonce, Email: more.Email, Name: more.Name,
		EmailVerified: more.Verified == true, Expires: token.Expiry,
	}, nil
}

// trying are the provider's keys, of which each is tried, and which are fetched anew when none fits: the provider may have
// changed them.
type trying struct {
	keys    *remote.Value[[]crypto.PublicKey]
	missing error
}

// VerifySignature gives the payload of a token that one of the keys has signed.
func (t *trying) VerifySignature(ctx context.Context, jwt string) (payload []byte, err error) {
	_, missing := t.keys.Get(ctx, func(keys []crypto.PublicKey) bool {
		payload, err = (&oidc.StaticKeySet{PublicKeys: keys}).VerifySignature(ctx, jwt)
		return err == nil
	})
	if missing != nil {
		t.missing, payload, err = missing, nil, missing
	}
	return payload, err
}

// oauth is the code flow's client.
func (p *provider) oauth(found *discovered) (*oauth2.Config, error) {
	secret, err := p.cfg.secret()
	if err != nil {
		return nil, err
	}
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: secret, Endpoint: found.Endpoint(), RedirectURL: p.callback,
		Scopes: []string{oidc.ScopeOpenID, "email", "profile"},
	}, nil
}

// page is where the browser is sent to sign in.
func (p *provider) page(ctx context.Context, state, nonce, verifier string) (string, error) {
	found, err := p.found(ctx)
	if err != nil {
		return "", err
	}
	client, err := p.oauth(found)
	if err != nil {
		return "", err
	}
	return client.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), nil
}

// redeem exchanges the provider's code for what it says of who signed in.
func (p *provider) redeem(ctx context.Context, code, nonce, verifier string) (*claims, error) {
	found, err := p.found(ctx)
	if err != nil {
		return nil, err
	}
	client, err := p.oauth(found)
	if err != nil {
		return nil, err
	}
	ctx = oidc.ClientContext(ctx, p.client)
	answer, err := client.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.Response.StatusCode < http.StatusInternalServerError {
		return nil, errs.New(errs.Unauthenticated, "The provider does not accept the code.").Because(
			fmt.Errorf("%s: %s", refused.Response.Status, refused.ErrorCode)) // the rest may hold what is secret
	}
	if err != nil {
		return nil, errProviderDown(err)
	}
	text, _ := answer.Extra("id_token").(string)
	token, c, err := p.verify(ctx, text, p.cfg.ClientID)
	if err != nil {
		return nil, err
	}
	if !equal([]byte(c.Nonce), []byte(nonce)) {
		return nil, errIDToken(errors.New("it has another nonce"))
	}
	if token.AccessTokenHash != "" {
		if err := token.VerifyAccessToken(answer.AccessToken); err != nil {
			return nil, errIDToken(err)
		}
	}
	if c.EmailVerified || found.UserInfoEndpoint() == "" {
		return c, nil
	}
	return c, p.ask(ctx, found, answer, c)
}

// ask completes the claims by those that the provider tells only at its userinfo endpoint, as many do.
func (p *provider) ask(ctx context.Context, found *discovered, answer *oauth2.Token, c *claims) error {
	info, err := found.UserInfo(ctx, oauth2.StaticTokenSource(answer))
	if err != nil { // which may quote what is somebody's own
		return errProviderDown(errors.New("userinfo can not be read"))
	}
	var more struct {
		Verified any    `json:"email_verified"`
		Name     string `json:"name"`
	}
	if err := info.Claims(&more); err != nil {
		return errProviderDown(errors.New("userinfo can not be understood"))
	}
	if info.Subject != c.Subject { // section 5.3.2
		return errIDToken(errors.New("userinfo is about another subject"))
	}
	c.Email, c.EmailVerified = info.Email, more.Verified == true
	if c.Name == "" {
		c.Name = more.Name
	}
	return nil
}
