package rest

import (
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// What is asked for most, tasks and comments, is written without reflection, which takes three times as long. The text is the
// one that json.Marshal gives.

// appended is such a thing, or many of them.
type appended interface{ append(o *object) }

func (t Task) append(o *object) {
	t.Meta.append(o)
	o.int(`,"project_id":`, t.ProjectID)
	o.int(`,"number":`, t.Number)
	o.string(`,"title":`, t.Title)
	o.string(`,"description":`, t.Description)
	o.string(`,"status":`, string(t.Status))
	o.bool(`,"completed":`, t.Completed)
	o.string(`,"priority":`, string(t.Priority))
	o.strings(`,"labels":`, t.Labels)
	maybe(o, `,"assignee_id":`, t.AssigneeID, o.int)
	o.int(`,"creator_id":`, t.CreatorID)
	maybe(o, `,"parent_id":`, t.ParentID, o.int)
	maybe(o, `,"due_date":`, t.DueDate, o.string)
	o.string(`,"position":`, t.Position)
	maybe(o, `,"completed_at":`, t.CompletedAt, o.time)
	maybe(o, `,"deleted_at":`, t.DeletedAt, o.time)
	o.raw("}")
}

func (c Comment) append(o *object) {
	c.Meta.append(o)
	o.int(`,"task_id":`, c.TaskID)
	o.int(`,"project_id":`, c.ProjectID)
	o.int(`,"author_id":`, c.AuthorID)
	o.string(`,"body":`, c.Body)
	maybe(o, `,"deleted_at":`, c.DeletedAt, o.time)
	o.raw("}")
}

func (m Meta) append(o *object) {
	o.int(`{"id":`, m.ID)
	o.int(`,"version":`, m.Version)
	o.time(`,"created_at":`, m.CreatedAt)
	o.time(`,"updated_at":`, m.UpdatedAt)
}

// object is the text so far, and what went wrong first. Each name comes with its quotes, its colon and the comma before it.
type object struct {
	text []byte
	err  error
}

func (o *object) raw(s string) { o.text = append(o.text, s...) }

func (o *object) int(name string, n int64) {
	o.raw(name)
	o.text = strconv.AppendInt(o.text, n, 10)
}

func (o *object) bool(name string, is bool) {
	o.raw(name)
	o.text = strconv.AppendBool(o.text, is)
}

func (o *object) string(name, s string) {
	o.raw(name)
	if isPlain(s) {
		o.text = append(append(append(o.text, '"'), s...), '"')
		return
	}
	text, err := jsontext.AppendQuote(o.text, s)
	if o.text = text; err != nil && o.err == nil {
		o.err = err
	}
}

// isPlain reports whether s is ASCII of which nothing is escaped in JSON, by eight bytes at a time: most texts are, and
// looking at each byte is half of what it takes to write them.
func isPlain(s string) bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x80 * ones
	)
	odd := uint64(0) // the high bit of a byte that is not plain, and perhaps of one behind it
	for ; len(s) >= 8; s = s[8:] {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		quote, backslash := x^'"'*ones, x^'\\'*ones
		odd |= x | (x - ' '*ones) | (quote - ones) | (backslash - ones)
	}
	if odd&highs != 0 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func (o *object) strings(name string, all []string) {
	o.raw(name)
	o.raw("[")
	separator := ""
	for _, s := range all {
		o.string(separator, s)
		separator = ","
	}
	o.raw("]")
}

func (o *object) time(name string, t time.Time) {
	o.raw(name)
	o.text = append(o.text, '"')
	o.text = t.AppendFormat(o.text, time.RFC3339Nano) // of years with four digits, as Postgres and the contract have them
	o.text = append(o.text, '"')
}

// maybe writes the value, or null where there is none.
func maybe[T any](o *object, name string, value *T, write func(string, T)) {
	if value == nil {
		o.raw(name)
		o.raw("null")
		return
	}
	write(name, *value)
}

// marshal writes the answer v.
func marshal(w io.Writer, v any) error {
	switch v := v.(type) {
	case Task:
		return write(w, v)
	case View[Task]:
		if v.isWhole() {
			return write(w, v.whole)
		}
	case []View[Task]:
		if allWhole(v) {
			return write(w, many[Task](v))
		}
	case []View[Comment]:
		if allWhole(v) {
			return write(w, many[Comment](v))
		}
	}
	return json.MarshalWrite(w, v)
}

// many are whole things.
type many[V interface {
	beside
	appended
}] []View[V]

func (m many[V]) append(o *object) {
	o.raw("[")
	for i := range m {
		if i > 0 {
			o.raw(",")
		}
		m[i].whole.append(o)
	}
	o.raw("]")
}

func allWhole[V beside](views []View[V]) bool {
	for i := range views {
		if !views[i].isWhole() {
			return false
		}
	}
	return true
}

// maxText bounds the memory that waits for the next answer.
const maxText = 256 << 10

//nolint:gochecknoglobals // memory to be used again
var texts = sync.Pool{New: func() any { return new(object) }}

func write(w io.Writer, v appended) error {
	o, _ := texts.Get().(*object)
	o.text, o.err = o.text[:0], nil
	v.append(o)
	err := o.err
	if err == nil {
		_, err = w.Write(o.text)
	}
	if cap(o.text) <= maxText {
		texts.Put(o)
	}
	if err != nil {
		return fmt.Errorf("write an answer: %w", err)
	}
	return nil
}
