package graph

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"go.opentelemetry.io/otel/trace"

	"github.com/trackway/trackway/graph/generated"
	"github.com/trackway/trackway/services/platform/errs"
)

// failure makes an error of a call into one for the caller, and logs it, once, if nobody has: the services log their
// own, so what is left is what gRPC itself says, such as a service out of reach.
func (s *server) failure(ctx context.Context, err error) error {
	e := errs.From(err)
	if e == nil {
		return nil
	}
	if cause := e.Unwrap(); cause != nil && !errors.Is(ctx.Err(), context.Canceled) {
		s.cfg.Log.WarnContext(ctx, "call failed", "error", cause)
	}
	return e
}

// present makes any error into one for the client: its own sentence if it is meant for the caller, ours if not.
func (s *server) present(ctx context.Context, err error) *gqlerror.Error {
	shown := &gqlerror.Error{Path: graphql.GetPath(ctx)}
	if located, ok := errors.AsType[*gqlerror.Error](err); ok {
		shown.Locations = located.Locations
		if located.Path != nil {
			shown.Path = located.Path
		}
		if located.Err == nil && located.Extensions != nil {
			// The parser, the validator and our limits, who say so by a code: their sentences are about the document.
			shown.Message, shown.Extensions = located.Message, located.Extensions
			if s.cfg.HideSchema {
				shown.Message, _, _ = strings.Cut(shown.Message, " Did you mean ")
			}
			if len(located.Path) > 1 && located.Path[0] == ast.PathName("variable") {
				// Of a variable's value they speak in the words of Go.
				shown.Message = fmt.Sprintf("Variable $%s does not fit its type.", located.Path[1:])
				shown.Path = nil
			}
			return traced(ctx, shown)
		}
	}
	e, ok := errors.AsType[*errs.Error](err)
	if !ok {
		e = s.unforeseen(ctx, err)
	}
	shown.Message = e.Detail
	shown.Extensions = map[string]any{"code": code(e.Code)}
	if len(e.Fields) > 0 {
		shown.Extensions["fields"] = fields(e.Fields)
	}
	if e.Scope != "" {
		shown.Extensions["scope"] = e.Scope
	}
	if why := s.explain(ctx, e); why != nil {
		shown.Extensions[explainName] = why
	}
	if e.Retry > 0 {
		shown.Extensions["retry_after"] = e.Retry.Seconds()
	}
	return traced(ctx, shown)
}

// unforeseen is for the errors that gqlgen makes. They are about an argument that it can not read, which its sender
// can mend, or about a null where the schema allows none, which is our mistake.
func (s *server) unforeseen(ctx context.Context, err error) *errs.Error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return errs.From(err)
	}
	if strings.HasSuffix(err.Error(), "must not be null") {
		s.cfg.Log.ErrorContext(ctx, "answer does not fit the schema", "error", err)
		return errs.New(errs.Internal, "Something went wrong on our side.")
	}
	s.cfg.Log.DebugContext(ctx, "argument refused", "error", err)
	return errs.New(errs.Invalid, "This value is not acceptable here.")
}

// recover makes a panic into an internal error, logged here and nowhere else.
func (s *server) recover(ctx context.Context, p any) error {
	s.cfg.Log.ErrorContext(ctx, "panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return errs.New(errs.Internal, "Something went wrong on our side.")
}

// traced adds the trace id, by which an operator finds the log of a failed request.
func traced(ctx context.Context, e *gqlerror.Error) *gqlerror.Error {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		e.Extensions["trace_id"] = sc.TraceID().String()
	}
	return e
}

// code is how GraphQL clients expect a code to be spelled: PERMISSION_DENIED.
func code(c errs.Code) string { return strings.ToUpper(string(c)) }

// field is what is wrong with one argument.
type field struct {
	Name   string `json:"name"`
	Detail string `json:"detail"`
}

func fields(in []errs.Field) []field {
	out := make([]field, 0, len(in))
	for _, f := range in {
		out = append(out, field{strings.Join(camel(f.Name), "."), f.Detail})
	}
	return out
}

// camel spells a field of the contract, such as filter.due_before, as the schema does.
func camel(name string) []string {
	path := strings.Split(name, ".")
	for i, part := range path {
		words := strings.FieldsFunc(part, func(r rune) bool { return r == '_' || r == '-' })
		for j, w := range words {
			if j > 0 {
				words[j] = strings.ToUpper(w[:1]) + w[1:]
			}
		}
		path[i] = strings.Join(words, "")
	}
	return path
}

// userErrors are the failures that a mutation tells of in its payload, because a change of the input mends them. Every
// other failure is a GraphQL error.
func userErrors(err error) ([]*generated.UserError, bool) {
	if !errs.Is(err, errs.Invalid, errs.Conflict, errs.PreconditionFailed, errs.PreconditionRequired, errs.KeyReused,
		errs.InProgress) {
		return nil, false
	}
	return described(errs.From(err)), true
}

// described is a failure as a mutation's payload tells it, with one error for each field.
func described(e *errs.Error) []*generated.UserError {
	code := generated.UserErrorCode(code(e.Code))
	if len(e.Fields) == 0 {
		return []*generated.UserError{{Code: code, Message: e.Detail}}
	}
	list := make([]*generated.UserError, 0, len(e.Fields))
	for _, f := range e.Fields {
		path := append([]string{"input"}, camel(f.Name)...)
		list = append(list, &generated.UserError{Code: code, Message: f.Detail, Field: path})
	}
	return list
}

// refused is an error about the operation itself, found before it runs.
func refused(at *ast.Position, code, format string, args ...any) *gqlerror.Error {
	err := gqlerror.Errorf(format, args...)
	if at != nil {
		err = gqlerror.ErrorPosf(at, format, args...)
	}
	errcode.Set(err, code)
	return err
}
