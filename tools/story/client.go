package story

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
)

// Object is a JSON object.
type Object = map[string]any

// Client is a person with a program that speaks HTTP.
type Client struct {
	URL   string // such as http://localhost:8080
	Token string // an access token, once signed in
	HTTP  *http.Client
}

// Request is one that a Client sends.
type Request struct {
	Method, Path string
	Body         any    // as JSON; none if it is nil
	Key          string // Idempotency-Key, none if it is empty
}

// Answer is what a request got.
type Answer struct {
	Status int
	Header http.Header
	Body   any // of JSON; nil if it is empty
}

// Object is the answer's body, empty if it is no object.
func (a Answer) Object() Object {
	o, _ := a.Body.(Object)
	return o
}

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 4 << 20

// Try sends a request once.
func (c *Client) Try(ctx context.Context, r Request) (a Answer, err error) {
	var content io.Reader = http.NoBody
	if r.Body != nil {
		b, err := json.Marshal(r.Body)
		if err != nil {
			return a, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, c.URL+r.Path, content)
	if err != nil {
		return a, err
	}
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.Key != "" {
		req.Header.Set("Idempotency-Key", r.Key)
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	a.Status, a.Header = res.StatusCode, res.Header
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return a, fmt.Errorf("%s %s: read the answer: %w", r.Method, r.Path, err)
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &a.Body); err != nil {
			return a, fmt.Errorf("%s %s answered %s with what is not JSON: %.200q", r.Method, r.Path, res.Status, text)
		}
	}
	return a, nil
}

// pause is how long Insist waits before it tries again.
const pause = 250 * time.Millisecond

// Insist sends a request until it is neither lost nor answered with a status that asks to try again, as every client
// does that sends writes with a key: 409 is said of a key that is at work, 429 and 503 of a moment. It returns how many
// attempts failed before the answer.
func (c *Client) Insist(ctx context.Context, r Request) (a Answer, failed int, err error) {
	for ; ; failed++ {
		a, err = c.Try(ctx, r)
		if err == nil {
			switch a.Status {
			case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			case http.StatusConflict:
				if r.Key == "" {
					return a, failed, nil
				}
			default:
				return a, failed, nil
			}
			err = fmt.Errorf("%s %s answered %d: %v", r.Method, r.Path, a.Status, a.Body)
		}
		select {
		case <-ctx.Done():
			return a, failed, fmt.Errorf("%w, at last after: %w", ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}
