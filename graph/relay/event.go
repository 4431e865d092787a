package relay

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// Event is what all events have. ActorID is 0 for nobody.
type Event struct {
	Cursor  string
	Kind    string // a ChangeKind or NotificationKind
	At      *timestamppb.Timestamp
	Version int64
	Changed []string
	ActorID int64
}

// TaskEvent is a change of a task.
type TaskEvent struct {
	Event

	Task *tasksv1.Task
}

// CommentEvent is a change of a comment.
type CommentEvent struct {
	Event

	Comment *tasksv1.Comment
}

// ProjectEvent is a change of a project.
type ProjectEvent struct {
	Event

	Project *projectsv1.Project
}

// Notification is what concerns the viewer. What it is about is there, or has an id by which it is found.
type Notification struct {
	Event

	ProjectID, TaskID int64
	Comment           *tasksv1.Comment
	Member            *projectsv1.Member
}
