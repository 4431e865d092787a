package edge

import (
	_ "embed" // the page
	"net/http"
	"strings"

	"github.com/swaggest/swgui/v5/static"
	"github.com/vearutop/statigz"
)

// docsPath is where the interactive documentation is; its assets are below it.
const docsPath = "/docs"

// guide leads a person who opens the API in a browser to its documentation; a program gets what it asks for.
func guide(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/", "/api", "/api/", docsPath:
			w.Header().Add("Vary", "Accept")
			// Browsers accept anything besides HTML; a program that wants nothing else is told that there is none.
			accept := r.Header.Get("Accept")
			person := strings.Contains(accept, "text/html") && strings.Contains(accept, "*/*")
			reads := r.Method == http.MethodGet || r.Method == http.MethodHead
			if reads && (r.URL.Path == docsPath || person) {
				http.Redirect(w, r, docsPath+"/", http.StatusSeeOther)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// docsPolicy lets the page run what it holds itself, some of it inline, and call the API it came from.
const docsPolicy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data:; frame-ancestors 'none'"

//go:embed docs.html
var docsPage []byte

// docs is Swagger UI over the OpenAPI document, from files in this program: no other host is asked for anything. The
// page is our own, as swgui would make one by html/template, with which the linker leaves out no method of any type,
// and the program is half as large again.
func docs() http.HandlerFunc {
	assets := http.StripPrefix(docsPath+"/", statigz.FileServer(static.FS))
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", docsPolicy)
		if r.URL.Path != docsPath+"/" {
			known := strings.Trim(r.Header.Get("If-None-Match"), `"`)
			r = r.Clone(r.Context())
			r.Header.Set("If-None-Match", known)
			assets.ServeHTTP(&quoted{ResponseWriter: w, known: known}, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(docsPage) // whoever asked may have gone
	}
}

// quoted puts an ETag into the quotes that RFC 9110 asks for, and repeats it in a 304: the server of the files does neither.
type quoted struct {
	http.ResponseWriter

	known string // what the client has, without quotes
	begun bool
}

// WriteHeader begins the answer.
func (q *quoted) WriteHeader(status int) {
	tag := q.Header().Get("ETag")
	if status == http.StatusNotModified {
		tag = q.known
	}
	if tag != "" && !q.begun {
		q.Header().Set("ETag", `"`+strings.Trim(tag, `"`)+`"`)
	}
	q.begun = true
	q.ResponseWriter.WriteHeader(status)
}

// Write begins the answer with 200, unless it has begun.
func (q *quoted) Write(b []byte) (int, error) {
	if !q.begun {
		q.WriteHeader(http.StatusOK)
	}
	return q.ResponseWriter.Write(b) //nolint:wrapcheck // a writer's own
}

// Unwrap lets http.ResponseController through.
func (q *quoted) Unwrap() http.ResponseWriter { return q.ResponseWriter }
