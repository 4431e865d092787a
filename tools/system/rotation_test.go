package system

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/trackway/trackway/services/platform/auth"
)

// rotationPatience bounds the rotation of a key: the delay before it signs, the life of tokens, and 30 s of skew.
const rotationPatience = 3 * time.Minute

// rotation is somebody who is signed in, and asks everything that verifies tokens all the time.
type rotation struct {
	*testing.T
	*System

	asked   atomic.Int64
	mu      sync.Mutex
	refused []string
	signed  map[string]int // tokens, by their key
}

// call gives an answer, and notes one that is 401.
func (r *rotation) call(method, url, token, body string) []byte {
	req, err := http.NewRequestWithContext(r.Context(), method, url, strings.NewReader(body))
	if err != nil {
		r.Error(err)
		return nil
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Error(err)
		return nil
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	r.asked.Add(1)
	if res.StatusCode != http.StatusOK {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.refused = append(r.refused, method+" "+url+": "+res.Status+" "+string(text))
	}
	return text
}

type signedIn struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func (r *rotation) tokens(path, body string, edge int) (t signedIn) {
	text := r.call(http.MethodPost, r.URLs[edge]+path, "", body)
	if err := json.Unmarshal(text, &t); err != nil {
		r.Errorf("%s: %v", text, err)
	}
	return t
}

// work signs in, and then asks through both replicas of the edge for what each service has, until ctx ends. Every token
// is used when it is new, and again when the next ones are.
func (r *rotation) work(ctx context.Context, password string) {
	t := r.tokens("/api/auth/login/", `{"email":"`+AdminEmail+`","password":"`+password+`"}`, 0)
	var old []string
	for i := 0; ctx.Err() == nil && t.Refresh != ""; i++ {
		t = r.tokens("/api/auth/refresh/", `{"refresh_token":"`+t.Refresh+`"}`, i%2)
		header, _, _ := strings.Cut(t.Access, ".")
		r.mu.Lock()
		r.signed[header]++
		r.mu.Unlock()
		old = append(old, t.Access)
		for _, token := range old[max(0, len(old)-3):] {
			for _, edge := range r.URLs {
				for _, path := range []string{"/api/users/me/", "/api/projects/", "/api/tasks/"} {
					r.call(http.MethodGet, edge+path, token, "")
				}
			}
		}
	}
}

// published are the ids of the keys at each edge.
func (r *rotation) published() (ids []string) {
	for _, edge := range r.URLs {
		var set struct {
			Keys []struct {
				ID string `json:"kid"`
			} `json:"keys"`
		}
		if err := json.Unmarshal(r.call(http.MethodGet, edge+"/.well-known/jwks.json", "", ""), &set); err != nil {
			r.Fatal(err)
		}
		for _, k := range set.Keys {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

func (r *rotation) until(what string, is func() bool) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), rotationPatience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.Fatalf("not within %s: %s", rotationPatience, what)
		}
	}
}

// The key that signs is replaced by another while people work: no token is refused anywhere, at any time, and the old key
// is gone in the end.
func TestAKeyIsReplacedUnderLoadAndNobodyNoticesIt(t *testing.T) {
	t.Parallel()
	s := start(t, dataDir(t), Options{Edges: 2, Environ: map[string]string{
		"SIGNING_KEY_CHECK": "100ms", "SIGNING_KEY_DELAY": "5s", "ACCESS_TOKEN_TTL": "5s", "ACCOUNT_RATE_LIMIT": "0",
	}})
	r := &rotation{T: t, System: s, signed: map[string]int{}}
	password, err := os.ReadFile(s.AdminPassword)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() { r.work(ctx, strings.TrimSpace(string(password))) })
	}
	defer workers.Wait()
	defer stop()
	before := r.published()
	old := before[0]
	r.until("everybody works", func() bool { return r.asked.Load() > 100 })

	key, err := auth.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.Dir, "signing-key.pem")
	if err := os.WriteFile(file+".new", key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	r.until("the new key is published at both edges, and the old one still", func() bool { return len(r.published()) == 2*2 })
	r.until("the new key signs", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.signed) == 2
	})
	r.until("the old key is no longer published", func() bool { return !slices.Contains(r.published(), old) })
	stop()
	workers.Wait()
	if got := r.published(); len(got) != 2 || got[0] != got[1] {
		t.Errorf("published in the end: got %v, want the new key at both edges", got)
	}
	if len(r.refused) > 0 {
		t.Errorf("%d of %d requests were refused, such as %s", len(r.refused), r.asked.Load(), r.refused[0])
	}
	t.Logf("%d requests, tokens by key %v", r.asked.Load(), r.signed)
}
