package users

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
	"github.com/trackway/trackway/services/users/oidctest"
)

const (
	landing  = "https://app.example.org/signed-in"
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	nonce    = "a nonce of the test"
)

// withProvider is a world with a provider.
func withProvider(t *testing.T) (*world, *oidctest.Provider) {
	t.Helper()
	p := oidctest.Start(t, "https://trackway.invalid/api/auth/oidc/callback/")
	secret := file(t, "secret", oidctest.Secret+"\n")
	return start(t, func(c *Config) {
		c.Provider = ProviderConfig{
			Issuer: p.URL, ClientID: oidctest.Web, ClientSecret: secret, Audiences: []string{oidctest.App}, Redirects: []string{landing},
		}
	}), p
}

// grace is somebody who has an account at the provider, with an address that it has verified.
func grace() oidctest.User {
	return oidctest.User{ID: "subject-of-grace", FirstName: "Grace", LastName: "Hopper", Email: address("grace"), EmailVerified: true}
}

// begun is a sign-in whose browser is at the provider's door.
type begun struct {
	*usersv1.BeginProviderSignInResponse

	page url.Values
}

func (w *world) beginSignIn(t *testing.T) begun {
	t.Helper()
	res, err := w.BeginProviderSignIn(t.Context(), &usersv1.BeginProviderSignInRequest{
		RedirectUri: landing, CodeChallenge: challengeOf(verifier),
	})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(res.GetAuthorizationUrl())
	if err != nil {
		t.Fatal(err)
	}
	return begun{res, u.Query()}
}

// back gives the request that the browser comes back with.
func (b begun) back(t *testing.T, p *oidctest.Provider) *usersv1.FinishProviderSignInRequest {
	t.Helper()
	q := p.Visit(t, b.GetAuthorizationUrl()).Query()
	return &usersv1.FinishProviderSignInRequest{State: q.Get("state"), Code: q.Get("code"), Error: q.Get("error"), Browser: b.GetBrowser()}
}

// landed gives what the browser is sent to the app with.
func (w *world) landed(t *testing.T, req *usersv1.FinishProviderSignInRequest) url.Values {
	t.Helper()
	res, err := w.FinishProviderSignIn(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	to, fragment, _ := strings.Cut(res.GetRedirectUri(), "#")
	values, err := url.ParseQuery(fragment)
	if to != landing || err != nil {
		t.Fatalf("sent to %s, %v, want %s", to, err, landing)
	}
	return values
}

func (w *world) byBrowser(t *testing.T, p *oidctest.Provider) (*usersv1.Tokens, error) {
	t.Helper()
	code := w.landed(t, w.beginSignIn(t).back(t, p)).Get("code")
	return w.ExchangeCode(t.Context(), &usersv1.ExchangeCodeRequest{Code: code, CodeVerifier: verifier})
}

func (w *world) byToken(t *testing.T, token string) (*usersv1.Tokens, error) {
	t.Helper()
	return w.ExchangeIdToken(t.Context(), &usersv1.ExchangeIdTokenRequest{IdToken: token, Nonce: nonce})
}

func (w *world) works(t *testing.T, tokens *usersv1.Tokens) {
	t.Helper()
	ctx := auth.WithCaller(t.Context(), &auth.Caller{Token: tokens.GetAccessToken()})
	if _, err := w.ListSessions(ctx, &usersv1.ListSessionsRequest{}); err != nil {
		t.Errorf("the access token does not work: %v", err)
	}
	if _, err := w.RefreshTokens(t.Context(), &usersv1.RefreshTokensRequest{RefreshToken: tokens.GetRefreshToken()}); err != nil {
		t.Errorf("the refresh token does not work: %v", err)
	}
}

func TestSigningInWithTheProviderMakesAnAccountOnce(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	p.SignIn(grace())
	first, err := w.byBrowser(t, p)
	if err != nil {
		t.Fatal(err)
	}
	w.works(t, first)
	if u := first.GetUser(); u.GetEmail() != address("grace") || u.GetName() != "Grace Hopper" || u.GetRole() != usersv1.Role_ROLE_USER {
		t.Errorf("user: got %v", u)
	}
	// The subject counts from now on, whatever becomes of the address, and through whichever client it comes.
	later := grace()
	later.Email, later.EmailVerified = "other@example.org", false
	p.SignIn(later)
	second, err := w.byToken(t, p.IDToken(t, oidctest.App, nonce))
	if err != nil {
		t.Fatal(err)
	}
	w.works(t, second)
	if got, want := second.GetUser().GetId(), first.GetUser().GetId(); got != want {
		t.Errorf("user of the second sign-in: got %d, want %d", got, want)
	}
	// An account without a password has none that could be guessed.
	for _, password := range []string{"", " ", password} {
		_, err := w.Login(t.Context(), &usersv1.LoginRequest{Email: address("grace"), Password: password})
		if !errs.Is(err, errs.Unauthenticated, errs.Invalid) {
			t.Errorf("signing in with the password %q: got %v", password, err)
		}
	}
	for typ, want := range map[string]int{"user.created": 1, "identity.linked": 1, "session.created": 2} {
		if got := w.count(t, "events WHERE type = ? AND subject_id = ?", typ, first.GetUser().GetId()); got != want {
			t.Errorf("events %s: got %d, want %d", typ, got, want)
		}
	}
}

func TestManyFirstSignInsAtOnceMakeOneAccount(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	p.SignIn(grace())
	tokens := make([]string, 8)
	for i := range tokens {
		tokens[i] = p.Sign(t, p.Claims(grace(), fmt.Sprint(nonce, i)), nil)
	}
	for _, err := range each(len(tokens), func(i int) error {
		_, err := w.ExchangeIdToken(t.Context(), &usersv1.ExchangeIdTokenRequest{IdToken: tokens[i], Nonce: fmt.Sprint(nonce, i)})
		return err
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	if got := w.count(t, "users WHERE email = ?", address("grace")); got != 1 {
		t.Errorf("accounts: got %d, want 1", got)
	}
}

func TestABrowsersSignInIsItsOwnAndWorksOnce(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	p.SignIn(grace())
	refused := func(what string, req *usersv1.FinishProviderSignInRequest) {
		t.Helper()
		calls := p.Calls()
		if _, err := w.FinishProviderSignIn(t.Context(), req); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("%s: got %v, want Unauthenticated", what, err)
		}
		if got := p.Calls(); got != calls {
			t.Errorf("%s: the provider was asked %d times", what, got-calls)
		}
	}
	one, other := w.beginSignIn(t), w.beginSignIn(t)
	back := one.back(t, p)
	refused("a state that nobody was given", &usersv1.FinishProviderSignInRequest{State: randomText(), Code: back.GetCode(), Browser: one.GetBrowser()})
	refused("no state", &usersv1.FinishProviderSignInRequest{Code: back.GetCode(), Browser: one.GetBrowser()})
	refused("another browser", &usersv1.FinishProviderSignInRequest{State: back.GetState(), Code: back.GetCode(), Browser: other.GetBrowser()})
	refused("no browser", &usersv1.FinishProviderSignInRequest{State: back.GetState(), Code: back.GetCode()})
	code := w.landed(t, back).Get("code")
	refused("the same again", back)

	exchange := func(code, verifier string) error {
		_, err := w.ExchangeCode(t.Context(), &usersv1.ExchangeCodeRequest{Code: code, CodeVerifier: verifier})
		return err
	}
	if err := exchange(code, verifier); err != nil {
		t.Errorf("the code: %v", err)
	}
	if err := exchange(code, verifier); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("the code again: got %v, want Unauthenticated", err)
	}
	// A stolen code is of no use without the verifier, and used up.
	code = w.landed(t, other.back(t, p)).Get("code")
	for _, v := range []string{strings.Repeat("x", 43), verifier} {
		if err := exchange(code, v); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("the code without its verifier: got %v, want Unauthenticated", err)
		}
	}
	// What is stored opens nothing.
	third := w.beginSignIn(t)
	if dump := w.dump(t, "sign_ins"); strings.Contains(dump, third.page.Get("state")) || strings.Contains(dump, third.GetBrowser()) {
		t.Error("the state or the browser's secret is stored")
	}
}

func TestTheProviderIsAskedWithAChallengeANonceAndAState(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	one, other := w.beginSignIn(t), w.beginSignIn(t)
	if one.page.Get("code_challenge_method") != "S256" || one.page.Get("redirect_uri") != "https://trackway.invalid/api/auth/oidc/callback/" {
		t.Errorf("the provider's page: got %v", one.page)
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if a, b := one.page.Get(name), other.page.Get(name); len(a) != 43 || a == b {
			t.Errorf("%s: got %q and %q, want 256 random bits each", name, a, b)
		}
	}
	// A code that was stolen on its way from the provider is of no use: ours belongs to another challenge.
	p.SignIn(grace())
	stolen, mine := one.back(t, p), other.back(t, p)
	mine.Code = stolen.GetCode()
	if got := w.landed(t, mine); got.Get("error") != errorServer || got.Has("code") {
		t.Errorf("with another sign-in's code of the provider: got %v", got)
	}
}

func TestASignInGoesNowhereElse(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	for _, to := range []string{
		"", "https://evil.example.org/", landing + "/", landing + "?x", landing + "#x", "HTTPS://app.example.org/signed-in",
		"https://app.example.org@evil.example.org/signed-in", "//evil.example.org", "javascript:alert(1)",
	} {
		_, err := w.BeginProviderSignIn(t.Context(), &usersv1.BeginProviderSignInRequest{RedirectUri: to, CodeChallenge: challengeOf(verifier)})
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("to %q: got %v, want Invalid", to, err)
		}
	}
	for _, challenge := range []string{"", verifier[1:], verifier + "A", base64.StdEncoding.EncodeToString(make([]byte, 32))} {
		_, err := w.BeginProviderSignIn(t.Context(), &usersv1.BeginProviderSignInRequest{RedirectUri: landing, CodeChallenge: challenge})
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("with the challenge %q: got %v, want Invalid", challenge, err)
		}
	}
	p.SignIn(grace())
	for answer, want := range map[string]string{"access_denied": errorDenied, "temporarily_unavailable": errorDown, "anything\n#else": errorServer} {
		b := w.beginSignIn(t)
		got := w.landed(t, &usersv1.FinishProviderSignInRequest{State: b.page.Get("state"), Browser: b.GetBrowser(), Error: answer})
		if got.Get("error") != want || len(got) != 1 {
			t.Errorf("the provider's %q: got %v, want %s", answer, got, want)
		}
	}
	// RFC 9207: an answer that says it is another provider's.
	b := w.beginSignIn(t)
	back := b.back(t, p)
	back.Issuer = "https://evil.example.org"
	if got := w.landed(t, back); got.Get("error") != errorServer {
		t.Errorf("another provider's answer: got %v", got)
	}
}

func TestAnIDTokenThatDoesNotHoldIsRefused(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	other := oidctest.Start(t, "https://trackway.invalid/")
	p.SignIn(grace())
	claims := p.Claims(grace(), nonce)
	good := p.Sign(t, claims, nil)
	parts := strings.Split(good, ".")
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	past, future := time.Now().Add(-time.Minute).Unix(), time.Now().Add(time.Hour).Unix()
	for name, token := range map[string]string{
		"another nonce":             p.Sign(t, claims, map[string]any{"nonce": nonce + "!"}),
		"no nonce":                  p.Sign(t, claims, map[string]any{"nonce": nil}),
		"another audience":          p.Sign(t, claims, map[string]any{"aud": oidctest.Stranger, "azp": oidctest.Stranger}),
		"another's token for us":    p.Sign(t, claims, map[string]any{"aud": []string{oidctest.App, oidctest.Stranger}, "azp": oidctest.Stranger}),
		"many audiences, no party":  p.Sign(t, claims, map[string]any{"aud": []string{oidctest.App, oidctest.Stranger}, "azp": nil}),
		"no audience":               p.Sign(t, claims, map[string]any{"aud": nil}),
		"another issuer":            p.Sign(t, claims, map[string]any{"iss": other.URL}),
		"another issuer's key":      other.Sign(t, claims, nil),
		"another issuer altogether": other.Sign(t, other.Claims(grace(), nonce), nil),
		"expired":                   p.Sign(t, claims, map[string]any{"exp": past}),
		"no expiry":                 p.Sign(t, claims, map[string]any{"exp": nil}),
		"not yet valid":             p.Sign(t, claims, map[string]any{"nbf": future}),
		"of the future":             p.Sign(t, claims, map[string]any{"iat": future}),
		"no subject":                p.Sign(t, claims, map[string]any{"sub": ""}),
		"alg none":                  encode(`{"alg":"none"}`) + "." + parts[1] + ".",
		"alg none, signed":          encode(`{"alg":"none"}`) + "." + parts[1] + "." + parts[2],
		"alg HS256":                 encode(`{"alg":"HS256","kid":"key-1"}`) + "." + parts[1] + "." + parts[2],
		"a key of its own":          encode(`{"alg":"RS256","jwk":{"kty":"oct","k":"AAAA"}}`) + "." + parts[1] + "." + parts[2],
		"another payload":           parts[0] + "." + encode(`{"sub":"somebody"}`) + "." + parts[2],
		"no signature":              parts[0] + "." + parts[1] + ".",
		"JSON":                      `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`,
		"one of ours":               w.ours(t),
		"no token":                  "nothing",
	} {
		if _, err := w.byToken(t, token); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("%s: got %v, want Unauthenticated", name, err)
		}
	}
	for name, n := range map[string]string{"a short nonce": "short", "no nonce": ""} {
		_, err := w.ExchangeIdToken(t.Context(), &usersv1.ExchangeIdTokenRequest{IdToken: good, Nonce: n})
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
	}
	if got := w.count(t, "users WHERE email = ?", address("grace")); got != 0 {
		t.Errorf("those who were refused have %d accounts", got)
	}
	if _, err := w.byToken(t, good); err != nil {
		t.Errorf("a good one: %v", err)
	}
	if _, err := w.byToken(t, good); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("a good one again: got %v, want Unauthenticated", err)
	}
	// A clock that is a little behind ours.
	late := p.Sign(t, p.Claims(grace(), nonce+"2"), map[string]any{"exp": time.Now().Add(-5 * time.Second).Unix()})
	if _, err := w.ExchangeIdToken(t.Context(), &usersv1.ExchangeIdTokenRequest{IdToken: late, Nonce: nonce + "2"}); err != nil {
		t.Errorf("one that ended just now: %v", err)
	}
}

// ours is an access token of our own.
func (w *world) ours(t *testing.T) string {
	t.Helper()
	token, err := w.rpc.Issuer.Issue(w.admin.GetId(), true, "session")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestAnAccountIsFoundByAVerifiedAddressOnly(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	w.register(t, "grace")
	before := w.login(t, "grace")
	for name, change := range map[string]map[string]any{
		"not verified":    {"email_verified": false},
		"does not say so": {"email_verified": nil},
		"says so in text": {"email_verified": "true"},
		"no address":      {"email": nil},
		"a strange one":   {"email": "Grace <" + address("grace") + ">"},
	} {
		n := nonce + name
		_, err := w.ExchangeIdToken(t.Context(), &usersv1.ExchangeIdTokenRequest{IdToken: p.Sign(t, p.Claims(grace(), n), change), Nonce: n})
		if !errs.Is(err, errs.Denied) {
			t.Errorf("%s: got %v, want Denied", name, err)
		}
	}
	// In the browser, too.
	unverified := grace()
	unverified.EmailVerified = false
	p.SignIn(unverified)
	if _, err := w.byBrowser(t, p); !errs.Is(err, errs.Denied) {
		t.Errorf("in the browser: got %v, want Denied", err)
	}
	w.works(t, before)
	if got := w.count(t, "identities WHERE user_id > ?", 0); got != 0 {
		t.Errorf("identities: got %d, want none", got)
	}
}

// Registering confirms no address: somebody may register another's and wait for them to come.
func TestWhoRegisteredAnothersAddressLosesTheAccountToItsOwner(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	ada := w.register(t, "grace") // by the attacker
	attacker := w.login(t, "grace")
	script := w.token(w.as(t, ada), t, auth.ReadTasksScope)
	if _, err := w.exchange(t, script.GetSecret()); err != nil {
		t.Fatal(err)
	}
	_, err := w.RequestEmailChange(w.as(t, ada), &usersv1.RequestEmailChangeRequest{Email: "attacker@example.org", CurrentPassword: password})
	if err != nil {
		t.Fatal(err)
	}
	link := tokenIn(t, w.mails(t, "attacker@example.org", 1)[0])

	p.SignIn(grace())
	owner, err := w.byBrowser(t, p)
	if err != nil {
		t.Fatal(err)
	}
	if got := owner.GetUser().GetId(); got != ada.GetId() {
		t.Fatalf("user: got %d, want %d", got, ada.GetId())
	}
	_, err = w.Login(t.Context(), &usersv1.LoginRequest{Email: address("grace"), Password: password})
	if !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("the attacker's password: got %v, want Unauthenticated", err)
	}
	_, err = w.RefreshTokens(t.Context(), &usersv1.RefreshTokensRequest{RefreshToken: attacker.GetRefreshToken()})
	if !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("the attacker's session: got %v, want Unauthenticated", err)
	}
	if _, err := w.ExchangeToken(t.Context(), &usersv1.ExchangeTokenRequest{Secret: script.GetSecret()}); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("the attacker's token: got %v, want Unauthenticated", err)
	}
	if _, err := w.ConfirmEmailChange(t.Context(), &usersv1.ConfirmEmailChangeRequest{Token: link}); !errs.Is(err, errs.Invalid) {
		t.Errorf("the attacker's link: got %v, want Invalid", err)
	}
	ended, err := w.ListRevocations(t.Context(), &usersv1.ListRevocationsRequest{})
	if err != nil || len(ended.GetSessionIds()) < 2 {
		t.Errorf("revocations: got %v, %v, want the session and the token", ended.GetSessionIds(), err)
	}
	w.works(t, owner)
	if mails := w.mails(t, address("grace"), 1); !strings.Contains(mails[0].Text, "no longer work") {
		t.Errorf("mail: got %q", mails[0].Text)
	}
	for _, typ := range []string{"identity.linked", "password.removed", "session.revoked", "token.revoked"} {
		if got := w.count(t, "events WHERE type = ? AND subject_id = ?", typ, ada.GetId()); got != 1 {
			t.Errorf("events %s: got %d, want 1", typ, got)
		}
	}
}

// resetPassword sets a new password by a mailed link, which is the only way to show that one reads an address's mail.
func (w *world) resetPassword(t *testing.T, name, password string) {
	t.Helper()
	n := len(w.mails(t, address(name), 0))
	if _, err := w.RequestPasswordReset(t.Context(), &usersv1.RequestPasswordResetRequest{Email: address(name)}); err != nil {
		t.Fatal(err)
	}
	mails := w.mails(t, address(name), n+1)
	_, err := w.ResetPassword(t.Context(), &usersv1.ResetPasswordRequest{Token: tokenIn(t, mails[n]), NewPassword: password})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhoHasShownThatTheAddressIsTheirsLosesNothing(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	u := w.register(t, "grace")
	early := w.token(w.as(t, u), t, auth.ReadTasksScope)
	const chosen = "another horse battery staple"
	w.resetPassword(t, "grace", chosen)
	// Until then it may have been somebody else's.
	if _, err := w.ExchangeToken(t.Context(), &usersv1.ExchangeTokenRequest{Secret: early.GetSecret()}); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("a token from before: got %v, want Unauthenticated", err)
	}
	script := w.token(w.as(t, u), t, auth.ReadTasksScope)
	session, err := w.Login(t.Context(), &usersv1.LoginRequest{Email: address("grace"), Password: chosen})
	if err != nil {
		t.Fatal(err)
	}
	p.SignIn(grace())
	if _, err := w.byBrowser(t, p); err != nil {
		t.Fatal(err)
	}
	w.works(t, session)
	if _, err := w.Login(t.Context(), &usersv1.LoginRequest{Email: address("grace"), Password: chosen}); err != nil {
		t.Errorf("the password: %v", err)
	}
	if _, err := w.ExchangeToken(t.Context(), &usersv1.ExchangeTokenRequest{Secret: script.GetSecret()}); err != nil {
		t.Errorf("the token: %v", err)
	}
}

// An attacker can have somebody confirm that their address is to be the attacker's account's.
func TestConfirmingAnotherAddressDoesNotShowWhoseTheAccountIs(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	mallory := w.register(t, "mallory")
	w.resetPassword(t, "mallory", password+"!")
	_, err := w.RequestEmailChange(w.as(t, mallory), &usersv1.RequestEmailChangeRequest{Email: address("grace"), CurrentPassword: password + "!"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.ConfirmEmailChange(t.Context(), &usersv1.ConfirmEmailChangeRequest{Token: tokenIn(t, w.mails(t, address("grace"), 1)[0])})
	if err != nil {
		t.Fatal(err)
	}
	p.SignIn(grace())
	if _, err := w.byBrowser(t, p); err != nil {
		t.Fatal(err)
	}
	_, err = w.Login(t.Context(), &usersv1.LoginRequest{Email: address("grace"), Password: password + "!"})
	if !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("the attacker's password: got %v, want Unauthenticated", err)
	}
}

func TestWhomTheProviderDoesNotSignIn(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	p.SignIn(grace())
	tokens, err := w.byBrowser(t, p)
	if err != nil {
		t.Fatal(err)
	}
	// Another subject with the same address: an address may be given to somebody else.
	next := grace()
	next.ID = "another-subject"
	p.SignIn(next)
	if _, err := w.byBrowser(t, p); !errs.Is(err, errs.Conflict) {
		t.Errorf("another subject with the address: got %v, want Conflict", err)
	}
	// An administrator whose address nobody has confirmed.
	p.SignIn(oidctest.User{ID: "root", Email: adminEmail, EmailVerified: true})
	if _, err := w.byBrowser(t, p); !errs.Is(err, errs.Denied) {
		t.Errorf("an administrator: got %v, want Denied", err)
	}
	// Who was deactivated, before and after the account was linked.
	ada := w.register(t, "ada")
	for _, u := range []*usersv1.User{ada, tokens.GetUser()} {
		_, err := w.UpdateUser(w.as(t, w.admin), &usersv1.UpdateUserRequest{Id: u.GetId(), Active: false, UpdateMask: mask("active")})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range []oidctest.User{grace(), {ID: "ada", Email: address("ada"), EmailVerified: true}} {
		p.SignIn(u)
		if _, err := w.byBrowser(t, p); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("%s, who was deactivated: got %v, want Unauthenticated", u.ID, err)
		}
	}
	// Who was deleted may come again, as somebody new.
	if _, err := w.DeleteUser(w.as(t, w.admin), &usersv1.DeleteUserRequest{Id: tokens.GetUser().GetId()}); err != nil {
		t.Fatal(err)
	}
	p.SignIn(grace())
	again, err := w.byBrowser(t, p)
	if err != nil {
		t.Fatal(err)
	}
	if again.GetUser().GetId() == tokens.GetUser().GetId() {
		t.Error("a deleted account was signed in to")
	}
}

func TestAProviderThatIsDownIsAClearErrorAndComesBack(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	p.SignIn(grace())
	p.SetDown(true)
	_, err := w.BeginProviderSignIn(t.Context(), &usersv1.BeginProviderSignInRequest{RedirectUri: landing, CodeChallenge: challengeOf(verifier)})
	if !errs.Is(err, errs.Unavailable) {
		t.Errorf("begin while the provider is down: got %v, want Unavailable", err)
	}
	if _, err := w.byToken(t, p.Sign(t, p.Claims(grace(), nonce), nil)); !errs.Is(err, errs.Unavailable) {
		t.Errorf("an ID token while the provider is down: got %v, want Unavailable", err)
	}
	p.SetDown(false)
	b := w.beginSignIn(t)
	back := b.back(t, p)
	p.SetDown(true)
	if got := w.landed(t, back); got.Get("error") != errorDown {
		t.Errorf("finish while the provider is down: got %v, want %s", got, errorDown)
	}
	p.SetDown(false)
	if _, err := w.byBrowser(t, p); err != nil {
		t.Errorf("the provider is back: %v", err)
	}
	// What is known goes on without it.
	p.SetDown(true)
	if _, err := w.byToken(t, p.Sign(t, p.Claims(grace(), nonce), nil)); err != nil {
		t.Errorf("an ID token of a known key: %v", err)
	}
}

func TestTheProvidersKeysMayChange(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	p.SignIn(grace())
	if _, err := w.byToken(t, p.Sign(t, p.Claims(grace(), nonce), nil)); err != nil {
		t.Fatal(err)
	}
	old := p.Sign(t, p.Claims(grace(), nonce), nil)
	p.Rotate(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ { // made-up keys cause no load: keys are fetched every two seconds at most
		n := fmt.Sprint(nonce, i)
		_, err := w.ExchangeIdToken(t.Context(), &usersv1.ExchangeIdTokenRequest{IdToken: p.Sign(t, p.Claims(grace(), n), nil), Nonce: n})
		if err == nil {
			break
		}
		if !errs.Is(err, errs.Unauthenticated) || ctx.Err() != nil {
			t.Fatal(err)
		}
		<-tick.C
	}
	if _, err := w.byToken(t, old); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("a token of the key that is gone: got %v, want Unauthenticated", err)
	}
}

func TestWithoutAProviderThereIsNothingToSignInWith(t *testing.T) {
	t.Parallel()
	w := start(t)
	_, begin := w.BeginProviderSignIn(t.Context(), &usersv1.BeginProviderSignInRequest{})
	_, finish := w.FinishProviderSignIn(t.Context(), &usersv1.FinishProviderSignInRequest{})
	_, code := w.ExchangeCode(t.Context(), &usersv1.ExchangeCodeRequest{})
	_, token := w.ExchangeIdToken(t.Context(), &usersv1.ExchangeIdTokenRequest{})
	if i := slices.IndexFunc([]error{begin, finish, code, token}, func(err error) bool { return !errs.Is(err, errs.NotFound) }); i >= 0 {
		t.Errorf("call %d: want NotFound", i)
	}
}

// TestTheFirstPasswordByALinkEndsAnIdentityOfSomebodyElses: who had somebody confirm their address for an account can
// sign in to it in no way any more when its password is set by who reads the address's mail.
func TestTheFirstPasswordByALinkEndsAnIdentityOfSomebodyElses(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	p.SignIn(grace())
	mallory, err := w.byBrowser(t, p)
	if err != nil {
		t.Fatal(err)
	}
	w.resetPassword(t, "grace", password)
	again, err := w.byBrowser(t, p)
	if err != nil || again.GetUser().GetId() != mallory.GetUser().GetId() {
		t.Fatalf("by the provider after a new password: got %v, %v, want the same user", again, err)
	}
	_, err = w.RequestEmailChange(with(t.Context(), again), &usersv1.RequestEmailChangeRequest{Email: address("ada"), CurrentPassword: password})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.ConfirmEmailChange(t.Context(), &usersv1.ConfirmEmailChangeRequest{Token: tokenIn(t, w.mails(t, address("ada"), 1)[0])})
	if err != nil {
		t.Fatal(err)
	}
	w.resetPassword(t, "ada", "another "+password)
	after, err := w.byBrowser(t, p)
	if err != nil {
		t.Fatal(err)
	}
	if got := after.GetUser().GetId(); got == mallory.GetUser().GetId() {
		t.Error("who had the account before: got signed in to it, want an account of their own")
	}
	mails := w.mails(t, address("ada"), 3)
	if got := mails[len(mails)-1].Text; !strings.Contains(got, "sign-in provider") {
		t.Errorf("mail: got %q, want it to tell of the provider", got)
	}
}

// TestAnAccountIsNotThatOfAnAddressThatOnlyFoldsToItsOwn: Postgres has letters of other alphabets become those of ours in
// lower case.
func TestAnAccountIsNotThatOfAnAddressThatOnlyFoldsToItsOwn(t *testing.T) {
	t.Parallel()
	w, p := withProvider(t)
	mik := w.register(t, "mik")
	w.resetPassword(t, "mik", password)
	for _, other := range []string{"m\u0130k", "mi\u212a", "MIK"} {
		u := grace()
		u.ID, u.Email = "subject-of-"+other, address(other)
		p.SignIn(u)
		tokens, err := w.byBrowser(t, p)
		if same := other == "MIK"; same != (err == nil && tokens.GetUser().GetId() == mik.GetId()) {
			t.Errorf("%s: got %v, %v, want the account of mik: %v", u.Email, tokens.GetUser(), err, same)
		}
	}
}
