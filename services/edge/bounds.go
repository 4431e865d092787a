package edge

import (
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
