package page

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/trackway/trackway/services/platform/errs"
)

// Kind is the type of an order's values, and how a cursor spells them.
type Kind int

// The kinds.
const (
	Int   Kind = iota // int64
	Small             // int64 that a smallint holds
	Text              // string
	Time              // time.Time, to the microsecond, as Postgres keeps it
	Date              // time.Time at midnight UTC; the zero Time is infinity, which coalesce puts in the place of NULL
)

const (
	timeFormat = "2006-01-02T15:04:05.999999Z"
	infinity   = "infinity"
	maxCursor  = 4096
)

// encode spells a row's key as a cursor: the order's name and the row's values, as JSON in base64url.
func (q *Query[T]) encode(row T) string {
	buf := make([]byte, 0, usualCursor)
	buf = quote(append(buf, '['), q.name)
	for _, t := range q.by {
		buf = quote(append(buf, ','), t.Kind.format(t.Value(row)))
	}
	return base64.RawURLEncoding.EncodeToString(append(buf, ']'))
}

// usualCursor is how long a cursor's JSON is, usually.
const usualCursor = 128

func quote(buf []byte, s string) []byte {
	buf, err := jsontext.AppendQuote(buf, s)
	if err != nil {
		panic(fmt.Sprintf("page: %v", err)) // the values come from Postgres, which keeps only valid UTF-8
	}
	return buf
}

// ByID is the cursor of a row that nobody has listed, in a list whose first field is the id, in its own order.
func ByID(id int64) string {
	q := &Query[int64]{name: "id", by: []term[int64]{{Field: Field[int64]{Value: func(id int64) any { return id }}}}}
	return q.encode(id)
}

// decode reads a cursor back. Cursors come from clients: anything that encode would not have written is refused.
func (q *Query[T]) decode(field, cursor string) ([]any, error) {
	if cursor == "" {
		return nil, nil
	}
	bad := errs.InvalidField(field, "is not a cursor of this list in this order")
	if len(cursor) > maxCursor {
		return nil, bad
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil {
		return nil, bad
	}
	var parts []string
	if json.Unmarshal(b, &parts) != nil || len(parts) != len(q.by)+1 || parts[0] != q.name {
		return nil, bad
	}
	key := make([]any, len(q.by))
	for i, t := range q.by {
		if key[i], err = t.Kind.parse(parts[i+1]); err != nil {
			return nil, bad
		}
	}
	return key, nil
}

// format spells a value; one of the wrong type is a mistake in the list's Fields.
func (k Kind) format(value any) string {
	switch v := value.(type) {
	case int64:
		return strconv.FormatInt(v, 10)
	case string:
		return v
	case time.Time:
		switch {
		case k == Time:
			return v.UTC().Format(timeFormat)
		case v.IsZero():
			return infinity
		default:
			return v.Format(time.DateOnly)
		}
	default:
		panic(fmt.Sprintf("page: a value of type %T has no order", v))
	}
}

func (k Kind) parse(s string) (any, error) {
	switch k {
	case Int, Small:
		bits := 64
		if k == Small {
			bits = 16
		}
		n, err := strconv.ParseInt(s, 10, bits)
		if err != nil {
			return nil, fmt.Errorf("cursor: %w", err)
		}
		return n, nil
	case Time:
		return parseTime(timeFormat, s)
	case Date:
		if s == infinity {
			return s, nil
		}
		_, err := parseTime(time.DateOnly, s)
		return s, err
	default:
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return nil, fmt.Errorf("cursor: %q is no text", s)
		}
		return s, nil
	}
}

// parseTime refuses the year 0, which Go has and Postgres has not.
func parseTime(layout, s string) (time.Time, error) {
	t, err := time.Parse(layout, s)
	if err != nil {
		return t, fmt.Errorf("cursor: %w", err)
	}
	if t.Year() < 1 {
		return t, fmt.Errorf("cursor: %q has no year", s)
	}
	return t, nil
}
