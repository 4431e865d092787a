package edge

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/trackway/trackway/services/edge/rest"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/rpc/tags"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// cached answers reads with the bytes that an earlier one was answered with, as long as nothing of what they depend on
// has changed (platform/cache) and the caller may see them. All else, and whoever may not, goes on to next: what a
// service says of a thing that is hidden or gone, it says itself.
type cached struct {
	answers *cache.Answers
	packer  *cache.Packer
	access  *accessMaps
	timeout time.Duration // of what waits for others
	next    http.Handler  // has a deadline of its own
}

// begun is a request that can be answered from the cache, and the look for its answer: it begins with the rate limit, in
// whose round trip it travels.
type begun struct {
	q      *reading
	lookup *cache.Lookup
}

// begin begins to look for the answer; nil for a request whose answer is never kept.
func begin(answers *cache.Answers, r *http.Request, caller *auth.Caller) *begun {
	if answers == nil || caller == nil {
		return nil
	}
	q, ok := question(r, caller)
	if !ok {
		return nil
	}
	return &begun{q, answers.Begin(&q.Question)}
}

// reading is a request that can be answered from the cache.
type reading struct {
	cache.Question

	route string // for traces and metrics
	// inProject reports whether the answer is for those who may read its project.
	inProject bool
}

// ServeHTTP answers the request.
func (c *cached) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	x := exchangeOf(ctx)
	if x.begun == nil {
		c.next.ServeHTTP(w, r)
		return
	}
	caller, q := auth.CallerFrom(ctx), x.begun.q
	look := c.answers.End(ctx, x.begun.lookup)
	if q.inProject {
		// Also when there is no answer to be permitted: what is hidden, and kept, must not cost more than what is not there.
		_ = c.access.role(ctx, caller, look, 0)
	}
	switch {
	case look.Answer != nil && c.permits(ctx, caller, q, look, look.Answer):
		c.count(ctx, q, "hit")
		c.send(w, r, q, look.Answer)
	case look.Answer == nil && look.CanKeep():
		c.count(ctx, q, "miss")
		c.make(w, r, caller, q, look)
	default:
		c.count(ctx, q, "bypass")
		waits, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		done, err := c.answers.Throttle(waits, look)
		if err != nil {
			rest.WriteProblem(w, r, err)
			return
		}
		defer done()
		c.next.ServeHTTP(w, r)
	}
}

// count tells everybody who wants to know what came of asking the cache.
func (c *cached) count(ctx context.Context, q *reading, outcome string) {
	c.answers.Count(ctx, q.Kind, outcome)
	exchangeOf(ctx).cache = outcome
}

// make has next answer, and keeps the answer.
func (c *cached) make(w http.ResponseWriter, r *http.Request, caller *auth.Caller, q *reading, look *cache.Look) {
	var own recorded
	shared, mine := c.answers.Once(&q.Question, look, func() *cache.Answer {
		answer := own.record(c.next, r)
		if answer != nil && (answer.Scope != 0 || !q.inProject) {
			pack(c.packer, answer)
			c.answers.Keep(r.Context(), &q.Question, look, answer)
			return answer
		}
		return nil
	})
	switch {
	case mine && shared != nil:
		c.send(w, r, q, shared) // who has made it may see it
	case mine:
		own.send(w)
	case shared != nil && c.permits(r.Context(), caller, q, look, shared):
		c.send(w, r, q, shared)
	default:
		c.next.ServeHTTP(w, r)
	}
}

// permits reports whether the caller may see the answer: by the policy table, and what the caller is in the project.
func (c *cached) permits(ctx context.Context, caller *auth.Caller, q *reading, look *cache.Look, answer *cache.Answer) bool {
	return !q.inProject || c.access.role(ctx, caller, look, answer.Scope).Allows(auth.ReadProject)
}

// send answers with what was kept.
func (c *cached) send(w http.ResponseWriter, r *http.Request, q *reading, answer *cache.Answer) {
	x := exchangeOf(r.Context())
	x.route = q.route
	h := w.Header()
	for i := 0; i < len(answer.Header); i += 2 {
		h[answer.Header[i]] = answer.Header[i+1 : i+2 : i+2]
	}
	if rest.Unchanged(w, r) {
		delete(h, contentEncoding)
		return
	}
	body := answer.Body
	if _, packed := h[contentEncoding]; packed && !x.gzip {
		var err error
		if body, err = c.packer.Unpack(body); err != nil { // only where somebody has written to Redis who should not
			rest.WriteProblem(w, r, fmt.Errorf("unpack an answer: %w", err))
			return
		}
		delete(h, contentEncoding)
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // a client that has gone need not be told
}

// recorded is an answer of next, held back.
type recorded struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header is the answer's own.
func (a *recorded) Header() http.Header { return a.header }

// WriteHeader keeps the status.
func (a *recorded) WriteHeader(status int) { a.status = status }

// Write keeps the body.
func (a *recorded) Write(b []byte) (int, error) { return a.body.Write(b) }

// record has next answer the request, whole, and gives what can be kept of that; nil when it is no success.
func (a *recorded) record(next http.Handler, r *http.Request) *cache.Answer {
	a.header, a.status = make(http.Header), http.StatusOK
	ctx, about := rest.WithAbout(r.Context())
	whole := r.WithContext(ctx)
	if len(r.Header["If-None-Match"]) > 0 {
		whole.Header = r.Header.Clone()
		whole.Header.Del("If-None-Match")
	}
	next.ServeHTTP(a, whole)
	if a.status != http.StatusOK {
		return nil
	}
	answer := &cache.Answer{Scope: about.Project, Body: a.body.Bytes()}
	answer.Header = make([]string, 0, 2*(len(a.header)+1)) //nolint:mnd // name and value, also of what pack adds
	for name, values := range a.header {
		if len(values) != 1 {
			return nil
		}
		answer.Header = append(answer.Header, name, values[0])
	}
	return answer
}

func (a *recorded) send(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes())
}

// The parameters of lists and things whose answers depend on nothing but the tags of the list or thing. What is
// expanded, and what the caller may do, depends on more, and the trash is for fewer.
const (
	taskListParameters    = " limit cursor count ordering status completed assignee creator label priority due_before due_after updated_since parent search fields "
	projectListParameters = " limit cursor count ordering search role archived fields "
	memberListParameters  = " limit cursor count ordering role fields "
	commentListParameters = " limit cursor count ordering author fields "
	thingParameters       = " fields "
)

// question says what the request asks for, if that can be in the cache. It looks at no more than it must: whoever writes
// an address in an unusual way is answered all the same, by the services. HEAD is answered as GET is, for else its length
// would be that of another coding (RFC 9110, section 8.6).
func question(r *http.Request, caller *auth.Caller) (*reading, bool) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil, false
	}
	if caller.UserID == 0 || r.URL.RawPath != "" || !acceptsJSON(r.Header) {
		return nil, false
	}
	if caller.Scopes != nil || caller.Projects != nil {
		return nil, false // each service knows what such a token is for
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/api/")
	if !ok {
		return nil, false
	}
	q := &reading{inProject: true}
	q.Access = tags.Access(caller.UserID)
	var (
		parts   = strings.Split(strings.TrimSuffix(path, "/"), "/")
		params  = thingParameters
		id, sub = int64(0), ""
	)
	if len(parts) > 1 {
		if id, ok = number(parts[1]); !ok {
			return nil, false
		}
	}
	switch len(parts) {
	case 1, 2: //nolint:mnd // a collection, a thing
	case 3: //nolint:mnd // a collection of a thing
		sub = parts[2]
	default:
		return nil, false
	}
	private := "" // whom the answer is for, if not for everybody who may see it
	switch noun := parts[0]; {
	case noun == "tasks" && id == 0:
		project, n := queryParameter(r.URL.RawQuery, "project")
		if id, ok = number(project); !ok || n > 1 {
			return nil, false
		}
		q.Kind, q.route, params = "tasks", "/api/tasks/", taskListParameters+"project "
		q.Tags = []string{tasksTag(id, r.URL.RawQuery)}
	case noun == "tasks" && sub == "":
		q.Kind, q.route, q.Tags = "task", "/api/tasks/{id}/", []string{tags.Task(id)}
	case noun == "tasks" && sub == "comments":
		q.Kind, q.route, params = "comments", "/api/tasks/{id}/comments/", commentListParameters
		q.Tags = []string{tags.Comments(id), tags.Task(id)}
	case noun == "projects" && id == 0:
		q.Kind, q.route, params = "projects", "/api/projects/", projectListParameters
		q.Tags, q.inProject, private = []string{q.Access}, false, strconv.FormatInt(caller.UserID, 10)
	case noun == "projects" && sub == "":
		q.Kind, q.route, q.Tags = "project", "/api/projects/{id}/", []string{tags.Project(id)}
	case noun == "projects" && sub == "tasks":
		q.Kind, q.route, params = "tasks", "/api/projects/{id}/tasks/", taskListParameters
		q.Tags = []string{tasksTag(id, r.URL.RawQuery)}
	case noun == "projects" && sub == "members":
		q.Kind, q.route, params = "members", "/api/projects/{id}/members/", memberListParameters
		q.Tags = []string{tags.Members(id)}
	case noun == "users" && id != 0 && sub == "":
		q.Kind, q.route, q.Tags, q.inProject = "user", "/api/users/{id}/", []string{tags.User(id)}, false
		if caller.Admin || caller.UserID == id {
			private = "whole" // with the e-mail address
		}
	default:
		return nil, false
	}
	mine, ok := known(r.URL.RawQuery, params)
	if !ok {
		return nil, false
	}
	if mine {
		private = strconv.FormatInt(caller.UserID, 10)
	}
	q.Name = "GET " + strings.TrimSuffix(path, "/") + "?" + r.URL.RawQuery
	if private != "" {
		q.Name += " for " + private
	}
	return q, true
}

// acceptsJSON knows the usual ways to say so.
func acceptsJSON(h http.Header) bool {
	accept := h["Accept"]
	return len(accept) == 0 || len(accept) == 1 && (accept[0] == "*/*" || accept[0] == "application/json")
}

// number reads an id in its one usual form.
func number(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n > 0 && s[0] != '+' && s[0] != '0'
}

// queryParameter gives the first value of a parameter, as it stands in the address, and how many it has.
func queryParameter(query, name string) (value string, n int) {
	for pair := range strings.SplitSeq(query, "&") {
		if key, v, _ := strings.Cut(pair, "="); key == name {
			if n++; n == 1 {
				value = v
			}
		}
	}
	return value, n
}

// tasksTag is what a list of a project's tasks depends on. One of a single status, such as a column of a board, stays as it
// is when tasks of other statuses change.
func tasksTag(project int64, query string) string {
	if name, n := queryParameter(query, "status"); n == 1 {
		if status := rest.Status(name).Proto(); status != tasksv1.Status_STATUS_UNSPECIFIED {
			return tags.TasksIn(project, int32(status))
		}
	}
	return tags.Tasks(project)
}

// known reports whether the names in the query are all among those given, and whether the answer is the caller's own:
// the value me stands for the caller, and may be written in other ways too.
func known(query, names string) (mine, ok bool) {
	if query == "" {
		return false, true
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name == "" || strings.ContainsAny(name, "%+ ;") || !strings.Contains(names, " "+name+" ") {
			return false, false
		}
		mine = mine || value == "me" || (name == "assignee" || name == "creator") && strings.Contains(value, "%")
	}
	return mine, true
}
