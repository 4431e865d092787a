// Package system starts all of Trackway on one machine: a Postgres and a Redis of its own, and the four services, in
// this process or each in its own, configured by the same variables as in a cluster. It is what `make run` runs, and
// what the tests that need the whole start.
package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/local"
	"github.com/trackway/trackway/tools/programs"
	"github.com/trackway/trackway/tools/seed"
)

const (
	// AdminEmail signs in the first global admin.
	AdminEmail = "admin@example.com"

	// startTimeout bounds everything but the start of Postgres, which may have to be downloaded, and the compiler.
	startTimeout = 2 * time.Minute
	// readyTimeout bounds one look at whether a service is ready.
	readyTimeout = 5 * time.Second
	// stopTimeout bounds the whole stop; each part has a shorter time of its own.
	stopTimeout = time.Minute
	// grace is how long a stopping service waits for its requests, unless SHUTDOWN_GRACE says otherwise.
	grace = "5s"
)

// Options says how to start the system. Dir is required.
type Options struct {
	Dir  string // where data and secrets are kept; created if missing, and nobody else may use it meanwhile
	Port int    // of the public door, on 127.0.0.1; 0 takes a free one

	// Environ is configuration for all four services, beside what Start decides itself: addresses, databases, secrets.
	Environ map[string]string
	Log     io.Writer // of the services; nil is nowhere
	Demo    bool      // fill the system with demo data, once
	Split   bool      // each service is a process of its own, built from its source by the go command
	Edges   int       // replicas of the public door, each on a port of its own; 0 is one
	// Throwaway is faster, and does not survive a crash of the machine.
	Throwaway bool
	// Postgres are settings of its own, as name=value.
	Postgres []string

	// Queries and Calls see every SQL statement and every RPC of the services in this process.
	Queries []bun.QueryHook
	Calls   []grpc.UnaryServerInterceptor
}

// System is a running Trackway.
type System struct {
	URL           string   // of the public door
	URLs          []string // of all its replicas
	Dir           string   // absolute
	AdminPassword string   // the file that holds it
	Redis         string   // what it is, in a word or two

	options  Options
	log      *heldLog
	postgres *local.Postgres
	places   map[string]place // by the name of the service
	memory   *app.Memory      // nil if the services are processes
	// processes are those of the services, by name, if they are.
	processes map[string]*process
	public    map[string]net.Listener // of the edges in this process, by name

	stops    []func(context.Context) error // in the order of the starts
	ready    bool                          // all services have been
	watchers sync.WaitGroup
	died     chan error
}

// place is where a service is found, and what only it is told.
type place struct {
	listen, admin string
	database      string // URL; "" if it has none
}

// Start starts the system and returns when all of it answers. ctx bounds the start and not the system's life. If
// something fails, everything that has started is stopped, and the error is for a person to read.
func Start(ctx context.Context, o Options) (_ *System, err error) {
	s := &System{options: o, log: newLog(o.Log), places: map[string]place{}, processes: map[string]*process{}, died: make(chan error, 1)}
	defer func() {
		if err != nil {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			err = errors.Join(err, s.Stop(stop))
		}
	}()
	if s.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	unlock, err := local.Lock(s.Dir)
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, func(context.Context) error { unlock(); return nil })
	if err := s.choosePlaces(ctx); err != nil {
		return nil, err
	}
	if err := s.startStores(ctx); err != nil {
		return nil, err
	}
	if o.Split {
		if err := programs.Build(ctx, s.bin(), programs.Options{}, programs.Services()...); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.createDatabases(ctx); err != nil {
		return nil, err
	}
	if err := s.startServices(ctx); err != nil {
		return nil, err
	}
	if !o.Demo {
		return s, nil
	}
	return s, s.seed(ctx)
}

// choosePlaces takes the public port first, because that is what most often fails.
func (s *System) choosePlaces(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.options.Port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d is taken by another program: stop that one, or choose another port with PORT=8081",
			s.options.Port)
	}
	if err != nil {
		return fmt.Errorf("listen on port %d: %w", s.options.Port, err)
	}
	public := map[string]net.Listener{"edge": l}
	for _, name := range s.names()[len(programs.Services()):] {
		if public[name], err = lc.Listen(ctx, "tcp4", "127.0.0.1:0"); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
	}
	for _, name := range s.names() {
		if l := public[name]; l != nil {
			s.URLs = append(s.URLs, "http://localhost:"+port(l.Addr()))
		}
	}
	s.URL = s.URLs[0]
	if s.options.Split {
		return s.chooseProcessPlaces(ctx, public)
	}
	s.public = public
	for _, l := range public {
		s.stops = append(s.stops, func(context.Context) error {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) { // the edge has closed it, if it ever got so far
				return err
			}
			return nil
		})
	}
	s.memory = new(app.Memory)
	for _, name := range s.names() {
		s.places[name] = place{listen: name + ":9090", admin: name + ":9091"}
	}
	return nil
}

func port(addr net.Addr) string {
	_, p, err := net.SplitHostPort(addr.String())
	if err != nil {
		panic(err) // an address that was listened on has a port
	}
	return p
}

// startStores starts Postgres and Redis.
func (s *System) startStores(ctx context.Context) error {
	var g errgroup.Group
	var redis *local.Redis
	g.Go(func() (err error) {
		s.postgres, err = local.StartPostgres(ctx, local.PostgresOptions{
			Dir: filepath.Join(s.Dir, "postgres"), Durable: !s.options.Throwaway, Settings: s.options.Postgres,
		})
		return err
	})
	if s.options.Environ["REDIS_URL"] == "" {
		g.Go(func() (err error) {
			redis, err = local.StartRedis(ctx, local.RedisOptions{Dir: filepath.Join(s.Dir, "redis")})
			return err
		})
	}
	err := g.Wait()
	if s.postgres != nil {
		s.started(s.postgres.Stop, s.postgres.Done())
	}
	if redis != nil {
		s.started(redis.Stop, redis.Done())
	}
	if err != nil {
		return err
	}
	environ := maps.Clone(s.options.Environ)
	if environ == nil {
		environ = map[string]string{}
	}
	switch {
	case redis == nil:
		s.Redis = "the Redis of REDIS_URL"
	case redis.Real():
		s.Redis = "redis-server"
	default:
		s.Redis = "miniredis, in this process"
	}
	if redis != nil {
		environ["REDIS_URL"] = redis.URL()
	}
	s.options.Environ = environ
	return nil
}

// started notes how a part is stopped, and watches it.
func (s *System) started(stop func(context.Context) error, died <-chan error) {
	s.stops = append(s.stops, stop)
	s.watchers.Go(func() {
		if err := <-died; err != nil {
			select {
			case s.died <- err:
			default: // the first is the one to tell of
			}
		}
	})
}

// Died gets an error if a part of the system ends by itself. The others run on until Stop.
func (s *System) Died() <-chan error { return s.died }

// Stop stops everything in the reverse order of the start: the edge, the services, Redis, Postgres.
func (s *System) Stop(ctx context.Context) error {
	var errs []error
	for _, stop := range slices.Backward(s.stops) {
		errs = append(errs, stop(ctx))
	}
	s.stops = nil
	s.watchers.Wait()
	return errors.Join(errs...)
}

// Dial opens a client to a service, by the service's name.
func (s *System) Dial(name string, services ...grpc.ServiceDesc) (*grpc.ClientConn, error) {
	return app.Dial(s.env(), s.places[name].listen, services...)
}

// env is the network of the services.
func (s *System) env() app.Env {
	if s.memory == nil {
		return app.Env{}
	}
	return app.Env{ListenOn: s.memory.Listen, DialTo: s.memory.Dial}
}

// awaitReady returns when every service says that it is ready, or when one has ended. Until then the log is held back:
// if a service has ended, its error says why, and what the others say of being stopped is of no use.
func (s *System) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		done   = make(chan struct{})
		failed error // once done is closed
	)
	go func() {
		defer close(done)
		failed = s.pollReady(ctx)
	}()
	select {
	case <-done:
		s.ready = failed == nil
		s.log.release()
		return failed
	case err := <-s.died:
		cancel()
		<-done
		return err
	}
}

func (s *System) pollReady(ctx context.Context) error {
	transport := &http.Transport{DisableKeepAlives: true}
	if s.memory != nil {
		transport.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
			return s.memory.Dial(ctx, addr)
		}
	}
	client := &http.Client{Transport: transport, Timeout: readyTimeout}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, name := range s.names() {
		for {
			err := isReady(ctx, client, "http://"+s.places[name].admin+"/readyz")
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s did not become ready in time (%w)", name, err)
			case <-tick.C:
			}
		}
	}
	return nil
}

func isReady(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, res.Status)
	}
	return nil
}

// seed makes the demo data, unless an earlier start has made all of it.
func (s *System) seed(ctx context.Context) error {
	return once(filepath.Join(s.Dir, "seeded"), func() (err error) {
		var conns []*grpc.ClientConn
		defer func() {
			for _, conn := range conns {
				err = errors.Join(err, conn.Close())
			}
		}()
		for _, name := range []string{"users", "projects", "tasks"} {
			conn, err := s.Dial(name)
			if err != nil {
				return err
			}
			conns = append(conns, conn)
		}
		return seed.Demo(ctx, conns[0], conns[1], conns[2])
	})
}

// heldLog is a log that several services write to. What they write is held back until it is released.
type heldLog struct {
	w io.Writer

	mu   sync.Mutex
	held *bytes.Buffer // nil once it is released
}

func newLog(w io.Writer) *heldLog {
	if w == nil {
		w = io.Discard
	}
	return &heldLog{w: w, held: &bytes.Buffer{}}
}

// Write writes all of p before anything of another's.
func (l *heldLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != nil {
		return l.held.Write(p)
	}
	return l.w.Write(p)
}

func (l *heldLog) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.w.Write(l.held.Bytes()) // a log that cannot be written has nowhere to tell
	l.held = nil
}

// Database is the URL of a service's database, by the service's name.
func (s *System) Database(name string) string { return s.places[name].database }

// Admin is the host:port of a service's admin port; in one process nobody else can reach it.
func (s *System) Admin(name string) string { return s.places[name].admin }

// RedisURL is where Redis answers.
func (s *System) RedisURL() string { return s.options.Environ["REDIS_URL"] }
