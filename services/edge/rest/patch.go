package rest

import (
	"context"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// Change is a member of a merge patch (RFC 7396): absent, null, or a value. Null takes the member away, which leaves
// its default.
type Change[T any] struct {
	Given bool
	Null  bool
	Value T
}

// given is a member that is there.
func given[T any](v T) Change[T] { return Change[T]{Given: true, Value: v} }

// pointer is nil for a member that is absent or null.
func (c Change[T]) pointer() *T {
	if !c.Given || c.Null {
		return nil
	}
	return &c.Value
}

// replace is the member of a replacement, which is always given: where it is absent or null, null leaves the default.
func (c Change[T]) replace() Change[T] {
	return Change[T]{Given: true, Null: c.Null || !c.Given, Value: c.Value}
}

// UnmarshalJSONFrom is called for members that are there, null among them.
func (c *Change[T]) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	c.Given = true
	if dec.PeekKind() == jsontext.KindNull {
		c.Null = true
		return dec.SkipValue()
	}
	return json.UnmarshalDecode(dec, &c.Value)
}

// Schema describes the value. A member that may be null says so with the tag `nullable:"true"`.
func (Change[T]) Schema(r huma.Registry) *huma.Schema {
	s := *huma.SchemaFromType(r, reflect.TypeFor[T]())
	s.Nullable = false
	return &s
}

// patch collects what a merge patch changes.
type patch struct {
	paths []string
	wrong invalid
}

// set takes over a member that can not be null.
func set[T any](p *patch, name string, c Change[T], to *T) {
	switch {
	case c.Null:
		p.wrong = append(p.wrong, Violation{Pointer: "#/" + name, Detail: "must not be null"})
	case c.Given:
		*to = c.Value
		p.paths = append(p.paths, name)
	}
}

// setEnum is set for a named value.
func setEnum[N ~string, P comparable](p *patch, name string, c Change[N], to *P, names enum[N, P]) {
	set(p, name, Change[P]{Given: c.Given, Null: c.Null, Value: names.proto(c.Value)}, to)
}

// setEnumOr is setOr for a named value.
func setEnumOr[N ~string, P comparable](p *patch, name string, c Change[N], to *P, names enum[N, P], def P) {
	setOr(p, name, Change[P]{Given: c.Given, Null: c.Null, Value: names.proto(c.Value)}, to, def)
}

// setOr takes over a member whose absence means def.
func setOr[T any](p *patch, name string, c Change[T], to *T, def T) {
	if !c.Given {
		return
	}
	*to = def
	if !c.Null {
		*to = c.Value
	}
	p.paths = append(p.paths, name)
}

// setOrClear takes over a member that can be absent in the thing itself.
func setOrClear[T any](p *patch, name string, c Change[T], to **T) {
	if !c.Given {
		return
	}
	*to = c.pointer()
	p.paths = append(p.paths, name)
}

// mask names what changes. What was wrong with the patch is an error that lists it all.
func (p *patch) mask() (*fieldmaskpb.FieldMask, error) {
	if p.wrong != nil {
		return nil, p.wrong
	}
	return &fieldmaskpb.FieldMask{Paths: p.paths}, nil
}

// stays checks that a replacement leaves what can not change as it is.
func stays(ctx context.Context, name string, c Change[int64], current func(ctx context.Context) (int64, error)) error {
	detail := "must not be null"
	if !c.Null {
		if !c.Given {
			return nil
		}
		is, err := current(ctx)
		if err != nil || c.Value == is {
			return err
		}
		detail = "can not change, and is " + strconv.FormatInt(is, 10)
	}
	return invalid{{Pointer: "#/" + name, Detail: detail}}
}
