package graph

import (
	"sync"

	"go.opentelemetry.io/otel/trace"

	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// resolver is the root of all resolvers of one operation.
type resolver struct {
	*server

	loads    *loads
	users    *rows[*usersv1.User]
	projects *rows[*projectsv1.Project]
	tasks    *rows[*tasksv1.Task]
	comments *rows[*tasksv1.Comment]

	selecting sync.Once
	selected  map[string][]string // the names of all fields in the operation, by their types

	feeds  sync.WaitGroup  // of the operation's subscription
	coming chan trace.Span // by which the next event is delivered; nil where there is no subscription
	ended  error           // why it ended by itself; once its channel is closed
}

func (s *server) resolver() *resolver {
	r := &resolver{server: s}
	r.forget()
	return r
}

// forget drops all that was loaded: a mutation may have changed any of it.
func (r *resolver) forget() {
	r.loads = &loads{watch: r.watch}
	r.users = &rows[*usersv1.User]{fetch: r.batchGetUsers}
	r.projects = &rows[*projectsv1.Project]{fetch: r.batchGetProjects}
	r.tasks = &rows[*tasksv1.Task]{fetch: r.batchGetTasks}
	r.comments = &rows[*tasksv1.Comment]{fetch: r.batchGetComments}
}
