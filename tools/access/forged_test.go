package access

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// part is one of the first two parts of a token.
type part map[string]any

// with is the part with other members; nil leaves one out.
func (p part) with(members part) part {
	p = maps.Clone(p)
	maps.Copy(p, members)
	maps.DeleteFunc(p, func(_ string, v any) bool { return v == nil })
	return p
}

func (p part) encode(t *testing.T) string {
	t.Helper()
	b, err := json.Marshal(map[string]any(p))
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// TestForgedTokens: RFC 8725 and RFC 9068, against a running system: its doors, and a service behind them.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(here.Dir, "signing-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		t.Fatalf("the signing key: got a %T, want Ed25519", parsed)
	}
	theirs, foreign, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		t.Fatal("the signing key has no public half")
	}
	x := base64.RawURLEncoding.EncodeToString(public)
	thumbprint := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`))
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}

	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	header := part{"alg": "EdDSA", "typ": "at+jwt", "kid": base64.RawURLEncoding.EncodeToString(thumbprint[:])}
	claims := part{
		"iss": "https://trackway.invalid", "aud": "trackway", "sub": strconv.FormatInt(here.owner, 10), "sid": "forged", "jti": "forged",
		"iat": at(-time.Minute), "nbf": at(-time.Minute), "exp": at(5 * time.Minute),
	}
	sign := func(by ed25519.PrivateKey, h, c part) string {
		signed := h.encode(t) + "." + c.encode(t)
		return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(by, []byte(signed)))
	}
	mac := func(secret []byte) string {
		signed := header.with(part{"alg": "HS256"}).encode(t) + "." + claims.encode(t)
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	good := sign(key, header, claims)
	parts := strings.Split(good, ".")
	jwk := part{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(theirs)}
	own := func(h part) string { return sign(key, header.with(h), claims) }
	says := func(c part) string { return sign(key, header, claims.with(c)) }

	for name, tt := range map[string]struct {
		token string
		works bool
	}{
		"one that is right":                  {good, true},
		"one that ended within the skew":     {says(part{"exp": at(-time.Second)}), true},
		"alg none":                           {header.with(part{"alg": "none"}).encode(t) + "." + parts[1] + ".", false},
		"alg None, with a signature":         {own(part{"alg": "None"}), false},
		"no alg":                             {own(part{"alg": nil}), false},
		"another alg":                        {own(part{"alg": "RS256"}), false},
		"no signature":                       {parts[0] + "." + parts[1] + ".", false},
		"two parts":                          {parts[0] + "." + parts[1], false},
		"HS256 by the public key":            {mac(public), false},
		"HS256 by the public key, encoded":   {mac([]byte(x)), false},
		"HS256 by the public key, as PEM":    {mac(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})), false},
		"HS256 by nothing":                   {mac(nil), false},
		"another's key":                      {sign(foreign, header, claims), false},
		"another's key in the header":        {sign(foreign, header.with(part{"jwk": jwk}), claims), false},
		"another's key at an address":        {sign(foreign, header.with(part{"jku": "http://127.0.0.1:1/jwks.json"}), claims), false},
		"another's certificate":              {sign(foreign, header.with(part{"x5u": "http://127.0.0.1:1/cert"}), claims), false},
		"another's key by its own kid":       {sign(foreign, header.with(part{"kid": "theirs", "jwk": jwk}), claims), false},
		"an unknown kid":                     {own(part{"kid": "unknown"}), false},
		"no kid":                             {own(part{"kid": nil}), false},
		"a kid that is a path":               {own(part{"kid": "../../../../dev/null"}), false},
		"a kid that is SQL":                  {own(part{"kid": "' OR '1'='1"}), false},
		"a kid that is no text":              {own(part{"kid": 1}), false},
		"a critical header":                  {own(part{"crit": []string{"exp"}}), false},
		"another type":                       {own(part{"typ": "JWT"}), false},
		"no type":                            {own(part{"typ": nil}), false},
		"another issuer":                     {says(part{"iss": "https://evil.invalid"}), false},
		"no issuer":                          {says(part{"iss": nil}), false},
		"another audience":                   {says(part{"aud": "other"}), false},
		"no audience":                        {says(part{"aud": nil}), false},
		"one that ended beyond the skew":     {says(part{"exp": at(-45 * time.Second)}), false},
		"no end":                             {says(part{"exp": nil}), false},
		"an end that is no number":           {says(part{"exp": "never"}), false},
		"one that is not yet good":           {says(part{"nbf": at(2 * time.Minute)}), false},
		"one of the future":                  {says(part{"iat": at(2 * time.Minute)}), false},
		"no subject":                         {says(part{"sub": nil}), false},
		"a subject that is nobody":           {says(part{"sub": "0"}), false},
		"a subject that is no number":        {says(part{"sub": "admin"}), false},
		"other claims":                       {parts[0] + "." + claims.with(part{"roles": []string{"admin"}}).encode(t) + "." + parts[2], false},
		"another header":                     {header.with(part{"x": 1}).encode(t) + "." + parts[1] + "." + parts[2], false},
		"a signature that is cut off":        {good[:len(good)-4], false},
		"more behind it":                     {good + ".e30", false},
		"a made-up personal access token":    {auth.NewSecret(), false},
		"a mistyped personal access token":   {auth.NewSecret() + "0", false},
		"a refresh token or some such thing": {base64.RawURLEncoding.EncodeToString(make([]byte, 64)), false},
	} {
		rest, challenge := ask(t, http.MethodGet, "/api/users/me/", "", tt.token)
		graph, _ := ask(t, http.MethodPost, "/graphql", `{"query": "{ viewer { id } }"}`, tt.token)
		want := http.StatusUnauthorized
		if tt.works {
			want = http.StatusOK
		}
		if rest != want || graph != want || !tt.works && challenge != `Bearer error="invalid_token"` {
			t.Errorf("%s: got %d by REST, with %q, and %d by GraphQL, want %d", name, rest, challenge, graph, want)
		}
		// A service does not rely on the door.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := here.users.GetUser(auth.WithCaller(ctx, &auth.Caller{Token: tt.token}), &usersv1.GetUserRequest{Id: here.owner})
		cancel()
		if got := errs.Is(err, errs.Unauthenticated); got == tt.works || tt.works && err != nil {
			t.Errorf("%s: got %v from the users service, want it to work: %v", name, err, tt.works)
		}
	}
}

// ask sends a request with the token, and gives its status and challenge.
func ask(t *testing.T, method, path, body, token string) (status int, challenge string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, here.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "bearer "+token) // the scheme has no case
	req.Header.Set("Content-Type", "application/json")
	res, err := here.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("WWW-Authenticate")
}
