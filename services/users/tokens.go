package users

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// The bounds of personal access tokens.
const (
	maxTokens        = 100 // of a user
	maxTokenName     = 100
	maxTokenProjects = 100
	// tokenTTL is how long a token lasts when nobody says, and minTokenTTL what is too short to be meant.
	tokenTTL    = 30 * 24 * time.Hour
	minTokenTTL = time.Minute
)

// useEvery is how often the use of a token is noted. Tokens are exchanged for ones that last for minutes, so that a busy
// one does not come here more often than that anyway.
const useEvery = time.Minute

// CreateToken makes a personal access token. Its secret is in this answer and nowhere else: a retry gets the answer
// without it.
func (s *service) CreateToken(ctx context.Context, req *usersv1.CreateTokenRequest) (*usersv1.Token, error) {
	caller := auth.CallerFrom(ctx)
	now := time.Now()
	t := &token{
		UserID: caller.UserID, Name: strings.TrimSpace(req.GetName()), ProjectIDs: unique(req.GetProjectIds()),
		Scopes: unique(req.GetScopes()), ExpiresAt: now.Add(min(tokenTTL, s.tokenMaxTTL)),
	}
	if req.GetExpiresAt() != nil {
		t.ExpiresAt = req.GetExpiresAt().AsTime()
	}
	var c errs.Check
	c.Line("name", t.Name, 1, maxTokenName)
	c.That(len(t.Scopes) > 0, "scopes", "must not be empty")
	for _, scope := range t.Scopes {
		c.That(slices.Contains(auth.Scopes(), auth.Scope(scope)), "scopes", "must be among %v", auth.Scopes())
	}
	c.That(len(t.ProjectIDs) <= maxTokenProjects, "project_ids", "must be at most %d", maxTokenProjects)
	c.That(!slices.ContainsFunc(t.ProjectIDs, func(id int64) bool { return id < 1 }), "project_ids", "must be ids of projects")
	c.That(!t.ExpiresAt.Before(now.Add(minTokenTTL)) && !t.ExpiresAt.After(now.Add(s.tokenMaxTTL+minTokenTTL)), "expires_at",
		"must be in the future, and at most %d days away", int(s.tokenMaxTTL.Hours()/24)) //nolint:mnd // hours of a day
	if err := c.Err(); err != nil {
		return nil, err
	}
	if slices.Contains(t.Scopes, string(auth.AdminScope)) {
		if err := auth.RequireAdmin(ctx); err != nil {
			return nil, err
		}
	}
	secret := auth.NewSecret()
	t.Hash = hashOf([]byte(secret))
	if err := s.store.createToken(ctx, t); err != nil {
		return nil, err
	}
	m := t.proto()
	m.Secret = secret
	return m, nil
}

// GetToken gives one of the caller's tokens.
func (s *service) GetToken(ctx context.Context, req *usersv1.GetTokenRequest) (*usersv1.Token, error) {
	t, err := s.store.getToken(ctx, auth.CallerFrom(ctx).UserID, req.GetId())
	if err != nil {
		return nil, err
	}
	return t.proto(), nil
}

// ListTokens gives the caller's tokens.
func (s *service) ListTokens(ctx context.Context, _ *usersv1.ListTokensRequest) (*usersv1.ListTokensResponse, error) {
	tokens, err := s.store.listTokens(ctx, auth.CallerFrom(ctx).UserID)
	if err != nil {
		return nil, err
	}
	res := &usersv1.ListTokensResponse{}
	for _, t := range tokens {
		res.Tokens = append(res.Tokens, t.proto())
	}
	return res, nil
}

// DeleteToken ends one of the caller's tokens.
func (s *service) DeleteToken(ctx context.Context, req *usersv1.DeleteTokenRequest) (*emptypb.Empty, error) {
	if err := s.store.endToken(ctx, auth.CallerFrom(ctx).UserID, req.GetId()); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// ExchangeToken exchanges the secret of a personal access token for an access token.
func (s *service) ExchangeToken(ctx context.Context, req *usersv1.ExchangeTokenRequest) (*usersv1.ExchangeTokenResponse, error) {
	refused := errs.New(errs.Unauthenticated, "The access token is not valid.")
	if !auth.IsSecret(req.GetSecret()) {
		return nil, refused
	}
	u, t, err := s.store.useToken(ctx, hashOf([]byte(req.GetSecret())))
	switch {
	case errs.Is(err, errs.NotFound):
		return nil, refused
	case err != nil:
		return nil, err
	}
	access, lifetime, err := s.issuer.Grant(t.grant(u))
	if err != nil {
		return nil, err
	}
	return &usersv1.ExchangeTokenResponse{AccessToken: access, ExpiresIn: int64(lifetime.Seconds())}, nil
}

// grant is what an access token for the token stands for.
func (t *token) grant(u *user) auth.Grant {
	g := auth.Grant{
		UserID: u.ID, Admin: u.caller().Admin && slices.Contains(t.Scopes, string(auth.AdminScope)), Session: t.sid(),
		Projects: t.ProjectIDs, Until: t.ExpiresAt,
	}
	for _, scope := range t.Scopes {
		g.Scopes = append(g.Scopes, auth.Scope(scope))
	}
	return g
}

// unique gives the values once each, sorted; nil for none.
func unique[T int64 | string](values []T) []T {
	if len(values) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(values)))
}

// proto is the token as its user may see it, without its secret.
func (t *token) proto() *usersv1.Token {
	m := &usersv1.Token{
		Id: t.ID, Version: t.Version, CreatedAt: timestamppb.New(t.CreatedAt), UserId: t.UserID, Name: t.Name,
		Scopes: t.Scopes, ProjectIds: t.ProjectIDs, ExpiresAt: timestamppb.New(t.ExpiresAt),
	}
	if !t.LastUsedAt.IsZero() {
		m.LastUsedAt = timestamppb.New(t.LastUsedAt)
	}
	return m
}
