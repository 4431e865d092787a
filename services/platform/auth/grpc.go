package auth

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/trackway/trackway/services/platform/errs"
)

const authorization = "authorization"

// Bearer gives the token of an Authorization header (RFC 6750); the scheme's case does not matter.
func Bearer(header string) (token string, ok bool) {
	scheme, token, found := strings.Cut(header, " ")
	return token, found && strings.EqualFold(scheme, "Bearer") && token != ""
}

// Authenticate verifies the token of every call again and puts the caller into the context. Without a token only the
// public methods, named in full such as "/users.v1.UsersService/Login", and gRPC's own health service answer. A token
// with scopes answers only what they are for.
func Authenticate(v *Verifier, public ...string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		token, ok := Bearer(strings.Join(metadata.ValueFromIncomingContext(ctx, authorization), ""))
		switch {
		case slices.Contains(public, info.FullMethod) || strings.HasPrefix(info.FullMethod, "/grpc.health."):
			return next(ctx, req)
		case !ok:
			return nil, errs.New(errs.Unauthenticated, "Sign in first.")
		}
		caller, err := v.Verify(ctx, token)
		if err != nil {
			return nil, err
		}
		if err := caller.RequireScope(info.FullMethod); err != nil {
			return nil, err
		}
		return next(WithCaller(ctx, caller), req)
	}
}

// Forward adds the caller's own token to the headers of a call, each of which stands before its value.
func Forward(ctx context.Context, headers []string) []string {
	if token := CallerFrom(ctx).Token; token != "" {
		return append(headers, authorization, "Bearer "+token)
	}
	return headers
}
