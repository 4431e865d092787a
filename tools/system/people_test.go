package system

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/trackway/trackway/services/platform/auth"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// Boards that name the same people ask for them once, and tell the new name of one who has just changed it.
func TestPeopleAreRememberedUntilTheyChange(t *testing.T) {
	t.Parallel()
	var calls counter
	s := start(t, dataDir(t), Options{Calls: []grpc.UnaryServerInterceptor{calls.intercept}})
	conn, err := s.Dial("users")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	users := usersv1.NewUsersServiceClient(conn)
	register := func(name string) (context.Context, *usersv1.User) {
		email := name + "@people.example"
		if _, err := users.Register(t.Context(), &usersv1.RegisterRequest{Name: name, Email: email, Password: "correct horse"}); err != nil {
			t.Fatal(err)
		}
		tokens, err := users.Login(t.Context(), &usersv1.LoginRequest{Email: email, Password: "correct horse"})
		if err != nil {
			t.Fatal(err)
		}
		return auth.WithCaller(t.Context(), &auth.Caller{Token: tokens.GetAccessToken()}), tokens.GetUser()
	}
	asAda, _ := register("Ada")
	asBob, bob := register("Bob")
	projectsConn, err := s.Dial("projects")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = projectsConn.Close() })
	projects := projectsv1.NewProjectsServiceClient(projectsConn)
	p, err := projects.CreateProject(asAda, &projectsv1.CreateProjectRequest{Name: "Shared"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := projects.CreateMember(asAda, &projectsv1.CreateMemberRequest{ProjectId: p.GetId(), UserId: bob.GetId()}); err != nil {
		t.Fatal(err)
	}

	// Each query is another one, so that no whole answer is in the cache.
	asked := 0
	ask := func(as context.Context, fields string) (answer string, calledFor int) {
		asked++
		calls.mu.Lock()
		calls.made = nil
		calls.mu.Unlock()
		answer = graphql(t, s.URL, auth.CallerFrom(as).Token,
			fmt.Sprintf("{ projects(first: 5) { nodes { q%d: name owner { %s } } } }", asked, fields))
		calls.mu.Lock()
		defer calls.mu.Unlock()
		for _, c := range calls.made {
			if c.method == usersv1.UsersService_BatchGetUsers_FullMethodName {
				calledFor++
			}
		}
		return answer, calledFor
	}
	owner := func() (string, int) { return ask(asBob, "name") }
	calls.on.Store(true)
	if _, n := owner(); n != 1 {
		t.Errorf("the owner was asked for %d times, the first time", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for { // until the cache believes
		if _, n := owner(); n == 0 {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the owner is asked for, each time")
		}
	}
	// To herself she is who she is to the others, unless the address is wanted, which only she sees.
	if answer, n := ask(asAda, "name"); n != 0 || !strings.Contains(answer, "Ada") {
		t.Errorf("got %s, and the owner was asked for %d times, want what is known", answer, n)
	}
	const address = "Ada@people.example"
	if answer, _ := ask(asAda, "name email"); !strings.Contains(answer, address) {
		t.Errorf("got %s, want her own address", answer)
	}
	if answer, _ := ask(asBob, "name email"); strings.Contains(answer, address) {
		t.Errorf("got %s, want no address of another", answer)
	}
	if answer, _ := ask(asAda, "email"); !strings.Contains(answer, address) {
		t.Errorf("got %s, want her own address again", answer)
	}
	for i := range 5 {
		name := fmt.Sprint("Ada ", i)
		_, err := users.UpdateUser(asAda, &usersv1.UpdateUserRequest{
			Id: p.GetOwnerId(), Name: name, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"name"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := owner()
		if !strings.Contains(answer, name) {
			t.Errorf("after %q was acknowledged: %s", name, answer)
		}
	}
}

// graphql asks, and gives the whole answer, which has no errors.
func graphql(t *testing.T, url, token, query string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/graphql", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || bytes.Contains(answer, []byte(`"errors"`)) {
		t.Fatalf("%s: %s %s %v", query, res.Status, answer, err)
	}
	return string(answer)
}
