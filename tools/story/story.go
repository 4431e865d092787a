// Package story plays a short story against a Trackway that runs somewhere: people register, sign in, make a project and
// tasks, comment, and read it all by GraphQL. `helm test` plays it in the cluster, `make kind-e2e` from outside.
package story

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
)

// Person is somebody with an account.
type Person struct {
	Client

	Email, password string
}

// Register makes an account for one story, and signs in.
func Register(ctx context.Context, c Client) (*Person, error) {
	name := strings.ToLower(rand.Text())
	p := &Person{Client: c, Email: "story-" + name + "@example.com", password: rand.Text()}
	_, err := p.want(ctx, http.StatusCreated, Request{
		Method: http.MethodPost, Path: "/api/auth/register/", Key: name,
		Body: Object{"name": "Story " + name[:6], "email": p.Email, "password": p.password},
	})
	if err != nil {
		return nil, err
	}
	return p, p.SignIn(ctx)
}

// SignIn gets a new access token.
func (p *Person) SignIn(ctx context.Context) error {
	p.Token = ""
	tokens, err := p.want(ctx, http.StatusOK, Request{
		Method: http.MethodPost, Path: "/api/auth/login/", Body: Object{"email": p.Email, "password": p.password},
	})
	if err != nil {
		return err
	}
	var ok bool
	if p.Token, ok = tokens["access_token"].(string); !ok {
		return errors.New("signing in gives no access token")
	}
	return nil
}

// Create posts a thing, with a key, and returns its id.
func (p *Person) Create(ctx context.Context, path string, body Object) (id int64, err error) {
	made, err := p.want(ctx, http.StatusCreated, Request{Method: http.MethodPost, Path: path, Body: body, Key: rand.Text()})
	if err != nil {
		return 0, err
	}
	return ID(made), nil
}

// ID is a thing's id.
func ID(o Object) int64 {
	id, _ := o["id"].(float64)
	return int64(id)
}

// Leave deletes the account.
func (p *Person) Leave(ctx context.Context) error {
	_, err := p.want(ctx, http.StatusNoContent, Request{Method: http.MethodDelete, Path: "/api/users/me/"})
	return err
}

// want insists on an answer of the status.
func (p *Person) want(ctx context.Context, status int, r Request) (Object, error) {
	a, _, err := p.Insist(ctx, r)
	if err != nil {
		return nil, err
	}
	if a.Status != status {
		return nil, fmt.Errorf("%s %s answered %d, want %d: %v", r.Method, r.Path, a.Status, status, a.Body)
	}
	return a.Object(), nil
}

// Play plays the story, says each step, and leaves nothing behind but what deletion keeps.
func Play(ctx context.Context, c Client, say func(step string)) (err error) {
	p, err := Register(ctx, c)
	if err != nil {
		return err
	}
	say("registered and signed in")
	defer func() { err = errors.Join(err, p.Leave(context.WithoutCancel(ctx))) }()
	project, err := p.Create(ctx, "/api/projects/", Object{"name": "A story"})
	if err != nil {
		return err
	}
	say("made a project")
	defer func() {
		_, gone := p.want(context.WithoutCancel(ctx), http.StatusNoContent,
			Request{Method: http.MethodDelete, Path: fmt.Sprintf("/api/projects/%d/", project)})
		err = errors.Join(err, gone)
	}()
	task, err := p.once(ctx, Request{
		Method: http.MethodPost, Path: "/api/tasks/", Key: rand.Text(),
		Body: Object{"project_id": project, "title": "Once upon a time"},
	})
	if err != nil {
		return err
	}
	say("made a task, and with the same key no second one")
	if _, err := p.Create(ctx, "/api/comments/", Object{"task_id": task, "body": "And then?"}); err != nil {
		return err
	}
	say("commented on it")
	if err := p.read(ctx, project); err != nil {
		return err
	}
	say("read it all by GraphQL")
	return nil
}

// once sends a write twice, which must make one thing.
func (p *Person) once(ctx context.Context, r Request) (id int64, err error) {
	var ids []int64
	for range 2 {
		made, err := p.want(ctx, http.StatusCreated, r)
		if err != nil {
			return 0, err
		}
		ids = append(ids, ID(made))
	}
	if ids[0] == 0 || ids[0] != ids[1] {
		return 0, fmt.Errorf("one key made the things %d", ids)
	}
	return ids[0], nil
}

// read compares what GraphQL tells of the project with the story.
func (p *Person) read(ctx context.Context, project int64) error {
	answer, err := p.want(ctx, http.StatusOK, Request{
		Method: http.MethodPost, Path: "/graphql", Body: Object{
			"query": `query ($project: ID!) {
				viewer { email }
				project(id: $project) { name tasks(first: 5) { nodes { title comments(first: 5) { nodes { body author { email } } } } } }
			}`,
			"variables": Object{"project": fmt.Sprint(project)},
		},
	})
	if err != nil {
		return err
	}
	want := Object{
		"viewer": Object{"email": p.Email},
		"project": Object{"name": "A story", "tasks": Object{"nodes": []any{Object{
			"title":    "Once upon a time",
			"comments": Object{"nodes": []any{Object{"body": "And then?", "author": Object{"email": p.Email}}}},
		}}}},
	}
	if answer["errors"] != nil || !reflect.DeepEqual(answer["data"], any(want)) {
		return fmt.Errorf("GraphQL answered %v, want the data %v", answer, want)
	}
	return nil
}
