package graph

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
)

// A stream is a connection that outlives a request: a WebSocket, or server-sent events. What both have in common is here.
const (
	// maxStreams is how many streams one caller may have on a replica, and maxAllStreams how many all may.
	maxStreams    = 32
	maxAllStreams = 10_000
	// maxOperations is how many operations may run on one stream at once.
	maxOperations = 50
	// heartbeat is how often something is sent on a stream where nothing happens, so that whoever is between keeps it.
	heartbeat = 12 * time.Second
	// recheck is how often it is looked whether a stream's token still holds. Together with the two seconds in which a
	// process learns of a session's end (auth.Revocations), a stream ends within five.
	recheck = time.Second
	// writeTimeout is how long a client may take to read what is sent. One that is slower is cut off; it can resume.
	writeTimeout = 10 * time.Second
)

// streams are those of this replica.
type streams struct {
	mu       sync.Mutex
	callers  map[int64]int
	count    int
	draining bool
	drain    chan struct{} // closed when all are to end
	open     sync.WaitGroup
	channels map[string]*channel // of single connection mode, by the names that replicas know them by
}

func newStreams() *streams {
	return &streams{callers: make(map[int64]int), drain: make(chan struct{}), channels: make(map[string]*channel)}
}

// enter counts a stream that begins, of nobody yet. The leave that it gives is to be called when it has ended.
func (s *streams) enter() (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining || s.count >= maxAllStreams {
		return nil, noRoom()
	}
	s.count++
	s.open.Add(1)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.count--
		s.open.Done()
	}, nil
}

func noRoom() error {
	e := errs.New(errs.Unavailable, "There is no room for another stream here. Try again shortly.")
	e.Retry = time.Second
	return e
}

// own counts a stream as one of the caller's.
func (s *streams) own(caller int64) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.callers[caller] >= maxStreams {
		e := errs.New(errs.RateLimited, "You have %d streams open already.", maxStreams)
		e.Retry = time.Second
		return nil, e
	}
	s.callers[caller]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.callers[caller]--; s.callers[caller] == 0 {
			delete(s.callers, caller)
		}
	}, nil
}

// tooMany is the error of an operation too much on one stream.
func tooMany() error {
	return errs.New(errs.RateLimited, "At most %d operations run on one connection.", maxOperations)
}

// Run takes what other replicas carry here, and ends all streams when ctx has ended.
func (s *server) Run(ctx context.Context) {
	var listening sync.WaitGroup
	if s.cfg.Peers != nil {
		listening.Go(func() { s.cfg.Peers.Run(ctx, obeyTimeout, s.carried) })
	}
	<-ctx.Done()
	s.drain()
	listening.Wait()
}

// drain ends all streams, and takes no new ones.
func (s *server) drain() {
	s.streams.mu.Lock()
	if !s.streams.draining {
		s.streams.draining = true
		close(s.streams.drain)
	}
	s.streams.mu.Unlock()
	s.streams.open.Wait()
}

// holds is nil while the caller's token is good.
func (s *server) holds(ctx context.Context, caller *auth.Caller) error {
	if !caller.Expires.IsZero() && time.Now().After(caller.Expires) {
		return errs.New(errs.Unauthenticated, "The access token has run out.")
	}
	if s.cfg.Verify == nil {
		return nil
	}
	if _, err := s.cfg.Verify(ctx, caller.Token); errs.Is(err, errs.Unauthenticated) {
		return errs.New(errs.Unauthenticated, "The access token is not valid any more.")
	}
	return nil
}

// stream executes an operation of a stream and emits its answers, each once the one before is written. refused is its
// answer when it was not executed, or what ended it.
func (s *server) stream(ctx context.Context, p parameters, emit func(*graphql.Response) error) (refused gqlerror.List) {
	defer func() {
		if p := recover(); p != nil {
			refused = gqlerror.List{s.present(ctx, s.recover(ctx, p))}
		}
	}()
	ctx = graphql.StartOperationTrace(ctx)
	if err := p.complete(); err != nil {
		return gqlerror.List{s.present(ctx, err)}
	}
	c, refusal := s.check(ctx, p)
	if refusal != nil {
		return refusal.Errors
	}
	budget, err := s.charge(ctx, http.Header{}, c.op)
	if err != nil {
		return gqlerror.List{s.present(ctx, err)}
	}
	c.keep(ctx)
	if c.op.Operation.Operation != ast.Subscription {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		res := s.answerWhole(ctx, c.raw, c.op)
		res.Extensions = costs(c.op, budget)
		if err := emit(res); err != nil {
			s.cfg.Log.DebugContext(ctx, "client has gone", "error", err)
		}
		return nil
	}
	return s.subscribe(ctx, c.op, emit)
}

func (s *server) subscribe(ctx context.Context, op *graphql.OperationContext, emit func(*graphql.Response) error) (ended gqlerror.List) {
	ctx, cancel := context.WithCancel(ctx)
	ctx, end := s.watch.begin(ctx, op)
	defer func() { end(ended) }()
	r := s.resolver()
	defer r.feeds.Wait()
	defer cancel()
	run := executor.New(s.executable(r))
	run.SetErrorPresenter(s.present)
	run.SetRecoverFunc(s.recover)
	op.ResolverMiddleware = s.watch.resolve
	next, opCtx := run.DispatchOperation(ctx, op)
	for {
		r.forget() // what was loaded for the last event may be other now
		res := next(r.await(opCtx))
		switch {
		case ctx.Err() != nil:
			return nil
		case res == nil && r.ended != nil:
			return gqlerror.List{s.present(ctx, r.ended)}
		case res == nil:
			return nil
		case res.Data == nil && len(res.Errors) > 0:
			return res.Errors
		}
		if err := emit(res); err != nil {
			s.cfg.Log.DebugContext(ctx, "client has gone", "error", err)
			return nil
		}
	}
}

// over reports whether errors say that the caller may not see any more what it followed.
func over(list gqlerror.List) bool {
	for _, e := range list {
		if c := e.Extensions["code"]; c == code(errs.NotFound) || c == code(errs.Denied) {
			return true
		}
	}
	return false
}
