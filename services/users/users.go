// Package users is the service that owns accounts, sessions and the keys that sign access tokens.
package users

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/idempotency"
	"github.com/trackway/trackway/services/platform/mail"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/telemetry"
	"github.com/trackway/trackway/services/platform/write"
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
	Provider ProviderConfig

	SigningKeys   []string      `env:"SIGNING_KEY_FILES,required,notEmpty" doc:"Files with Ed25519 keys, PKCS #8 in PEM, or folders of such, separated by commas: the first signs access tokens, in a folder the last by name, and all verify them. They are read again and again"`
	KeyCheck      time.Duration `env:"SIGNING_KEY_CHECK" envDefault:"30s" doc:"How often the signing keys are read again"`
	KeyDelay      time.Duration `env:"SIGNING_KEY_DELAY" envDefault:"10m" doc:"How long a new signing key is published before it signs; at least as long as verifiers keep the keys, which is 5m for ours"`
	AccessTTL     time.Duration `env:"ACCESS_TOKEN_TTL" envDefault:"10m" doc:"How long an access token is valid"`
	RefreshTTL    time.Duration `env:"REFRESH_TOKEN_TTL" envDefault:"720h" doc:"How long a session lasts"`
	TokenMaxTTL   time.Duration `env:"TOKEN_MAX_TTL" envDefault:"8784h" doc:"Longest time that a personal access token may last"`
	AdminEmail    string        `env:"ADMIN_EMAIL" doc:"E-mail of the first global admin, whose account is made at start unless there is one with it"`
	AdminPassword string        `env:"ADMIN_PASSWORD_FILE" doc:"File with the password of the first global admin"`
	Hashes        int           `env:"PASSWORD_HASHES" envDefault:"0" doc:"Most passwords hashed at once, 19 MiB each; 0 means one for each CPU, which is all that it can work on"`
}

// startTimeout bounds what Run does before it serves.
const startTimeout = 30 * time.Second

// Migrate brings the database up to date.
func Migrate(ctx context.Context, cfg Config, _ app.Env) error {
	return postgres.Migrate(ctx, cfg.Postgres.URL, append(write.Migrations(), mail.Migrations(), postgres.MigrationFiles(migrations))...)
}

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config, env app.Env) (err error) {
	if err := cfg.check(); err != nil {
		return err
	}
	keys, err := readKeys(cfg.SigningKeys)
	if err != nil {
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
	relay := events.NewRelay(db, redis, "users", cfg.Events, env.Log, write.Relayed(writer, events.Publisher(redis, "users")))
	if err := relay.Observe(env.TracerProvider(), env.MeterProvider()); err != nil {
		return err
	}
	s := &service{
		store: store{&write.DB{DB: db, Cache: writer}}, hasher: newHasher(cfg.hashes()), refreshTTL: cfg.RefreshTTL,
		tokenMaxTTL: cfg.TokenMaxTTL, mail: cfg.Mail, log: env.Log,
	}
	if cfg.Provider.on() {
		s.provider = newProvider(cfg.Provider, strings.TrimRight(cfg.Auth.Issuer, "/")+"/api/auth/oidc/callback/")
	}
	s.keys = newKeyring(cfg, s.store, env.Log)
	s.issuer = s.keys.issuer
	if err := s.keys.begin(ctx, keys); err != nil {
		return err
	}
	outbox, err := mail.New(cfg.Mail, env)
	if err != nil {
		return err
	}
	if err := s.makeFirstAdmin(ctx, cfg); err != nil {
		return err
	}

	ended := auth.NewRevocations(func(ctx context.Context, since *timestamppb.Timestamp) (auth.Revoked, error) {
		return s.ListRevocations(ctx, &usersv1.ListRevocationsRequest{Since: since})
	})
	verifier := auth.NewVerifier(cfg.Auth, auth.NewRemoteKeys(s.keys.jwks), ended)
	tracer := env.TracerProvider().Tracer(telemetry.Scope)
	return app.ServeGRPC(ctx, cfg.App, env, app.GRPC{
		Register: func(srv *grpc.Server) { usersv1.RegisterUsersServiceServer(srv, s) },
		Interceptors: []grpc.UnaryServerInterceptor{
			auth.Authenticate(verifier, usersv1.UsersService_Register_FullMethodName,
				usersv1.UsersService_Login_FullMethodName, usersv1.UsersService_GetKeys_FullMethodName,
				usersv1.UsersService_RefreshTokens_FullMethodName, usersv1.UsersService_ListRevocations_FullMethodName,
				usersv1.UsersService_ExchangeToken_FullMethodName, usersv1.UsersService_RequestPasswordReset_FullMethodName,
				usersv1.UsersService_ResetPassword_FullMethodName, usersv1.UsersService_ConfirmEmailChange_FullMethodName,
				usersv1.UsersService_BeginProviderSignIn_FullMethodName, usersv1.UsersService_FinishProviderSignIn_FullMethodName,
				usersv1.UsersService_ExchangeCode_FullMethodName, usersv1.UsersService_ExchangeIdToken_FullMethodName),
			idempotency.Intercept(db, s.opens, usersv1.UsersService_Login_FullMethodName, usersv1.UsersService_ExchangeToken_FullMethodName,
				usersv1.UsersService_RefreshTokens_FullMethodName, usersv1.UsersService_BeginProviderSignIn_FullMethodName,
				usersv1.UsersService_FinishProviderSignIn_FullMethodName, usersv1.UsersService_ExchangeCode_FullMethodName,
				usersv1.UsersService_ExchangeIdToken_FullMethodName),
		},
		Ready: db.PingContext,
		Jobs: []func(context.Context){
			relay.Run,
			func(ctx context.Context) { idempotency.Sweep(ctx, db, env.Log, env.TracerProvider()) },
			func(ctx context.Context) { cache.Keep(ctx, "users", redis, db, env.Log) },
			func(ctx context.Context) { ended.Run(ctx, env.Log) },
			func(ctx context.Context) { s.purgeSessions(ctx, env.Log, tracer) },
			func(ctx context.Context) { s.sendResets(ctx, env.Log, tracer) },
			func(ctx context.Context) { outbox.Run(ctx, db) },
			s.hasher.giveBack,
			s.keys.run,
		},
	})
}

// Common is what every service is told.
func (c Config) Common() app.Config { return c.App }

func (c Config) check() error {
	switch {
	case c.AccessTTL < time.Second:
		return fmt.Errorf("ACCESS_TOKEN_TTL is %v, and must be at least a second", c.AccessTTL)
	case c.KeyCheck <= 0:
		return fmt.Errorf("SIGNING_KEY_CHECK is %v, and must be longer", c.KeyCheck)
	case c.KeyDelay < minKeyDelay:
		return fmt.Errorf("SIGNING_KEY_DELAY is %v, and must be at least %v", c.KeyDelay, minKeyDelay)
	case c.RefreshTTL < c.AccessTTL:
		return fmt.Errorf("REFRESH_TOKEN_TTL is %v, and must be at least ACCESS_TOKEN_TTL", c.RefreshTTL)
	case c.TokenMaxTTL < time.Hour:
		return fmt.Errorf("TOKEN_MAX_TTL is %v, and must be at least an hour", c.TokenMaxTTL)
	case c.Hashes < 0:
		return fmt.Errorf("PASSWORD_HASHES is %d, and must not be negative", c.Hashes)
	case c.AdminEmail != "" && c.AdminPassword == "":
		return errors.New("ADMIN_EMAIL is set, and so must be ADMIN_PASSWORD_FILE")
	}
	return c.Provider.check()
}

func (c Config) hashes() int {
	if c.Hashes == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return c.Hashes
}

// makeFirstAdmin makes the account that the configuration names, unless there is one with its e-mail, whatever that
// one may do. Replicas that start together make one.
func (s *service) makeFirstAdmin(ctx context.Context, cfg Config) error {
	if cfg.AdminEmail == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	u := &user{
		Name: "Administrator", Email: strings.TrimSpace(cfg.AdminEmail), Role: usersv1.Role_ROLE_ADMIN, Active: true,
	}
	if _, err := s.store.getByEmail(ctx, u.Email); !errs.Is(err, errs.NotFound) {
		return err
	}
	file, err := os.ReadFile(cfg.AdminPassword)
	if err != nil {
		return fmt.Errorf("ADMIN_PASSWORD_FILE: %w", err)
	}
	password := strings.TrimRight(string(file), "\r\n")
	if err := u.checkNew(password); err != nil {
		return fmt.Errorf("ADMIN_EMAIL and ADMIN_PASSWORD_FILE make no account: %w", err)
	}
	err = s.create(ctx, u, password)
	if errs.Is(err, errs.Conflict) {
		return nil // another replica was faster
	}
	return err
}
