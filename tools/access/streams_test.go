package access

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/go-json-experiment/json"
	"google.golang.org/grpc"

	"github.com/trackway/trackway/services/platform/auth"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// followed are the subscriptions to what happens in the project of a scene.
func followed(s scene) []string {
	project := s.id("project")
	return []string{
		fmt.Sprintf("subscription { taskChanged(projectId: %d) { task { title } } }", project),
		fmt.Sprintf("subscription { commentAdded(taskId: %d) { comment { body } } }", s.id("first")),
		fmt.Sprintf("subscription { projectChanged(projectId: %d) { project { name } } }", project),
	}
}

// ear is an open stream, over WebSocket or as server-sent events, and all that it was told.
type ear struct {
	name string
	done chan struct{} // closed when the stream has ended

	mu    sync.Mutex
	heard []string
}

func (e *ear) hear(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, text)
}

// told is all that it heard.
func (e *ear) told() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.heard, "\n")
}

// ears opens every subscription to a project, over both transports, at every replica.
func (w *world) ears(t *testing.T, user int64, s scene) []*ear {
	t.Helper()
	var all []*ear
	token, err := w.token(user)
	if err != nil {
		t.Fatal(err)
	}
	for i, url := range w.URLs {
		for n, query := range followed(s) {
			for _, open := range []struct {
				by   string
				hear func(t *testing.T, e *ear, url, token, query string)
			}{{"WebSocket", overSocket}, {"events", asEvents}} {
				e := &ear{name: fmt.Sprintf("subscription %d over %s at edge %d", n, open.by, i), done: make(chan struct{})}
				open.hear(t, e, url, token, query)
				all = append(all, e)
			}
		}
	}
	return all
}

// overSocket subscribes over graphql-transport-ws.
func overSocket(t *testing.T, e *ear, url, token, query string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	conn, res, err := websocket.Dial(ctx, url+"/graphql", &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
	if err != nil {
		t.Fatal(err)
	}
	if res.Body != nil {
		_ = res.Body.Close()
	}
	payload, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`{"type": "connection_init", "payload": {"Authorization": "Bearer ` + token + `"}}`,
		`{"id": "1", "type": "subscribe", "payload": ` + string(payload) + `}`,
	} {
		if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		defer close(e.done)
		defer func() { _ = conn.CloseNow() }()
		for {
			_, text, err := conn.Read(ctx)
			if err != nil {
				e.hear(fmt.Sprintf("closed %d", websocket.CloseStatus(err)))
				return
			}
			if !bytes.Contains(text, []byte(`"ping"`)) {
				e.hear(string(text))
			}
		}
	}()
}

// asEvents subscribes in the mode of distinct connections.
func asEvents(t *testing.T, e *ear, url, token, query string) {
	t.Helper()
	payload, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/graphql", bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	res, err := (&http.Client{}).Do(req) //nolint:bodyclose // by whoever reads it
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(e.done)
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		for lines.Scan() {
			if line := lines.Text(); line != "" && !strings.HasPrefix(line, ":") {
				e.hear(line)
			}
		}
	}()
}

// write writes one of everything that the subscriptions tell of, with the word in it.
func (w *world) write(ctx context.Context, s scene, word string) error {
	as := w.as(ctx, w.owner)
	_, err := w.projects.UpdateProject(as, &projectsv1.UpdateProjectRequest{Id: s.id("project"), Name: word, UpdateMask: mask("name")},
		grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	if _, err := w.tasks.CreateTask(as, &tasksv1.CreateTaskRequest{ProjectId: s.id("project"), Title: word}); err != nil {
		return err
	}
	_, err = w.tasks.CreateComment(as, &tasksv1.CreateCommentRequest{TaskId: s.id("first"), Body: word})
	return err
}

// awaken writes until every ear has heard something.
func (h *hammer) awaken(s scene, ears []*ear) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := h.write(ctx, s, "before"); err != nil {
			h.Fatal(err)
		}
		deaf := ""
		for _, e := range ears {
			if !strings.Contains(e.told(), "before") {
				deaf = e.name
			}
		}
		if deaf == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			h.Fatalf("%s hears nothing", deaf)
		}
	}
}

// deaf fails the test if an ear hears of what is written from now on, or does not end.
func (h *hammer) deaf(s scene, ears []*ear) {
	h.Helper()
	if err := h.write(h.Context(), s, "a secret of afterwards"); err != nil {
		h.Fatal(err)
	}
	for _, e := range ears {
		select {
		case <-e.done:
		case <-time.After(time.Minute):
			h.Errorf("%s is still open", e.name)
		}
		if told := e.told(); strings.Contains(told, "afterwards") || !strings.Contains(told, "NOT_FOUND") {
			h.Errorf("%s was told, in the end, %.500s", e.name, told[max(0, len(told)-500):])
		}
	}
}

// A stranger's subscription to a hidden project is answered like one to none, and by the same work.
func TestAHiddenProjectsStreamIsLikeNone(t *testing.T) {
	t.Parallel()
	l := newLeaks(t)
	token, err := l.token(l.stranger)
	if err != nil {
		t.Fatal(err)
	}
	listen := func(hear func(*testing.T, *ear, string, string, string), query string) (string, []string) {
		done := l.work.watch(token)
		e := &ear{done: make(chan struct{})}
		hear(t, e, l.URL, token, query)
		deadline := time.NewTimer(time.Minute)
		defer deadline.Stop()
		for ended := false; !ended && !strings.Contains(e.told(), `"type":"error"`); { // the last of a socket, which stays open
			select {
			case <-e.done:
				ended = true
			case <-deadline.C:
				t.Fatalf("%s: got %s, want an end", query, e.told())
			case <-time.After(10 * time.Millisecond):
			}
		}
		if !strings.Contains(e.told(), "NOT_FOUND") {
			t.Fatalf("%s: got %s, want NOT_FOUND", query, e.told())
		}
		return traces.ReplaceAllString(e.told(), ""), done()
	}
	nothing := followed(l.nothing)
	hidden, none := followed(l.hidden), followed(l.none)
	for i := range hidden {
		for by, hear := range map[string]func(*testing.T, *ear, string, string, string){"WebSocket": overSocket, "events": asEvents} {
			listen(hear, nothing[i]) // whatever is asked once has been
			want, does := listen(hear, none[i])
			got, did := listen(hear, hidden[i])
			if got != want || !strings.Contains(got, "NOT_FOUND") {
				t.Errorf("%s over %s: what is hidden is answered\n%s\nand what is not there\n%s", hidden[i], by, got, want)
			}
			if fmt.Sprint(did) != fmt.Sprint(does) {
				t.Errorf("%s over %s: for what is hidden %v is done, and for what is not there %v", hidden[i], by, did, does)
			}
		}
	}
}

// A personal access token that is deleted stops soon, at every replica, at both doors, and its streams end.
func TestADeletedPersonalAccessTokenStopsEverywhere(t *testing.T) {
	t.Parallel()
	s, err := here.scene(t.Context(), places()[0], here.owner)
	if err != nil {
		t.Fatal(err)
	}
	as := here.as(t.Context(), here.owner)
	made, err := here.users.CreateToken(as, &usersv1.CreateTokenRequest{Name: "Stopped", Scopes: []string{string(auth.ReadProjectsScope)}})
	if err != nil {
		t.Fatal(err)
	}
	opens := func(url string, graphql bool) bool {
		method, path, body := http.MethodGet, "/api/projects/", ""
		if graphql {
			method, path, body = http.MethodPost, "/graphql", `{"query": "{ projects(first: 1) { nodes { id } } }"}`
		}
		req, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+made.GetSecret())
		res, err := here.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	}
	var streams []*ear
	for _, url := range here.URLs {
		for _, graphql := range []bool{false, true} {
			if !opens(url, graphql) {
				t.Errorf("the token does not work at %s, GraphQL %v", url, graphql)
			}
		}
		for _, hear := range []func(*testing.T, *ear, string, string, string){overSocket, asEvents} {
			e := &ear{name: url, done: make(chan struct{})}
			hear(t, e, url, made.GetSecret(), followed(s)[2])
			streams = append(streams, e)
		}
	}
	if _, err := here.users.DeleteToken(as, &usersv1.DeleteTokenRequest{Id: made.GetId()}); err != nil {
		t.Fatal(err)
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for late := true; late; {
		late = false
		for _, url := range here.URLs {
			late = late || opens(url, false) || opens(url, true)
		}
		for _, e := range streams {
			select {
			case <-e.done:
			default:
				late = true
			}
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			if late {
				t.Fatalf("the token or a stream of it still works after %v", patience)
			}
		}
	}
}
