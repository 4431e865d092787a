package graph

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/coder/websocket"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
)

// GraphQL over WebSocket, https://github.com/graphql/graphql-over-http/blob/main/rfcs/GraphQLOverWebSocket.md. gqlgen's
// own transport closes with other codes than the protocol's, and speaks the legacy protocol too.

const (
	socketProtocol = "graphql-transport-ws"
	// initTimeout is how long a client may take to send connection_init.
	initTimeout = 15 * time.Second
	// maxFrame is how long a message of a client may be, in bytes; a document may have half of it.
	maxFrame = 2 * maxDocument
	// maxOperationID is how long a client's name for an operation may be.
	maxOperationID = 128
	// pongTimeout is how long a client may take to show that it is still there.
	pongTimeout = 10 * time.Second
)

// The close codes of the protocol.
const (
	closeBadRequest   websocket.StatusCode = 4400
	closeUnauthorized websocket.StatusCode = 4401
	closeForbidden    websocket.StatusCode = 4403
	closeInitTimeout  websocket.StatusCode = 4408
	closeExists       websocket.StatusCode = 4409
	closeTooManyInits websocket.StatusCode = 4429
)

// message is one of the protocol.
type message struct {
	ID      string         `json:"id,omitempty"`
	Type    string         `json:"type"`
	Payload jsontext.Value `json:"payload,omitempty"`
}

// closing is why a socket is closed.
type closing struct {
	code   websocket.StatusCode
	reason string
}

// Error is the reason.
func (c *closing) Error() string { return c.reason }

func closeWith(code websocket.StatusCode, reason string) error { return &closing{code, reason} }

// socket is one connection.
type socket struct {
	*server

	conn  *websocket.Conn
	inits chan struct{}

	ctx    context.Context //nolint:containedctx // the connection's life
	cancel context.CancelCauseFunc

	mu         sync.Mutex // held while something is sent of an operation, and so as long as the client takes to read it
	operations map[string]context.CancelFunc
	caller     atomic.Pointer[auth.Caller] // once acknowledged; another one when the token is renewed
	running    sync.WaitGroup
	// slots are taken by the operations that run, and by those that the client has ended and that are not wound up yet.
	slots chan struct{}
}

// serveSocket speaks the protocol with one client until either has enough.
func (s *server) serveSocket(w http.ResponseWriter, r *http.Request) {
	if err := s.upgradable(r); err != nil {
		s.refuse(r.Context(), w, mediaJSON, err)
		return
	}
	leave, err := s.streams.enter()
	if err != nil {
		s.refuse(r.Context(), w, mediaJSON, err)
		return
	}
	defer leave()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{socketProtocol}, InsecureSkipVerify: true, // upgradable has looked at the origin
	})
	if err != nil {
		s.cfg.Log.DebugContext(r.Context(), "no WebSocket", "error", err)
		return // it has been answered
	}
	conn.SetReadLimit(maxFrame)
	c := &socket{
		server: s, conn: conn, operations: make(map[string]context.CancelFunc), inits: make(chan struct{}, 1),
		slots: make(chan struct{}, 2*maxOperations), //nolint:mnd // as many may end as begin
	}
	// The request's own context ends when the handler has taken over the connection.
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(r.Context()))
	var fromHeader *auth.Caller
	if auth.CallerFrom(r.Context()).Token != "" {
		fromHeader = auth.CallerFrom(r.Context())
	}
	c.serve(fromHeader)
}

// upgradable refuses a handshake for another protocol, or from a page of another origin: browsers let any page open a
// WebSocket, and leave it to us to look.
func (s *server) upgradable(r *http.Request) error {
	offered := strings.Split(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), ",")
	switch origin := r.Header.Get("Origin"); {
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		return errs.New(errs.Invalid, "The only upgrade is websocket.")
	case !slices.ContainsFunc(offered, func(p string) bool { return strings.TrimSpace(p) == socketProtocol }):
		return errs.New(errs.Invalid, "The WebSocket's subprotocol is %s.", socketProtocol)
	case origin != "" && !s.ours(origin, r.Host):
		return errs.New(errs.Denied, "Pages of this origin may not open a WebSocket here.")
	}
	return nil
}

// ours reports whether pages of the origin are ours, or allowed.
func (s *server) ours(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, host) || slices.Contains(s.cfg.Origins, origin) ||
		slices.Contains(s.cfg.Origins, "*")
}

func (c *socket) serve(fromHeader *auth.Caller) {
	c.running.Go(func() { c.watch() })
	err := c.read(fromHeader)
	c.cancel(err)
	if why, ok := errors.AsType[*closing](context.Cause(c.ctx)); ok {
		_ = c.conn.Close(why.code, why.reason) // a client that has gone need not be told
	} else {
		_ = c.conn.CloseNow()
	}
	c.running.Wait()
}

// end closes the socket for a reason, unless there is one already.
func (c *socket) end(code websocket.StatusCode, reason string) {
	c.cancel(closeWith(code, reason))
}

// read takes what the client sends, until it or the socket ends.
func (c *socket) read(fromHeader *auth.Caller) error {
	for {
		kind, frame, err := c.conn.Read(c.reading())
		if err != nil {
			return err //nolint:wrapcheck // it only ends the socket
		}
		var m message
		if kind != websocket.MessageText || json.Unmarshal(frame, &m) != nil {
			return closeWith(closeBadRequest, "A message is a JSON object with a type")
		}
		if err := c.take(m, fromHeader); err != nil {
			return err
		}
	}
}

// reading is the context of reads. When the socket is to be closed for a reason, the close must still be written, so
// that reason ends the read by closing the connection.
func (c *socket) reading() context.Context { return context.WithoutCancel(c.ctx) }

// take does what a message asks for. An error closes the socket.
func (c *socket) take(m message, fromHeader *auth.Caller) error {
	switch m.Type {
	case "connection_init":
		return c.init(m.Payload, fromHeader)
	case "ping":
		return c.pong(m.Payload)
	case "pong":
		return nil
	case "subscribe":
		return c.subscribe(m)
	case "complete":
		if m.ID == "" {
			return closeWith(closeBadRequest, "A complete has an id")
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if cancel, ok := c.operations[m.ID]; ok {
			cancel()
			delete(c.operations, m.ID) // nothing of it is sent from here on
		}
		return nil
	default:
		return closeWith(closeBadRequest, "There is no message of this type")
	}
}

// init finds out who is there: by the Authorization in the payload of connection_init, or by the header.
func (c *socket) init(payload jsontext.Value, caller *auth.Caller) error {
	if c.known() != nil {
		return closeWith(closeTooManyInits, "Too many initialisation requests")
	}
	sent, err := payloadOf(payload)
	if err != nil {
		return err
	}
	if header := authorization(sent); header != nil {
		if caller, err = c.verify(header); err != nil {
			return err
		}
	}
	if caller == nil {
		return closeWith(closeForbidden, "Forbidden")
	}
	leave, err := c.streams.own(caller.UserID)
	if err != nil {
		return closeWith(websocket.StatusTryAgainLater, errs.From(err).Detail)
	}
	context.AfterFunc(c.ctx, leave)
	c.caller.Store(caller)
	c.inits <- struct{}{}
	return c.send(message{Type: "connection_ack"})
}

// payloadOf is a payload that is an object, if there is one.
func payloadOf(payload jsontext.Value) (sent map[string]any, err error) {
	if len(payload) > 0 && payload.Kind() != 'n' {
		if payload.Kind() != '{' || json.Unmarshal(payload, &sent) != nil {
			return nil, closeWith(closeBadRequest, "The payload of connection_init is an object")
		}
	}
	return sent, nil
}

// authorization is what a payload says like the header of that name, or nil.
func authorization(sent map[string]any) any {
	for name, value := range sent {
		if strings.EqualFold(name, "authorization") {
			if value == nil {
				return ""
			}
			return value
		}
	}
	return nil
}

// verify says who the bearer of a token is. An error closes the socket.
func (c *socket) verify(header any) (*auth.Caller, error) {
	text, _ := header.(string)
	token, ok := auth.Bearer(text)
	if !ok || c.cfg.Verify == nil {
		return nil, closeWith(closeForbidden, "Forbidden")
	}
	caller, err := c.cfg.Verify(c.ctx, token)
	switch {
	case errs.Is(err, errs.Unauthenticated):
		return nil, closeWith(closeForbidden, "Forbidden")
	case err != nil:
		return nil, closeWith(websocket.StatusTryAgainLater, errs.From(err).Detail)
	}
	return caller, nil
}

// pong answers a ping with what it brought. One that brings an Authorization renews the socket's token: everything on the
// socket goes on with the new one, which must be the same user's. The pong then says when that one ends.
func (c *socket) pong(payload jsontext.Value) error {
	var header any
	if payload.Kind() == '{' {
		sent, err := payloadOf(payload)
		if err != nil {
			return err
		}
		header = authorization(sent)
	}
	if header == nil {
		return c.send(message{Type: "pong", Payload: payload})
	}
	before := c.known()
	if before == nil {
		return closeWith(closeUnauthorized, "Unauthorized")
	}
	caller, err := c.verify(header)
	if why, ok := errors.AsType[*closing](err); ok && why.code == websocket.StatusTryAgainLater {
		caller, err = before, nil // nothing is lost yet, and the answer says when it will be
	}
	if err != nil {
		return err
	}
	if caller.UserID != before.UserID {
		return closeWith(closeForbidden, "Forbidden")
	}
	c.caller.Store(caller)
	until := struct {
		ExpiresAt *time.Time `json:"expiresAt"` //nolint:tagliatelle // as GraphQL spells names
	}{}
	if !caller.Expires.IsZero() {
		until.ExpiresAt = &caller.Expires
	}
	text, err := json.Marshal(until)
	if err != nil {
		return err //nolint:wrapcheck // it only ends the socket
	}
	return c.send(message{Type: "pong", Payload: text})
}

// known is who is there, with the token that holds; nil before connection_init.
func (c *socket) known() *auth.Caller { return c.caller.Load() }

// watch closes the socket when its time has come: nobody says who they are, the token does not hold any more, the client
// does not answer, or this replica stops.
func (c *socket) watch() {
	defer func() {
		if why, ok := errors.AsType[*closing](context.Cause(c.ctx)); ok {
			_ = c.conn.Close(why.code, why.reason) // which ends the read
		}
	}()
	late := time.NewTimer(initTimeout)
	defer late.Stop()
	check := time.NewTicker(recheck)
	defer check.Stop()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.streams.drain:
			c.end(websocket.StatusGoingAway, "Going away")
		case <-c.inits:
			late.Stop()
		case <-late.C:
			c.end(closeInitTimeout, "Connection initialisation timeout")
		case <-check.C:
			caller := c.known()
			if caller != nil && c.holds(c.ctx, caller) != nil && c.known() == caller { // not renewed meanwhile
				c.end(closeForbidden, "Forbidden")
			}
		case <-beat.C:
			c.running.Go(c.ping)
		}
	}
}

// ping shows that both ends are there: by a message, since some clients look for one, and by a frame, which every client
// answers.
func (c *socket) ping() {
	if c.known() != nil && c.send(message{Type: "ping"}) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, pongTimeout)
	defer cancel()
	if err := c.conn.Ping(ctx); err != nil && c.ctx.Err() == nil {
		c.cancel(err)
		_ = c.conn.CloseNow()
	}
}

// send writes a message, within a time.
func (c *socket) send(m message) error {
	frame, err := json.Marshal(m)
	if err != nil {
		return err //nolint:wrapcheck // it only ends the socket
	}
	// Not the socket's own: what is being written when it ends would break the close frame.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), writeTimeout)
	defer cancel()
	return c.conn.Write(ctx, websocket.MessageText, frame) //nolint:wrapcheck // it only ends the socket
}

// subscribe starts an operation. What can not begin is answered, and waited for, by the reader: a client that takes no
// answers can send no more.
func (c *socket) subscribe(m message) error {
	if c.known() == nil {
		return closeWith(closeUnauthorized, "Unauthorized")
	}
	var p parameters
	if m.ID == "" || len(m.ID) > maxOperationID || len(m.Payload) == 0 || m.Payload.Kind() != '{' ||
		decode(m.Payload, &p) != nil || p.complete() != nil {
		return closeWith(closeBadRequest, "A subscribe has an id, and a query in its payload")
	}
	ctx, cancel := context.WithCancel(auth.WithCallerNow(c.ctx, c.known))
	if err := c.enlist(m.ID, cancel); err != nil {
		cancel()
		if errs.Is(err, errs.RateLimited) {
			many := gqlerror.List{c.present(c.ctx, err)}
			return c.send(message{ID: m.ID, Type: "error", Payload: c.encodeErrors(c.ctx, many)})
		}
		return err
	}
	select {
	case c.slots <- struct{}{}:
	case <-c.ctx.Done():
		cancel()
		return context.Cause(c.ctx)
	}
	c.running.Go(func() {
		defer func() { <-c.slots }()
		defer cancel()
		c.run(ctx, m.ID, p)
	})
	return nil
}

// enlist makes the operation one of the socket's.
func (c *socket) enlist(id string, cancel context.CancelFunc) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, taken := c.operations[id]; taken {
		return closeWith(closeExists, "Subscriber for "+id[:min(len(id), 64)]+" already exists")
	}
	if len(c.operations) >= maxOperations {
		return tooMany()
	}
	c.operations[id] = cancel
	return nil
}

// run executes an operation and sends what comes of it.
func (c *socket) run(ctx context.Context, id string, p parameters) {
	began := false
	refused := c.counted(ctx)
	if refused == nil {
		refused = c.stream(ctx, p, func(res *graphql.Response) error {
			began = true
			return c.tell(ctx, message{ID: id, Type: "next", Payload: c.encode(ctx, res)}, false)
		})
	}
	m := message{ID: id, Type: "complete"}
	if refused != nil {
		m = message{ID: id, Type: "error", Payload: c.encodeErrors(ctx, refused)}
	}
	if err := c.tell(ctx, m, true); err != nil && c.ctx.Err() == nil {
		c.cancel(err)
		_ = c.conn.CloseNow() // too slow, or gone
	}
	if began && over(refused) {
		c.end(closeForbidden, "Forbidden")
	}
}

// counted is nil if the caller may send one more request: of those on a socket nobody else knows.
func (c *socket) counted(ctx context.Context) gqlerror.List {
	if c.cfg.Count == nil {
		return nil
	}
	if err := c.cfg.Count(ctx); err != nil {
		return gqlerror.List{c.present(ctx, err)}
	}
	return nil
}

// tell sends a message of an operation, unless that has ended. The last one ends it.
func (c *socket) tell(ctx context.Context, m message, last bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil { // completed by the client, whose id may be another operation's by now
		return nil
	}
	if last {
		delete(c.operations, m.ID)
	}
	return c.send(m)
}
