package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// patience is for what must come, on a busy machine.
const patience = time.Minute

// gate is a running system with people who speak to it.
type gate struct {
	*testing.T

	system   *System
	users    usersv1.UsersServiceClient
	projects projectsv1.ProjectsServiceClient
	tasks    tasksv1.TasksServiceClient
	people   int
}

// person is somebody who is signed in.
type person struct {
	id     int64
	token  string
	tokens *usersv1.Tokens
	as     context.Context
}

func openGate(t *testing.T, environ map[string]string) *gate {
	t.Helper()
	return openGateOf(t, start(t, dataDir(t), Options{Edges: 2, Environ: environ}))
}

func openGateOf(t *testing.T, s *System) *gate {
	t.Helper()
	d := &gate{T: t, system: s}
	dial := func(name string) *grpc.ClientConn {
		conn, err := s.Dial(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	d.users = usersv1.NewUsersServiceClient(dial("users"))
	d.projects = projectsv1.NewProjectsServiceClient(dial("projects"))
	d.tasks = tasksv1.NewTasksServiceClient(dial("tasks"))
	return d
}

func (d *gate) person() *person {
	d.Helper()
	const password = "correct horse"
	d.people++
	email := fmt.Sprintf("person%d@example.org", d.people)
	if _, err := d.users.Register(d.Context(), &usersv1.RegisterRequest{Name: "Person", Email: email, Password: password}); err != nil {
		d.Fatal(err)
	}
	tokens, err := d.users.Login(d.Context(), &usersv1.LoginRequest{Email: email, Password: password})
	if err != nil {
		d.Fatal(err)
	}
	return &person{
		id: tokens.GetUser().GetId(), token: tokens.GetAccessToken(), tokens: tokens,
		as: auth.WithCaller(d.Context(), &auth.Caller{Token: tokens.GetAccessToken()}),
	}
}

func (d *gate) project(owner *person, members ...*person) int64 {
	d.Helper()
	p, err := d.projects.CreateProject(owner.as, &projectsv1.CreateProjectRequest{
		Name: "Apollo", Visibility: projectsv1.Visibility_VISIBILITY_PRIVATE,
	})
	if err != nil {
		d.Fatal(err)
	}
	for _, m := range members {
		d.member(owner, p.GetId(), m)
	}
	return p.GetId()
}

func (d *gate) member(owner *person, project int64, m *person) {
	d.Helper()
	_, err := d.projects.CreateMember(owner.as, &projectsv1.CreateMemberRequest{
		ProjectId: project, UserId: m.id, Role: projectsv1.Role_ROLE_MEMBER,
	})
	if err != nil {
		d.Fatal(err)
	}
}

func (d *gate) task(by *person, project int64, title string, assignee ...int64) *tasksv1.Task {
	d.Helper()
	req := &tasksv1.CreateTaskRequest{ProjectId: project, Title: title}
	if len(assignee) > 0 {
		req.AssigneeId = &assignee[0]
	}
	t, err := d.tasks.CreateTask(by.as, req)
	if err != nil {
		d.Fatal(err)
	}
	return t
}

// frame is a message of graphql-transport-ws.
type frame struct {
	ID      string         `json:"id,omitempty"`
	Type    string         `json:"type"`
	Payload jsontext.Value `json:"payload,omitempty"`
}

// socket is a client's end of a WebSocket.
type socket struct {
	*testing.T

	conn *websocket.Conn
}

// dial opens a WebSocket, or gives the status with which it was refused.
func (d *gate) dial(replica int, h http.Header, protocols ...string) (*websocket.Conn, int) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, d.system.URLs[replica]+"/graphql", &websocket.DialOptions{
		HTTPHeader: h, Subprotocols: protocols,
	})
	if res == nil {
		d.Fatal(err)
	}
	if res.Body != nil {
		_ = res.Body.Close()
	}
	return conn, res.StatusCode
}

// connect opens a socket without saying who is there.
func (d *gate) connect(replica int) *socket {
	d.Helper()
	conn, status := d.dial(replica, nil, "graphql-transport-ws")
	if conn == nil {
		d.Fatalf("got %d, want a WebSocket", status)
	}
	d.Cleanup(func() { _ = conn.CloseNow() })
	return &socket{d.T, conn}
}

// sign opens a socket in a person's name.
func (d *gate) sign(replica int, p *person) *socket {
	d.Helper()
	s := d.connect(replica)
	s.send(`{"type": "connection_init", "payload": {"Authorization": "Bearer ` + p.token + `"}}`)
	if f := s.next(); f.Type != "connection_ack" {
		d.Fatalf("got %s %s, want connection_ack", f.Type, f.Payload)
	}
	return s
}

func (s *socket) send(text string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	if err := s.conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		s.Fatal(err)
	}
}

func (s *socket) subscribe(id, query string) {
	s.Helper()
	payload, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		s.Fatal(err)
	}
	s.send(fmt.Sprintf(`{"id": %q, "type": "subscribe", "payload": %s}`, id, payload))
}

// read gives the next message that is no ping, or how the socket ended.
func (s *socket) read() (frame, error) {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	for {
		_, text, err := s.conn.Read(ctx)
		if err != nil {
			return frame{}, err
		}
		var f frame
		if err := json.Unmarshal(text, &f); err != nil {
			return frame{}, err
		}
		if f.Type != "ping" {
			return f, nil
		}
	}
}

func (s *socket) next() frame {
	s.Helper()
	f, err := s.read()
	if err != nil {
		s.Fatal(err)
	}
	return f
}

// closed reads until the socket is closed, and gives the code.
func (s *socket) closed() websocket.StatusCode {
	s.Helper()
	for {
		if _, err := s.read(); err != nil {
			code := websocket.CloseStatus(err)
			if code < 0 {
				s.Fatalf("the socket was not closed with a code: %v", err)
			}
			return code
		}
	}
}

// changed is an event of taskChanged.
type changed struct {
	Errors []struct {
		Message    string         `json:"message"`
		Extensions map[string]any `json:"extensions"`
	} `json:"errors"`
	Data struct {
		TaskChanged struct {
			Cursor  string   `json:"cursor"`
			Kind    string   `json:"kind"`
			Version int      `json:"version"`
			Changed []string `json:"changed"`
			Task    struct {
				Title  string `json:"title"`
				Number int64  `json:"number"`
			} `json:"task"`
		} `json:"taskChanged"`
		Notifications struct {
			Cursor string `json:"cursor"`
			Kind   string `json:"kind"`
			Task   *struct {
				Title string `json:"title"`
			} `json:"task"`
			Project *struct {
				Name string `json:"name"`
			} `json:"project"`
		} `json:"notifications"`
	} `json:"data"`
}

func (s *socket) event() changed {
	s.Helper()
	f := s.next()
	if f.Type != "next" {
		s.Fatalf("got %s %s, want next", f.Type, f.Payload)
	}
	return parse(s.T, f.Payload)
}

func parse(t *testing.T, payload []byte) changed {
	t.Helper()
	var c changed
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatalf("%s: %v", payload, err)
	}
	if len(c.Errors) > 0 {
		t.Fatalf("got %s, want no errors", payload)
	}
	return c
}

// beginning is the cursor before all tasks: tasks:0-0.
const beginning = "dGFza3M6MC0w"

func follow(project int64, after string) string {
	args := fmt.Sprintf("projectId: %d", project)
	if after != "" {
		args += fmt.Sprintf(", after: %q", after)
	}
	return "subscription { taskChanged(" + args + ") { cursor kind version changed actor { name } task { title } } }"
}

// begun returns when the subscription of the socket hears what happens: a title is told to it.
func (d *gate) begun(s *socket, by *person, project int64, title string) {
	d.Helper()
	got := make(chan changed, 1)
	go func() {
		defer close(got)
		if f, err := s.read(); err == nil && f.Type == "next" {
			var c changed
			if json.Unmarshal(f.Payload, &c) == nil {
				got <- c
			}
		}
	}()
	for tries := 0; ; tries++ {
		t := d.task(by, project, fmt.Sprint(title, tries))
		select {
		case c, ok := <-got:
			if !ok {
				d.Fatal("the subscription did not begin")
			}
			for c.Data.TaskChanged.Task.Title != t.GetTitle() {
				c = s.event()
			}
			return
		case <-time.After(time.Second):
		}
	}
}

func TestWhatIsWrittenThroughOneReplicaIsSeenThroughAnother(t *testing.T) {
	t.Parallel()
	d := openGate(t, nil)
	owner, member := d.person(), d.person()
	project := d.project(owner, member)
	s := d.sign(1, member)
	s.subscribe("1", follow(project, ""))
	d.begun(s, owner, project, "first")

	var took []time.Duration
	for i := range 50 {
		title := fmt.Sprint("task ", i)
		began := time.Now()
		d.post(0, owner, fmt.Sprintf(`mutation { createTask(input: {projectId: %d, title: %q}) { task { id } } }`, project, title))
		e := s.event().Data.TaskChanged
		took = append(took, time.Since(began))
		if e.Task.Title != title || e.Kind != "CREATED" || e.Version != 1 {
			t.Fatalf("got %+v, want %s CREATED", e, title)
		}
	}
	slices.Sort(took)
	t.Logf("from the request to the event: median %v, 90 %% %v, most %v", took[25], took[45], took[49])

	// What happened before is read from the service, by the cursor.
	first := d.task(owner, project, "before")
	s.event()
	title := "renamed"
	_, err := d.tasks.UpdateTask(owner.as, &tasksv1.UpdateTaskRequest{Id: first.GetId(), Title: title, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"title"}}})
	if err != nil {
		t.Fatal(err)
	}
	if e := s.event().Data.TaskChanged; e.Kind != "UPDATED" || !slices.Equal(e.Changed, []string{"title"}) || e.Task.Title != title {
		t.Errorf("got %+v, want the title updated", e)
	}
	// After complete nothing comes of it, and its id is free.
	s.send(`{"id": "1", "type": "complete"}`)
	d.task(owner, project, "unseen")
	s.subscribe("1", "{ viewer { id } }")
	if f := s.next(); f.Type != "next" || !strings.Contains(string(f.Payload), "viewer") {
		t.Errorf("got %s %s, want the query's answer", f.Type, f.Payload)
	}
	if f := s.next(); f.Type != "complete" {
		t.Errorf("got %s, want complete", f.Type)
	}
}

func TestWhoWasCutOffMissesNothing(t *testing.T) {
	t.Parallel()
	const away, rate, writers = 10 * time.Second, 100, 8 // a second, all together
	d := openGate(t, nil)
	owner, member := d.person(), d.person()
	project := d.project(owner, member)
	s := d.sign(0, member)
	query := func(after string) string {
		return strings.Replace(follow(project, after), "title }", "title number }", 1)
	}
	s.subscribe("1", query(beginning))

	ctx, stop := context.WithCancel(t.Context())
	var (
		writing sync.WaitGroup
		wrote   atomic.Int64
	)
	began := time.Now()
	for range writers {
		writing.Go(func() {
			tick := time.NewTicker(writers * time.Second / rate)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				_, err := d.tasks.CreateTask(owner.as, &tasksv1.CreateTaskRequest{ProjectId: project, Title: "Ship"})
				switch {
				case err == nil:
					wrote.Add(1)
				case !errs.Is(err, errs.Unavailable): // another change was in the way
					t.Error(err)
					return
				}
			}
		})
	}
	defer writing.Wait()
	defer stop()
	// Numbers are given in the order of commits, so every event once and in order is every number.
	var last int64
	var cursor string
	see := func() {
		t.Helper()
		e := s.event().Data.TaskChanged
		if last++; e.Task.Number != last {
			t.Fatalf("got task %d, want %d", e.Task.Number, last)
		}
		cursor = e.Cursor
	}
	for range 50 {
		see()
	}
	_ = s.conn.CloseNow()
	select { // it is what it is about
	case <-time.After(away):
	case <-ctx.Done():
	}

	s = d.sign(1, member)
	s.subscribe("again", query(cursor))
	for range 50 { // while writing goes on
		see()
	}
	stop()
	writing.Wait()
	took := time.Since(began)
	for last < wrote.Load() {
		see()
	}
	t.Logf("%d events, %.0f a second", last, float64(last)/took.Seconds())
	s.send(`{"id": "again", "type": "complete"}`)
	s.subscribe("end", "{ viewer { id } }")
	if f := s.next(); f.ID != "end" {
		t.Errorf("got %s %s, want no more events", f.Type, f.Payload)
	}
}

// What is told of other projects shows that nothing of this one was missed, when its own last event is not kept any more.
func TestAQuietSubscriptionOutlivesItsLastEvent(t *testing.T) {
	t.Parallel()
	d := openGate(t, nil)
	owner := d.person()
	quiet, busy := d.project(owner), d.project(owner)
	s, other := d.sign(0, owner), d.sign(0, owner)
	s.subscribe("1", follow(quiet, ""))
	other.subscribe("1", follow(busy, ""))
	d.begun(s, owner, quiet, "last")
	d.begun(other, owner, busy, "first")
	d.task(owner, busy, "second") // and when it has come, the first has been passed on to all
	other.event()

	conn, err := pgx.Connect(t.Context(), d.system.Database("tasks"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), `WITH gone AS (DELETE FROM events WHERE project_id = $1 RETURNING xid, id)
		INSERT INTO event_positions (consumer, xid, id) SELECT 'swept', xid, id + 1 FROM gone ORDER BY xid DESC, id DESC LIMIT 1`, quiet)
	if err != nil {
		t.Fatal(err)
	}
	options, err := redis.ParseURL(d.system.RedisURL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	if err := client.Set(t.Context(), events.Stream("tasks"), "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	d.task(owner, quiet, "by the table")
	if got := s.event().Data.TaskChanged.Task.Title; got != "by the table" {
		t.Errorf("got %q, want the task that only the table tells of", got)
	}
}

//nolint:paralleltest // other tests' streams would be counted
func TestAStreamThatIsAbortedLeavesNothing(t *testing.T) {
	d := openGate(t, nil)
	p := d.person()
	project := d.project(p)
	d.task(p, project, "first")
	ctx, abort := context.WithCancel(t.Context())
	defer abort()
	for replica := range 2 {
		for range 8 {
			s := d.sign(replica, p)
			for id := range 5 {
				s.subscribe(fmt.Sprint(id), follow(project, beginning))
				s.event()
			}
			context.AfterFunc(ctx, func() { _ = s.conn.CloseNow() })
			told(t, d.requestFor(ctx, http.MethodPost, replica, "/graphql", p, "text/event-stream",
				document(follow(project, beginning))).body)
		}
	}
	if n := streaming(); n < 2*8*7 {
		t.Fatalf("got %d goroutines of streams: they are not counted", n)
	}
	abort()
	deadline := time.After(patience)
	for streaming() > 0 {
		select {
		case <-deadline:
			t.Fatalf("%d goroutines of streams are left", streaming())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// streaming counts the goroutines of this process that serve streams.
func streaming() (n int) {
	stacks := make([]byte, 8<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		for _, f := range []string{"graph.(*socket)", "graph.(*feed)", "graph.(*eventStream)", "graph.(*server).serveEvents"} {
			if strings.Contains(stack, f) {
				n++
				break
			}
		}
	}
	return n
}

func TestNothingIsSeenOfAProjectThatWasLeft(t *testing.T) {
	t.Parallel()
	d := openGate(t, nil)
	owner, member := d.person(), d.person()
	project := d.project(owner, member)
	s := d.sign(1, member)
	s.subscribe("1", follow(project, beginning))
	d.task(owner, project, "seen")
	s.event()
	if _, err := d.projects.DeleteMember(owner.as, &projectsv1.DeleteMemberRequest{ProjectId: project, UserId: member.id}); err != nil {
		t.Fatal(err)
	}
	d.task(owner, project, "secret")
	f, err := s.read()
	if err != nil || f.Type != "error" || !strings.Contains(string(f.Payload), "NOT_FOUND") {
		t.Fatalf("got %s %s, %v, want an error", f.Type, f.Payload, err)
	}
	if code := s.closed(); code != 4403 {
		t.Errorf("got %d, want 4403", code)
	}
	// Nor is it by coming again.
	s = d.sign(1, member)
	s.subscribe("1", follow(project, ""))
	if f := s.next(); f.Type != "error" || !strings.Contains(string(f.Payload), "NOT_FOUND") {
		t.Errorf("got %s %s, want an error", f.Type, f.Payload)
	}
}

func TestTheViewerIsToldWhatConcernsThem(t *testing.T) {
	t.Parallel()
	d := openGate(t, nil)
	owner, member := d.person(), d.person()
	project := d.project(owner)
	const query = `subscription($after: String) { notifications(after: $after) { cursor kind task { title } project { name } } }`
	s := d.sign(0, member)
	notify := func(after string) {
		t.Helper()
		payload, err := json.Marshal(map[string]any{"query": query, "variables": map[string]string{"after": after}})
		if err != nil {
			t.Fatal(err)
		}
		s.send(fmt.Sprintf(`{"id": "1", "type": "subscribe", "payload": %s}`, payload))
	}
	notify("cHJvamVjdHM6MC0wIHRhc2tzOjAtMA") // projects:0-0 tasks:0-0, the beginning
	d.member(owner, project, member)
	var cursor string
	expect := func(kind, task string) {
		t.Helper()
		n := s.event().Data.Notifications
		if n.Kind != kind || task != "" && (n.Task == nil || n.Task.Title != task) {
			t.Errorf("got %+v, want %s %s", n, kind, task)
		}
		cursor = n.Cursor
	}
	expect("MEMBER_ADDED", "")
	d.task(owner, project, "not mine")
	mine := d.task(owner, project, "mine", member.id)
	expect("TASK_ASSIGNED", "mine")
	if _, err := d.tasks.CreateComment(owner.as, &tasksv1.CreateCommentRequest{TaskId: mine.GetId(), Body: "Well?"}); err != nil {
		t.Fatal(err)
	}
	expect("COMMENT_ADDED", "mine")
	if _, err := d.tasks.CreateComment(member.as, &tasksv1.CreateCommentRequest{TaskId: mine.GetId(), Body: "Soon."}); err != nil {
		t.Fatal(err)
	}
	_ = s.conn.CloseNow()
	if _, err := d.projects.DeleteMember(owner.as, &projectsv1.DeleteMemberRequest{ProjectId: project, UserId: member.id}); err != nil {
		t.Fatal(err)
	}
	s = d.sign(1, member)
	notify(cursor)
	expect("MEMBER_REMOVED", "")
}

func TestTheCodesThatASocketIsClosedWith(t *testing.T) {
	t.Parallel()
	d := openGate(t, nil)
	p := d.person()
	forever := follow(d.project(p), "")
	tests := []struct {
		name string
		act  func(*testing.T) *socket
		want websocket.StatusCode
	}{
		{"no JSON", func(*testing.T) *socket { s := d.connect(0); s.send("hello"); return s }, 4400},
		{"no object", func(*testing.T) *socket { s := d.connect(0); s.send("[1]"); return s }, 4400},
		{"no type that exists", func(*testing.T) *socket { s := d.connect(0); s.send(`{"type": "start"}`); return s }, 4400},
		{"a binary message", func(t *testing.T) *socket {
			t.Helper()
			s := d.connect(0)
			if err := s.conn.Write(t.Context(), websocket.MessageBinary, []byte{0xff, 0}); err != nil {
				t.Fatal(err)
			}
			return s
		}, 4400},
		{"a subscribe without a query", func(*testing.T) *socket {
			s := d.sign(0, p)
			s.send(`{"id": "1", "type": "subscribe", "payload": {}}`)
			return s
		}, 4400},
		{"a subscribe without an id", func(*testing.T) *socket {
			s := d.sign(0, p)
			s.send(`{"type": "subscribe", "payload": {"query": "{ viewer { id } }"}}`)
			return s
		}, 4400},
		{"a subscribe before connection_init", func(*testing.T) *socket {
			s := d.connect(0)
			s.subscribe("1", "{ viewer { id } }")
			return s
		}, 4401},
		{"connection_init without a token", func(*testing.T) *socket {
			s := d.connect(0)
			s.send(`{"type": "connection_init"}`)
			return s
		}, 4403},
		{"connection_init with a bad token", func(*testing.T) *socket {
			s := d.connect(0)
			s.send(`{"type": "connection_init", "payload": {"authorization": "Bearer x"}}`)
			return s
		}, 4403},
		{"no connection_init", func(*testing.T) *socket { return d.connect(0) }, 4408},
		{"an id that is taken", func(*testing.T) *socket {
			s := d.sign(0, p)
			s.subscribe("1", forever)
			s.subscribe("1", forever)
			return s
		}, 4409},
		{"connection_init twice", func(*testing.T) *socket {
			s := d.sign(0, p)
			s.send(`{"type": "connection_init"}`)
			return s
		}, 4429},
		{"a message that is too long", func(t *testing.T) *socket {
			t.Helper()
			s := d.sign(0, p)
			long := `{"type": "ping", "payload": {"x": "` + strings.Repeat("x", 200_000) + `"}}`
			_ = s.conn.Write(t.Context(), websocket.MessageText, []byte(long)) // it may be closed before the message has ended
			return s
		}, websocket.StatusMessageTooBig},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.act(t).closed(); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
	for _, tt := range []struct {
		name, origin, protocol string
		want                   int
	}{
		{"a page of ours", d.system.URL, "graphql-transport-ws", http.StatusSwitchingProtocols},
		{"a page of another origin", "https://evil.example", "graphql-transport-ws", http.StatusForbidden},
		{"the legacy protocol", d.system.URL, "graphql-ws", http.StatusBadRequest},
		{"no protocol", d.system.URL, "", http.StatusBadRequest},
	} {
		conn, got := d.dial(0, http.Header{"Origin": {tt.origin}}, tt.protocol)
		if got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
		if conn != nil {
			_ = conn.CloseNow()
		}
	}
}

func TestWhatASocketSurvives(t *testing.T) {
	t.Parallel()
	d := openGate(t, nil)
	p := d.person()
	project := d.project(p)
	s := d.sign(0, p)
	s.send(`{"type": "ping", "payload": {"a": 1}}`)
	if f := s.next(); f.Type != "pong" || string(f.Payload) != `{"a":1}` && string(f.Payload) != `{"a": 1}` {
		t.Errorf("got %s %s, want pong and what was sent", f.Type, f.Payload)
	}
	for _, query := range []string{
		"{", "{ nothing }", "subscription { taskChanged(projectId: 99999) { cursor } }",
		"subscription { a: taskChanged(projectId: 1) { cursor } b: taskChanged(projectId: 1) { cursor } }",
		fmt.Sprintf("subscription { taskChanged(projectId: %d, after: \"x\") { cursor } }", project),
		strings.Repeat("{ projects { nodes ", 30) + strings.Repeat("}", 60),
	} {
		s.subscribe("bad", query)
		if f := s.next(); f.Type != "error" || f.ID != "bad" {
			t.Errorf("%s: got %s %s, want an error", query, f.Type, f.Payload)
		}
	}
	for i := range 50 {
		s.subscribe(fmt.Sprint(i), follow(project, ""))
	}
	s.subscribe("much", follow(project, ""))
	if f := s.next(); f.Type != "error" || f.ID != "much" || !strings.Contains(string(f.Payload), "RATE_LIMITED") {
		t.Errorf("the 51st: got %s %s %s, want an error", f.Type, f.ID, f.Payload)
	}
}

func TestOperationsOnASocketCountAsRequests(t *testing.T) {
	t.Parallel()
	d := openGate(t, map[string]string{"RATE_LIMIT": "20"}) // one comes back in three seconds
	s := d.sign(0, d.person())
	const sent = 40
	for i := range sent { // which fail, all at once
		s.subscribe(fmt.Sprint(i), "{ project(id: 999999) { id } }")
	}
	answered, refused := 0, 0
	for answered+refused < sent {
		switch f := s.next(); {
		case f.Type == "next":
			answered++
		case f.Type == "error" && strings.Contains(string(f.Payload), "RATE_LIMITED"):
			refused++
		case f.Type != "complete":
			t.Fatalf("got %s %s", f.Type, f.Payload)
		}
	}
	if answered < 20 || refused == 0 {
		t.Errorf("%d were answered and %d refused, want 20 answered and the others refused", answered, refused)
	}
}

func TestASessionThatEndsTakesItsStreamsAlong(t *testing.T) {
	t.Parallel()
	d := openGate(t, map[string]string{"ACCESS_TOKEN_TTL": "20s"})
	p, q, r := d.person(), d.person(), d.person()
	project := d.project(p, q, r)
	ended, runs, renewed := d.sign(0, p), d.sign(1, q), d.sign(1, r)
	renewed.subscribe("1", follow(project, beginning))
	renew := func() {
		t.Helper()
		tokens, err := d.users.RefreshTokens(t.Context(), &usersv1.RefreshTokensRequest{RefreshToken: r.tokens.GetRefreshToken()})
		if err != nil {
			t.Fatal(err)
		}
		r.tokens, r.as = tokens, auth.WithCaller(t.Context(), &auth.Caller{Token: tokens.GetAccessToken()})
		renewed.send(`{"type": "ping", "payload": {"authorization": "Bearer ` + tokens.GetAccessToken() + `"}}`)
		if f := renewed.next(); f.Type != "pong" || !strings.Contains(string(f.Payload), "expiresAt") {
			t.Fatalf("got %s %s, want pong and until when", f.Type, f.Payload)
		}
	}
	renew()
	ended.subscribe("1", follow(project, ""))
	runs.subscribe("1", follow(project, ""))
	sse := d.sse(0, q, follow(project, ""))
	if _, err := d.users.DeleteSessions(p.as, &usersv1.DeleteSessionsRequest{}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if code := ended.closed(); code != 4403 {
		t.Errorf("an ended session: got %d, want 4403", code)
	}
	t.Logf("closed %v after the session's end", time.Since(began))
	renew()
	if code := runs.closed(); code != 4403 {
		t.Errorf("a token that has run out: got %d, want 4403", code)
	}
	if text, err := io.ReadAll(sse.body); err != nil || strings.Contains(string(text), "complete") {
		t.Errorf("a token that has run out: got %q, %v, want the stream broken off", text, err)
	}
	// By now the token with which this one began has run out, too.
	renew()
	for _, title := range []string{"first", "second"} {
		d.task(r, project, title)
		if got := renewed.event().Data.TaskChanged.Task.Title; got != title {
			t.Errorf("got %s, want %s", got, title)
		}
	}
	if _, err := d.users.DeleteSessions(r.as, &usersv1.DeleteSessionsRequest{}); err != nil {
		t.Fatal(err)
	}
	if code := renewed.closed(); code != 4403 {
		t.Errorf("a renewed session that has ended: got %d, want 4403", code)
	}
}

// answer is one of HTTP, whose body is closed with the test.
type answer struct {
	status int
	media  string
	body   io.Reader
}

func (d *gate) request(method string, replica int, path string, p *person, accept, body string) answer {
	d.Helper()
	return d.requestFor(d.Context(), method, replica, path, p, accept, body)
}

// requestFor is a request that ends with ctx.
func (d *gate) requestFor(ctx context.Context, method string, replica int, path string, p *person, accept, body string) answer {
	d.Helper()
	var in io.Reader = http.NoBody
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, d.system.URLs[replica]+path, in)
	if err != nil {
		d.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", accept)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { _ = res.Body.Close() })
	return answer{res.StatusCode, res.Header.Get("Content-Type"), res.Body}
}

func document(query string) string {
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		panic(err) // a string is JSON
	}
	return string(body)
}

func (d *gate) post(replica int, p *person, query string) string {
	d.Helper()
	res := d.request(http.MethodPost, replica, "/graphql", p, "application/json", document(query))
	text, err := io.ReadAll(res.body)
	if err != nil || res.status != http.StatusOK || strings.Contains(string(text), `"errors"`) {
		d.Fatalf("%s: %d %s, %v", query, res.status, text, err)
	}
	return string(text)
}

// sse subscribes in distinct connections mode.
func (d *gate) sse(replica int, p *person, query string) answer {
	d.Helper()
	res := d.request(http.MethodPost, replica, "/graphql", p, "text/event-stream", document(query))
	if res.status != http.StatusOK || !strings.HasPrefix(res.media, "text/event-stream") {
		d.Fatalf("got %d %s, want a stream", res.status, res.media)
	}
	return res
}

// told reads a stream up to the next event that is no comment.
func told(t *testing.T, r io.Reader) (name, data string) {
	t.Helper()
	var text []byte
	one := make([]byte, 1)
	for {
		if _, err := io.ReadFull(r, one); err != nil {
			t.Fatalf("the stream ended: %v", err)
		}
		text = append(text, one...)
		if !bytes.HasSuffix(text, []byte("\n\n")) {
			continue
		}
		if event, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "event: "); ok {
			name, data, _ = strings.Cut(event, "\n")
			return name, strings.TrimSpace(strings.TrimPrefix(data, "data:"))
		}
		text = nil
	}
}

func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	d := openGate(t, nil)
	p := d.person()
	project := d.project(p)
	first := d.task(p, project, "before")

	// In distinct connections mode, also a query.
	res := d.sse(0, p, "{ viewer { name } }")
	if name, data := told(t, res.body); name != "next" || !strings.Contains(data, `"viewer"`) {
		t.Errorf("got %s %s, want the query's answer", name, data)
	}
	if name, _ := told(t, res.body); name != "complete" {
		t.Errorf("got %s, want complete", name)
	}
	res = d.sse(0, p, "subscription { taskChanged(projectId: 99999) { cursor } }")
	if name, data := told(t, res.body); name != "next" || !strings.Contains(data, "NOT_FOUND") {
		t.Errorf("got %s %s, want an error", name, data)
	}
	res = d.sse(1, p, follow(project, beginning))
	if name, data := told(t, res.body); name != "next" || parse(t, []byte(data)).Data.TaskChanged.Task.Title != first.GetTitle() {
		t.Errorf("got %s %s, want the first task", name, data)
	}
	d.task(p, project, "now")
	if name, data := told(t, res.body); name != "next" || parse(t, []byte(data)).Data.TaskChanged.Task.Title != "now" {
		t.Errorf("got %s %s, want the second task", name, data)
	}
}

func TestAStopSendsStreamsElsewhere(t *testing.T) {
	t.Parallel()
	d := openGate(t, nil)
	p := d.person()
	project := d.project(p)
	s := d.sign(0, p)
	s.subscribe("1", follow(project, ""))
	res := d.sse(1, p, follow(project, ""))
	code := make(chan websocket.StatusCode, 1)
	go func() {
		_, err := s.read()
		code <- websocket.CloseStatus(err)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	if err := d.system.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped in %v", time.Since(began))
	if got := <-code; got != websocket.StatusGoingAway {
		t.Errorf("got %d, want 1001", got)
	}
	if text, err := io.ReadAll(res.body); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(string(text), "complete") {
		t.Errorf("got %q, %v, want the stream to end without complete", text, err)
	}
}
