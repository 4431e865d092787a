// Package projects is the service that owns projects and membership, and so decides who may see what.
package projects

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
	"github.com/trackway/trackway/services/platform/mail"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/trash"
	"github.com/trackway/trackway/services/platform/write"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
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
	Mail     mail.Config
	Trash    trash.Config
	Users    string `env:"USERS_ADDR,required,notEmpty" doc:"host:port of the users service"`
}

// Migrate brings the database up to date.
func Migrate(ctx context.Context, cfg Config, _ app.Env) error {
	return postgres.Migrate(ctx, cfg.Postgres.URL, append(write.Migrations(), mail.Migrations(), postgres.MigrationFiles(migrations))...)
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
	relay := events.NewRelay(db, redis, "projects", cfg.Events, env.Log, write.Relayed(writer, events.Publisher(redis, "projects")))
	if err := relay.Observe(env.TracerProvider(), env.MeterProvider()); err != nil {
		return err
	}
	conn, err := app.Dial(env, cfg.Users, usersv1.UsersService_ServiceDesc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()

	outbox, err := mail.New(cfg.Mail, env)
	if err != nil {
		return err
	}
	users := usersv1.NewUsersServiceClient(conn)
	ended := auth.NewRevocations(func(ctx context.Context, since *timestamppb.Timestamp) (auth.Revoked, error) {
		return users.ListRevocations(ctx, &usersv1.ListRevocationsRequest{Since: since}, grpc.WaitForReady(true))
	})
	verifier := auth.NewVerifier(cfg.Auth, auth.NewRemoteKeys(func(ctx context.Context) ([]byte, error) {
		keys, err := users.GetKeys(ctx, &usersv1.GetKeysRequest{})
		return keys.GetJwks(), err
	}), ended)
	s := &service{store: store{&write.DB{DB: db, Cache: writer}}, users: users, mail: cfg.Mail}
	return app.ServeGRPC(ctx, cfg.App, env, app.GRPC{
		Register: func(srv *grpc.Server) { projectsv1.RegisterProjectsServiceServer(srv, s) },
		Interceptors: []grpc.UnaryServerInterceptor{
			auth.Authenticate(verifier, projectsv1.ProjectsService_BatchGetPurged_FullMethodName), idempotency.Intercept(db, nil),
		},
		Ready: db.PingContext,
		Jobs: []func(context.Context){
			relay.Run,
			func(ctx context.Context) { outbox.Run(ctx, db) },
			func(ctx context.Context) { idempotency.Sweep(ctx, db, env.Log, env.TracerProvider()) },
			func(ctx context.Context) { cache.Keep(ctx, "projects", redis, db, env.Log) },
			func(ctx context.Context) { ended.Run(ctx, env.Log) },
			func(ctx context.Context) { trash.Empty(ctx, cfg.Trash, env.Log, env.TracerProvider(), s.purge) },
		},
	})
}

// Common is what every service is told.
func (c Config) Common() app.Config { return c.App }
