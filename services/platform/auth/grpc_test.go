package auth

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/trackway/trackway/services/platform/errs"
)

func TestBearerReadsTheTokenOfAHeader(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"Bearer abc": "abc", "bearer abc": "abc", "BEARER abc": "abc",
		"": "", "abc": "", "Bearer": "", "Bearer ": "", "Basic abc": "", "Bearerabc": "",
	} {
		if got, ok := Bearer(header); ok != (want != "") || ok && got != want {
			t.Errorf("%q: got %q, %v, want %q", header, got, ok, want)
		}
	}
}

func TestEveryCallIsVerifiedUnlessItIsPublic(t *testing.T) {
	t.Parallel()
	i, v := issuing(t, time.Minute)
	token, err := i.Issue(7, false, "")
	if err != nil {
		t.Fatal(err)
	}
	const public = "/users.v1.UsersService/Login"
	tests := []struct {
		name, method string
		headers      []string
		want         int64 // the caller, where the call gets through
		code         errs.Code
	}{
		{"a good token", "/x/Get", []string{"Bearer " + token}, 7, ""},
		{"no token", "/x/Get", nil, 0, errs.Unauthenticated},
		{"another scheme", "/x/Get", []string{"Basic " + token}, 0, errs.Unauthenticated},
		{"a bad token", "/x/Get", []string{"Bearer x"}, 0, errs.Unauthenticated},
		{"two tokens", "/x/Get", []string{"Bearer " + token, "Bearer " + token}, 0, errs.Unauthenticated},
		{"a public method", public, nil, 0, ""},
		{"a method named like a public one", public + "s", nil, 0, errs.Unauthenticated},
		{"the health service", "/grpc.health.v1.Health/Check", nil, 0, ""},
		{"a service named like it", "/grpc.healthy/Get", nil, 0, errs.Unauthenticated},
	}
	for _, tt := range tests {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.MD{"authorization": tt.headers})
		got := int64(-1)
		_, err := Authenticate(v, public)(ctx, nil, &grpc.UnaryServerInfo{FullMethod: tt.method},
			func(ctx context.Context, _ any) (any, error) {
				got = CallerFrom(ctx).UserID
				return "", nil
			})
		switch {
		case tt.code == "" && (err != nil || got != tt.want):
			t.Errorf("%s: got caller %d, %v, want %d", tt.name, got, err, tt.want)
		case tt.code != "" && (got != -1 || !errs.Is(err, tt.code)):
			t.Errorf("%s: got caller %d, %v, want %v", tt.name, got, err, tt.code)
		}
	}
}
