// Package auth says who is calling and what they may do: it issues and verifies access tokens, carries the caller
// in the context and over gRPC, and holds the policy table.
package auth

import (
	"context"
	"time"
)

// Caller is who a request is made for. The zero Caller is nobody.
type Caller struct {
	UserID    int64
	Admin     bool      // a global admin
	SessionID string    // or what names a personal access token
	Expires   time.Time // when the token ends
	// Scopes are what the token may be used for; nil, as of a session, is everything.
	Scopes []Scope
	// Projects are those that the token is limited to; nil is all.
	Projects []int64
	Token    string // as it came, to be forwarded
}

// AccessOf is whose access to projects something says. A global admin has other roles than the same user without that,
// whose token may be older.
type AccessOf struct {
	UserID int64
	Admin  bool
}

// AccessOf is the caller's.
func (c *Caller) AccessOf() AccessOf { return AccessOf{c.UserID, c.Admin} }

type callerKey struct{}

// WithCaller puts the caller into the context.
func WithCaller(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// WithCallerNow is WithCaller for what outlives an access token: now gives the caller with the token that holds by then.
func WithCallerNow(ctx context.Context, now func() *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, now)
}

// CallerFrom gives the caller of the context, which is the zero Caller for nobody; never nil.
func CallerFrom(ctx context.Context) *Caller {
	switch c := ctx.Value(callerKey{}).(type) {
	case *Caller:
		return c
	case func() *Caller:
		return c()
	}
	return &Caller{}
}
