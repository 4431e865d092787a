package rest

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/yaml"
	"github.com/go-json-experiment/json"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
)

// apiVersion is the version of the public contract. It changes only by addition.
const apiVersion = "1.0.0"

const schemaPrefix = "#/components/schemas/"

// Tags of operations.
const (
	tagAuth     = "auth"
	tagUsers    = "users"
	tagProjects = "projects"
	tagMembers  = "members"
	tagTasks    = "tasks"
	tagComments = "comments"
	tagMeta     = "meta"
)

// description is the OpenAPI document without its operations.
func description() huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:   "Trackway",
				Version: apiVersion,
				Description: "Projects, tasks and comments, for apps that retry, go offline and live for years.\n\n" +
					"Lists are bare arrays; all about paging is in the headers. Every thing has a `version`, which is its " +
					"`ETag`: send it back in `If-Match` and no change of another is lost. Send an `Idempotency-Key` with " +
					"every write, and it happens once however often it is sent. Every failure is a problem document " +
					"(RFC 9457). This contract changes only by addition.",
				Contact: &huma.Contact{Name: "Trackway", URL: "https://github.com/trackway/trackway"},
				License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Servers: []*huma.Server{{
				URL: "/", Description: "The installation that serves this document, be it production, staging or local.",
				Extensions: map[string]any{"x-internal": false},
			}},
			Tags: []*huma.Tag{
				{Name: tagAuth, Description: "Accounts and signing in."},
				{Name: tagUsers, Description: "The people."},
				{Name: tagProjects, Description: "Sets of tasks, and who may see them."},
				{Name: tagMembers, Description: "Who belongs to a project, in which role."},
				{Name: tagTasks, Description: "What is to be done."},
				{Name: tagComments, Description: "What is said about it."},
				{Name: tagMeta, Description: "About this API."},
			},
			Components: &huma.Components{
				Schemas:   huma.NewMapRegistry(schemaPrefix, huma.DefaultSchemaNamer),
				Responses: problemResponses(),
				Headers:   commonHeaders(),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {
						Type: "http", Scheme: "bearer", BearerFormat: "JWT",
						Description: "An access token from /api/auth/login/: a JWT (RFC 9068) that is made and verified " +
							"as RFC8725 recommends: one algorithm (EdDSA), a type, an issuer, an audience and an expiry. " +
							"Or a personal access token (twk_…) from /api/users/me/tokens/, which can do what its scopes are for.",
					},
				},
			},
		},
		Formats:       formats(),
		DefaultFormat: jsonType,
	}
}

// commonHeaders are those of every answer.
func commonHeaders() map[string]*huma.Header {
	const text = `^[\x20-\x7E]*$`
	return map[string]*huma.Header{
		"X-Request-Id":  headerOf("Names this request.", text),
		"Server-Timing": headerOf("How long the answer took, in milliseconds, and its trace; of a failure the trace only (W3C Server Timing).", text),
		"RateLimit": headerOf("How many requests are left, and after how many seconds all are again "+
			"(draft-ietf-httpapi-ratelimit-headers).", text),
		"RateLimit-Policy":            headerOf("How many requests there are, in how many seconds.", text),
		"Access-Control-Allow-Origin": headerOf("The origin of the page that asks, if it is allowed.", text),
	}
}

const maxHeader = 500

func headerRefs() map[string]*huma.Header {
	refs := make(map[string]*huma.Header)
	for name := range commonHeaders() {
		refs[name] = &huma.Header{Ref: "#/components/headers/" + name}
	}
	return refs
}

// problemResponses is one reusable response for each code's HTTP status.
func problemResponses() map[string]*huma.Response {
	all := make(map[string]*huma.Response)
	for _, code := range errs.Codes() {
		if code == errs.MethodNotAllowed {
			continue // belongs to no operation
		}
		status := strconv.Itoa(code.HTTP())
		if code == errs.InsufficientScope {
			all[status].Headers["WWW-Authenticate"] = headerOf("Which scope the token lacks, if it is that (RFC 6750).", `^Bearer.*$`)
		}
		if r := all[status]; r != nil {
			r.Description += " Or: " + code.Title() + " (`" + string(code) + "`)."
			continue
		}
		r := &huma.Response{
			Description: code.Title() + " (`" + string(code) + "`).",
			Headers:     headerRefs(),
			Content:     map[string]*huma.MediaType{problemType: {Schema: &huma.Schema{Ref: schemaPrefix + "Problem"}}},
		}
		if code == errs.Unauthenticated {
			r.Headers["WWW-Authenticate"] = headerOf("How to sign in (RFC 6750).", `^Bearer.*$`)
		}
		if code == errs.RateLimited || code == errs.Unavailable || code == errs.InProgress {
			r.Headers["Retry-After"] = headerOf("When to try again, in seconds.", `^[0-9]+$`)
		}
		all[status] = r
	}
	return all
}

func headerOf(description, pattern string) *huma.Header {
	most := maxHeader
	return &huma.Header{
		Description: description, Schema: &huma.Schema{Type: huma.TypeString, Pattern: pattern, MaxLength: &most},
	}
}

// operation describes an operation that needs a caller.
func operation(method, path, id, tag, summary, description string) huma.Operation {
	return huma.Operation{
		Method: method, Path: path, OperationID: id, Tags: []string{tag}, Summary: summary, Description: description,
		Security: []map[string][]string{{"bearer": {}}},
	}
}

// public makes an operation one that needs no caller. A token may be sent to it, and must then be a good one.
func public(op huma.Operation) huma.Operation {
	op.Security = []map[string][]string{{}, {"bearer": {}}}
	return op
}

// refusals adds problems to those that follow from an operation's form.
func refusals(op huma.Operation, statuses ...int) huma.Operation {
	op.Errors = append(op.Errors, statuses...)
	return op
}

// example gives an operation a body that anybody may send as it stands, where one of each field's own example would be refused.
func example(op huma.Operation, body map[string]any) huma.Operation {
	op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{jsonType: {Example: body}}}
	return op
}

// secured reports whether an operation needs a caller.
func secured(op *huma.Operation) bool {
	return !slices.ContainsFunc(op.Security, func(s map[string][]string) bool { return len(s) == 0 })
}

// document completes an operation by what follows from its form: the status of success, and the problems it can have.
func document(op *huma.Operation, conditional, bulk bool) {
	statuses := []errs.Code{
		errs.Invalid, errs.Unauthenticated, errs.NotAcceptable, errs.RequestTimeout, errs.RateLimited, errs.Internal,
		errs.Unavailable, errs.DeadlineExceeded, errs.URITooLong, errs.HeadersTooLarge,
	}
	if secured(op) {
		statuses = append(statuses, errs.Denied, errs.NotFound)
		op.Parameters = append(op.Parameters, explainParameter())
	}
	if op.Method != http.MethodGet {
		statuses = append(statuses, errs.Conflict, errs.KeyReused)
	}
	switch op.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		statuses = append(statuses, errs.TooLarge, errs.UnsupportedMediaType)
		op.MaxBodyBytes = -1    // ours is in body.go
		op.BodyReadTimeout = -1 // and how fast it must come, the edge says
	}
	if conditional || bulk {
		statuses = append(statuses, errs.PreconditionFailed)
		if tag := op.Tags[0]; tag == tagProjects || tag == tagTasks || tag == tagComments {
			statuses = append(statuses, errs.PreconditionRequired)
		}
	}
	op.Responses = make(map[string]*huma.Response)
	problem := func(status int) {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/" + strconv.Itoa(status)}
	}
	for _, code := range statuses {
		problem(code.HTTP())
	}
	for _, status := range op.Errors {
		problem(status)
	}
	switch {
	case op.Method == http.MethodPost && op.DefaultStatus == 0:
		op.DefaultStatus = http.StatusCreated
	case op.Method == http.MethodGet:
		op.Responses["304"] = &huma.Response{
			Description: "It has not changed (If-None-Match).", Headers: headerRefs(),
		}
	}
	if op.Method == http.MethodPatch && conditional {
		sent := &huma.MediaType{} // huma adds the schema
		if op.RequestBody != nil {
			sent = op.RequestBody.Content[jsonType]
		}
		op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{patchType: sent, jsonType: sent}}
	}
}

// finish completes the document when all operations are in it.
func finish(doc *huma.OpenAPI) {
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			for _, p := range op.Parameters {
				finishSchema(p.Schema)
			}
			for _, r := range op.Responses {
				if r.Ref != "" {
					continue
				}
				if r.Headers == nil {
					r.Headers = make(map[string]*huma.Header)
				}
				for _, h := range r.Headers {
					if h.Schema != nil {
						finishSchema(h.Schema)
					}
				}
				maps.Copy(r.Headers, headerRefs())
				retirementOf(op).document(r.Headers)
			}
			if op == item.Get {
				validate(op)
			}
		}
	}
	for _, s := range doc.Components.Schemas.Map() {
		finishSchema(s)
	}
}

// validate documents what conditional does for every read, whose handler knows nothing of it: the ETag, and the condition,
// which is no parameter that is checked, as one that is malformed is none.
func validate(op *huma.Operation) {
	whole, unchanged := op.Responses["200"].Headers, op.Responses["304"].Headers
	if whole["ETag"] == nil {
		whole["ETag"] = headerOf("Changes when anything in this answer does.", `^".*"$`)
	}
	for _, name := range []string{"ETag", "Link", "X-Total-Count"} {
		if h := whole[name]; h != nil {
			unchanged[name] = h
		}
	}
	h := headerOf("Answers 304 if the ETag is one of these, as what the client has is good still.", `^[\x20-\x7E]*$`)
	op.Parameters = append(op.Parameters, &huma.Param{
		Name: ifNoneMatch, In: "header", Description: h.Description, Schema: h.Schema,
	})
}

// The bounds of what needs none for our sake, which clients and generators need all the same.
const (
	// maxInteger is the largest that every JSON implementation reads exactly (RFC 7493, section 2.2).
	maxInteger = 1<<53 - 1
	// maxDate and maxMoment are lengths of RFC 3339: a full-date, and a date-time with an offset and nanoseconds.
	maxDate   = 10
	maxMoment = 35
)

// finishSchema bounds every integer and every date, puts null among the values of an enumeration that may be null,
// without which JSON Schema refuses it, and takes out what only huma understands.
func finishSchema(s *huma.Schema) {
	for _, p := range s.Properties {
		finishSchema(p)
	}
	if s.Items != nil {
		finishSchema(s.Items)
	}
	switch {
	case s.Type == huma.TypeInteger && s.Maximum == nil:
		most := float64(maxInteger)
		s.Maximum = &most
		s.PrecomputeMessages()
	case s.Format == "date" && s.MaxLength == nil:
		most := maxDate
		s.MaxLength = &most
		s.PrecomputeMessages()
	case s.Format == "date-time" && s.MaxLength == nil:
		most := maxMoment
		s.MaxLength = &most
		s.PrecomputeMessages()
	}
	if s.Nullable && s.Enum != nil && !slices.Contains(s.Enum, nil) {
		s.Enum = append(slices.Clone(s.Enum), nil)
	}
	s.PatternDescription = "" // it is in huma's message by now
}

// registerIndex adds what describes the API itself, when all else is there, and gives the OpenAPI document.
func (a *api) registerIndex() []byte {
	register(a, public(operation(http.MethodGet, "/api/", "getIndex", tagMeta, "List the resources",
		"Gives the address of each collection.")), index)

	text := a.document()
	var yml bytes.Buffer
	if err := yaml.Convert(&yml, bytes.NewReader(text)); err != nil {
		panic(fmt.Sprintf("write the OpenAPI document: %v", err))
	}
	a.file("/api/openapi.json", jsonType, text)
	a.file("/api/openapi.yaml", "application/yaml", yml.Bytes())
	a.mux.HandleFunc("GET /.well-known/jwks.json", conditional(a.keys))
	a.file("/.well-known/oauth-authorization-server", jsonType, a.metadata())
	return text
}

// metadata says where the keys are that verify access tokens (RFC 8414). Of OAuth there is no more: tokens come from the
// operations of this API, and there is no response type and no grant.
func (a *api) metadata() []byte {
	b, err := json.Marshal(map[string]any{
		"issuer": a.issuer, "jwks_uri": strings.TrimRight(a.issuer, "/") + "/.well-known/jwks.json",
		"scopes_supported": auth.Scopes(), "response_types_supported": []string{}, "grant_types_supported": []string{},
		"service_documentation": strings.TrimRight(a.issuer, "/") + "/docs",
	}, json.Deterministic(true))
	if err != nil {
		panic(fmt.Sprintf("write the metadata: %v", err)) // its parts are all text
	}
	return b
}

// document writes the OpenAPI document, when all operations are in it.
func (a *api) document() []byte {
	doc := a.huma.OpenAPI()
	finish(doc)
	text, err := doc.MarshalJSON()
	if err != nil {
		panic(fmt.Sprintf("write the OpenAPI document: %v", err)) // a mistake in the types, found by every test
	}
	return text
}

// Document is the OpenAPI document as it is served at /api/openapi.json. It needs no service.
func Document() []byte { return Register(http.NewServeMux(), Config{}) }

// file serves a text that never changes.
func (a *api) file(path, media string, text []byte) {
	a.mux.HandleFunc("GET "+path, conditional(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(text) // held back by conditional
	}))
}
