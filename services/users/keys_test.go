package users

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"github.com/trackway/trackway/services/platform/auth"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// ring is two replicas of the service, whose signing keys are in a folder each, as two nodes of a cluster have them, and
// somebody who is signed in.
type ring struct {
	*testing.T

	dirs     [2]string
	configs  [2]Config
	replicas [2]usersv1.UsersServiceClient
	verify   [2]*auth.Verifier // who asks one replica only
	refresh  string
}

func newKey(t *testing.T) []byte {
	t.Helper()
	key, err := auth.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func idOf(t *testing.T, pem []byte) string {
	t.Helper()
	keys, err := auth.ParseKeys(pem)
	if err != nil {
		t.Fatal(err)
	}
	return keys[0].ID
}

func newRing(t *testing.T, delay time.Duration, first []byte) *ring {
	t.Helper()
	r := &ring{T: t}
	cfg := configure(t)
	cfg.KeyCheck, cfg.KeyDelay = 100*time.Millisecond, delay
	for i := range r.dirs {
		r.dirs[i] = t.TempDir()
		r.put(i, "1.pem", first)
		r.configs[i] = cfg
		r.configs[i].SigningKeys = []string{r.dirs[i]}
		r.start(i, r.configs[i])
	}
	tokens, err := r.replicas[0].Login(t.Context(), &usersv1.LoginRequest{Email: adminEmail, Password: adminPassword})
	if err != nil {
		t.Fatal(err)
	}
	r.refresh = tokens.GetRefreshToken()
	return r
}

func (r *ring) start(i int, cfg Config) {
	r.Helper()
	_, r.replicas[i] = run(r.T, cfg, new(logBuffer))
	r.verify[i] = auth.NewVerifier(cfg.Auth, auth.NewRemoteKeys(func(ctx context.Context) ([]byte, error) {
		keys, err := r.replicas[i].GetKeys(ctx, &usersv1.GetKeysRequest{})
		return keys.GetJwks(), err
	}), nil)
}

// put writes a key in one go, as Kubernetes does.
func (r *ring) put(replica int, name string, pem []byte) {
	r.Helper()
	hidden := filepath.Join(r.dirs[replica], "."+name)
	if err := os.WriteFile(hidden, pem, 0o600); err != nil {
		r.Fatal(err)
	}
	if err := os.Rename(hidden, filepath.Join(r.dirs[replica], name)); err != nil {
		r.Fatal(err)
	}
}

// issue has a replica sign a token, holds it against everybody who verifies, and gives the key that signed.
func (r *ring) issue(replica int) string {
	r.Helper()
	tokens, err := r.replicas[replica].RefreshTokens(r.Context(), &usersv1.RefreshTokensRequest{RefreshToken: r.refresh})
	if err != nil {
		r.Fatal(err)
	}
	r.refresh = tokens.GetRefreshToken()
	parsed, _, err := jwt.NewParser().ParseUnverified(tokens.GetAccessToken(), jwt.MapClaims{})
	if err != nil {
		r.Fatal(err)
	}
	kid, _ := parsed.Header["kid"].(string)
	for i := range r.replicas {
		if _, err := r.verify[i].Verify(r.Context(), tokens.GetAccessToken()); err != nil {
			r.Errorf("a token of replica %d is refused by who knows the keys of replica %d: %v", replica, i, err)
		}
		ctx := auth.WithCaller(r.Context(), &auth.Caller{Token: tokens.GetAccessToken()})
		if _, err := r.replicas[i].ListSessions(ctx, &usersv1.ListSessionsRequest{}); err != nil {
			r.Errorf("a token of replica %d is refused by replica %d: %v", replica, i, err)
		}
	}
	return kid
}

// published are the keys that a replica publishes.
func (r *ring) published(replica int) []string {
	r.Helper()
	keys, err := r.replicas[replica].GetKeys(r.Context(), &usersv1.GetKeysRequest{})
	if err != nil {
		r.Fatal(err)
	}
	var set struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(keys.GetJwks(), &set); err != nil {
		r.Fatal(err)
	}
	var ids []string
	for _, k := range set.Keys {
		ids = append(ids, k.ID)
	}
	return ids
}

// until does something again and again until it is true.
func (r *ring) until(what string, is func() bool) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.Fatalf("not within a minute: %s", what)
		}
		if r.Failed() {
			r.FailNow()
		}
	}
}

func TestANewKeyIsKnownToAllBeforeItSigns(t *testing.T) {
	t.Parallel()
	old, next := newKey(t), newKey(t)
	r := newRing(t, minKeyDelay, old)
	for i := range r.replicas {
		if got := r.issue(i); got != idOf(t, old) {
			t.Errorf("replica %d signs with %s, want the only key at once", i, got)
		}
	}
	began := time.Now()
	r.put(0, "2.pem", next)
	// The other replica has it not in its files yet, and publishes it all the same.
	for i := range r.replicas {
		r.until("the new key is published", func() bool { return slices.Contains(r.published(i), idOf(t, next)) })
	}
	r.until("the new key signs", func() bool {
		r.issue(1)
		return r.issue(0) == idOf(t, next)
	})
	if took := time.Since(began); took < minKeyDelay {
		t.Errorf("the new key signs after %v, want %v at least", took, minKeyDelay)
	}
	r.put(1, "2.pem", next)
	r.until("it signs there, too, at once", func() bool { return r.issue(1) == idOf(t, next) })
	// Gone from the files, the old one is still there for its tokens.
	for i := range r.dirs {
		if err := os.Remove(filepath.Join(r.dirs[i], "1.pem")); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		for i := range r.replicas {
			if got := r.issue(i); got != idOf(t, next) || !slices.Contains(r.published(i), idOf(t, old)) {
				t.Errorf("replica %d signs with %s and publishes %v, want %s, and the old one, too", i, got, r.published(i), idOf(t, next))
			}
		}
	}
}

func TestAKeyThatIsReplacedOrBrokenHarmsNobody(t *testing.T) {
	t.Parallel()
	old, next := newKey(t), newKey(t)
	r := newRing(t, minKeyDelay, old)
	r.put(0, "1.pem", next) // the old one is nowhere any more but in memory
	r.put(1, "1.pem", next)
	r.until("the new key is published", func() bool { return slices.Contains(r.published(0), idOf(t, next)) })
	if got := r.issue(0); got != idOf(t, old) {
		t.Errorf("replica 0 signs with %s, want the old key until all know the new one", got)
	}
	r.until("the new key signs", func() bool { return r.issue(0) == idOf(t, next) && r.issue(1) == idOf(t, next) })
	for _, broken := range []string{"", "half a ke", strings.ToLower(string(old))} {
		r.put(0, "1.pem", []byte(broken))
		for range 10 {
			if got := r.issue(0); got != idOf(t, next) {
				t.Errorf("with a broken file replica 0 signs with %s, want the key before", got)
			}
		}
	}
}

func TestAReplicaThatStartsAnewDoesNotTakeANewKeyForOneThatAllKnow(t *testing.T) {
	t.Parallel()
	old, next := newKey(t), newKey(t)
	r := newRing(t, time.Hour, old)
	r.issue(0)
	r.put(1, "2.pem", next)
	r.start(1, r.configs[1])
	if got := r.issue(1); got != idOf(t, old) || !slices.Contains(r.published(0), idOf(t, next)) {
		t.Errorf("it signs with %s, and the other publishes %v, want the old key, and both", got, r.published(0))
	}
}
