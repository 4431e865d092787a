package app_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/errs"
)

// echo is a service of one method, which gRPC's health service lends its messages.
type echo func(ctx context.Context, service string) error

func (e echo) desc(method string) grpc.ServiceDesc {
	return grpc.ServiceDesc{
		ServiceName: "test.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: method,
			Handler: func(_ any, ctx context.Context, dec func(any) error, chain grpc.UnaryServerInterceptor) (any, error) {
				req := new(healthpb.HealthCheckRequest)
				if err := dec(req); err != nil {
					return nil, err
				}
				return chain(ctx, req, &grpc.UnaryServerInfo{FullMethod: "/test.Echo/" + method},
					func(ctx context.Context, _ any) (any, error) { return req, e(ctx, req.GetService()) })
			},
		}},
	}
}

// serve runs the service on a network in memory, and returns a client, its log and a stop that waits for the end.
func serve(t *testing.T, method string, e echo) (call func(ctx context.Context, text string) error, log *bytes.Buffer, stop func() error) {
	t.Helper()
	var network app.Memory
	log = new(bytes.Buffer)
	env := app.Env{ListenOn: network.Listen, DialTo: network.Dial, Log: slog.New(slog.NewTextHandler(log, nil))}
	desc := e.desc(method)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- app.ServeGRPC(ctx, app.Config{Listen: "echo", Admin: "admin", Grace: 5 * time.Second}, env, app.GRPC{
			Register: func(s *grpc.Server) { s.RegisterService(&desc, nil) },
			Ready:    func(context.Context) error { return nil },
		})
	}()
	conn, err := app.Dial(env, "echo", desc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(ctx context.Context, text string) error {
		return conn.Invoke(ctx, "/test.Echo/"+method, &healthpb.HealthCheckRequest{Service: text}, new(healthpb.HealthCheckRequest))
	}, log, func() error { cancel(); return <-done }
}

func TestWhatIsNotForTheCallerStaysInTheLog(t *testing.T) {
	t.Parallel()
	call, log, stop := serve(t, "Put", func(_ context.Context, text string) error {
		if text == "panic" {
			panic("a secret")
		}
		return errors.New("a secret")
	})
	for _, text := range []string{"panic", "error"} {
		err := call(t.Context(), text)
		if !errs.Is(err, errs.Internal) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want an internal error that tells nothing", text, err)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := strings.Count(log.String(), "level=ERROR"); got != 2 || strings.Count(log.String(), "a secret") != 2 {
		t.Errorf("got %d errors in the log, want each once:\n%s", got, log)
	}
}

func TestOnlyReadsAreTriedAgain(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]int64{"GetThing": 4, "ListThings": 4, "BatchGetThings": 4, "CreateThing": 1} {
		var calls atomic.Int64
		call, _, _ := serve(t, method, func(context.Context, string) error {
			calls.Add(1)
			return errs.New(errs.Unavailable, "Not now.")
		})
		if err := call(t.Context(), ""); !errs.Is(err, errs.Unavailable) {
			t.Errorf("%s: got %v, want %s", method, err, errs.Unavailable)
		}
		if got := calls.Load(); got != want {
			t.Errorf("%s: got %d attempts, want %d", method, got, want)
		}
	}
}

func TestEveryCallHasADeadline(t *testing.T) {
	t.Parallel()
	call, _, _ := serve(t, "Put", func(ctx context.Context, _ string) error {
		if _, ok := ctx.Deadline(); !ok {
			return errs.New(errs.Conflict, "no deadline")
		}
		return nil
	})
	if err := call(t.Context(), ""); err != nil {
		t.Error(err)
	}
}

// counting counts what is written to the connections that it accepts.
type counting struct {
	net.Listener

	writes *atomic.Int64
}

func (c counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	return counted{conn, c.writes}, err
}

type counted struct {
	net.Conn

	writes *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func TestALargeAnswerIsWrittenAtOnce(t *testing.T) {
	t.Parallel()
	var (
		network app.Memory
		writes  atomic.Int64
	)
	env := app.Env{DialTo: network.Dial, Log: slog.New(slog.DiscardHandler)}
	env.ListenOn = func(ctx context.Context, addr string) (net.Listener, error) {
		l, err := network.Listen(ctx, addr)
		return counting{l, &writes}, err
	}
	desc := echo(func(context.Context, string) error { return nil }).desc("Put")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- app.ServeGRPC(ctx, app.Config{Listen: "echo", Grace: 5 * time.Second}, env, app.GRPC{
			Register: func(s *grpc.Server) { s.RegisterService(&desc, nil) },
		})
	}()
	conn, err := app.Dial(env, "echo", desc)
	if err != nil {
		t.Fatal(err)
	}
	const calls = 20
	for range calls {
		large := &healthpb.HealthCheckRequest{Service: strings.Repeat("x", 150_000)}
		if err := conn.Invoke(t.Context(), "/test.Echo/Put", large, new(healthpb.HealthCheckRequest)); err != nil {
			t.Fatal(err)
		}
	}
	// Beside the answers there are those to what the client says of the connection and its windows.
	if got := writes.Load(); got > 2*calls {
		t.Errorf("got %d writes for %d answers, want about as many", got, calls)
	} else {
		t.Logf("%d writes for %d answers", got, calls)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAStopLosesNoRequest(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	call, _, stop := serve(t, "Put", func(context.Context, string) error {
		close(entered)
		<-leave
		return nil
	})
	answer, stopped := make(chan error, 1), make(chan error, 1)
	go func() { answer <- call(t.Context(), "") }()
	<-entered
	go func() { stopped <- stop() }()
	close(leave)
	if err := <-answer; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
}

// A client that keeps its connection must not find it gone when it sends the next request: in the time given for it,
// the connection ends with an answer that says so, and new ones are still served.
func TestAStoppingServerEndsConnectionsWithAnAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const linger = 3 * time.Second
		var network app.Memory
		var dials atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- app.ServeHTTP(ctx, app.Config{Listen: "edge", Grace: 2 * linger, Linger: linger},
				app.Env{ListenOn: network.Listen, Log: slog.New(slog.DiscardHandler)},
				&http.Server{
					ReadHeaderTimeout: time.Second,
					Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
				}, nil)
		}()
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			dials.Add(1)
			return network.Dial(ctx, "edge")
		}}
		closes := func() bool {
			t.Helper()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://edge/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			return res.Close
		}
		for range 2 {
			if closes() || dials.Load() != 1 {
				t.Errorf("at work: got %d connections, or one that ends, want one that stays", dials.Load())
			}
		}
		cancel()
		synctest.Wait()
		if !closes() || dials.Load() != 1 {
			t.Errorf("stopping: got an answer on connection %d that does not end it, want one on the first that does", dials.Load())
		}
		if !closes() || dials.Load() != 2 {
			t.Errorf("stopping: got connection %d, want a second that is answered", dials.Load())
		}
		stopped := time.Now()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := time.Since(stopped); got != linger {
			t.Errorf("it stopped after %v, want %v", got, linger)
		}
	})
}

// Browsers and Go's client open connections before they need them.
func TestAStopDoesNotWaitForConnectionsThatAskNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const grace = 2 * time.Second // net/http waits longer for such a connection
		var network app.Memory
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- app.ServeHTTP(ctx, app.Config{Listen: "edge", Grace: grace},
				app.Env{ListenOn: network.Listen, Log: slog.New(slog.DiscardHandler)},
				&http.Server{ReadHeaderTimeout: time.Minute, Handler: http.NotFoundHandler()}, nil)
		}()
		synctest.Wait()
		conn, err := network.Dial(t.Context(), "edge")
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(conn); err != nil || len(got) > 0 {
			t.Errorf("the connection: got %q and %v, want its end", got, err)
		}
	})
}

func TestTheProbesTellLifeFromReadiness(t *testing.T) {
	t.Parallel()
	var network app.Memory
	var broken atomic.Bool
	env := app.Env{ListenOn: network.Listen, Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- app.ServeHTTP(ctx, app.Config{Listen: "edge", Admin: "admin", Grace: time.Second}, env,
			&http.Server{ReadHeaderTimeout: time.Second}, func(context.Context) error {
				if broken.Load() {
					return errors.New("the database is gone")
				}
				return nil
			})
	}()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return network.Dial(ctx, "admin") }}
	get := func(path string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://admin"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	if live, ready := get("/livez"), get("/readyz"); live != 200 || ready != 200 {
		t.Errorf("at work: got live %d, ready %d, want 200, 200", live, ready)
	}
	broken.Store(true)
	if live, ready := get("/livez"), get("/readyz"); live != 200 || ready != 503 {
		t.Errorf("without its database: got live %d, ready %d, want 200, 503", live, ready)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
