package system

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/trackway/trackway/services/edge"
	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/projects"
	"github.com/trackway/trackway/services/tasks"
	"github.com/trackway/trackway/services/users"
	"github.com/trackway/trackway/tools/programs"
)

// command runs a service, or migrates its database, with the configuration in vars.
type command func(ctx context.Context, vars map[string]string, env app.Env) error

// service is one of the four programs.
type service struct {
	name    string
	run     command
	migrate command // nil if it has no database
}

// services are in the order of their calls, the one that everybody calls first.
func (s *System) services() []service {
	all := []service{
		{"users", bind(s, "users", users.Run), bind(s, "users", users.Migrate)},
		{"projects", bind(s, "projects", projects.Run), bind(s, "projects", projects.Migrate)},
		{"tasks", bind(s, "tasks", tasks.Run), bind(s, "tasks", tasks.Migrate)},
		{"edge", bind(s, "edge", edge.Run), nil},
	}
	for _, name := range s.names()[len(all):] {
		all = append(all, service{name, bind(s, "edge", edge.Run), nil})
	}
	return all
}

// names are those of the running services: of the programs, and of the other replicas of the edge.
func (s *System) names() []string {
	all := programs.Services()
	for i := 2; i <= s.options.Edges; i++ {
		all = append(all, fmt.Sprintf("edge-%d", i))
	}
	return all
}

// programName is the program that a service runs.
func programName(service string) string {
	name, _, _ := strings.Cut(service, "-")
	return name
}

// bind makes of a service's command what its program makes of it: it reads the variables, and starts it.
func bind[C app.Configured](s *System, name string, c app.Command[C]) command {
	return func(ctx context.Context, vars map[string]string, env app.Env) error {
		cfg, err := app.Parse[C](vars)
		if err != nil {
			return err
		}
		env.LogTo, env.Queries, env.Calls = s.log, s.options.Queries, s.options.Calls
		return app.Start(ctx, name, cfg, env, c)
	}
}

// vars is the configuration of a service, as its program reads it from the environment.
func (s *System) vars(name string, keys secrets) map[string]string {
	vars := map[string]string{"LOG_LEVEL": "warn", "LOG_FORMAT": "text", "SHUTDOWN_GRACE": grace, "MAIL_URL": "console:", "APP_URL": s.URL}
	if s.options.Split {
		vars["GOMAXPROCS"] = "1" // as below the charts' limit of one CPU
	}
	for k, v := range s.options.Environ {
		if v != "" {
			vars[k] = v
		}
	}
	maps.Copy(vars, map[string]string{
		"LISTEN_ADDR":         s.places[name].listen,
		"ADMIN_ADDR":          s.places[name].admin,
		"DATABASE_URL":        s.places[name].database,
		"USERS_ADDR":          s.places["users"].listen,
		"PROJECTS_ADDR":       s.places["projects"].listen,
		"TASKS_ADDR":          s.places["tasks"].listen,
		"SIGNING_KEY_FILES":   keys.signingKey,
		"ADMIN_EMAIL":         AdminEmail,
		"ADMIN_PASSWORD_FILE": keys.adminPassword,
	})
	return vars
}

// createDatabases makes a database for each service that has one, and its owner, who may enter no other. The owners'
// passwords last until the next start.
func (s *System) createDatabases(ctx context.Context) (err error) {
	conn, err := pgx.Connect(ctx, s.postgres.URL("postgres"))
	if err != nil {
		return fmt.Errorf("connect to Postgres: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for _, service := range s.services() {
		if service.migrate == nil {
			continue
		}
		place := s.places[service.name]
		if place.database, err = s.createDatabase(ctx, conn, service.name); err != nil {
			return fmt.Errorf("create the database %s: %w", service.name, err)
		}
		s.places[service.name] = place
	}
	return nil
}

func (s *System) createDatabase(ctx context.Context, conn *pgx.Conn, name string) (address string, err error) {
	if err := s.postgres.CreateDatabase(ctx, name); err != nil {
		return "", err
	}
	var exists bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", name).Scan(&exists)
	if err != nil {
		return "", err
	}
	quoted, password := pgx.Identifier{name}.Sanitize(), rand.Text()
	statements := []string{
		"ALTER ROLE " + quoted + " LOGIN PASSWORD '" + password + "'", // letters and digits only
		"ALTER DATABASE " + quoted + " OWNER TO " + quoted,
		"REVOKE ALL ON DATABASE " + quoted + " FROM PUBLIC",
	}
	if !exists {
		statements = append([]string{"CREATE ROLE " + quoted}, statements...)
	}
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return "", err
		}
	}
	u, err := url.Parse(s.postgres.URL(name))
	if err != nil {
		return "", errors.New("the address of Postgres is not a URL") // err holds the password
	}
	u.User = url.UserPassword(name, password)
	return u.String(), nil
}

// startServices migrates the databases and starts the services.
func (s *System) startServices(ctx context.Context) error {
	keys, err := makeSecrets(s.Dir)
	if err != nil {
		return err
	}
	s.AdminPassword = keys.adminPassword
	if s.options.Split {
		return s.startProcesses(ctx, keys)
	}
	migrations, migrating := errgroup.WithContext(ctx)
	for _, service := range s.services() {
		if service.migrate != nil {
			migrations.Go(func() error {
				return named(service.name, service.migrate(migrating, s.vars(service.name, keys), s.env()))
			})
		}
	}
	if err := migrations.Wait(); err != nil {
		return err
	}
	for _, service := range s.services() {
		s.startService(ctx, service, keys)
	}
	return s.awaitReady(ctx)
}

// startService runs a service in this process.
func (s *System) startService(ctx context.Context, service service, keys secrets) {
	env := s.env()
	env.ListenOn = func(ctx context.Context, addr string) (net.Listener, error) {
		if l := s.public[service.name]; l != nil && addr == s.places[service.name].listen {
			return l, nil
		}
		return s.memory.Listen(ctx, addr)
	}
	var (
		run, cancel = context.WithCancel(context.WithoutCancel(ctx))
		died        = make(chan error, 1)
		done        = make(chan struct{})
		ended       error // how, once done is closed
	)
	go func() {
		defer close(done)
		defer close(died)
		ended = named(service.name, service.run(run, s.vars(service.name, keys), env))
		switch {
		case run.Err() != nil: // told to
		case ended == nil:
			died <- fmt.Errorf("%s ended by itself", service.name)
		default:
			died <- ended
		}
	}()
	stop := func(ctx context.Context) error {
		select {
		case <-done: // by itself, which died has told
			cancel()
			return nil
		default:
		}
		cancel()
		select {
		case <-done:
			if !s.ready { // one that is stopped while it starts has errors of its own
				return nil
			}
			return ended
		case <-ctx.Done():
			return fmt.Errorf("%s does not stop", service.name)
		}
	}
	s.started(stop, died)
}

func named(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}
