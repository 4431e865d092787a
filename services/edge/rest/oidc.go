package rest

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/trackway/trackway/services/platform/errs"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// Code is what a sign-in in the browser ended with.
type Code struct {
	Code     string `json:"code" minLength:"1" maxLength:"200" pattern:"^[\\x21-\\x7E]*$" writeOnly:"true" example:"dGhpcyBpcyBvcGFxdWU" doc:"What follows #code= in the address that the browser was sent to."`
	Verifier string `json:"code_verifier" minLength:"43" maxLength:"128" pattern:"^[A-Za-z0-9._~-]*$" writeOnly:"true" example:"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" doc:"What code_challenge was the SHA-256 of (RFC 7636)."`
}

// IDToken is what an app got from the provider by itself.
type IDToken struct {
	Token string `json:"id_token" minLength:"1" maxLength:"16384" pattern:"^[A-Za-z0-9._-]*$" writeOnly:"true" example:"eyJhbGciOiJSUzI1NiJ9.e30.c2ln" doc:"The provider's ID token: a JWT that is for one of the clients that this installation allows."`
	Nonce string `json:"nonce" minLength:"16" maxLength:"200" pattern:"^[\\x20-\\x7E]*$" writeOnly:"true" example:"8e03978e-40d5-43e8-bc93-6894a57f9324" doc:"The nonce that the app asked for the token with, made at random for it."`
}

const (
	startPath    = "/api/auth/oidc/start/"
	callbackPath = "/api/auth/oidc/callback/"
	// browserCookie holds what ties a sign-in to the browser that began it. The prefix makes sure that no other host and no
	// page without TLS can have set it.
	browserCookie = "__Host-trackway-sign-in"
)

// registerProvider adds the sign-in with an external provider. The two addresses that a browser goes through are not in the
// OpenAPI document: they speak to browsers, by redirects and a cookie, and to the provider, as OpenID Connect says.
func (a *api) registerProvider() {
	a.mux.HandleFunc("GET "+startPath+"{$}", a.startSignIn)
	a.mux.HandleFunc("GET "+callbackPath+"{$}", a.finishSignIn)
	register(a, refusals(answers200(public(operation(http.MethodPost, "/api/auth/oidc/token/", "exchangeCode", tagAuth,
		"Sign in with a code", "Ends a sign-in with the external provider in the browser. It begins at "+startPath+", with the query "+
			"redirect_uri (one that this installation allows) and code_challenge (the SHA-256 of a secret of the app's, in base64url), "+
			"and the browser comes to redirect_uri in the end, with #code= or #error=. The code works once, within a minute, "+
			"whatever the Idempotency-Key."))),
		http.StatusForbidden, http.StatusNotFound),
		func(ctx context.Context, in *Create[Code]) (*SignedIn, error) {
			t, err := a.users.ExchangeCode(ctx, &usersv1.ExchangeCodeRequest{Code: in.Body.Code, CodeVerifier: in.Body.Verifier})
			if err != nil {
				return nil, err
			}
			return signedIn(t, ""), nil
		})
	register(a, refusals(answers200(public(operation(http.MethodPost, "/api/auth/oidc/id-token/", "exchangeIdToken", tagAuth,
		"Sign in with an ID token", "Exchanges an ID token that an app got from the external provider for tokens. Each works once, "+
			"whatever the Idempotency-Key. "+
			"An account is found by the provider's subject, and the first time by the e-mail address, if the provider has verified "+
			"it."))), http.StatusForbidden, http.StatusNotFound),
		func(ctx context.Context, in *Create[IDToken]) (*SignedIn, error) {
			t, err := a.users.ExchangeIdToken(ctx, &usersv1.ExchangeIdTokenRequest{IdToken: in.Body.Token, Nonce: in.Body.Nonce})
			if err != nil {
				return nil, err
			}
			return signedIn(t, ""), nil
		})
}

// startSignIn sends a browser to the provider.
func (a *api) startSignIn(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if m := q.Get("code_challenge_method"); m != "" && m != "S256" {
		WriteProblem(w, r, errs.InvalidField("code_challenge_method", "must be S256"))
		return
	}
	req := &usersv1.BeginProviderSignInRequest{RedirectUri: q.Get("redirect_uri"), CodeChallenge: q.Get("code_challenge")}
	if c, err := r.Cookie(browserCookie); err == nil {
		req.Browser = c.Value // several tabs may sign in at once
	}
	res, err := a.users.BeginProviderSignIn(r.Context(), req)
	if err != nil {
		a.report(r.Context(), "startSignIn", err)
		WriteProblem(w, r, err)
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: browserCookie, Value: res.GetBrowser(), Path: "/", MaxAge: int((time.Duration(res.GetExpiresIn()) * time.Second).Seconds()),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	sendTo(w, res.GetAuthorizationUrl())
}

// finishSignIn takes a browser from the provider on to the app. Parameters that it does not know are the provider's own.
func (a *api) finishSignIn(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	req := &usersv1.FinishProviderSignInRequest{State: q.Get("state"), Code: q.Get("code"), Error: q.Get("error"), Issuer: q.Get("iss")}
	if c, err := r.Cookie(browserCookie); err == nil {
		req.Browser = c.Value
	}
	for _, name := range []string{"state", "code", "error", "iss"} {
		if err != nil || len(q[name]) > 1 {
			WriteProblem(w, r, errs.New(errs.Invalid, "The query is not what a provider sends."))
			return
		}
	}
	res, err := a.users.FinishProviderSignIn(r.Context(), req)
	if err != nil {
		a.report(r.Context(), "finishSignIn", err)
		WriteProblem(w, r, err)
		return
	}
	sendTo(w, res.GetRedirectUri())
}

// sendTo sends a browser on, by an answer that nobody may keep.
func sendTo(w http.ResponseWriter, address string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", address)
	w.WriteHeader(http.StatusSeeOther)
}
