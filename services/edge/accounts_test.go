package edge

import (
	"net/http"
	"net/netip"
	"strconv"
	"testing"
)

// TestAnAttackerLocksNobodyOut: neither from one address nor from many.
func TestAnAttackerLocksNobodyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) {
		c.AccountRateLimit = 3
		c.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	})
	signIn := func(email, password, from string) int {
		t.Helper()
		return w.do("POST", "/api/auth/login/", `{"email": "`+email+`", "password": "`+password+`"}`,
			"Authorization", "", "X-Forwarded-For", from).StatusCode
	}
	const owner, attacker = "203.0.113.1", "198.51.100.1"
	if got := signIn("ada@example.com", "right", owner); got != http.StatusOK {
		t.Fatalf("the owner: got %d, want 200", got)
	}
	for _, want := range []int{401, 401, 401, 429} {
		if got := signIn("ADA@example.com", "wrong", attacker); got != want {
			t.Fatalf("the attacker: got %d, want %d", got, want)
		}
	}
	if got := signIn("ada@example.com", "right", "203.0.113.2"); got != http.StatusOK {
		t.Errorf("the owner elsewhere: got %d, want 200", got)
	}
	last := 0
	for i := range 40 {
		last = signIn("ada@example.com", "wrong", "192.0.2."+strconv.Itoa(i))
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("the attacker's fortieth address: got %d, want 429", last)
	}
	for _, from := range []string{owner, "203.0.113.2"} {
		if got := signIn("ada@example.com", "right", from); got != http.StatusOK {
			t.Errorf("the owner, where they have signed in before: got %d, want 200", got)
		}
	}
	reset := func(from string) int {
		t.Helper()
		return w.do("POST", "/api/auth/password/reset/request/", `{"email": "ada@example.com"}`,
			"Authorization", "", "X-Forwarded-For", from).StatusCode
	}
	for i := range 40 {
		last = reset("192.0.2." + strconv.Itoa(i))
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("the attacker's fortieth address asks for a link: got %d, want 429", last)
	}
	if got := reset(owner); got != http.StatusNoContent {
		t.Errorf("the owner asks for a link: got %d, want 204", got)
	}
	if got := signIn("bob@example.com", "right", "192.0.2.99"); got != http.StatusOK {
		t.Errorf("another account: got %d, want 200", got)
	}
}

func TestResetsAndRefreshesAreLimitedForEachAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.AccountRateLimit = 2 })
	for name, send := range map[string]func(n string) int{
		"reset": func(n string) int {
			return w.do("POST", "/api/auth/password/reset/request/", `{"email": "`+n+`@example.com"}`, "Authorization", "").StatusCode
		},
		"refresh": func(n string) int {
			return w.do("POST", "/api/auth/refresh/", `{"refresh_token": "`+n+`01234567890123456789"}`, "Authorization", "").StatusCode
		},
	} {
		for range 2 {
			if got := send("ada"); got >= 300 {
				t.Errorf("%s: got %d, want success", name, got)
			}
		}
		if got := send("ada"); got != http.StatusTooManyRequests {
			t.Errorf("%s, the third: got %d, want 429", name, got)
		}
		if got := send("bob"); got >= 300 {
			t.Errorf("%s of another: got %d, want success", name, got)
		}
	}
}

func TestTheMetadataSaysWhereTheKeysAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	res := w.do("GET", "/.well-known/oauth-authorization-server", "", "Authorization", "")
	var meta struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	res.json(t, &meta)
	if res.StatusCode != http.StatusOK || meta.Issuer != "https://test.invalid" || meta.Keys != "https://test.invalid/.well-known/jwks.json" ||
		res.Header.Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("got %d %+v %q, want the issuer and the address of its keys", res.StatusCode, meta, res.Header.Get("Cache-Control"))
	}
}
