// Package rest is the REST face of Trackway: one file for each noun, and one for each matter that they share.
//
// An operation reads its input by the tags of a Go type, calls one RPC and answers with a view. Huma makes the OpenAPI
// document of the same types, and checks the input against it; what is wrong with a request beyond its values is found
// in rules.go, and leaves, like every failure, as a problem document (problem.go).
package rest

import (
	"context"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/trackway/trackway/services/platform/errs"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// Config is what the REST face stands on.
type Config struct {
	Users    usersv1.UsersServiceClient
	Projects projectsv1.ProjectsServiceClient
	Tasks    tasksv1.TasksServiceClient
	Log      *slog.Logger
	// Issuer is the public URL of the installation, which its access tokens name.
	Issuer string
	// BodyLimit is the largest body, in bytes.
	BodyLimit int64
}

// Mux routes requests; patterns are those of http.ServeMux.
type Mux interface {
	http.Handler
	HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request))
}

// Register puts all operations on the mux, below /api/ and /.well-known/, and gives their OpenAPI document.
func Register(mux Mux, cfg Config) []byte {
	customize()
	a := &api{
		users: cfg.Users, projects: cfg.Projects, tasks: cfg.Tasks,
		mux: mux, log: cfg.Log, issuer: cfg.Issuer, bodyLimit: cfg.BodyLimit,
	}
	a.huma = huma.NewAPI(description(), a)
	a.registerAuth()
	a.registerProvider()
	a.registerSessions()
	a.registerTokens()
	a.registerAudit()
	a.registerUsers()
	a.registerProjects()
	a.registerMembers()
	a.registerInvitations()
	a.registerTasks()
	a.registerBulk()
	a.registerComments()
	return a.registerIndex()
}

type api struct {
	users     usersv1.UsersServiceClient
	projects  projectsv1.ProjectsServiceClient
	tasks     tasksv1.TasksServiceClient
	mux       Mux
	huma      huma.API
	log       *slog.Logger
	bodyLimit int64
	issuer    string
}

// customize makes huma speak our problems and our words. Its settings are variables of its packages.
//
//nolint:gochecknoglobals // huma's settings are global, and are set once
var customize = sync.OnceFunc(func() {
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
	huma.NewError = func(int, string, ...error) huma.StatusError { return &Problem{} } // gives the type
	huma.NewErrorWithContext = humaProblem
	validation.MsgUnexpectedProperty = unknownField
	validation.MsgExpectedRequiredProperty = "#/%s is required"
	validation.MsgExpectedRFC3339DateTime = "must be a time such as 2026-01-31T09:30:00Z (RFC 3339)"
	validation.MsgExpectedRFC3339Date = "must be a date such as 2026-01-31 (RFC 3339)"
	validation.MsgExpectedRFC5322Email = "must be an e-mail address, such as ada@example.org%.0s" // and not what the parser says
	validation.MsgExpectedBoolean = "must be true or false"
	validation.MsgExpectedNumber = "must be a number"
	validation.MsgExpectedInteger = "must be an integer"
	validation.MsgExpectedString = "must be a string"
	validation.MsgExpectedArray = "must be an array"
	validation.MsgExpectedObject = "must be an object"
	validation.MsgExpectedArrayItemsUnique = "must not hold an item twice"
	validation.MsgExpectedOneOf = "must be one of %s"
	validation.MsgExpectedMinimumNumber = "must be at least %.0f"
	validation.MsgExpectedMaximumNumber = "must be at most %.0f"
	validation.MsgExpectedMinLength = "must have at least %d characters"
	validation.MsgExpectedMaxLength = "must have at most %d characters"
	validation.MsgExpectedBePattern = "must be %s"
	validation.MsgExpectedMatchPattern = "must match the pattern %s"
	validation.MsgExpectedMinItems = "must have at least %d items"
	validation.MsgExpectedMaxItems = "must have at most %d items"
})

const unknownField = "is not a field that can be written here"

// Handle puts an operation on the mux; it makes an api the adapter that huma wants. A path that ends in a slash
// matches only itself, and not all that is below it.
func (a *api) Handle(op *huma.Operation, handle func(huma.Context)) {
	rules := newRules(op)
	retired := retirementOf(op)
	h := func(w http.ResponseWriter, r *http.Request) {
		retired.tell(w.Header())
		if err := rules.check(w, r, a.bodyLimit); err != nil {
			writeProblem(w, r, op, err)
			return
		}
		handle(humago.NewContext(op, asksWhy(r), w))
	}
	if op.Method == http.MethodGet {
		h = conditional(h)
	}
	path := op.Path
	if strings.HasSuffix(path, "/") {
		path += "{$}"
	}
	a.mux.HandleFunc(op.Method+" "+path, h)
}

// AcceptPatch is what PATCH takes at a thing, and at a bulk operation (RFC 5789, section 3.1).
func AcceptPatch(path string) string {
	if strings.HasSuffix(path, "/bulk/") {
		return jsonType
	}
	return jsonType + ", " + patchType
}

// ServeHTTP passes a request on to the mux.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// register adds an operation. What do returns as an error becomes a problem; what the caller may not see of it is
// logged here.
func register[I, O any](a *api, op huma.Operation, do func(ctx context.Context, in *I) (*O, error)) {
	_, conditional := reflect.TypeFor[I]().FieldByName("IfMatch")
	_, bulk := any((*O)(nil)).(*BulkAnswer) // whose items can have a version
	document(&op, conditional, bulk)
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err == nil {
			return out, nil
		}
		a.report(ctx, op.OperationID, err)
		return nil, a.explain(ctx, err)
	})
}

// report logs a failure that is ours, unless the service where it was born has.
func (a *api) report(ctx context.Context, operation string, err error) {
	switch {
	case errs.From(err).Unwrap() == nil:
	case errs.Is(err, errs.Internal):
		a.log.ErrorContext(ctx, "request failed", "operation", operation, "error", err)
	case errs.Is(err, errs.Unavailable, errs.DeadlineExceeded):
		a.log.WarnContext(ctx, "request failed", "operation", operation, "error", err)
	}
}

// ID is the id in a path.
type ID struct {
	ID int64 `path:"id" minimum:"1" example:"1" doc:"The id."`
}
