package edge

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/trackway/trackway/graph"
	"github.com/trackway/trackway/services/edge/rest"
	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/errs"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

type clients struct {
	users    usersv1.UsersServiceClient
	projects projectsv1.ProjectsServiceClient
	tasks    tasksv1.TasksServiceClient

	ended   *auth.Revocations // nil where nobody keeps them up to date
	answers *cache.Answers    // nil where nothing is kept
	queries queries
}

// verifier says whose a token is.
func (c clients) verifier(cfg auth.Config) *auth.Verifier {
	return auth.NewVerifier(cfg, auth.NewRemoteKeys(func(ctx context.Context) ([]byte, error) {
		keys, err := c.users.GetKeys(ctx, &usersv1.GetKeysRequest{})
		return keys.GetJwks(), err
	}), c.ended)
}

// newHandler puts the door together. A request passes the layers from the last line up.
func newHandler(cfg Config, env app.Env, limits *rates, c clients, callers *authenticator, graphql http.Handler,
) (http.Handler, error) {
	r := newRouter()
	rest.Register(r, rest.Config{
		Users: c.users, Projects: c.projects, Tasks: c.tasks, Log: env.Log, BodyLimit: cfg.BodyLimit, Issuer: cfg.Auth.Issuer,
	})
	r.HandleFunc("GET "+docsPath+"/", docs())
	r.HandleFunc("GET /graphql", limitBody(cfg.BodyLimit, graphql))
	r.HandleFunc("POST /graphql", limitBody(cfg.BodyLimit, graphql))
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		r.HandleFunc(method+" "+graph.StreamPath, limitBody(cfg.BodyLimit, graphql))
	}
	if cfg.GraphQL.GraphiQL {
		for _, name := range graph.PageFiles() {
			r.HandleFunc("GET /graphql/"+name, graphql.ServeHTTP)
		}
	}

	h := deadline(guide(r), cfg.Timeout)
	if c.answers != nil { // a hit waits for nobody but Redis, and needs no deadline
		h = &cached{
			answers: c.answers, packer: cache.NewPacker(), access: newAccessMaps(c.projects, cfg.Timeout), timeout: cfg.Timeout, next: h,
		}
	}
	h = lengths(h)
	h = admit(h, callers, limits, cfg.Proxies, c.queries)
	h = recovery(h, env.Log)
	h = arrive(h)
	h = atOnce(h, cfg.Concurrency)
	h = cors(h, cfg.Origins, func(h http.Header, r *http.Request) {
		limits.tell(r.Context(), h, addressOf(r, cfg.Proxies), signsIn(r))
	})
	h = compress(h)
	h = headers(h)
	return observe(h, env)
}

// limitBody bounds the body for a handler that reads it by itself.
func limitBody(limit int64, next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := rest.LimitBody(w, r, limit); err != nil {
			rest.WriteProblem(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// headers sets what every answer says; a handler that knows better overwrites it.
func headers(next http.Handler) http.Handler {
	// Values without room, of which nobody can change one by adding another.
	always := http.Header{
		"X-Content-Type-Options":  {"nosniff"},
		"Referrer-Policy":         {"no-referrer"},
		"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
		"Cache-Control":           {"private, no-cache"},
		"Vary":                    {"Authorization, Accept-Encoding"},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h[requestIDKey] = []string{requestID(r)}
		maps.Copy(h, always)
		next.ServeHTTP(w, r)
	})
}

const (
	requestIDKey = "X-Request-Id" // as net/http spells it
	maxRequestID = 128
)

// requestID is the client's own name for the request, if it is a decent one, else the trace id.
func requestID(r *http.Request) string {
	if sent := r.Header[requestIDKey]; len(sent) > 0 && sent[0] != "" && len(sent[0]) <= maxRequestID && plain(sent[0]) {
		exchangeOf(r.Context()).named = sent[0]
		return sent[0]
	}
	return trace.SpanContextFromContext(r.Context()).TraceID().String()
}

func plain(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}

// recovery makes a panic an internal error that is logged once.
func recovery(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent := &watch{ResponseWriter: w}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { //nolint:errorlint,err113 // the value that net/http compares
				panic(p)
			}
			log.ErrorContext(r.Context(), "panic", "method", r.Method, "path", r.URL.Path, "panic", p,
				"stack", string(debug.Stack()))
			if sent.begun {
				panic(http.ErrAbortHandler) // half an answer must not look like a whole one
			}
			rest.WriteProblem(w, r, errs.New(errs.Internal, "Something went wrong on our side."))
		}()
		next.ServeHTTP(sent, r)
	})
}

// watch knows whether an answer has begun.
type watch struct {
	http.ResponseWriter

	begun bool
}

// WriteHeader begins the answer.
func (w *watch) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

// Write begins the answer.
func (w *watch) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (w *watch) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// deadline bounds how long a request takes that is no stream.
func deadline(next http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if streams(r) {
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
