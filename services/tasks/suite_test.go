package tasks_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/uptrace/bun"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/pgtest"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/rpctest"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
	"github.com/trackway/trackway/services/tasks"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// The people of the tests. All but the stranger and the admin, who is a global one, are members of every project but
// the foreign ones, with the role of their name.
const (
	owner     int64 = 1
	manager   int64 = 2
	worker    int64 = 3
	commenter int64 = 4
	viewer    int64 = 5
	stranger  int64 = 6
	admin     int64 = 7
)

func everybody() []int64 {
	return []int64{owner, manager, worker, commenter, viewer, stranger, admin}
}

func roles() map[int64]auth.Role {
	return map[int64]auth.Role{
		owner: auth.Owner, manager: auth.Admin, worker: auth.Member, commenter: auth.Commenter, viewer: auth.Viewer,
	}
}

// users is the users service, of which this service needs the keys.
type users struct {
	usersv1.UnimplementedUsersServiceServer

	world *rpctest.World
}

func (u users) GetKeys(context.Context, *usersv1.GetKeysRequest) (*usersv1.Keys, error) {
	jwks, err := u.world.Issuer.JWKS()
	return &usersv1.Keys{Jwks: jwks}, err
}

// projects is the projects service. Project ids tell what a project is: those above foreign are nobody's but the
// stranger's.
type projects struct {
	projectsv1.UnimplementedProjectsServiceServer

	calls    atomic.Int64
	last     atomic.Int64 // the last id given to a project
	mu       sync.Mutex
	public   map[int64]bool
	archived map[int64]bool
	strict   map[int64]bool // requires preconditions
	purged   map[int64]bool
}

const foreign int64 = 1_000_000

func (p *projects) access(caller *auth.Caller, id int64) *projectsv1.Access {
	p.mu.Lock()
	defer p.mu.Unlock()
	role := roles()[caller.UserID]
	if id > foreign {
		role = auth.NoRole
		if caller.UserID == stranger {
			role = auth.Owner
		}
	}
	if p.public[id] {
		role = max(role, auth.Viewer)
	}
	if caller.Admin {
		role = max(role, auth.Admin)
	}
	return &projectsv1.Access{ProjectId: id, Role: projectsv1.Role(role), Archived: p.archived[id], RequireIfMatch: p.strict[id]}
}

func (p *projects) BatchGetAccess(ctx context.Context, req *projectsv1.BatchGetAccessRequest) (*projectsv1.BatchGetAccessResponse, error) {
	p.calls.Add(1)
	answer := &projectsv1.BatchGetAccessResponse{}
	for _, id := range req.GetProjectIds() {
		a := p.access(auth.CallerFrom(ctx), id)
		for _, user := range req.GetUserIds() {
			if roles()[user] != auth.NoRole && id < foreign {
				a.MemberIds = append(a.MemberIds, user)
			}
		}
		if a.GetRole() != projectsv1.Role_ROLE_UNSPECIFIED {
			answer.Access = append(answer.Access, a)
		}
	}
	return answer, nil
}

func (p *projects) ListAccess(ctx context.Context, _ *projectsv1.ListAccessRequest) (*projectsv1.ListAccessResponse, error) {
	p.calls.Add(1)
	answer := &projectsv1.ListAccessResponse{}
	caller := auth.CallerFrom(ctx)
	for id := range p.last.Load() {
		if roles()[caller.UserID] != auth.NoRole {
			answer.Access = append(answer.Access, p.access(caller, id+1))
		}
	}
	return answer, nil
}

func (p *projects) BatchGetPurged(_ context.Context, req *projectsv1.BatchGetPurgedRequest) (*projectsv1.BatchGetPurgedResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	answer := &projectsv1.BatchGetPurgedResponse{}
	for _, id := range req.GetProjectIds() {
		if p.purged[id] {
			answer.ProjectIds = append(answer.ProjectIds, id)
		}
	}
	return answer, nil
}

// suite is the service on a database of its own.
type suite struct {
	*testing.T

	world    *rpctest.World
	projects *projects
	tasks    tasksv1.TasksServiceClient
	db       *postgres.DB
	cfg      tasks.Config
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	world := rpctest.New(t)
	others := &projects{
		public: make(map[int64]bool), archived: make(map[int64]bool), strict: make(map[int64]bool), purged: make(map[int64]bool),
	}
	cfg := tasks.Config{Auth: rpctest.AuthConfig(), Redis: cache.Config{URL: pgtest.Redis(t)}, Users: "users", Projects: "projects"}
	cfg.Postgres = postgres.Config{MaxConns: 30, URL: pgtest.Open(t, "tasks", func(ctx context.Context, url string) error {
		return tasks.Migrate(ctx, tasks.Config{Postgres: postgres.Config{URL: url}}, app.Env{})
	})}
	world.Fake(t, "users", func(s *grpc.Server) { usersv1.RegisterUsersServiceServer(s, users{world: world}) },
		usersv1.UsersService_GetKeys_FullMethodName)
	world.Fake(t, "projects", func(s *grpc.Server) { projectsv1.RegisterProjectsServiceServer(s, others) },
		projectsv1.ProjectsService_BatchGetPurged_FullMethodName)
	world.Start(t, "tasks", func(ctx context.Context, common app.Config, env app.Env) error {
		cfg.App = common
		return tasks.Run(ctx, cfg, env)
	})
	db, err := postgres.Open(t.Context(), cfg.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	conn := world.Dial(t, "tasks", tasksv1.TasksService_ServiceDesc)
	return &suite{T: t, world: world, projects: others, tasks: tasksv1.NewTasksServiceClient(conn), db: db, cfg: cfg}
}

// in is the suite for a test within its test.
func (s *suite) in(t *testing.T) *suite {
	t.Helper()
	c := *s
	c.T = t
	return &c
}

func (s *suite) as(user int64) context.Context {
	s.Helper()
	return s.world.As(s, user, user == admin)
}

// project makes a project that only its members can see.
func (s *suite) project() int64 { return s.projects.last.Add(1) }

func (s *suite) publish(project int64) {
	s.projects.mu.Lock()
	defer s.projects.mu.Unlock()
	s.projects.public[project] = true
}

func (s *suite) archive(project int64) {
	s.projects.mu.Lock()
	defer s.projects.mu.Unlock()
	s.projects.archived[project] = true
}

func (s *suite) requireIfMatch(project int64) {
	s.projects.mu.Lock()
	defer s.projects.mu.Unlock()
	s.projects.strict[project] = true
}

// task makes a task of the owner's.
func (s *suite) task(req *tasksv1.CreateTaskRequest) *tasksv1.Task {
	s.Helper()
	if req.GetTitle() == "" {
		req.Title = "Ship"
	}
	user := owner
	if req.GetProjectId() > foreign {
		user = stranger
	}
	t, err := s.tasks.CreateTask(s.as(user), req)
	if err != nil {
		s.Fatal(err)
	}
	return t
}

// comment puts a comment of anybody's on a task, whatever their role is now.
func (s *suite) comment(task *tasksv1.Task, author int64) int64 {
	s.Helper()
	var id int64
	err := s.db.NewRaw("INSERT INTO comments (project_id, task_id, author_id, body) VALUES (?, ?, ?, 'Well') RETURNING id",
		task.GetProjectId(), task.GetId(), author).Scan(s.Context(), &id)
	if err != nil {
		s.Fatal(err)
	}
	return id
}

func (s *suite) count(want int64, table, where string, args ...any) {
	s.Helper()
	got, err := s.db.NewSelect().Table(table).Where(where, args...).Count(s.Context())
	if err != nil || got != want {
		s.Errorf("%s where %s %v: got %d, %v, want %d", table, where, args, got, err, want)
	}
}

// ident is a name of the database.
func ident(name string) bun.Ident { return bun.Ident(name) }

func mask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }

// code is the outcome of a call; "" is success.
func code(err error) errs.Code {
	if err == nil {
		return ""
	}
	return errs.From(err).Code
}

// left is NotFound when a list of readable things left the only one out.
func left[T any](things []T, err error) error {
	if err == nil && len(things) == 0 {
		return errs.Missing("thing")
	}
	return err
}

// leftOut is left for pages.
func leftOut[T any](pages []T, err error) error {
	if err == nil && len(pages) == 0 {
		return errs.Missing("page")
	}
	return err
}

// pageOf finds the page of a parent, or nil.
func pageOf[P interface{ GetParentId() int64 }](pages []P, parent int64) (found P) {
	for _, p := range pages {
		if p.GetParentId() == parent {
			return p
		}
	}
	return found
}

func texts[T any](things []T, text func(T) string) string { return fmt.Sprint(mapped(things, text)) }

func mapped[T, U any](things []T, f func(T) U) []U {
	out := make([]U, 0, len(things))
	for _, t := range things {
		out = append(out, f(t))
	}
	return out
}
