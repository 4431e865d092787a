package graph

import (
	"context"
	"strconv"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"google.golang.org/grpc"

	"github.com/trackway/trackway/graph/generated"
	"github.com/trackway/trackway/graph/relay"
	"github.com/trackway/trackway/services/platform/errs"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// items is the name under which the input of a mutation holds several things to do.
const items = "tasks"

// each makes a request of each item. What is wrong with one goes to the form, named by its place.
func each[I, Req any](f *form, in []*I, read func(*I) (Req, error)) []Req {
	reqs := make([]Req, 0, len(in))
	for i, item := range in {
		req, err := read(item)
		if e := errs.From(err); e != nil {
			for _, wrong := range e.Fields {
				f.Fail(items+"."+strconv.Itoa(i)+"."+wrong.Name, "%s", wrong.Detail)
			}
		}
		reqs = append(reqs, req)
	}
	return reqs
}

// batch calls a service that does several things at once. It names them as requests[3], the schema as tasks.3.
func batch[Req, Res any](
	call func(context.Context, Req, ...grpc.CallOption) (Res, error),
) func(context.Context, Req, ...grpc.CallOption) (Res, error) {
	brackets := strings.NewReplacer("[", ".", "]", "")
	return func(ctx context.Context, req Req, opts ...grpc.CallOption) (Res, error) {
		res, err := call(ctx, req, opts...)
		if err == nil {
			return res, nil
		}
		e := *errs.From(err)
		e.Fields = nil
		for _, f := range errs.From(err).Fields {
			if at, ok := strings.CutPrefix(f.Name, "requests"); ok {
				f.Name = items + brackets.Replace(at)
			}
			e.Fields = append(e.Fields, f)
		}
		return res, &e
	}
}

// outcomes says what became of each item; nil if nothing was done.
func (r *mutationResolver) outcomes(ctx context.Context, from []*tasksv1.TaskOutcome) []*generated.TaskOutcome {
	if from == nil {
		return nil
	}
	out := make([]*generated.TaskOutcome, 0, len(from))
	for i, o := range from {
		if f := o.GetFailure(); f != nil {
			e := errs.New(errs.Code(f.GetCode()), "%s", f.GetDetail())
			place := items + "." + strconv.Itoa(i)
			for _, v := range f.GetFields() {
				e.Fields = append(e.Fields, errs.Field{Name: place + "." + v.GetField(), Detail: v.GetDetail()})
			}
			if len(e.Fields) == 0 {
				e.Fields = []errs.Field{{Name: place, Detail: e.Detail}}
			}
			out = append(out, &generated.TaskOutcome{UserErrors: described(e)})
			continue
		}
		put(r.loads, place(graphql.GetFieldContext(ctx)), o.GetTask())
		out = append(out, &generated.TaskOutcome{
			Task: o.GetTask(), TaskEdge: relay.EdgeOf(o.GetTask()), UserErrors: []*generated.UserError{},
		})
	}
	return out
}
