package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/trackway/trackway/services/platform/errs"
)

var config = Config{Issuer: "https://trackway.example", Audience: "trackway"}

// issuing gives an issuer with a new key, and a verifier that knows this key only.
func issuing(tb testing.TB, lifetime time.Duration) (*Issuer, *Verifier) {
	tb.Helper()
	key, err := GenerateKey()
	if err != nil {
		tb.Fatal(err)
	}
	i, err := NewIssuer(config, lifetime, key)
	if err != nil {
		tb.Fatal(err)
	}
	return i, NewVerifier(config, NewRemoteKeys(func(context.Context) ([]byte, error) { return i.JWKS() }), nil)
}

func (i *Issuer) public(tb testing.TB) ed25519.PublicKey {
	tb.Helper()
	public, ok := i.keys.Load().signs.private.Public().(ed25519.PublicKey)
	if !ok {
		tb.Fatal("the key has no public half")
	}
	return public
}

// draft is a token before it is signed.
type draft struct {
	header, claims map[string]any
	method         jwt.SigningMethod
	key            any
}

// draft makes what Issue would sign.
func (i *Issuer) draft() draft {
	now := time.Now()
	return draft{
		header: map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": i.keys.Load().signs.ID},
		claims: map[string]any{
			"iss": config.Issuer, "aud": config.Audience, "sub": "7", "sid": "s", "jti": "j",
			"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		},
		method: jwt.SigningMethodEdDSA, key: i.keys.Load().signs.private,
	}
}

func (d draft) sign(tb testing.TB) string {
	tb.Helper()
	token := jwt.NewWithClaims(d.method, jwt.MapClaims(d.claims))
	token.Header = d.header
	s, err := token.SignedString(d.key)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestAnIssuedTokenTellsWhoItsBearerIs(t *testing.T) {
	t.Parallel()
	i, v := issuing(t, time.Minute)
	for _, admin := range []bool{false, true} {
		token, err := i.Issue(7, admin, "session")
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.Verify(t.Context(), token)
		if err != nil {
			t.Fatalf("verify: got %v, want no error", err)
		}
		want := Caller{UserID: 7, Admin: admin, SessionID: "session", Token: token, Expires: got.Expires}
		if !reflect.DeepEqual(*got, want) || time.Until(got.Expires).Round(10*time.Second) != time.Minute {
			t.Errorf("caller: got %+v, want %+v for a minute", *got, want)
		}
	}
}

// TestOnlyAGoodTokenIsAccepted changes one thing at a time in a token that is good, as RFC 8725 warns of.
func TestOnlyAGoodTokenIsAccepted(t *testing.T) {
	t.Parallel()
	i, v := issuing(t, time.Minute)
	eve, _ := issuing(t, time.Minute)
	public := i.public(t)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	set := func(m func(*draft) map[string]any, name string, value any) func(*draft) {
		return func(d *draft) {
			if m(d)[name] = value; value == nil {
				delete(m(d), name)
			}
		}
	}
	header := func(name string, value any) func(*draft) {
		return set(func(d *draft) map[string]any { return d.header }, name, value)
	}
	claim := func(name string, value any) func(*draft) {
		return set(func(d *draft) map[string]any { return d.claims }, name, value)
	}
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	byEve := func(d *draft) { d.key = eve.keys.Load().signs.private }
	hmac := func(secret []byte) func(*draft) {
		return func(d *draft) { d.header["alg"], d.method, d.key = "HS256", jwt.SigningMethodHS256, secret }
	}
	tests := []struct {
		name    string
		changes []func(*draft)
		good    bool
	}{
		{name: "as issued", good: true},
		{"the type in full", []func(*draft){header("typ", "application/at+jwt")}, true},
		{"our audience among others", []func(*draft){claim("aud", []string{"other", config.Audience})}, true},
		{"expired within the skew", []func(*draft){claim("exp", in(-20*time.Second))}, true},
		{"a header that names keys, which nobody follows", []func(*draft){
			header("jku", "https://eve.example/keys"), header("x5u", "https://eve.example/keys"),
		}, true},

		{"alg none", []func(*draft){header("alg", "none"), func(d *draft) {
			d.method, d.key = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType
		}}, false},
		{"alg None, signed", []func(*draft){header("alg", "None")}, false},
		{"no alg", []func(*draft){header("alg", nil)}, false},
		{"HS256 with the public key", []func(*draft){hmac(public)}, false},
		{"HS256 with the public key in DER", []func(*draft){hmac(der)}, false},
		{"HS256 with the public key in PEM", []func(*draft){
			hmac(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		}, false},
		{"HS256 with nothing", []func(*draft){hmac(nil)}, false},
		{"another alg than its signature", []func(*draft){header("alg", "RS256")}, false},

		{"another key under our id", []func(*draft){byEve}, false},
		{"another key under its id", []func(*draft){byEve, header("kid", eve.keys.Load().signs.ID)}, false},
		{"an unknown key id", []func(*draft){header("kid", "unknown")}, false},
		{"no key id", []func(*draft){header("kid", nil)}, false},
		{"a key id that is a path", []func(*draft){header("kid", "../../dev/null")}, false},
		{"a key id that is no text", []func(*draft){header("kid", []int{1})}, false},
		{"its key in the header", []func(*draft){byEve, header("kid", nil), header("jwk", map[string]any{
			"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(eve.public(t)),
		})}, false},
		{"its key at an address in the header", []func(*draft){
			byEve, header("kid", eve.keys.Load().signs.ID), header("jku", "https://eve.example/keys"), header("x5u", "https://eve.example/keys"),
		}, false},
		{"a critical header", []func(*draft){header("crit", []string{"exp"})}, false},
		{"an empty critical header", []func(*draft){header("crit", []string{})}, false},

		{"another type", []func(*draft){header("typ", "JWT")}, false},
		{"no type", []func(*draft){header("typ", nil)}, false},
		{"another issuer", []func(*draft){claim("iss", config.Issuer+"/")}, false},
		{"no issuer", []func(*draft){claim("iss", nil)}, false},
		{"another audience", []func(*draft){claim("aud", []string{"other"})}, false},
		{"no audience", []func(*draft){claim("aud", nil)}, false},
		{"an empty audience", []func(*draft){claim("aud", []string{})}, false},

		{"expired", []func(*draft){claim("exp", in(-Skew-time.Second))}, false},
		{"without end", []func(*draft){claim("exp", nil)}, false},
		{"without id", []func(*draft){claim("jti", nil)}, false},
		{"without the time of issue", []func(*draft){claim("iat", nil)}, false},
		{"an end that is no number", []func(*draft){claim("exp", "never")}, false},
		{"not valid yet", []func(*draft){claim("nbf", in(Skew+10*time.Second))}, false},
		{"issued in the future", []func(*draft){claim("iat", in(Skew+10*time.Second))}, false},

		{"no user", []func(*draft){claim("sub", nil)}, false},
		{"user zero", []func(*draft){claim("sub", "0")}, false},
		{"a negative user", []func(*draft){claim("sub", "-7")}, false},
		{"a user that is no number", []func(*draft){claim("sub", "admin")}, false},
		{"a user that is too large", []func(*draft){claim("sub", "9223372036854775808")}, false},
		{"roles of another type", []func(*draft){claim("roles", map[string]bool{"admin": true})}, false},
	}
	for _, tt := range tests {
		d := i.draft()
		for _, change := range tt.changes {
			change(&d)
		}
		token := d.sign(t)
		c, err := v.Verify(t.Context(), token)
		if tt.good && (err != nil || c.UserID != 7 || c.Admin) {
			t.Errorf("%s: got %+v, %v, want user 7", tt.name, c, err)
		}
		if !tt.good && (c != nil || !errs.Is(err, errs.Unauthenticated)) {
			t.Errorf("%s: got %+v, %v, want %v", tt.name, c, err, errs.Unauthenticated)
		}
	}
}

func TestATokenWithAChangedTextIsRefused(t *testing.T) {
	t.Parallel()
	i, v := issuing(t, time.Minute)
	good := i.draft().sign(t)
	parts := strings.Split(good, ".")
	header, payload, signature := parts[0], parts[1], parts[2]
	other := i.draft()
	other.claims = maps.Clone(other.claims)
	other.claims["sub"], other.claims["roles"] = "1", []string{"admin"}
	other.key = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	tampered := strings.Split(other.sign(t), ".")[1]
	if _, err := v.Verify(t.Context(), good); err != nil { // and so is remembered
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"another payload":              header + "." + tampered + "." + signature,
		"no signature":                 header + "." + payload + ".",
		"no signature and no dot":      header + "." + payload,
		"a part more":                  good + ".x",
		"half a signature":             good[:len(good)-40],
		"a padded signature":           good + "==",
		"a line break":                 good + "\n",
		"a space before":               " " + good,
		"the same bits written anew":   good[:len(good)-1] + nextDigit(good[len(good)-1:]),
		"its parts in another order":   payload + "." + header + "." + signature,
		"nothing":                      "",
		"dots":                         "..",
		"many dots":                    strings.Repeat(".", 10_000),
		"no base64":                    "ä.ö.ü",
		"NULs":                         "\x00.\x00.\x00",
		"JSON":                         `{"alg":"none"}`,
		"a header that is no object":   base64.RawURLEncoding.EncodeToString([]byte("1")) + "." + payload + "." + signature,
		"a header that nests for long": base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("[", 20_000))) + ".e30.",
		"a scheme":                     "Bearer " + good,
	} {
		if c, err := v.Verify(t.Context(), token); c != nil || !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("%s: got %+v, %v, want %v", name, c, err, errs.Unauthenticated)
		}
	}
}

// nextDigit gives the base64url digit behind s. The last digit of a signature has four bits that mean nothing.
func nextDigit(s string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return digits[strings.Index(digits, s)+1:][:1]
}

// countedKeys counts how often a key is asked for.
type countedKeys struct {
	Keys

	asked int
}

func (k *countedKeys) Key(ctx context.Context, id string) (ed25519.PublicKey, error) {
	k.asked++
	return k.Keys.Key(ctx, id)
}

func TestAVerifiedTokenIsRememberedUntilItExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, v := issuing(t, time.Minute)
		keys := &countedKeys{Keys: v.keys}
		v.keys = keys
		token, err := i.Issue(7, false, "")
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := v.Verify(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
		if keys.asked != 1 {
			t.Errorf("signatures checked: got %d, want 1", keys.asked)
		}
		<-time.After(time.Minute + Skew - time.Second)
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Errorf("just before the end: got %v, want no error", err)
		}
		<-time.After(2 * time.Second)
		for range 2 { // also when it has been forgotten
			if c, err := v.Verify(t.Context(), token); c != nil || !errs.Is(err, errs.Unauthenticated) {
				t.Errorf("after the end: got %+v, %v, want %v", c, err, errs.Unauthenticated)
			}
		}
	})
}

func TestAnIssuerPublishesAllKeysAndSignsWithTheFirst(t *testing.T) {
	t.Parallel()
	var pems [][]byte
	for range 2 {
		key, err := GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		pems = append(pems, key)
	}
	before, err := NewIssuer(config, time.Minute, pems[0])
	if err != nil {
		t.Fatal(err)
	}
	after, err := NewIssuer(config, time.Minute, pems[1], pems[0])
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(config, NewRemoteKeys(func(context.Context) ([]byte, error) { return after.JWKS() }), nil)
	for _, i := range []*Issuer{before, after} {
		token, err := i.Issue(7, false, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Errorf("a token of key %s: got %v, want no error", i.keys.Load().signs.ID, err)
		}
	}
	first, both := before.keys.Load().signs.ID, after.keys.Load().published
	if both[0].ID == first || both[1].ID != first {
		t.Error("key ids: want one that depends on the key alone")
	}
	for name, bad := range map[string][][]byte{"none": nil, "no PEM": {[]byte("x")}, "no key": {[]byte("-----BEGIN X-----\n-----END X-----\n")}} {
		if _, err := NewIssuer(config, time.Minute, bad...); err == nil {
			t.Errorf("an issuer with keys %s: got no error, want one", name)
		}
	}
}

func FuzzVerify(f *testing.F) {
	i, v := issuing(f, time.Hour)
	good := i.draft().sign(f)
	f.Add(good)
	f.Add("")
	f.Add("e30.e30.")
	f.Add(fmt.Sprintf("%s.%s", good, good))
	f.Fuzz(func(t *testing.T, token string) {
		c, err := v.Verify(t.Context(), token)
		if token != good && (c != nil || !errs.Is(err, errs.Unauthenticated)) {
			t.Errorf("%q: got %+v, %v, want %v", token, c, err, errs.Unauthenticated)
		}
	})
}
