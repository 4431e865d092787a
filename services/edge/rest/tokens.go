package rest

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/auth"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// Scope is what a personal access token may be used for.
type Scope string

// Schema lists the values.
func (Scope) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for _, scope := range auth.Scopes() {
		s.Enum = append(s.Enum, string(scope))
	}
	return s
}

// Token is a personal access token.
type Token struct {
	ID         int64      `json:"id" minimum:"1" example:"1" doc:"The id."`
	CreatedAt  time.Time  `json:"created_at" example:"2026-01-31T09:30:00Z" doc:"When it was made."`
	Name       string     `json:"name" maxLength:"100" pattern:"^[\\s\\S]*$" example:"Nightly report" doc:"What it is for."`
	Scopes     []Scope    `json:"scopes" maxItems:"20" example:"[\"tasks:read\"]" doc:"What it may be used for, where its user may. Whoever may write may read."`
	ProjectIDs []int64    `json:"project_ids" minimum:"1" maxItems:"100" example:"[1]" doc:"The projects that it is limited to; empty for all that its user may see."`
	ExpiresAt  time.Time  `json:"expires_at" example:"2026-03-02T09:30:00Z" doc:"When it ends."`
	LastUsedAt *time.Time `json:"last_used_at" example:"2026-01-31T09:30:00Z" doc:"When it was used last, to about ten minutes; null when it never was."`
}

func newToken(t *usersv1.Token) Token {
	v := Token{
		ID: t.GetId(), CreatedAt: moment(t.GetCreatedAt()), Name: t.GetName(), Scopes: make([]Scope, 0, len(t.GetScopes())),
		ProjectIDs: append([]int64{}, t.GetProjectIds()...), ExpiresAt: moment(t.GetExpiresAt()),
	}
	for _, s := range t.GetScopes() {
		v.Scopes = append(v.Scopes, Scope(s))
	}
	if t.GetLastUsedAt() != nil {
		v.LastUsedAt = new(moment(t.GetLastUsedAt()))
	}
	return v
}

// NewToken is a personal access token that was just made.
type NewToken struct {
	Token

	Secret string `json:"token,omitempty" maxLength:"100" pattern:"^twk_[0-9a-zA-Z]+$" example:"twk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG000000" doc:"What it is sent as, shown this once: absent when the answer is that to a retry."`
}

// TokenCreation is what makes a personal access token.
type TokenCreation struct {
	Name       string     `json:"name" minLength:"1" maxLength:"100" pattern:"^[\\s\\S]*$" example:"Nightly report" doc:"What it is for."`
	Scopes     []Scope    `json:"scopes" minItems:"1" maxItems:"20" example:"[\"tasks:read\"]" doc:"What it may be used for, where its user may. Whoever may write may read. admin leaves an administrator one."`
	ProjectIDs []int64    `json:"project_ids,omitempty" nullable:"true" minimum:"1" minItems:"1" maxItems:"100" example:"[1]" doc:"The projects that it is limited to; all that its user may see when absent."`
	ExpiresAt  *time.Time `json:"expires_at,omitempty" nullable:"true" doc:"When it ends; in 30 days when absent."`
}

// MadeToken is the answer that has a secret.
type MadeToken struct {
	Written

	CacheControl string `header:"Cache-Control" enum:"no-store" doc:"Never to be kept."`
	Location     string `header:"Location" format:"uri-reference" maxLength:"1000" example:"/api/users/me/tokens/1/" doc:"Where it is."`
	Body         NewToken
}

// Tokens are a caller's own: so few that they need no pages.
type tokenList struct {
	Body []Token `maxItems:"100"`
}

type tokenRead struct{ Body Token }

const tokensPath = "/api/users/me/tokens/" //nolint:gosec // an address

func (a *api) registerTokens() {
	register(a, operation(http.MethodGet, tokensPath, "listTokens", tagAuth, "List the caller's personal access tokens",
		"Gives those that have not ended, the newest first."), a.listTokens)
	register(a, example(operation(http.MethodPost, tokensPath, "createToken", tagAuth, "Make a personal access token",
		"Makes a token for a script. It is shown once. It can not be used for passwords, sessions or tokens, and stops when "+
			"its user is deactivated, demoted or deleted."),
		map[string]any{"name": "Nightly report", "scopes": []string{"tasks:read"}}), a.createToken)
	register(a, operation(http.MethodGet, tokensPath+"{id}/", "getToken", tagAuth, "Get a personal access token",
		"Gives one of the caller's tokens."), func(ctx context.Context, in *ID) (*tokenRead, error) {
		t, err := a.users.GetToken(ctx, &usersv1.GetTokenRequest{Id: in.ID})
		if err != nil {
			return nil, err
		}
		return &tokenRead{newToken(t)}, nil
	})
	register(a, operation(http.MethodDelete, tokensPath+"{id}/", "deleteToken", tagAuth, "End a personal access token",
		"Ends one of the caller's tokens: it stops working within five seconds."),
		func(ctx context.Context, in *deleteToken) (*Written, error) {
			return remove(ctx, in.Keyed, a.users.DeleteToken, &usersv1.DeleteTokenRequest{Id: in.ID.ID})
		})
}

type deleteToken struct {
	ID
	Keyed
}

func (a *api) listTokens(ctx context.Context, _ *struct{}) (*tokenList, error) {
	res, err := a.users.ListTokens(ctx, &usersv1.ListTokensRequest{})
	if err != nil {
		return nil, err
	}
	out := &tokenList{Body: make([]Token, 0, len(res.GetTokens()))}
	for _, t := range res.GetTokens() {
		out.Body = append(out.Body, newToken(t))
	}
	return out, nil
}

func (a *api) createToken(ctx context.Context, in *Create[TokenCreation]) (*MadeToken, error) {
	req := &usersv1.CreateTokenRequest{Name: in.Body.Name, ProjectIds: in.Body.ProjectIDs}
	for _, s := range in.Body.Scopes {
		req.Scopes = append(req.Scopes, string(s))
	}
	if in.Body.ExpiresAt != nil {
		req.ExpiresAt = timestamppb.New(*in.Body.ExpiresAt)
	}
	t, replayed, err := send(ctx, in.Keyed, a.users.CreateToken, req)
	if err != nil {
		return nil, err
	}
	return &MadeToken{
		Written: Written{replayed}, CacheControl: "no-store",
		Location: tokensPath + strconv.FormatInt(t.GetId(), 10) + "/", Body: NewToken{newToken(t), t.GetSecret()},
	}, nil
}
