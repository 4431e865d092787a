package graph_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"

	"github.com/trackway/trackway/graph"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	eventsv1 "github.com/trackway/trackway/services/rpc/events/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// guard is the services that a subscription asks. Nothing happens in them; they know with which token they were asked last.
type guard struct {
	projectsv1.ProjectsServiceClient
	tasksv1.TasksServiceClient

	asked   atomic.Value // a string
	revoked sync.Map
	away    atomic.Bool // whoever could verify tokens
}

func (*guard) ListEvents(context.Context, *eventsv1.ListEventsRequest, ...grpc.CallOption) (*eventsv1.ListEventsResponse, error) {
	return &eventsv1.ListEventsResponse{Cursor: "0-0"}, nil
}

func (g *guard) BatchGetAccess(ctx context.Context, req *projectsv1.BatchGetAccessRequest, _ ...grpc.CallOption) (
	*projectsv1.BatchGetAccessResponse, error,
) {
	g.asked.Store(auth.CallerFrom(ctx).Token)
	answer := &projectsv1.BatchGetAccessResponse{}
	for _, id := range req.GetProjectIds() {
		answer.Access = append(answer.Access, &projectsv1.Access{ProjectId: id, Role: projectsv1.Role_ROLE_MEMBER})
	}
	return answer, nil
}

// verify knows tokens such as "1 for 60s", of user 1, and "1 for 60s to tasks:read".
func (g *guard) verify(began time.Time) func(context.Context, string) (*auth.Caller, error) {
	return func(_ context.Context, token string) (*auth.Caller, error) {
		if g.away.Load() {
			return nil, errs.New(errs.Unavailable, "Later.")
		}
		var user int64
		var life, scope string
		if n, _ := fmt.Sscanf(token, "%d for %s to %s", &user, &life, &scope); n < 2 { //nolint:mnd // without a scope
			return nil, errs.New(errs.Unauthenticated, "It is no token.")
		}
		lasts, err := time.ParseDuration(life)
		_, revoked := g.revoked.Load(token)
		if err != nil || revoked {
			return nil, errs.New(errs.Unauthenticated, "It is no token any more.")
		}
		c := &auth.Caller{UserID: user, Token: token, Expires: began.Add(lasts)}
		if scope != "" {
			c.Scopes = []auth.Scope{auth.Scope(scope)}
		}
		return c, nil
	}
}

// pipes is a network in memory, whose time can be one that nobody waits for.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error { close(p); return nil }
func (p pipes) Addr() net.Addr {
	return &net.TCPAddr{}
}

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p <- theirs
	return ours, nil
}

// listener is a client with a socket and a subscription on it.
type listener struct {
	*testing.T

	guard *guard
	conn  *websocket.Conn
	came  chan string   // messages that are no pings, and at last how it was closed
	turn  chan struct{} // whoever has it may keep the client from reading on
}

// listens opens a socket with a token, and subscribes.
func listens(t *testing.T, token string, changes ...func(*graph.Config)) *listener {
	t.Helper()
	g := &guard{}
	log := slog.New(slog.DiscardHandler)
	cfg := graph.Config{
		Projects: g, Tasks: g, Log: log, Events: events.NewHub(nil, log), Verify: g.verify(time.Now()),
	}
	for _, change := range changes {
		change(&cfg)
	}
	h := graph.New(cfg)
	network := make(pipes)
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { h.Run(ctx) })
	running.Go(func() { _ = server.Serve(network) })
	transport := &http.Transport{DialContext: network.dial}
	conn, res, err := websocket.Dial(ctx, "http://trackway/graphql", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{"graphql-transport-ws"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.Body != nil {
		_ = res.Body.Close()
	}
	l := &listener{T: t, guard: g, conn: conn, came: make(chan string, 100), turn: make(chan struct{}, 1)}
	running.Go(l.read)
	t.Cleanup(func() {
		cancel()
		_ = conn.CloseNow()
		_ = server.Close()
		running.Wait()
		transport.CloseIdleConnections()
	})
	l.send(`{"type": "connection_init", "payload": {"Authorization": "Bearer ` + token + `"}}`)
	l.expect(`{"type":"connection_ack"}`)
	l.send(subscribe("1"))
	return l
}

// subscribe is the message that begins a subscription.
func subscribe(id string) string {
	return `{"id": "` + id + `", "type": "subscribe", "payload": {"query": "subscription { taskChanged(projectId: 1) { cursor } }"}}`
}

func (l *listener) read() {
	for {
		l.turn <- struct{}{}
		<-l.turn
		_, text, err := l.conn.Read(context.Background())
		if err != nil {
			l.came <- fmt.Sprint("closed with ", int(websocket.CloseStatus(err)))
			return
		}
		if strings.Contains(string(text), `"ping"`) {
			continue
		}
		select {
		case l.came <- string(text):
		case <-l.Context().Done():
			return
		}
	}
}

func (l *listener) send(text string) {
	l.Helper()
	if err := l.conn.Write(l.Context(), websocket.MessageText, []byte(text)); err != nil {
		l.Fatal(err)
	}
}

// expect takes the next message, or how the socket was closed.
func (l *listener) expect(want string) {
	l.Helper()
	synctest.Wait()
	select {
	case got := <-l.came:
		if got != want {
			l.Fatalf("got %s, want %s", got, want)
		}
	default:
		l.Fatalf("got nothing, want %s", want)
	}
}

func (l *listener) renew(token string) {
	l.Helper()
	l.send(`{"type": "ping", "payload": {"authorization": "Bearer ` + token + `"}}`)
}

// pass lets time pass, of which there is any amount in a bubble.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // nobody waits
	synctest.Wait()
}

// after lets time pass, in which nothing must come.
func (l *listener) after(d time.Duration) {
	l.Helper()
	pass(d)
	select {
	case got := <-l.came:
		l.Fatalf("got %s within %v, want nothing", got, d)
	default:
	}
}

// askedWith checks the token with which it was looked last whether the subscription may go on.
func (l *listener) askedWith(want string) {
	l.Helper()
	if got := l.guard.asked.Load(); got != want {
		l.Errorf("the services were asked with the token %q, want %q", got, want)
	}
}

func TestATokenIsRenewedInsideASocket(t *testing.T) {
	t.Parallel()
	const pong = `{"type":"pong","payload":{"expiresAt":%q}}`
	until := func(began time.Time, lasts time.Duration) string {
		return fmt.Sprintf(pong, began.Add(lasts).Format(time.RFC3339Nano))
	}
	for name, act := range map[string]func(*listener){
		"not at all": func(l *listener) {
			l.after(59 * time.Second)
			l.askedWith("1 for 1m")
			pass(3 * time.Second)
			l.expect("closed with 4403")
		},
		"again and again": func(l *listener) {
			began := time.Now()
			l.after(50 * time.Second)
			l.renew("1 for 10m")
			l.expect(until(began, 10*time.Minute))
			l.after(9 * time.Minute)
			l.askedWith("1 for 10m")
			l.renew("1 for 30m")
			l.expect(until(began, 30*time.Minute))
			l.after(20 * time.Minute)
			l.askedWith("1 for 30m")
			l.send(`{"type": "ping", "payload": {"not": "authorization"}}`)
			l.expect(`{"type":"pong","payload":{"not":"authorization"}}`)
			pass(time.Minute)
			l.expect("closed with 4403")
		},
		"and then its session ends": func(l *listener) {
			l.renew("1 for 10m")
			l.expect(until(time.Now(), 10*time.Minute))
			l.guard.revoked.Store("1 for 1m", true) // which is of no use any more
			l.after(2 * time.Minute)
			l.guard.revoked.Store("1 for 10m", true)
			pass(2 * time.Second)
			l.expect("closed with 4403")
		},
		"while nobody can verify it": func(l *listener) {
			l.guard.away.Store(true)
			l.renew("1 for 10m")
			l.expect(until(time.Now(), time.Minute)) // it is not
			l.guard.away.Store(false)
			l.renew("1 for 10m")
			l.expect(until(time.Now(), 10*time.Minute))
			l.after(2 * time.Minute)
		},
		"not at all, by who does not read": func(l *listener) {
			l.send(`{"id": "1", "type": "complete"}`)
			l.after(57 * time.Second)
			l.turn <- struct{}{}
			l.send(`{"id": "2", "type": "subscribe", "payload": {"query": "{ __typename }"}}`)
			synctest.Wait()
			if got := <-l.came; !strings.Contains(got, `"type":"next"`) { // for which it waited already
				l.Fatalf("got %s, want an answer", got)
			}
			pass(5 * time.Second)
			<-l.turn
			l.expect(`{"id":"2","type":"complete"}`) // which was on its way
			l.expect("closed with 4403")
		},
		"by another user":     func(l *listener) { l.renew("2 for 10m"); l.expect("closed with 4403") },
		"by what is no token": func(l *listener) { l.renew("x"); l.expect("closed with 4403") },
		"by one that has run out": func(l *listener) {
			l.guard.revoked.Store("1 for 9m", true)
			l.renew("1 for 9m")
			l.expect("closed with 4403")
		},
		"by null": func(l *listener) {
			l.send(`{"type": "ping", "payload": {"Authorization": null}}`)
			l.expect("closed with 4403")
		},
		"by one for tasks": func(l *listener) { l.renew("1 for 10m to tasks:read"); <-l.came; l.after(2 * time.Minute) },
		"by one for other things": func(l *listener) {
			l.renew("1 for 10m to users:read")
			<-l.came
			pass(time.Minute)
			if got := <-l.came; !strings.Contains(got, `"type":"error"`) || !strings.Contains(got, "This token is not for tasks:read") {
				l.Fatalf("got %s, want the subscription ended", got)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { act(listens(t, "1 for 1m")) })
		})
	}
}
