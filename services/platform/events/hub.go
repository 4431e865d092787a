package events

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// hubBlock is how long a reader waits in Redis for entries, and so how long it may take to stop.
	hubBlock = time.Second
	// hubCount is how many entries it takes at once.
	hubCount = 500
	// hubPause is how long Redis is left alone after it failed, and how often listeners are then sent to the table.
	hubPause = time.Second
	// maxQueue is how many events wait for a listener; one that is slower is sent to the table.
	maxQueue = 256
)

// Hub reads the streams of services once for a whole process, and passes events on to its listeners. It never waits for
// one of them.
type Hub struct {
	client   redis.UniversalClient
	services []string
	log      *slog.Logger

	mu        sync.Mutex
	listeners map[*Listener]struct{}
	told      map[string]Position // the last event of each service that was passed on; never changed, but replaced
}

// NewHub makes a hub for the events of the services.
func NewHub(client redis.UniversalClient, log *slog.Logger, services ...string) *Hub {
	return &Hub{client: client, services: services, log: log, listeners: make(map[*Listener]struct{}), told: map[string]Position{}}
}

// News is an event of a service.
type News struct {
	*Record

	Service string
}

// Listener gets the events that it wants, in the order of each service.
type Listener struct {
	hub   *Hub
	wants func(News) bool

	mu     sync.Mutex
	queue  []News
	missed bool
	since  map[string]Position // what the hub had told when the first of it came
	ready  chan struct{}
}

// Listen begins to listen. What was published before the call is not heard.
func (h *Hub) Listen(wants func(News) bool) *Listener {
	l := &Listener{hub: h, wants: wants, ready: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listeners[l] = struct{}{}
	return l
}

// Close ends the listening.
func (l *Listener) Close() {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	delete(l.hub.listeners, l)
}

// Ready tells that there is something to take.
func (l *Listener) Ready() <-chan struct{} { return l.ready }

// Take gives what has come. If something was missed, it has to be read from the services' tables first: everything from
// where the listener stands. What is given then may be among it. Up to since, by services, all that it wants had been
// taken before: a listener to whom nothing is told for long need not stand at an event that has been swept away.
func (l *Listener) Take() (news []News, since map[string]Position, missed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	news, since, missed = l.queue, l.since, l.missed
	l.queue, l.since, l.missed = nil, nil, false
	return news, since, missed
}

func (l *Listener) put(n News) {
	l.mu.Lock()
	l.begin()
	if len(l.queue) == maxQueue {
		l.queue, l.missed = nil, true
	} else {
		l.queue = append(l.queue, n)
	}
	l.mu.Unlock()
	l.signal()
}

func (l *Listener) miss() {
	l.mu.Lock()
	l.begin()
	l.queue, l.missed = nil, true
	l.mu.Unlock()
	l.signal()
}

// begin notes where the hub stands, if there is nothing to take yet.
func (l *Listener) begin() {
	if l.since == nil {
		l.since = l.hub.told
	}
}

func (l *Listener) signal() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// each calls f for all listeners.
func (h *Hub) each(f func(*Listener)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		f(l)
	}
}

// passed notes that an event was passed on to all listeners.
func (h *Hub) passed(service string, at Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = maps.Clone(h.told)
	h.told[service] = at
}

// Run reads until ctx ends.
func (h *Hub) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, service := range h.services {
		all.Go(func() { h.follow(ctx, service) })
	}
	all.Wait()
}

// follow reads one stream. Whenever it can not be sure that it has seen every event, the listeners are told so.
func (h *Hub) follow(ctx context.Context, service string) {
	var (
		at      Position
		placed  bool // at is where the reader stands
		failing bool
	)
	for ctx.Err() == nil {
		var err error
		switch {
		case !placed:
			at, err = h.top(ctx, service)
			if placed = err == nil; placed {
				h.each((*Listener).miss)
			}
		default:
			at, placed, err = h.read(ctx, service, at)
		}
		switch {
		case err == nil && failing:
			failing = false
			h.log.InfoContext(ctx, "events come from Redis again", "service", service)
		case err != nil && ctx.Err() == nil:
			if !failing {
				failing = true
				h.log.WarnContext(ctx, "events do not come from Redis: they are read from the service", "service", service, "error", err)
			}
			placed = false
			h.each((*Listener).miss)
			pause(ctx, hubPause)
		}
	}
}

// top is where a stream ends.
func (h *Hub) top(ctx context.Context, service string) (Position, error) {
	last, err := h.client.XRevRangeN(ctx, Stream(service), "+", "-", 1).Result()
	if err != nil || len(last) == 0 {
		return Position{}, err //nolint:wrapcheck // logged by follow
	}
	return ParsePosition(last[0].ID)
}

// read waits for entries after a position, and passes them on. placed is false if the stream has become another one.
func (h *Hub) read(ctx context.Context, service string, at Position) (_ Position, placed bool, err error) {
	streams, err := h.client.XRead(ctx, &redis.XReadArgs{
		Streams: []string{Stream(service), at.String()}, Count: hubCount, Block: hubBlock,
	}).Result()
	if errors.Is(err, redis.Nil) { // nothing new; or the stream was lost, and begins anew at an earlier place
		top, err := h.top(ctx, service)
		return at, err == nil && !top.Before(at), err
	}
	if err != nil {
		return at, false, err //nolint:wrapcheck // logged by follow
	}
	for _, s := range streams {
		for _, m := range s.Messages {
			r, err := decode(m)
			if err != nil {
				return at, false, err
			}
			if r.Previous != at {
				h.each((*Listener).miss)
			}
			at = r.Position
			news := News{r, service}
			h.each(func(l *Listener) {
				if l.wants(news) {
					l.put(news)
				}
			})
			h.passed(service, at)
		}
	}
	return at, true, nil
}
