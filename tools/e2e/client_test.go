package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// object is a JSON object.
type object = map[string]any

// client is a person with a program that speaks HTTP.
type client struct {
	t     *testing.T
	url   string
	token string
	http  *http.Client
}

func newClient(t *testing.T, url string) *client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t: t, url: url, http: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   any
}

// try sends a request with a JSON body, or none if it is nil. Headers are names and values in turn.
func (c *client) try(ctx context.Context, method, path string, body any, headers ...string) (answer, error) {
	var content io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, content)
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, header: res.Header}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &a.body); err != nil {
			return answer{}, fmt.Errorf("%s %s answered %s with what is not JSON: %q", method, path, res.Status, text)
		}
	}
	return a, nil
}

// do sends a request that must be answered with the status.
func (c *client) do(status int, method, path string, body any, headers ...string) answer {
	c.t.Helper()
	a, err := c.try(c.t.Context(), method, path, body, headers...)
	if err != nil {
		c.t.Fatal(err)
	}
	if a.status != status {
		c.t.Fatalf("%s %s answered %d, want %d: %v", method, path, a.status, status, a.body)
	}
	return a
}

func (c *client) get(path string) object {
	c.t.Helper()
	return as[object](c.t, c.do(http.StatusOK, http.MethodGet, path, nil).body)
}

// list gets a list, which must be a bare array of objects.
func (c *client) list(path string) []object {
	c.t.Helper()
	return objects(c.t, c.do(http.StatusOK, http.MethodGet, path, nil).body)
}

// create posts a thing, and checks that it is found where the answer says.
func (c *client) create(path string, body object) object {
	c.t.Helper()
	a := c.do(http.StatusCreated, http.MethodPost, path, body)
	made := as[object](c.t, a.body)
	found := c.get(a.header.Get("Location"))
	if got, want := fmt.Sprint(found), fmt.Sprint(made); got != want {
		c.t.Errorf("GET %s gives\n%s, want what POST %s gave\n%s", a.header.Get("Location"), got, path, want)
	}
	return made
}

// query asks GraphQL, which must answer without errors.
func (c *client) query(query string, variables object) object {
	c.t.Helper()
	a := c.do(http.StatusOK, http.MethodPost, "/graphql", object{"query": query, "variables": variables})
	body := as[object](c.t, a.body)
	if body["errors"] != nil {
		c.t.Fatalf("GraphQL answered with errors: %v", body["errors"])
	}
	return as[object](c.t, body["data"])
}

// as is a JSON value of the type that it must have.
func as[T any](t *testing.T, value any) T {
	t.Helper()
	v, ok := value.(T)
	if !ok {
		t.Fatalf("%v is a %T, want a %T", value, value, v)
	}
	return v
}

// objects is a JSON value that must be an array of objects.
func objects(t *testing.T, value any) []object {
	t.Helper()
	var all []object
	for _, item := range as[[]any](t, value) {
		all = append(all, as[object](t, item))
	}
	return all
}

// register makes an account and signs in.
func register(t *testing.T, url, name, email string) (c *client, id any) {
	t.Helper()
	c = newClient(t, url)
	a := c.do(http.StatusCreated, http.MethodPost, "/api/auth/register/",
		object{"name": name, "email": email, "password": "correct horse"})
	c.login(email, "correct horse")
	return c, as[object](t, a.body)["id"]
}

func (c *client) login(email, password string) {
	c.t.Helper()
	a := c.do(http.StatusOK, http.MethodPost, "/api/auth/login/", object{"email": email, "password": password})
	tokens := as[object](c.t, a.body)
	if got, want := tokens["token_type"], "Bearer"; got != want {
		c.t.Errorf("the token type is %v, want %v", got, want)
	}
	c.token = as[string](c.t, tokens["access_token"])
}

// path writes a JSON number into a path.
func path(format string, ids ...any) string {
	whole := make([]any, len(ids))
	for i, id := range ids {
		if f, ok := id.(float64); ok {
			id = int64(f)
		}
		whole[i] = id
	}
	return fmt.Sprintf(format, whole...)
}
