// Package tasks is the service that owns tasks and the comments on them. What a caller may do with them is decided by
// its role in their project, which the projects service knows.
package tasks

import (
	"context"
	"embed"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/idempotency"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/trash"
	"github.com/trackway/trackway/services/platform/write"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config is what the service is told.
type Config struct {
	App      app.Config
	Postgres postgres.Config
	Redis    cache.Config
	Events   events.Config
	Auth     auth.Config
	Trash    trash.Config
	Users    string `env:"USERS_ADDR,required,notEmpty" doc:"host:port of the users service"`
	Projects string `env:"PROJECTS_ADDR,required,notEmpty" doc:"host:port of the projects service"`
}

// Migrate brings the database up to date.
func Migrate(ctx context.Context, cfg Config, _ app.Env) error {
	return postgres.Migrate(ctx, cfg.Postgres.URL, append(write.Migrations(), postgres.MigrationFiles(migrations))...)
}

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config, env app.Env) (err error) {
	if err := cfg.Trash.Check(); err != nil {
		return err
	}
	db, err := postgres.Open(ctx, cfg.Postgres, env.Queries...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	redis, err := cache.Connect(cfg.Redis, env.TracerProvider(), env.MeterProvider())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, redis.Close()) }()
	writer := cache.NewWriter(redis, db, env.Log)
	relay := events.NewRelay(db, redis, "tasks", cfg.Events, env.Log, write.Relayed(writer, events.Publisher(redis, "tasks")))
	if err := relay.Observe(env.TracerProvider(), env.MeterProvider()); err != nil {
		return err
	}
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

	users := usersv1.NewUsersServiceClient(usersConn)
	ended := auth.NewRevocations(func(ctx context.Context, since *timestamppb.Timestamp) (auth.Revoked, error) {
		return users.ListRevocations(ctx, &usersv1.ListRevocationsRequest{Since: since}, grpc.WaitForReady(true))
	})
	verifier := auth.NewVerifier(cfg.Auth, auth.NewRemoteKeys(func(ctx context.Context) ([]byte, error) {
		keys, err := users.GetKeys(ctx, &usersv1.GetKeysRequest{})
		return keys.GetJwks(), err
	}), ended)
	versions, err := cache.NewAnswers(redis, []string{"projects"}, 0, env.Log, env.MeterProvider())
	if err != nil {
		return err
	}
	s := &service{
		store: store{&write.DB{DB: db, Cache: writer}}, projects: projectsv1.NewProjectsServiceClient(projectsConn),
		versions: versions, own: cache.Remember[auth.AccessOf, access](maxOwn),
	}
	return app.ServeGRPC(ctx, cfg.App, env, app.GRPC{
		Register: func(srv *grpc.Server) {
			tasksv1.RegisterTasksServiceServer(srv, s)
		},
		Interceptors: []grpc.UnaryServerInterceptor{auth.Authenticate(verifier), idempotency.Intercept(db, nil)},
		Ready:        db.PingContext,
		Jobs: []func(context.Context){
			relay.Run,
			versions.Run,
			func(ctx context.Context) { idempotency.Sweep(ctx, db, env.Log, env.TracerProvider()) },
			func(ctx context.Context) { cache.Keep(ctx, "tasks", redis, db, env.Log) },
			func(ctx context.Context) { ended.Run(ctx, env.Log) },
			func(ctx context.Context) { trash.Empty(ctx, cfg.Trash, env.Log, env.TracerProvider(), s.purge) },
		},
	})
}

// Common is what every service is told.
func (c Config) Common() app.Config { return c.App }
