package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/trackway/trackway/tools/traces"
)

// Whatever people do, nothing that is theirs alone is in a span, a metric or a line of the log.
func TestNothingSecretIsSentOrLogged(t *testing.T) {
	t.Parallel()
	var sent output
	collector, err := traces.Listen(t.Context(), &sent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := collector.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	dir := dataDir(t)
	t.Cleanup(func() { awaitNothing(t, dir) })
	p := launch(t, dir, []string{
		"RATE_LIMIT=0", "AUTH_RATE_LIMIT=0", "LOG_LEVEL=debug", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.Endpoint,
	}, binary)
	p.awaitScreen()
	var seen secrets
	people := begin(t, p.url)
	for _, c := range []*client{people.owner, people.member, people.web} {
		seen.add(c.token)
		c.http.Transport = &noting{c.http.Transport, &seen}
	}
	project := people.plan()
	people.work(project)
	people.compare(project)
	people.owner.do(http.StatusCreated, http.MethodPost, "/api/users/me/tokens/", object{"name": "Report", "scopes": []string{"tasks:read"}})
	people.owner.do(http.StatusCreated, http.MethodPost, path("/api/projects/%d/invitations/", project),
		object{"email": "newcomer@example.org", "role": "viewer"})
	for _, email := range []string{"olga@example.org", "max@example.org", "wanda@example.org"} {
		people.owner.login(email, "correct horse")
		people.owner.list("/api/users/?search=" + email)
		people.owner.query(fmt.Sprintf(`mutation { login(input: {email: %q, password: "correct horse"}) { tokens { accessToken refreshToken } } }`, email), nil)
	}
	for _, wrong := range []string{"/api/auth/login/", "/api/auth/register/"} { // refused, with what was sent in the error
		if _, err := people.owner.try(t.Context(), http.MethodPost, wrong,
			object{"email": "olga@example.org", "password": "a wrong secret", "name": "Olga"}); err != nil {
			t.Fatal(err)
		}
	}
	people.owner.token = seen.add("eyJhbGciOiJub25lIn0.no-good-token.at-all")
	if _, err := people.owner.try(t.Context(), http.MethodGet, "/api/users/olga@example.org/", nil); err != nil {
		t.Fatal(err)
	}
	// What a provider sends a browser back with is in the address.
	for _, path := range []string{"/api/auth/oidc/callback/", "/api/auth/oidc/start/"} {
		back := "?state=" + seen.add("a-state-of-a-sign-in") + "&code=" + seen.add("a-code-of-the-provider")
		if _, err := people.web.try(t.Context(), http.MethodGet, path+back, nil); err != nil {
			t.Fatal(err)
		}
	}
	p.signal(syscall.SIGINT)
	if code := p.await(); code != 0 { // and has sent what was left
		t.Errorf("the program ended with %d", code)
	}

	// On a developer's machine mails are shown beside the log, where a mail server is to send them.
	mails := regexp.MustCompile(`(?s)--- mail to .*?\n---\n`)
	everything := map[string]string{"what was sent": sent.String(), "the log": mails.ReplaceAllString(p.stderr.String(), "")}
	for where, text := range everything {
		for _, secret := range seen.all() {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s holds a secret: …%s…", where, text[max(0, at-100):min(len(text), at+100)])
			}
		}
		for _, personal := range []string{`[\w.+-]+@[\w-]+\.[a-z]+`, `eyJ[\w-]+\.[\w-]+\.`, `twk_\w{20}`} {
			if found := regexp.MustCompile(personal).FindString(text); found != "" {
				t.Errorf("%s holds %q", where, found)
			}
		}
	}
	// Proof that the search had something to search.
	for _, want := range []string{`"resourceSpans"`, `"resourceMetrics"`, `"resourceLogs"`, "INSERT users", "POST /api/auth/login/", "http.server.request.duration"} {
		if !strings.Contains(everything["what was sent"], want) {
			t.Errorf("nothing that was sent holds %s", want)
		}
	}
	if n := len(seen.all()); n < 10 {
		t.Errorf("only %d secrets were noted", n)
	}
}

// secrets are what was typed and issued.
type secrets struct {
	mu    sync.Mutex
	texts map[string]bool
}

func (s *secrets) add(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.texts == nil {
		s.texts = map[string]bool{"correct horse": true}
	}
	s.texts[text] = true
	return text
}

func (s *secrets) all() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text := range s.texts {
		list = append(list, text)
	}
	return list
}

// note finds the secrets in a document by their names.
func (s *secrets) note(document any) {
	switch d := document.(type) {
	case map[string]any:
		for name, value := range d {
			text, _ := value.(string)
			switch name {
			case "password", "email", "access_token", "refresh_token", "token", "accessToken", "refreshToken":
				if text != "" {
					s.add(text)
				}
			}
			s.note(value)
		}
	case []any:
		for _, value := range d {
			s.note(value)
		}
	}
}

// noting is a transport that notes the secrets of requests and answers.
type noting struct {
	http.RoundTripper

	seen *secrets
}

// RoundTrip sends the request.
func (n *noting) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		n.read(body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	res, err := n.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	n.read(body)
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, err
}

func (n *noting) read(body []byte) {
	var document any
	if json.Unmarshal(body, &document) == nil {
		n.seen.note(document)
	}
}
