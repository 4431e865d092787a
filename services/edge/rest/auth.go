package rest

import (
	"context"
	"net/http"

	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// Registration is what makes an account.
type Registration struct {
	Name     string `json:"name" minLength:"1" maxLength:"200" pattern:"^[\\s\\S]*$" example:"Ada Lovelace" doc:"The name that others see."`
	Email    string `json:"email" format:"email" minLength:"3" maxLength:"254" example:"ada@example.com" doc:"The address to sign in with."`
	Password string `json:"password" format:"password" minLength:"8" maxLength:"200" writeOnly:"true" example:"correct horse battery staple" doc:"The password."`
}

// Credentials are what one signs in with.
type Credentials struct {
	Email    string `json:"email" format:"email" minLength:"1" maxLength:"254" example:"ada@example.com" doc:"The address of the account."`
	Password string `json:"password" format:"password" minLength:"1" maxLength:"200" writeOnly:"true" example:"correct horse battery staple" doc:"The password."`
}

// Tokens are what one signs in for, as in RFC 6749, section 5.1.
type Tokens struct {
	AccessToken  string `json:"access_token" maxLength:"4096" pattern:"^[A-Za-z0-9._~+/=-]+$" example:"eyJhbGciOiJFZERTQSJ9.e30.c2ln" doc:"For the header Authorization."`
	TokenType    string `json:"token_type" enum:"Bearer" doc:"How to send it."`
	ExpiresIn    int64  `json:"expires_in" minimum:"0" example:"900" doc:"After how many seconds the access token expires."`
	RefreshToken string `json:"refresh_token" maxLength:"4096" pattern:"^[\\x21-\\x7E]*$" example:"dGhpcyBpcyBvcGFxdWU" doc:"Gets the next access token."`
	User         User   `json:"user" doc:"Who signed in."`
}

// SignedIn is the answer of a sign-in, which nobody may keep.
type SignedIn struct {
	Written

	CacheControl string `header:"Cache-Control" enum:"no-store" doc:"Never to be kept."`
	Body         Tokens
}

func (a *api) registerAuth() {
	register(a, public(operation(http.MethodPost, "/api/auth/register/", "register", tagAuth, "Make an account",
		"Makes an account for whoever asks. Sign in afterwards.")), a.signUp)
	login := public(operation(http.MethodPost, "/api/auth/login/", "login", tagAuth, "Sign in",
		"Exchanges an e-mail address and a password for tokens. A wrong password and an unknown address are the same 401. "+
			"Tokens are not kept: sent again, it begins another session, whatever its Idempotency-Key."))
	login.DefaultStatus = http.StatusOK
	register(a, login, a.login)
	refresh := public(operation(http.MethodPost, "/api/auth/refresh/", "refreshTokens", tagAuth, "Get the next tokens",
		"Exchanges a refresh token for the next one and a new access token. Each works once: one that is used again ends "+
			"its session, for somebody else may have it. Only the client that lost the answer gets it again, within a minute: "+
			"it sends the same request with the same Idempotency-Key. A token that is unknown, used, expired or revoked is "+
			"the same 401. Send no Authorization: an access token that has expired is refused here as everywhere."))
	refresh.DefaultStatus = http.StatusOK
	register(a, refresh, a.refresh)
}

func (a *api) signUp(ctx context.Context, in *Create[Registration]) (*Created[User], error) {
	return create(ctx, in.Keyed, "/api/users/", a.users.Register, &usersv1.RegisterRequest{
		Name: in.Body.Name, Email: in.Body.Email, Password: in.Body.Password,
	}, newUser)
}

// login takes an Idempotency-Key as every POST does, and signs in anew each time: tokens are not stored to be given
// out again.
func (a *api) login(ctx context.Context, in *Create[Credentials]) (*SignedIn, error) {
	t, err := a.users.Login(ctx, &usersv1.LoginRequest{Email: in.Body.Email, Password: in.Body.Password})
	if err != nil {
		return nil, err
	}
	return signedIn(t, ""), nil
}

// Refreshing is what the next tokens are got with.
type Refreshing struct {
	RefreshToken string `json:"refresh_token" minLength:"1" maxLength:"4096" pattern:"^[\\x21-\\x7E]*$" writeOnly:"true" example:"dGhpcyBpcyBvcGFxdWU" doc:"The refresh token, as it came with the last tokens."`
}

// refresh passes the key on, which alone tells a client that lost an answer from one that stole a token.
func (a *api) refresh(ctx context.Context, in *Create[Refreshing]) (*SignedIn, error) {
	t, replayed, err := send(ctx, in.Keyed, a.users.RefreshTokens, &usersv1.RefreshTokensRequest{RefreshToken: in.Body.RefreshToken})
	if err != nil {
		return nil, err
	}
	return signedIn(t, replayed), nil
}

func signedIn(t *usersv1.Tokens, replayed string) *SignedIn {
	return &SignedIn{Written: Written{replayed}, CacheControl: "no-store", Body: Tokens{
		AccessToken: t.GetAccessToken(), TokenType: "Bearer", ExpiresIn: t.GetExpiresIn(),
		RefreshToken: t.GetRefreshToken(), User: newUser(t.GetUser()),
	}}
}
