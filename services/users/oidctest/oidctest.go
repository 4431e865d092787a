// Package oidctest runs an OpenID Connect provider for tests: that of zitadel/oidc, with a page that signs in without
// asking.
package oidctest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// The clients that the provider knows.
const (
	Web      = "trackway"
	Secret   = "a secret of the web client"
	App      = "trackway-app"
	Stranger = "somebody-elses-app"
	AppURI   = "com.example.app:/back"
)

const keyBits = 2048

// User is somebody who has an account at the provider.
type User = storage.User

// Provider is a running provider.
type Provider struct {
	URL string // the issuer

	server *httptest.Server
	store  *store
	users  *users
	down   atomic.Bool
	calls  atomic.Int64
}

// Start runs a provider until the test ends. Callback is where its web client takes people back to.
func Start(tb testing.TB, callback string) *Provider {
	tb.Helper()
	p, err := New(callback)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

// New is Start for the provider of many tests; Close ends it.
func New(callback string) (*Provider, error) {
	server := httptest.NewUnstartedServer(nil)
	issuer := "http://" + server.Listener.Addr().String()
	p := &Provider{URL: issuer, server: server, users: &users{all: map[string]*User{}}}
	clients := map[string]*storage.Client{
		Web: storage.WebClient(Web, Secret, callback), App: storage.NativeClient(App, AppURI), Stranger: storage.NativeClient(Stranger, AppURI),
	}
	p.store = &store{Storage: storage.NewStorageWithClients(p.users, clients)}
	if err := p.rotate(); err != nil {
		return nil, err
	}
	provider, err := op.NewProvider(
		&op.Config{CryptoKey: sha256.Sum256([]byte(issuer)), CodeMethodS256: true},
		p.store, op.StaticIssuer(issuer), op.WithAllowInsecure(), op.WithLogger(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		return nil, fmt.Errorf("make a provider: %w", err)
	}
	back := op.AuthCallbackURL(provider)
	mux := http.NewServeMux()
	mux.Handle("/", provider)
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("id")
		ctx := op.ContextWithIssuer(r.Context(), issuer)
		if err := p.store.CheckUsernamePassword(p.users.present(), "", id); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		http.Redirect(w, r, back(ctx, id), http.StatusFound)
	})
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.calls.Add(1)
		if p.down.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	})
	server.Start()
	return p, nil
}

// Close ends the provider.
func (p *Provider) Close() { p.server.Close() }

// SignIn makes the user the one whom the provider's page signs in from now on.
func (p *Provider) SignIn(u User) {
	p.users.set(&u)
}

// SetDown makes the provider fail, or work again.
func (p *Provider) SetDown(down bool) { p.down.Store(down) }

// Calls is how many requests there were.
func (p *Provider) Calls() int64 { return p.calls.Load() }

// Rotate makes the provider sign with another key, and forget the one before.
func (p *Provider) Rotate(tb testing.TB) {
	tb.Helper()
	if err := p.rotate(); err != nil {
		tb.Fatal(err)
	}
}

func (p *Provider) rotate() error {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	p.store.rotate(key)
	return nil
}

// Claims are those of a good ID token for the app, to be spoiled.
func (p *Provider) Claims(u User, nonce string) map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": p.URL, "sub": u.ID, "aud": App, "azp": App, "nonce": nonce, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"email": u.Email, "email_verified": u.EmailVerified, "name": u.FirstName,
	}
}

// Sign signs claims as the provider does; those given last replace the others.
func (p *Provider) Sign(tb testing.TB, claims map[string]any, changes map[string]any) string {
	tb.Helper()
	claims = maps.Clone(claims)
	maps.Copy(claims, changes)
	token, err := p.Token(claims)
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// Token is claims, signed as the provider does.
func (p *Provider) Token(claims map[string]any) (string, error) {
	k := p.store.key()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k.private, KeyID: k.id}}, nil)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	signed, err := signer.Sign(text)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return signed.CompactSerialize()
}

// Visit has a browser follow the provider's pages from address on until it is sent somewhere else, and gives that.
func (p *Provider) Visit(tb testing.TB, address string) *url.URL {
	tb.Helper()
	client := &http.Client{CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if "http://"+r.URL.Host != p.URL {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	to, err := res.Location()
	if err != nil {
		text, _ := io.ReadAll(res.Body)
		tb.Fatalf("%s: %s: %s: %v", address, res.Status, text, err)
	}
	return to
}

// IDToken gets an ID token as a client without a secret does: by the code flow, with a nonce.
func (p *Provider) IDToken(tb testing.TB, client, nonce string) string {
	tb.Helper()
	const verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" // RFC 7636
	back := p.Visit(tb, p.URL+"/authorize?"+url.Values{
		"client_id": {client}, "redirect_uri": {AppURI}, "response_type": {"code"}, "scope": {"openid email profile"}, "state": {"s"},
		"nonce": {nonce}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}.Encode())
	res, err := http.PostForm(p.URL+"/oauth/token", url.Values{ //nolint:noctx // ends with the provider
		"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "client_id": {client}, "redirect_uri": {AppURI},
		"code_verifier": {verifier},
	})
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"id_token"`
	}
	if err := json.UnmarshalRead(res.Body, &answer); err != nil || answer.Token == "" {
		tb.Fatalf("no ID token: %s, %v", res.Status, err)
	}
	return answer.Token
}

// users are those whom the provider knows, and the one who is there.
type users struct {
	mu  sync.Mutex
	all map[string]*User
	now string
}

func (u *users) set(user *User) {
	u.mu.Lock()
	defer u.mu.Unlock()
	user.Username = user.ID
	u.all[user.ID], u.now = user, user.ID
}

func (u *users) present() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.now
}

// GetUserByID gives a user.
func (u *users) GetUserByID(id string) *User {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.all[id]
}

// GetUserByUsername gives a user.
func (u *users) GetUserByUsername(name string) *User { return u.GetUserByID(name) }

// ExampleClientID is for what the tests do not use.
func (*users) ExampleClientID() string { return "service" }

// store is zitadel/oidc's store in memory, with keys that change and clients that are signed in by our page.
type store struct {
	*storage.Storage

	mu      sync.Mutex
	current key
	made    int
}

func (s *store) rotate(private *rsa.PrivateKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	s.current = key{id: "key-" + strconv.Itoa(s.made), private: private}
}

func (s *store) key() key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// SigningKey gives the key that signs.
func (s *store) SigningKey(context.Context) (op.SigningKey, error) { return s.key(), nil }

// KeySet gives the key that verifies.
func (s *store) KeySet(context.Context) ([]op.Key, error) { return []op.Key{public{s.key()}}, nil }

// SignatureAlgorithms tells them.
func (*store) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.RS256}, nil
}

// GetClientByClientID gives a client.
func (s *store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", id, err)
	}
	return client{c}, nil
}

type client struct{ op.Client }

// LoginURL is our page.
func (client) LoginURL(id string) string { return "/login?id=" + url.QueryEscape(id) }

// IDTokenUserinfoClaimsAssertion has the ID tokens of apps tell the address; the web client has to ask for it.
func (c client) IDTokenUserinfoClaimsAssertion() bool { return c.GetID() != Web }

type key struct {
	id      string
	private *rsa.PrivateKey
}

// ID is the kid.
func (k key) ID() string { return k.id }

// Key is the private key.
func (k key) Key() any { return k.private }

// SignatureAlgorithm is RS256.
func (key) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }

type public struct{ key }

// Key is the public key.
func (p public) Key() any { return &p.private.PublicKey }

// Algorithm is RS256.
func (public) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }

// Use is signing.
func (public) Use() string { return "sig" }
