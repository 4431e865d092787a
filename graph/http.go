package graph

import (
	"cmp"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/telemetry"
)

// GraphQL over HTTP, https://graphql.github.io/graphql-over-http/draft/. gqlgen's own transports are not used: they
// quote the request in their errors, answer a mutation by GET with 406, and choose other statuses.

const (
	// mediaJSON answers 200 to whatever was a well-formed request.
	mediaJSON = "application/json"
	// mediaResponse answers 400 to what could not be executed.
	mediaResponse = "application/graphql-response+json"
)

// ServeHTTP executes one operation, or serves a stream of them.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	get := *r
	if r.Method == http.MethodHead { // GET, whose body net/http leaves out
		get.Method = http.MethodGet
	}
	switch {
	case r.Method != http.MethodHead && (r.URL.Path == StreamPath || acceptsEvents(r)):
		s.serveEvents(w, r.WithContext(graphql.StartOperationTrace(r.Context())))
	case r.Method != http.MethodHead && r.Header.Get("Upgrade") != "":
		s.serveSocket(w, r)
	case s.cfg.GraphiQL && get.Method == http.MethodGet && servePage(w, &get):
	default:
		s.serveOne(w, &get)
	}
}

func (s *server) serveOne(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(graphql.StartOperationTrace(r.Context()), timeout)
	defer cancel()
	media, err := accepted(r.Header.Values("Accept"))
	if media == mediaEvents { // by HEAD, which has no events
		media = mediaJSON
	}
	if err != nil {
		s.refuse(ctx, w, mediaJSON, err)
		return
	}
	params, err := read(r)
	if err != nil {
		if errs.Is(err, errs.MethodNotAllowed) {
			w.Header().Set("Allow", "GET, HEAD, POST")
		}
		s.refuse(ctx, w, media, err)
		return
	}
	if params.Extensions[explainName] == true {
		ctx = context.WithValue(ctx, explainKey{}, true)
	}
	defer func() {
		if p := recover(); p != nil {
			s.refuse(ctx, w, media, s.recover(ctx, p))
		}
	}()
	status := http.StatusOK // of what could not be executed
	if media == mediaResponse {
		status = http.StatusBadRequest
	}
	c, refusal := s.check(ctx, params)
	switch {
	case refusal != nil:
		s.write(ctx, w, media, status, refusal)
		return
	case c.op.Operation.Operation == ast.Subscription:
		s.refuse(ctx, w, media, errs.New(errs.NotAcceptable, "Subscribe by WebSocket, or accept text/event-stream."))
		return
	case r.Method == http.MethodGet && c.op.Operation.Operation != ast.Query:
		w.Header().Set("Allow", http.MethodPost)
		s.refuse(ctx, w, media, errs.New(errs.MethodNotAllowed, "GET is for queries; send a mutation by POST."))
		return
	}
	budget, err := s.charge(ctx, w.Header(), c.op)
	if err != nil {
		s.refuse(ctx, w, media, err, costs(c.op, budget))
		return
	}
	c.keep(ctx)
	res, kept := s.answer(ctx, c.raw, c.op)
	if kept.packed() && s.cfg.Gzip != nil && s.cfg.Gzip(ctx) {
		end := s.encode(ctx, &graphql.Response{Extensions: costs(c.op, budget)})
		if end[0] = ','; len(end) == len("{}") {
			end = end[1:]
		}
		if body, ok := cache.Extend(make([]byte, 0, len(kept)+len(end)+packedRoom), kept, end); ok {
			w.Header().Set("Content-Encoding", "gzip")
			s.send(ctx, w, media, http.StatusOK, body)
			return
		}
	}
	if res == nil {
		res = s.unpacked(ctx, c.op, kept)
	}
	res.Extensions = costs(c.op, budget)
	s.write(ctx, w, media, http.StatusOK, res)
}

// checked is an operation that may run.
type checked struct {
	raw  *graphql.RawParams
	op   *graphql.OperationContext
	keep func(context.Context) // stores the document, if it was sent to be persisted
}

// check finds the document of a request, validates it and prices it. A refusal is the answer to one that is no good.
func (s *server) check(ctx context.Context, p parameters) (c *checked, refusal *graphql.Response) {
	raw, keep, err := s.document(ctx, p)
	if err != nil {
		return nil, &graphql.Response{Errors: gqlerror.List{s.present(ctx, err)}}
	}
	op, list := s.checks.CreateOperationContext(ctx, raw)
	if len(list) > 0 {
		res := s.checks.DispatchError(graphql.WithOperationContext(ctx, op), list[:min(len(list), maxErrors)])
		res.Extensions = costs(op, nil)
		return nil, res
	}
	return &checked{raw, op, keep}, nil
}

// execute runs a checked operation with resolvers of its own.
func (s *server) execute(ctx context.Context, op *graphql.OperationContext) (res *graphql.Response) {
	ctx, end := s.watch.begin(ctx, op)
	defer func() { end(res.Errors) }()
	r := s.resolver()
	if res := r.breadth(ctx, op); res != nil {
		return res
	}
	run := executor.New(s.executable(r))
	run.SetErrorPresenter(s.present)
	run.SetRecoverFunc(s.recover)
	if telemetry.Recorded(ctx) {
		op.ResolverMiddleware = s.watch.resolve
	}
	answer, ctx := run.DispatchOperation(ctx, op)
	if response := answer(ctx); response != nil {
		return response
	}
	late := errs.New(errs.DeadlineExceeded, "The request took too long.") // the context has ended
	return &graphql.Response{Errors: gqlerror.List{s.present(ctx, late)}}
}

// refuse answers a request whose operation is not executed, or that has none.
func (s *server) refuse(ctx context.Context, w http.ResponseWriter, media string, err error, ext ...map[string]any) {
	e := errs.From(err)
	if e.Retry > 0 {
		w.Header().Set("Retry-After", seconds(e.Retry))
	}
	status := e.Code.HTTP()
	res := &graphql.Response{Errors: gqlerror.List{s.present(ctx, err)}}
	if len(ext) > 0 {
		res.Extensions = ext[0]
	}
	s.write(ctx, w, media, status, res)
}

// write sends a response.
func (s *server) write(ctx context.Context, w http.ResponseWriter, media string, status int, res *graphql.Response) {
	s.send(ctx, w, media, status, s.encode(ctx, res))
}

// packedRoom is what Extend adds beside the bytes, for as little as we add.
const packedRoom = 16

func (s *server) send(ctx context.Context, w http.ResponseWriter, media string, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", media+"; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Add("Vary", "Accept")
	h.Set("Cache-Control", "no-store") // answers are for one caller
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		s.cfg.Log.DebugContext(ctx, "client has gone", "error", err)
	}
}

// encode writes a response as JSON. One without data was not executed, and says so by leaving the member out.
func (s *server) encode(ctx context.Context, res *graphql.Response) []byte {
	const ends = 256 // room for the rest
	body := append(make([]byte, 0, len(res.Data)+ends), '{')
	if len(res.Errors) > 0 && s.cfg.Failed != nil {
		s.cfg.Failed(ctx)
	}
	if len(res.Errors) > 0 {
		body = append(append(body, `"errors":`...), s.encodeErrors(ctx, res.Errors)...)
	}
	if res.Data != nil {
		if len(body) > 1 {
			body = append(body, ',')
		}
		body = append(append(body, `"data":`...), res.Data...)
	}
	if len(res.Extensions) > 0 {
		text, err := json.Marshal(res.Extensions, json.Deterministic(true))
		if err != nil {
			s.cfg.Log.ErrorContext(ctx, "write extensions", "error", err)
			text = []byte("{}")
		}
		if len(body) > 1 {
			body = append(body, ',')
		}
		body = append(append(body, `"extensions":`...), text...)
	}
	return append(body, '}')
}

func (s *server) encodeErrors(ctx context.Context, list gqlerror.List) []byte {
	text, err := json.Marshal(list, json.Deterministic(true))
	if err != nil {
		s.cfg.Log.ErrorContext(ctx, "write errors", "error", err)
		text = []byte(`[{"message":"Something went wrong on our side.","extensions":{"code":"INTERNAL"}}]`)
	}
	return text
}

// accepted chooses the media type of the answer: the first of the most wanted that we have. That of events is the choice
// of those only who do not want one answer more: clients name it last with everything they send.
func accepted(headers []string) (string, error) {
	type want struct {
		media string
		q     float64
	}
	var wants []want
	for part := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if text, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(text, 64); err != nil {
				continue
			}
		}
		if charset, ok := params["charset"]; q > 0 && (!ok || strings.EqualFold(charset, "utf-8")) {
			wants = append(wants, want{media, q})
		}
	}
	if strings.TrimSpace(strings.Join(headers, "")) == "" {
		return mediaJSON, nil
	}
	slices.SortStableFunc(wants, func(a, b want) int { return cmp.Compare(b.q, a.q) })
	for _, w := range wants {
		switch w.media {
		case mediaResponse, mediaEvents:
			return w.media, nil
		case mediaJSON, "application/*", "*/*":
			return mediaJSON, nil
		}
	}
	return "", errs.New(errs.NotAcceptable, "The answer is %s, %s or %s.", mediaResponse, mediaJSON, mediaEvents)
}

// read takes the parameters of a request.
func read(r *http.Request) (p parameters, err error) {
	switch r.Method {
	case http.MethodGet:
		p, err = readQuery(r.URL)
	case http.MethodPost:
		p, err = readBody(r)
	default:
		err = errs.New(errs.MethodNotAllowed, "Send GraphQL by POST, or queries by GET.")
	}
	if err == nil {
		err = p.complete()
	}
	return p, err
}

// complete is an error for a request without an operation.
func (p parameters) complete() error {
	if p.Query == nil && p.DocumentID == nil && p.Extensions[persistedQuery] == nil {
		return errs.New(errs.Invalid, "There is no query.")
	}
	return nil
}

// parameters are those of the specification. The pointers tell what is absent.
type parameters struct {
	Query         *string        `json:"query"`
	DocumentID    *string        `json:"documentId"`    //nolint:tagliatelle // the specification's spelling
	OperationName string         `json:"operationName"` //nolint:tagliatelle // the specification's spelling
	Variables     map[string]any `json:"variables"`
	Extensions    map[string]any `json:"extensions"`
}

func readBody(r *http.Request) (p parameters, err error) {
	body, err := readJSON(r)
	if err != nil {
		return p, err
	}
	return p, decode(body, &p)
}

// readJSON takes the body of a request that must be JSON.
func readJSON(r *http.Request) ([]byte, error) {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, named := params["charset"]
	if err != nil || media != mediaJSON || named && !strings.EqualFold(charset, "utf-8") {
		return nil, errs.New(errs.UnsupportedMediaType, "Send Content-Type: application/json, in UTF-8.")
	}
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errs.New(errs.TooLarge, "The request has more than %d bytes.", tooLarge.Limit)
	case errs.Is(err, errs.RequestTimeout): // which is worth another try
		return nil, err //nolint:wrapcheck // in the words of whoever bounds the body
	case err != nil:
		return nil, errs.New(errs.Invalid, "The request could not be read to its end.").Because(err)
	}
	return body, nil
}

func readQuery(u *url.URL) (p parameters, err error) {
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return p, errs.New(errs.Invalid, "The query string is malformed.")
	}
	p.OperationName = values.Get("operationName")
	for name, to := range map[string]**string{"query": &p.Query, "documentId": &p.DocumentID} {
		if text := values.Get(name); values.Has(name) {
			*to = &text
		}
	}
	if !utf8.ValidString(values.Get("query")) {
		return p, errs.New(errs.Invalid, "The query is not UTF-8.")
	}
	for name, to := range map[string]*map[string]any{"variables": &p.Variables, "extensions": &p.Extensions} {
		text := values.Get(name)
		if text == "" {
			continue
		}
		if err := decode([]byte(text), to); err != nil {
			return p, err
		}
	}
	return p, nil
}

// decode reads JSON as GraphQL means it: a number without a fraction or exponent that fits is an int64.
func decode(text []byte, to any) error {
	values := 0
	err := json.Unmarshal(text, to, json.WithUnmarshalers(json.UnmarshalFromFunc(
		func(dec *jsontext.Decoder, to *any) error {
			if values++; values > maxValues {
				return errors.New("too many values")
			}
			if dec.PeekKind() != '0' {
				return errors.ErrUnsupported
			}
			value, err := dec.ReadValue()
			if err != nil {
				return err
			}
			if i, err := strconv.ParseInt(string(value), 10, 64); err == nil {
				*to = i
				return nil
			}
			f, err := strconv.ParseFloat(string(value), 64)
			*to = f
			return err
		})))
	switch {
	case values > maxValues:
		return errs.New(errs.TooLarge, "The variables have more than %d values.", maxValues)
	case err != nil:
		return errs.New(errs.Invalid, "The request is not a JSON object with query, operationName, variables and "+
			"extensions of the right types.").Because(err)
	}
	return nil
}
