package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trackway/trackway/tools/system"
)

// TestASessionThatEndedIsOverAtBothDoors: each process asks by itself which sessions have ended.
func TestASessionThatEndedIsOverAtBothDoors(t *testing.T) {
	t.Parallel()
	p := start(t, dataDir(t), "--split")
	const email = "sessions@example.org"
	c, id := register(t, p.url, "Ada", email)
	second := func() (*client, string) {
		other := newClient(t, p.url)
		a := other.do(http.StatusOK, http.MethodPost, "/api/auth/login/", object{"email": email, "password": "correct horse"},
			"User-Agent", "Phone/1.0")
		tokens := as[object](t, a.body)
		other.token = as[string](t, tokens["access_token"])
		return other, as[string](t, tokens["refresh_token"])
	}
	phone, refresh := second()

	// The next tokens; again, because the answer was lost.
	body := object{"refresh_token": refresh}
	nobody := newClient(t, p.url)
	next := nobody.do(http.StatusOK, http.MethodPost, "/api/auth/refresh/", body, "Idempotency-Key", "lost")
	again := nobody.do(http.StatusOK, http.MethodPost, "/api/auth/refresh/", body, "Idempotency-Key", "lost")
	if got, want := as[object](t, again.body)["refresh_token"], as[object](t, next.body)["refresh_token"]; got != want {
		t.Error("a retry with the same key: got another refresh token, want the same")
	}
	if next.header.Get("Cache-Control") != "no-store" || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("headers: got %v and %v, want no-store, and the second one replayed", next.header, again.header)
	}

	sessions := c.list("/api/users/me/sessions/")
	if len(sessions) != 2 || sessions[0]["device"] != "Phone/1.0" || sessions[0]["current"] != false || sessions[1]["current"] != true {
		t.Fatalf("sessions: got %v, want the phone's and the present one", sessions)
	}
	c.do(http.StatusNoContent, http.MethodDelete, "/api/users/me/sessions/"+as[string](t, sessions[0]["id"])+"/", nil)
	awaitOver(t, phone)

	// The same by GraphQL.
	phone, _ = second()
	theirs := objects(t, c.query("{ sessions { id createdAt lastUsedAt expiresAt device current } }", nil)["sessions"])
	for i, s := range c.list("/api/users/me/sessions/") {
		if diff := cmp.Diff(plain(s), asREST(theirs[i])); diff != "" || len(theirs) != 2 {
			t.Errorf("sessions (-REST +GraphQL):\n%s", diff)
		}
	}
	ended := as[object](t, c.query("mutation ($id: ID!) { endSession(input: {id: $id}) { endedSessionId } }",
		object{"id": theirs[0]["id"]})["endSession"])
	if ended["endedSessionId"] != theirs[0]["id"] {
		t.Errorf("ending a session: got %v, want its id", ended)
	}
	awaitOver(t, phone)

	// Someone else uses the token of a session a second time.
	phone, refresh = second()
	body["refresh_token"] = refresh
	nobody.do(http.StatusOK, http.MethodPost, "/api/auth/refresh/", body)
	nobody.do(http.StatusUnauthorized, http.MethodPost, "/api/auth/refresh/", body)
	awaitOver(t, phone)

	// An administrator deactivates the user.
	password, err := os.ReadFile(filepath.Join(p.dir, "admin-password"))
	if err != nil {
		t.Fatal(err)
	}
	admin := newClient(t, p.url)
	admin.login(system.AdminEmail, strings.TrimSpace(string(password)))
	admin.do(http.StatusOK, http.MethodPatch, path("/api/users/%v/", id), object{"active": false})
	awaitOver(t, c)
}

// overTimeout is short of what an access token lasts. That it takes no more than five seconds is shown in
// services/platform/auth, where no time really passes.
const overTimeout = time.Minute

// awaitOver waits until the client's access token is refused at both doors, and so by every service.
func awaitOver(t *testing.T, c *client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), overTimeout)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	requests := []func() (answer, error){
		func() (answer, error) { return c.try(ctx, http.MethodGet, "/api/users/me/", nil) },
		func() (answer, error) { return c.try(ctx, http.MethodGet, "/api/projects/", nil) },
		func() (answer, error) { return c.try(ctx, http.MethodGet, "/api/tasks/", nil) },
		func() (answer, error) {
			return c.try(ctx, http.MethodPost, "/graphql", object{"query": "{ viewer { name } }"})
		},
	}
	for i, request := range requests {
		for {
			a, err := request()
			if err == nil && a.status == http.StatusUnauthorized {
				break
			}
			select {
			case <-ctx.Done():
				t.Fatalf("request %d, %v after the session ended: got %d, %v, want 401", i, overTimeout, a.status, err)
			case <-again.C:
			}
		}
	}
}
