package system

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"

	"github.com/go-json-experiment/json"
	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/trackway/trackway/services/platform/auth"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

const (
	projectCount = 20
	taskCount    = 10 // in each project
	commentCount = 3  // on each task
	// Nobody is both, so that the one cannot be known from the other.
	assignees, authors = 4, 4

	nested = `{ projects(first: 20) { nodes { name tasks(first: 10) { nodes { title assignee { name }
		comments(first: 3) { nodes { body author { name } } } } } } } }`
)

func TestANestedQueryCostsOneRPCALevelAndOneStatementAnRPC(t *testing.T) {
	t.Parallel()
	var calls counter
	s := start(t, dataDir(t), Options{
		Queries: []bun.QueryHook{&calls}, Calls: []grpc.UnaryServerInterceptor{calls.intercept},
		Environ: map[string]string{"CACHE_MEMORY": "0"}, // what is answered from the cache costs nothing
	})
	token := fill(t, s)
	ask(t, s.URL, token) // what is fetched once, such as the keys that verify tokens, is not the query's
	calls.on.Store(true)
	ask(t, s.URL, token)
	made := calls.stop()

	want := map[string]int{ // the most of each
		projectsv1.ProjectsService_ListProjects_FullMethodName: 1,
		tasksv1.TasksService_BatchListTasks_FullMethodName:     1,
		tasksv1.TasksService_BatchListComments_FullMethodName:  1,
		usersv1.UsersService_BatchGetUsers_FullMethodName:      2, // assignees, authors
		// Asked by tasks when it has not remembered it, at once for both of its lists.
		projectsv1.ProjectsService_ListAccess_FullMethodName: 2,
	}
	got := map[string]int{}
	for _, c := range made {
		got[c.method]++
		if n := len(c.statements); n > 1 {
			t.Errorf("%s took %d SQL statements, want at most 1:\n%s", c.method, n, strings.Join(c.statements, "\n"))
		}
	}
	for method, n := range got {
		if n > want[method] {
			t.Errorf("%s was called %d times, want at most %d", method, n, want[method])
		}
	}
	if len(got) == 0 {
		t.Error("no call was counted")
	}
	t.Logf("the query cost\n%s", table(made)) // seen when the test fails, or with -v
}

// fill makes the projects, tasks and comments, and returns the token of somebody who may read them all.
func fill(t *testing.T, s *System) (token string) {
	t.Helper()
	dial := func(name string) *grpc.ClientConn {
		conn, err := s.Dial(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	users := usersv1.NewUsersServiceClient(dial("users"))
	projects := projectsv1.NewProjectsServiceClient(dial("projects"))
	tasks := tasksv1.NewTasksServiceClient(dial("tasks"))

	const password = "correct horse"
	var people []int64
	var as []context.Context
	for i := range assignees + authors {
		email := fmt.Sprintf("person%d@example.org", i)
		_, err := users.Register(t.Context(), &usersv1.RegisterRequest{Name: "Person", Email: email, Password: password})
		if err != nil {
			t.Fatal(err)
		}
		tokens, err := users.Login(t.Context(), &usersv1.LoginRequest{Email: email, Password: password})
		if err != nil {
			t.Fatal(err)
		}
		people = append(people, tokens.GetUser().GetId())
		as = append(as, auth.WithCaller(t.Context(), &auth.Caller{Token: tokens.GetAccessToken()}))
	}
	var g errgroup.Group
	g.SetLimit(4)
	for p := range projectCount {
		g.Go(func() error {
			project, err := projects.CreateProject(as[0], &projectsv1.CreateProjectRequest{Name: fmt.Sprint("Project ", p)})
			if err != nil {
				return err
			}
			for _, id := range people[1:] {
				_, err := projects.CreateMember(as[0], &projectsv1.CreateMemberRequest{ProjectId: project.GetId(), UserId: id})
				if err != nil {
					return err
				}
			}
			for n := range taskCount {
				task, err := tasks.CreateTask(as[0], &tasksv1.CreateTaskRequest{
					ProjectId: project.GetId(), Title: fmt.Sprint("Task ", n), AssigneeId: &people[(p+n)%assignees],
				})
				if err != nil {
					return err
				}
				for c := range commentCount {
					_, err := tasks.CreateComment(as[assignees+(n+c)%authors], &tasksv1.CreateCommentRequest{
						TaskId: task.GetId(), Body: fmt.Sprint("Comment ", c),
					})
					if err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return auth.CallerFrom(as[0]).Token
}

// ask sends the nested query, and checks that the whole answer is there.
func ask(t *testing.T, url, token string) {
	t.Helper()
	type person struct {
		Name string `json:"name"`
	}
	type list[T any] struct {
		Nodes []T `json:"nodes"`
	}
	type comment struct {
		Author person `json:"author"`
	}
	type task struct {
		Assignee person        `json:"assignee"`
		Comments list[comment] `json:"comments"`
	}
	type project struct {
		Tasks list[task] `json:"tasks"`
	}
	var answer struct {
		Data struct {
			Projects list[project] `json:"projects"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(graphql(t, url, token, nested)), &answer); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, p := range answer.Data.Projects.Nodes {
		got["projects"]++
		for _, tk := range p.Tasks.Nodes {
			got["tasks"]++
			got["assignees"] += len(tk.Assignee.Name) / len("Person")
			for _, c := range tk.Comments.Nodes {
				got["comments"]++
				got["authors"] += len(c.Author.Name) / len("Person")
			}
		}
	}
	want := map[string]int{
		"projects": projectCount, "tasks": projectCount * taskCount, "assignees": projectCount * taskCount,
		"comments": projectCount * taskCount * commentCount, "authors": projectCount * taskCount * commentCount,
	}
	if !maps.Equal(got, want) {
		t.Fatalf("the answer has %v, want %v", got, want)
	}
}

// counter counts the RPCs that the services answer, and the statements that each takes.
type counter struct {
	on atomic.Bool

	mu   sync.Mutex
	made []*call
}

type call struct {
	method     string
	statements []string
}

type callKey struct{}

func (c *counter) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if !c.on.Load() || info.FullMethod == usersv1.UsersService_ListRevocations_FullMethodName { // which every process asks all the time
		return next(ctx, req)
	}
	made := &call{method: info.FullMethod}
	c.mu.Lock()
	c.made = append(c.made, made)
	c.mu.Unlock()
	return next(context.WithValue(ctx, callKey{}, made), req)
}

// BeforeQuery has nothing to do.
func (*counter) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

// AfterQuery counts the statement.
func (c *counter) AfterQuery(ctx context.Context, e *bun.QueryEvent) {
	if made, ok := ctx.Value(callKey{}).(*call); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		made.statements = append(made.statements, e.Query)
	}
}

// stop ends the counting, and gives what was counted.
func (c *counter) stop() []call {
	c.on.Store(false)
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]call, len(c.made))
	for i, made := range c.made {
		all[i] = call{made.method, slices.Clone(made.statements)}
	}
	return all
}

// table says for each method how often it was called, and the statements of each call.
func table(all []call) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RPC\tcalls\tstatements of each")
	statements := map[string][]int{}
	for _, made := range all {
		statements[made.method] = append(statements[made.method], len(made.statements))
	}
	for _, method := range slices.Sorted(maps.Keys(statements)) {
		fmt.Fprintf(w, "%s\t%d\t%v\n", method, len(statements[method]), statements[method])
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}
