package graph

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/peers"
)

// The single connection mode of GraphQL over server-sent events. The requests of one client may come to any replica: what
// is reserved is known to all (Config.Peers), the replica that opens a stream has it, and the others carry to it what they
// are asked about it (carry.go). Where Redis is out of reach, a stream is reserved at, and known to, one replica only.

const (
	// reservedFor is how long a stream stays reserved that nobody opens.
	reservedFor = time.Minute
	// keptFor is how long the replicas believe in a stream whose replica does not say that it is there. It does so with
	// every heartbeat.
	keptFor = 3*heartbeat + 4*time.Second
	// shareTimeout bounds what is told to the other replicas.
	shareTimeout = time.Second
)

// channel is a stream of the single connection mode that is open here, or reserved here only.
type channel struct {
	key    channelKey
	caller int64
	expire *time.Timer // while it is reserved here only; nil if others know of it

	mu         sync.Mutex
	claimed    bool
	stream     *eventStream // once it is open
	operations map[string]context.CancelFunc
	running    sync.WaitGroup
	ended      bool
}

func newChannel(key channelKey, caller int64) *channel {
	return &channel{key: key, caller: caller, operations: make(map[string]context.CancelFunc)}
}

func (c *channel) over() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
}

func noStream() error {
	return errs.New(errs.NotFound, "You have no such stream. Reserve one by PUT.")
}

func openAlready() error { return errs.New(errs.Conflict, "The stream is open already.") }

func notOpen() error { return errs.New(errs.Conflict, "The stream is not open.") }

// unreachable is the error of a request that only another replica could answer.
func unreachable(err error) error {
	e := errs.New(errs.Unavailable, "The replica that has the stream can not be reached. Try again shortly.").Because(err)
	e.Retry = time.Second
	return e
}

// reserve makes a stream that any replica may open.
func (s *server) reserve(w http.ResponseWriter, r *http.Request) error {
	caller := auth.CallerFrom(r.Context())
	if caller.Token == "" {
		return errs.New(errs.Unauthenticated, "Sign in first.")
	}
	token := rand.Text()
	key := newChannelKey(token)
	err := s.reserveShared(r.Context(), caller.UserID, key)
	if err != nil && !errors.Is(err, peers.ErrMany) {
		s.cfg.Log.DebugContext(r.Context(), "a stream is reserved at this replica only", "error", err)
		err = s.streams.reserve(newChannel(key, caller.UserID))
	}
	if errors.Is(err, peers.ErrMany) {
		e := errs.New(errs.RateLimited, "You have %d streams reserved or open already.", maxStreams)
		e.Retry = time.Second
		return e
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusCreated)
	_, err = io.WriteString(w, token)
	if err != nil {
		s.release(r.Context(), newChannel(key, caller.UserID))
	}
	return nil
}

// errAlone says that there are no other replicas to know of.
var errAlone = errors.New("nothing is shared with other replicas")

func (s *server) reserveShared(ctx context.Context, caller int64, key channelKey) error {
	if s.cfg.Peers == nil {
		return errAlone
	}
	ctx, cancel := context.WithTimeout(ctx, shareTimeout)
	defer cancel()
	return s.cfg.Peers.Reserve(ctx, caller, key.name(), reservedFor, maxStreams)
}

// reserve keeps a stream that no other replica knows of until it is opened, for a time.
func (s *streams) reserve(c *channel) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return noRoom()
	}
	mine := 0
	for _, other := range s.channels {
		if other.caller == c.caller {
			mine++
		}
	}
	if mine >= maxStreams {
		return peers.ErrMany
	}
	c.expire = time.AfterFunc(reservedFor, func() { s.remove(c.key) })
	s.channels[c.key.name()] = c
	return nil
}

func (s *streams) remove(key channelKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.channels, key.name())
}

// release forgets a stream, here and everywhere.
func (s *server) release(ctx context.Context, c *channel) {
	s.streams.remove(c.key)
	if s.cfg.Peers == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shareTimeout)
	defer cancel()
	if err := s.cfg.Peers.Release(ctx, c.caller, c.key.name()); err != nil {
		s.cfg.Log.DebugContext(ctx, "a stream that has ended is remembered for a while", "error", err)
	}
}

// claim makes this replica the one that has the stream which the caller reserved.
func (s *server) claim(ctx context.Context, caller int64, key channelKey) (*channel, error) {
	if c := s.streams.channel(caller, key.name()); c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case c.claimed:
			return nil, openAlready()
		case !c.expire.Stop():
			return nil, noStream()
		}
		c.claimed = true
		return c, nil
	}
	if s.cfg.Peers == nil {
		return nil, noStream()
	}
	asking, cancel := context.WithTimeout(ctx, shareTimeout)
	defer cancel()
	switch err := s.cfg.Peers.Claim(asking, caller, key.name(), keptFor); {
	case errors.Is(err, peers.ErrNone):
		return nil, noStream()
	case errors.Is(err, peers.ErrTaken):
		return nil, openAlready()
	case err != nil:
		return nil, unreachable(err)
	}
	c := newChannel(key, caller)
	c.claimed = true
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	if s.streams.channels[key.name()] != nil { // somebody else here was faster
		return nil, openAlready()
	}
	s.streams.channels[key.name()] = c
	return c, nil
}

// channel gives a stream of the caller's that this replica has.
func (s *streams) channel(caller int64, name string) *channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.channels[name]; c != nil && c.caller == caller {
		return c
	}
	return nil
}

// single opens a reserved stream, and lasts until the client or the token goes.
func (s *server) single(w http.ResponseWriter, r *http.Request, token string) error {
	caller := auth.CallerFrom(r.Context())
	leave, err := s.admit(caller)
	if err != nil {
		return err
	}
	defer leave()
	c, err := s.claim(r.Context(), caller.UserID, newChannelKey(token))
	if err != nil {
		return err
	}
	c.mu.Lock()
	e, end := s.open(w, r, caller, func(ctx context.Context) { s.keepShared(ctx, c) })
	c.stream = e
	c.mu.Unlock()
	<-e.ctx.Done()
	c.over() // nothing starts from here on
	end()    // and nobody says any more that it is there
	s.release(r.Context(), c)
	c.running.Wait()
	return nil
}

// keepShared tells the others that this replica has the stream still. One that was reserved while Redis was out of reach
// becomes known to them so.
func (s *server) keepShared(ctx context.Context, c *channel) {
	if s.cfg.Peers == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, shareTimeout)
	defer cancel()
	if err := s.cfg.Peers.Keep(ctx, c.caller, c.key.name(), keptFor); err != nil {
		s.cfg.Log.DebugContext(ctx, "other replicas may not know of a stream", "error", err)
	}
}

// start begins an operation whose events come on a reserved stream.
func (s *server) start(w http.ResponseWriter, r *http.Request, token string) error {
	body, err := readJSON(r)
	if err != nil {
		return err
	}
	var p parameters
	if err := decode(body, &p); err != nil {
		return err
	}
	if err := p.complete(); err != nil {
		return err
	}
	id, _ := p.Extensions[operationIDKey].(string)
	if id == "" || len(id) > maxOperationID {
		return errs.New(errs.Invalid, "The operation's id is missing: extensions.operationId.")
	}
	caller, key := auth.CallerFrom(r.Context()), newChannelKey(token)
	if c := s.streams.channel(caller.UserID, key.name()); c != nil {
		err = s.begin(r.Context(), c, caller, id, p)
	} else {
		err = s.carry(r.Context(), caller, key, order{Operation: id, Body: body})
	}
	if err == nil {
		w.WriteHeader(http.StatusAccepted)
	}
	return err
}

// begin begins an operation on a stream that this replica has, unless ctx ends before: then nobody waits for it any more.
func (s *server) begin(ctx context.Context, c *channel, caller *auth.Caller, id string, p parameters) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err() //nolint:wrapcheck // errs knows it
	case c.stream == nil || c.ended:
		return notOpen()
	case c.operations[id] != nil:
		return errs.New(errs.Conflict, "The stream has an operation with this id.")
	case len(c.operations) >= maxOperations:
		return tooMany()
	}
	life, cancel := context.WithCancel(auth.WithCaller(c.stream.ctx, caller))
	c.operations[id] = cancel
	c.running.Go(func() {
		defer cancel()
		s.pour(life, c, id, p)
	})
	return nil
}

// pour executes an operation into a stream.
func (s *server) pour(ctx context.Context, c *channel, id string, p parameters) {
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
		c.mu.Lock()
		defer c.mu.Unlock()
		if ctx.Err() != nil { // ended by the client
			return nil
		}
		if last {
			delete(c.operations, id)
		}
		return c.stream.send(name, string(text))
	}
	refused := s.stream(ctx, p, func(r *graphql.Response) error { return tell("next", s.encode(ctx, r), false) })
	if refused != nil {
		_ = tell("next", s.encode(ctx, &graphql.Response{Errors: refused}), false)
	}
	_ = tell("complete", nil, true)
}

// finish ends an operation of a reserved stream.
func (s *server) finish(w http.ResponseWriter, r *http.Request, token string) error {
	id := r.URL.Query().Get(operationIDKey)
	if id == "" || len(id) > maxOperationID {
		return errs.New(errs.Invalid, "The operation's id is missing: the parameter operationId.")
	}
	caller, key := auth.CallerFrom(r.Context()), newChannelKey(token)
	if c := s.streams.channel(caller.UserID, key.name()); c != nil {
		c.end(id)
	} else if err := s.carry(r.Context(), caller, key, order{Operation: id}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// end ends an operation, if it runs.
func (c *channel) end(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel, ok := c.operations[id]; ok {
		cancel()
		delete(c.operations, id) // nothing of it is sent from here on
	}
}
