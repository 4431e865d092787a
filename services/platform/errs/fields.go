package errs

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Check collects what is wrong with an input, so that its sender learns of everything at once.
// The zero value is ready.
type Check struct{ fields []Field }

// Fail says what is wrong with a field.
func (c *Check) Fail(field, format string, args ...any) {
	c.fields = append(c.fields, Field{Name: field, Detail: fmt.Sprintf(format, args...)})
}

// That fails the field unless ok.
func (c *Check) That(ok bool, field, format string, args ...any) {
	if !ok {
		c.Fail(field, format, args...)
	}
}

// Text checks that a text has at least low and at most high characters, is UTF-8 and holds no NUL, which
// Postgres can not store.
func (c *Check) Text(field, s string, low, high int) {
	n := utf8.RuneCountInString(s)
	switch {
	case !utf8.ValidString(s):
		c.Fail(field, "must be UTF-8")
	case strings.ContainsRune(s, 0):
		c.Fail(field, "must not contain the character U+0000")
	case n < low && low == 1:
		c.Fail(field, "must not be empty")
	case n < low:
		c.Fail(field, "must have at least %d characters", low)
	case n > high:
		c.Fail(field, "must have at most %d characters, and has %d", high, n)
	}
}

// Line is Text without line breaks and other control characters, for names and titles.
func (c *Check) Line(field, s string, low, high int) {
	if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 && r != 0 || r == 0x7f }) {
		c.Fail(field, "must be one line without control characters")
		return
	}
	c.Text(field, s, low, high)
}

// Err is nil when nothing was wrong, else an Invalid error that lists it all.
func (c *Check) Err() error {
	if len(c.fields) == 0 {
		return nil
	}
	names := make([]string, 0, len(c.fields))
	for _, f := range c.fields {
		names = append(names, f.Name)
	}
	e := New(Invalid, "Check %s.", strings.Join(names, ", "))
	e.Fields = c.fields
	return e
}

// InvalidField is an Invalid error about one field.
func InvalidField(field, format string, args ...any) error {
	var c Check
	c.Fail(field, format, args...)
	return c.Err()
}
