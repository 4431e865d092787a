package cache_test

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/uptrace/bun"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/local"
)

// servers are two of Redis, of which one replicates the other.
type servers struct {
	*testing.T

	options *redis.Options
	master  atomic.Pointer[string] // its address
}

// start starts a server that takes the password of the first.
func (s *servers) start() (client *redis.Client) {
	s.Helper()
	server, err := local.StartRedis(s.Context(), local.RedisOptions{Dir: s.TempDir()})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = server.Stop(context.WithoutCancel(s.Context())) })
	if !server.Real() {
		s.Skip("the Redis of this process has no replicas")
	}
	options, err := redis.ParseURL(server.URL())
	if err != nil {
		s.Fatal(err)
	}
	if s.options == nil {
		s.options = options
	}
	first := redis.NewClient(options)
	defer func() { _ = first.Close() }()
	for name, value := range map[string]string{"masterauth": s.options.Password, "repl-diskless-sync-delay": "0", "requirepass": s.options.Password} {
		s.do(first, "CONFIG", "SET", name, value)
	}
	own := *options
	own.Password = s.options.Password
	client = redis.NewClient(&own)
	s.Cleanup(func() { _ = client.Close() })
	return client
}

func (s *servers) do(client *redis.Client, args ...any) {
	s.Helper()
	if err := client.Do(s.Context(), args...).Err(); err != nil {
		s.Fatalf("%v: %v", args, err)
	}
}

// replicate makes a server replicate another, of which it then has everything.
func (s *servers) replicate(replica, master *redis.Client) {
	s.Helper()
	host, port, err := net.SplitHostPort(master.Options().Addr)
	if err != nil {
		s.Fatal(err)
	}
	s.do(replica, "REPLICAOF", host, port)
	(&world{T: s.T}).await("the replica has everything", func() bool {
		if err := master.Set(s.Context(), "sign", "of life", 0).Err(); err != nil {
			s.Fatal(err)
		}
		n, err := master.Wait(s.Context(), 1, time.Second).Result()
		return n == 1 && err == nil
	})
}

// lead has the clients go over from one server to the other.
func (s *servers) lead(from, to *redis.Client) {
	s.Helper()
	s.master.Store(&to.Options().Addr)
	s.do(from, "CLIENT", "KILL", "TYPE", "normal")
}

// Replication is asynchronous: who becomes the master may not have the last writes. One that was the master before has
// also the versions under which answers were kept then.
func TestAServerThatIsTheMasterAgainIsNotBelievedAsBefore(t *testing.T) {
	t.Parallel()
	s := &servers{T: t}
	a, b := s.start(), s.start()
	s.master.Store(&a.Options().Addr)
	options := *s.options
	options.Dialer = func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, *s.master.Load())
	}
	client := redis.NewClient(&options)
	t.Cleanup(func() { _ = client.Close() })
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	answers, err := cache.NewAnswers(client, []string{"numbers"}, 1<<20, log, noop.MeterProvider{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, answers: answers, writer: cache.NewWriter(client, nil, log)}
	if err := a.Set(t.Context(), "lease:numbers", "lasts all the time", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	s.replicate(b, a)
	ctx, cancel := context.WithCancel(t.Context())
	var job sync.WaitGroup
	job.Go(func() { answers.Run(ctx) })
	t.Cleanup(func() { cancel(); job.Wait() })
	kept := func(number int64) {
		w.await("it is kept", func() bool {
			n, hit := w.read()
			if n != number {
				t.Fatalf("got %d, which was changed to %d", n, number)
			}
			return hit
		})
	}
	kept(0)

	s.do(b, "REPLICAOF", "NO", "ONE")
	s.lead(a, b)
	s.replicate(a, b)
	w.await("the other one is believed", func() bool { return w.look().CanKeep() }) // and nobody asks it for the answer

	s.do(a, "REPLICAOF", "NO", "ONE") // and so does not get what comes
	mark := cache.NewMark()
	if err := w.writer.Mark(t.Context(), bun.Tx{}, mark, []string{tag}); err != nil {
		t.Fatal(err)
	}
	w.number.Store(1)
	w.writer.Finish(t.Context(), mark, []string{tag})
	s.lead(b, a)
	kept(1)
}
