// Package app runs a service: its gRPC server, its admin port with the probes, its clients, its logs and traces, and
// a stop that loses no request. What a service adds is its Config and what it registers.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uptrace/bun"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
)

// Config is what every service is told.
type Config struct {
	Listen    string        `env:"LISTEN_ADDR" envDefault:":9090" doc:"Address on which the service answers: gRPC, at the edge HTTP"`
	Admin     string        `env:"ADMIN_ADDR" envDefault:":9091" doc:"Address of the probes /livez and /readyz, of /metrics, /version and /log-level; never public"`
	LogLevel  slog.Level    `env:"LOG_LEVEL" envDefault:"info" doc:"Least level that is logged: debug, info, warn or error"`
	LogFormat string        `env:"LOG_FORMAT" envDefault:"json" doc:"Form of the log: json, or text for a terminal"`
	Grace     time.Duration `env:"SHUTDOWN_GRACE" envDefault:"20s" doc:"How long a stopping service waits for the requests it is working on"`
	Linger    time.Duration `env:"SHUTDOWN_DELAY" envDefault:"0s" doc:"How much of SHUTDOWN_GRACE a stopping edge still serves as before, but ends each connection after its next answer"`
	Pprof     bool          `env:"PPROF" envDefault:"false" doc:"Whether the admin port has Go's profiles, below /debug/pprof/"`
	Telemetry Telemetry
}

// Env is what a service needs of the process it runs in. `make run` and the tests put several services into one
// process by a network in memory; the zero Env is the real network.
type Env struct {
	Log *slog.Logger // nil is made by Start, of what the configuration says about it
	// LogTo is where such a log goes; nil is standard error.
	LogTo io.Writer
	// Tracer makes the spans; nil makes none, but carries and begins traces all the same. Meter measures, if it is there.
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
	// ListenOn and DialTo replace net.Listen and the dialing of other services.
	ListenOn func(ctx context.Context, addr string) (net.Listener, error)
	DialTo   func(ctx context.Context, addr string) (net.Conn, error)
	// Queries sees every SQL statement, Calls every RPC that is served.
	Queries []bun.QueryHook
	Calls   []grpc.UnaryServerInterceptor

	metrics http.Handler
	ownLog  slog.Handler // what Log writes to, where Start has made it
	level   *slog.LevelVar
}

func (e Env) listen(ctx context.Context, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil //nolint:nilnil // no address means that nothing listens
	}
	if e.ListenOn != nil {
		return e.ListenOn(ctx, addr)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

const (
	// readHeaderTimeout bounds how long the admin port waits for a request's header.
	readHeaderTimeout = 5 * time.Second
	// firstByte is how long a stopping server waits for the first request of a connection that was just made.
	firstByte = time.Second
)

// server is something that serves until it is stopped.
type server struct {
	serve func() error
	// drain stops taking requests and waits for those under way until ctx ends.
	drain func(ctx context.Context) error
}

// serve runs the servers until ctx ends or one fails, and then drains them all. Jobs run beside them, and are waited
// for.
func serve(ctx context.Context, cfg Config, servers []server, jobs []func(ctx context.Context)) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range servers {
		g.Go(s.serve)
	}
	for _, job := range jobs {
		g.Go(func() error { job(ctx); return nil })
	}
	g.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Grace)
		defer cancel()
		var all []error
		for _, s := range servers {
			all = append(all, s.drain(stop))
		}
		return errors.Join(all...)
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// ServeHTTP serves a handler on cfg.Listen, and the probes beside it, until ctx ends. Jobs run as long.
func ServeHTTP(ctx context.Context, cfg Config, env Env, srv *http.Server, ready func(context.Context) error,
	jobs ...func(context.Context),
) error {
	l, err := env.listen(ctx, cfg.Listen)
	if err != nil {
		return err
	}
	servers := []server{lingering(cfg.Linger, srv, l)}
	admin, err := adminServer(ctx, cfg, env, ready)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return serve(ctx, cfg, append(servers, admin...), jobs)
}

// lingering is a server of which no client loses a connection that it is about to use: for a while it ends them only
// together with an answer. Clients that are told so connect anew, and a load balancer sends them elsewhere.
func lingering(linger time.Duration, srv *http.Server, l net.Listener) server {
	var leaving atomic.Bool
	serve := srv.Handler
	if serve == nil {
		serve = http.DefaultServeMux
	}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if leaving.Load() {
			w.Header().Set("Connection", "close")
		}
		serve.ServeHTTP(w, r)
	})
	s := httpServer(srv, l)
	stop := s.drain
	s.drain = func(ctx context.Context) error {
		leaving.Store(true)
		select {
		case <-ctx.Done():
		case <-time.After(linger):
		}
		return stop(ctx)
	}
	return s
}

func httpServer(srv *http.Server, l net.Listener) server {
	// Connections that have not asked anything yet. Browsers and Go's client open some ahead, and net/http would wait up to
	// 6 s for each before it takes it for idle.
	var silent sync.Map
	srv.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew {
			silent.Store(conn, conn)
		} else {
			silent.Delete(conn)
		}
	}
	closeSilent := func() {
		for _, stored := range silent.Range {
			if conn, ok := stored.(net.Conn); ok {
				_ = conn.Close() // nothing was said on it
			}
		}
	}
	return server{
		serve: func() error {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve HTTP: %w", err)
			}
			return nil
		},
		drain: func(ctx context.Context) error {
			defer time.AfterFunc(firstByte, closeSilent).Stop()
			if err := srv.Shutdown(ctx); err != nil {
				return errors.Join(fmt.Errorf("stop HTTP: %w", err), srv.Close())
			}
			return nil
		},
	}
}
