package graph

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
)

// GraphQL over server-sent events, https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md. In distinct
// connections mode each operation is a request that accepts text/event-stream. In single connection mode, at
// StreamPath, PUT reserves a stream, GET opens it, POST starts an operation whose events come there, and DELETE ends it.

const (
	// StreamPath is where streams are reserved. In distinct connections mode it is the same as /graphql.
	StreamPath = "/graphql/stream"

	mediaEvents = "text/event-stream"
	// tokenHeader and tokenQuery carry the name of a reserved stream.
	tokenHeader = "X-Graphql-Event-Stream-Token" //nolint:gosec // the name of a header, as net/http spells it
	tokenQuery  = "token"
	// operationIDKey is the extension that names an operation on a stream, and the parameter that ends it.
	operationIDKey = "operationId"
	// reservedFor is how long a stream stays reserved that nobody opens.
	reservedFor = time.Minute
)

// acceptsEvents reports whether the client wants server-sent events more than one answer.
func acceptsEvents(r *http.Request) bool {
	media, err := accepted(r.Header.Values("Accept"))
	return err == nil && media == mediaEvents
}

// Streams reports whether a request to the handler asks for a stream: server-sent events or a WebSocket.
func Streams(r *http.Request) bool { return r.Header.Get("Upgrade") != "" || acceptsEvents(r) }

// serveEvents answers what has to do with server-sent events.
func (s *server) serveEvents(w http.ResponseWriter, r *http.Request) {
	token := streamToken(r)
	var err error
	switch {
	case r.Method == http.MethodPut && r.URL.Path == StreamPath:
		err = s.reserve(w, r)
	case token == "" && acceptsEvents(r) && (r.Method == http.MethodGet || r.Method == http.MethodPost):
		err = s.distinct(w, r)
	case token == "":
		err = errs.New(errs.NotAcceptable, "Accept %s, or reserve a stream by PUT.", mediaEvents)
	case r.Method == http.MethodGet:
		err = s.single(w, r, token)
	case r.Method == http.MethodPost:
		err = s.start(w, r, token)
	case r.Method == http.MethodDelete:
		err = s.finish(w, r, token)
	default:
		w.Header().Set("Allow", "GET, POST, PUT, DELETE")
		err = errs.New(errs.MethodNotAllowed, "Streams know GET, POST, PUT and DELETE.")
	}
	if err != nil {
		s.refuse(r.Context(), w, mediaJSON, err)
	}
}

func streamToken(r *http.Request) string {
	if t := r.Header.Get(tokenHeader); t != "" {
		return t
	}
	if r.URL.Path != StreamPath {
		return ""
	}
	return r.URL.Query().Get(tokenQuery)
}

// events is a stream of server-sent events that is being written.
type eventStream struct {
	ctx    context.Context //nolint:containedctx // the stream's life
	cancel context.CancelFunc
	out    *http.ResponseController

	mu sync.Mutex
	w  io.Writer
}

// open begins the stream. leave is to be called when it is over.
func (s *server) open(w http.ResponseWriter, r *http.Request, caller *auth.Caller) (_ *eventStream, leave func(), err error) {
	if caller.Token == "" {
		return nil, nil, errs.New(errs.Unauthenticated, "Sign in first.")
	}
	left, err := s.streams.enter()
	if err != nil {
		return nil, nil, err
	}
	disowned, err := s.streams.own(caller.UserID)
	if err != nil {
		left()
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	e := &eventStream{ctx: ctx, cancel: cancel, out: http.NewResponseController(w), w: w}
	// The server's own bounds are for requests; a write is bounded in send, and reading is over.
	if err := e.out.SetReadDeadline(time.Time{}); err != nil {
		s.cfg.Log.DebugContext(ctx, "a stream without read deadline", "error", err)
	}
	h := w.Header()
	h.Set("Content-Type", mediaEvents+"; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	var running sync.WaitGroup
	running.Go(func() { s.keep(e, caller) })
	leave = func() {
		cancel()
		running.Wait()
		disowned()
		left()
	}
	return e, leave, e.send("", "")
}

// keep sends heartbeats, and ends the stream when its token does not hold any more or this replica stops.
func (s *server) keep(e *eventStream, caller *auth.Caller) {
	defer e.cancel()
	check := time.NewTicker(recheck)
	defer check.Stop()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-s.streams.drain:
			return
		case <-check.C:
			if s.holds(e.ctx, caller) != nil {
				return
			}
		case <-beat.C:
			if e.send("", "") != nil {
				return
			}
		}
	}
}

// send writes an event, or a comment if it has no name, within a time.
func (e *eventStream) send(name, data string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.ctx.Err(); err != nil {
		return err //nolint:wrapcheck // it only ends the stream
	}
	text := ":\n\n"
	if name != "" {
		text = "event: " + name + "\ndata: " + data + "\n\n"
	}
	_ = e.out.SetWriteDeadline(time.Now().Add(writeTimeout)) // where there are none, nothing is slow
	_, err := io.WriteString(e.w, text)
	if err == nil {
		err = e.out.Flush()
	}
	if err != nil {
		e.cancel()
	}
	return err //nolint:wrapcheck // it only ends the stream
}

// distinct executes the one operation of a request, and streams what comes of it.
func (s *server) distinct(w http.ResponseWriter, r *http.Request) error {
	params, err := read(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodGet {
		if err := s.onlyReads(r.Context(), w, params); err != nil {
			return err
		}
	}
	e, leave, err := s.open(w, r, auth.CallerFrom(r.Context()))
	if e == nil {
		return err
	}
	defer leave()
	refused := s.stream(e.ctx, params, func(res *graphql.Response) error {
		return e.send("next", string(s.encode(e.ctx, res)))
	})
	if e.ctx.Err() != nil {
		return nil // not complete: the client may come again
	}
	if refused != nil {
		_ = e.send("next", string(s.encode(e.ctx, &graphql.Response{Errors: refused})))
	}
	_ = e.send("complete", "")
	return nil
}

// onlyReads refuses a mutation by GET.
func (s *server) onlyReads(ctx context.Context, w http.ResponseWriter, p parameters) error {
	c, refusal := s.check(ctx, p)
	if refusal == nil && c.op.Operation.Operation == "mutation" {
		w.Header().Set("Allow", http.MethodPost)
		return errs.New(errs.MethodNotAllowed, "GET is for queries and subscriptions; send a mutation by POST.")
	}
	return nil
}

// reservation is a stream of the single connection mode. It is known to this replica only: behind a balancer, clients
// of this mode need one that keeps them at one replica, or else are told that there is no such stream.
type reservation struct {
	token  string
	caller int64
	expire *time.Timer

	mu         sync.Mutex
	stream     *eventStream // once it is open
	operations map[string]context.CancelFunc
	running    sync.WaitGroup
	ended      bool
}

func (r *reservation) over() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
}

func (s *server) reserve(w http.ResponseWriter, r *http.Request) error {
	caller := auth.CallerFrom(r.Context())
	if caller.Token == "" {
		return errs.New(errs.Unauthenticated, "Sign in first.")
	}
	res := &reservation{token: rand.Text(), caller: caller.UserID, operations: make(map[string]context.CancelFunc)}
	s.streams.mu.Lock()
	mine := 0
	for _, other := range s.streams.reserved {
		if other.caller == caller.UserID {
			mine++
		}
	}
	if mine >= maxStreams || s.streams.draining {
		s.streams.mu.Unlock()
		return errs.New(errs.RateLimited, "You have %d streams reserved already.", mine)
	}
	s.streams.reserved[res.token] = res
	res.expire = time.AfterFunc(reservedFor, func() { s.release(res.token) })
	s.streams.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusCreated)
	_, err := io.WriteString(w, res.token)
	if err != nil {
		s.release(res.token)
	}
	return nil
}

func (s *server) release(token string) {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	delete(s.streams.reserved, token)
}

// reserved finds a stream of the caller's.
func (s *server) reserved(r *http.Request, token string) (*reservation, error) {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	res := s.streams.reserved[token]
	if res == nil || res.caller != auth.CallerFrom(r.Context()).UserID {
		return nil, errs.New(errs.NotFound, "There is no such stream here. Another replica may have it: "+
			"use distinct connections, or reserve one anew.")
	}
	return res, nil
}

// single opens a reserved stream, and lasts until the client or the token goes.
func (s *server) single(w http.ResponseWriter, r *http.Request, token string) error {
	res, err := s.reserved(r, token)
	if err != nil {
		return err
	}
	res.mu.Lock()
	if res.stream != nil {
		res.mu.Unlock()
		return errs.New(errs.Conflict, "The stream is open already.")
	}
	e, leave, err := s.open(w, r, auth.CallerFrom(r.Context()))
	if e == nil {
		res.mu.Unlock()
		return err
	}
	res.expire.Stop()
	res.stream = e
	res.mu.Unlock()
	<-e.ctx.Done()
	s.release(token)
	res.over() // nothing starts from here on
	res.running.Wait()
	leave()
	return nil
}

// start begins an operation whose events come on a reserved stream.
func (s *server) start(w http.ResponseWriter, r *http.Request, token string) error {
	res, err := s.reserved(r, token)
	if err != nil {
		return err
	}
	params, err := read(r)
	if err != nil {
		return err
	}
	id, _ := params.Extensions[operationIDKey].(string)
	if id == "" || len(id) > maxOperationID {
		return errs.New(errs.Invalid, "The operation's id is missing: extensions.operationId.")
	}
	res.mu.Lock()
	defer res.mu.Unlock()
	switch {
	case res.stream == nil || res.ended:
		return errs.New(errs.Conflict, "The stream is not open.")
	case res.operations[id] != nil:
		return errs.New(errs.Conflict, "The stream has an operation with this id.")
	case len(res.operations) >= maxOperations:
		return tooMany()
	}
	ctx, cancel := context.WithCancel(auth.WithCaller(res.stream.ctx, auth.CallerFrom(r.Context())))
	res.operations[id] = cancel
	res.running.Go(func() {
		defer cancel()
		s.pour(ctx, res, id, params)
	})
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// pour executes an operation into a stream.
func (s *server) pour(ctx context.Context, res *reservation, id string, p parameters) {
	tell := func(name string, payload []byte, last bool) error {
		body := struct {
			ID      string `json:"id"`
			Payload any    `json:"payload,omitempty"`
		}{ID: id}
		if payload != nil {
			body.Payload = jsontext.Value(payload)
		}
		text, err := json.Marshal(body)
		if err != nil {
			return err //nolint:wrapcheck // it only ends the operation
		}
		res.mu.Lock()
		defer res.mu.Unlock()
		if ctx.Err() != nil { // ended by the client
			return nil
		}
		if last {
			delete(res.operations, id)
		}
		return res.stream.send(name, string(text))
	}
	refused := s.stream(ctx, p, func(r *graphql.Response) error { return tell("next", s.encode(ctx, r), false) })
	if refused != nil {
		_ = tell("next", s.encode(ctx, &graphql.Response{Errors: refused}), false)
	}
	_ = tell("complete", nil, true)
}

// finish ends an operation of a reserved stream.
func (s *server) finish(w http.ResponseWriter, r *http.Request, token string) error {
	res, err := s.reserved(r, token)
	if err != nil {
		return err
	}
	id := r.URL.Query().Get(operationIDKey)
	if id == "" {
		return errs.New(errs.Invalid, "The operation's id is missing: the parameter operationId.")
	}
	res.mu.Lock()
	defer res.mu.Unlock()
	if cancel, ok := res.operations[id]; ok {
		cancel()
		delete(res.operations, id)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
