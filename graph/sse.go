package graph

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
)

// GraphQL over server-sent events, https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md. In distinct
// connections mode each operation is a request that accepts text/event-stream. In single connection mode, at
// StreamPath, PUT reserves a stream, GET opens it, POST starts an operation whose events come there, and DELETE ends it
// (single.go).

const (
	// StreamPath is where streams are reserved. In distinct connections mode it is the same as /graphql.
	StreamPath = "/graphql/stream"

	mediaEvents = "text/event-stream"
	// tokenHeader and tokenQuery carry the name of a reserved stream.
	tokenHeader = "X-Graphql-Event-Stream-Token" //nolint:gosec // the name of a header, as net/http spells it
	tokenQuery  = "token"
	// operationIDKey is the extension that names an operation on a stream, and the parameter that ends it.
	operationIDKey = "operationId"
)

// acceptsEvents reports whether the client wants server-sent events more than one answer.
func acceptsEvents(r *http.Request) bool {
	media, err := accepted(r.Header.Values("Accept"))
	return err == nil && media == mediaEvents
}

// Streams reports whether a request to the handler asks for a stream: server-sent events or a WebSocket. HEAD asks for
// one answer, whatever else it says.
func Streams(r *http.Request) bool {
	return r.Method != http.MethodHead && (r.Header.Get("Upgrade") != "" || acceptsEvents(r))
}

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

// eventStream is a stream of server-sent events that is being written.
type eventStream struct {
	ctx    context.Context //nolint:containedctx // the stream's life
	cancel context.CancelFunc
	out    *http.ResponseController
	beat   func(context.Context)

	mu sync.Mutex
	w  io.Writer
}

// admit counts a stream as one of the caller's. leave is to be called when it is over.
func (s *server) admit(caller *auth.Caller) (leave func(), err error) {
	if caller.Token == "" {
		return nil, errs.New(errs.Unauthenticated, "Sign in first.")
	}
	left, err := s.streams.enter()
	if err != nil {
		return nil, err
	}
	disowned, err := s.streams.own(caller.UserID)
	if err != nil {
		left()
		return nil, err
	}
	return func() { disowned(); left() }, nil
}

// open begins a stream that was admitted. end is to be called when it is over; beat, if there is one, is called with
// every heartbeat.
func (s *server) open(w http.ResponseWriter, r *http.Request, caller *auth.Caller, beat func(context.Context)) (e *eventStream, end func()) {
	ctx, cancel := context.WithCancel(r.Context())
	e = &eventStream{ctx: ctx, cancel: cancel, out: http.NewResponseController(w), w: w, beat: beat}
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
	_ = e.send("", "") // a client that has gone ends the stream
	return e, func() {
		cancel()
		running.Wait()
	}
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
			if e.beat != nil {
				e.beat(e.ctx)
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
	caller := auth.CallerFrom(r.Context())
	leave, err := s.admit(caller)
	if err != nil {
		return err
	}
	defer leave()
	e, end := s.open(w, r, caller, nil)
	defer end()
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
