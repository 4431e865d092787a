package system

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"

	"github.com/trackway/trackway/tools/programs"
	"github.com/trackway/trackway/tools/traces"
)

// export is everything that was sent, or written.
type export struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write adds p.
func (e *export) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.buf.Write(p)
}

// String is all of it.
func (e *export) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.buf.String()
}

// traveller is somebody who uses a system whose spans, metrics and log lines go to a collector.
type traveller struct {
	*System

	t         *testing.T
	collector *traces.Collector
	export    *export // of the collector, and the log
	email     string
	token     string
	typed     []string // what nobody else may read
	changes   int
	access    atomic.Int64 // times that tasks has asked projects what a caller may do
}

// Each request is one trace, from the client that began it down to the statements and commands. The test is alone in its
// process while it runs: the SDK reads its configuration from the environment.
//
//nolint:paralleltest // see above
func TestEachRequestIsOneTrace(t *testing.T) {
	w := travel(t)
	project := w.make("/api/projects/", `{"name": "Traced"}`)
	task := w.make("/api/tasks/", fmt.Sprintf(`{"project_id": %d, "title": %q}`, project, w.secret("A title of Ada's")))
	thing := fmt.Sprintf("/api/tasks/%d/", task)
	w.make("/api/comments/", fmt.Sprintf(`{"task_id": %d, "body": %q}`, task, w.secret("A remark of Ada's")))
	mutation := fmt.Sprintf(`{"query": "mutation Add { createTask(input: {projectId: \"%d\", title: \"Of a mutation\"}) { task { title } } }"}`, project)
	const nested = `{"query": "query Board { projects(first: 5) { nodes { name tasks(first: 3) ` +
		`{ nodes { title assignee { name } comments(first: 2) { nodes { body author { name } } } } } } } }"}`
	w.awaitCache(thing) // and what is fetched once, such as keys, is in no trace below
	w.awaitMemory(project)

	w.askAnew(project)
	heard := w.follow(project, traceparent(9))
	tests := []struct {
		name, method, path, body, want string
	}{
		{"a write", "POST", "/api/tasks/", fmt.Sprintf(`{"project_id": %d, "title": "Second"}`, project), wantWrite},
		{"a read that misses the cache", "GET", thing + "?fields=title", "", wantMiss},
		{"a read that hits it", "GET", thing + "?fields=title", "", wantHit},
		{"a nested query", "POST", "/graphql", nested, wantNested},
		{"a mutation", "POST", "/graphql", mutation, wantMutation},
	}
	for i, tt := range tests {
		if tt.want == wantWrite || tt.want == wantMiss || tt.want == wantMutation {
			w.askAnew(project)
		}
		w.do(tt.method, tt.path, tt.body, traceparent(i))
	}
	heard()
	w.do("POST", "/api/auth/password/reset/request/", fmt.Sprintf(`{"email": %q}`, w.email), traceparent(len(tests)+1))
	w.awaitReset()
	failed := w.fail(thing + "comments/")
	w.repeat(fmt.Sprintf(`{"project_id": %d, "title": "Third"}`, project))
	w.scrape()
	stop, cancel := context.WithTimeout(t.Context(), stopTimeout)
	defer cancel()
	if err := w.Stop(stop); err != nil { // and so sends what is left
		t.Fatal(err)
	}

	for i, tt := range tests {
		trace := w.collector.Trace(traceID(i))
		if n := len(services(trace)); n < 3 && tt.want != wantHit { //nolint:mnd // what answers needs as many
			t.Errorf("%s: got spans of %d services, want at least 3", tt.name, n)
		}
		got := text(trace, parent)
		if tt.body == nested { // it asks the cache for each of its parts, several at once
			got = regexp.MustCompile(`(?m)^ *edge: [A-Z]+\n`).ReplaceAllString(got, "")
		}
		if got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
	if got := text(w.collector.Trace(traceID(9)), parent); got != wantSubscription {
		t.Errorf("a subscription: got\n%s\nwant\n%s", got, wantSubscription)
	}
	w.caused("edge: deliver events", wantDelivery, traceID(0), traceID(9))
	w.caused("tasks: relay events to redis", wantRelay, traceID(0))
	mailed := w.caused("users: mail a link", wantReset, traceID(len(tests)+1))
	w.caused("users: send a mail", wantMail, mailed)
	for _, sweep := range []string{"tasks: delete old events", "projects: delete old answers", "users: purge sessions", "tasks: purge the trash"} {
		w.caused(sweep, "")
	}
	w.found(failed)
	// A mail is no log line, though `console:` prints it among them.
	exported := regexp.MustCompile(`(?s)\n--- mail to .*?\n---\n`).ReplaceAllString(w.export.String(), "\n")
	for _, secret := range w.typed {
		if n := strings.Count(exported, secret); n > 0 {
			t.Errorf("what was sent and logged holds %q, %d times", secret, n)
		}
	}
}

// parent is the span of the client's that each request belongs to.
const parent = "00f067aa0ba902b7"

// connecting is what a connection to Redis begins with: a request opens one where work in the background has the others.
var connecting = regexp.MustCompile(`(?m)^ *\w+: (HELLO|INFO|PIPELINE CLIENT)\n`)

// text draws a trace, but for what depends on which connections were idle.
func text(t traces.Trace, parent string) string {
	return connecting.ReplaceAllString(t.Text(parent), "")
}

// traceID is that of the client's traces.
func traceID(n int) string { return fmt.Sprintf("4bf92f3577b34da6a3ce929d0e0e47%02d", n) }

func traceparent(n int) string { return "00-" + traceID(n) + "-" + parent + "-01" }

const (
	wantSubscription = `edge: POST /graphql
  edge: EVALSHA
  edge: EVALSHA
  edge: subscription
    edge: Subscription.taskChanged
      edge: TaskEvent.actor
        edge: users.v1.UsersService/BatchGetUsers
          users: users.v1.UsersService/BatchGetUsers
            users: SELECT users
      edge: tasks.v1.TasksService/ListEvents
        tasks: tasks.v1.TasksService/ListEvents
          tasks: MGET
          tasks: MGET
          tasks: SELECT events
          tasks: projects.v1.ProjectsService/ListAccess
            projects: projects.v1.ProjectsService/ListAccess
              projects: SELECT projects
`
	wantDelivery = `edge: deliver events
  edge: TaskEvent.actor
    edge: users.v1.UsersService/BatchGetUsers
      users: users.v1.UsersService/BatchGetUsers
        users: SELECT users
  edge: projects.v1.ProjectsService/BatchGetAccess
    projects: projects.v1.ProjectsService/BatchGetAccess
      projects: SELECT projects
`
	wantRelay = `tasks: relay events to redis
  tasks: PIPELINE XADD
`
	wantReset = `users: mail a link
  users: BEGIN
  users: COMMIT
  users: DELETE resets
  users: INSERT links
  users: INSERT mails
  users: SELECT links
  users: SELECT users
`
	wantMail = `users: send a mail
  users: DELETE mails
`
	wantMutation = `edge: POST /graphql
  edge: EVALSHA
  edge: EVALSHA
  edge: mutation
    edge: Mutation.createTask
      edge: tasks.v1.TasksService/CreateTask
        tasks: tasks.v1.TasksService/CreateTask
          tasks: BEGIN
          tasks: COMMIT
          tasks: EVALSHA
          tasks: EVALSHA
          tasks: INSERT counters
          tasks: INSERT events
          tasks: INSERT tasks
          tasks: MGET
          tasks: projects.v1.ProjectsService/ListAccess
            projects: projects.v1.ProjectsService/ListAccess
              projects: SELECT projects
`
	wantWrite = `edge: POST /api/tasks/
  edge: EVALSHA
  edge: tasks.v1.TasksService/CreateTask
    tasks: tasks.v1.TasksService/CreateTask
      tasks: BEGIN
      tasks: COMMIT
      tasks: EVALSHA
      tasks: EVALSHA
      tasks: INSERT counters
      tasks: INSERT events
      tasks: INSERT idempotency_keys
      tasks: INSERT tasks
      tasks: MGET
      tasks: SELECT
      tasks: SELECT idempotency_keys
      tasks: SELECT idempotency_keys
      tasks: projects.v1.ProjectsService/ListAccess
        projects: projects.v1.ProjectsService/ListAccess
          projects: SELECT projects
`
	wantMiss = `edge: GET /api/tasks/{id}/
  edge: PIPELINE
  edge: SET
  edge: projects.v1.ProjectsService/ListAccess
    projects: projects.v1.ProjectsService/ListAccess
      projects: SELECT projects
  edge: tasks.v1.TasksService/GetTask
    tasks: tasks.v1.TasksService/GetTask
      tasks: MGET
      tasks: SELECT tasks
      tasks: projects.v1.ProjectsService/ListAccess
        projects: projects.v1.ProjectsService/ListAccess
          projects: SELECT projects
`
	wantHit = `edge: GET /api/tasks/{id}/
  edge: PIPELINE
`
	wantNested = `edge: POST /graphql
  edge: query
    edge: Query.projects
      edge: Comment.author
        edge: users.v1.UsersService/BatchGetUsers
          users: users.v1.UsersService/BatchGetUsers
            users: SELECT users
      edge: Project.tasks
        edge: tasks.v1.TasksService/BatchListTasks
          tasks: tasks.v1.TasksService/BatchListTasks
            tasks: MGET
            tasks: SELECT unnest
      edge: Task.comments
        edge: tasks.v1.TasksService/BatchListComments
          tasks: tasks.v1.TasksService/BatchListComments
            tasks: MGET
            tasks: SELECT tasks
      edge: projects.v1.ProjectsService/ListProjects
        projects: projects.v1.ProjectsService/ListProjects
          projects: SELECT projects
`
)

// travel starts the system and signs somebody in.
func travel(t *testing.T) *traveller {
	t.Helper()
	w := &traveller{t: t, export: &export{}}
	var err error
	if w.collector, err = traces.Listen(t.Context(), w.export); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.collector.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", w.collector.Endpoint)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	o := options(t, dataDir(t), Options{Environ: map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": w.collector.Endpoint, "RATE_LIMIT": "100000", "LOG_LEVEL": "debug", "LOG_FORMAT": "json",
	}, Calls: []grpc.UnaryServerInterceptor{func(ctx context.Context, req any, call *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if strings.HasSuffix(call.FullMethod, "/BatchGetAccess") {
			w.access.Add(1)
		}
		return next(ctx, req)
	}}})
	o.Log = w.export
	if w.System, err = Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	w.email = w.secret("ada@trace.example")
	password := w.secret("a password of Ada's")
	w.do("POST", "/api/auth/register/", fmt.Sprintf(`{"name": %q, "email": %q, "password": %q}`, w.secret("Ada of Traces"), w.email, password), "")
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	w.read(w.do("POST", "/api/auth/login/", fmt.Sprintf(`{"email": %q, "password": %q}`, w.email, password), ""), &tokens)
	w.token = w.secret(tokens.Access)
	w.secret(tokens.Refresh)
	return w
}

func (w *traveller) secret(s string) string {
	w.typed = append(w.typed, s)
	return s
}

// do sends a request, as part of the trace, and gives the answer's body.
func (w *traveller) do(method, path, body, traceparent string) []byte {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if w.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	if method == http.MethodPost && strings.HasPrefix(path, "/api/tasks/") {
		req.Header.Set("Idempotency-Key", "key"+traceparent)
	}
	if traceparent != "" {
		req.Header.Set("Traceparent", traceparent)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer
}

// awaitCache returns when the cache answers; it believes nothing before every service has said that it tells of changes.
func (w *traveller) awaitCache(path string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), startTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+path, http.NoBody)
		if err != nil {
			w.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			w.t.Fatalf("wait for the cache: %v", err)
		}
		_ = res.Body.Close()
		if strings.Contains(res.Header.Get("Server-Timing"), `cache;desc="hit"`) {
			return
		}
	}
}

// awaitMemory returns when tasks remembers what the caller is in the project, instead of asking each time.
func (w *traveller) awaitMemory(project int64) {
	w.t.Helper()
	for _, ordering := range []string{"id", "-id", "created_at", "-created_at", "due_date", "-due_date", "priority", "-priority"} {
		for limit := range 100 {
			before := w.access.Load()
			path := fmt.Sprintf("/api/projects/%d/tasks/?ordering=%s&limit=%d", project, ordering, limit+1) // in no cache
			w.do(http.MethodGet, path, "", "")
			if w.access.Load() == before {
				return
			}
		}
	}
	w.t.Fatal("tasks asks for access each time")
}

func (w *traveller) read(body []byte, to any) {
	w.t.Helper()
	if err := json.Unmarshal(body, to); err != nil {
		w.t.Fatalf("%v: %s", err, body)
	}
}

// repeat sends a write twice with one key.
func (w *traveller) repeat(body string) {
	w.t.Helper()
	if one, two := w.do("POST", "/api/tasks/", body, replayed), w.do("POST", "/api/tasks/", body, replayed); !bytes.Equal(one, two) {
		w.t.Errorf("got %s and %s for one key", one, two)
	}
}

const replayed = "00-4bf92f3577b34da6a3ce929d0e0e4799-00f067aa0ba902b7-01"

// make creates a thing and gives its id.
func (w *traveller) make(path, body string) int64 {
	w.t.Helper()
	var made struct {
		ID int64 `json:"id"`
	}
	if w.read(w.do("POST", path, body, ""), &made); made.ID == 0 {
		w.t.Fatalf("%s made nothing", path)
	}
	return made.ID
}

// fail has a statement fail, and gives the trace id of the problem that the client gets. Nothing else leads there.
func (w *traveller) fail(path string) string {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.postgres.URL("tasks"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(w.t.Context()) }()
	if _, err := conn.Exec(w.t.Context(), "ALTER TABLE comments RENAME COLUMN body TO text"); err != nil {
		w.t.Fatal(err)
	}
	var problem struct {
		Status  int    `json:"status"`
		TraceID string `json:"trace_id"`
	}
	// Another page than any that the cache may have.
	if w.read(w.do("GET", path+"?limit=7", "", ""), &problem); problem.Status != http.StatusInternalServerError {
		w.t.Fatalf("got %+v, want an internal error", problem)
	}
	return problem.TraceID
}

// found looks for the statement that failed.
func (w *traveller) found(traceID string) {
	w.t.Helper()
	trace := w.collector.Trace(traceID)
	var statements []string
	for _, s := range trace.Spans {
		if text := s.Attributes["db.query.text"]; s.Failed && text != "" {
			statements = append(statements, s.Service+" "+s.Attributes["db.response.status_code"])
			if !strings.Contains(text, `FROM "comments"`) && !strings.Contains(text, "FROM comments") {
				w.t.Errorf("the failed statement is %s", text)
			}
		}
	}
	if want := []string{"tasks 42703"}; !slices.Equal(statements, want) {
		w.t.Errorf("of trace %s got the failed statements %q, want %q\n%s", traceID, statements, want, trace.Text(""))
	}
	var lines []string
	for _, l := range trace.Lines {
		if l.Level == "ERROR" {
			lines = append(lines, l.Service+": "+l.Text)
		}
	}
	if want := []string{"tasks: call failed"}; !slices.Equal(lines, want) {
		w.t.Errorf("of trace %s got the errors %q in the log, want each once, where it was born: %q", traceID, lines, want)
	}
}

// follow subscribes to the tasks of a project, in a trace. What it gives reads on until it is told of the task that the
// tests write, and leaves.
func (w *traveller) follow(project int64, traceparent string) (heard func()) {
	w.t.Helper()
	ctx, leave := context.WithTimeout(w.t.Context(), startTimeout)
	query := fmt.Sprintf(`subscription Follow { taskChanged(projectId: "%d", after: %q) { task { title } actor { name } } }`, project, beginning)
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		w.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL+"/graphql", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+w.token)
	req.Header.Set("Traceparent", traceparent)
	res, err := http.DefaultClient.Do(req) //nolint:bodyclose // what is given closes it
	if err != nil {
		w.t.Fatal(err)
	}
	told(w.t, res.Body) // of what there was: from here on it listens
	return func() {
		w.t.Helper()
		defer leave()
		defer res.Body.Close()
		for {
			if _, data := told(w.t, res.Body); strings.Contains(data, "Second") {
				return
			}
		}
	}
}

// askAnew has the services ask anew what the caller may do, of which the project is a part.
func (w *traveller) askAnew(project int64) {
	w.t.Helper()
	w.changes++
	w.do(http.MethodPatch, fmt.Sprintf("/api/projects/%d/", project), fmt.Sprintf(`{"description": "Change %d"}`, w.changes), "")
}

// awaitReset returns when nobody waits for a link any more.
func (w *traveller) awaitReset() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, w.postgres.URL("users"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(w.t.Context()) }()
	for waiting := true; waiting; {
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM resets)").Scan(&waiting); err != nil {
			w.t.Fatalf("wait for the link to be mailed: %v", err)
		}
	}
}

// caused looks for the trace of what was done because of others, after their answers, and is linked to them. An empty
// tree may be any.
func (w *traveller) caused(root, tree string, causes ...string) (id string) {
	w.t.Helper()
	var others []string
	for _, t := range w.collector.Last() {
		for _, s := range t.Spans {
			if s.Service+": "+s.Name != root || !subset(causes, s.Links) {
				continue
			}
			got := text(t, "")
			if strings.HasPrefix(got, root+"\n") && (tree == "" || got == tree) {
				return t.ID
			}
			others = append(others, got)
		}
	}
	w.t.Errorf("got the traces\n%s\nwant one that is linked to %q:\n%s", strings.Join(others, "\n"), causes, tree)
	return ""
}

// services are those that took part in a trace.
func services(t traces.Trace) map[string]bool {
	all := make(map[string]bool)
	for _, s := range t.Spans {
		all[s.Service] = true
	}
	return all
}

func subset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// scrape reads the metrics of all services: each label has few values, and none that names one thing or person.
func (w *traveller) scrape() {
	w.t.Helper()
	pages := scrape(w.t, w.System)
	bounded := regexp.MustCompile(`^(le|quantile|otel_scope_.*|service_name|http_.*|url_scheme|error_type|rpc_.*|db_.*|` +
		`graphql_.*|kind|outcome|policy|consumer|go_.*|service_namespace|service_version|service_instance_id|telemetry_sdk_.*|` +
		`messaging_.*|network_.*)$`)
	label := regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
	series := make(map[string]int)
	exemplars := 0
	for service, page := range pages {
		for line := range strings.Lines(page) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			sample, exemplar, _ := strings.Cut(line, " # ")
			if strings.Contains(exemplar, "trace_id=") {
				exemplars++
			}
			name, _, _ := strings.Cut(sample, "{")
			series[service+" "+name]++
			for _, l := range label.FindAllStringSubmatch(sample, -1) {
				if !bounded.MatchString(l[1]) {
					w.t.Errorf("%s: nobody has said that the label %s has few values: %s", service, l[1], sample)
				}
				if l[1] == "http_route" && strings.ContainsAny(l[2], "0123456789") || strings.ContainsAny(l[2], "@?") {
					w.t.Errorf("%s: the label %s names one thing: %s", service, l[1], sample)
				}
			}
		}
		for _, secret := range w.typed {
			if strings.Contains(page, secret) {
				w.t.Errorf("the metrics of %s hold %q", service, secret)
			}
		}
	}
	const most = 1000 // of one metric: histograms have 18 each time, and a service some fifty statements
	for name, n := range series {
		if n > most {
			w.t.Errorf("%s has %d series, want at most %d", name, n, most)
		}
	}
	if exemplars == 0 {
		w.t.Error("no metric has an exemplar with a trace id")
	}
	w.queried(strings.Join(slices.Collect(maps.Values(pages)), "\n"))
}

// queried checks that what the dashboards and alerts of the chart ask for is what the services tell.
func (w *traveller) queried(page string) {
	w.t.Helper()
	var asked []string
	for _, pattern := range []string{"alerts/*.yaml", "dashboards/*.json"} {
		files, err := filepath.Glob(filepath.Join("../../charts/trackway", pattern))
		if err != nil || len(files) == 0 {
			w.t.Fatalf("there are no %s: %v", pattern, err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				w.t.Fatal(err)
			}
			asked = append(asked, strings.ReplaceAll(string(text), `\"`, `"`))
		}
	}
	metric := regexp.MustCompile(`\b(?:http|rpc|db|go|trackway)_[a-z_]+(?:[{\[)]| >)`)
	grouped := regexp.MustCompile(`by \(([a-z_, ]+)\)`)
	found := 0
	for _, text := range asked {
		for _, list := range grouped.FindAllStringSubmatch(text, -1) {
			for label := range strings.SplitSeq(list[1], ", ") {
				if !strings.Contains(page, label+`="`) {
					w.t.Errorf("a query groups by %s, which no metric has", label)
				}
			}
			text = strings.ReplaceAll(text, list[0], "")
		}
		for _, name := range metric.FindAllString(text, -1) {
			found++
			if name = strings.TrimRight(name, "{[) >"); !strings.Contains(page, "\n"+name+"{") {
				w.t.Errorf("a query asks for %s, which no service tells", name)
			}
		}
	}
	if found < 30 { //nolint:mnd // there are more
		w.t.Errorf("only %d metrics were found in the queries", found)
	}
}

// scrape gives the metrics of each service, in the form of OpenMetrics.
func scrape(t *testing.T, s *System) map[string]string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return s.memory.Dial(ctx, addr)
	}, DisableKeepAlives: true}}
	pages := make(map[string]string)
	for _, name := range programs.Services() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.places[name].admin+"/metrics", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		pages[name] = string(page)
	}
	return pages
}
