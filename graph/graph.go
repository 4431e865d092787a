// Package graph is the GraphQL face of Trackway. Its schema is in schema/, one file a noun; its types are the protobuf
// messages; its resolvers fill requests and call the services, which hold every rule.
package graph

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/trackway/trackway/graph/generated"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/peers"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

//go:embed schema/*.graphqls
var files embed.FS

// timeout bounds one operation with all its calls.
const timeout = 30 * time.Second

// Config is what the face needs. The clients send the caller of the context along; app.Dial's do.
type Config struct {
	Users    usersv1.UsersServiceClient
	Projects projectsv1.ProjectsServiceClient
	Tasks    tasksv1.TasksServiceClient
	Log      *slog.Logger
	// Tracer and Meter see the operations; nil is nobody.
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
	// SignIn, if there is one, is asked before each mutation that needs no token, such as register and login, so that
	// passwords can not be guessed faster here than at the other door. Its error is the mutation's.
	SignIn func(context.Context) error
	// Count, if there is one, counts an operation on a WebSocket as the request that it is by HTTP, where the edge has counted
	// it. Its error refuses the operation.
	Count func(context.Context) error
	// Charge, if there is one, takes the price of an operation from what its caller may spend, before the operation
	// runs. Its error refuses the operation; without a Budget nobody knows what is left.
	Charge func(ctx context.Context, price int) (*Budget, error)
	// Failed, if there is one, is told of answers with errors, which HTTP does not tell by the status.
	Failed func(ctx context.Context)
	// Gzip, if there is one, reports whether the client of ctx wants gzip. Only answers that are kept come so.
	Gzip func(ctx context.Context) bool
	// Answers, if there is one, keeps answers to queries.
	Answers Answers
	// Persisted keeps persisted queries; in memory when it is nil.
	Persisted Store
	// Documents are the trusted documents by their ids (LoadDocuments).
	Documents map[string]string
	// OnlyDocuments refuses every other document.
	OnlyDocuments bool
	// HideSchema refuses introspection, and leaves suggestions out of errors.
	HideSchema bool
	// GraphiQL shows browsers that page. Its files are PageFiles.
	GraphiQL bool
	// Events tells of what happens in the services, for subscriptions; there are none without it.
	Events *events.Hub
	// Peers, if there are any, are the replicas with which streams of single connection mode are shared. That takes Verify.
	Peers *peers.Peers
	// Verify, if there is one, says whose a token is, and whether it still holds. Streams that outlive it are ended.
	Verify func(ctx context.Context, token string) (*auth.Caller, error)
	// Origins are those whose pages may open a WebSocket, beside our own; * is all.
	Origins []string
}

type server struct {
	cfg    Config
	schema *ast.Schema
	// checks parses, validates and prices operations; it never runs one.
	checks *executor.Executor
	// relations are what breadth resolves; without them all is left to gqlgen.
	relations map[string]relation
	// trusted are the trusted documents by the SHA-256 of their text.
	trusted map[string]string
	watch   *watcher
	// readers bounds how many feeds read from the services at once.
	readers chan struct{}
	streams *streams
	packer  *cache.Packer
	outputs outputs
}

// Face is the handler of /graphql, and of StreamPath below it.
type Face interface {
	http.Handler
	// Run is to run as long as the handler serves. When ctx ends it ends all streams, so that their clients go elsewhere,
	// and takes no new ones. It returns when they have ended.
	Run(ctx context.Context)
}

// New makes the face. It expects the caller in the context (auth.WithCaller) and a bounded body.
func New(cfg Config) Face { return newServer(cfg) }

func newServer(cfg Config) *server {
	s := &server{
		cfg: cfg, schema: loadSchema(), relations: relations(), trusted: make(map[string]string), watch: newWatcher(cfg),
		readers: make(chan struct{}, maxReaders), streams: newStreams(), packer: cache.NewPacker(),
	}
	if s.cfg.Persisted == nil {
		s.cfg.Persisted = newMemory()
	}
	for _, text := range cfg.Documents {
		s.trusted[sum(text)] = text
	}
	s.checks = executor.New(s.executable(nil))
	checked := newDocuments()
	s.checks.SetQueryCache(checked)
	s.checks.SetParserTokenLimit(maxTokens)
	s.checks.SetErrorPresenter(s.present)
	s.checks.SetRecoverFunc(s.recover)
	s.checks.Use(extension.Introspection{})
	s.checks.Use(limits{checked, cfg.HideSchema})
	return s
}

// Schema is the schema as clients see it.
func Schema() *ast.Schema { return loadSchema() }

// loadSchema reads the embedded schema. The copy in the generated code has @defer, which is not offered here: no
// transport of ours sends an answer in parts.
func loadSchema() *ast.Schema {
	names, err := fs.Glob(files, "schema/*.graphqls")
	if err != nil {
		panic(err) // only a malformed pattern
	}
	var sources []*ast.Source
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			panic(err) // an embedded file is always there
		}
		sources = append(sources, &ast.Source{Name: name, Input: string(text)})
	}
	schema := gqlparser.MustLoadSchema(sources...)
	delete(schema.Directives, "defer")
	return schema
}

// executable is the schema with resolvers, which are made for one operation so that what they load stays within it.
func (s *server) executable(r *resolver) graphql.ExecutableSchema {
	return generated.NewExecutableSchema(generated.Config{Schema: s.schema, Resolvers: r})
}
