package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/postgres"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
	"github.com/trackway/trackway/services/users/oidctest"
)

// Events are read by everything that follows what happens, and kept for long: nobody's address is in them, neither in
// Redis nor in Postgres.
func TestNoEventTellsAnAddress(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := here.scene(ctx, places()[0], here.owner)
	if err != nil {
		t.Fatal(err)
	}
	owner, admin := here.as(ctx, here.owner), here.as(ctx, here.admin)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	u, err := here.register(ctx, "addressed")
	if err != nil {
		t.Fatal(err)
	}
	must(here.users.UpdateUser(admin, &usersv1.UpdateUserRequest{Id: u.GetId(), Email: here.email("moved"), UpdateMask: mask("email")}))
	must(here.users.RequestEmailChange(here.as(ctx, u.GetId()), &usersv1.RequestEmailChangeRequest{Email: here.email("asked"), CurrentPassword: password}))
	must(here.users.CreateUser(admin, &usersv1.CreateUserRequest{Name: "Made", Email: here.email("made"), Password: password}))
	i, err := here.projects.CreateInvitation(owner, &projectsv1.CreateInvitationRequest{ProjectId: s.id("project"), Email: here.email("invited")})
	if err != nil {
		t.Fatal(err)
	}
	must(here.projects.DeleteInvitation(owner, &projectsv1.DeleteInvitationRequest{ProjectId: s.id("project"), Id: i.GetId()}))
	const nonce = "a nonce of addresses"
	person := oidctest.User{ID: "the-addressed", Email: here.email("provider"), EmailVerified: true}
	tokens, err := here.users.ExchangeIdToken(ctx, &usersv1.ExchangeIdTokenRequest{
		IdToken: here.provider.Sign(t, here.provider.Claims(person, nonce), nil), Nonce: nonce,
	})
	if err != nil {
		t.Fatal(err)
	}
	must(here.users.DeleteUser(auth.WithCaller(ctx, &auth.Caller{Token: tokens.GetAccessToken()}), &usersv1.DeleteUserRequest{Id: tokens.GetUser().GetId()}))

	options, err := redis.ParseURL(here.RedisURL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	for service, last := range map[string]struct {
		typ     string
		subject int64
	}{
		"users": {"user.deleted", tokens.GetUser().GetId()}, "projects": {"invitation.revoked", i.GetId()},
	} {
		texts := streamed(t, client, service, fmt.Sprint(last.typ, " ", last.subject))
		for _, text := range append(texts, stored(t, service)...) {
			if strings.Contains(text, "@example.") {
				t.Errorf("an event of %s tells an address: %q", service, text)
			}
		}
	}
}

// streamed gives the entries of the stream of a service, once it has the last one, by its type and subject.
func streamed(t *testing.T, client *redis.Client, service, last string) (texts []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		entries, err := client.XRange(ctx, events.Stream(service), "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, e := range entries {
			all = append(all, fmt.Sprintf("%v %v %q", e.Values["e"], e.Values["s"], e.Values))
		}
		if slices.ContainsFunc(all, func(text string) bool { return strings.HasPrefix(text, last+" ") }) {
			return all
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the stream of %s has no %s among its %d entries", service, last, len(all))
		}
	}
}

// stored gives the events in the database of a service.
func stored(t *testing.T, service string) (texts []string) {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: here.Database(service), MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.NewRaw("SELECT type || ' ' || encode(payload, 'escape') FROM events").Scan(t.Context(), &texts); err != nil {
		t.Fatal(err)
	}
	return texts
}
