package graph

import (
	"bytes"
	"compress/gzip"
	"embed"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
)

// pageFiles are GraphiQL. Its script and its style are kept compressed: they are a quarter of their size then, and most
// clients take them as they are.
//
//go:embed graphiql/index.html graphiql/graphiql.js.gz graphiql/graphiql.css.gz
var pageFiles embed.FS

// pagePolicy lets the page use nothing but what comes from here. Styles may be inline: the menus write them.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"font-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// PageFiles are the names of the files of GraphiQL, which the handler serves below its own path.
func PageFiles() []string { return []string{"graphiql.js", "graphiql.css"} }

// servePage serves GraphiQL and its files to browsers; false if the request is not for them.
func servePage(w http.ResponseWriter, r *http.Request) bool {
	name := path.Base(r.URL.Path)
	switch h := w.Header(); {
	case name == "graphiql.js" || name == "graphiql.css":
		serveFile(w, r, name)
		return true
	case r.URL.RawQuery == "" && wantsPage(r.Header.Values("Accept")):
		text, err := pageFiles.ReadFile("graphiql/index.html")
		if err != nil {
			panic(err) // an embedded file is always there
		}
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("Cache-Control", "no-cache")
		h.Add("Vary", "Accept")
		_, _ = w.Write(text) // the client may have gone
		return true
	}
	return false
}

// wantsPage tells browsers, which name HTML first, from clients of the API.
func wantsPage(accept []string) bool {
	first, _, _ := strings.Cut(strings.Join(accept, ","), ",")
	media, _, err := mime.ParseMediaType(first)
	return err == nil && media == "text/html"
}

func serveFile(w http.ResponseWriter, r *http.Request, name string) {
	packed, err := pageFiles.ReadFile("graphiql/" + name + ".gz")
	if err != nil {
		panic(err) // an embedded file is always there
	}
	h := w.Header()
	h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	h.Set("Cache-Control", "public, max-age=3600")
	h.Add("Vary", "Accept-Encoding")
	if takesGzip(r.Header.Values("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed) // the client may have gone
		return
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		panic(err) // an embedded file is whole
	}
	_, _ = io.Copy(w, unpacked) //nolint:gosec // of our own making
}

// takesGzip tells whether a client accepts what is compressed by gzip.
func takesGzip(accept []string) bool {
	for coding := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		name = strings.TrimSpace(name)
		if name == "gzip" || name == "*" {
			_, q, _ := strings.Cut(weight, "=")
			return strings.Trim(q, "0.") != "" || strings.TrimSpace(q) == ""
		}
	}
	return false
}
