package cache

import (
	"crypto/tls"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/trackway/trackway/services/platform/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestOpenAnswersAndKeepsDeadlines(t *testing.T) {
	t.Parallel()
	client, err := Open(pgtest.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if got, err := client.Ping(t.Context()).Result(); err != nil || got != "PONG" {
		t.Errorf("ping: got %q, %v, want PONG", got, err)
	}
	begin := time.Now()
	if err := client.BLPop(t.Context(), 10*time.Millisecond, "empty").Err(); err != redis.Nil { //nolint:errorlint // it is never wrapped
		t.Errorf("blocking read of an empty list: got %v, want %v", err, redis.Nil)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("blocking read took %v", took)
	}
}

// target is what a URL decides, of whichever options it made.
type target struct {
	Kind, Network, User, Password, Master, SentinelUser, SentinelPassword, ServerName string

	Addrs      []string
	DB         int
	Dial, Read time.Duration
	Retries    int
}

func describe(t *testing.T, options any) target {
	t.Helper()
	name := func(c *tls.Config) string {
		if c == nil {
			return ""
		}
		return c.ServerName
	}
	switch o := options.(type) {
	case *redis.Options:
		if !o.ContextTimeoutEnabled {
			t.Error("a context's deadline does not count")
		}
		return target{
			Kind: "server", Network: o.Network, User: o.Username, Password: o.Password, ServerName: name(o.TLSConfig),
			Addrs: []string{o.Addr}, DB: o.DB, Dial: o.DialTimeout, Read: o.ReadTimeout, Retries: o.MaxRetries,
		}
	case *redis.FailoverOptions:
		if !o.ContextTimeoutEnabled {
			t.Error("a context's deadline does not count")
		}
		return target{
			Kind: "sentinel", User: o.Username, Password: o.Password, Master: o.MasterName, SentinelUser: o.SentinelUsername,
			SentinelPassword: o.SentinelPassword, ServerName: name(o.TLSConfig), Addrs: o.SentinelAddrs, DB: o.DB,
			Dial: o.DialTimeout, Read: o.ReadTimeout, Retries: o.MaxRetries,
		}
	case *redis.ClusterOptions:
		if !o.ContextTimeoutEnabled {
			t.Error("a context's deadline does not count")
		}
		return target{
			Kind: "cluster", User: o.Username, Password: o.Password, ServerName: name(o.TLSConfig), Addrs: o.Addrs,
			Dial: o.DialTimeout, Read: o.ReadTimeout, Retries: o.MaxRetries,
		}
	default:
		t.Fatalf("options: got %T", options)
		return target{}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	const dial, read = 2 * time.Second, 500 * time.Millisecond
	tests := []struct {
		address string
		want    target
	}{
		{"redis://h", target{Kind: "server", Network: "tcp", Addrs: []string{"h:6379"}, Dial: dial, Read: read, Retries: 1}},
		{
			"redis://u:p%40ss@h:1/3?read_timeout=2s&max_retries=-1",
			target{
				Kind: "server", Network: "tcp", User: "u", Password: "p@ss", Addrs: []string{"h:1"}, DB: 3, Dial: dial,
				Read: 2 * time.Second, Retries: -1,
			},
		},
		{
			"rediss://:p@[::1]:1",
			target{
				Kind: "server", Network: "tcp", Password: "p", ServerName: "::1", Addrs: []string{"[::1]:1"},
				Dial: dial, Read: read, Retries: 1,
			},
		},
		{
			"unix://:p@/run/redis.sock?db=2",
			target{Kind: "server", Network: "unix", Password: "p", Addrs: []string{"/run/redis.sock"}, DB: 2, Dial: dial, Read: read, Retries: 1},
		},
		{
			"redis-sentinel://u:p%2Fw@a:1,b,[::1]:3/mymaster?db=4&sentinel_password=s%26",
			target{
				Kind: "sentinel", User: "u", Password: "p/w", Master: "mymaster", SentinelPassword: "s&",
				Addrs: []string{"a:1", "b:26379", "[::1]:3"}, DB: 4, Dial: dial, Read: read, Retries: 1,
			},
		},
		{
			"rediss-sentinel://a,b/m?sentinel_username=su&sentinel_password=s",
			target{
				Kind: "sentinel", Master: "m", SentinelUser: "su", SentinelPassword: "s", ServerName: "a",
				Addrs: []string{"a:26379", "b:26379"}, Dial: dial, Read: read, Retries: 1,
			},
		},
		{
			"redis-cluster://u:p@a:1,b,c:3?dial_timeout=3s",
			target{Kind: "cluster", User: "u", Password: "p", Addrs: []string{"a:1", "b:6379", "c:3"}, Dial: 3 * time.Second, Read: read},
		},
		{"rediss-cluster://a", target{Kind: "cluster", ServerName: "a", Addrs: []string{"a:6379"}, Dial: dial, Read: read}},
	}
	for _, tt := range tests {
		t.Run(tt.address, func(t *testing.T) {
			t.Parallel()
			options, err := parse(tt.address)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(describe(t, options), tt.want, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("got (-), want (+):\n%s", diff)
			}
			client, err := Open(tt.address) // go-redis panics on what it does not like
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBadAddressesAreRefusedAndNotRepeated(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"",
		"localhost:6379",
		"http://:secret@h",
		"redis://:secret@h:port",
		"redis://:sec/secret@h",
		"redis://:sec#secret@h",
		"redis://:secret%zz@h",
		"redis://:secret@h/notanumber",
		"redis://:secret@h?no_such_option=1",
		"unix://:secret@",
		"redis-sentinel://:secret@a,b",
		"redis-sentinel://:secret@a/m/n",
		"redis-sentinel://:secret@a,,b/m",
		"redis-sentinel://:secret@a/m?route_randomly=true",
		"redis-sentinel://:sec,secret/@a/m",
		"redis-cluster://:secret@",
		"redis-cluster://:secret%zz@a,b",
		"redis-other://:secret@a",
	} {
		client, err := Open(address)
		if err == nil {
			t.Errorf("%s: got no error", address)
			_ = client.Close()
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error repeats the password: %v", address, err)
		}
	}
}
