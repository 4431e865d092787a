package graph_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/graph"
	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	eventsv1 "github.com/trackway/trackway/services/rpc/events/v1"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// The fake world: 40 projects; project p has the tasks 100p+1 to 100p+60; task t has the comments 1000t+1 to 1000t+5.
// Task t is assigned to user t%50+1, and comment c is by user c%50+51. User 13 is deleted.
const (
	projects    = 40
	tasksEach   = 60
	commentEach = 5
	deletedUser = 13
)

// world is the three services behind the graph, as they answer over gRPC.
type world struct {
	usersv1.UnimplementedUsersServiceServer
	projectsv1.UnimplementedProjectsServiceServer
	tasksv1.UnimplementedTasksServiceServer

	url    string
	config graph.Config

	mu    sync.Mutex
	calls map[string]int   // by method
	last  proto.Message    // the latest request
	keys  []string         // the idempotency keys
	fail  map[string]error // what a method answers
	whole bool             // gives all fields, whatever is asked for
	log   strings.Builder
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{calls: make(map[string]int), fail: make(map[string]error)}
	l := bufconn.Listen(1 << 20)
	srv := grpc.NewServer(grpc.UnaryInterceptor(w.intercept))
	usersv1.RegisterUsersServiceServer(srv, w)
	projectsv1.RegisterProjectsServiceServer(srv, w)
	tasksv1.RegisterTasksServiceServer(srv, w)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	tb.Cleanup(func() {
		srv.Stop()
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	log := slog.New(slog.NewTextHandler(w, nil))
	env := app.Env{Log: log, DialTo: func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }}
	conn, err := app.Dial(env, "fake:9090", usersv1.UsersService_ServiceDesc, projectsv1.ProjectsService_ServiceDesc,
		tasksv1.TasksService_ServiceDesc)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := conn.Close(); err != nil {
			tb.Error(err)
		}
	})
	w.config = graph.Config{
		Users: usersv1.NewUsersServiceClient(conn), Projects: projectsv1.NewProjectsServiceClient(conn),
		Tasks: tasksv1.NewTasksServiceClient(conn), Log: log,
	}
	w.url = w.serve(tb, w.config)
	return w
}

// ListEvents tells of nothing: both services have it.
func (*world) ListEvents(context.Context, *eventsv1.ListEventsRequest) (*eventsv1.ListEventsResponse, error) {
	return &eventsv1.ListEventsResponse{Cursor: "0-0"}, nil
}

// serve listens for a handler.
func (w *world) serve(tb testing.TB, cfg graph.Config) (url string) {
	tb.Helper()
	front := httptest.NewServer(w.handler(cfg))
	tb.Cleanup(front.Close)
	return front.URL
}

// handler is one behind what the edge does: the caller goes into the context, the body is bounded.
func (*world) handler(cfg graph.Config) http.Handler {
	h := graph.New(cfg)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if token, ok := auth.Bearer(r.Header.Get("Authorization")); ok {
			ctx = auth.WithCaller(ctx, &auth.Caller{UserID: 1, Token: token})
		}
		r.Body = http.MaxBytesReader(rw, r.Body, 1<<20)
		h.ServeHTTP(rw, r.WithContext(ctx))
	})
}

// Write takes the log.
func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func (w *world) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	method := info.FullMethod[strings.LastIndex(info.FullMethod, "/")+1:]
	w.mu.Lock()
	w.calls[method]++
	w.last, _ = req.(proto.Message)
	w.keys = append(w.keys, metadata.ValueFromIncomingContext(ctx, "idempotency-key")...)
	err, whole := w.fail[method], w.whole
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	token := strings.Join(metadata.ValueFromIncomingContext(ctx, "authorization"), "")
	if token == "" && method != "Login" && method != "Register" && method != "RefreshTokens" {
		return nil, errs.New(errs.Unauthenticated, "Sign in first.")
	}
	res, err := next(ctx, req)
	if masked, ok := req.(interface{ GetReadMask() *fieldmaskpb.FieldMask }); ok && err == nil && !whole && masked.GetReadMask() != nil {
		prune(res.(proto.Message).ProtoReflect(), masked.GetReadMask().GetPaths()) //nolint:forcetypeassert,errcheck // it was generated
	}
	return res, err
}

// prune takes away whatever the mask does not name from the things in an answer, but for the ids that come in any case.
func prune(m protoreflect.Message, mask []string) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !f.IsList() || f.Message() == nil {
			continue
		}
		var rest []protoreflect.FieldDescriptor
		for i := range f.Message().Fields().Len() {
			of := f.Message().Fields().Get(i)
			if !slices.Contains(mask, string(of.Name())) && !slices.Contains([]string{"id", "project_id", "task_id"}, string(of.Name())) {
				rest = append(rest, of)
			}
		}
		for i, list := 0, m.Get(f).List(); i < list.Len(); i++ {
			thing := list.Get(i).Message()
			if f.Name() == "pages" {
				prune(thing, mask)
				continue
			}
			for _, of := range rest {
				thing.Clear(of)
			}
		}
	}
}

// ignoreMasks makes the services give all fields from now on, or those that are asked for.
func (w *world) ignoreMasks(whole bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whole = whole
}

// counted gives the calls so far, and begins anew.
func (w *world) counted() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := maps.Clone(w.calls)
	clear(w.calls)
	return calls
}

func (w *world) request() proto.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

func (w *world) answer(method string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail[method] = err
}

type failure struct {
	Message    string         `json:"message"`
	Path       []any          `json:"path"`
	Extensions map[string]any `json:"extensions"`
}

type response struct {
	Status int            `json:"-"`
	Header http.Header    `json:"-"`
	Text   string         `json:"-"`
	Data   map[string]any `json:"data"`
	Errors []failure      `json:"errors"`
}

// code is that of the first error.
func (r response) code() any {
	if len(r.Errors) == 0 {
		return nil
	}
	return r.Errors[0].Extensions["code"]
}

// at follows a path through the data, such as "projects.nodes.0.name".
func (r response) at(path string) any {
	var v any = r.Data
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

// ask sends a query with variables, as somebody who is signed in.
func (w *world) ask(tb testing.TB, query string, variables map[string]any) response {
	tb.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		tb.Fatal(err)
	}
	return w.send(tb, http.MethodPost, "", string(body), map[string]string{
		"Authorization": "Bearer token", "Content-Type": "application/json",
	})
}

func (w *world) send(tb testing.TB, method, path, body string, header map[string]string) response {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	var text strings.Builder
	if _, err := fmt.Fprint(&text, readAll(tb, res)); err != nil {
		tb.Fatal(err)
	}
	r := response{Status: res.StatusCode, Header: res.Header, Text: text.String()}
	if err := json.Unmarshal([]byte(r.Text), &r); err != nil {
		tb.Fatalf("answer %q: %v", r.Text, err)
	}
	return r
}

// one to n, as a page of what there is.
func page[T any](req *pagev1.PageRequest, n int64, thing func(i int64) T) ([]T, *pagev1.PageInfo, error) {
	first, last := int64(1), n
	if req.GetAfter() != "" {
		i, err := strconv.ParseInt(req.GetAfter(), 10, 64)
		if err != nil {
			return nil, nil, errs.InvalidField("after", "is no cursor of this list")
		}
		first = i + 1
	}
	if req.GetBefore() != "" {
		i, err := strconv.ParseInt(req.GetBefore(), 10, 64)
		if err != nil {
			return nil, nil, errs.InvalidField("before", "is no cursor of this list")
		}
		last = i - 1
	}
	if size := int64(req.GetSize()); req.GetBackward() {
		first = max(first, last-size+1)
	} else {
		last = min(last, first+size-1)
	}
	info := &pagev1.PageInfo{HasPrevious: first > 1, HasNext: last < n}
	if req.GetCount() {
		info.TotalCount = &n
	}
	var things []T
	for i := first; i <= last; i++ {
		things = append(things, thing(i))
		if !req.GetNoCursors() && (!req.GetEndsOnly() || i == first || i == last) {
			info.Cursors = append(info.Cursors, strconv.FormatInt(i, 10))
		}
	}
	return things, info, nil
}

// instant is one message for all things: what these services allocate is not what is measured.
var instant = timestamppb.New(epoch)

func now() *timestamppb.Timestamp { return instant }

func user(id int64) *usersv1.User {
	return &usersv1.User{
		Id: id, Version: 1, CreatedAt: now(), UpdatedAt: now(), Name: fmt.Sprint("user ", id),
		Role: usersv1.Role_ROLE_USER, Active: true, Email: new(fmt.Sprint(id, "@example.org")),
	}
}

func project(id int64) *projectsv1.Project {
	return &projectsv1.Project{
		Id: id, Version: 1, CreatedAt: now(), UpdatedAt: now(), Name: fmt.Sprint("project ", id), OwnerId: id,
		Visibility: projectsv1.Visibility_VISIBILITY_PRIVATE, Description: fmt.Sprint("about ", id), ArchivedAt: now(), RequireIfMatch: true,
	}
}

func task(id int64) *tasksv1.Task {
	assignee := id%50 + 1
	return &tasksv1.Task{
		Id: id, Version: 1, CreatedAt: now(), UpdatedAt: now(), ProjectId: id / 100, Number: id % 100,
		Title: fmt.Sprint("task ", id), Status: tasksv1.Status_STATUS_TODO, Priority: tasksv1.Priority_PRIORITY_LOW,
		AssigneeId: &assignee, CreatorId: assignee + 1, Description: fmt.Sprint("about ", id), Labels: []string{"a", "b"},
		ParentId: new(id + 1), DueDate: new("2026-01-02"), Position: "a", CompletedAt: now(), DeletedAt: now(),
	}
}

func comment(id int64) *tasksv1.Comment {
	return &tasksv1.Comment{
		Id: id, Version: 1, CreatedAt: now(), UpdatedAt: now(), TaskId: id / 1000, AuthorId: id%50 + 51,
		Body: fmt.Sprint("comment ", id), ProjectId: id / 100_000,
	}
}

func (w *world) BatchGetUsers(_ context.Context, req *usersv1.BatchGetUsersRequest) (*usersv1.BatchGetUsersResponse, error) {
	res := &usersv1.BatchGetUsersResponse{}
	for _, id := range req.GetIds() {
		if id != deletedUser && id < 1000 {
			u := user(id)
			if req.GetWithoutEmail() {
				u.Email = nil
			}
			res.Users = append(res.Users, u)
		}
	}
	return res, nil
}

func (w *world) ListUsers(_ context.Context, req *usersv1.ListUsersRequest) (_ *usersv1.ListUsersResponse, err error) {
	res := &usersv1.ListUsersResponse{}
	res.Users, res.Page, err = page(req.GetPage(), 100, user)
	return res, err
}

func (w *world) Login(context.Context, *usersv1.LoginRequest) (*usersv1.Tokens, error) {
	return &usersv1.Tokens{AccessToken: "access", RefreshToken: "refresh", ExpiresIn: 900, User: user(1)}, nil
}

func (w *world) BatchGetProjects(
	_ context.Context, req *projectsv1.BatchGetProjectsRequest,
) (*projectsv1.BatchGetProjectsResponse, error) {
	res := &projectsv1.BatchGetProjectsResponse{}
	for _, id := range req.GetIds() {
		if id <= projects {
			res.Projects = append(res.Projects, project(id))
		}
	}
	return res, nil
}

func (w *world) ListProjects(
	_ context.Context, req *projectsv1.ListProjectsRequest,
) (_ *projectsv1.ListProjectsResponse, err error) {
	res := &projectsv1.ListProjectsResponse{}
	res.Projects, res.Page, err = page(req.GetPage(), projects, project)
	return res, err
}

func (w *world) BatchListMembers(
	_ context.Context, req *projectsv1.BatchListMembersRequest,
) (_ *projectsv1.BatchListMembersResponse, err error) {
	res := &projectsv1.BatchListMembersResponse{}
	for _, p := range req.GetProjectIds() {
		list := &projectsv1.MemberPage{ParentId: p}
		list.Members, list.Page, err = page(req.GetPage(), 3, func(i int64) *projectsv1.Member {
			return &projectsv1.Member{
				Id: 100*p + i, Version: 1, CreatedAt: now(), UpdatedAt: now(), ProjectId: p, UserId: p + i,
				Role: projectsv1.Role_ROLE_MEMBER,
			}
		})
		res.Pages = append(res.Pages, list)
	}
	return res, err
}

func (w *world) BatchGetTasks(_ context.Context, req *tasksv1.BatchGetTasksRequest) (*tasksv1.BatchGetTasksResponse, error) {
	res := &tasksv1.BatchGetTasksResponse{}
	for _, id := range req.GetIds() {
		if id/100 <= projects {
			res.Tasks = append(res.Tasks, task(id))
		}
	}
	return res, nil
}

func (w *world) ListTasks(_ context.Context, req *tasksv1.ListTasksRequest) (_ *tasksv1.ListTasksResponse, err error) {
	res := &tasksv1.ListTasksResponse{}
	p := max(1, req.GetProjectId())
	res.Tasks, res.Page, err = page(req.GetPage(), tasksEach, func(i int64) *tasksv1.Task { return task(100*p + i) })
	return res, err
}

func (w *world) BatchListTasks(
	ctx context.Context, req *tasksv1.BatchListTasksRequest,
) (_ *tasksv1.BatchListTasksResponse, err error) {
	res := &tasksv1.BatchListTasksResponse{}
	for _, p := range req.GetProjectIds() {
		var list *tasksv1.ListTasksResponse
		list, err = w.ListTasks(ctx, &tasksv1.ListTasksRequest{Page: req.GetPage(), ProjectId: p})
		res.Pages = append(res.Pages, &tasksv1.TaskPage{ParentId: p, Tasks: list.GetTasks(), Page: list.GetPage()})
	}
	return res, err
}

func (w *world) BatchGetComments(
	_ context.Context, req *tasksv1.BatchGetCommentsRequest,
) (*tasksv1.BatchGetCommentsResponse, error) {
	res := &tasksv1.BatchGetCommentsResponse{}
	for _, id := range req.GetIds() {
		res.Comments = append(res.Comments, comment(id))
	}
	return res, nil
}

func (w *world) ListComments(
	_ context.Context, req *tasksv1.ListCommentsRequest,
) (_ *tasksv1.ListCommentsResponse, err error) {
	res := &tasksv1.ListCommentsResponse{}
	res.Comments, res.Page, err = page(req.GetPage(), commentEach, func(i int64) *tasksv1.Comment {
		return comment(1000*max(101, req.GetTaskId()) + i)
	})
	return res, err
}

func (w *world) BatchListComments(
	ctx context.Context, req *tasksv1.BatchListCommentsRequest,
) (_ *tasksv1.BatchListCommentsResponse, err error) {
	res := &tasksv1.BatchListCommentsResponse{}
	for _, t := range req.GetTaskIds() {
		var list *tasksv1.ListCommentsResponse
		list, err = w.ListComments(ctx, &tasksv1.ListCommentsRequest{Page: req.GetPage(), TaskId: t})
		res.Pages = append(res.Pages, &tasksv1.CommentPage{ParentId: t, Comments: list.GetComments(), Page: list.GetPage()})
	}
	return res, err
}

// BatchListSubtasks finds a task of its own below each task.
func (w *world) BatchListSubtasks(
	_ context.Context, req *tasksv1.BatchListSubtasksRequest,
) (_ *tasksv1.BatchListSubtasksResponse, err error) {
	res := &tasksv1.BatchListSubtasksResponse{}
	for _, t := range req.GetTaskIds() {
		p := &tasksv1.TaskPage{ParentId: t}
		p.Tasks, p.Page, err = page(req.GetPage(), 1, func(int64) *tasksv1.Task { return task(t + 7) })
		res.Pages = append(res.Pages, p)
	}
	return res, err
}

func (w *world) CreateTask(_ context.Context, req *tasksv1.CreateTaskRequest) (*tasksv1.Task, error) {
	return task(100*req.GetProjectId() + 1), nil
}

func (w *world) UpdateTask(_ context.Context, req *tasksv1.UpdateTaskRequest) (*tasksv1.Task, error) {
	return task(req.GetId()), nil
}

func (w *world) BatchCreateTasks(_ context.Context, req *tasksv1.BatchCreateTasksRequest) (*tasksv1.BatchCreateTasksResponse, error) {
	res := &tasksv1.BatchCreateTasksResponse{}
	for _, r := range req.GetRequests() {
		res.Outcomes = append(res.Outcomes, &tasksv1.TaskOutcome{Task: task(100*r.GetProjectId() + 1)})
	}
	return res, nil
}

// BatchUpdateTasks does not find the task 102.
func (w *world) BatchUpdateTasks(_ context.Context, req *tasksv1.BatchUpdateTasksRequest) (*tasksv1.BatchUpdateTasksResponse, error) {
	res := &tasksv1.BatchUpdateTasksResponse{}
	for _, r := range req.GetRequests() {
		if r.GetId() == 102 {
			res.Outcomes = append(res.Outcomes, &tasksv1.TaskOutcome{Failure: &tasksv1.Failure{
				Code: string(errs.NotFound), Detail: "There is none.",
			}})
			continue
		}
		res.Outcomes = append(res.Outcomes, &tasksv1.TaskOutcome{Task: task(r.GetId())})
	}
	return res, nil
}

func (w *world) ListSessions(context.Context, *usersv1.ListSessionsRequest) (*usersv1.ListSessionsResponse, error) {
	return &usersv1.ListSessionsResponse{Sessions: []*usersv1.Session{{
		Id: "8e03978e-40d5-43e8-bc93-6894a57f9324", CreatedAt: now(), LastUsedAt: now(), ExpiresAt: now(), Current: true,
	}}}, nil
}

func (w *world) DeleteSession(context.Context, *usersv1.DeleteSessionRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (w *world) DeleteSessions(context.Context, *usersv1.DeleteSessionsRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (w *world) DeleteTask(context.Context, *tasksv1.DeleteTaskRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (w *world) RefreshTokens(context.Context, *usersv1.RefreshTokensRequest) (*usersv1.Tokens, error) {
	return &usersv1.Tokens{AccessToken: "next", RefreshToken: "refresh 2", ExpiresIn: 900, User: user(1)}, nil
}

func (w *world) Logout(context.Context, *usersv1.LogoutRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (w *world) ChangePassword(context.Context, *usersv1.ChangePasswordRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (w *world) MoveTask(_ context.Context, req *tasksv1.MoveTaskRequest) (*tasksv1.Task, error) {
	return task(req.GetId()), nil
}

func (w *world) RestoreTask(_ context.Context, req *tasksv1.RestoreTaskRequest) (*tasksv1.Task, error) {
	return task(req.GetId()), nil
}

func (w *world) RestoreComment(_ context.Context, req *tasksv1.RestoreCommentRequest) (*tasksv1.Comment, error) {
	return comment(req.GetId()), nil
}

func (w *world) RestoreProject(_ context.Context, req *projectsv1.RestoreProjectRequest) (*projectsv1.Project, error) {
	return project(req.GetId()), nil
}

func (w *world) CreateProject(context.Context, *projectsv1.CreateProjectRequest) (*projectsv1.Project, error) {
	return project(1), nil
}

func (w *world) UpdateProject(_ context.Context, req *projectsv1.UpdateProjectRequest) (*projectsv1.Project, error) {
	return project(req.GetId()), nil
}
