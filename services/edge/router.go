package edge

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/trackway/trackway/services/edge/rest"
	"github.com/trackway/trackway/services/platform/errs"
)

// router is an http.ServeMux whose every answer is ours: a path without its last slash is the same path and no
// redirect, which would lose a body; what does not exist, and a method that does not fit, are problem documents; and
// OPTIONS tells the methods.
type router struct {
	mux *http.ServeMux
	// known has the same patterns, but nothing for all other paths, and so tells 404 and 405 apart.
	known *http.ServeMux
	// whole has the methods of the paths without variables, for which those of a pattern that fits as well mean nothing:
	// /api/tasks/bulk/ is no task.
	whole map[string][]string
}

func newRouter() *router {
	r := &router{http.NewServeMux(), http.NewServeMux(), make(map[string][]string)}
	r.mux.HandleFunc("/", r.other)
	return r
}

// HandleFunc adds a pattern, as http.ServeMux understands it.
func (r *router) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	r.mux.HandleFunc(pattern, handler)
	r.known.HandleFunc(pattern, handler)
	method, path, _ := strings.Cut(pattern, " ")
	if path = strings.TrimSuffix(path, "{$}"); !strings.Contains(path, "{") {
		r.whole[path] = append(r.whole[path], method)
		if method == http.MethodGet {
			r.whole[path] = append(r.whole[path], http.MethodHead)
		}
		slices.Sort(r.whole[path])
	}
}

// ServeHTTP routes the request.
func (r *router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !clean(req.URL) || req.Method == http.MethodConnect {
		// The mux would redirect.
		rest.WriteProblem(w, req, errs.New(errs.NotFound, "There is nothing at this address."))
		return
	}
	if r.needsSlash(req.URL.Path) {
		req = withSlash(req)
	}
	if methods := r.whole[req.URL.Path]; methods != nil && !slices.Contains(methods, req.Method) {
		r.other(w, req)
		return
	}
	r.mux.ServeHTTP(w, req)
	if _, route, ok := strings.Cut(req.Pattern, " "); ok {
		exchangeOf(req.Context()).route = strings.TrimSuffix(route, "{$}")
	}
}

// clean: an encoded slash is none that separates, and nothing of ours has one in its name.
func clean(u *url.URL) bool {
	p := u.Path
	return strings.HasPrefix(p, "/") && !strings.Contains(strings.ToUpper(u.RawPath), "%2F") &&
		(!strings.Contains(p, "//") && !strings.Contains(p, "/.") || path.Clean(p) == strings.TrimSuffix(p, "/"))
}

// needsSlash: a collection or a thing, and no file such as openapi.json.
func (r *router) needsSlash(p string) bool {
	return !strings.HasSuffix(p, "/") && (p == "/api" || strings.HasPrefix(p, "/api/")) && r.whole[p] == nil
}

func withSlash(req *http.Request) *http.Request {
	u := *req.URL
	u.Path += "/"
	if u.RawPath != "" {
		u.RawPath += "/"
	}
	with := *req
	with.URL = &u
	return &with
}

// other answers what no pattern matches.
func (r *router) other(w http.ResponseWriter, req *http.Request) {
	allow := r.allowed(req)
	switch {
	case allow == "":
		rest.WriteProblem(w, req, errs.New(errs.NotFound, "There is nothing at this address."))
	case req.Method == http.MethodOptions:
		w.Header().Set("Allow", allow)
		if strings.Contains(allow, http.MethodPatch) {
			w.Header().Set("Accept-Patch", rest.AcceptPatch(req.URL.Path))
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Allow", allow)
		rest.WriteProblem(w, req, errs.New(errs.MethodNotAllowed, "This address knows %s.", allow))
	}
}

// allowed lists the methods of a path, with OPTIONS, which every path has; it is empty where there is nothing.
func (r *router) allowed(req *http.Request) string {
	if methods := r.whole[req.URL.Path]; methods != nil {
		return strings.Join(methods, ", ") + ", " + http.MethodOptions
	}
	ask := *req
	ask.Method = http.MethodOptions // which no pattern names
	h, pattern := r.known.Handler(&ask)
	if pattern != "" {
		return ""
	}
	var told allow
	h.ServeHTTP(&told, &ask)
	if told.header.Get("Allow") == "" {
		return ""
	}
	return told.header.Get("Allow") + ", " + http.MethodOptions
}

// allow takes the answer of the mux for the sake of its header.
type allow struct{ header http.Header }

// Header keeps the header.
func (a *allow) Header() http.Header {
	if a.header == nil {
		a.header = make(http.Header)
	}
	return a.header
}

// Write drops the body.
func (*allow) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader drops the status.
func (*allow) WriteHeader(int) {}
