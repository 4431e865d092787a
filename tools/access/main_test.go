// Package access proves, on a running system and through both doors, who may do what, and that nobody learns of what is
// hidden from them.
package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/uptrace/bun"
	"google.golang.org/grpc"

	"github.com/trackway/trackway/graph/relay"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/postgres"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
	"github.com/trackway/trackway/services/users/oidctest"
	"github.com/trackway/trackway/tools/system"
)

const (
	startTimeout = 3 * time.Minute
	stopTimeout  = time.Minute
	password     = "correct horse battery"
)

// world is a running system and the people who use it.
type world struct {
	*system.System

	provider        *oidctest.Provider // that people may sign in with
	issuer, expired *auth.Issuer
	conns           []*grpc.ClientConn
	users           usersv1.UsersServiceClient
	projects        projectsv1.ProjectsServiceClient
	tasks           tasksv1.TasksServiceClient
	databases       []*postgres.DB // of projects and tasks
	http            *http.Client
	work            *work
	names           atomic.Int64

	// The people: each has an account, and the role of its name in the project of each scene. The target is a viewer to
	// whom things are done, the newcomer has no role yet, like the stranger, and the admin is a global one.
	owner, manager, member, commenter, viewer, target, newcomer, stranger, admin int64
}

// here is the world of all tests of this package.
//

var here *world

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "trackway-access-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system cleans its temporary folder too
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if here, err = newWorld(ctx, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := here.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func newWorld(ctx context.Context, dir string) (*world, error) {
	w := &world{work: &work{done: map[string][]string{}}, http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute,
	}}
	var err error
	if w.provider, err = oidctest.New("https://trackway.invalid/api/auth/oidc/callback/"); err != nil {
		return nil, err
	}
	secret := filepath.Join(dir, "client-secret")
	if err := os.WriteFile(secret, []byte(oidctest.Secret), 0o600); err != nil {
		return nil, err
	}
	w.System, err = system.Start(ctx, system.Options{
		Dir: filepath.Join(dir, "data"), Throwaway: true, Edges: 2,
		// A test is many clients at one address.
		Environ: map[string]string{
			"RATE_LIMIT": "0", "AUTH_RATE_LIMIT": "0", "GRAPHQL_BUDGET": "0",
			"OIDC_ISSUER": w.provider.URL, "OIDC_CLIENT_ID": oidctest.Web, "OIDC_CLIENT_SECRET_FILE": secret,
			"OIDC_AUDIENCES": oidctest.App, "OIDC_REDIRECT_URIS": landing,
		},
		Queries: []bun.QueryHook{w.work}, Calls: []grpc.UnaryServerInterceptor{w.work.intercept},
	})
	if err != nil {
		return nil, err
	}
	if err := w.connect(ctx); err != nil {
		return nil, errors.Join(err, w.close())
	}
	if err := w.populate(ctx); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// connect opens clients, and takes the key that signs tokens: the tests sign people in by themselves, which is a
// thousand times cheaper than by a password.
func (w *world) connect(ctx context.Context) error {
	key, err := os.ReadFile(filepath.Join(w.Dir, "signing-key.pem"))
	if err != nil {
		return err
	}
	cfg := auth.Config{Issuer: "https://trackway.invalid", Audience: "trackway"}
	if w.issuer, err = auth.NewIssuer(cfg, time.Hour, key); err != nil {
		return err
	}
	if w.expired, err = auth.NewIssuer(cfg, -time.Hour, key); err != nil {
		return err
	}
	for _, name := range []string{"users", "projects", "tasks"} {
		conn, err := w.Dial(name)
		if err != nil {
			return err
		}
		w.conns = append(w.conns, conn)
		if name == "users" {
			continue
		}
		db, err := postgres.Open(ctx, postgres.Config{URL: w.Database(name), MaxConns: 2})
		if err != nil {
			return err
		}
		w.databases = append(w.databases, db)
	}
	w.users = usersv1.NewUsersServiceClient(w.conns[0])
	w.projects = projectsv1.NewProjectsServiceClient(w.conns[1])
	w.tasks = tasksv1.NewTasksServiceClient(w.conns[2])
	return nil
}

func (w *world) populate(ctx context.Context) error {
	for _, p := range []struct {
		name string
		id   *int64
	}{
		{"owner", &w.owner},
		{"manager", &w.manager},
		{"member", &w.member},
		{"commenter", &w.commenter},
		{"viewer", &w.viewer},
		{"target", &w.target},
		{"newcomer", &w.newcomer},
		{"stranger", &w.stranger},
	} {
		u, err := w.register(ctx, p.name)
		if err != nil {
			return err
		}
		*p.id = u.GetId()
	}
	secret, err := os.ReadFile(w.AdminPassword)
	if err != nil {
		return err
	}
	tokens, err := w.users.Login(ctx, &usersv1.LoginRequest{Email: system.AdminEmail, Password: string(bytes.TrimSpace(secret))})
	if err != nil {
		return err
	}
	w.admin = tokens.GetUser().GetId()
	return nil
}

func (w *world) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	w.http.CloseIdleConnections()
	for _, db := range w.databases {
		errs = append(errs, db.Close())
	}
	for _, conn := range w.conns {
		errs = append(errs, conn.Close())
	}
	defer w.provider.Close()
	return errors.Join(append(errs, w.Stop(ctx))...)
}

// register makes an account.
func (w *world) register(ctx context.Context, name string) (*usersv1.User, error) {
	return w.users.Register(ctx, &usersv1.RegisterRequest{Name: name, Email: w.email(name), Password: password})
}

// email is an address that nobody has yet.
func (w *world) email(name string) string {
	return fmt.Sprintf("%s-%d@example.org", name, w.names.Add(1))
}

// token signs a user in.
func (w *world) token(user int64) (string, error) {
	return w.issuer.Issue(user, user == w.admin, fmt.Sprint("session of ", user))
}

// as makes calls in the name of a user.
func (w *world) as(ctx context.Context, user int64) context.Context {
	token, err := w.token(user)
	if err != nil {
		panic(err) // the key has signed before
	}
	return auth.WithCaller(ctx, &auth.Caller{UserID: user, Token: token})
}

// place is what kind of project something is done in.
type place struct {
	name             string
	public, archived bool
}

func places() []place {
	return []place{{name: "private"}, {"public", true, false}, {"archived", false, true}}
}

// scene is a project and what is in it, by the names that requests use. The comment is of the author, the other one of
// the target, who may not comment any more.
type scene map[string]any

// id is an id of the scene.
func (s scene) id(name string) int64 {
	id, ok := s[name].(int64)
	if !ok {
		panic("the scene has no " + name)
	}
	return id
}

// scene makes one.
func (w *world) scene(ctx context.Context, at place, author int64) (scene, error) {
	as := w.as(ctx, w.owner)
	visibility := projectsv1.Visibility_VISIBILITY_PRIVATE
	if at.public {
		visibility = projectsv1.Visibility_VISIBILITY_PUBLIC
	}
	p, err := w.projects.CreateProject(as, &projectsv1.CreateProjectRequest{Name: "Zanzibar", Visibility: visibility})
	if err != nil {
		return nil, err
	}
	for user, role := range map[int64]projectsv1.Role{
		w.manager: projectsv1.Role_ROLE_ADMIN, w.member: projectsv1.Role_ROLE_MEMBER,
		w.commenter: projectsv1.Role_ROLE_COMMENTER, w.viewer: projectsv1.Role_ROLE_VIEWER,
		w.target: projectsv1.Role_ROLE_COMMENTER,
	} {
		_, err := w.projects.CreateMember(as, &projectsv1.CreateMemberRequest{ProjectId: p.GetId(), UserId: user, Role: role})
		if err != nil {
			return nil, err
		}
	}
	made, err := w.tasks.BatchCreateTasks(as, &tasksv1.BatchCreateTasksRequest{Requests: []*tasksv1.CreateTaskRequest{
		{ProjectId: p.GetId(), Title: "First"}, {ProjectId: p.GetId(), Title: "Zeppelin"},
	}})
	if err != nil {
		return nil, err
	}
	first, task := made.GetOutcomes()[0].GetTask().GetId(), made.GetOutcomes()[1].GetTask().GetId()
	s := scene{
		"project": p.GetId(), "task": task, "first": first, "owner": w.owner, "target": w.target, "newcomer": w.newcomer,
		"user": w.target, "global": relay.ID{Type: relay.Task, Key: task}.String(), "archived": at.archived,
	}
	for name, by := range map[string]int64{"comment": author, "other": w.target} {
		c, err := w.tasks.CreateComment(w.as(ctx, by), &tasksv1.CreateCommentRequest{TaskId: task, Body: "Zabaglione"})
		if err != nil {
			return nil, err
		}
		s[name] = c.GetId()
	}
	return s, nil
}

// archive makes the scene's project read-only, if it is to be so.
func (w *world) archive(ctx context.Context, s scene, at place) error {
	if !at.archived {
		return nil
	}
	req := &projectsv1.UpdateProjectRequest{Id: s.id("project"), Archived: true, UpdateMask: mask("archived")}
	_, err := w.projects.UpdateProject(w.as(ctx, w.owner), req)
	if errs.Is(err, errs.NotFound) {
		return nil // it is in the trash
	}
	return err
}

// events counts what has happened in the scene.
func (w *world) events(ctx context.Context, s scene) (n int, err error) {
	for _, db := range w.databases {
		c, err := db.NewSelect().Table("events").Where("project_id = ?", s.id("project")).Count(ctx)
		if err != nil {
			return 0, err
		}
		n += int(c)
	}
	return n, nil
}
