package access

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/trackway/trackway/services/users/oidctest"
)

const (
	landing  = "https://app.example.org/signed-in"
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

// browser is a browser at the doors, which follows nothing by itself and keeps its cookies.
type browser struct {
	*testing.T

	cookies map[string]*http.Cookie
}

// get gives the status of an address of Trackway, and where the browser is sent.
func (b *browser) get(path string, query url.Values) (status int, to *url.URL) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, here.URL+path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for _, c := range b.cookies {
		req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusSeeOther && res.Header.Get("Cache-Control") != "no-store" {
		b.Errorf("%s: Cache-Control is %q, want no-store", path, res.Header.Get("Cache-Control"))
	}
	for _, c := range res.Cookies() {
		if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || !strings.HasPrefix(c.Name, "__Host-") {
			b.Errorf("cookie: got %v", c)
		}
		b.cookies[c.Name] = c
	}
	to, _ = res.Location()
	return res.StatusCode, to
}

// start begins a sign-in, and gives the provider's page.
func (b *browser) start() *url.URL {
	b.Helper()
	sum := sha256.Sum256([]byte(verifier))
	status, to := b.get("/api/auth/oidc/start/", url.Values{
		"redirect_uri": {landing}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	})
	if status != http.StatusSeeOther || !strings.HasPrefix(to.String(), here.provider.URL+"/") {
		b.Fatalf("start: got %d, %v, want the provider", status, to)
	}
	return to
}

// finish comes back from the provider, and gives what the app is told.
func (b *browser) finish(back url.Values) (status int, told url.Values) {
	b.Helper()
	status, to := b.get("/api/auth/oidc/callback/", back)
	if status != http.StatusSeeOther {
		return status, nil
	}
	told, err := url.ParseQuery(to.EscapedFragment())
	if err != nil || !strings.HasPrefix(to.String(), landing+"#") {
		b.Fatalf("sent to %s, %v, want %s", to, err, landing)
	}
	return status, told
}

// door asks for tokens through one of the doors, and gives the access token, or the code of the refusal.
type door func(t *testing.T, operation string, input object) (token, refused string)

func doors() map[string]door {
	post := func(t *testing.T, path string, body object) []byte {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, here.URL+path, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := here.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Header.Get("Cache-Control"); res.StatusCode == http.StatusOK && !strings.Contains(got, "no-store") {
			t.Errorf("%s: Cache-Control is %q, want no-store", path, got)
		}
		return answer
	}
	return map[string]door{
		"REST": func(t *testing.T, operation string, input object) (string, string) {
			t.Helper()
			path := map[string]string{"exchangeCode": "token/", "exchangeIdToken": "id-token/"}[operation]
			text := post(t, "/api/auth/oidc/"+path, input)
			var answer struct {
				Token string `json:"access_token"`
				Code  string `json:"code"`
			}
			if err := json.Unmarshal(text, &answer); err != nil {
				t.Fatal(err)
			}
			return answer.Token, answer.Code
		},
		"GraphQL": func(t *testing.T, operation string, input object) (string, string) {
			t.Helper()
			camel := object{}
			for name, value := range input {
				parts := strings.Split(name, "_")
				for i := range parts[1:] {
					parts[i+1] = strings.ToUpper(parts[i+1][:1]) + parts[i+1][1:]
				}
				camel[strings.Join(parts, "")] = value
			}
			typ := strings.ToUpper(operation[:1]) + operation[1:]
			text := post(t, "/graphql", object{
				"query":     "mutation($in: " + typ + "Input!) { done: " + operation + "(input: $in) { tokens { accessToken } } }",
				"variables": object{"in": camel},
			})
			var answer struct {
				Data struct {
					Done struct {
						Tokens struct {
							Token string `json:"accessToken"`
						} `json:"tokens"`
					} `json:"done"`
				} `json:"data"`
				Errors []struct {
					Extensions struct {
						Code string `json:"code"`
					} `json:"extensions"`
				} `json:"errors"`
			}
			if err := json.Unmarshal(text, &answer); err != nil {
				t.Fatal(err)
			}
			if len(answer.Errors) > 0 {
				return "", strings.ToLower(answer.Errors[0].Extensions.Code)
			}
			return answer.Data.Done.Tokens.Token, ""
		},
	}
}

// opens fails the test unless the access token opens both replicas of the edge.
func opens(t *testing.T, token string) {
	t.Helper()
	for _, edge := range here.URLs {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, edge+"/api/users/me/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := here.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: got %s with the token of the sign-in", edge, res.Status)
		}
	}
}

// All that follows is by one provider, whose page signs in one person at a time.
func TestPeopleSignInWithTheProviderThroughBothDoors(t *testing.T) {
	t.Parallel()
	for name, exchange := range doors() {
		person := oidctest.User{ID: "person-at-" + name, FirstName: "Grace", Email: here.email("grace"), EmailVerified: true}
		here.provider.SignIn(person)
		b := &browser{t, map[string]*http.Cookie{}}
		back := here.provider.Visit(t, b.start().String()).Query()
		other := &browser{t, map[string]*http.Cookie{}}
		other.start()
		for what, spoiled := range map[string]struct {
			browser *browser
			change  url.Values
		}{
			"another browser": {other, nil}, "a browser without a cookie": {&browser{t, map[string]*http.Cookie{}}, nil},
			"another state": {b, url.Values{"state": {"made-up"}}},
		} {
			q := maps.Clone(back)
			maps.Copy(q, spoiled.change)
			if status, _ := spoiled.browser.finish(q); status != http.StatusUnauthorized {
				t.Errorf("%s: got %d, want 401", what, status)
			}
		}
		if status, _ := b.finish(url.Values{"state": {back.Get("state"), back.Get("state")}}); status != http.StatusBadRequest {
			t.Errorf("two states: got %d, want 400", status)
		}
		back.Set("session_state", "of the provider's own") // must not be in the way
		_, told := b.finish(back)
		if status, _ := b.finish(back); status != http.StatusUnauthorized {
			t.Errorf("the callback again: got %d, want 401", status)
		}
		good := object{"code": told.Get("code"), "code_verifier": verifier}
		token, refused := exchange(t, "exchangeCode", good)
		if token == "" {
			t.Fatalf("%s: the code is refused: %s, told %v", name, refused, told)
		}
		opens(t, token)
		if _, refused := exchange(t, "exchangeCode", good); refused != "unauthenticated" {
			t.Errorf("%s: the code again: got %q, want unauthenticated", name, refused)
		}

		// An app, by an ID token that it got by itself.
		const nonce = "a nonce of an app"
		id := here.provider.IDToken(t, oidctest.App, nonce)
		for what, input := range map[string]object{
			"another nonce":    {"id_token": id, "nonce": nonce + "!"},
			"another's token":  {"id_token": here.provider.IDToken(t, oidctest.Stranger, nonce), "nonce": nonce},
			"a token of ours":  {"id_token": token, "nonce": nonce},
			"an unsigned one":  {"id_token": unsigned(id), "nonce": nonce},
			"one that expired": {"id_token": here.provider.Sign(t, here.provider.Claims(person, nonce), object{"exp": time.Now().Add(-time.Minute).Unix()}), "nonce": nonce},
		} {
			if _, refused := exchange(t, "exchangeIdToken", input); refused != "unauthenticated" {
				t.Errorf("%s: %s: got %q, want unauthenticated", name, what, refused)
			}
		}
		token, refused = exchange(t, "exchangeIdToken", object{"id_token": id, "nonce": nonce})
		if token == "" {
			t.Fatalf("%s: the ID token is refused: %s", name, refused)
		}
		opens(t, token)
		if _, refused := exchange(t, "exchangeIdToken", object{"id_token": id, "nonce": nonce}); refused != "unauthenticated" {
			t.Errorf("%s: the ID token again: got %q, want unauthenticated", name, refused)
		}
		person.ID, person.EmailVerified = person.ID+"'s double", false
		unverified := here.provider.Sign(t, here.provider.Claims(person, nonce), nil)
		if _, refused := exchange(t, "exchangeIdToken", object{"id_token": unverified, "nonce": nonce}); refused != "permission_denied" {
			t.Errorf("%s: an address that is not verified: got %q, want permission_denied", name, refused)
		}
	}
}

// unsigned is a token with alg none.
func unsigned(token string) string {
	parts := strings.Split(token, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
}

func TestASignInIsNoOpenRedirect(t *testing.T) {
	t.Parallel()
	b := &browser{t, map[string]*http.Cookie{}}
	sum := sha256.Sum256([]byte(verifier))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	for _, to := range []string{"", "https://evil.example.org/", landing + ".evil.example.org", landing + "/../x", "//evil.example.org/", "/"} {
		if status, sent := b.get("/api/auth/oidc/start/", url.Values{"redirect_uri": {to}, "code_challenge": {challenge}}); status != http.StatusBadRequest || sent != nil {
			t.Errorf("redirect_uri %q: got %d, %v, want 400", to, status, sent)
		}
	}
	if status, _ := b.get("/api/auth/oidc/start/", url.Values{"redirect_uri": {landing}, "code_challenge": {verifier}, "code_challenge_method": {"plain"}}); status != http.StatusBadRequest {
		t.Errorf("a plain challenge: got %d, want 400", status)
	}
	for _, q := range []url.Values{nil, {"state": {"x"}, "code": {"y"}}, {"error": {"access_denied"}}, {"redirect_uri": {"https://evil.example.org/"}}} {
		if status, to := b.get("/api/auth/oidc/callback/", q); status != http.StatusUnauthorized || to != nil {
			t.Errorf("callback with %v: got %d, %v, want 401", q, status, to)
		}
	}
}
