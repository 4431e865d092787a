package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/timestamppb"

	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// Floor (f) is a miss made of nothing but the pieces that the design names: net/http, a look into Redis for the answer and its
// versions, gRPC, a look into Redis for the version of the caller's access, pgx, JSON, and the answer kept in Redis. It has no
// rule, no trace, no limit, and believes whatever it finds.

// pieces is its first hop.
type pieces struct {
	cache *redis.Client
	tasks tasksv1.TasksServiceClient
}

func newPieces(cache *redis.Client, address string) (*pieces, func() error, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	return &pieces{cache, tasksv1.NewTasksServiceClient(conn)}, conn.Close, nil
}

func (p *pieces) task(r *http.Request) ([]byte, error) {
	return p.kept(r, func(ctx context.Context) (any, error) {
		t, err := p.tasks.GetTask(ctx, &tasksv1.GetTaskRequest{Id: number(r, "id")})
		return rowOf(t), err
	})
}

func (p *pieces) page(r *http.Request) ([]byte, error) {
	return p.kept(r, func(ctx context.Context) (any, error) {
		l, err := p.tasks.ListTasks(ctx, &tasksv1.ListTasksRequest{
			ProjectId: number(r, "project"), Page: &pagev1.PageRequest{OrderBy: r.PathValue("order")},
			Filter: &tasksv1.TaskFilter{Statuses: []tasksv1.Status{tasksv1.Status(number(r, "status"))}},
		})
		all := make([]rowTask, 0, len(l.GetTasks()))
		for _, t := range l.GetTasks() {
			all = append(all, rowOf(t))
		}
		return all, err
	})
}

// kept looks for the answer, does not find it, makes it and keeps it.
func (p *pieces) kept(r *http.Request, do func(context.Context) (any, error)) ([]byte, error) {
	ctx := r.Context()
	key := "floor:" + r.URL.Path
	if err := p.cache.MGet(ctx, key+":a", key+":b", key+":access", key+":none").Err(); err != nil {
		return nil, err
	}
	v, err := do(ctx)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return b, p.cache.Set(ctx, key, b, time.Minute).Err()
}

// serveBytes writes what do gives.
func serveBytes(do func(*http.Request) ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := do(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		give(w, answer{Type: "application/json", Body: b})
	}
}

// behind is the second hop.
type behind struct {
	tasksv1.UnimplementedTasksServiceServer

	hop

	cache *redis.Client
}

// GetTask reads a task.
func (b *behind) GetTask(ctx context.Context, req *tasksv1.GetTaskRequest) (*tasksv1.Task, error) {
	if err := b.cache.MGet(ctx, "floor:lease", "floor:access").Err(); err != nil {
		return nil, err
	}
	t, err := one(list(ctx, b.tasks, sqlTask, req.GetId()))
	if err != nil {
		return nil, err
	}
	return t.proto(), nil
}

// ListTasks reads a page.
func (b *behind) ListTasks(ctx context.Context, req *tasksv1.ListTasksRequest) (*tasksv1.ListTasksResponse, error) {
	if err := b.cache.MGet(ctx, "floor:lease", "floor:access").Err(); err != nil {
		return nil, err
	}
	order, err := strconv.Atoi(req.GetPage().GetOrderBy())
	if err != nil {
		return nil, err
	}
	tasks, err := list(ctx, b.tasks, b.pages[order], req.GetProjectId(), int64(req.GetFilter().GetStatuses()[0]))
	answer := &tasksv1.ListTasksResponse{Tasks: make([]*tasksv1.Task, 0, len(tasks))}
	for _, t := range tasks {
		answer.Tasks = append(answer.Tasks, t.proto())
	}
	return answer, err
}

// serveRPC serves the second hop on a free port.
func serveRPC(ctx context.Context, h hop, redisURL string) (address string, stop func() error, err error) {
	o, err := redis.ParseURL(redisURL)
	if err != nil {
		return "", nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	cache := redis.NewClient(o)
	srv := grpc.NewServer()
	tasksv1.RegisterTasksServiceServer(srv, &behind{hop: h, cache: cache})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	return l.Addr().String(), func() error {
		srv.Stop()
		return errors.Join(<-served, cache.Close())
	}, nil
}

func (t *rowTask) proto() *tasksv1.Task {
	m := &tasksv1.Task{
		Id: t.ID, Version: t.Version, CreatedAt: timestamppb.New(t.CreatedAt), UpdatedAt: timestamppb.New(t.UpdatedAt),
		ProjectId: t.ProjectID, Number: t.Number, Title: t.Title, Description: t.Description,
		Status: tasksv1.Status(t.Status), Priority: tasksv1.Priority(t.Priority), Labels: t.Labels,
		AssigneeId: t.AssigneeID, CreatorId: t.CreatorID, ParentId: t.ParentID, Position: t.Position,
	}
	if t.DueDate != nil {
		m.DueDate = new(t.DueDate.Format(time.DateOnly))
	}
	if t.CompletedAt != nil {
		m.CompletedAt = timestamppb.New(*t.CompletedAt)
	}
	return m
}

func rowOf(m *tasksv1.Task) rowTask {
	t := rowTask{
		ID: m.GetId(), Version: m.GetVersion(), CreatedAt: m.GetCreatedAt().AsTime(), UpdatedAt: m.GetUpdatedAt().AsTime(),
		ProjectID: m.GetProjectId(), Number: m.GetNumber(), Title: m.GetTitle(), Description: m.GetDescription(),
		Status: int16(m.GetStatus()), Priority: int16(m.GetPriority()), Labels: m.GetLabels(),
		AssigneeID: m.AssigneeId, CreatorID: m.GetCreatorId(), ParentID: m.ParentId, Position: m.GetPosition(),
	}
	t.Completed = m.GetStatus() == tasksv1.Status_STATUS_DONE
	if at := m.GetCompletedAt(); at != nil {
		t.CompletedAt = new(at.AsTime())
	}
	return t
}
