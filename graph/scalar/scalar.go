// Package scalar reads and writes the scalars and enums of the schema. Whatever a client sends, a value that does not
// fit is errs.Invalid in our own words, never Go's.
package scalar

import (
	"context"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/graph/relay"
	"github.com/trackway/trackway/services/platform/errs"
)

// MarshalDateTime writes a moment as in RFC 3339, in UTC.
func MarshalDateTime(t *timestamppb.Timestamp) graphql.Marshaler {
	if t == nil {
		return graphql.Null
	}
	return graphql.WriterFunc(func(w io.Writer) {
		b := make([]byte, 0, len(time.RFC3339Nano)+2)
		b = append(b, '"')
		b = t.AsTime().AppendFormat(b, time.RFC3339Nano)
		_, _ = w.Write(append(b, '"'))
	})
}

// UnmarshalDateTime reads a moment as in RFC 3339.
func UnmarshalDateTime(v any) (*timestamppb.Timestamp, error) {
	s, _ := v.(string)
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		return nil, errs.New(errs.Invalid, "A DateTime is a string such as 2026-07-01T09:30:00Z (RFC 3339).")
	}
	return timestamppb.New(t), nil
}

// MarshalDate writes a calendar date.
func MarshalDate(s string) graphql.Marshaler { return graphql.MarshalString(s) }

// UnmarshalDate reads a calendar date.
func UnmarshalDate(v any) (string, error) {
	s, _ := v.(string)
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		return "", errs.New(errs.Invalid, "A Date is a string such as 2026-07-01 (RFC 3339, full-date).")
	}
	return s, nil
}

// MarshalInt writes an Int.
func MarshalInt(i int) graphql.Marshaler { return graphql.MarshalInt(i) }

// UnmarshalInt reads an Int, which has 32 bits.
func UnmarshalInt(v any) (int, error) {
	i, err := UnmarshalInt64(v)
	if err != nil || i < math.MinInt32 || i > math.MaxInt32 {
		return 0, errs.New(errs.Invalid, "An Int is a whole number of up to 32 bits.")
	}
	return int(i), nil
}

// MarshalInt64 writes a whole number.
func MarshalInt64(i int64) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) { _, _ = w.Write(strconv.AppendInt(nil, i, 10)) })
}

// UnmarshalInt64 reads a whole number. A JSON number with an exponent or a fraction of zero is whole, too.
func UnmarshalInt64(v any) (int64, error) {
	switch v := v.(type) {
	case int64:
		return v, nil
	case float64:
		if i := int64(v); v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return i, nil
		}
	}
	return 0, errs.New(errs.Invalid, "An Int64 is a whole number of up to 64 bits.")
}

// MarshalRowID writes the id of a row as a global id, whose type is that of the object which the field belongs to.
func MarshalRowID(key int64) graphql.ContextMarshaler {
	return graphql.ContextWriterFunc(func(ctx context.Context, w io.Writer) error {
		relay.ID{Type: graphql.GetFieldContext(ctx).Object, Key: key}.MarshalGQL(w)
		return nil
	})
}

// UnmarshalRowID reads the key of an id. No input of the schema is bound to it: inputs are relay.ID, which knows the
// type; gqlgen wants the pair.
func UnmarshalRowID(_ context.Context, v any) (int64, error) {
	var id relay.ID
	err := id.UnmarshalGQL(v)
	return id.Key, err
}
