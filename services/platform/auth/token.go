package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/trackway/trackway/services/platform/errs"
)

// tokenType is the JWT type of an access token, RFC 9068 section 2.1.
const tokenType = "at+jwt"

// Skew is how far the clocks of two machines may differ: for so long tokens that have expired are accepted.
const Skew = 30 * time.Second

// remembered is how many verified tokens a Verifier keeps; beyond it the least used are verified again.
const remembered = 16384

// claims are the claims of our access tokens, RFC 9068 section 2.2.
type claims struct {
	jwt.RegisteredClaims

	Session string   `json:"sid,omitempty"`
	Roles   []string `json:"roles,omitempty"` // "admin" for a global admin
	// Of a personal access token; absent takes nothing away.
	Scope    *string `json:"scope,omitempty"` // separated by spaces, RFC 9068 section 2.2.3
	Projects []int64 `json:"projects,omitempty"`
}

// Grant is what an access token stands for.
type Grant struct {
	UserID  int64
	Admin   bool
	Session string
	// Scopes and Projects limit it, as in Caller.
	Scopes   []Scope
	Projects []int64
	// Until is when it must have ended, if that is before its lifetime does; zero is no such time.
	Until time.Time
}

// adminRole is the entry of `roles` that makes a caller a global admin.
const adminRole = "admin"

// Config is what all parts of an installation must agree on about tokens.
type Config struct {
	Issuer   string `env:"TOKEN_ISSUER" envDefault:"https://trackway.invalid" doc:"The iss claim of access tokens: the public URL of the installation"`
	Audience string `env:"TOKEN_AUDIENCE" envDefault:"trackway" doc:"The aud claim of access tokens"`
}

// Issuer signs access tokens with Ed25519 (EdDSA, RFC 8037).
type Issuer struct {
	cfg      Config
	lifetime time.Duration
	keys     atomic.Pointer[keysInUse]
}

type keysInUse struct {
	signs     SigningKey
	published []PublicKey
}

// SigningKey is a key that signs, with its id.
type SigningKey struct {
	PublicKey

	private ed25519.PrivateKey
}

// PublicKey is the half of it that verifies.
type PublicKey struct {
	ID  string
	Key ed25519.PublicKey
}

// NewIssuer makes an issuer from PKCS #8 keys in PEM. It signs with the first and publishes all.
func NewIssuer(cfg Config, lifetime time.Duration, pems ...[]byte) (*Issuer, error) {
	keys, err := ParseKeys(pems...)
	if err != nil {
		return nil, err
	}
	i := NewIssuerOf(cfg, lifetime)
	var published []PublicKey
	for _, k := range keys {
		published = append(published, k.PublicKey)
	}
	i.Use(keys[0], published...)
	return i, nil
}

// NewIssuerOf makes an issuer that has to be told first which keys to Use.
func NewIssuerOf(cfg Config, lifetime time.Duration) *Issuer {
	return &Issuer{cfg: cfg, lifetime: lifetime}
}

// Is reports whether it is the same key.
func (k SigningKey) Is(other SigningKey) bool { return k.ID == other.ID }

// Also gives the keys, and those that the issuer publishes besides.
func (i *Issuer) Also(keys []PublicKey) []PublicKey {
	for _, p := range i.keys.Load().published {
		if !slices.ContainsFunc(keys, func(k PublicKey) bool { return k.ID == p.ID }) {
			keys = append(keys, p)
		}
	}
	return keys
}

// Use has the issuer sign with a key and publish others, from now on.
func (i *Issuer) Use(signs SigningKey, published ...PublicKey) {
	i.keys.Store(&keysInUse{signs, published})
}

// ParseKeys reads PKCS #8 keys in PEM, at least one.
func ParseKeys(pems ...[]byte) ([]SigningKey, error) {
	if len(pems) == 0 {
		return nil, errors.New("no signing key is given")
	}
	var keys []SigningKey
	for n, text := range pems {
		block, _ := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("signing key %d is no PEM", n+1)
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("signing key %d: %w", n+1, err)
		}
		private, ok := key.(ed25519.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("signing key %d is not an Ed25519 key", n+1)
		}
		public, ok := private.Public().(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("signing key %d has no public half", n+1)
		}
		keys = append(keys, SigningKey{PublicKey{thumbprint(public), public}, private})
	}
	return keys, nil
}

// GenerateKey makes a new signing key as PKCS #8 in PEM.
func GenerateKey() ([]byte, error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("generate a signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("encode a signing key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// thumbprint is the JWK thumbprint of a key, RFC 7638 and RFC 8037 appendix A.3, used as its `kid`.
func thumbprint(public ed25519.PublicKey) string {
	x := base64.RawURLEncoding.EncodeToString(public)
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Lifetime is how long a token is valid.
func (i *Issuer) Lifetime() time.Duration { return i.lifetime }

// Accepted is how long after it was issued a token may still be accepted, somewhere: its lifetime and the skew.
func (i *Issuer) Accepted() time.Duration { return i.lifetime + Skew }

// Issue signs an access token for a user and session.
func (i *Issuer) Issue(userID int64, admin bool, session string) (string, error) {
	token, _, err := i.Grant(Grant{UserID: userID, Admin: admin, Session: session})
	return token, err
}

// Grant signs an access token, and tells how long it is valid.
func (i *Issuer) Grant(g Grant) (token string, lifetime time.Duration, err error) {
	now := time.Now()
	lifetime = i.lifetime
	if !g.Until.IsZero() {
		lifetime = min(lifetime, g.Until.Sub(now))
	}
	c := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: i.cfg.Issuer, Audience: jwt.ClaimStrings{i.cfg.Audience}, Subject: strconv.FormatInt(g.UserID, 10),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(lifetime)), ID: uuid.NewString(),
		},
		Session: g.Session, Projects: g.Projects,
	}
	if g.Scopes != nil {
		c.Scope = new(joinScopes(g.Scopes))
	}
	if g.Admin {
		c.Roles = []string{adminRole}
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c)
	t.Header["typ"] = tokenType
	key := i.keys.Load().signs
	t.Header["kid"] = key.ID
	token, err = t.SignedString(key.private)
	if err != nil {
		return "", 0, fmt.Errorf("sign an access token: %w", err)
	}
	return token, lifetime, nil
}

func joinScopes(scopes []Scope) string {
	words := make([]string, 0, len(scopes))
	for _, s := range scopes {
		words = append(words, string(s))
	}
	return strings.Join(words, " ")
}

// JWKS is what the issuer publishes, as a JSON Web Key Set.
func (i *Issuer) JWKS() ([]byte, error) { return JWKS(i.keys.Load().published...) }

// JWKS is the keys as a JSON Web Key Set, RFC 7517.
func JWKS(keys ...PublicKey) ([]byte, error) {
	var set jwkset.JWKSMarshal
	for _, k := range keys {
		jwk, err := jwkset.NewJWKFromKey(k.Key, jwkset.JWKOptions{
			Metadata: jwkset.JWKMetadataOptions{ALG: jwkset.AlgEdDSA, KID: k.ID, USE: jwkset.UseSig},
		})
		if err != nil {
			return nil, fmt.Errorf("publish a signing key: %w", err)
		}
		set.Keys = append(set.Keys, jwk.Marshal())
	}
	b, err := json.Marshal(set, json.OmitZeroStructFields(true))
	if err != nil {
		return nil, fmt.Errorf("publish the signing keys: %w", err)
	}
	return b, nil
}

// Verifier tells who a token belongs to. It follows RFC 8725: the algorithm comes from the key and never from the
// token, and type, issuer, audience and times are all checked. A verified token is remembered until it expires, so
// that its signature is checked once and not on every request; whether its session has ended is looked up each time.
type Verifier struct {
	parser *jwt.Parser
	keys   Keys
	ended  *Revocations
	seen   *lru.Cache[string, *Caller]
}

// NewVerifier makes a verifier of tokens that are signed with one of the keys, and whose session is not among the ended
// ones; nil has none of these.
func NewVerifier(cfg Config, keys Keys, ended *Revocations) *Verifier {
	seen, err := lru.New[string, *Caller](remembered)
	if err != nil {
		panic(err) // only a size below one is an error
	}
	return &Verifier{
		keys:  keys,
		ended: ended,
		seen:  seen,
		parser: jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(cfg.Issuer),
			jwt.WithAudience(cfg.Audience), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(Skew),
			jwt.WithStrictDecoding()),
	}
}

// Verify gives the caller that the token stands for. A token that is not good is Unauthenticated, whatever is wrong
// with it; keys that can not be had are Unavailable.
func (v *Verifier) Verify(ctx context.Context, token string) (*Caller, error) {
	c, err := v.verify(ctx, token)
	if err == nil && v.ended.Has(c.SessionID) {
		return nil, errs.New(errs.Unauthenticated, "The access token is not valid.").
			Because(errors.New("its session has ended"))
	}
	return c, err
}

// verify is Verify for a session that has not ended.
func (v *Verifier) verify(ctx context.Context, token string) (*Caller, error) {
	if c, ok := v.seen.Get(token); ok {
		if time.Now().Before(c.Expires.Add(Skew)) {
			return c, nil
		}
		v.seen.Remove(token)
	}
	var (
		cl      claims
		missing error
	)
	_, err := v.parser.ParseWithClaims(token, &cl, func(t *jwt.Token) (any, error) {
		if typ, _ := t.Header["typ"].(string); !strings.EqualFold(strings.TrimPrefix(typ, "application/"), tokenType) {
			return nil, fmt.Errorf("type %q is not %q", typ, tokenType)
		}
		if strings.ContainsAny(token, "\r\n") { // which base64 skips: RFC 7515, section 2, has none
			return nil, errors.New("a token is one line")
		}
		if _, ok := t.Header["crit"]; ok {
			return nil, errors.New("no critical header is understood")
		}
		kid, _ := t.Header["kid"].(string)
		key, err := v.keys.Key(ctx, kid)
		if errs.Is(err, errs.Unavailable) {
			missing = err
		}
		return key, err
	})
	if missing != nil {
		return nil, missing
	}
	if err != nil {
		return nil, errs.New(errs.Unauthenticated, "The access token is not valid.").Because(err)
	}
	id, err := strconv.ParseInt(cl.Subject, 10, 64)
	if err != nil || id <= 0 {
		return nil, errs.New(errs.Unauthenticated, "The access token is not valid.").
			Because(fmt.Errorf("subject %q is no user", cl.Subject))
	}
	if cl.ID == "" || cl.IssuedAt == nil { // RFC 9068, section 2.2
		return nil, errs.New(errs.Unauthenticated, "The access token is not valid.").
			Because(errors.New("it has no jti or no iat"))
	}
	c := &Caller{UserID: id, SessionID: cl.Session, Expires: cl.ExpiresAt.Time, Token: token}
	for _, r := range cl.Roles {
		c.Admin = c.Admin || r == adminRole
	}
	c.Projects = cl.Projects
	if cl.Scope != nil {
		c.Scopes = []Scope{} // with none it may do nothing
		for word := range strings.FieldsSeq(*cl.Scope) {
			c.Scopes = append(c.Scopes, Scope(word))
		}
		c.Admin = c.Admin && c.Has(AdminScope)
	}
	v.seen.Add(token, c)
	return c, nil
}
