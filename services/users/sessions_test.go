package users

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

func TestASignInGivesTokensThatProveWhoOneIs(t *testing.T) {
	t.Parallel()
	w := start(t)
	// A key is of no account to a sign-in, also one that stands for something else: tokens are not stored, and each
	// sign-in is a session of its own.
	ctx := idempotency.WithKey(t.Context(), "the same key")
	ada, err := w.Register(ctx, &usersv1.RegisterRequest{Name: "ada", Email: address("ada"), Password: password})
	if err != nil {
		t.Fatal(err)
	}
	var answers [2]*usersv1.Tokens
	for i := range answers {
		answers[i], err = w.Login(ctx, &usersv1.LoginRequest{Email: " ADA@example.ORG ", Password: password})
		if err != nil {
			t.Fatal(err)
		}
		if got := answers[i].GetUser(); !proto.Equal(got, ada) {
			t.Errorf("user: got %v, want %v", got, ada)
		}
	}
	if answers[0].GetRefreshToken() == answers[1].GetRefreshToken() || answers[0].GetAccessToken() == answers[1].GetAccessToken() {
		t.Error("two sign-ins: got the same tokens, want different ones")
	}
	if n := w.count(t, "idempotency_keys"); n != 1 {
		t.Errorf("stored answers: got %d, want that of the registration", n)
	}
	keys, err := w.GetKeys(t.Context(), &usersv1.GetKeysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(keys.GetJwks()), `"d"`) {
		t.Error("the published keys hold a private half")
	}

	tokens := answers[0]
	if got := tokens.GetExpiresIn(); got != 600 {
		t.Errorf("expires_in: got %d, want 600", got)
	}
	ctx = auth.WithCaller(t.Context(), &auth.Caller{Token: tokens.GetAccessToken()})
	if got, err := w.GetUser(ctx, &usersv1.GetUserRequest{Id: ada.GetId()}); err != nil || !proto.Equal(got, ada) {
		t.Errorf("the user by its own token: got %v, %v, want %v", got, err, ada)
	}
	sum := sha256.Sum256([]byte(tokens.GetRefreshToken()))
	var s session
	err = w.db.NewSelect().Model(&s).Where("refresh_hash = ?", sum[:]).Scan(t.Context())
	if err != nil {
		t.Fatalf("the session of the refresh token: %v", err)
	}
	if got := time.Until(s.ExpiresAt).Round(time.Hour); s.UserID != ada.GetId() || got != 720*time.Hour {
		t.Errorf("session: got user %d for %v, want %d for %v", s.UserID, got, ada.GetId(), 720*time.Hour)
	}
}

func TestARefusedSignInTellsNothing(t *testing.T) {
	t.Parallel()
	w := start(t)
	admin := w.as(t, w.admin)
	w.register(t, "ada")
	inactive, deleted := w.register(t, "inactive"), w.register(t, "deleted")
	_, err := w.UpdateUser(admin, &usersv1.UpdateUserRequest{
		Id: inactive.GetId(), UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"active"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.DeleteUser(admin, &usersv1.DeleteUserRequest{Id: deleted.GetId()}); err != nil {
		t.Fatal(err)
	}
	var want *status.Status
	for _, tt := range []struct{ name, email, password string }{
		{"wrong password", address("ada"), password + "x"},
		{"a password that is too short for an account", address("ada"), "x"},
		{"unknown e-mail", address("nobody"), password},
		{"an e-mail that is none", "' OR 1=1 --", password},
		{"wildcard", "%@example.org", password},
		{"inactive", address("inactive"), password},
		{"deleted", address("deleted"), password},
	} {
		_, err := w.Login(t.Context(), &usersv1.LoginRequest{Email: tt.email, Password: tt.password})
		got := status.Convert(err)
		if want == nil {
			want = got
		}
		if !errs.Is(err, errs.Unauthenticated) || !proto.Equal(got.Proto(), want.Proto()) {
			t.Errorf("%s: got %v, want %v", tt.name, got, want)
		}
	}
}

func TestNoSecretIsKeptOrLogged(t *testing.T) {
	t.Parallel()
	w := start(t)
	admin := w.as(t, w.admin)
	const first, second = "first-secret-of-ada", "second-secret-of-ada"
	key := func(k string) string { return "key-" + k }
	// Twice each, for what is answered from the store.
	var ada *usersv1.User
	for range 2 {
		var err error
		ada, err = w.Register(idempotency.WithKey(t.Context(), key("register")),
			&usersv1.RegisterRequest{Name: "Ada", Email: "ada@example.org", Password: first})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.UpdateUser(idempotency.WithKey(admin, key("update")), &usersv1.UpdateUserRequest{
			Id: ada.GetId(), Password: second, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"password"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.CreateUser(idempotency.WithKey(admin, key("create")),
			&usersv1.CreateUserRequest{Name: "Bob", Email: "bob@example.org", Password: first})
		if err != nil {
			t.Fatal(err)
		}
	}
	tokens, err := w.Login(t.Context(), &usersv1.LoginRequest{Email: "ada@example.org", Password: second})
	if err != nil {
		t.Fatal(err)
	}
	// Failures of several kinds, which are logged.
	for _, email := range []string{"ada@example.org", "no address"} {
		_, err = w.Register(t.Context(), &usersv1.RegisterRequest{Name: "Eve", Email: email, Password: first})
		if err == nil {
			t.Errorf("register %s: got no error, want one", email)
		}
	}
	if _, err := w.Login(t.Context(), &usersv1.LoginRequest{Email: "ada@example.org", Password: first}); err == nil {
		t.Error("sign in with the old password: got no error, want one")
	}

	secrets := map[string]string{
		"first password": first, "second password": second, "admin password": adminPassword,
		"access token": tokens.GetAccessToken(), "refresh token": tokens.GetRefreshToken(), "PHC string": "argon2id",
	}
	var hashes []string
	if err := w.db.NewSelect().Model((*user)(nil)).Column("password_hash").Scan(t.Context(), &hashes); err != nil {
		t.Fatal(err)
	}
	if len(hashes) != 3 {
		t.Fatalf("accounts: got %d, want 3", len(hashes))
	}
	for _, h := range hashes {
		secrets["hash "+h] = h[strings.LastIndex(h, "$")+1:]
	}
	places := map[string]string{"the log": w.log.String()}
	for _, table := range []string{"events", "idempotency_keys", "sessions", "users"} {
		places[table] = w.dump(t, table)
	}
	for place, text := range places {
		if text == "" {
			t.Errorf("%s is empty: nothing can be found there", place)
		}
		for what, secret := range secrets {
			slow := what == "PHC string" || strings.HasPrefix(what, "hash ")
			if slow && (place == "users" || place == "idempotency_keys") {
				continue // where they belong: what signs in, and what tells a retry from another request
			}
			if strings.Contains(text, secret) || strings.Contains(text, hex.EncodeToString([]byte(secret))) {
				t.Errorf("%s holds the %s", place, what)
			}
		}
	}
	if got := w.dump(t, "events"); strings.Contains(got, hex.EncodeToString([]byte("@example.org"))) {
		t.Error("an event holds an e-mail")
	}
}
