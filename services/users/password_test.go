package users

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/write"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
	"github.com/trackway/trackway/services/users/oidctest"
)

func TestAHashMatchesItsPasswordOnly(t *testing.T) {
	t.Parallel()
	h := newHasher(2)
	one, err := h.hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	two, err := h.hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	if one == two {
		t.Errorf("two hashes of one password: got %q twice, want different salts", one)
	}
	// One made elsewhere, at another cost.
	foreign := encode(phc{
		memory: 64, time: 3, threads: 2, salt: []byte("somesalt"),
		key: argon2.IDKey([]byte(password), []byte("somesalt"), 3, 64, 2, 32),
	})
	tests := []struct {
		name, password, hash string
		want                 bool
	}{
		{"its password", password, one, true},
		{"its password, salted anew", password, two, true},
		{"its password at another cost", password, foreign, true},
		{"another password", password + " ", one, false},
		{"an empty password", "", one, false},
		{"no user", password, "", false},
	}
	for _, tt := range tests {
		if got, err := h.matches(t.Context(), tt.password, tt.hash); got != tt.want || err != nil {
			t.Errorf("%s: got %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
	for _, damaged := range []string{
		"$argon2id$", one[:len(one)-20], "$argon2i" + one[9:], "$argon2id$v=19$m=19456,t=0,p=1$c2FsdA$" + one[len(one)-43:],
		"$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$",
	} {
		if got, err := h.matches(t.Context(), password, damaged); got || err == nil {
			t.Errorf("damaged hash %q: got %v, %v, want an error", damaged, got, err)
		}
	}
}

func TestOnlySoManyPasswordsAreHashedAtOnce(t *testing.T) {
	t.Parallel()
	const most = 3
	h := newHasher(most)
	var (
		mu        sync.Mutex
		now, peak int
	)
	working := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		now += n
		peak = max(peak, now)
	}
	for _, err := range each(4*most, func(int) error {
		return h.limit(t.Context(), func() {
			working(1)
			newPHC().derive(password)
			working(-1)
		})
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	if peak != most {
		t.Errorf("hashes at once: got %d, want %d", peak, most)
	}
}

func TestWhoeverAsksForAHashQueuesAsLongAsItsDeadline(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(t.Context(), configure(t).Postgres)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := &service{store: store{&write.DB{DB: db}}, hasher: newHasher(1)}
	register := func(ctx context.Context, name string) error {
		_, err := s.Register(ctx, &usersv1.RegisterRequest{Name: name, Email: address(name), Password: password})
		return err
	}
	login := func(ctx context.Context, name string) error {
		_, err := s.Login(ctx, &usersv1.LoginRequest{Email: address(name), Password: password + "!"})
		return err
	}
	if err := register(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	s.hasher.slots <- struct{}{} // someone else's hash
	for name, do := range map[string]func(ctx context.Context) error{
		"registration":                 func(ctx context.Context) error { return register(ctx, "bob") },
		"sign-in of a known account":   func(ctx context.Context) error { return login(ctx, "ada") },
		"sign-in of an unknown e-mail": func(ctx context.Context) error { return login(ctx, "eve") },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if err := do(ctx); !errs.Is(err, errs.DeadlineExceeded) {
			t.Errorf("%s: got %v, want %v", name, err, errs.DeadlineExceeded)
		}
		cancel()
	}
	<-s.hasher.slots
	if err := register(t.Context(), "bob"); err != nil {
		t.Errorf("registration afterwards: got %v, want no error", err)
	}
	if err := login(t.Context(), "eve"); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("sign-in afterwards: got %v, want %v", err, errs.Unauthenticated)
	}
}

func BenchmarkHash(b *testing.B) {
	for b.Loop() {
		newPHC().derive(password)
	}
}

// Not parallel: what is allocated is the process's, and nothing of another test may be in it. One hash takes its 19 MiB,
// and so their number can be read off; nothing else here takes as much.
func TestWhoCanNotSignInCostsOneHashWhoeverTheyAre(t *testing.T) { //nolint:paralleltest // as said
	w, p := withProvider(t)
	p.SignIn(oidctest.User{ID: "nopassword", Email: address("nopassword"), EmailVerified: true})
	if _, err := w.byBrowser(t, p); err != nil {
		t.Fatal(err)
	}
	w.register(t, "ada")
	inactive := w.register(t, "inactive")
	_, err := w.UpdateUser(w.as(t, w.admin), &usersv1.UpdateUserRequest{Id: inactive.GetId(), Active: false, UpdateMask: mask("active")})
	if err != nil {
		t.Fatal(err)
	}
	for name, req := range map[string]*usersv1.LoginRequest{
		"an unknown account":            {Email: "unknown@example.org", Password: password},
		"a wrong password":              {Email: address("ada"), Password: "wrong " + password},
		"an account without a password": {Email: address("nopassword"), Password: password},
		"a deactivated account":         {Email: address("inactive"), Password: password},
		"no address":                    {Email: "nobody", Password: password},
		"the longest of passwords":      {Email: address("ada"), Password: strings.Repeat("x", maxPassword)},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := w.Login(t.Context(), req)
		runtime.ReadMemStats(&after)
		if !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("%s: got %v, want Unauthenticated", name, err)
		}
		if got := (after.TotalAlloc - before.TotalAlloc) / (argonMemory * 1024); got != 1 {
			t.Errorf("%s: %d hashes were made, want 1", name, got)
		}
	}
}
