package rest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
)

// rules is what an operation demands of a request before huma reads it. They come from the operation's description, so
// that what is documented is what is checked.
type rules struct {
	secured bool
	headers []string
	// several: it changes several things, each with a version of its own, which no condition on the whole can name.
	several bool
	types   []string // of the body; nil without one
	query   map[string]*huma.Param
	names   string // of query
}

func newRules(op *huma.Operation) *rules {
	r := &rules{secured: secured(op), query: make(map[string]*huma.Param)}
	var names []string
	for _, p := range op.Parameters {
		switch p.In {
		case "query":
			r.query[p.Name] = p
			names = append(names, p.Name)
		case "header":
			r.headers = append(r.headers, p.Name)
		}
	}
	r.names = strings.Join(names, ", ")
	r.several = op.Method == http.MethodPatch && !slices.Contains(r.headers, ifMatch)
	if op.RequestBody != nil {
		for t := range op.RequestBody.Content {
			r.types = append(r.types, t)
		}
		slices.Sort(r.types)
	}
	return r
}

// bodyTypes are the media types that an operation takes, as in Accept-Patch.
func bodyTypes(op *huma.Operation) string { return strings.Join(newRules(op).types, ", ") }

func (u *rules) check(w http.ResponseWriter, r *http.Request, bodyLimit int64) error {
	if u.secured && auth.CallerFrom(r.Context()).UserID == 0 {
		return errs.New(errs.Unauthenticated, "Sign in first.")
	}
	if err := accepts(r.Header); err != nil {
		return err
	}
	if r.URL.RawQuery != "" {
		if err := u.checkQuery(r.URL); err != nil {
			return err
		}
	}
	for _, name := range u.headers {
		if err := oneHeader(r.Header, name); err != nil {
			return err
		}
	}
	for _, name := range []string{ifMatch, ifNoneMatch} {
		if u.several && r.Header[name] != nil {
			return invalid{{Header: name, Detail: "is not taken here: give each its version in the body"}}
		}
	}
	if u.types == nil {
		return nil
	}
	if err := bodyType(r.Header, u.types); err != nil {
		return err
	}
	return LimitBody(w, r, bodyLimit)
}

// oneHeader refuses a header that is there and empty, which huma would take for absent: whoever sends a condition or
// a key must not find it ignored. Lists that are spread over several lines become one.
func oneHeader(h http.Header, name string) error {
	lines := h[name]
	if len(lines) == 0 {
		return nil
	}
	joined := strings.Join(lines, ", ")
	switch {
	case strings.TrimSpace(joined) == "":
		return invalid{{Header: name, Detail: "must not be empty"}}
	case len(lines) > 1 && name == idempotencyKey:
		return invalid{{Header: name, Detail: "is given more than once"}}
	case len(lines) > 1:
		h.Set(name, joined)
	}
	return nil
}

// accepts checks that the client takes JSON (RFC 9110, section 12.5.1).
func accepts(h http.Header) error {
	list := h["Accept"]
	if len(list) == 0 || len(list) == 1 && (list[0] == "" || list[0] == "*/*" || list[0] == jsonType) {
		return nil
	}
	for _, ranges := range list {
		for one := range strings.SplitSeq(ranges, ",") {
			media, params, _ := strings.Cut(one, ";")
			switch strings.ToLower(strings.TrimSpace(media)) {
			case "*/*", "application/*", jsonType, problemType:
				if Quality(params) > 0 {
					// huma looks at this header again, more loosely than we do.
					h.Set("Accept", jsonType)
					return nil
				}
			}
		}
	}
	return errs.New(errs.NotAcceptable, "Answers are %s.", jsonType)
}

// Quality is the weight among the parameters of a member of Accept and its like: 1 if there is none, 0 if it is not
// well-formed (RFC 9110, section 12.4.2).
func Quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		if q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(p)), "q="); ok {
			if v, err := strconv.ParseFloat(q, 64); err == nil && v >= 0 && v <= 1 {
				return v
			}
			return 0
		}
	}
	return 1
}

// checkQuery refuses all that is not documented, so that a filter with a typing error does not silently find
// everything. Lists of named values may also be separated by commas, and are taken apart here.
func (u *rules) checkQuery(at *url.URL) error {
	values, err := url.ParseQuery(at.RawQuery)
	if err != nil || values.Has("") {
		return errs.New(errs.Invalid, "The query is not well-formed: use name=value&name=value, with %%XX for what is "+
			"special.")
	}
	var (
		wrong invalid
		split bool
	)
	fail := func(name, detail string) { wrong = append(wrong, Violation{Parameter: name, Detail: detail}) }
	for _, name := range sortedNames(values) {
		param := u.query[name]
		if param == nil {
			fail(strings.ToValidUTF8(name, "\uFFFD"), "is not a parameter; "+u.known())
			continue
		}
		repeats := param.Schema.Type == huma.TypeArray && param.Explode != nil && *param.Explode
		if repeats && len(param.Schema.Items.Enum) > 0 && slices.ContainsFunc(values[name], hasComma) {
			values[name] = strings.Split(strings.Join(values[name], ","), ",")
			split = true
		}
		if n := len(values[name]); n > 1 && !repeats {
			fail(name, fmt.Sprintf("is given %d times", n))
			continue
		}
		for _, v := range values[name] {
			if detail := badValue(param, v); detail != "" {
				fail(name, detail)
				break
			}
		}
	}
	if wrong != nil {
		return wrong
	}
	if split {
		at.RawQuery = values.Encode()
	}
	return nil
}

// badValue says what is wrong with a value that huma would overlook.
func badValue(param *huma.Param, v string) string {
	switch {
	case v == "" && param.Name != search:
		return "must not be empty"
	case !utf8.ValidString(v) || strings.ContainsRune(v, 0):
		return "must be UTF-8 without the character U+0000"
	case param.Schema.Type == huma.TypeBoolean && v != "true" && v != "false":
		return "must be true or false"
	default:
		return ""
	}
}

func hasComma(s string) bool { return strings.Contains(s, ",") }

func sortedNames(values url.Values) []string {
	names := make([]string, 0, len(values))
	for n := range values {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (u *rules) known() string {
	if u.names == "" {
		return "there are none here"
	}
	return "there are " + u.names
}
