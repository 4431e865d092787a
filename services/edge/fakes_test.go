package edge

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	"github.com/trackway/trackway/services/platform/rpctest"
	eventsv1 "github.com/trackway/trackway/services/rpc/events/v1"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// world is an edge before stand-ins of the three services.
type world struct {
	*rpctest.World

	tb    testing.TB
	url   string
	fake  *services
	redis *miniredis.Miniredis
	token string

	handler http.Handler
}

// services stands in for users, projects and tasks. It keeps tasks; of all else there is one of each.
type services struct {
	usersv1.UnimplementedUsersServiceServer
	projectsv1.UnimplementedProjectsServiceServer
	tasksv1.UnimplementedTasksServiceServer

	issuer *auth.Issuer

	mu    sync.Mutex
	tasks map[int64]*tasksv1.Task
	calls []call
	fail  error
	keys  map[string]bool

	grants map[string]auth.Grant // by personal access token

	role projectsv1.Role // of the caller in project 1; a member when unspecified
	lost error           // of BatchGetUsers
	gone bool            // all accounts are deleted
}

type call struct {
	method string
	req    proto.Message
	key    string
}

// ListEvents tells of nothing: two services have it.
func (*services) ListEvents(context.Context, *eventsv1.ListEventsRequest) (*eventsv1.ListEventsResponse, error) {
	return &eventsv1.ListEventsResponse{Cursor: "0-0"}, nil
}

// see records every call but those for keys.
func (s *services) see(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if info.FullMethod == usersv1.UsersService_GetKeys_FullMethodName {
		return next(ctx, req)
	}
	key := strings.Join(metadata.ValueFromIncomingContext(ctx, idempotency.KeyHeader), "")
	s.mu.Lock()
	m, _ := req.(proto.Message)
	s.calls = append(s.calls, call{info.FullMethod[strings.LastIndexByte(info.FullMethod, '/')+1:], m, key})
	fail := s.fail
	replayed := key != "" && s.keys[key]
	s.keys[key] = true
	s.mu.Unlock()
	if fail != nil {
		return nil, fail
	}
	if replayed {
		if err := grpc.SetHeader(ctx, metadata.Pairs(idempotency.ReplayedHeader, "true")); err != nil {
			return nil, err
		}
	}
	return next(ctx, req)
}

// took gives the calls since it was asked last.
func (s *services) took() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls
	s.calls = nil
	return c
}

func (s *services) failWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// newWorld starts an edge. Changes are made to its configuration.
func newWorld(tb testing.TB, changes ...func(*Config)) *world {
	tb.Helper()
	w := &world{World: rpctest.New(tb), tb: tb, redis: miniredis.RunT(tb)}
	w.Env.Log = slog.New(slog.DiscardHandler)
	w.fake = &services{issuer: w.Issuer, tasks: make(map[int64]*tasksv1.Task), keys: make(map[string]bool)}
	for id := int64(1); id <= 5; id++ {
		w.fake.tasks[id] = newFakeTask(id)
	}
	w.Env.Calls = []grpc.UnaryServerInterceptor{w.fake.see}
	w.Fake(tb, "users", func(s *grpc.Server) { usersv1.RegisterUsersServiceServer(s, w.fake) },
		usersv1.UsersService_GetKeys_FullMethodName, usersv1.UsersService_Login_FullMethodName,
		usersv1.UsersService_Register_FullMethodName, usersv1.UsersService_RefreshTokens_FullMethodName,
		usersv1.UsersService_ListRevocations_FullMethodName, usersv1.UsersService_ExchangeToken_FullMethodName,
		usersv1.UsersService_RequestPasswordReset_FullMethodName, usersv1.UsersService_ResetPassword_FullMethodName,
		usersv1.UsersService_ConfirmEmailChange_FullMethodName, usersv1.UsersService_BeginProviderSignIn_FullMethodName, usersv1.UsersService_FinishProviderSignIn_FullMethodName,
		usersv1.UsersService_ExchangeCode_FullMethodName, usersv1.UsersService_ExchangeIdToken_FullMethodName)
	w.Fake(tb, "projects", func(s *grpc.Server) { projectsv1.RegisterProjectsServiceServer(s, w.fake) })
	w.Fake(tb, "tasks", func(s *grpc.Server) { tasksv1.RegisterTasksServiceServer(s, w.fake) })
	w.url = w.serve(changes...)
	var err error
	if w.token, err = w.Issuer.Issue(7, false, "session"); err != nil {
		tb.Fatal(err)
	}
	return w
}

// patientRates are limits that let nothing through on a busy machine that a test counts.
func patientRates(client redis.UniversalClient, cfg Config, log *slog.Logger) *rates {
	s := newRates(client, cfg, log)
	s.timeout = time.Minute
	s.gather = cache.NewGather(client, s.timeout)
	return s
}

// serve starts an edge before the world's services.
func (w *world) serve(changes ...func(*Config)) string {
	w.tb.Helper()
	cfg := Config{
		Auth: rpctest.AuthConfig(), Users: "users", Projects: "projects", Tasks: "tasks",
		Redis: cache.Config{URL: "redis://" + w.redis.Addr()}, RateLimit: 1_000_000, AuthRateLimit: 1_000_000, BodyLimit: 1 << 20,
		Timeout: 10 * time.Second,
	}
	for _, c := range changes {
		c(&cfg)
	}
	client, err := cache.Open(cfg.Redis.URL)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.tb.Cleanup(func() { _ = client.Close() })
	c := clients{
		users:    usersv1.NewUsersServiceClient(w.Dial(w.tb, cfg.Users, usersv1.UsersService_ServiceDesc)),
		projects: projectsv1.NewProjectsServiceClient(w.Dial(w.tb, cfg.Projects, projectsv1.ProjectsService_ServiceDesc)),
		tasks:    tasksv1.NewTasksServiceClient(w.Dial(w.tb, cfg.Tasks, tasksv1.TasksService_ServiceDesc)),
	}
	limits := patientRates(client, cfg, w.Env.Log)
	if cfg.CacheMemory > 0 {
		c.answers, err = cache.NewAnswers(client, []string{"users", "projects", "tasks"}, cfg.CacheMemory, w.Env.Log, w.Env.MeterProvider())
		if err != nil {
			w.tb.Fatal(err)
		}
		c.answers.Ride(limits.gather)
		c.queries = newQueries(c.answers)
		ctx, stop := context.WithCancel(w.tb.Context())
		stopped := make(chan struct{})
		go func() { defer close(stopped); c.answers.Run(ctx) }()
		w.tb.Cleanup(func() { stop(); <-stopped })
	}
	graphql := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	})
	c.users = throttled{c.users, limits}
	w.handler, err = newHandler(cfg, w.Env, limits, c, newAuthenticator(c.verifier(cfg.Auth), c.users, limits), graphql)
	if err != nil {
		w.tb.Fatal(err)
	}
	srv := httptest.NewServer(w.handler)
	w.tb.Cleanup(srv.Close)
	return srv.URL
}

// response is an answer, read whole.
type response struct {
	*http.Response

	body string
}

// do sends a request: its headers are name, value, name, value. It goes with the world's token unless the headers say
// otherwise; an empty value leaves a header out.
func (w *world) do(method, path, body string, headers ...string) response {
	w.tb.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	return w.send(method, path, r, headers...)
}

func (w *world) send(method, path string, body io.Reader, headers ...string) response {
	w.tb.Helper()
	req, err := http.NewRequestWithContext(w.tb.Context(), method, w.url+path, body)
	if err != nil {
		w.tb.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header[http.CanonicalHeaderKey(headers[i])] = []string{headers[i+1]}
		if headers[i+1] == "" {
			delete(req.Header, http.CanonicalHeaderKey(headers[i]))
		}
	}
	res, err := http.DefaultTransport.RoundTrip(req) // no redirect is followed
	if err != nil {
		w.tb.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.tb.Fatalf("%s %s: %v", method, path, err)
	}
	return response{res, string(b)}
}

// json reads the body.
func (r response) json(tb testing.TB, into any) {
	tb.Helper()
	if err := json.Unmarshal([]byte(r.body), into); err != nil {
		tb.Fatalf("%d %s: %v", r.StatusCode, r.body, err)
	}
}

func newFakeTask(id int64) *tasksv1.Task {
	return &tasksv1.Task{
		Id: id, Version: 3, CreatedAt: when(), UpdatedAt: when(), ProjectId: 1, Number: id, Title: "Learn the API",
		Status: tasksv1.Status_STATUS_TODO, Priority: tasksv1.Priority_PRIORITY_NONE, CreatorId: 7, Position: "a0",
	}
}

func when() *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 1, 31, 9, 30, 0, 123_456_789, time.UTC))
}

func fakeUser() *usersv1.User {
	return &usersv1.User{
		Id: 7, Version: 3, CreatedAt: when(), UpdatedAt: when(), Name: "Ada", Email: new("ada@example.com"),
		Role: usersv1.Role_ROLE_USER, Active: true,
	}
}

func fakeProject() *projectsv1.Project {
	return &projectsv1.Project{
		Id: 1, Version: 3, CreatedAt: when(), UpdatedAt: when(), Name: "Apollo",
		Visibility: projectsv1.Visibility_VISIBILITY_PRIVATE, OwnerId: 7,
	}
}

func fakeMember() *projectsv1.Member {
	return &projectsv1.Member{
		Id: 1, Version: 3, CreatedAt: when(), UpdatedAt: when(), ProjectId: 1, UserId: 2, Role: projectsv1.Role_ROLE_MEMBER,
	}
}

func fakeComment() *tasksv1.Comment {
	return &tasksv1.Comment{
		Id: 1, Version: 3, CreatedAt: when(), UpdatedAt: when(), TaskId: 1, AuthorId: 7, Body: "Good.", ProjectId: 1,
	}
}

func (s *services) GetKeys(context.Context, *usersv1.GetKeysRequest) (*usersv1.Keys, error) {
	jwks, err := s.issuer.JWKS()
	return &usersv1.Keys{Jwks: jwks}, err
}

func (*services) Register(context.Context, *usersv1.RegisterRequest) (*usersv1.User, error) {
	return fakeUser(), nil
}

func (*services) Login(_ context.Context, req *usersv1.LoginRequest) (*usersv1.Tokens, error) {
	if req.GetPassword() == "wrong" {
		return nil, errs.New(errs.Unauthenticated, "E-mail or password is wrong.")
	}
	return &usersv1.Tokens{AccessToken: "a.b.c", ExpiresIn: 900, RefreshToken: "r", User: fakeUser()}, nil
}

func (*services) ExchangeCode(context.Context, *usersv1.ExchangeCodeRequest) (*usersv1.Tokens, error) {
	return &usersv1.Tokens{AccessToken: "a.b.c", ExpiresIn: 900, RefreshToken: "r", User: fakeUser()}, nil
}

func (*services) ExchangeIdToken(context.Context, *usersv1.ExchangeIdTokenRequest) (*usersv1.Tokens, error) { //nolint:revive // the contract's name
	return &usersv1.Tokens{AccessToken: "a.b.c", ExpiresIn: 900, RefreshToken: "r", User: fakeUser()}, nil
}

func (*services) RefreshTokens(_ context.Context, req *usersv1.RefreshTokensRequest) (*usersv1.Tokens, error) {
	if req.GetRefreshToken() == "used" {
		return nil, errs.New(errs.Unauthenticated, "The refresh token is not valid.")
	}
	return &usersv1.Tokens{AccessToken: "a.b.c", ExpiresIn: 900, RefreshToken: "r", User: fakeUser()}, nil
}

func (*services) Logout(context.Context, *usersv1.LogoutRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (*services) ChangePassword(context.Context, *usersv1.ChangePasswordRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (*services) ListSessions(context.Context, *usersv1.ListSessionsRequest) (*usersv1.ListSessionsResponse, error) {
	return &usersv1.ListSessionsResponse{Sessions: []*usersv1.Session{{
		Id: "8e03978e-40d5-43e8-bc93-6894a57f9324", UserId: 7, CreatedAt: when(), LastUsedAt: when(), ExpiresAt: when(),
		Device: "Trackway/1.0", Current: true,
	}}}, nil
}

func (*services) DeleteSession(context.Context, *usersv1.DeleteSessionRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (*services) DeleteSessions(context.Context, *usersv1.DeleteSessionsRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (*services) ListRevocations(context.Context, *usersv1.ListRevocationsRequest) (*usersv1.ListRevocationsResponse, error) {
	return &usersv1.ListRevocationsResponse{}, nil
}

func (*services) RequestPasswordReset(context.Context, *usersv1.RequestPasswordResetRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (*services) ResetPassword(context.Context, *usersv1.ResetPasswordRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (*services) RequestEmailChange(context.Context, *usersv1.RequestEmailChangeRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (*services) ConfirmEmailChange(context.Context, *usersv1.ConfirmEmailChangeRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (*services) ListSecurityEvents(context.Context, *usersv1.ListSecurityEventsRequest) (*usersv1.ListSecurityEventsResponse, error) {
	return &usersv1.ListSecurityEventsResponse{
		Events: []*usersv1.SecurityEvent{{Id: 1, OccurredAt: when(), Type: "session.created", UserId: 7, ActorId: 7}}, Page: onePage(),
	}, nil
}

func fakeToken() *usersv1.Token {
	return &usersv1.Token{
		Id: 1, Version: 1, CreatedAt: when(), UserId: 7, Name: "Report", Scopes: []string{"tasks:read"}, ProjectIds: []int64{1},
		ExpiresAt: when(), LastUsedAt: when(),
	}
}

func (*services) CreateToken(context.Context, *usersv1.CreateTokenRequest) (*usersv1.Token, error) {
	t := fakeToken()
	t.Secret = "twk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG000000"
	return t, nil
}

func (*services) GetToken(context.Context, *usersv1.GetTokenRequest) (*usersv1.Token, error) {
	return fakeToken(), nil
}

func (*services) ListTokens(context.Context, *usersv1.ListTokensRequest) (*usersv1.ListTokensResponse, error) {
	return &usersv1.ListTokensResponse{Tokens: []*usersv1.Token{fakeToken()}}, nil
}

func (*services) DeleteToken(context.Context, *usersv1.DeleteTokenRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (*services) GetUser(context.Context, *usersv1.GetUserRequest) (*usersv1.User, error) {
	return fakeUser(), nil
}

func (*services) ListUsers(context.Context, *usersv1.ListUsersRequest) (*usersv1.ListUsersResponse, error) {
	return &usersv1.ListUsersResponse{Users: []*usersv1.User{fakeUser()}, Page: onePage()}, nil
}

func (*services) CreateUser(context.Context, *usersv1.CreateUserRequest) (*usersv1.User, error) {
	return fakeUser(), nil
}

func (*services) UpdateUser(context.Context, *usersv1.UpdateUserRequest) (*usersv1.User, error) {
	return fakeUser(), nil
}

func (*services) DeleteUser(context.Context, *usersv1.DeleteUserRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (*services) GetProject(context.Context, *projectsv1.GetProjectRequest) (*projectsv1.Project, error) {
	return fakeProject(), nil
}

func (*services) ListProjects(context.Context, *projectsv1.ListProjectsRequest) (*projectsv1.ListProjectsResponse, error) {
	return &projectsv1.ListProjectsResponse{Projects: []*projectsv1.Project{fakeProject()}, Page: onePage()}, nil
}

func (*services) ListAccess(context.Context, *projectsv1.ListAccessRequest) (*projectsv1.ListAccessResponse, error) {
	return &projectsv1.ListAccessResponse{Access: []*projectsv1.Access{{ProjectId: 1, Role: projectsv1.Role_ROLE_VIEWER}}}, nil
}

func (*services) CreateProject(context.Context, *projectsv1.CreateProjectRequest) (*projectsv1.Project, error) {
	return fakeProject(), nil
}

func (*services) UpdateProject(context.Context, *projectsv1.UpdateProjectRequest) (*projectsv1.Project, error) {
	return fakeProject(), nil
}

func (*services) DeleteProject(context.Context, *projectsv1.DeleteProjectRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (*services) GetMember(context.Context, *projectsv1.GetMemberRequest) (*projectsv1.Member, error) {
	return fakeMember(), nil
}

func (*services) ListMembers(context.Context, *projectsv1.ListMembersRequest) (*projectsv1.ListMembersResponse, error) {
	return &projectsv1.ListMembersResponse{Members: []*projectsv1.Member{fakeMember()}, Page: onePage()}, nil
}

func (*services) CreateMember(context.Context, *projectsv1.CreateMemberRequest) (*projectsv1.Member, error) {
	return fakeMember(), nil
}

func (*services) UpdateMember(context.Context, *projectsv1.UpdateMemberRequest) (*projectsv1.Member, error) {
	return fakeMember(), nil
}

func fakeInvitation() *projectsv1.Invitation {
	return &projectsv1.Invitation{
		Id: 1, Version: 1, CreatedAt: when(), ExpiresAt: when(), ProjectId: 1, Email: "ada@example.com",
		Role: projectsv1.Role_ROLE_MEMBER, InviterId: 1,
	}
}

func (*services) CreateInvitation(context.Context, *projectsv1.CreateInvitationRequest) (*projectsv1.Invitation, error) {
	return fakeInvitation(), nil
}

func (*services) GetInvitation(context.Context, *projectsv1.GetInvitationRequest) (*projectsv1.Invitation, error) {
	return fakeInvitation(), nil
}

func (*services) ListInvitations(context.Context, *projectsv1.ListInvitationsRequest) (*projectsv1.ListInvitationsResponse, error) {
	return &projectsv1.ListInvitationsResponse{Invitations: []*projectsv1.Invitation{fakeInvitation()}}, nil
}

func (*services) DeleteInvitation(context.Context, *projectsv1.DeleteInvitationRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (*services) AcceptInvitation(context.Context, *projectsv1.AcceptInvitationRequest) (*projectsv1.Member, error) {
	return fakeMember(), nil
}

func (*services) DeleteMember(context.Context, *projectsv1.DeleteMemberRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (*services) GetComment(context.Context, *tasksv1.GetCommentRequest) (*tasksv1.Comment, error) {
	return fakeComment(), nil
}

func (*services) ListComments(context.Context, *tasksv1.ListCommentsRequest) (*tasksv1.ListCommentsResponse, error) {
	return &tasksv1.ListCommentsResponse{Comments: []*tasksv1.Comment{fakeComment()}, Page: onePage()}, nil
}

func (*services) CreateComment(context.Context, *tasksv1.CreateCommentRequest) (*tasksv1.Comment, error) {
	return fakeComment(), nil
}

func (*services) UpdateComment(context.Context, *tasksv1.UpdateCommentRequest) (*tasksv1.Comment, error) {
	return fakeComment(), nil
}

func (*services) DeleteComment(context.Context, *tasksv1.DeleteCommentRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func onePage() *pagev1.PageInfo { return &pagev1.PageInfo{Cursors: []string{"c1"}} }

func (s *services) task(id, expected int64) (*tasksv1.Task, error) {
	t, ok := s.tasks[id]
	switch {
	case !ok:
		return nil, errs.Missing("task")
	case expected != 0 && expected != t.GetVersion():
		return nil, errs.New(errs.PreconditionFailed, "The task has changed since.")
	}
	return t, nil
}

func (s *services) GetTask(_ context.Context, req *tasksv1.GetTaskRequest) (*tasksv1.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.task(req.GetId(), 0)
}

func (s *services) CreateTask(context.Context, *tasksv1.CreateTaskRequest) (*tasksv1.Task, error) {
	return newFakeTask(6), nil
}

func (s *services) UpdateTask(_ context.Context, req *tasksv1.UpdateTaskRequest) (*tasksv1.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.task(req.GetId(), req.GetExpectedVersion())
}

func (s *services) DeleteTask(_ context.Context, req *tasksv1.DeleteTaskRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.task(req.GetId(), req.GetExpectedVersion())
	return &emptypb.Empty{}, err
}

// ListTasks pages by id; a cursor is an id.
func (s *services) ListTasks(_ context.Context, req *tasksv1.ListTasksRequest) (*tasksv1.ListTasksResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.SortedFunc(maps.Values(s.tasks), func(a, b *tasksv1.Task) int { return cmp.Compare(a.GetId(), b.GetId()) })
	p := req.GetPage()
	from, to := 0, len(all)
	index := func(cursor string) int {
		return slices.IndexFunc(all, func(t *tasksv1.Task) bool { return strconv.FormatInt(t.GetId(), 10) == cursor })
	}
	if p.GetAfter() != "" {
		from = index(p.GetAfter()) + 1
	}
	if p.GetBefore() != "" {
		to = index(p.GetBefore())
	}
	if p.GetBackward() {
		from = max(from, to-int(p.GetSize()))
	} else {
		to = min(to, from+int(p.GetSize()))
	}
	info := &pagev1.PageInfo{HasNext: to < len(all), HasPrevious: from > 0}
	for _, t := range all[from:to] {
		info.Cursors = append(info.Cursors, strconv.FormatInt(t.GetId(), 10))
	}
	if p.GetCount() {
		info.TotalCount = new(int64(len(all)))
	}
	return &tasksv1.ListTasksResponse{Tasks: all[from:to], Page: info}, nil
}

func (s *services) BatchGetUsers(_ context.Context, req *usersv1.BatchGetUsersRequest) (*usersv1.BatchGetUsersResponse, error) {
	res := &usersv1.BatchGetUsersResponse{}
	if s.lost != nil || s.gone {
		return res, s.lost
	}
	for _, id := range req.GetIds() {
		u := fakeUser()
		u.Id = id
		res.Users = append(res.Users, u)
	}
	return res, nil
}

func (*services) BatchGetProjects(_ context.Context, req *projectsv1.BatchGetProjectsRequest) (*projectsv1.BatchGetProjectsResponse, error) {
	res := &projectsv1.BatchGetProjectsResponse{}
	for _, id := range req.GetIds() {
		p := fakeProject()
		p.Id = id
		res.Projects = append(res.Projects, p)
	}
	return res, nil
}

// BatchGetTasks hides those that are not there.
func (s *services) BatchGetTasks(_ context.Context, req *tasksv1.BatchGetTasksRequest) (*tasksv1.BatchGetTasksResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	res := &tasksv1.BatchGetTasksResponse{}
	for _, id := range req.GetIds() {
		if t := s.tasks[id]; t != nil {
			res.Tasks = append(res.Tasks, t)
		}
	}
	return res, nil
}

// BatchGetAccess says that the caller is a member of project 1, or what it was told, and an owner of project 2, which is archived.
func (s *services) BatchGetAccess(_ context.Context, req *projectsv1.BatchGetAccessRequest) (*projectsv1.BatchGetAccessResponse, error) {
	res := &projectsv1.BatchGetAccessResponse{}
	for _, id := range req.GetProjectIds() {
		switch id {
		case 1:
			res.Access = append(res.Access, &projectsv1.Access{
				ProjectId: id, Role: cmp.Or(s.role, projectsv1.Role_ROLE_MEMBER),
			})
		case 2:
			res.Access = append(res.Access, &projectsv1.Access{ProjectId: id, Role: projectsv1.Role_ROLE_OWNER, Archived: true})
		}
	}
	return res, nil
}

func (*services) RestoreProject(context.Context, *projectsv1.RestoreProjectRequest) (*projectsv1.Project, error) {
	return fakeProject(), nil
}

func (*services) RestoreTask(context.Context, *tasksv1.RestoreTaskRequest) (*tasksv1.Task, error) {
	return newFakeTask(1), nil
}

func (*services) RestoreComment(context.Context, *tasksv1.RestoreCommentRequest) (*tasksv1.Comment, error) {
	return fakeComment(), nil
}

func (*services) MoveTask(context.Context, *tasksv1.MoveTaskRequest) (*tasksv1.Task, error) {
	return newFakeTask(1), nil
}

// BatchCreateTasks fails what has the title "bad".
func (*services) BatchCreateTasks(_ context.Context, req *tasksv1.BatchCreateTasksRequest) (*tasksv1.BatchCreateTasksResponse, error) {
	res := &tasksv1.BatchCreateTasksResponse{}
	var wrong errs.Check
	for i, one := range req.GetRequests() {
		if one.GetTitle() != "bad" {
			res.Outcomes = append(res.Outcomes, &tasksv1.TaskOutcome{Task: newFakeTask(6)})
			continue
		}
		wrong.Fail("requests["+strconv.Itoa(i)+"].title", "is bad")
		res.Outcomes = append(res.Outcomes, &tasksv1.TaskOutcome{Failure: &tasksv1.Failure{
			Code: string(errs.Invalid), Detail: "Check title.",
			Fields: []*tasksv1.FieldViolation{{Field: "title", Detail: "is bad"}},
		}})
	}
	if req.GetAllowPartialSuccess() {
		return res, nil
	}
	return res, wrong.Err()
}

func (s *services) BatchUpdateTasks(_ context.Context, req *tasksv1.BatchUpdateTasksRequest) (*tasksv1.BatchUpdateTasksResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	res := &tasksv1.BatchUpdateTasksResponse{}
	for _, one := range req.GetRequests() {
		o := &tasksv1.TaskOutcome{}
		t, err := s.task(one.GetId(), one.GetExpectedVersion())
		if err != nil {
			o.Failure = &tasksv1.Failure{Code: string(errs.From(err).Code), Detail: errs.From(err).Detail}
		}
		o.Task = t
		res.Outcomes = append(res.Outcomes, o)
	}
	return res, nil
}
