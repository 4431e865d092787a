// Package errs is the one list of ways in which a request can fail, with their HTTP and gRPC codes.
//
// An [Error] is made where the failure is understood and passes unchanged through a service, over gRPC and out of
// either public door. Every other error is internal: its text is for the log and never for a client.
package errs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// domain is the ErrorInfo domain of our errors (AIP-193).
const domain = "trackway"

// scopeKey is the ErrorInfo's name for the scope that a token lacks.
const scopeKey = "scope"

// permissionKey and projectKey are the metadata of a Denied.
const (
	permissionKey = "permission"
	projectKey    = "project"
)

// Code is a way in which a request can fail. Its text is part of the public contract.
type Code string

// The codes. Their HTTP and gRPC codes are in one table below.
const (
	Invalid              Code = "invalid"
	Unauthenticated      Code = "unauthenticated"
	Denied               Code = "permission_denied"
	InsufficientScope    Code = "insufficient_scope"
	NotFound             Code = "not_found"
	MethodNotAllowed     Code = "method_not_allowed"
	NotAcceptable        Code = "not_acceptable"
	Conflict             Code = "conflict"
	InProgress           Code = "in_progress"
	PreconditionFailed   Code = "precondition_failed"
	PreconditionRequired Code = "precondition_required"
	RequestTimeout       Code = "request_timeout"
	TooLarge             Code = "too_large"
	URITooLong           Code = "uri_too_long"
	HeadersTooLarge      Code = "headers_too_large"
	UnsupportedMediaType Code = "unsupported_media_type"
	KeyReused            Code = "idempotency_key_reused"
	RateLimited          Code = "rate_limited"
	Internal             Code = "internal"
	Unavailable          Code = "unavailable"
	DeadlineExceeded     Code = "deadline_exceeded"
)

type row struct {
	code  Code
	http  int
	grpc  codes.Code
	title string
}

// table gives each code its row. Where two rows share a gRPC code, the first is what a foreign status means.
func table() []row {
	return []row{
		{Invalid, http.StatusBadRequest, codes.InvalidArgument, "The request is invalid"},
		{Unauthenticated, http.StatusUnauthorized, codes.Unauthenticated, "Authentication is required"},
		{Denied, http.StatusForbidden, codes.PermissionDenied, "You may not do this"},
		{InsufficientScope, http.StatusForbidden, codes.PermissionDenied, "The token may not be used for this"},
		{NotFound, http.StatusNotFound, codes.NotFound, "There is no such thing"},
		{MethodNotAllowed, http.StatusMethodNotAllowed, codes.Unimplemented, "The method is not allowed here"},
		{NotAcceptable, http.StatusNotAcceptable, codes.InvalidArgument, "No acceptable representation"},
		{Conflict, http.StatusConflict, codes.AlreadyExists, "The request conflicts with the present state"},
		{InProgress, http.StatusConflict, codes.Aborted, "The first request with this key is still running"},
		{PreconditionFailed, http.StatusPreconditionFailed, codes.FailedPrecondition, "The thing has changed since"},
		{PreconditionRequired, http.StatusPreconditionRequired, codes.FailedPrecondition, "The request must be conditional"},
		{RequestTimeout, http.StatusRequestTimeout, codes.DeadlineExceeded, "The request did not arrive in time"},
		{TooLarge, http.StatusRequestEntityTooLarge, codes.OutOfRange, "The request is too large"},
		{URITooLong, http.StatusRequestURITooLong, codes.OutOfRange, "The address is too long"},
		{HeadersTooLarge, http.StatusRequestHeaderFieldsTooLarge, codes.OutOfRange, "The headers are too large"},
		{UnsupportedMediaType, http.StatusUnsupportedMediaType, codes.InvalidArgument, "Unsupported media type"},
		{KeyReused, http.StatusUnprocessableEntity, codes.InvalidArgument, "The idempotency key was used before"},
		{RateLimited, http.StatusTooManyRequests, codes.ResourceExhausted, "Too many requests"},
		{Internal, http.StatusInternalServerError, codes.Internal, "Internal error"},
		{Unavailable, http.StatusServiceUnavailable, codes.Unavailable, "Temporarily unavailable"},
		{DeadlineExceeded, http.StatusGatewayTimeout, codes.DeadlineExceeded, "The request took too long"},
	}
}

//nolint:gochecknoglobals // a constant, as far as Go has them
var rows = func() map[Code]row {
	m := make(map[Code]row)
	for _, r := range table() {
		m[r.code] = r
	}
	return m
}()

// HTTP gives the HTTP status of the code.
func (c Code) HTTP() int { return rows[c].http }

// GRPC gives the gRPC code of the code.
func (c Code) GRPC() codes.Code { return rows[c].grpc }

// Title gives a short sentence for the code that never varies (RFC 9457, "title").
func (c Code) Title() string { return rows[c].title }

// Codes lists every code.
func Codes() []Code {
	var all []Code
	for _, r := range table() {
		all = append(all, r.code)
	}
	return all
}

// Field is what is wrong with one field of the input, named as in the contract, such as "title".
type Field struct {
	Name   string
	Detail string
}

// Error is a failure that its caller may see.
type Error struct {
	Code   Code
	Detail string // one sentence for the caller
	Fields []Field
	Retry  time.Duration // when a retry makes sense; zero means unknown
	Scope  string        // what an InsufficientScope lacks

	// Permission is what a role lacks that is Denied, and Project where; empty when it is Denied for another reason.
	Permission string
	Project    int64

	cause error
}

// New makes an error whose detail the caller may see.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Missing says that there is no such noun, or none that the caller may know of.
func Missing(noun string) *Error { return New(NotFound, "There is no such %s.", noun) }

// InProject says where the role lacks a permission, if that is what the error is about.
func InProject(err error, id int64) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Permission == "" {
		return err
	}
	c := *e
	c.Project = id
	return &c
}

// Because adds the cause, for the log only.
func (e *Error) Because(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

// Error is the text for the log.
func (e *Error) Error() string {
	var s strings.Builder
	s.WriteString(string(e.Code) + ": " + e.Detail)
	for _, f := range e.Fields {
		fmt.Fprintf(&s, " [%s: %s]", f.Name, f.Detail)
	}
	if e.cause != nil {
		s.WriteString(": " + e.cause.Error())
	}
	return s.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus makes the error travel over gRPC with all that the caller may see of it.
func (e *Error) GRPCStatus() *status.Status {
	info := &errdetails.ErrorInfo{Reason: string(e.Code), Domain: domain}
	if e.Scope != "" {
		info.Metadata = map[string]string{scopeKey: e.Scope}
	}
	if e.Permission != "" {
		info.Metadata = map[string]string{permissionKey: e.Permission, projectKey: strconv.FormatInt(e.Project, 10)}
	}
	details := []protoadapt.MessageV1{
		info,
		// The sentence once more: gRPC puts words of its own before the message when it gives up trying again.
		&errdetails.LocalizedMessage{Locale: "en", Message: e.Detail},
	}
	if len(e.Fields) > 0 {
		bad := &errdetails.BadRequest{}
		for _, f := range e.Fields {
			bad.FieldViolations = append(bad.FieldViolations,
				&errdetails.BadRequest_FieldViolation{Field: f.Name, Description: f.Detail})
		}
		details = append(details, bad)
	}
	if e.Retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.Retry)})
	}
	st := status.New(e.Code.GRPC(), e.Detail)
	if with, err := st.WithDetails(details...); err == nil {
		return with
	}
	return st
}

// From finds the Error in err: made here, come over gRPC, or a deadline. Everything else is Internal, with err as
// its cause. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return New(DeadlineExceeded, "The request took too long.").Because(err)
	}
	if st, ok := status.FromError(err); ok {
		return fromStatus(st, err)
	}
	return internal(err)
}

func internal(err error) *Error {
	return New(Internal, "Something went wrong on our side.").Because(err)
}

func fromStatus(st *status.Status, err error) *Error {
	e := &Error{Detail: st.Message()}
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == domain {
				e.Code, e.Scope = Code(d.GetReason()), d.GetMetadata()[scopeKey]
				e.Permission = d.GetMetadata()[permissionKey]
				e.Project, _ = strconv.ParseInt(d.GetMetadata()[projectKey], 10, 64) // 0 is none
			}
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				e.Fields = append(e.Fields, Field{Name: v.GetField(), Detail: v.GetDescription()})
			}
		case *errdetails.LocalizedMessage:
			e.Detail = d.GetMessage()
		case *errdetails.RetryInfo:
			e.Retry = d.GetRetryDelay().AsDuration()
		}
	}
	if _, ours := rows[e.Code]; ours {
		return e
	}
	// A status that gRPC itself made: its message may name addresses, so the caller gets a sentence of ours.
	switch st.Code() {
	case codes.Unavailable:
		return New(Unavailable, "A part of the system can not be reached. Try again shortly.").Because(err)
	case codes.DeadlineExceeded, codes.Canceled:
		return New(DeadlineExceeded, "The request took too long.").Because(err)
	case codes.ResourceExhausted:
		return New(TooLarge, "The request or its answer is too large.").Because(err)
	default:
		return internal(err)
	}
}

// Is reports whether err is a failure with one of the codes.
func Is(err error, codes ...Code) bool {
	return err != nil && slices.Contains(codes, From(err).Code)
}
