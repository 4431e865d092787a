package rest

import (
	"net/url"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
)

// search is the one parameter that may be empty, as apps leave it while a person types.
const search = "search"

// A public cursor is a direction and a service's cursor: the page after that item, or the page before it; without an item
// the first page, or the last.
const (
	afterCursor  = "a."
	beforeCursor = "b."
)

// Listing is what every list can be asked for.
type Listing struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"How many items at most."`
	Cursor string `query:"cursor" maxLength:"4098" pattern:"^[ab]\\.[A-Za-z0-9_-]*$" patternDescription:"a cursor of this list" doc:"Where the page begins: as it stands in the Link header of another page. Not to be made up, nor kept when another order is asked for."`
	Count  bool   `query:"count" default:"false" doc:"Whether to count the whole list, in the header X-Total-Count."`

	at url.URL
}

// Resolve keeps the URL, for the links to other pages.
func (l *Listing) Resolve(ctx huma.Context) []error {
	l.at = ctx.URL()
	return nil
}

// request asks a service for the page.
func (l *Listing) request(ordering []string) *pagev1.PageRequest {
	req := &pagev1.PageRequest{Size: int32(l.Limit), OrderBy: strings.Join(ordering, ","), Count: l.Count, EndsOnly: true}
	if cursor, ok := strings.CutPrefix(l.Cursor, beforeCursor); ok {
		req.Before, req.Backward = cursor, true
	} else {
		req.After = strings.TrimPrefix(l.Cursor, afterCursor)
	}
	return req
}

// List is a page of a list. All about paging is in headers, and the body is the bare items.
type List[V any] struct {
	Link  string `header:"Link" maxLength:"20000" pattern:"^[\\s\\S]*$" example:"</api/tasks/?cursor=a.WyJpZCIsIjEiXQ>; rel=\"next\"" doc:"The pages first, next and prev, as far as there are such (RFC 8288)."`
	Total *int64 `header:"X-Total-Count" nullable:"false" minimum:"0" doc:"The number of items in the whole list, if it was asked for."`
	//nolint:tagliatelle // the header's own name
	ETag string `header:"ETag" maxLength:"100" pattern:"^\".*\"$" doc:"Changes when anything in this answer does."`
	Body []V    `nullable:"false" maxItems:"100"`
}

// list makes the answer of a list.
func list[M, V any](l *Listing, items []M, info *pagev1.PageInfo, view func(M) V) *List[V] {
	views := make([]V, 0, len(items))
	for _, m := range items {
		views = append(views, view(m))
	}
	return listOf(l, views, info)
}

// listOf makes the answer of a list whose items are views already.
func listOf[V any](l *Listing, views []V, info *pagev1.PageInfo) *List[V] {
	return &List[V]{Link: l.links(info), Total: info.TotalCount, Body: views}
}

// links makes the Link header. Targets are absolute paths, which hold behind any proxy, and keep all other parameters.
func (l *Listing) links(info *pagev1.PageInfo) string {
	const usual = 1024 // bytes of a header: what is kept in the cache must not have room to grow
	var (
		b       = make([]byte, 0, usual)
		query   = l.at.Query()
		cursors = info.GetCursors()
		path    = l.at.EscapedPath()
	)
	link := func(rel, cursor string) {
		query.Del("cursor")
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, '<'), path...)
		if len(query) > 0 {
			b = append(append(b, '?'), query.Encode()...)
		}
		b = append(append(append(b, `>; rel="`...), rel...), '"')
	}
	link("first", "")
	// All that was on a page may be gone: nothing is behind it then, or nothing ahead of it, and the page on the other side
	// is the last one or the first.
	next, prev := afterCursor, beforeCursor
	if n := len(cursors); n > 0 {
		next, prev = next+cursors[n-1], prev+cursors[0]
	}
	if info.GetHasNext() {
		link("next", next)
	}
	if info.GetHasPrevious() {
		link("prev", prev)
	}
	return string(b)
}

// Maybe is a parameter that can be absent, where absence is no value.
type Maybe[T any] struct {
	Value T
	Given bool
}

// Schema describes the value.
func (Maybe[T]) Schema(r huma.Registry) *huma.Schema {
	return huma.SchemaFromType(r, reflect.TypeFor[T]())
}

// Receiver gives huma the place for the value.
func (m *Maybe[T]) Receiver() reflect.Value { return reflect.ValueOf(&m.Value).Elem() }

// OnParamSet is told by huma whether there is a value.
func (m *Maybe[T]) OnParamSet(given bool, _ any) { m.Given = given }

// pointer is nil when absent.
func (m *Maybe[T]) pointer() *T {
	if !m.Given {
		return nil
	}
	return &m.Value
}
