package traces

import (
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"time"
)

//go:embed page.html
var pageText string

// Page shows the traces: a list at /, and each by its id at /<id>.
func (c *Collector) Page() http.Handler {
	page := template.Must(template.New("page").Parse(pageText))
	mux := http.NewServeMux()
	show := func(w http.ResponseWriter, data any) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		if err := page.Execute(w, data); err != nil { // the browser has gone
			panic(http.ErrAbortHandler)
		}
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		var list []summary
		for _, t := range c.Last() {
			if len(t.Spans) > 0 {
				list = append(list, summarize(t))
			}
		}
		show(w, map[string]any{"List": list})
	})
	mux.HandleFunc("GET /{id}", func(w http.ResponseWriter, r *http.Request) {
		t := c.Trace(r.PathValue("id"))
		show(w, map[string]any{"Trace": summarize(t), "Rows": rows(t), "Lines": t.Lines})
	})
	return mux
}

// summary is a line of the list.
type summary struct {
	ID, Name string
	At       string
	Took     string
	Spans    int
	Failed   bool
}

func summarize(t Trace) summary {
	s := summary{ID: t.ID, Spans: len(t.Spans)}
	if len(t.Spans) == 0 {
		return s
	}
	begin, end := extent(t)
	first := t.Tree("")[0]
	s.Name, s.At, s.Took = first.Service+": "+first.Name, begin.Local().Format(time.TimeOnly), took(end.Sub(begin))
	s.Failed = slices.ContainsFunc(t.Spans, func(s Span) bool { return s.Failed })
	return s
}

// row is a span on the page. Left and Width are in percent of the trace.
type row struct {
	Placed

	Left, Width string
	Took        string
	Details     []string
}

func rows(t Trace) []row {
	begin, end := extent(t)
	whole := max(end.Sub(begin), 1)
	var all []row
	for _, p := range t.Tree("") {
		r := row{
			Placed: p, Took: took(p.Took), Left: percent(p.Start.Sub(begin), whole), Width: percent(p.Took, whole),
		}
		for _, k := range slices.Sorted(maps.Keys(p.Attributes)) {
			r.Details = append(r.Details, k+" = "+p.Attributes[k])
		}
		all = append(all, r)
	}
	return all
}

func extent(t Trace) (begin, end time.Time) {
	for i, s := range t.Spans {
		if i == 0 || s.Start.Before(begin) {
			begin = s.Start
		}
		if last := s.Start.Add(s.Took); i == 0 || last.After(end) {
			end = last
		}
	}
	return begin, end
}

func percent(part, whole time.Duration) string {
	return fmt.Sprintf("%.2f", 100*float64(part)/float64(whole))
}

func took(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }
