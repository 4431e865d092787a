package rest

import (
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// retirement is when an operation stops being recommended, and when it stops working.
type retirement struct{ since, until time.Time }

const retirementKey = "retirement"

// retire marks an operation that a better one has taken the place of: it is deprecated in the document and tells so in
// each answer, with the day on which it ends.
func retire(op huma.Operation, since, until time.Time) huma.Operation {
	op.Deprecated = true
	op.Metadata = map[string]any{retirementKey: retirement{since, until}}
	return op
}

func retirementOf(op *huma.Operation) retirement {
	r, _ := op.Metadata[retirementKey].(retirement)
	return r
}

// tell sets Deprecation (RFC 9745) and Sunset (RFC 8594).
func (r retirement) tell(h http.Header) {
	if r.since.IsZero() {
		return
	}
	h.Set("Deprecation", "@"+strconv.FormatInt(r.since.Unix(), 10))
	h.Set("Sunset", r.until.UTC().Format(http.TimeFormat))
}

// document describes the headers.
func (r retirement) document(headers map[string]*huma.Header) {
	if r.since.IsZero() {
		return
	}
	headers["Deprecation"] = headerOf("Since when this operation is deprecated (RFC 9745).", `^@[0-9]+$`)
	headers["Sunset"] = headerOf("When this operation ends (RFC 8594).", `^[\x20-\x7E]*$`)
}
