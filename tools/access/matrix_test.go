package access

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

func TestEveryOperationHasARow(t *testing.T) {
	t.Parallel()
	operations := restOperations(t)
	maps.Copy(operations, graphFields())
	rows := map[string]bool{}
	for _, r := range table() {
		for name := range strings.FieldsSeq(r.rest + " " + r.graphql) {
			if operations[name] == nil {
				t.Errorf("there is a row for %s, which is neither in the OpenAPI document nor in the GraphQL schema", name)
			}
			rows[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(operations)) {
		if !rows[name] {
			t.Errorf("%s has no row in table_test.go, which says what it takes", name)
		}
	}
}

// Whatever is asked, by whomever, through whichever door, comes out as the policy table says. Who is refused changes
// nothing.
func TestEveryOperationIsForWhomThePolicyTableSays(t *testing.T) {
	t.Parallel()
	operations := restOperations(t)
	maps.Copy(operations, graphFields())
	callers, scoped := here.callers(t), here.scoped(t)
	for _, r := range table() {
		for name := range strings.FieldsSeq(r.rest + " " + r.graphql) {
			at := places()
			if r.anywhere {
				at = at[:1]
			}
			for i, at := range at {
				what := strings.TrimSpace(name + " " + r.about)
				if !r.anywhere {
					what += " in a project that is " + at.name
				}
				t.Run(what, func(t *testing.T) {
					t.Parallel()
					m := &matrix{T: t, world: here, row: r, op: operations[name], at: at, rpcs: r.rpcs}
					if strings.Contains(name, ".") {
						m.rpcs = cmp.Or(r.graphRPCs, r.rpcs)
					}
					m.run(callers)
					if i == 0 && !strings.HasPrefix(name, "Subscription.") { // scopes are the same everywhere
						m.run(scoped)
					}
				})
			}
		}
	}
}

// callers are all there are.
func (w *world) callers(t *testing.T) []caller {
	t.Helper()
	old, err := w.expired.Issue(w.owner, false, "session")
	if err != nil {
		t.Fatal(err)
	}
	all := []caller{
		{name: "nobody", always: errs.Unauthenticated},
		{name: "the owner with an expired token", user: w.owner, role: auth.Owner, token: old, always: errs.Unauthenticated},
		{name: "a stranger", user: w.stranger},
		{name: "a viewer", user: w.viewer, role: auth.Viewer},
		{name: "a commenter", user: w.commenter, role: auth.Commenter},
		{name: "a member", user: w.member, role: auth.Member},
		{name: "an admin", user: w.manager, role: auth.Admin},
		{name: "the owner", user: w.owner, role: auth.Owner},
		{name: "a global admin", user: w.admin, admin: true},
	}
	for i, c := range all {
		if c.user == 0 || c.token != "" {
			continue
		}
		if all[i].token, err = w.token(c.user); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// scoped are the owner's personal access tokens, one of each scope, as the door exchanges them.
func (w *world) scoped(t *testing.T) []caller {
	t.Helper()
	var all []caller
	for _, s := range auth.Scopes() {
		c := caller{
			name: "the owner with a token for " + string(s), user: w.owner, role: auth.Owner, scopes: []auth.Scope{s},
		}
		c.token = w.personal(t, c)
		all = append(all, c)
	}
	return all
}

// personal is a token of the caller's with its scopes.
func (w *world) personal(t *testing.T, c caller) string {
	t.Helper()
	token, _, err := w.issuer.Grant(auth.Grant{UserID: c.user, Session: "a personal access token", Scopes: c.scopes})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// matrix is one operation in one place.
type matrix struct {
	*testing.T
	*world

	row  row
	op   operation
	at   place
	rpcs string
}

func (m *matrix) run(callers []caller) {
	m.Helper()
	shared := m.set(caller{user: m.owner})
	before := m.happened(shared)
	for _, c := range callers {
		want := m.expected(c)
		if want == "" && m.op.writes() {
			continue
		}
		m.one(c, shared, want)
	}
	if after := m.happened(shared); after != before {
		m.Errorf("those who were refused left %d events", after-before)
	}
	for _, c := range callers {
		if m.expected(c) == "" && m.op.writes() {
			m.one(c, m.set(c), "")
		}
	}
}

// expected is what the policy table says.
func (m *matrix) expected(c caller) errs.Code {
	if c.always != "" && (!m.row.open || c.token != "") { // a bad token is refused where none is needed, too
		return c.always
	}
	return cmp.Or(c.scoped(m.rpcs), m.row.rule(c, m.at))
}

// set sets the scene.
func (m *matrix) set(c caller) scene {
	m.Helper()
	if m.row.anywhere {
		s := scene{"user": m.target}
		if m.row.before != nil {
			if err := m.row.before(m.Context(), m.world, s); err != nil {
				m.Fatal(err)
			}
		}
		return s
	}
	author := c.user
	if c.role < auth.Commenter && !c.admin {
		author = m.owner
	}
	s, err := m.scene(m.Context(), m.at, author)
	if err != nil {
		m.Fatal(err)
	}
	if m.row.before != nil {
		err = m.row.before(m.as(m.Context(), author), m.world, s)
	}
	if err := errors.Join(err, m.archive(m.Context(), s, m.at)); err != nil {
		m.Fatal(err)
	}
	return s
}

func (m *matrix) happened(s scene) int {
	m.Helper()
	if m.row.anywhere {
		return 0
	}
	n, err := m.events(m.Context(), s)
	if err != nil {
		m.Fatal(err)
	}
	return n
}

// one has one caller ask.
func (m *matrix) one(c caller, s scene, want errs.Code) {
	m.Helper()
	s = maps.Clone(s)
	s["caller"] = c.user
	if m.row.spends {
		c = m.spare(c, s)
	}
	if c.user == 0 {
		s["caller"] = m.target
	}
	req, err := m.op.request(m.Context(), m.URL, s, m.row.with)
	if err != nil {
		m.Fatal(err)
	}
	if req.Header.Get("Accept") == "text/event-stream" {
		m.listen(c, req, want)
		return
	}
	status, body := m.send(req, c.token)
	got, err := m.op.outcome(status, body)
	if err != nil {
		m.Errorf("%s: %v", c.name, err)
	}
	if got != want {
		m.Errorf("%s: got %q, want %q: %s", c.name, got, want, body)
	}
}

// A subscription that is refused is told so, within patience; one that is not is told nothing, which is waited for as long
// as silence.
const (
	patience = 20 * time.Second
	silence  = 300 * time.Millisecond
)

// listen subscribes.
func (m *matrix) listen(c caller, req *http.Request, want errs.Code) {
	m.Helper()
	wait := patience
	if want == "" {
		wait = silence
	}
	ctx, cancel := context.WithCancel(m.Context())
	defer cancel()
	timer := time.AfterFunc(wait, cancel)
	defer timer.Stop()
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := m.http.Do(req.WithContext(ctx))
	if err != nil {
		if want != "" {
			m.Errorf("%s: %v, want %q", c.name, err, want)
		}
		return
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body) // until it ends, or the time does
	if _, data, ok := strings.Cut(string(text), "data: "); ok {
		text = []byte(strings.SplitN(data, "\n", 2)[0])
	} else if res.StatusCode == http.StatusOK {
		text = []byte(`{"data": {}}`)
	}
	if got, err := m.op.outcome(res.StatusCode, text); got != want || err != nil && res.StatusCode == http.StatusOK {
		m.Errorf("%s: got %q, %v, want %q: %s", c.name, got, err, want, text)
	}
}

// send sends a request with a token, or without.
func (m *matrix) send(req *http.Request, token string) (status int, body []byte) {
	m.Helper()
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := m.http.Do(req)
	if err != nil {
		m.Fatal(err)
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err != nil {
		m.Fatal(err)
	}
	return res.StatusCode, body
}

// spare gives the caller an account and a session to lose.
func (m *matrix) spare(c caller, s scene) caller {
	m.Helper()
	ctx, email := m.Context(), m.email("spare")
	role := usersv1.Role_ROLE_USER
	if c.admin {
		role = usersv1.Role_ROLE_ADMIN
	}
	u, err := m.users.CreateUser(m.as(ctx, m.admin), &usersv1.CreateUserRequest{
		Name: "Spare", Email: email, Password: password, Role: role,
	})
	if err != nil {
		m.Fatal(err)
	}
	tokens, err := m.users.Login(ctx, &usersv1.LoginRequest{Email: email, Password: password})
	if err != nil {
		m.Fatal(err)
	}
	as := auth.WithCaller(ctx, &auth.Caller{Token: tokens.GetAccessToken()})
	sessions, err := m.users.ListSessions(as, &usersv1.ListSessionsRequest{})
	if err != nil {
		m.Fatal(err)
	}
	s["email"], s["refresh_token"] = email, tokens.GetRefreshToken()
	s["session"] = sessions.GetSessions()[0].GetId()
	made, err := m.users.CreateToken(as, &usersv1.CreateTokenRequest{Name: "Spare", Scopes: []string{string(auth.ReadTasksScope)}})
	if err != nil {
		m.Fatal(err)
	}
	s["token"] = made.GetId()
	if c.user == 0 || c.always != "" {
		return c
	}
	c.user, c.token = u.GetId(), tokens.GetAccessToken()
	if c.scopes != nil {
		c.token = m.personal(m.T, c)
	}
	s["caller"] = c.user
	return c
}
