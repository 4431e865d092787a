package edge

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/rpctest"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// ExchangeToken knows whom the fakes' tokens belong to.
func (s *services) ExchangeToken(_ context.Context, req *usersv1.ExchangeTokenRequest) (*usersv1.ExchangeTokenResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.grants[req.GetSecret()]
	if !ok {
		return nil, errs.New(errs.Unauthenticated, "The access token is not valid.")
	}
	token, life, err := s.issuer.Grant(g)
	return &usersv1.ExchangeTokenResponse{AccessToken: token, ExpiresIn: int64(life.Seconds())}, err
}

// grant makes a personal access token.
func (w *world) grant(g auth.Grant) string {
	secret := auth.NewSecret()
	w.fake.mu.Lock()
	defer w.fake.mu.Unlock()
	if w.fake.grants == nil {
		w.fake.grants = make(map[string]auth.Grant)
	}
	w.fake.grants[secret] = g
	return "Bearer " + secret
}

// asked counts the calls of a method since it was asked last.
func (w *world) asked(method string) (n int) {
	for _, c := range w.fake.took() {
		if c.method == method {
			n++
		}
	}
	return n
}

func TestAPersonalAccessTokenIsExchangedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.grant(auth.Grant{UserID: 7, Session: "token:1", Scopes: []auth.Scope{auth.ReadTasksScope}})
	for range 3 {
		if res := w.do("GET", "/api/tasks/1/", "", "Authorization", secret); res.StatusCode != http.StatusOK {
			t.Fatalf("got %d %s, want 200", res.StatusCode, res.body)
		}
	}
	if n := w.asked("ExchangeToken"); n != 1 {
		t.Errorf("exchanges: got %d, want 1", n)
	}
}

func TestAMalformedPersonalAccessTokenIsNotLookedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := auth.NewSecret()
	for name, secret := range map[string]string{
		"cut off": good[:len(good)-1], "longer": good + "0", "the prefix": auth.SecretPrefix,
		"another checksum": good[:len(good)-6] + "000000", "another case": strings.ToUpper(good),
	} {
		res := w.do("GET", "/api/tasks/1/", "", "Authorization", "Bearer "+secret)
		if res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
			t.Errorf("%s: got %d %v, want 401 and the challenge", name, res.StatusCode, res.Header)
		}
	}
	if n := w.asked("ExchangeToken"); n != 0 {
		t.Errorf("exchanges: got %d, want none", n)
	}
	if res := w.do("GET", "/api/tasks/1/", "", "Authorization", "Bearer "+good); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("one that nobody has: got %d, want 401", res.StatusCode)
	}
}

func TestWhoMakesPersonalAccessTokensUpIsHeldUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.RateLimit = 4 })
	var last int
	for range 8 {
		last = w.do("GET", "/api/tasks/1/", "", "Authorization", "Bearer "+auth.NewSecret()).StatusCode
	}
	if n := w.asked("ExchangeToken"); n > 4 || last != http.StatusTooManyRequests {
		t.Errorf("got %d exchanges and %d at last, want at most 4 and 429", n, last)
	}
}

func TestARefusalNamesTheScopeThatIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.grant(auth.Grant{UserID: 7, Session: "token:1", Scopes: []auth.Scope{auth.ReadTasksScope}})
	res := w.do("POST", "/api/tasks/", `{"project_id": 1, "title": "Ship"}`, "Authorization", secret)
	var problem struct {
		Code string `json:"code"`
	}
	res.json(t, &problem)
	const want = `Bearer error="insufficient_scope", scope="tasks:write"`
	if res.StatusCode != http.StatusForbidden || problem.Code != "insufficient_scope" || res.Header.Get("WWW-Authenticate") != want {
		t.Errorf("got %d %s %q, want 403 insufficient_scope %q", res.StatusCode, problem.Code, res.Header.Get("WWW-Authenticate"), want)
	}
	res = w.do("GET", "/api/users/me/tokens/", "", "Authorization", secret)
	if res.StatusCode != http.StatusForbidden || res.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("its list of tokens: got %d %q, want 403 and no scope that would help", res.StatusCode, res.Header.Get("WWW-Authenticate"))
	}
}

func TestARevokedPersonalAccessTokenIsNoLongerKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := strings.TrimPrefix(w.grant(auth.Grant{UserID: 7, Session: "token:1", Scopes: auth.Scopes()}), "Bearer ")
	var revoked atomic.Bool
	ended := auth.NewRevocations(func(context.Context, *timestamppb.Timestamp) (auth.Revoked, error) {
		res := &usersv1.ListRevocationsResponse{ReadAt: timestamppb.Now(), Lifetime: durationpb.New(time.Hour)}
		if revoked.Load() {
			res.SessionIds = []string{"token:1"}
		}
		return res, nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go ended.Run(ctx, w.Env.Log)
	users := usersv1.NewUsersServiceClient(w.Dial(t, "users", usersv1.UsersService_ServiceDesc))
	limits := newRates(redis.NewClient(&redis.Options{}), Config{}, w.Env.Log)
	a := newAuthenticator(auth.NewVerifier(rpctest.AuthConfig(), auth.NewRemoteKeys(func(context.Context) ([]byte, error) {
		return w.Issuer.JWKS()
	}), ended), users, limits)
	if _, err := a.caller(ctx, secret, "address"); err != nil {
		t.Fatal(err)
	}
	revoked.Store(true)
	w.fake.mu.Lock()
	delete(w.fake.grants, secret) // the users service no longer exchanges it, either
	w.fake.mu.Unlock()
	for {
		_, err := a.caller(ctx, secret, "address")
		if errs.Is(err, errs.Unauthenticated) {
			return
		}
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Fatalf("a revoked token: got %v, want %v", err, errs.Unauthenticated)
		}
	}
}

// TestEveryRPCHasItsScopes: an RPC without a row is refused to personal access tokens, which should be somebody's decision.
func TestEveryRPCHasItsScopes(t *testing.T) {
	t.Parallel()
	public := []string{
		usersv1.UsersService_Register_FullMethodName, usersv1.UsersService_Login_FullMethodName,
		usersv1.UsersService_RefreshTokens_FullMethodName, usersv1.UsersService_ListRevocations_FullMethodName,
		usersv1.UsersService_GetKeys_FullMethodName, usersv1.UsersService_ExchangeToken_FullMethodName,
		usersv1.UsersService_RequestPasswordReset_FullMethodName, usersv1.UsersService_ResetPassword_FullMethodName,
		usersv1.UsersService_ConfirmEmailChange_FullMethodName, usersv1.UsersService_BeginProviderSignIn_FullMethodName, usersv1.UsersService_FinishProviderSignIn_FullMethodName,
		usersv1.UsersService_ExchangeCode_FullMethodName, usersv1.UsersService_ExchangeIdToken_FullMethodName,
		projectsv1.ProjectsService_BatchGetPurged_FullMethodName,
	}
	known := make(map[string]bool)
	for _, m := range public {
		known[m] = true
	}
	for _, s := range []grpc.ServiceDesc{
		usersv1.UsersService_ServiceDesc, projectsv1.ProjectsService_ServiceDesc, tasksv1.TasksService_ServiceDesc,
	} {
		for _, m := range s.Methods {
			method := "/" + s.ServiceName + "/" + m.MethodName
			if _, ok := auth.ScopesOf(method); ok == known[method] {
				t.Errorf("%s: got a row in the scope table: %v, want %v", method, ok, !ok)
			}
		}
	}
}

// To the service, no projects are all: a list that came out empty must not be taken for no limit.
func TestATokenIsNotLimitedToNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for body, want := range map[string]int{
		`{"name":"Report","scopes":["tasks:read"],"project_ids":[]}`:   http.StatusBadRequest,
		`{"name":"Report","scopes":["tasks:read"],"project_ids":null}`: http.StatusCreated,
		`{"name":"Report","scopes":["tasks:read"],"project_ids":[1]}`:  http.StatusCreated,
		`{"name":"Report","scopes":["tasks:read"]}`:                    http.StatusCreated,
	} {
		if res := w.do("POST", "/api/users/me/tokens/", body); res.StatusCode != want {
			t.Errorf("%s: got %d %s, want %d", body, res.StatusCode, res.body, want)
		}
	}
}
