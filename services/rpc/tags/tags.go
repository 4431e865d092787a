// Package tags names what a cached answer can depend on. The service that owns a thing invalidates its tags with each
// change, by the events that it writes; the edge keeps answers under the tags that they depend on. The names are part of
// the contract between them: one that is changed on one side only makes answers stale.
package tags

import "strconv"

// User is one user.
func User(id int64) string { return name("user", id, "") }

// Users is all users taken together.
func Users() string { return "users" }

// Access is what the user is in every project: roles, whether each is archived and requires preconditions, and so the
// list of the user's own projects with all their fields too.
func Access(userID int64) string { return name("access", userID, "") }

// Project is one project.
func Project(id int64) string { return name("project", id, "") }

// Members is the list of a project's members.
func Members(projectID int64) string { return name("project", projectID, ":members") }

// Tasks is every list of a project's tasks, whatever it is filtered by.
func Tasks(projectID int64) string { return name("project", projectID, ":tasks") }

// TasksIn is every list of a project's tasks of one status, a number of tasks.v1: what happens to tasks of other statuses
// does not change it.
func TasksIn(projectID int64, status int32) string {
	return name("project", projectID, ":tasks:"+strconv.FormatInt(int64(status), 10))
}

// Inside is all that is in a project taken together: its tasks and their comments, and whether strangers may see it.
func Inside(projectID int64) string { return name("project", projectID, ":inside") }

// Task is one task.
func Task(id int64) string { return name("task", id, "") }

// Comments is the list of a task's comments.
func Comments(taskID int64) string { return name("task", taskID, ":comments") }

func name(noun string, id int64, part string) string {
	b := make([]byte, 0, 40) //nolint:mnd // room for the longest
	b = append(append(b, noun...), ':')
	b = strconv.AppendInt(b, id, 10)
	return string(append(b, part...))
}
