package postgres

import (
	"database/sql"
	encoding "encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"
)

// rows are what a statement gives, and where it goes: into one model, a slice of models or of pointers to them, a slice
// of values, or as many values as a row has.
type rows struct {
	one   []reflect.Value // the values of one row; or the model alone
	many  reflect.Value   // the slice
	elem  reflect.Type    // of the slice
	table *schema.Table   // of the model; nil for values
	room  reflect.Value   // for models that the slice points to: several at once
	taken int             // of the room
	texts strings.Builder // of several rows, which share their memory
	count int
	tag   pgconn.CommandTag // how it ended
}

// nothing is for statements whose rows nobody reads.
func nothing() *rows { return new(rows) }

// newRows checks where rows are to go.
func newRows(db *bun.DB, dest []any) (*rows, error) {
	r := new(rows)
	for _, d := range dest {
		v := reflect.ValueOf(d)
		if v.Kind() != reflect.Pointer || v.IsNil() {
			return nil, fmt.Errorf("rows can not be read into a %T", d)
		}
		r.one = append(r.one, v.Elem())
	}
	if len(r.one) != 1 {
		return r, nil
	}
	typ := r.one[0].Type()
	if typ.Kind() == reflect.Slice && typ.Elem().Kind() != reflect.Uint8 {
		r.many, r.elem, r.one = r.one[0], typ.Elem(), nil
		r.many.SetLen(0)
		if typ = r.elem; typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
	}
	if typ.Kind() == reflect.Struct && typ != timeType {
		r.table = db.Table(typ)
	}
	return r, nil
}

var timeType = reflect.TypeFor[time.Time]() //nolint:gochecknoglobals // a constant

// read reads all rows. Where one is wanted and there is none, it is sql.ErrNoRows.
func (r *rows) read(types *pgtype.Map, st *statement, from *pgconn.ResultReader) error {
	var (
		p      *plan
		failed error
	)
	for from.NextRow() {
		r.count++
		if failed != nil || r.elem == nil && (len(r.one) == 0 || r.count > 1) {
			continue
		}
		if p == nil {
			if p, failed = r.plan(types, st, from.FieldDescriptions()); failed != nil {
				continue
			}
		}
		failed = r.row(p, from.Values())
	}
	var err error
	r.tag, err = from.Close()
	switch {
	case err != nil:
		return err //nolint:wrapcheck // Error looks at it
	case failed == nil && len(r.one) > 0 && r.count == 0:
		return sql.ErrNoRows
	}
	return failed
}

func (r *rows) row(p *plan, values [][]byte) error {
	if r.elem == nil {
		return p.row(r.one, values, &r.texts)
	}
	n := r.many.Len()
	if n == r.many.Cap() {
		r.many.Grow(max(1, n))
	}
	r.many.SetLen(n + 1)
	v := r.many.Index(n)
	if r.table != nil && r.elem.Kind() == reflect.Pointer {
		if !r.room.IsValid() || r.taken == r.room.Len() {
			const most = 64
			size := min(max(1, n), most)
			r.room, r.taken = reflect.MakeSlice(reflect.SliceOf(r.elem.Elem()), size, size), 0
		}
		v.Set(r.room.Index(r.taken).Addr())
		r.taken++
		v = v.Elem()
	} else {
		v.SetZero()
	}
	var one [1]reflect.Value
	one[0] = v
	return p.row(one[:], values, &r.texts)
}

// plan says how the columns of a statement are read into what they go to.
type plan struct {
	of      reflect.Type
	columns []column
	texts   []int // the columns that are texts
}

type column struct {
	field []int // index of the model's field; nil for values, which go by their order
	read  func(into reflect.Value, src []byte) error
}

// plan makes a plan, or gives the one that the statement had last.
func (r *rows) plan(types *pgtype.Map, st *statement, fields []pgconn.FieldDescription) (*plan, error) {
	if r.table == nil {
		return r.values(types, fields)
	}
	if st != nil && st.plan != nil && st.plan.of == r.table.Type {
		return st.plan, nil
	}
	p := &plan{of: r.table.Type, columns: make([]column, 0, len(fields))}
	for i, f := range fields {
		field := r.table.LookupField(f.Name)
		if field == nil {
			return nil, fmt.Errorf("%s has no field for the column %s", r.table.TypeName, f.Name)
		}
		c := column{field: field.Index, read: reader(types, field.StructField.Type, f.DataTypeOID)}
		if c.read == nil {
			p.texts = append(p.texts, i)
		}
		p.columns = append(p.columns, c)
	}
	if st != nil {
		st.plan = p
	}
	return p, nil
}

// values plans for values that have no model.
func (r *rows) values(types *pgtype.Map, fields []pgconn.FieldDescription) (*plan, error) {
	into := make([]reflect.Type, 0, len(fields))
	for _, v := range r.one {
		into = append(into, v.Type())
	}
	if r.elem != nil {
		into = append(into, r.elem)
	}
	if len(into) != len(fields) {
		return nil, fmt.Errorf("%d columns can not be read into %d values", len(fields), len(into))
	}
	p := new(plan)
	for i, f := range fields {
		c := column{read: reader(types, into[i], f.DataTypeOID)}
		if c.read == nil {
			p.texts = append(p.texts, i)
		}
		p.columns = append(p.columns, c)
	}
	return p, nil
}

// row reads one row, with its texts.
func (p *plan) row(into []reflect.Value, values [][]byte, texts *strings.Builder) error {
	size := 0
	for _, i := range p.texts {
		size += len(values[i])
	}
	if had := texts.Cap(); had-texts.Len() < size {
		const most = 4 << 10
		texts.Reset()
		texts.Grow(max(size, min(2*had, most))) //nolint:mnd // as much again, and no more for one row than it takes
	}
	begin := texts.Len()
	for _, i := range p.texts {
		texts.Write(values[i])
	}
	rest := texts.String()[begin:]
	for i := range p.columns {
		c := &p.columns[i]
		var v reflect.Value
		switch {
		case c.field == nil:
			v = into[i] //nolint:gosec // there are as many: see values
		case len(c.field) == 1:
			v = into[0].Field(c.field[0])
		default:
			v = into[0].FieldByIndex(c.field)
		}
		switch src := values[i]; {
		case src == nil:
			v.SetZero()
		case c.read == nil:
			v.SetString(rest[:len(src)])
			rest = rest[len(src):]
		default:
			if err := c.read(v, src); err != nil {
				return err
			}
		}
	}
	return nil
}

// reader gives what reads a column of a type of Postgres into a Go type; nil for texts, which row reads itself. What
// is not often read goes the way of pgx.
func reader(types *pgtype.Map, into reflect.Type, oid uint32) func(reflect.Value, []byte) error {
	switch {
	case into.Kind() == reflect.String && (oid == pgtype.TextOID || oid == pgtype.VarcharOID):
		return nil
	case isInt(into.Kind()) && (oid == pgtype.Int8OID || oid == pgtype.Int4OID || oid == pgtype.Int2OID):
		return readInt
	case into == reflect.TypeFor[*int64]() && oid == pgtype.Int8OID:
		return readIntPointer
	case into.Kind() == reflect.Bool && oid == pgtype.BoolOID:
		return readBool
	case into == timeType && oid == pgtype.TimestamptzOID:
		return readTime
	case into == reflect.TypeFor[[]string]() && oid == pgtype.TextArrayOID:
		return readTexts
	case into == reflect.TypeFor[[]int64]() && oid == pgtype.Int8ArrayOID:
		return readInts
	case into == reflect.TypeFor[[]byte]() && oid == pgtype.ByteaOID:
		return readBytes
	}
	return func(v reflect.Value, src []byte) error {
		return types.Scan(oid, pgtype.BinaryFormatCode, src, v.Addr().Interface())
	}
}

func isInt(k reflect.Kind) bool { return k == reflect.Int64 || k == reflect.Int32 || k == reflect.Int }

// The sizes of numbers, in bytes.
const (
	size2 = 2
	size4 = 4
	size8 = 8
)

func readInt(v reflect.Value, src []byte) error {
	var n int64
	switch len(src) {
	case size8:
		n = int64(encoding.BigEndian.Uint64(src))
	case size4:
		n = int64(int32(encoding.BigEndian.Uint32(src)))
	case size2:
		n = int64(int16(encoding.BigEndian.Uint16(src)))
	default:
		return fmt.Errorf("an integer of %d bytes", len(src))
	}
	if v.OverflowInt(n) {
		return fmt.Errorf("%d is beyond a %s", n, v.Type())
	}
	v.SetInt(n)
	return nil
}

func readIntPointer(v reflect.Value, src []byte) error {
	n := new(int64)
	*pointer[*int64](v) = n
	return readInt(reflect.ValueOf(n).Elem(), src)
}

func readBool(v reflect.Value, src []byte) error {
	if len(src) != 1 {
		return fmt.Errorf("a boolean of %d bytes", len(src))
	}
	v.SetBool(src[0] != 0)
	return nil
}

// epoch is where Postgres counts its microseconds from, 2000-01-01, as Unix time.
const epoch = 946_684_800

func readTime(v reflect.Value, src []byte) error {
	if len(src) != size8 {
		return fmt.Errorf("a time of %d bytes", len(src))
	}
	n := int64(encoding.BigEndian.Uint64(src))
	if n == math.MaxInt64 || n == math.MinInt64 {
		return errors.New("a time is infinite")
	}
	const second = int64(time.Second / time.Microsecond)
	*pointer[time.Time](v) = time.Unix(epoch+n/second, n%second*int64(time.Microsecond)).UTC()
	return nil
}

func readBytes(v reflect.Value, src []byte) error {
	v.SetBytes(append(make([]byte, 0, len(src)), src...))
	return nil
}

func readTexts(v reflect.Value, src []byte) error {
	return readArray(pointer[[]string](v), src, func(element []byte) (string, error) { return string(element), nil })
}

func readInts(v reflect.Value, src []byte) error {
	return readArray(pointer[[]int64](v), src, func(element []byte) (n int64, err error) {
		return n, readInt(reflect.ValueOf(&n).Elem(), element)
	})
}

// readArray reads an array of one dimension without NULLs: the number of dimensions, whether there are NULLs, the type of
// the elements; for each dimension its length and where it begins; for each element its length and its bytes.
func readArray[T any](into *[]T, src []byte, read func([]byte) (T, error)) error {
	const header, dimension = 3 * size4, 2 * size4
	if len(src) < header {
		return errShort
	}
	dimensions, nulls := encoding.BigEndian.Uint32(src), encoding.BigEndian.Uint32(src[size4:])
	src = src[header:]
	switch {
	case dimensions == 0:
		*into = []T{}
		return nil
	case dimensions != 1 || nulls != 0:
		return errors.New("an array has several dimensions, or NULLs")
	case len(src) < dimension:
		return errShort
	}
	n := int(encoding.BigEndian.Uint32(src))
	src = src[dimension:]
	if n < 0 || n > len(src)/size4 {
		return errShort
	}
	out := make([]T, 0, n)
	for range n {
		if len(src) < size4 {
			return errShort
		}
		size := int(encoding.BigEndian.Uint32(src))
		if src = src[size4:]; size > len(src) {
			return errShort
		}
		element, err := read(src[:size])
		if err != nil {
			return err
		}
		out, src = append(out, element), src[size:]
	}
	*into = out
	return nil
}

var errShort = errors.New("an array ends too early")

// pointer is where the value is.
func pointer[T any](v reflect.Value) *T {
	return v.Addr().Interface().(*T) //nolint:forcetypeassert,errcheck // reader looked at its type
}
