package edge

import (
	"context"
	"crypto/sha256"
	"strconv"

	lru "github.com/hashicorp/golang-lru/v2"
	"google.golang.org/grpc"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	"github.com/trackway/trackway/services/rpc/tags"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// queries keeps whole answers to GraphQL queries, each for one caller. What an answer depends on is found out by watching
// the calls that it is made of (watched).
type queries struct {
	answers *cache.Answers // nil where nothing is kept
	seen    *lru.Cache[[sha256.Size]byte, seen]
}

func newQueries(answers *cache.Answers) queries {
	known, err := lru.New[[sha256.Size]byte, seen](maxSeen)
	if err != nil {
		panic(err) // only a size below one is an error
	}
	return queries{answers, known}
}

// Answer gives what was kept of the answer to a query, which is named by all that it depends on but the caller; nil when
// execute had to run it. What that gives is kept, unless it is nil.
func (q queries) Answer(ctx context.Context, name string, execute func(context.Context) (keep []byte)) []byte {
	caller := auth.CallerFrom(ctx)
	if !keepsFor(caller) {
		execute(ctx)
		return nil
	}
	question := q.question(caller, name)
	look := q.look(ctx, question, name)
	if look.Answer != nil {
		q.answers.Count(ctx, question.Kind, "hit")
		return look.Answer.Body
	}
	done, err := q.answers.Throttle(ctx, look)
	if err == nil {
		defer done()
	}
	collecting, collector := q.answers.Collect(ctx, look)
	if collector == nil {
		q.answers.Count(ctx, question.Kind, "bypass")
	} else {
		q.answers.Count(ctx, question.Kind, "miss")
	}
	cache.Need(collecting, question.Access) // what a caller may see is part of every answer
	if keep := execute(collecting); keep != nil {
		collector.Keep(ctx, question, &cache.Answer{Body: keep})
	}
	return nil
}

// keepsFor reports whether answers are kept for the caller. What a token with scopes is for, each service knows.
func keepsFor(caller *auth.Caller) bool {
	return caller.UserID != 0 && caller.Scopes == nil && caller.Projects == nil
}

func (queries) question(caller *auth.Caller, name string) *cache.Question {
	return &cache.Question{
		Kind: "graphql", Access: tags.Access(caller.UserID),
		Name: "graphql " + strconv.FormatInt(caller.UserID, 10) + strconv.FormatBool(caller.Admin) + name,
	}
}

// watched is a connection to a service that tells what the answers of its calls depend on, before they are made.
type watched struct {
	grpc.ClientConnInterface

	places *lru.Cache[int64, int64] // the projects of tasks, which never move
}

// maxPlaces bounds how many tasks' projects are remembered.
const maxPlaces = 50_000

func newPlaces() *lru.Cache[int64, int64] {
	places, err := lru.New[int64, int64](maxPlaces)
	if err != nil {
		panic(err) // only a size below one is an error
	}
	return places
}

// Invoke makes a call.
func (w watched) Invoke(ctx context.Context, method string, req, reply any, opts ...grpc.CallOption) error {
	if cache.Collecting(ctx) {
		needed, ok := w.needs(ctx, req)
		cache.Need(ctx, needed...) // in any case: it must not show whether the places of hidden tasks are known
		if !ok {
			cache.Refuse(ctx)
		}
	}
	err := w.ClientConnInterface.Invoke(ctx, method, req, reply, opts...)
	if err == nil && cache.Collecting(ctx) {
		if lacks(req, reply) {
			cache.Refuse(ctx)
		}
		w.learn(reply)
	}
	return err
}

// needs gives the tags of what is asked for; not ok when there are none that cover it.
func (w watched) needs(ctx context.Context, req any) ([]string, bool) {
	switch req := req.(type) {
	case *usersv1.GetUserRequest, *usersv1.BatchGetUsersRequest, *usersv1.ListUsersRequest:
		return []string{tags.Users()}, true
	case *projectsv1.GetProjectRequest:
		return []string{tags.Project(req.GetId())}, true
	case *projectsv1.BatchGetProjectsRequest:
		return each(req.GetIds(), tags.Project), true
	case *projectsv1.ListProjectsRequest:
		own := !req.GetDeleted() && req.GetVisibility() != projectsv1.Visibility_VISIBILITY_PUBLIC
		return []string{tags.Access(auth.CallerFrom(ctx).UserID)}, own
	case *projectsv1.GetMemberRequest:
		return []string{tags.Project(req.GetProjectId()), tags.Members(req.GetProjectId())}, true
	case *projectsv1.ListMembersRequest:
		return []string{tags.Project(req.GetProjectId()), tags.Members(req.GetProjectId())}, true
	case *projectsv1.BatchListMembersRequest:
		return append(each(req.GetProjectIds(), tags.Project), each(req.GetProjectIds(), tags.Members)...), true
	case *projectsv1.BatchGetAccessRequest:
		return each(req.GetProjectIds(), tags.Project), len(req.GetUserIds()) == 0
	case *tasksv1.ListTasksRequest:
		return []string{tags.Inside(req.GetProjectId())}, req.GetProjectId() != 0
	case *tasksv1.BatchListTasksRequest:
		return each(req.GetProjectIds(), tags.Inside), true
	case *tasksv1.GetTaskRequest:
		return w.around(req.GetId())
	case *tasksv1.BatchGetTasksRequest:
		return w.around(req.GetIds()...)
	case *tasksv1.BatchListSubtasksRequest:
		return w.around(req.GetTaskIds()...)
	case *tasksv1.BatchListCommentsRequest:
		return w.around(req.GetTaskIds()...)
	case *tasksv1.ListCommentsRequest:
		if req.GetTaskId() == 0 {
			return nil, false
		}
		return w.around(req.GetTaskId())
	default:
		return nil, false
	}
}

// lacks reports whether a task that was asked for is not in the reply. Such answers are never kept: of a task that is
// hidden the project may be known here, and of one that does not exist it never is, so that keeping the one would tell.
func lacks(req, reply any) bool {
	asked, ok := req.(*tasksv1.BatchGetTasksRequest)
	found, answered := reply.(*tasksv1.BatchGetTasksResponse)
	return ok && answered && len(found.GetTasks()) < len(asked.GetIds())
}

// around gives the tags of the projects that the tasks are in; not ok when one of them is not known yet.
func (w watched) around(taskIDs ...int64) ([]string, bool) {
	inside, known := make(map[int64]bool), true
	for _, id := range taskIDs {
		project, ok := w.places.Get(id)
		inside[project] = true // 0, in which there is nothing, if it is not known
		known = known && ok
	}
	needed := make([]string, 0, len(inside))
	for id := range inside {
		needed = append(needed, tags.Inside(id))
	}
	return needed, known
}

// learn remembers the projects of tasks.
func (w watched) learn(reply any) {
	var tasks []*tasksv1.Task
	switch reply := reply.(type) {
	case *tasksv1.Task:
		tasks = []*tasksv1.Task{reply}
	case *tasksv1.BatchGetTasksResponse:
		tasks = reply.GetTasks()
	case *tasksv1.ListTasksResponse:
		tasks = reply.GetTasks()
	case *tasksv1.BatchListTasksResponse:
		for _, page := range reply.GetPages() {
			tasks = append(tasks, page.GetTasks()...)
		}
	case *tasksv1.BatchListSubtasksResponse:
		for _, page := range reply.GetPages() {
			tasks = append(tasks, page.GetTasks()...)
		}
	}
	for _, t := range tasks {
		w.places.Add(t.GetId(), t.GetProjectId())
	}
}

func each(ids []int64, tag func(int64) string) []string {
	all := make([]string, 0, len(ids))
	for _, id := range ids {
		all = append(all, tag(id))
	}
	return all
}
