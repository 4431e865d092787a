// Package seed makes the demo data, by the calls that real clients make. Every write carries an idempotency key, so
// that making it again, after having been killed halfway, completes it and makes nothing twice.
package seed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/idempotency"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// account is a person who has signed in.
type account struct {
	id    int64
	token string
}

type seeder struct {
	users    usersv1.UsersServiceClient
	projects projectsv1.ProjectsServiceClient
	tasks    tasksv1.TasksServiceClient
	accounts map[string]account
}

// Demo makes the demo data, through clients of the three services that forward the caller's token. Answers to
// idempotency keys are kept for a day, so what was begun is to be completed within that time.
func Demo(ctx context.Context, users, projectsConn, tasks grpc.ClientConnInterface) error {
	s := &seeder{
		users:    usersv1.NewUsersServiceClient(users),
		projects: projectsv1.NewProjectsServiceClient(projectsConn),
		tasks:    tasksv1.NewTasksServiceClient(tasks),
		accounts: map[string]account{},
	}
	for _, p := range people() {
		if err := s.register(ctx, p); err != nil {
			return fmt.Errorf("make the demo account %s: %w", p.id, err)
		}
	}
	for _, p := range projects() {
		if err := s.project(ctx, p); err != nil {
			return fmt.Errorf("make the demo project %q: %w", p.name, err)
		}
	}
	return nil
}

// as makes the calls of ctx those of a person. The key stands for what is written, whoever writes it.
func (s *seeder) as(ctx context.Context, person, key string) context.Context {
	return idempotency.WithKey(auth.WithCaller(ctx, &auth.Caller{Token: s.accounts[person].token}), "demo: "+key)
}

func (s *seeder) register(ctx context.Context, p person) error {
	email := p.id + "@example.com"
	_, err := s.users.Register(s.as(ctx, "", email), &usersv1.RegisterRequest{Name: p.name, Email: email, Password: Password})
	if err != nil && status.Code(err) != codes.AlreadyExists {
		return err
	}
	tokens, err := s.users.Login(ctx, &usersv1.LoginRequest{Email: email, Password: Password})
	if err != nil {
		return err
	}
	s.accounts[p.id] = account{tokens.GetUser().GetId(), tokens.GetAccessToken()}
	return nil
}

func (s *seeder) project(ctx context.Context, p project) error {
	visibility := projectsv1.Visibility_VISIBILITY_PRIVATE
	if p.public {
		visibility = projectsv1.Visibility_VISIBILITY_PUBLIC
	}
	made, err := s.projects.CreateProject(s.as(ctx, p.owner, p.name), &projectsv1.CreateProjectRequest{
		Name: p.name, Description: p.description, Visibility: visibility,
	})
	if err != nil {
		return err
	}
	for _, m := range p.members {
		_, err := s.projects.CreateMember(s.as(ctx, p.owner, p.name+": "+m.person), &projectsv1.CreateMemberRequest{
			ProjectId: made.GetId(), UserId: s.accounts[m.person].id, Role: m.role,
		})
		if err != nil && status.Code(err) != codes.AlreadyExists {
			return fmt.Errorf("add %s: %w", m.person, err)
		}
	}
	var parent int64
	for _, t := range p.tasks {
		id, err := s.task(ctx, made, p, t, parent)
		if err != nil {
			return fmt.Errorf("add the task %q: %w", t.title, err)
		}
		if !t.sub {
			parent = id
		}
	}
	return nil
}

func (s *seeder) task(ctx context.Context, made *projectsv1.Project, p project, t task, parent int64) (id int64, err error) {
	req := &tasksv1.CreateTaskRequest{
		ProjectId: made.GetId(), Title: t.title, Description: t.description, Status: t.status, Priority: t.priority,
		Labels: t.labels,
	}
	if t.assignee != "" {
		req.AssigneeId = new(s.accounts[t.assignee].id)
	}
	if t.sub {
		req.ParentId = &parent
	}
	if t.due != 0 {
		// The day counts from what is stored, not from now: the request of a second try must be that of the first.
		req.DueDate = new(made.GetCreatedAt().AsTime().Add(t.due).Format(time.DateOnly))
	}
	added, err := s.tasks.CreateTask(s.as(ctx, p.owner, p.name+": "+t.title), req)
	if err != nil {
		return 0, err
	}
	for i, c := range t.comments {
		_, commentErr := s.tasks.CreateComment(s.as(ctx, c.author, fmt.Sprintf("%s: %s: comment %d", p.name, t.title, i+1)),
			&tasksv1.CreateCommentRequest{TaskId: added.GetId(), Body: c.body})
		err = errors.Join(err, commentErr)
	}
	return added.GetId(), err
}
