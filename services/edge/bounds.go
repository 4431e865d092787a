package edge

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/trackway/trackway/graph"
	"github.com/trackway/trackway/services/edge/rest"
	"github.com/trackway/trackway/services/platform/errs"
)

const (
	// maxURI has room for the longest query that the operations allow, in bytes.
	maxURI = 16 << 10
	// maxHeaders bounds the names and values of all headers, in bytes.
	maxHeaders = 32 << 10
	// overloadRetry is when a replica that is full may have room again.
	overloadRetry = time.Second
)

// lengths refuses what is too long to be meant.
func lengths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case len(r.RequestURI) > maxURI:
			rest.WriteProblem(w, r, errs.New(errs.URITooLong, "An address may have at most %d bytes.", maxURI))
		case size(r.Header) > maxHeaders:
			rest.WriteProblem(w, r, errs.New(errs.HeadersTooLarge, "The headers may have at most %d bytes.", maxHeaders))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// A request whose body has not arrived has a place among those at once, and to take all places must not be cheap.
const (
	// bodyTimeout is how long a body may take: the largest takes this long at half a megabit a second.
	bodyTimeout = 20 * time.Second
	// slowest is how slowly it may come, in bytes a second, after a while in which nothing need come.
	slowest   = 4 << 10
	bodyGrace = 5 * time.Second
)

// arrive cuts off a client whose body comes too slowly.
func arrive(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody && !streams(r) {
			x := exchangeOf(r.Context())
			x.body = arriving{ReadCloser: r.Body, conn: w}
			r.Body = &x.body
		}
		next.ServeHTTP(w, r)
	})
}

// arriving is the body of a request.
type arriving struct {
	io.ReadCloser

	conn  http.ResponseWriter
	began time.Time // the first Read
	read  int64     // bytes
}

// Read reads some of the body.
func (a *arriving) Read(p []byte) (int, error) {
	if a.began.IsZero() {
		a.began = time.Now()
	}
	conn := http.NewResponseController(a.conn)
	wait := min(bodyGrace+time.Duration(a.read)*time.Second/slowest, bodyTimeout)
	_ = conn.SetReadDeadline(a.began.Add(wait)) // where there are none, nothing is slow
	n, err := a.ReadCloser.Read(p)
	a.read += int64(n)
	if errors.Is(err, io.EOF) { // from here on net/http reads, to see whether the client goes
		_ = conn.SetReadDeadline(time.Time{})
	}
	return n, err //nolint:wrapcheck // as if this layer were not there
}

// atOnce refuses what comes while most requests are at work; 0 is any number. Streams, which last and hardly work, are
// not counted.
func atOnce(next http.Handler, most int) http.Handler {
	if most == 0 {
		return next
	}
	slots := make(chan struct{}, most)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if streams(r) {
			next.ServeHTTP(w, r)
			return
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		default:
			e := errs.New(errs.Unavailable, "Too many requests are being answered at once. Try again shortly.")
			e.Retry = overloadRetry
			rest.WriteProblem(w, r, e)
		}
	})
}

func size(h http.Header) int {
	n := 0
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// streams reports whether a request asks for a stream: server-sent events or a WebSocket. What it does there has
// bounds of its own.
func streams(r *http.Request) bool {
	return (r.URL.Path == "/graphql" || r.URL.Path == graph.StreamPath) && graph.Streams(r)
}
