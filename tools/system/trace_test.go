package system

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/trackway/trackway/services/platform/auth"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// One trace goes from the client that began it, through every service, down to the statements, and holds nothing that
// anybody typed.
// The test is alone in its process while it runs: the SDK reads its configuration from the environment.
func TestOneTraceGoesFromTheClientToTheRow(t *testing.T) {
	var spans receiver
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+spans.serve(t))
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	s := start(t, dataDir(t), Options{Environ: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "RATE_LIMIT": "1000"}})
	const email, password = "ada@trace.example", "a password of Ada's"
	token, project := traveller(t, s, email, password)
	const begun = "4bf92f3577b34da6a3ce929d0e0e4736"
	res := create(t, s, token, project, "00-"+begun+"-00f067aa0ba902b7-01")
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("got %d %s, %v", res.StatusCode, body, err)
	}
	_ = res.Body.Close()
	if err := s.Stop(t.Context()); err != nil { // and so sends what is left
		t.Fatal(err)
	}

	want := `edge: POST /api/tasks/
  edge: evalsha
  edge: tasks.v1.TasksService/CreateTask
    tasks: tasks.v1.TasksService/CreateTask
      tasks: SELECT idempotency_keys
      tasks: projects.v1.ProjectsService/BatchGetAccess
        projects: projects.v1.ProjectsService/BatchGetAccess
          projects: SELECT projects
      tasks: BEGIN
        tasks: SELECT idempotency_keys
        tasks: INSERT counters
        tasks: INSERT tasks
        tasks: INSERT events
        tasks: INSERT idempotency_keys
        tasks: COMMIT
`
	if diff := gocmp.Diff(want, spans.tree(begun, "00f067aa0ba902b7")); diff != "" {
		t.Errorf("the trace (-want +got):\n%s", diff)
	}
	for _, secret := range []string{email, password, title, token} {
		if strings.Contains(spans.everything(), secret) {
			t.Errorf("a span holds %q", secret)
		}
	}
}

// traveller registers somebody who has a project, and has each service fetch the keys that verify tokens.
func traveller(t *testing.T, s *System, email, password string) (token string, project int64) {
	t.Helper()
	dial := func(name string) *grpc.ClientConn {
		conn, err := s.Dial(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	users := usersv1.NewUsersServiceClient(dial("users"))
	if _, err := users.Register(t.Context(), &usersv1.RegisterRequest{Name: "Ada", Email: email, Password: password}); err != nil {
		t.Fatal(err)
	}
	tokens, err := users.Login(t.Context(), &usersv1.LoginRequest{Email: email, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	ctx := auth.WithCaller(t.Context(), &auth.Caller{Token: tokens.GetAccessToken()})
	p, err := projectsv1.NewProjectsServiceClient(dial("projects")).
		CreateProject(ctx, &projectsv1.CreateProjectRequest{Name: "Traced"})
	if err != nil {
		t.Fatal(err)
	}
	res := create(t, s, tokens.GetAccessToken(), p.GetId(), "")
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return tokens.GetAccessToken(), p.GetId()
}

const title = "A title of Ada's"

// create makes a task, as part of the trace.
func create(t *testing.T, s *System, token string, project int64, traceparent string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/api/tasks/",
		strings.NewReader(fmt.Sprintf(`{"project_id": %d, "title": %q}`, project, title)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "key"+traceparent)
	req.Header.Set("Traceparent", traceparent)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// receiver is an OTLP collector that keeps what it gets.
type receiver struct {
	collector.UnimplementedTraceServiceServer

	mu    sync.Mutex
	spans []received
	texts []string
}

type received struct {
	*trace.Span

	service string
}

func (r *receiver) serve(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, r)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func (r *receiver) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.texts = append(r.texts, req.String())
	for _, from := range req.GetResourceSpans() {
		service := ""
		for _, a := range from.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range from.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				r.spans = append(r.spans, received{span, service})
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// tree is a trace below a span, one line a span, in the order of their beginnings.
func (r *receiver) tree(traceID, below string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortStableFunc(r.spans, func(a, b received) int { return cmp.Compare(a.GetStartTimeUnixNano(), b.GetStartTimeUnixNano()) })
	var out strings.Builder
	var write func(parent, indent string)
	write = func(parent, indent string) {
		for _, s := range r.spans {
			if hex.EncodeToString(s.GetTraceId()) == traceID && hex.EncodeToString(s.GetParentSpanId()) == parent {
				out.WriteString(indent + s.service + ": " + s.GetName() + "\n")
				write(hex.EncodeToString(s.GetSpanId()), indent+"  ")
			}
		}
	}
	write(below, "")
	return out.String()
}

func (r *receiver) everything() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.texts, "\n")
}
