package edge

import (
	"net/http"
	"strings"

	"github.com/swaggest/swgui"
	"github.com/swaggest/swgui/v5emb"
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

// docs is Swagger UI over the OpenAPI document, from files in this program: no other host is asked for anything.
func docs() http.HandlerFunc {
	ui := v5emb.NewHandlerWithConfig(swgui.Config{
		Title: "Trackway", SwaggerJSON: "/api/openapi.json", BasePath: docsPath,
		SettingsUI: map[string]string{
			"persistAuthorization":   "true", // in the browser's own storage
			"tryItOutEnabled":        "true",
			"displayRequestDuration": "true",
			"validatorUrl":           "null", // it would send the document to another host
		},
	})
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", docsPolicy)
		ui.ServeHTTP(w, r)
	}
}
