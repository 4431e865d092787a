package graph

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/graph/relay"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	eventsv1 "github.com/trackway/trackway/services/rpc/events/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// newEvent is an event of a stream as the services' ListEvents give it.
func newEvent(r *events.Record) *eventsv1.Event {
	return &eventsv1.Event{
		Cursor: r.Position.String(), Type: r.Type, SubjectId: r.SubjectID, ProjectId: r.ProjectID, ActorId: r.ActorID,
		Version: r.Version, OccurredAt: timestamppb.New(r.OccurredAt), Payload: r.Payload, Changed: r.Changed,
		Audience: r.Audience,
	}
}

// changes are the types of the events about a noun.
func changes(noun string, happened ...string) []string {
	types := make([]string, 0, len(happened))
	for _, h := range happened {
		types = append(types, noun+"."+h)
	}
	return types
}

func (r *resolver) taskEvents(project int64, types ...string) source {
	return source{service: fromTasks, list: r.cfg.Tasks.ListEvents, project: project, types: types}
}

func (r *resolver) projectEvents(project int64, types ...string) source {
	return source{service: fromProjects, list: r.cfg.Projects.ListEvents, project: project, types: types}
}

// event is what all events have.
func event(e *eventsv1.Event, cursor string) relay.Event {
	_, happened, _ := strings.Cut(e.GetType(), ".")
	return relay.Event{
		Cursor: cursor, Kind: strings.ToUpper(happened), At: e.GetOccurredAt(), Version: e.GetVersion(),
		Changed: append([]string{}, e.GetChanged()...), ActorID: e.GetActorId(),
	}
}

// thing reads what an event is about.
func thing[T proto.Message](e *eventsv1.Event, into T) (T, error) {
	return into, proto.Unmarshal(e.GetPayload(), into) //nolint:wrapcheck // what a service wrote
}

func taskEvent(e *eventsv1.Event, cursor string) (*relay.TaskEvent, bool, error) {
	task, err := thing(e, new(tasksv1.Task))
	return &relay.TaskEvent{Event: event(e, cursor), Task: task}, true, err
}

func projectEvent(e *eventsv1.Event, cursor string) (*relay.ProjectEvent, bool, error) {
	project, err := thing(e, new(projectsv1.Project))
	return &relay.ProjectEvent{Event: event(e, cursor), Project: project}, true, err
}

// commentEvent is the shape of the events about the comments of one task.
func commentEvent(task int64) func(e *eventsv1.Event, cursor string) (*relay.CommentEvent, bool, error) {
	return func(e *eventsv1.Event, cursor string) (*relay.CommentEvent, bool, error) {
		comment, err := thing(e, new(tasksv1.Comment))
		return &relay.CommentEvent{Event: event(e, cursor), Comment: comment}, comment.GetTaskId() == task, err
	}
}

// notification is the shape of what concerns the viewer, if somebody else did it.
func notification(viewer int64) func(e *eventsv1.Event, cursor string) (*relay.Notification, bool, error) {
	return func(e *eventsv1.Event, cursor string) (n *relay.Notification, ok bool, err error) {
		if e.GetActorId() == viewer {
			return nil, false, nil
		}
		n = &relay.Notification{Event: event(e, cursor), ProjectID: e.GetProjectId()}
		switch e.GetType() {
		case "task.created", "task.updated":
			task, err := thing(e, new(tasksv1.Task))
			assigned := e.GetType() == "task.created" || slices.Contains(e.GetChanged(), "assignee_id")
			n.Kind, n.TaskID = "TASK_ASSIGNED", task.GetId()
			return n, assigned && task.GetAssigneeId() == viewer, err
		case "comment.created":
			n.Kind = "COMMENT_ADDED"
			n.Comment, err = thing(e, new(tasksv1.Comment))
			n.TaskID = n.Comment.GetTaskId()
		case "project.deleted":
			n.Kind = "PROJECT_DELETED"
		default:
			n.Kind = map[string]string{
				"member.created": "MEMBER_ADDED", "member.updated": "MEMBER_CHANGED", "member.deleted": "MEMBER_REMOVED",
			}[e.GetType()]
			n.Member, err = thing(e, new(projectsv1.Member))
		}
		return n, n.Kind != "", err
	}
}

// actor is who did something, or nil.
func (r *resolver) actor(ctx context.Context, e *relay.Event) (*usersv1.User, error) {
	return byID(ctx, r.users, e.ActorID)
}

// byID is a row that something refers to, or nil.
func byID[T relay.Node](ctx context.Context, from *rows[T], id int64) (T, error) {
	var none T
	if id == 0 {
		return none, nil
	}
	if err := from.load(ctx, []int64{id}); err != nil {
		return none, err
	}
	row, _ := from.get(id)
	return row, nil
}

// commented is the task whose comments are followed.
func (r *resolver) commented(ctx context.Context, id relay.ID) (*tasksv1.Task, error) {
	k, ok := id.Of(relay.Task)
	if !ok {
		return nil, errs.InvalidField("task_id", "must be the id of a task")
	}
	task, err := r.cfg.Tasks.GetTask(ctx, &tasksv1.GetTaskRequest{Id: k})
	return task, r.failure(ctx, err)
}
