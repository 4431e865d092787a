package rest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trackway/trackway/services/platform/errs"
)

const (
	ifMatch     = "If-Match"
	ifNoneMatch = "If-None-Match"
)

// Conditional is a write that can be made to depend on the version (RFC 9110, section 13.1).
type Conditional struct {
	IfMatch     string `header:"If-Match" maxLength:"1000" pattern:"^[^\\x00-\\x1F]*$" example:"\"3\"" doc:"Does the write only if the thing's ETag is one of these; * is any."`
	IfNoneMatch string `header:"If-None-Match" maxLength:"1000" pattern:"^[^\\x00-\\x1F]*$" doc:"Does the write only if the thing's ETag is none of these; * is any."`

	match, none tags
}

// Resolve reads the conditions.
func (c *Conditional) Resolve(huma.Context) []error {
	var wrong []error
	var ok bool
	if c.match, ok = parseTags(c.IfMatch); !ok {
		wrong = append(wrong, badTags(ifMatch))
	}
	if c.none, ok = parseTags(c.IfNoneMatch); !ok {
		wrong = append(wrong, badTags(ifNoneMatch))
	}
	return wrong
}

func badTags(header string) error {
	return invalid{{Header: header, Detail: `must be * or ETags such as "3", separated by commas`}}
}

// never is a version that nothing has. Expecting it, a service says what it would have said anyway when the thing is
// missing, hidden or not the caller's to change, and only then that the condition does not hold: the order that
// RFC 9110, section 13.2.1 asks for.
const never = math.MaxInt64

// versionOf looks up the present version of a thing.
type versionOf func(ctx context.Context) (int64, error)

// expected is the version for the service to expect, 0 for any. Conditions that one version can not express are
// decided on the current one; should that change before the write, the write fails too.
func (c *Conditional) expected(ctx context.Context, current versionOf) (int64, error) {
	switch {
	case c.IfMatch == "" && c.IfNoneMatch == "", c.match.any && c.IfNoneMatch == "":
		return 0, nil
	case c.none.any:
		return never, nil
	case c.IfMatch != "" && !c.match.any && len(c.match.strong) == 0: // weak ones are never equal here
		return never, nil
	case len(c.match.strong) == 1 && c.IfNoneMatch == "":
		return version(c.match.strong[0]), nil
	}
	v, err := current(ctx)
	if errs.Is(err, errs.NotFound) { // the service says so too, unless this is a repetition of what took it away
		return never, nil
	}
	if err != nil {
		return 0, err
	}
	matches := c.IfMatch == "" || c.match.any || slices.Contains(c.match.strong, etag(v))
	if !matches || c.none.contains(etag(v)) {
		return never, nil
	}
	return v, nil
}

// version is that of an ETag of ours; never for all others.
func version(tag string) int64 {
	v, err := strconv.ParseInt(strings.Trim(tag, `"`), 10, 64)
	if err != nil || v <= 0 || etag(v) != tag {
		return never
	}
	return v
}

// tags is the value of If-Match or If-None-Match.
type tags struct {
	any    bool
	strong []string // in quotes
	weak   []string // in quotes, without W/
}

// contains compares weakly (RFC 9110, section 8.8.3.2).
func (t *tags) contains(tag string) bool {
	return t.any || slices.Contains(t.strong, tag) || slices.Contains(t.weak, tag)
}

// parseTags reads the header strictly: a condition that is not understood must not be taken for one that holds.
func parseTags(value string) (t tags, ok bool) {
	value = strings.TrimSpace(value)
	if value == "*" {
		t.any = true
		return t, true
	}
	for value != "" {
		if rest, empty := strings.CutPrefix(value, ","); empty { // RFC 9110, section 5.6.1.2
			value = strings.TrimSpace(rest)
			continue
		}
		list := &t.strong
		if rest, ok := strings.CutPrefix(value, "W/"); ok {
			list, value = &t.weak, rest
		}
		end := 0
		if strings.HasPrefix(value, `"`) {
			end = strings.IndexByte(value[1:], '"') + 2
		}
		if end < 2 || strings.ContainsAny(value[:end], " \t") {
			return t, false
		}
		*list = append(*list, value[:end])
		value = strings.TrimSpace(value[end:])
		rest, comma := strings.CutPrefix(value, ",")
		if value = strings.TrimSpace(rest); !comma && value != "" {
			return t, false
		}
	}
	return t, true
}

// maxKept is the largest buffer that is kept for another answer, in bytes.
const maxKept = 1 << 20

//nolint:gochecknoglobals // a pool is shared by nature
var answers = sync.Pool{New: func() any { return new(answer) }}

// answer is a response that is held back until it is whole.
type answer struct {
	http.ResponseWriter

	status int
	body   bytes.Buffer
}

// WriteHeader keeps the status.
func (a *answer) WriteHeader(status int) { a.status = status }

// Write keeps the body.
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// Unwrap lets http.ResponseController through.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// conditional gives every successful answer an ETag, and answers 304 if the client has it already. An answer without
// an ETag of its own gets one of its bytes, and of what its headers say about the rest of the list.
func conditional(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a, _ := answers.Get().(*answer)
		a.ResponseWriter, a.status = w, http.StatusOK
		defer func() {
			if a.body.Cap() <= maxKept {
				a.ResponseWriter = nil
				a.body.Reset()
				answers.Put(a)
			}
		}()
		next(a, r)
		h := w.Header()
		if a.status == http.StatusOK {
			if h.Get("ETag") == "" {
				h.Set("ETag", a.sum())
			}
			if Unchanged(w, r) {
				return
			}
		}
		h.Set("Content-Length", strconv.Itoa(a.body.Len()))
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body.Bytes()) // a client that has gone need not be told
	}
}

func (a *answer) sum() string {
	const bytesOfTag = 16
	hash := sha256.New()
	hash.Write(a.body.Bytes())
	for _, name := range []string{"Link", "X-Total-Count"} {
		hash.Write([]byte("\x00" + a.Header().Get(name)))
	}
	return `"` + base64.RawURLEncoding.EncodeToString(hash.Sum(nil)[:bytesOfTag]) + `"`
}

// Unchanged answers 304 if the client has the answer already whose headers are w's, and reports whether it has.
func Unchanged(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	if !unchanged(r, h.Get("ETag")) {
		return false
	}
	h.Del("Content-Type")
	h.Del("Content-Length")
	w.WriteHeader(http.StatusNotModified)
	return true
}

// unchanged evaluates If-None-Match. One that is not well-formed is no condition: the whole answer is always right.
func unchanged(r *http.Request, tag string) bool {
	sent := r.Header[ifNoneMatch]
	if len(sent) == 0 {
		return false
	}
	t, ok := parseTags(strings.Join(sent, ","))
	return ok && t.contains(tag)
}
