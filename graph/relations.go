package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/trackway/trackway/graph/generated"
	"github.com/trackway/trackway/graph/relay"
	"github.com/trackway/trackway/graph/scalar"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// relation resolves a field for all objects of a level, by the resolver that gqlgen calls for each of them.
type relation func(ctx context.Context, x *execution, objects []relay.Node, f graphql.CollectedField) (column, error)

// relations are the fields that breadth resolves, by type and name. A field that is not here makes its query slow, and
// nothing else.
func relations() map[string]relation {
	users := func(r *resolver) *rows[*usersv1.User] { return r.users }
	projects := func(r *resolver) *rows[*projectsv1.Project] { return r.projects }
	tasks := func(r *resolver) *rows[*tasksv1.Task] { return r.tasks }
	return map[string]relation{
		"Query.viewer": single(func(ctx context.Context, r *resolver, _ *arguments) (*usersv1.User, error) {
			return (&queryResolver{r}).Viewer(ctx)
		}),
		"Query.user": single(func(ctx context.Context, r *resolver, a *arguments) (*usersv1.User, error) {
			return (&queryResolver{r}).User(ctx, value(a.id))
		}),
		"Query.project": single(func(ctx context.Context, r *resolver, a *arguments) (*projectsv1.Project, error) {
			return (&queryResolver{r}).Project(ctx, value(a.id))
		}),
		"Query.task": single(func(ctx context.Context, r *resolver, a *arguments) (*tasksv1.Task, error) {
			return (&queryResolver{r}).Task(ctx, value(a.id))
		}),
		"Query.comment": single(func(ctx context.Context, r *resolver, a *arguments) (*tasksv1.Comment, error) {
			return (&queryResolver{r}).Comment(ctx, value(a.id))
		}),
		"Query.users": connection(func(ctx context.Context, r *resolver, a *arguments) (*relay.UserConnection, error) {
			return (&queryResolver{r}).Users(ctx, a.first, a.after, a.last, a.before, filter[generated.UserFilter](a), a.orderBy)
		}),
		"Query.projects": connection(func(ctx context.Context, r *resolver, a *arguments) (*relay.ProjectConnection, error) {
			return (&queryResolver{r}).Projects(ctx, a.first, a.after, a.last, a.before, filter[generated.ProjectFilter](a), a.orderBy)
		}),
		"Query.tasks": connection(func(ctx context.Context, r *resolver, a *arguments) (*relay.TaskConnection, error) {
			return (&queryResolver{r}).Tasks(ctx, a.projectID, a.first, a.after, a.last, a.before, filter[generated.TaskFilter](a), a.orderBy)
		}),
		"Query.comments": connection(func(ctx context.Context, r *resolver, a *arguments) (*relay.CommentConnection, error) {
			return (&queryResolver{r}).Comments(ctx, a.taskID, a.first, a.after, a.last, a.before, filter[generated.CommentFilter](a), a.orderBy)
		}),
		"Project.owner":  referring(projectUsers(), users),
		"Member.user":    referring(memberUsers(), users),
		"Member.project": referring(memberProjects(), projects),
		"Task.assignee":  referring(taskUsers(), users),
		"Task.creator":   referring(taskUsers(), users),
		"Task.project":   referring(taskProjects(), projects),
		"Task.parent":    referring(taskParents(), tasks),
		"Comment.author": referring(commentUsers(), users),
		"Comment.task":   referring(commentTasks(), tasks),
		"Project.members": connections(func(ctx context.Context, r *resolver, of *projectsv1.Project, a *arguments) (*relay.MemberConnection, error) {
			return (&projectResolver{r}).Members(ctx, of, a.first, a.after, a.last, a.before, filter[generated.MemberFilter](a), a.orderBy)
		}),
		"Project.tasks": connections(func(ctx context.Context, r *resolver, of *projectsv1.Project, a *arguments) (*relay.TaskConnection, error) {
			return (&projectResolver{r}).Tasks(ctx, of, a.first, a.after, a.last, a.before, filter[generated.TaskFilter](a), a.orderBy)
		}),
		"Task.subtasks": connections(func(ctx context.Context, r *resolver, of *tasksv1.Task, a *arguments) (*relay.TaskConnection, error) {
			return (&taskResolver{r}).Subtasks(ctx, of, a.first, a.after, a.last, a.before, filter[generated.TaskFilter](a), a.orderBy)
		}),
		"Task.comments": connections(func(ctx context.Context, r *resolver, of *tasksv1.Task, a *arguments) (*relay.CommentConnection, error) {
			return (&taskResolver{r}).Comments(ctx, of, a.first, a.after, a.last, a.before, filter[generated.CommentFilter](a), a.orderBy)
		}),
	}
}

// nouns are the messages that GraphQL types are.
func nouns() []relay.Node {
	return []relay.Node{
		(*usersv1.User)(nil), (*projectsv1.Project)(nil), (*projectsv1.Member)(nil), (*tasksv1.Task)(nil), (*tasksv1.Comment)(nil),
	}
}

// single is a field of the query that is one object.
func single[T relay.Node](call func(ctx context.Context, r *resolver, a *arguments) (T, error)) relation {
	return func(ctx context.Context, x *execution, _ []relay.Node, f graphql.CollectedField) (column, error) {
		a, err := newArguments(ctx, f.Field, x.op.Variables)
		if err != nil {
			return nil, err
		}
		found, err := call(ctx, x.resolver, a)
		if err != nil {
			return x.fail(ctx, f, err)
		}
		return x.refer(ctx, f, []relay.Node{found}, []int32{0})
	}
}

// connection is a field of the query that is a page of a list.
func connection[T relay.Node](call func(ctx context.Context, r *resolver, a *arguments) (*relay.Connection[T], error)) relation {
	return func(ctx context.Context, x *execution, _ []relay.Node, f graphql.CollectedField) (column, error) {
		a, err := newArguments(ctx, f.Field, x.op.Variables)
		if err != nil {
			return nil, err
		}
		found, err := call(ctx, x.resolver, a)
		if err != nil {
			return x.fail(ctx, f, err)
		}
		return x.connect(ctx, f, []connected{found})
	}
}

// referring is a field that holds the id of a row.
func referring[P, T relay.Node](refs references[P], to func(*resolver) *rows[T]) relation {
	return func(ctx context.Context, x *execution, objects []relay.Node, f graphql.CollectedField) (column, error) {
		id, rows := refs[f.Name], to(x.resolver)
		at := make([]int32, len(objects))
		var found []relay.Node
		known := make(map[int64]int32)
		for i, o := range objects {
			parent, ok := o.(P)
			if !ok {
				return nil, errElse
			}
			key := id(parent)
			n, seen := known[key]
			if !seen {
				n = -1
				row, loaded := rows.get(key)
				if !loaded && key != 0 {
					// The first loads them for all; one who finds nothing then refers to what is not there.
					if _, err := refer(ctx, x.loads, rows, parent, refs); err != nil {
						return nil, err
					}
					row, loaded = rows.get(key)
				}
				if loaded {
					n = int32(len(found))
					found = append(found, row)
				}
				known[key] = n
			}
			at[i] = n
		}
		return x.refer(ctx, f, found, at)
	}
}

func (x *execution) refer(ctx context.Context, f graphql.CollectedField, found []relay.Node, at []int32) (column, error) {
	to, err := x.level(ctx, f.Definition.Type.Name(), f.Selections, found)
	return &reference{f, to, at}, err
}

// connections is a field that is a page of a list of each object's own.
func connections[P, T relay.Node](call func(ctx context.Context, r *resolver, of P, a *arguments) (*relay.Connection[T], error)) relation {
	return func(ctx context.Context, x *execution, objects []relay.Node, f graphql.CollectedField) (column, error) {
		a, err := newArguments(ctx, f.Field, x.op.Variables)
		if err != nil {
			return nil, err
		}
		var loaded map[int64]*relay.Connection[T]
		var asked map[int64]bool
		of := make([]connected, len(objects))
		for i, o := range objects {
			parent, ok := o.(P)
			if !ok {
				return nil, errElse
			}
			found := loaded[parent.GetId()]
			if !asked[parent.GetId()] { // the first loads them for all
				if found, err = call(ctx, x.resolver, parent, a); err != nil {
					return nil, err
				}
				loaded, asked = pagesAt[P, T](ctx, x.loads)
			}
			if found != nil {
				of[i] = found
			}
		}
		return x.connect(ctx, f, of)
	}
}

// arguments are those that breadth knows.
type arguments struct {
	first, last       *int
	after, before     *string
	orderBy           []*relay.Order
	id                *relay.ID
	projectID, taskID *relay.ID
	filter            any // a pointer to one of package generated
}

// filter is the argument of that name, or nil.
func filter[T any](a *arguments) *T {
	f, _ := a.filter.(*T)
	return f
}

func newArguments(ctx context.Context, f *ast.Field, variables map[string]any) (*arguments, error) {
	a := &arguments{}
	for name, v := range f.ArgumentMap(variables) {
		if v == nil {
			continue
		}
		var err error
		switch name {
		case "first":
			a.first, err = integer(v)
		case "last":
			a.last, err = integer(v)
		case "after":
			a.after, err = characters(v)
		case "before":
			a.before, err = characters(v)
		case "orderBy":
			a.orderBy, err = orders(v)
		case "id":
			a.id, err = identifier(v)
		case "projectId":
			a.projectID, err = identifier(v)
		case "taskId":
			a.taskID, err = identifier(v)
		case "filter":
			a.filter, err = generated.ReadFilter(ctx, f.Definition.Arguments.ForName(name).Type.Name(), v)
		default:
			err = errElse
		}
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

func integer(v any) (*int, error) {
	n, err := scalar.UnmarshalInt(v)
	return &n, err
}

func characters(v any) (*string, error) {
	s, err := graphql.UnmarshalString(v)
	return &s, err
}

func identifier(v any) (*relay.ID, error) {
	id := new(relay.ID)
	return id, id.UnmarshalGQL(v)
}

func orders(v any) ([]*relay.Order, error) {
	var all []*relay.Order
	for _, term := range graphql.CoerceList(v) {
		fields, ok := term.(map[string]any)
		if !ok {
			return nil, errElse
		}
		o := &relay.Order{}
		for name, v := range fields {
			s, ok := v.(string)
			switch {
			case ok && name == "field":
				o.Field = s
			case ok && name == "direction":
				o.Direction = s
			default:
				return nil, errElse
			}
		}
		all = append(all, o)
	}
	return all, nil
}
