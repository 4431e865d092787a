package edge

import (
	"net/http"
	"slices"
	"strings"
)

// What pages of other origins may send and see (the Fetch standard, section 3.3). Tokens travel in a header, so
// credentials of the browser are never needed.
const (
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
	corsSend    = "Authorization, Content-Type, Accept, Idempotency-Key, If-Match, If-None-Match, X-Request-Id, Traceparent, " +
		"Tracestate, X-GraphQL-Event-Stream-Token"
	corsMaxAge = "7200" // seconds; browsers keep it no longer
)

// corsExpose are the headers of an answer that a page may read.
var corsExpose = strings.Join([]string{ //nolint:gochecknoglobals // a constant
	"ETag", "Link", "Location", "X-Total-Count", "Idempotency-Replayed", "RateLimit", "RateLimit-Policy", "Retry-After",
	"X-Request-Id", "Server-Timing", "WWW-Authenticate", "Allow",
}, ", ")

// cors lets pages of the origins call, and answers their browsers' questions beforehand. These cost nothing of what the
// caller may ask for: whoever asks is not known yet, and others may share the address. tell says what is left.
func cors(next http.Handler, origins []string, tell func(http.Header, *http.Request)) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		allowed := origin != "" && (slices.Contains(origins, origin) || slices.Contains(origins, "*"))
		if allowed {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Expose-Headers", corsExpose)
			h.Set("Timing-Allow-Origin", origin) // or a page's own measurements lack what Server-Timing says
		}
		if origin == "" || r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
			next.ServeHTTP(w, r)
			return
		}
		h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
		if allowed {
			h.Set("Access-Control-Allow-Methods", corsMethods)
			h.Set("Access-Control-Allow-Headers", corsSend)
			h.Set("Access-Control-Max-Age", corsMaxAge)
		}
		tell(h, r)
		w.WriteHeader(http.StatusNoContent)
	})
}
