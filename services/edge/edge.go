// Package edge is the only public door of Trackway: REST (package rest) and GraphQL (module graph) over HTTP. It has no
// database and no rule of its own. It says who is calling, limits what one caller can ask for, and passes requests on
// to the services.
package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/graph"
	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/peers"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// Config is what the service is told.
type Config struct {
	App      app.Config
	Redis    cache.Config
	Auth     auth.Config
	GraphQL  GraphQLConfig
	Users    string `env:"USERS_ADDR,required,notEmpty" doc:"host:port of the users service"`
	Projects string `env:"PROJECTS_ADDR,required,notEmpty" doc:"host:port of the projects service"`
	Tasks    string `env:"TASKS_ADDR,required,notEmpty" doc:"host:port of the tasks service"`

	RateLimit        int            `env:"RATE_LIMIT" envDefault:"3000" doc:"Requests a minute for each caller, or each address without one; 0 for any number"`
	AuthRateLimit    int            `env:"AUTH_RATE_LIMIT" envDefault:"60" doc:"Sign-ins, registrations and what else is below /api/auth/ a minute for each address; 0 for any number"`
	AccountRateLimit int            `env:"ACCOUNT_RATE_LIMIT" envDefault:"10" doc:"Sign-ins a minute for each account from one address, as many refreshes, resets, changes of password and of address, and ten times as many of each from all that have not signed in to it; 0, or 0 for AUTH_RATE_LIMIT, for any number"`
	BodyLimit        int64          `env:"BODY_LIMIT" envDefault:"1048576" doc:"Largest request body, in bytes"`
	Timeout          time.Duration  `env:"REQUEST_TIMEOUT" envDefault:"20s" doc:"How long one request may take"`
	CacheMemory      int            `env:"CACHE_MEMORY" envDefault:"16777216" doc:"Answers that one replica keeps in its own memory besides Redis, in bytes; 0 keeps none at all, not even in Redis"`
	Concurrency      int            `env:"CONCURRENCY_LIMIT" envDefault:"1024" doc:"Most requests that one replica works on at once; what is beyond is 503 with Retry-After; 0 for any number"`
	Origins          []string       `env:"CORS_ORIGINS" doc:"Origins whose pages may call, such as https://app.example.com, separated by commas; * for all"`
	Proxies          []netip.Prefix `env:"TRUSTED_PROXIES" doc:"Networks, such as 10.0.0.0/8, whose X-Forwarded-For is believed, separated by commas"`
}

// Common is what every service is told.
func (c Config) Common() app.Config { return c.App }

// Bounds of the HTTP server: a client that is slow on purpose is cut off.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	// maxHeaderBytes is where net/http itself gives up, in plain text, and closes; it is net/http's own default. bounds.go
	// refuses far less, in our words: what is between must be read for that.
	maxHeaderBytes = http.DefaultMaxHeaderBytes
)

// Run serves until ctx ends. It is ready at once: what a service that is down can not answer is 503, and all else
// works.
func Run(ctx context.Context, cfg Config, env app.Env) (err error) {
	if err := cfg.check(); err != nil {
		return err
	}
	redis, err := cache.Connect(cfg.Redis, env.TracerProvider(), env.MeterProvider())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, redis.Close()) }()
	usersConn, err := app.Dial(env, cfg.Users, usersv1.UsersService_ServiceDesc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, usersConn.Close()) }()
	projectsConn, err := app.Dial(env, cfg.Projects, projectsv1.ProjectsService_ServiceDesc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, projectsConn.Close()) }()
	tasksConn, err := app.Dial(env, cfg.Tasks, tasksv1.TasksService_ServiceDesc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tasksConn.Close()) }()

	places := newPlaces()
	c := clients{
		users:    newPeople(usersv1.NewUsersServiceClient(watched{usersConn, places})),
		projects: projectsv1.NewProjectsServiceClient(watched{projectsConn, places}),
		tasks:    tasksv1.NewTasksServiceClient(watched{tasksConn, places}),
	}
	c.ended = auth.NewRevocations(func(ctx context.Context, since *timestamppb.Timestamp) (auth.Revoked, error) {
		return c.users.ListRevocations(ctx, &usersv1.ListRevocationsRequest{Since: since}, grpc.WaitForReady(true))
	})
	limits := newRates(redis, cfg, env.Log)
	c.users = throttled{c.users, limits}
	if err := limits.meter(env.MeterProvider()); err != nil {
		return err
	}
	jobs := []func(context.Context){func(ctx context.Context) { c.ended.Run(ctx, env.Log) }}
	if cfg.CacheMemory > 0 {
		// The services that have tags (rpc/tags), by the names under which they Keep their lease.
		c.answers, err = cache.NewAnswers(redis, []string{"users", "projects", "tasks"}, cfg.CacheMemory, env.Log, env.MeterProvider())
		if err != nil {
			return err
		}
		program, err := app.Program()
		if err != nil {
			return err
		}
		c.answers.Apart(program)      // in a rollout both versions answer, each in its own form
		c.answers.Ride(limits.gather) // every look begins there
		jobs = append(jobs, c.answers.Run)
	}
	c.queries = newQueries(c.answers)
	callers := newAuthenticator(c.verifier(cfg.Auth), c.users, limits)
	hub := events.NewHub(redis, env.Log, "tasks", "projects")
	face := graph.Config{
		Users: c.users, Projects: c.projects, Tasks: c.tasks, Log: env.Log, SignIn: limits.signIn, Count: limits.operation,
		Events: hub, Verify: callers.verify, Origins: cfg.Origins, Tracer: env.TracerProvider(), Meter: env.MeterProvider(),
		Failed: func(ctx context.Context) { exchangeOf(ctx).failed.Store(true) },
		Gzip:   func(ctx context.Context) bool { return exchangeOf(ctx).gzip },
		Peers:  peers.New(redis, "stream"),
	}
	if c.answers != nil {
		face.Answers = c.queries
	}
	if err := cfg.GraphQL.fill(&face, limits, redis); err != nil {
		return err
	}
	graphql := graph.New(face)
	// The server waits for streams, or does not know of them.
	jobs = append(jobs, hub.Run, graphql.Run)
	door, err := newHandler(cfg, env, limits, c, callers, graphql)
	if err != nil {
		return err
	}
	return app.ServeHTTP(ctx, cfg.App, env, newServer(door), func(context.Context) error { return nil }, jobs...)
}

func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
}

// check refuses a configuration that could not mean anything.
func (c Config) check() error {
	switch {
	case c.BodyLimit < 1:
		return fmt.Errorf("BODY_LIMIT is %d, and must be at least 1", c.BodyLimit)
	case c.Timeout <= 0:
		return fmt.Errorf("REQUEST_TIMEOUT is %s, and must be longer", c.Timeout)
	case c.RateLimit < 0 || c.AuthRateLimit < 0 || c.AccountRateLimit < 0 || c.Concurrency < 0 || c.CacheMemory < 0:
		return errors.New("RATE_LIMIT, AUTH_RATE_LIMIT, ACCOUNT_RATE_LIMIT, CONCURRENCY_LIMIT and CACHE_MEMORY must not be negative")
	}
	for _, o := range c.Origins {
		if u, err := url.Parse(o); o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o) {
			return fmt.Errorf("CORS_ORIGINS holds %q, and must hold origins such as https://app.example.com", o)
		}
	}
	return nil
}
