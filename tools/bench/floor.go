package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/graph"
	"github.com/trackway/trackway/services/platform/auth"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// floorServe serves the least that could give the same answers: (a) net/http writing the bytes after a token check, (b)
// the same from Redis, (c) the first of two net/http hops, with rowsServe behind it, (e) the GraphQL engine with the rows
// in memory, (f) the pieces of a miss.
type floorServe struct {
	Answers string `required:"" help:"File with the answers, by name."`
	Tokens  string `required:"" help:"File with the tokens that are known."`
	Redis   string `required:""`
	Rows    string `required:"" help:"URL of rowsServe."`
	RPC     string `required:"" help:"Its address for RPCs."`
}

// answer is what the real system gave.
type answer struct {
	ETag string `json:"etag"`
	Type string `json:"type"`
	Body []byte `json:"body"`
}

func redisKey(name string) string { return "floor:" + name }

// Run serves.
func (f *floorServe) Run(ctx context.Context) (err error) {
	answers, err := readFile[map[string]answer](f.Answers)
	if err != nil {
		return err
	}
	list, err := readFile[[]string](f.Tokens)
	if err != nil {
		return err
	}
	known := make(map[string]struct{}, len(list))
	for _, t := range list {
		known[t] = struct{}{}
	}
	o, err := redis.ParseURL(f.Redis)
	if err != nil {
		return err
	}
	cache := redis.NewClient(o)
	defer func() { err = errors.Join(err, cache.Close()) }()
	rows, err := url.Parse(f.Rows)
	if err != nil {
		return err
	}
	// ReverseProxy does what any second hop must, and little else.
	hop := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(rows) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 256},
	}
	engine := graph.New(inMemory())
	parts, closeParts, err := newPieces(cache, f.RPC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeParts()) }()

	mux := http.NewServeMux()
	mux.HandleFunc("/a/{name}", func(w http.ResponseWriter, r *http.Request) { give(w, answers[r.PathValue("name")]) })
	mux.HandleFunc("/b/{name}", func(w http.ResponseWriter, r *http.Request) {
		a := answers[r.PathValue("name")]
		body, err := cache.Get(r.Context(), redisKey(r.PathValue("name"))).Bytes()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		a.Body = body
		give(w, a)
	})
	mux.Handle("/c/", http.StripPrefix("/c", hop))
	mux.HandleFunc("GET /f/task/{id}", serveBytes(parts.task))
	mux.HandleFunc("GET /f/page/{project}/{status}/{order}", serveBytes(parts.page))
	mux.HandleFunc("/e", func(w http.ResponseWriter, r *http.Request) {
		engine.ServeHTTP(w, r.WithContext(auth.WithCaller(r.Context(), &auth.Caller{UserID: 1})))
	})
	return listen(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := known[r.Header.Get("Authorization")]; !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}), func(at string) any { return at })
}

func give(w http.ResponseWriter, a answer) {
	h := w.Header()
	h.Set("Content-Type", a.Type)
	if a.ETag != "" {
		h.Set("ETag", a.ETag)
	}
	_, _ = w.Write(a.Body) // whoever went away needs no answer
}

// listen serves on a free port, says which as where tells, and stops when the parent wants no more of it.
func listen(ctx context.Context, h http.Handler, where func(at string) any) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	err = attend(where("http://"+l.Addr().String()), func() (any, error) { return 0, nil })
	err = errors.Join(err, srv.Close())
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return err
}

func readFile[T any](name string) (v T, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(b, &v)
}

// inMemory are services that have the rows of the nested query at hand, so that only the engine costs.
func inMemory() graph.Config {
	now := timestamppb.Now()
	m := &memory{
		projects: &projectsv1.ListProjectsResponse{Page: &pagev1.PageInfo{}},
		tasks:    &tasksv1.BatchListTasksResponse{},
		comments: &tasksv1.BatchListCommentsResponse{},
		people:   &usersv1.BatchGetUsersResponse{},
	}
	for u := int64(1); u <= 20; u++ {
		m.people.Users = append(m.people.Users, &usersv1.User{Id: u, Version: 1, Name: "Person", CreatedAt: now, UpdatedAt: now})
	}
	for p := int64(1); p <= projectsEach; p++ {
		m.projects.Projects = append(m.projects.Projects, &projectsv1.Project{Id: p, Version: 1, Name: "Project", CreatedAt: now, UpdatedAt: now})
		page := &tasksv1.TaskPage{ParentId: p, Page: &pagev1.PageInfo{}}
		for n := int64(1); n <= 10; n++ {
			id := p*10 + n
			page.Tasks = append(page.Tasks, &tasksv1.Task{
				Id: id, Version: 1, ProjectId: p, Number: n, Title: "Task 12345: make the thing work", Description: description,
				Status: tasksv1.Status_STATUS_TODO, AssigneeId: new(id%20 + 1), CreatorId: 1, CreatedAt: now, UpdatedAt: now,
			})
			talk := &tasksv1.CommentPage{ParentId: id, Page: &pagev1.PageInfo{}}
			for c := range int64(commentsEach) {
				talk.Comments = append(talk.Comments, &tasksv1.Comment{
					Id: id*10 + c, Version: 1, TaskId: id, AuthorId: (id+c)%20 + 1, Body: "Tried it: it works here, with the last version.",
					CreatedAt: now, UpdatedAt: now,
				})
			}
			m.comments.Pages = append(m.comments.Pages, talk)
		}
		m.tasks.Pages = append(m.tasks.Pages, page)
	}
	return graph.Config{
		Users: usersOf{memory: m}, Projects: projectsOf{memory: m}, Tasks: tasksOf{memory: m}, Log: slog.New(slog.DiscardHandler),
	}
}

type memory struct {
	projects *projectsv1.ListProjectsResponse
	tasks    *tasksv1.BatchListTasksResponse
	comments *tasksv1.BatchListCommentsResponse
	people   *usersv1.BatchGetUsersResponse
}

// usersOf, projectsOf and tasksOf answer the calls of the nested query, and no other.
type (
	usersOf struct {
		usersv1.UsersServiceClient
		*memory
	}
	projectsOf struct {
		projectsv1.ProjectsServiceClient
		*memory
	}
	tasksOf struct {
		tasksv1.TasksServiceClient
		*memory
	}
)

// BatchGetUsers gives all.
func (u usersOf) BatchGetUsers(context.Context, *usersv1.BatchGetUsersRequest, ...grpc.CallOption) (*usersv1.BatchGetUsersResponse, error) {
	return u.people, nil
}

// ListProjects gives all.
func (p projectsOf) ListProjects(context.Context, *projectsv1.ListProjectsRequest, ...grpc.CallOption) (*projectsv1.ListProjectsResponse, error) {
	return p.projects, nil
}

// BatchListTasks gives all.
func (t tasksOf) BatchListTasks(context.Context, *tasksv1.BatchListTasksRequest, ...grpc.CallOption) (*tasksv1.BatchListTasksResponse, error) {
	return t.tasks, nil
}

// BatchListComments gives all.
func (t tasksOf) BatchListComments(context.Context, *tasksv1.BatchListCommentsRequest, ...grpc.CallOption) (*tasksv1.BatchListCommentsResponse, error) {
	return t.comments, nil
}
