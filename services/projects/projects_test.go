package projects_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/idempotency"
	"github.com/trackway/trackway/services/platform/pgtest"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/rpctest"
	"github.com/trackway/trackway/services/projects"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// The people of the tests. The admin is a global one; nobody is the id of no user.
const (
	owner     int64 = 1
	manager   int64 = 2
	worker    int64 = 3
	commenter int64 = 4
	viewer    int64 = 5
	stranger  int64 = 6
	admin     int64 = 7
	nobody    int64 = 99
)

// users is the users service, of which this service needs the keys and who exists.
type users struct {
	usersv1.UnimplementedUsersServiceServer

	world *rpctest.World
}

func (u users) GetKeys(context.Context, *usersv1.GetKeysRequest) (*usersv1.Keys, error) {
	jwks, err := u.world.Issuer.JWKS()
	return &usersv1.Keys{Jwks: jwks}, err
}

func (u users) GetUser(_ context.Context, req *usersv1.GetUserRequest) (*usersv1.User, error) {
	if req.GetId() >= nobody {
		return nil, errs.Missing("user")
	}
	return &usersv1.User{Id: req.GetId(), Name: "Somebody", Email: new(fmt.Sprintf("user%d@example.org", req.GetId()))}, nil
}

// suite is the service on a database of its own.
type suite struct {
	*testing.T

	world    *rpctest.World
	projects projectsv1.ProjectsServiceClient
	db       *postgres.DB
	cfg      projects.Config
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	world := rpctest.New(t)
	cfg := projects.Config{Auth: rpctest.AuthConfig(), Redis: cache.Config{URL: pgtest.Redis(t)}, Users: "users"}
	cfg.Postgres = postgres.Config{MaxConns: 30, URL: pgtest.Open(t, "projects", func(ctx context.Context, url string) error {
		return projects.Migrate(ctx, projects.Config{Postgres: postgres.Config{URL: url}}, app.Env{})
	})}
	world.Fake(t, "users", func(s *grpc.Server) { usersv1.RegisterUsersServiceServer(s, users{world: world}) },
		usersv1.UsersService_GetKeys_FullMethodName)
	world.Start(t, "projects", func(ctx context.Context, common app.Config, env app.Env) error {
		cfg.App = common
		return projects.Run(ctx, cfg, env)
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
	conn := world.Dial(t, "projects", projectsv1.ProjectsService_ServiceDesc)
	return &suite{T: t, world: world, projects: projectsv1.NewProjectsServiceClient(conn), db: db, cfg: cfg}
}

func (s *suite) as(user int64) context.Context {
	s.Helper()
	return s.world.As(s, user, user == admin)
}

// project makes a project of the owner's, in which everybody but the stranger and the admin has the role of their name.
func (s *suite) project(visibility projectsv1.Visibility) *projectsv1.Project {
	s.Helper()
	p, err := s.projects.CreateProject(s.as(owner), &projectsv1.CreateProjectRequest{Name: "Apollo", Visibility: visibility})
	if err != nil {
		s.Fatal(err)
	}
	for user, role := range map[int64]projectsv1.Role{
		manager: projectsv1.Role_ROLE_ADMIN, worker: projectsv1.Role_ROLE_MEMBER,
		commenter: projectsv1.Role_ROLE_COMMENTER, viewer: projectsv1.Role_ROLE_VIEWER,
	} {
		_, err := s.projects.CreateMember(s.as(owner),
			&projectsv1.CreateMemberRequest{ProjectId: p.GetId(), UserId: user, Role: role})
		if err != nil {
			s.Fatal(err)
		}
	}
	return p
}

func mask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }

// code is the outcome of a call; "" is success.
func code(err error) errs.Code {
	if err == nil {
		return ""
	}
	return errs.From(err).Code
}

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	const ok = errs.Code("")
	everybody := []int64{owner, manager, worker, commenter, viewer, stranger, admin}
	reads := []errs.Code{ok, ok, ok, ok, ok, errs.NotFound, ok}
	readsPublic := []errs.Code{ok, ok, ok, ok, ok, ok, ok}
	manages := []errs.Code{ok, ok, errs.Denied, errs.Denied, errs.Denied, errs.NotFound, ok}
	owns := []errs.Code{ok, errs.Denied, errs.Denied, errs.Denied, errs.Denied, errs.NotFound, errs.Denied}
	private, public := projectsv1.Visibility_VISIBILITY_PRIVATE, projectsv1.Visibility_VISIBILITY_PUBLIC

	tests := []struct {
		name       string
		visibility projectsv1.Visibility
		want       []errs.Code
		do         func(ctx context.Context, id int64) error
	}{
		{"read", private, reads, func(ctx context.Context, id int64) error {
			_, err := s.projects.GetProject(ctx, &projectsv1.GetProjectRequest{Id: id})
			return err
		}},
		{"read a public project", public, readsPublic, func(ctx context.Context, id int64) error {
			_, err := s.projects.GetProject(ctx, &projectsv1.GetProjectRequest{Id: id})
			return err
		}},
		{"list members", private, reads, func(ctx context.Context, id int64) error {
			_, err := s.projects.ListMembers(ctx, &projectsv1.ListMembersRequest{ProjectId: id})
			return err
		}},
		{"read a member", private, reads, func(ctx context.Context, id int64) error {
			_, err := s.projects.GetMember(ctx, &projectsv1.GetMemberRequest{ProjectId: id, UserId: owner})
			return err
		}},
		{"update", private, manages, func(ctx context.Context, id int64) error {
			_, err := s.projects.UpdateProject(ctx, &projectsv1.UpdateProjectRequest{Id: id, Name: "New", UpdateMask: mask("name")})
			return err
		}},
		{"add a member", private, manages, func(ctx context.Context, id int64) error {
			_, err := s.projects.CreateMember(ctx, &projectsv1.CreateMemberRequest{ProjectId: id, UserId: 20})
			return err
		}},
		{"change a member", private, manages, func(ctx context.Context, id int64) error {
			_, err := s.projects.UpdateMember(ctx, &projectsv1.UpdateMemberRequest{
				ProjectId: id, UserId: viewer, Role: projectsv1.Role_ROLE_COMMENTER, UpdateMask: mask("role"),
			})
			return err
		}},
		{"remove a member", private, manages, func(ctx context.Context, id int64) error {
			if u := who(ctx); u == viewer || u == commenter { // they may remove themselves, so try another
				_, err := s.projects.DeleteMember(ctx, &projectsv1.DeleteMemberRequest{ProjectId: id, UserId: worker})
				return err
			}
			_, err := s.projects.DeleteMember(ctx, &projectsv1.DeleteMemberRequest{ProjectId: id, UserId: viewer})
			return err
		}},
		{"make an owner", private, owns, func(ctx context.Context, id int64) error {
			_, err := s.projects.UpdateMember(ctx, &projectsv1.UpdateMemberRequest{
				ProjectId: id, UserId: worker, Role: projectsv1.Role_ROLE_OWNER, UpdateMask: mask("role"),
			})
			return err
		}},
		{"delete", private, owns, func(ctx context.Context, id int64) error {
			_, err := s.projects.DeleteProject(ctx, &projectsv1.DeleteProjectRequest{Id: id})
			return err
		}},
		{"restore", private, owns, func(ctx context.Context, id int64) error {
			_, err := s.projects.RestoreProject(ctx, &projectsv1.RestoreProjectRequest{Id: id})
			return err
		}},
	}
	for _, tt := range tests {
		for i, user := range everybody {
			t.Run(fmt.Sprintf("%s as user %d", tt.name, user), func(t *testing.T) {
				t.Parallel()
				s := &suite{T: t, world: s.world, projects: s.projects, db: s.db}
				id := s.project(tt.visibility).GetId()
				if got := code(tt.do(context.WithValue(s.as(user), whoKey{}, user), id)); got != tt.want[i] {
					t.Errorf("got %q, want %q", got, tt.want[i])
				}
			})
		}
	}
}

type whoKey struct{}

func who(ctx context.Context) int64 {
	user, _ := ctx.Value(whoKey{}).(int64)
	return user
}

func TestNobodyWithoutAToken(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	_, err := s.projects.ListProjects(t.Context(), &projectsv1.ListProjectsRequest{})
	if got := code(err); got != errs.Unauthenticated {
		t.Errorf("without a token: got %q, want %q", got, errs.Unauthenticated)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer x.y.z")
	_, err = s.projects.ListProjects(ctx, &projectsv1.ListProjectsRequest{})
	if got := code(err); got != errs.Unauthenticated {
		t.Errorf("with a forged token: got %q, want %q", got, errs.Unauthenticated)
	}
}

func TestAProjectIsNeverWithoutAnOwner(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	p := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE)
	_, err := s.projects.DeleteMember(s.as(owner), &projectsv1.DeleteMemberRequest{ProjectId: p.GetId(), UserId: owner})
	if got := code(err); got != errs.Conflict {
		t.Errorf("the owner leaves: got %q, want %q", got, errs.Conflict)
	}
	_, err = s.projects.UpdateMember(s.as(owner), &projectsv1.UpdateMemberRequest{
		ProjectId: p.GetId(), UserId: owner, Role: projectsv1.Role_ROLE_VIEWER, UpdateMask: mask("role"),
	})
	if got := code(err); got != errs.Conflict {
		t.Errorf("the owner steps down: got %q, want %q", got, errs.Conflict)
	}
	if _, err = s.projects.UpdateMember(s.as(owner), &projectsv1.UpdateMemberRequest{
		ProjectId: p.GetId(), UserId: worker, Role: projectsv1.Role_ROLE_OWNER, UpdateMask: mask("role"),
	}); err != nil {
		t.Fatalf("the owner hands over: %v", err)
	}
	got, err := s.projects.GetProject(s.as(owner), &projectsv1.GetProjectRequest{Id: p.GetId()})
	if err != nil || got.GetOwnerId() != worker || got.GetVersion() != p.GetVersion()+1 {
		t.Errorf("after the hand-over: got %v, %v, want owner %d and the next version", got, err, worker)
	}
	m, err := s.projects.GetMember(s.as(owner), &projectsv1.GetMemberRequest{ProjectId: p.GetId(), UserId: owner})
	if err != nil || m.GetRole() != projectsv1.Role_ROLE_ADMIN {
		t.Errorf("the former owner is %v, %v, want an admin", m.GetRole(), err)
	}
}

// The owner of whose account nothing is left can give the project to nobody.
func TestAProjectWhoseOwnerIsGoneGetsAnother(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	orphan := func(founder int64) int64 {
		p, err := s.projects.CreateProject(s.as(founder), &projectsv1.CreateProjectRequest{Name: "Apollo"})
		if err != nil {
			t.Fatal(err)
		}
		for user, role := range map[int64]projectsv1.Role{manager: projectsv1.Role_ROLE_ADMIN, worker: projectsv1.Role_ROLE_MEMBER} {
			_, err := s.projects.CreateMember(s.as(founder), &projectsv1.CreateMemberRequest{ProjectId: p.GetId(), UserId: user, Role: role})
			if err != nil {
				t.Fatal(err)
			}
		}
		return p.GetId()
	}
	for _, tt := range []struct {
		name            string
		founder, caller int64
		to              int64
		want            errs.Code
	}{
		{"an admin of it takes it", nobody, manager, manager, ""},
		{"a global admin gives it", nobody, admin, worker, ""},
		{"a member takes it", nobody, worker, worker, errs.Denied},
		{"a stranger takes it", nobody, stranger, worker, errs.NotFound},
		{"an admin takes it from an owner", owner, manager, manager, errs.Denied},
		{"a global admin takes it from an owner", owner, admin, worker, errs.Denied},
	} {
		id, want := orphan(tt.founder), tt.founder
		_, err := s.projects.UpdateMember(s.as(tt.caller), &projectsv1.UpdateMemberRequest{
			ProjectId: id, UserId: tt.to, Role: projectsv1.Role_ROLE_OWNER, UpdateMask: mask("role"),
		})
		if tt.want == "" {
			want = tt.to
		}
		p, readErr := s.projects.GetProject(s.as(manager), &projectsv1.GetProjectRequest{Id: id})
		if code(err) != tt.want || readErr != nil || p.GetOwnerId() != want {
			t.Errorf("%s: got %q, owner %d, %v, want %q, owner %d", tt.name, code(err), p.GetOwnerId(), readErr, tt.want, want)
		}
	}
}

func TestAnArchivedProjectOnlyComesBackIntoUse(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	id := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE).GetId()
	update := func(req *projectsv1.UpdateProjectRequest, fields ...string) error {
		req.Id, req.UpdateMask = id, mask(fields...)
		_, err := s.projects.UpdateProject(s.as(manager), req)
		return err
	}
	if err := update(&projectsv1.UpdateProjectRequest{Name: "Old", Archived: true}, "name", "archived"); err != nil {
		t.Fatal(err)
	}
	if got := code(update(&projectsv1.UpdateProjectRequest{Name: "New"}, "name")); got != errs.Conflict {
		t.Errorf("a new name: got %q, want %q", got, errs.Conflict)
	}
	if err := update(&projectsv1.UpdateProjectRequest{Name: "Old", Archived: true}, "name", "archived"); err != nil {
		t.Errorf("what it is already: %v", err)
	}
	_, err := s.projects.DeleteMember(s.as(manager), &projectsv1.DeleteMemberRequest{ProjectId: id, UserId: viewer})
	if err != nil {
		t.Errorf("a member who must not read it any more: %v", err)
	}
	if err := update(&projectsv1.UpdateProjectRequest{Name: "New"}, "name", "archived"); err != nil {
		t.Errorf("a new name as it comes back: %v", err)
	}
}

func TestBadInputIsNamed(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	id := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE).GetId()
	create := func(req *projectsv1.CreateProjectRequest) error {
		_, err := s.projects.CreateProject(s.as(owner), req)
		return err
	}
	update := func(req *projectsv1.UpdateProjectRequest) error {
		req.Id = id
		_, err := s.projects.UpdateProject(s.as(owner), req)
		return err
	}
	long := string(make([]byte, 201))
	tests := []struct {
		name, field string
		err         error
	}{
		{"no name", "name", create(&projectsv1.CreateProjectRequest{Name: " "})},
		{"a long name", "name", create(&projectsv1.CreateProjectRequest{Name: long})},
		{"two lines", "name", create(&projectsv1.CreateProjectRequest{Name: "a\nb"})},
		{"a NUL", "description", create(&projectsv1.CreateProjectRequest{Name: "a", Description: "\x00"})},
		{"an unknown visibility", "visibility", create(&projectsv1.CreateProjectRequest{Name: "a", Visibility: 7})},
		{"an unknown field", "update_mask", update(&projectsv1.UpdateProjectRequest{UpdateMask: mask("owner_id")})},
		{"a cleared name", "name", update(&projectsv1.UpdateProjectRequest{UpdateMask: mask("name")})},
	}
	for _, tt := range tests {
		got := errs.From(tt.err)
		if got == nil || got.Code != errs.Invalid || len(got.Fields) != 1 || got.Fields[0].Name != tt.field {
			t.Errorf("%s: got %v, want an invalid %s", tt.name, tt.err, tt.field)
		}
	}
	_, err := s.projects.CreateMember(s.as(owner), &projectsv1.CreateMemberRequest{ProjectId: id, UserId: nobody})
	if got := code(err); got != errs.Invalid {
		t.Errorf("a member who does not exist: got %q, want %q", got, errs.Invalid)
	}
	_, err = s.projects.CreateMember(s.as(owner), &projectsv1.CreateMemberRequest{ProjectId: id, UserId: viewer})
	if got := code(err); got != errs.Conflict {
		t.Errorf("a member twice: got %q, want %q", got, errs.Conflict)
	}
}

func TestAKeyedWriteHappensOnce(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	const callers = 20
	answers := make([]*projectsv1.Project, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for answers[i] == nil {
				p, err := s.projects.CreateProject(idempotency.WithKey(s.as(owner), "key-1"),
					&projectsv1.CreateProjectRequest{Name: "Once"})
				if err != nil && !errs.Is(err, errs.InProgress) {
					t.Error(err)
					return
				}
				answers[i] = p
			}
		})
	}
	wg.Wait()
	for _, a := range answers[1:] {
		if diff := cmp.Diff(answers[0], a, protocmp.Transform()); diff != "" {
			t.Fatalf("two answers differ (-first +other):\n%s", diff)
		}
	}
	s.once("projects", "name = 'Once'")
	s.once("events", "type = 'project.created'")
	s.once("events", "type = 'member.created'")

	_, err := s.projects.CreateProject(idempotency.WithKey(s.as(owner), "key-1"), &projectsv1.CreateProjectRequest{Name: "Twice"})
	if got := code(err); got != errs.KeyReused {
		t.Errorf("another request with the key: got %q, want %q", got, errs.KeyReused)
	}
	if _, err = s.projects.CreateProject(idempotency.WithKey(s.as(manager), "key-1"), &projectsv1.CreateProjectRequest{Name: "Mine"}); err != nil {
		t.Errorf("the key of another caller: %v", err)
	}
	// A retry of what changed nothing must not undo what others did meanwhile.
	rename := func(ctx context.Context, name string) {
		t.Helper()
		p, err := s.projects.UpdateProject(ctx, &projectsv1.UpdateProjectRequest{
			Id: answers[0].GetId(), Name: name, UpdateMask: mask("name"),
		})
		if err != nil || p.GetName() != name {
			t.Errorf("rename to %s: got %v, %v", name, p, err)
		}
	}
	rename(idempotency.WithKey(s.as(owner), "key-3"), "Once")
	rename(s.as(owner), "Other")
	rename(idempotency.WithKey(s.as(owner), "key-3"), "Once")
	s.once("projects", "name = 'Other'")

	req := &projectsv1.DeleteProjectRequest{Id: answers[0].GetId()}
	for range 2 { // the second time the project is gone, and the answer is still the first one's
		if _, err := s.projects.DeleteProject(idempotency.WithKey(s.as(owner), "key-2"), req); err != nil {
			t.Errorf("a deletion and its retry: %v", err)
		}
	}
}

// once checks that exactly one row of the table is like this.
func (s *suite) once(table, where string) {
	s.Helper()
	got, err := s.db.NewSelect().Table(table).Where(where).Count(s.Context())
	if err != nil || got != 1 {
		s.Errorf("%s where %s: got %d rows, %v, want 1", table, where, got, err)
	}
}

func TestOneOfTwoEditorsWins(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	p := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE)
	for round := range 30 {
		outcomes := make([]errs.Code, 2)
		var wg sync.WaitGroup
		for i := range outcomes {
			wg.Go(func() {
				_, err := s.projects.UpdateProject(s.as(owner), &projectsv1.UpdateProjectRequest{
					Id: p.GetId(), ExpectedVersion: int64(round) + 1, Name: fmt.Sprintf("round %d editor %d", round, i),
					UpdateMask: mask("name"),
				})
				outcomes[i] = code(err)
			})
		}
		wg.Wait()
		slices.Sort(outcomes)
		if want := []errs.Code{"", errs.PreconditionFailed}; !slices.Equal(outcomes, want) {
			t.Fatalf("round %d: got %q, want %q", round, outcomes, want)
		}
	}
	// Without a precondition nobody is refused, and every change counts.
	const editors = 5
	var wg sync.WaitGroup
	for i := range editors {
		wg.Go(func() {
			_, err := s.projects.UpdateProject(s.as(owner), &projectsv1.UpdateProjectRequest{
				Id: p.GetId(), Description: fmt.Sprint(i), UpdateMask: mask("description"),
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.once("projects", fmt.Sprintf("version = %d", 31+editors))
}

func TestEveryChangeHasItsEvent(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	p := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE)
	updated, err := s.projects.UpdateProject(s.as(manager), &projectsv1.UpdateProjectRequest{
		Id: p.GetId(), Archived: true, UpdateMask: mask("archived"),
	})
	if err != nil || updated.GetArchivedAt() == nil {
		t.Fatalf("got %v, %v, want an archived project", updated, err)
	}
	for _, m := range []*fieldmaskpb.FieldMask{nil, mask(), mask("archived")} { // none of them changes anything
		same, err := s.projects.UpdateProject(s.as(manager), &projectsv1.UpdateProjectRequest{
			Id: p.GetId(), Archived: true, UpdateMask: m,
		})
		if err != nil || same.GetVersion() != updated.GetVersion() {
			t.Errorf("mask %v: got version %d, %v, want %d as before", m.GetPaths(), same.GetVersion(), err, updated.GetVersion())
		}
	}
	if _, err := s.projects.DeleteProject(s.as(owner), &projectsv1.DeleteProjectRequest{Id: p.GetId(), ExpectedVersion: 2}); err != nil {
		t.Fatal(err)
	}
	var events []struct {
		Type             string
		ActorID, Version int64
		Payload          []byte
	}
	err = s.db.NewSelect().Table("events").Column("type", "actor_id", "version", "payload").
		Where("type LIKE 'project.%'").Order("id").Scan(t.Context(), &events)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprintf("%s v%d by %d", e.Type, e.Version, e.ActorID))
	}
	want := []string{"project.created v1 by 1", "project.updated v2 by 2", "project.deleted v3 by 1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	var payload projectsv1.Project
	if err := proto.Unmarshal(events[1].Payload, &payload); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(updated, &payload, protocmp.Transform()); diff != "" {
		t.Errorf("the event holds another thing than the answer (-answer +event):\n%s", diff)
	}
	if _, err := s.projects.GetProject(s.as(owner), &projectsv1.GetProjectRequest{Id: p.GetId()}); code(err) != errs.NotFound {
		t.Errorf("a deleted project: got %v, want %q", err, errs.NotFound)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	private, public := projectsv1.Visibility_VISIBILITY_PRIVATE, projectsv1.Visibility_VISIBILITY_PUBLIC
	for i := range 7 {
		for user, v := range map[int64]projectsv1.Visibility{owner: private, stranger: public} {
			_, err := s.projects.CreateProject(s.as(user), &projectsv1.CreateProjectRequest{
				Name: fmt.Sprintf("%c of user %d", 'g'-i, user), Description: "Schöne Grüße von v1.2-rc", Visibility: v,
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	names := func(user int64, req *projectsv1.ListProjectsRequest) []string {
		t.Helper()
		var got []string
		req.Page.Size = 3
		for {
			answer, err := s.projects.ListProjects(s.as(user), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range answer.GetProjects() {
				got = append(got, p.GetName()[:1])
			}
			if !answer.GetPage().GetHasNext() {
				return got
			}
			cursors := answer.GetPage().GetCursors()
			req.Page.After = cursors[len(cursors)-1]
		}
	}
	up, down := []string{"a", "b", "c", "d", "e", "f", "g"}, []string{"g", "f", "e", "d", "c", "b", "a"}
	order := func(by string) *pagev1.PageRequest { return &pagev1.PageRequest{OrderBy: by} }
	tests := []struct {
		name string
		user int64
		req  *projectsv1.ListProjectsRequest
		want []string
	}{
		{"own by id", owner, &projectsv1.ListProjectsRequest{Page: order("")}, down},
		{"own by name", owner, &projectsv1.ListProjectsRequest{Page: order("name")}, up},
		{"own by name descending", owner, &projectsv1.ListProjectsRequest{Page: order("-name")}, down},
		{"mixed directions", owner, &projectsv1.ListProjectsRequest{Page: order("-created_at,name")}, up},
		{"public ones", owner, &projectsv1.ListProjectsRequest{Page: order("name"), Visibility: public}, up},
		{"none of one's own", viewer, &projectsv1.ListProjectsRequest{Page: order("name")}, nil},
		{"archived ones", owner, &projectsv1.ListProjectsRequest{Page: order(""), Archived: new(true)}, nil},
		{"as a viewer", owner, &projectsv1.ListProjectsRequest{Page: order(""), Role: projectsv1.Role_ROLE_VIEWER}, nil},
		{"by words", owner, &projectsv1.ListProjectsRequest{Page: order("name"), Search: "user SCHÖN grü"}, up},
		{"by parts of words", owner, &projectsv1.ListProjectsRequest{Page: order("name"), Search: "v1.2 rc"}, up},
		{"by other words", owner, &projectsv1.ListProjectsRequest{Page: order("name"), Search: "user chön"}, nil},
		{"by no word", owner, &projectsv1.ListProjectsRequest{Page: order("name"), Search: "&|!:*'"}, nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, names(tt.user, tt.req)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	answer, err := s.projects.ListProjects(s.as(owner), &projectsv1.ListProjectsRequest{Page: &pagev1.PageRequest{Size: 2, Count: true}})
	if err != nil || answer.GetPage().GetTotalCount() != 7 || len(answer.GetProjects()) != 2 {
		t.Errorf("count: got %v of %v, %v, want 2 of 7", len(answer.GetProjects()), answer.GetPage().GetTotalCount(), err)
	}
}

func TestASearchPutsTheBestMatchFirst(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	for _, p := range []*projectsv1.CreateProjectRequest{
		{Name: "Moon", Description: "The landing that all talk about"},
		{Name: "Landing on the moon"},
		{Name: "Landings"},
		{Name: "Sea"},
	} {
		if _, err := s.projects.CreateProject(s.as(owner), p); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := s.projects.ListProjects(s.as(owner), &projectsv1.ListProjectsRequest{Search: "landing"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range answer.GetProjects() {
		got = append(got, p.GetName())
	}
	if diff := cmp.Diff([]string{"Landing on the moon", "Landings", "Moon"}, got); diff != "" {
		t.Errorf("projects (-want +got):\n%s", diff)
	}
}

func TestAccessIsOneStatement(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	mine := s.project(projectsv1.Visibility_VISIBILITY_PRIVATE)
	public := s.project(projectsv1.Visibility_VISIBILITY_PUBLIC)
	s.world.Statements(projectsv1.ProjectsService_BatchGetAccess_FullMethodName)
	ids := []int64{mine.GetId(), public.GetId(), 12345}
	got, err := s.projects.BatchGetAccess(s.as(stranger), &projectsv1.BatchGetAccessRequest{ProjectIds: ids})
	if err != nil {
		t.Fatal(err)
	}
	want := &projectsv1.BatchGetAccessResponse{Access: []*projectsv1.Access{
		{ProjectId: public.GetId(), Role: projectsv1.Role_ROLE_VIEWER},
	}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("a stranger's access (-want +got):\n%s", diff)
	}
	if got := s.world.Statements(projectsv1.ProjectsService_BatchGetAccess_FullMethodName); len(got) != 1 {
		t.Errorf("got %d statements, want 1:\n%q", len(got), got)
	}
	all, err := s.projects.ListAccess(s.as(worker), &projectsv1.ListAccessRequest{})
	if err != nil || len(all.GetAccess()) != 2 || all.GetAccess()[0].GetRole() != projectsv1.Role_ROLE_MEMBER {
		t.Errorf("a member's access: got %v, %v, want MEMBER twice", all, err)
	}
	pages, err := s.projects.BatchListMembers(s.as(stranger), &projectsv1.BatchListMembersRequest{
		ProjectIds: ids, Page: &pagev1.PageRequest{Size: 2, OrderBy: "-role", Count: true},
	})
	if err != nil || len(pages.GetPages()) != 1 {
		t.Fatalf("members of a public project: got %v, %v, want one page", pages, err)
	}
	page := pages.GetPages()[0]
	if page.GetParentId() != public.GetId() || len(page.GetMembers()) != 2 || page.GetMembers()[0].GetUserId() != owner || page.GetPage().GetTotalCount() != 5 ||
		!page.GetPage().GetHasNext() {
		t.Errorf("members of a public project: got %v, want the first two of five, the owner first", page)
	}
}

// Others can make somebody a member of any number of projects, and what is said of all of them at once has to be read.
func TestTheListOfAccessIsBounded(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	const most = 10_000
	_, err := s.db.ExecContext(t.Context(), `
		WITH made AS (INSERT INTO projects (name, description, visibility, owner_id) SELECT 'Apollo', '', 1, ? FROM generate_series(1, ?) RETURNING id),
		owners AS (INSERT INTO members (project_id, user_id, role) SELECT id, ?, 5 FROM made)
		INSERT INTO members (project_id, user_id, role) SELECT id, ?, 3 FROM made`, owner, most+1, owner, worker)
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.projects.ListAccess(s.as(worker), &projectsv1.ListAccessRequest{})
	if err != nil || len(all.GetAccess()) != most {
		t.Errorf("all: got %d, %v, want %d", len(all.GetAccess()), err, most)
	}
	newest := s.project(projectsv1.Visibility_VISIBILITY_PUBLIC).GetId()
	for user, want := range map[int64]int{worker: 1, stranger: 0} {
		some, err := s.projects.ListAccess(s.as(user), &projectsv1.ListAccessRequest{ProjectIds: []int64{newest, newest + 1}})
		if err != nil || len(some.GetAccess()) != want {
			t.Errorf("user %d, some: got %v, %v, want %d", user, some, err, want)
		}
	}
}

func TestForeignKeysAreIndexed(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	var bare []string
	err := s.db.NewRaw(`SELECT c.conname FROM pg_constraint c WHERE c.contype = 'f' AND NOT EXISTS (
		SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1])`).Scan(t.Context(), &bare)
	if err != nil || len(bare) > 0 {
		t.Errorf("foreign keys without an index: got %v, %v, want none", bare, err)
	}
}
