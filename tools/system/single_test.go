package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/local"
)

// single is a stream of single connection mode, reserved by one who asks whatever replica comes next.
type single struct {
	*gate

	person *person
	token  string
	events io.Reader
	abort  context.CancelFunc
}

// reserve reserves a stream at a replica.
func (d *gate) reserve(replica int, p *person) *single {
	d.Helper()
	res := d.request(http.MethodPut, replica, "/graphql/stream", p, "*/*", "")
	token, err := io.ReadAll(res.body)
	if err != nil || res.status != http.StatusCreated {
		d.Fatalf("got %d %s, %v, want 201", res.status, token, err)
	}
	return &single{gate: d, person: p, token: string(token)}
}

// share reserves a stream that all replicas know of: it is not when Redis is too slow for that.
func (d *gate) share(replica int, p *person) *single {
	d.Helper()
	var s *single
	before := len(d.shared())
	eventually(d.T, "all know of a stream", func() bool {
		s = d.reserve(replica, p)
		return len(d.shared()) > before
	})
	return s
}

func (s *single) path() string { return "/graphql/stream?token=" + s.token }

// open opens the stream at a replica, which must answer with the status.
func (s *single) open(want, replica int) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	s.Cleanup(cancel)
	res := s.patiently(want, func() answer {
		return s.requestFor(ctx, http.MethodGet, replica, s.path(), s.person, "text/event-stream", "")
	})
	if res.status != want {
		s.Fatalf("open at replica %d: got %d, want %d", replica, res.status, want)
	}
	if want == http.StatusOK {
		s.events, s.abort = res.body, cancel
	}
}

// start starts an operation at a replica, which must answer with the status.
func (s *single) start(want, replica int, id, query string) string {
	s.Helper()
	return s.startAs(want, s.person, replica, id, query)
}

func (s *single) startAs(want int, p *person, replica int, id, query string) string {
	s.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "extensions": map[string]string{"operationId": id}})
	if err != nil {
		s.Fatal(err)
	}
	asked := 0
	res := s.patiently(want, func() answer {
		asked++
		return s.request(http.MethodPost, replica, s.path(), p, "application/json", string(body))
	})
	text, err := io.ReadAll(res.body)
	if asked > 1 && res.status == http.StatusConflict && want == http.StatusAccepted {
		return "" // it has started, and the answer that said so was too late
	}
	if err != nil || res.status != want {
		s.Fatalf("start %s at replica %d: got %d %s, %v, want %d", id, replica, res.status, text, err, want)
	}
	return string(text)
}

func (s *single) finish(want, replica int, id string) {
	s.Helper()
	res := s.patiently(want, func() answer {
		return s.request(http.MethodDelete, replica, s.path()+"&operationId="+id, s.person, "*/*", "")
	})
	if res.status != want {
		s.Fatalf("end %s at replica %d: got %d, want %d", id, replica, res.status, want)
	}
}

// patiently asks again while Redis is too slow, unless that is what is wanted.
func (s *single) patiently(want int, ask func() answer) (a answer) {
	s.Helper()
	eventually(s.T, "Redis answers in time", func() bool {
		a = ask()
		return want == http.StatusServiceUnavailable || a.status != http.StatusServiceUnavailable
	})
	return a
}

// told reads the next event, which must be of the operation.
func (s *single) told(name, id string) string {
	s.Helper()
	got, data := told(s.T, s.events)
	if got != name || !strings.HasPrefix(data, fmt.Sprintf(`{"id":%q`, id)) {
		s.Fatalf("got %s %s, want %s of %s", got, data, name, id)
	}
	return data
}

// shared are the keys of streams in Redis.
func (d *gate) shared() []string {
	d.Helper()
	client, err := cache.Open(d.system.RedisURL())
	if err != nil {
		d.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	keys, err := client.Keys(d.Context(), "stream:*").Result()
	if err != nil {
		d.Fatal(err)
	}
	return keys
}

const viewer = "{ viewer { id } }"

func TestAnyReplicaTakesWhatIsForAStream(t *testing.T) {
	t.Parallel()
	d := openGate(t, nil)
	d.opensAnywhere()
	d.opensOnce()
	d.hidesFromRedis()
	d.boundsTogether()
}

func (d *gate) opensAnywhere() {
	d.Helper()
	p, other := d.person(), d.person()
	for home := range 2 { // where the stream is opened; it is always reserved at the first
		away := 1 - home
		project := d.project(p)
		d.task(p, project, "first")
		s := d.share(0, p)
		for replica := range 2 {
			s.start(http.StatusConflict, replica, "early", viewer)
			s.startAs(http.StatusNotFound, other, replica, "foreign", viewer)
		}
		s.open(http.StatusOK, home)
		s.open(http.StatusConflict, home)
		s.open(http.StatusConflict, away)
		for replica := range 2 {
			s.startAs(http.StatusNotFound, other, replica, "foreign", viewer)
			s.start(http.StatusBadRequest, replica, "", viewer)
		}
		for replica := range 2 {
			id := fmt.Sprint("feed", replica)
			s.start(http.StatusAccepted, replica, id, follow(project, beginning))
			s.told("next", id)
			s.start(http.StatusConflict, 1-replica, id, viewer)
		}
		s.finish(http.StatusOK, home, "feed1") // each at the other
		s.finish(http.StatusOK, away, "feed0")
		d.task(p, project, "unseen")
		s.start(http.StatusAccepted, away, "query", viewer)
		if data := s.told("next", "query"); !strings.Contains(data, `"viewer"`) {
			d.Errorf("got %s, want the answer of the query", data)
		}
		s.told("complete", "query")
		s.start(http.StatusAccepted, away, "bad", "{ nothing }")
		if data := s.told("next", "bad"); !strings.Contains(data, "GRAPHQL_VALIDATION_FAILED") {
			d.Errorf("got %s, want an error", data)
		}
		s.told("complete", "bad")

		for i := range 50 {
			s.start(http.StatusAccepted, i%2, fmt.Sprint(i), follow(project, ""))
		}
		for replica := range 2 {
			if text := s.start(http.StatusTooManyRequests, replica, "much", viewer); !strings.Contains(text, "At most 50 operations") {
				d.Errorf("the 51st at replica %d: got %s", replica, text)
			}
		}

		s.abort()
		eventually(d.T, "the stream is forgotten", func() bool { return len(d.shared()) == 0 })
		for replica := range 2 {
			s.start(http.StatusNotFound, replica, "late", viewer)
			s.finish(http.StatusNotFound, replica, "query")
			s.open(http.StatusNotFound, replica)
		}
	}
}

// opensOnce has many open a stream at once, all at the replica that did not reserve it.
func (d *gate) opensOnce() {
	d.Helper()
	p := d.person()
	for range 10 {
		s := d.share(0, p)
		ctx, cancel := context.WithCancel(d.Context())
		var opening sync.WaitGroup
		var opened atomic.Int64
		for range 4 {
			opening.Go(func() {
				switch got := s.requestFor(ctx, http.MethodGet, 1, s.path(), p, "text/event-stream", "").status; got {
				case http.StatusOK:
					opened.Add(1)
				case http.StatusConflict, http.StatusServiceUnavailable:
				default:
					d.Errorf("got %d, want 200 or 409", got)
				}
			})
		}
		opening.Wait()
		cancel()
		if got := opened.Load(); got > 1 {
			d.Fatalf("%d have opened one stream", got)
		}
	}
	eventually(d.T, "the streams are forgotten", func() bool { return len(d.shared()) == 0 })
}

// boundsTogether counts the streams of one caller at all replicas.
func (d *gate) boundsTogether() {
	d.Helper()
	p, other := d.person(), d.person()
	for i := range 32 {
		d.share(i%2, p)
	}
	for replica := range 2 {
		if res := d.request(http.MethodPut, replica, "/graphql/stream", p, "*/*", ""); res.status != http.StatusTooManyRequests {
			d.Errorf("the 33rd at replica %d: got %d, want 429", replica, res.status)
		}
	}
	d.reserve(0, other)
}

// hidesFromRedis: what is carried by Redis is of no use to who reads along.
func (d *gate) hidesFromRedis() {
	d.Helper()
	p := d.person()
	client, err := cache.Open(d.system.RedisURL())
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { _ = client.Close() })
	all := client.PSubscribe(d.Context(), "stream-replica:*")
	d.Cleanup(func() { _ = all.Close() })
	if _, err := all.Receive(d.Context()); err != nil {
		d.Fatal(err)
	}
	s := d.share(0, p)
	s.open(http.StatusOK, 0)
	s.start(http.StatusAccepted, 1, "1", `{ viewer { id } secret: __typename }`)
	for range 2 { // the question and the answer
		m, err := all.ReceiveMessage(d.Context())
		if err != nil {
			d.Fatal(err)
		}
		var parts struct {
			Body []byte `json:"body"`
		}
		if err := json.Unmarshal([]byte(m.Payload), &parts); err != nil || len(parts.Body) == 0 {
			d.Fatalf("got %s, %v, want a sealed message", m.Payload, err)
		}
		for _, secret := range []string{s.token, p.token, "secret", "viewer"} {
			if strings.Contains(m.Payload, secret) || bytes.Contains(parts.Body, []byte(secret)) {
				d.Errorf("the message holds %.20s", secret)
			}
		}
	}
	for _, key := range d.shared() {
		if strings.Contains(key, s.token) {
			d.Errorf("the key %s holds the stream's token", key)
		}
	}
}

func TestAStreamWorksWhereItIsWithoutRedis(t *testing.T) {
	t.Parallel()
	server, err := local.StartRedis(t.Context(), local.RedisOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.WithoutCancel(t.Context())) })
	d := openGate(t, map[string]string{"REDIS_URL": server.URL()})
	p := d.person()
	before := d.share(0, p)
	before.open(http.StatusOK, 0)
	reserved := d.share(0, p)
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	query := func(s *single, id string) {
		t.Helper()
		s.start(http.StatusAccepted, 0, id, viewer)
		s.told("next", id)
		s.told("complete", id)
	}
	query(before, "1")
	before.start(http.StatusServiceUnavailable, 1, "2", viewer)
	before.finish(http.StatusServiceUnavailable, 1, "1")
	reserved.open(http.StatusServiceUnavailable, 0)
	without := d.reserve(0, p)
	without.start(http.StatusConflict, 0, "early", viewer)
	without.open(http.StatusOK, 0)
	without.open(http.StatusConflict, 0)
	query(without, "1")
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	query(before, "3")
	// It is told with the next heartbeat.
	eventually(t, "the streams are known again", func() bool { return len(d.shared()) >= 3 })
	before.start(http.StatusAccepted, 1, "4", viewer)
	before.told("next", "4")
	without.start(http.StatusAccepted, 1, "4", viewer)
	without.told("next", "4")
}

// The replica that has a stream is killed. The client comes again, to another one, with its cursor, and misses nothing.
func TestTheReplicaOfAStreamIsKilled(t *testing.T) {
	t.Parallel()
	sys, err := Start(t.Context(), options(t, dataDir(t), Options{Edges: 2, Split: true}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), stopTimeout)
		defer cancel()
		_ = sys.Stop(ctx) // which tells of the killed one
	})
	d := openGateOf(t, sys)
	p := d.person()
	project := d.project(p)
	s := d.share(0, p)
	s.open(http.StatusOK, 1)
	query := strings.Replace(follow(project, beginning), "title }", "title number }", 1)
	s.start(http.StatusAccepted, 0, "1", query)
	var cursor string
	var last int64
	see := func() {
		t.Helper()
		var told struct {
			Payload changed `json:"payload"`
		}
		data := s.told("next", "1")
		if err := json.Unmarshal([]byte(data), &told); err != nil {
			t.Fatal(err)
		}
		e := told.Payload.Data.TaskChanged
		if last++; e.Task.Number != last {
			t.Fatalf("got task %d in %s, want %d", e.Task.Number, data, last)
		}
		cursor = e.Cursor
	}
	for range 3 {
		d.task(p, project, "before")
		see()
	}
	if err := sys.processes["edge-2"].cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, s.events); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("got %v, want the stream broken off", err)
	}
	for range 3 {
		d.task(p, project, "meanwhile")
	}
	s.start(http.StatusServiceUnavailable, 0, "2", viewer) // nobody can say yet that it has gone for ever
	s = d.reserve(0, p)
	s.open(http.StatusOK, 0)
	s.start(http.StatusAccepted, 0, "1", strings.Replace(query, beginning, cursor, 1))
	d.task(p, project, "after")
	for range 4 {
		see()
	}
}
