package rest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
	"github.com/go-json-experiment/json"
	"go.opentelemetry.io/otel/trace"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
)

// problemType is the media type of a [Problem].
const problemType = "application/problem+json"

// typePrefix and a code make the URI of a kind of problem. It identifies, and leads nowhere.
const typePrefix = "urn:trackway:problem:"

// Problem is the answer of every request that fails, RFC 9457.
//
//nolint:errname // the RFC's name for it, and the name of its schema
type Problem struct {
	Type        string       `json:"type" format:"uri" maxLength:"100" example:"urn:trackway:problem:invalid" doc:"What kind of problem this is; never changes for a code."`
	Title       string       `json:"title" maxLength:"200" pattern:"^.*$" example:"The request is invalid" doc:"The kind of problem in words; never changes for a code."`
	Status      int          `json:"status" minimum:"400" maximum:"599" example:"400" doc:"The HTTP status."`
	Detail      string       `json:"detail" maxLength:"10000" pattern:"^[\\s\\S]*$" example:"Check title." doc:"What went wrong this time, for a person."`
	Instance    string       `json:"instance" format:"uri-reference" maxLength:"50000" example:"/api/tasks/" doc:"The path of the request."`
	Code        string       `json:"code" maxLength:"100" pattern:"^[a-z_]+$" example:"invalid" doc:"What kind of problem this is, for a program."`
	TraceID     string       `json:"trace_id" pattern:"^([0-9a-f]{32})?$" maxLength:"32" example:"4bf92f3577b34da6a3ce929d0e0e4736" doc:"Finds this request in the logs."`
	Explanation *Explanation `json:"explanation,omitempty" doc:"Why, with explain=true: of a 403 for want of a role."`
	Errors      invalid      `json:"errors,omitempty" nullable:"false" maxItems:"100" doc:"What is wrong with the input, one entry for each field."`
}

// Violation is what is wrong with one part of the input. One of pointer, parameter and header says with which.
type Violation struct {
	Pointer   string `json:"pointer,omitempty" maxLength:"300" pattern:"^#.*$" example:"#/title" doc:"The place in the body, a JSON pointer in a URI fragment (RFC 6901, section 6)."`
	Parameter string `json:"parameter,omitempty" maxLength:"300" pattern:"^[\\s\\S]*$" doc:"The parameter of the path or query."`
	Header    string `json:"header,omitempty" maxLength:"200" pattern:"^[A-Za-z0-9-]*$" doc:"The header."`
	Detail    string `json:"detail" maxLength:"10000" pattern:"^[\\s\\S]*$" example:"must not be empty" doc:"What is wrong with it."`
}

// Error makes a Problem an error that huma answers with.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// GetStatus gives huma the status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType gives huma the media type.
func (p *Problem) ContentType(string) string { return problemType }

// WriteProblem answers a request with the problem that err is.
func WriteProblem(w http.ResponseWriter, r *http.Request, err error) {
	writeProblem(w, r, nil, err)
}

func writeProblem(w http.ResponseWriter, r *http.Request, op *huma.Operation, err error) {
	var (
		e     *errs.Error
		wrong invalid
	)
	if errors.As(err, &wrong) {
		e = errs.New(errs.Invalid, "The request is not valid.")
	} else {
		e = errs.From(err)
		for _, f := range e.Fields {
			wrong = append(wrong, locate(op, f))
		}
	}
	p := newProblem(r.Context(), r.URL.Path, e)
	p.explain(wrong)
	body, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("write a problem: %v", err)) // its parts are all UTF-8
	}
	h := w.Header()
	setHeaders(r.Context(), e, h.Set)
	if op != nil && op.Method == http.MethodPatch && e.Code == errs.UnsupportedMediaType {
		h.Set("Accept-Patch", bodyTypes(op)) // RFC 5789, section 2.2
	}
	h.Set("Content-Type", problemType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // a client that has gone need not be told
}

// invalid is what is wrong with the input, where we know exactly in which part of it.
type invalid []Violation

// Error is the text for the log.
func (i invalid) Error() string { return i.detail() }

// Unwrap tells what kind of error it is: the caller's, and none of ours to log.
func (i invalid) Unwrap() error { return errs.New(errs.Invalid, "%s", i.detail()) }

// detail sums up for a person, in the form of the services' errors.
func (i invalid) detail() string {
	names := make([]string, 0, len(i))
	for _, v := range i {
		names = append(names, strings.TrimPrefix(v.name(), "#/"))
	}
	if slices.Equal(names, []string{"#"}) {
		return "The body " + i[0].Detail + "."
	}
	names = slices.Compact(names)
	if more := len(names) - maxNames; more > 0 {
		return fmt.Sprintf("Check %s and %d more.", strings.Join(names[:maxNames], ", "), more)
	}
	return "Check " + strings.Join(names, ", ") + "."
}

func newProblem(ctx context.Context, path string, e *errs.Error) *Problem {
	p := &Problem{
		Type: typePrefix + string(e.Code), Title: e.Code.Title(), Status: e.Code.HTTP(), Detail: e.Detail,
		Instance: (&url.URL{Path: path}).EscapedPath(), Code: string(e.Code),
	}
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		p.TraceID = sc.TraceID().String()
	}
	return p
}

// explain adds what is wrong with the input, and sums it up in the names that the caller knows. A request can be wrong
// in more places, and deeper, than anybody wants to read.
func (p *Problem) explain(wrong invalid) {
	if len(wrong) == 0 {
		return
	}
	for i, v := range wrong {
		wrong[i] = v.short()
	}
	p.Errors = wrong[:min(len(wrong), maxErrors)]
	if p.Code == string(errs.Invalid) {
		p.Detail = wrong.detail()
	}
}

const (
	maxErrors  = 100
	maxNames   = 20
	maxPointer = 300 // bytes
)

// short cuts the names of what is too deep inside, or too long, to be named whole.
func (v Violation) short() Violation {
	v.Parameter = cut(v.Parameter)
	if short := cut(v.Pointer); short != v.Pointer {
		if at := strings.LastIndexByte(short, '/'); at > 0 {
			short = short[:at]
		}
		v.Pointer = short
		v.Detail = "has something inside that " + v.Detail
	}
	return v
}

// cut leaves what is a percent-encoded text such.
func cut(s string) string {
	if len(s) <= maxPointer {
		return s
	}
	s = strings.ToValidUTF8(s[:maxPointer], "")
	if at := strings.LastIndexByte(s, '%'); at >= 0 && at > len(s)-len("%XX") {
		s = s[:at]
	}
	return s
}

// setHeaders sets what the HTTP status of an error demands beside the body.
func setHeaders(ctx context.Context, e *errs.Error, set func(name, value string)) {
	if e.Code == errs.Unauthenticated { // RFC 9110, section 11.6.1, and RFC 6750, section 3
		challenge := "Bearer"
		if auth.CallerFrom(ctx).Token != "" || errors.Is(e, ErrBadToken) {
			challenge = `Bearer error="invalid_token"`
		}
		set("WWW-Authenticate", challenge)
	}
	if e.Code == errs.InsufficientScope { // RFC 6750, section 3.1
		set("WWW-Authenticate", fmt.Sprintf(`Bearer error="insufficient_scope", scope=%q`, e.Scope))
	}
	if retry := e.Retry; retry > 0 {
		set("Retry-After", strconv.Itoa(int(math.Ceil(retry.Seconds()))))
	} else if e.Code == errs.Unavailable {
		set("Retry-After", "1")
	}
}

// ErrBadToken is the cause of an Unauthenticated error when a token was sent that is not good.
var ErrBadToken = errors.New("the token is not good")

// humaProblem makes a problem of what huma found wrong with a request, and of the error that an operation returned.
func humaProblem(ctx huma.Context, status int, _ string, list ...error) huma.StatusError {
	e, wrong := sort(status, list)
	u := ctx.URL()
	p := newProblem(ctx.Context(), u.Path, e)
	for _, f := range e.Fields {
		wrong = append(wrong, locate(ctx.Operation(), f))
	}
	p.explain(wrong)
	if x, ok := errors.AsType[*explained](errors.Join(list...)); ok {
		p.Explanation = x.why
	}
	setHeaders(ctx.Context(), e, ctx.SetHeader)
	return p
}

func (v Violation) name() string { return v.Pointer + v.Parameter + v.Header }

// sort tells the errors that are ours from those that huma makes.
func sort(status int, list []error) (*errs.Error, invalid) {
	var wrong invalid
	for _, err := range list {
		var (
			d    huma.ErrorDetailer
			ours invalid
		)
		switch {
		case errors.As(err, &ours):
			wrong = append(wrong, ours...)
		case errors.As(err, &d):
			wrong = append(wrong, violation(d.ErrorDetail()))
		default:
			return errs.From(err), nil
		}
	}
	switch {
	case len(wrong) > 0:
		slices.SortFunc(wrong, func(a, b Violation) int {
			return cmp.Or(cmp.Compare(a.name(), b.name()), cmp.Compare(a.Detail, b.Detail))
		})
		return errs.New(errs.Invalid, "The request is not valid."), wrong
	case status == http.StatusBadRequest:
		return errs.New(errs.Invalid, "A body is required."), nil
	case status == http.StatusRequestTimeout:
		return errs.New(errs.RequestTimeout, "The body took too long to arrive."), nil
	default:
		return errs.From(errors.New(http.StatusText(status))), nil
	}
}

// violation reads huma's location, such as "query.limit" or "body.labels[2]". A message that begins with a pointer
// ("#/title must not be null") names what lies below the location.
func violation(d *huma.ErrorDetail) Violation {
	in, name, _ := strings.Cut(d.Location, ".")
	switch in {
	case "path", "query":
		name, _, _ = strings.Cut(name, "[") // which of several values is seen from the detail
		return Violation{Parameter: name, Detail: words(d.Message)}
	case "header":
		return Violation{Header: name, Detail: d.Message}
	}
	v := Violation{Pointer: "#" + pointer(name), Detail: d.Message}
	if below, ok := strings.CutPrefix(d.Message, "#"); ok {
		below, v.Detail, _ = strings.Cut(below, " ")
		v.Pointer += below
	}
	return v
}

// words replaces those of huma's messages that are not to be set.
func words(message string) string {
	switch {
	case message == "invalid integer":
		return validation.MsgExpectedInteger
	case strings.HasPrefix(message, "invalid date/time"):
		return validation.MsgExpectedRFC3339DateTime
	default:
		return message
	}
}

// pointer turns "labels[2]" into "/labels/2" and "tasks[1].title" into "/tasks/1/title", as a URI fragment.
func pointer(name string) string {
	if name == "" {
		return ""
	}
	if list, rest, ok := strings.Cut(name, "["); ok {
		index, below, closed := strings.Cut(rest, "]")
		below, dotted := strings.CutPrefix(below, ".")
		if _, err := strconv.Atoi(index); err == nil && closed && dotted == (below != "") {
			return escapePointer("/"+list) + "/" + index + pointer(below)
		}
	}
	return escapePointer("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
}

func escapePointer(p string) string { return (&url.URL{Fragment: p}).EscapedFragment() }

// locate says where the field of a service's error is in the request. The names are those of the contract; where REST
// has another name, it is in this table.
func locate(op *huma.Operation, f errs.Field) Violation {
	if v, ok := locateItem(f); ok {
		return v
	}
	name := strings.TrimPrefix(f.Name, "filter.")
	name = strings.TrimPrefix(name, "page.")
	for _, name := range []string{name, renamed(name), strings.TrimSuffix(name, "_id")} {
		if in, ok := parameter(op, name); ok {
			if in == "header" {
				return Violation{Header: name, Detail: f.Detail}
			}
			return Violation{Parameter: name, Detail: f.Detail}
		}
	}
	switch {
	case op == nil || op.RequestBody == nil:
		return Violation{Parameter: f.Name, Detail: f.Detail}
	case name == "update_mask":
		return Violation{Pointer: "#", Detail: f.Detail}
	default:
		return Violation{Pointer: "#" + pointer(name), Detail: f.Detail}
	}
}

// locateItem is locate for a field of one item of a bulk request, such as requests[3].title.
func locateItem(f errs.Field) (Violation, bool) {
	rest, ok := strings.CutPrefix(f.Name, "requests[")
	index, name, closed := strings.Cut(rest, "]")
	if !ok || !closed {
		return Violation{}, false
	}
	at := "#/tasks/" + index
	switch name = strings.TrimPrefix(name, "."); name {
	case "", "update_mask":
	case "expected_version":
		at += "/version"
	default:
		at += pointer(name)
	}
	return Violation{Pointer: at, Detail: f.Detail}, true
}

func renamed(name string) string {
	switch name {
	case "size":
		return "limit"
	case "order_by":
		return "ordering"
	case "after", "before":
		return "cursor"
	case "statuses":
		return "status"
	case "deleted":
		return "trash"
	case "types":
		return "type"
	case "priorities":
		return "priority"
	case "labels":
		return "label"
	case "expected_version":
		return "If-Match"
	case "idempotency-key":
		return idempotencyKey
	default:
		return name
	}
}

func parameter(op *huma.Operation, name string) (in string, ok bool) {
	if op == nil {
		return "", false
	}
	for _, p := range op.Parameters {
		if p.Name == name {
			return p.In, true
		}
	}
	return "", false
}
