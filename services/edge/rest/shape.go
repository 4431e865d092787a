package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/trackway/trackway/services/platform/auth"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// Selection is which fields of a V a read is to give.
type Selection[V any] struct {
	Fields []Field[V] `query:"fields" maxItems:"30" doc:"Only these fields, and the id; all when absent. What is expanded comes besides."`
}

// mask names what is selected of the messages that Vs are made of, so that no more is read; nil, which is all, if
// all is wanted, or something besides, which may need more than is selected.
func (s Selection[V]) mask(of proto.Message, besides bool) *fieldmaskpb.FieldMask {
	if s.Fields == nil || besides {
		return nil
	}
	fields := of.ProtoReflect().Descriptor().Fields()
	paths := make([]string, 0, len(s.Fields))
	for _, f := range s.Fields {
		name := string(f)
		if name == "completed" { // is what the status says
			name = "status"
		}
		if fields.ByName(protoreflect.Name(name)) == nil {
			return nil
		}
		paths = append(paths, name)
	}
	return &fieldmaskpb.FieldMask{Paths: paths}
}

// Field is the name of a field of V.
type Field[V any] string

// Schema lists the names.
func (Field[V]) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[V]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			s.Enum = append(s.Enum, name)
		}
	}
	return s
}

// Permitted is whether a read is to say what the caller may do.
type Permitted struct {
	Permissions bool `query:"permissions" default:"false" doc:"Whether to add _permissions: what the caller may do with the thing."`
}

// View is a V as a read gives it: whole or some of its fields, and with it what was asked for besides.
type View[V beside] struct {
	whole  V
	fields []Field[V]
	with   []named
}

const permissionsName = "_permissions"

type named struct {
	name  string
	value any
}

// beside is a thing whose reads can be asked for more than its fields.
type beside interface {
	// beside describes what can be asked for besides, by name.
	beside(r huma.Registry) map[string]*huma.Schema
}

func newView[V beside](whole V, s Selection[V]) View[V] {
	return View[V]{whole: whole, fields: s.Fields}
}

// add puts something beside the fields. A pointer that is nil becomes null.
func (v *View[V]) add(name string, value any) {
	if !slices.ContainsFunc(v.with, func(n named) bool { return n.name == name }) {
		v.with = append(v.with, named{name, value})
	}
}

// Schema is that of V, of which only the id is sure to be there, and of what can be beside it.
func (View[V]) Schema(r huma.Registry) *huma.Schema {
	t := reflect.TypeFor[V]()
	name := t.Name() + "View"
	ref := &huma.Schema{Ref: schemaPrefix + name}
	if r.Map()[name] != nil {
		return ref
	}
	s := *r.SchemaFromRef(r.Schema(t, true, "").Ref)
	r.Map()[name] = &s // before what is beside it, which may hold the same
	s.Required = []string{"id"}
	var none V
	s.Properties = maps.Clone(s.Properties)
	maps.Copy(s.Properties, none.beside(r))
	s.Description = "A " + strings.ToLower(t.Name()) + " as a read gives it: with all its fields, or those that were asked " +
		"for, and what was asked for besides."
	return ref
}

// embedded describes a V in another thing, or null where there is none that the caller may see.
func embedded[V any](r huma.Registry, doc string) *huma.Schema {
	return &huma.Schema{
		Description: doc,
		AnyOf:       []*huma.Schema{r.Schema(reflect.TypeFor[V](), true, ""), {Type: "null"}},
	}
}

// may describes what the caller may do, as P lists it.
func may[P any](r huma.Registry) *huma.Schema { return r.Schema(reflect.TypeFor[P](), true, "") }

// isWhole reports whether the view is of all fields, and of nothing besides.
func (v View[V]) isWhole() bool { return v.fields == nil && v.with == nil }

// MarshalJSONTo writes what was asked for.
func (v View[V]) MarshalJSONTo(enc *jsontext.Encoder) error {
	if v.isWhole() {
		return json.MarshalEncode(enc, v.whole)
	}
	text, err := json.Marshal(v.whole)
	if err != nil {
		return fmt.Errorf("write a view: %w", err)
	}
	if err := enc.WriteToken(jsontext.BeginObject); err != nil {
		return fmt.Errorf("write a view: %w", err)
	}
	if err := v.selected(enc, text); err != nil {
		return fmt.Errorf("write the fields of a view: %w", err)
	}
	for _, w := range v.with {
		if err := enc.WriteToken(jsontext.String(w.name)); err != nil {
			return fmt.Errorf("write a view: %w", err)
		}
		if err := json.MarshalEncode(enc, w.value); err != nil {
			return fmt.Errorf("write %s: %w", w.name, err)
		}
	}
	return enc.WriteToken(jsontext.EndObject)
}

// selected copies the members that were asked for.
func (v View[V]) selected(enc *jsontext.Encoder, text []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(text))
	if _, err := dec.ReadToken(); err != nil { // the brace
		return err //nolint:wrapcheck // the caller does
	}
	for dec.PeekKind() == jsontext.KindString {
		token, err := dec.ReadToken()
		if err != nil {
			return err //nolint:wrapcheck // the caller does
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err != nil && !errors.Is(err, io.EOF) {
			return err //nolint:wrapcheck // the caller does
		}
		if v.fields != nil && name != "id" && !slices.Contains(v.fields, Field[V](name)) {
			continue
		}
		if err := enc.WriteToken(jsontext.String(name)); err != nil {
			return err //nolint:wrapcheck // the caller does
		}
		if err := enc.WriteValue(value); err != nil {
			return err //nolint:wrapcheck // the caller does
		}
	}
	return nil
}

// readView is the answer of a read of one thing. What is beside it changes without it, and so the ETag is then of the
// whole answer, and no version.
func readView[M message, V beside](m M, views []View[V]) *Read[View[V]] {
	if len(views) == 0 { // beside an error
		return nil
	}
	out := &Read[View[V]]{Body: views[0]}
	if out.Body.with == nil {
		out.ETag = etag(m.GetVersion())
	}
	return out
}

// lookup gets things for embedding, in one call, by their ids. Those that the caller may not see are not there.
func lookup[M message, V any](ids []int64, fetch func([]int64) ([]M, error), view func(M) V) (map[int64]*V, error) {
	slices.Sort(ids)
	ids = slices.Compact(slices.DeleteFunc(ids, func(id int64) bool { return id == 0 }))
	if len(ids) == 0 {
		return nil, nil //nolint:nilnil // an empty map
	}
	found, err := fetch(ids)
	if err != nil {
		return nil, err
	}
	views := make(map[int64]*V, len(found))
	for _, m := range found {
		views[m.GetId()] = new(view(m))
	}
	return views, nil
}

func (a *api) usersOf(ctx context.Context, ids []int64) (map[int64]*User, error) {
	return lookup(ids, func(ids []int64) ([]*usersv1.User, error) {
		res, err := a.users.BatchGetUsers(ctx, &usersv1.BatchGetUsersRequest{Ids: ids})
		return res.GetUsers(), err
	}, newUser)
}

func (a *api) projectsOf(ctx context.Context, ids []int64) (map[int64]*Project, error) {
	return lookup(ids, func(ids []int64) ([]*projectsv1.Project, error) {
		res, err := a.projects.BatchGetProjects(ctx, &projectsv1.BatchGetProjectsRequest{Ids: ids})
		return res.GetProjects(), err
	}, newProject)
}

func (a *api) tasksOf(ctx context.Context, ids []int64) (map[int64]*Task, error) {
	return lookup(ids, func(ids []int64) ([]*tasksv1.Task, error) {
		res, err := a.tasks.BatchGetTasks(ctx, &tasksv1.BatchGetTasksRequest{Ids: ids})
		return res.GetTasks(), err
	}, newTask)
}

// access is what the caller is in one project.
type access struct {
	role     auth.Role
	archived bool
}

// allows asks the policy table.
func (a access) allows(p auth.Permission) bool {
	return a.role.Allows(p) && p.RequireInUse(a.archived) == nil
}

// accessTo asks what the caller is in the projects.
func (a *api) accessTo(ctx context.Context, ids []int64) (map[int64]access, error) {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) == 0 {
		return nil, nil //nolint:nilnil // an empty map
	}
	res, err := a.projects.BatchGetAccess(ctx, &projectsv1.BatchGetAccessRequest{ProjectIds: ids})
	if err != nil {
		return nil, err
	}
	all := make(map[int64]access, len(ids))
	for _, in := range res.GetAccess() {
		all[in.GetProjectId()] = access{auth.Role(in.GetRole()), in.GetArchived()}
	}
	return all, nil
}

// each gathers one id of every item.
func each[M any](items []M, id func(M) int64) []int64 {
	ids := make([]int64, 0, len(items))
	for _, m := range items {
		ids = append(ids, id(m))
	}
	return ids
}
