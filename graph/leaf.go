package graph

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// The values of messages as GraphQL writes them: byte for byte what package scalar and gqlgen write.

// plain is the column of a field that the messages hold themselves.
type plain struct {
	field graphql.CollectedField
	of    []protoreflect.Message
	// value writes that of a message; false if it is null.
	value func(out *output, m protoreflect.Message) bool
}

func (c *plain) write(out *output, i int) {
	if !c.value(out, c.of[i]) {
		out.null(&c.field)
	}
}

// constant is the column of a field that is the same for all.
type constant string

func (c constant) write(out *output, _ int) { out.quote(string(c)) }

// leaf is the column of a scalar, or nil if it is none that a message holds.
func leaf(typ string, f graphql.CollectedField, of []protoreflect.Message) column {
	if f.Name == "__typename" {
		return constant(typ)
	}
	if len(of) == 0 {
		return constant("") // nobody asks for it
	}
	value := leafValue(typ, f.Definition, of[0].Descriptor())
	if value == nil {
		return nil
	}
	return &plain{f, of, value}
}

// leafValue writes the field of messages, or is nil if messages do not hold it.
func leafValue(typ string, f *ast.FieldDefinition, in protoreflect.MessageDescriptor) func(*output, protoreflect.Message) bool {
	switch {
	case typ == "Task" && f.Name == "completed":
		status := in.Fields().ByName("status")
		return func(out *output, m protoreflect.Message) bool {
			out.boolean(m.Get(status).Enum() == tasksv1.Status_STATUS_DONE.Number())
			return true
		}
	case f.Name == "id" && f.Type.NamedType == "ID":
		id := in.Fields().ByName("id")
		return func(out *output, m protoreflect.Message) bool { out.globalID(typ, m.Get(id).Int()); return true }
	}
	name := f.Name
	if name == "databaseId" {
		name = "id"
	}
	field := in.Fields().ByJSONName(name)
	if field == nil || f.Arguments != nil {
		return nil
	}
	write := scalarValue(f.Type, field)
	if write == nil {
		return nil
	}
	if !field.HasPresence() {
		return func(out *output, m protoreflect.Message) bool { return write(out, m.Get(field)) }
	}
	return func(out *output, m protoreflect.Message) bool { return m.Has(field) && write(out, m.Get(field)) }
}

// scalarValue writes values of the field as the GraphQL type has them, or is nil if the two do not match.
func scalarValue(t *ast.Type, field protoreflect.FieldDescriptor) func(*output, protoreflect.Value) bool {
	if t.Elem != nil {
		if !field.IsList() || field.Kind() != protoreflect.StringKind || t.Elem.NamedType != "String" {
			return nil
		}
		return func(out *output, v protoreflect.Value) bool { out.strings(v.List()); return true }
	}
	if field.IsList() || field.IsMap() {
		return nil
	}
	switch kind := field.Kind(); {
	case kind == protoreflect.StringKind && (t.NamedType == "String" || t.NamedType == "Date"):
		return func(out *output, v protoreflect.Value) bool { out.quote(v.String()); return true }
	case kind == protoreflect.BoolKind && t.NamedType == "Boolean":
		return func(out *output, v protoreflect.Value) bool { out.boolean(v.Bool()); return true }
	case (kind == protoreflect.Int64Kind || kind == protoreflect.Int32Kind) && (t.NamedType == "Int" || t.NamedType == "Int64"):
		return func(out *output, v protoreflect.Value) bool { out.number(v.Int()); return true }
	case kind == protoreflect.MessageKind && t.NamedType == "DateTime" &&
		field.Message().FullName() == (*timestamppb.Timestamp)(nil).ProtoReflect().Descriptor().FullName():
		return func(out *output, v protoreflect.Value) bool {
			moment, _ := v.Message().Interface().(*timestamppb.Timestamp)
			out.time(moment.AsTime())
			return true
		}
	case kind == protoreflect.EnumKind:
		return enumValue(field.Enum())
	}
	return nil
}

// enumValue writes names without their prefix, as package scalar does; 0 is unspecified, and null.
func enumValue(e protoreflect.EnumDescriptor) func(*output, protoreflect.Value) bool {
	values := e.Values()
	prefix := strings.TrimSuffix(string(values.ByNumber(0).Name()), "UNSPECIFIED")
	return func(out *output, v protoreflect.Value) bool {
		value := values.ByNumber(v.Enum())
		if value == nil || value.Number() == 0 {
			return false
		}
		out.quote(strings.TrimPrefix(string(value.Name()), prefix))
		return true
	}
}

func (o *output) number(n int64) { o.b = strconv.AppendInt(o.b, n, 10) }
func (o *output) boolean(b bool) { o.b = strconv.AppendBool(o.b, b) }

func (o *output) time(t time.Time) {
	o.b = append(t.AppendFormat(append(o.b, '"'), time.RFC3339Nano), '"')
}

func (o *output) globalID(typ string, key int64) {
	var room [64]byte
	id := strconv.AppendInt(append(append(room[:0], typ...), ':'), key, 10)
	o.b = append(base64.RawURLEncoding.AppendEncode(append(o.b, '"'), id), '"')
}

func (o *output) optional(f *graphql.CollectedField, s *string) {
	if s == nil {
		o.null(f)
		return
	}
	o.quote(*s)
}

func (o *output) strings(list protoreflect.List) {
	o.b = append(o.b, '[')
	for i := range list.Len() {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.quote(list.Get(i).String())
	}
	o.b = append(o.b, ']')
}

// quote writes a string, and escapes what gqlgen escapes.
func (o *output) quote(s string) {
	const hex = "0123456789ABCDEF"
	o.b = append(o.b, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '\\' && c != '"' {
			continue
		}
		o.b = append(o.b, s[start:i]...)
		switch c {
		case '\t':
			o.b = append(o.b, `\t`...)
		case '\r':
			o.b = append(o.b, `\r`...)
		case '\n':
			o.b = append(o.b, `\n`...)
		case '\\', '"':
			o.b = append(o.b, '\\', c)
		default:
			o.b = append(o.b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
		start = i + 1
	}
	o.b = append(append(o.b, s[start:]...), '"')
}
