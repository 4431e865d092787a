package page

import (
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/trackway/trackway/services/platform/errs"
)

// Mask names the fields that are wanted of each row; none is all. A google.protobuf.FieldMask is one.
type Mask interface{ GetPaths() []string }

// Columns are the columns of a noun, such as "t.title" or "t.id AS task_id", which its fields are named after, in groups
// of which each is read as a whole or not at all. The first is read in any case. Each set of columns is a statement
// of its own, which every connection prepares: of groups there are few sets, of fields there would be thousands.
type Columns [][]string

// Read checks the mask, and gives the columns that it takes, together with those of other fields.
func (c Columns) Read(mask Mask, others ...string) (bun.Safe, error) {
	wanted := mask.GetPaths()
	if len(wanted) == 0 {
		return c.All(), nil
	}
	for _, field := range wanted {
		if !slices.ContainsFunc(c, func(group []string) bool { return holds(group, field) }) {
			return "", errs.InvalidField("read_mask", "%.50q is not a field", field)
		}
	}
	some := make(Columns, 0, len(c))
	for i, group := range c {
		here := func(field string) bool { return holds(group, field) }
		if i == 0 || slices.ContainsFunc(wanted, here) || slices.ContainsFunc(others, here) {
			some = append(some, group)
		}
	}
	return some.All(), nil
}

// All gives all columns.
func (c Columns) All() bun.Safe { return bun.Safe(strings.Join(slices.Concat(c...), ", ")) }

// holds reports whether the field is one of the group's.
func holds(group []string, field string) bool {
	return slices.ContainsFunc(group, func(column string) bool {
		return column[strings.LastIndexAny(column, ". ")+1:] == field
	})
}

// Fields are those that the list is ordered by, which its cursors are made of.
func (q *Query[T]) Fields() []string {
	fields := make([]string, 0, len(q.by))
	for _, t := range q.by {
		fields = append(fields, t.Name)
	}
	return fields
}
