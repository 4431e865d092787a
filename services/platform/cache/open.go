// Package cache opens Redis, and keeps answers in it that are never older than an acknowledged write (README.md).
package cache

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Config says where Redis is.
type Config struct {
	URL string `env:"REDIS_URL,required,notEmpty" doc:"Redis: redis://, redis-sentinel:// or redis-cluster://, with TLS rediss://, rediss-sentinel:// or rediss-cluster://; a service runs without it too, but slower"`
}

// Connect opens the Redis of the configuration, and observes the client. What is out of reach is found out later, by
// whoever sends a command: nobody waits for Redis to start.
func Connect(cfg Config, tracer trace.TracerProvider, meter metric.MeterProvider) (redis.UniversalClient, error) {
	client, err := Open(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	if err := Observe(client, tracer, meter); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

// Open returns a client for the Redis at an address of one of these forms. It does not connect yet.
//
//	redis://[user:password@]host[:port][/db]                     one server
//	unix://[user:password@]/path/to/socket[?db=0]                the same, by its socket
//	redis-sentinel://[user:password@]host[:port],…/master[?db=0] the master that Sentinels know by that name
//	redis-cluster://[user:password@]host[:port],…                Redis Cluster, found by any of its nodes
//
// rediss://, rediss-sentinel:// and rediss-cluster:// use TLS, and expect the name of the first host in every
// certificate. User and password are those of the Redis servers; Sentinels that ask for their own get
// ?sentinel_username=…&sentinel_password=…. The other options that go-redis knows can follow in the query, such as
// read_timeout=2s.
//
// Unless they say otherwise, connecting may take 2 seconds and a command half a second, a context's deadline counts if
// it is earlier, and a command is tried a second time at most (in a
// Cluster it follows up to three redirections instead): what a cache cannot answer at once is better asked
// elsewhere. Errors never contain the URL, which may hold a password.
func Open(address string) (redis.UniversalClient, error) {
	options, err := parse(address)
	if err != nil {
		return nil, fmt.Errorf("open Redis: %w", err)
	}
	switch o := options.(type) {
	case *redis.FailoverOptions:
		return redis.NewFailoverClient(o), nil
	case *redis.ClusterOptions:
		return redis.NewClusterClient(o), nil
	case *redis.Options:
		return redis.NewClient(o), nil
	default:
		return nil, fmt.Errorf("open Redis: unexpected options %T", o)
	}
}

// parse returns *redis.Options, *redis.FailoverOptions or *redis.ClusterOptions.
func parse(address string) (any, error) {
	scheme, rest, _ := strings.Cut(address, "://")
	authority, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if strings.ContainsAny(path, "@#") {
		return nil, errors.New("the URL has an unexpected @ or #: write /, ?, # and @ in a password as %2F, %3F, %23 and %40")
	}
	kind, isMany := strings.CutPrefix(scheme, "redis-")
	protocol := "redis"
	if tls, ok := strings.CutPrefix(scheme, "rediss-"); ok {
		kind, isMany, protocol = tls, true, "rediss"
	}
	switch {
	case scheme == "redis" || scheme == "rediss" || scheme == "unix":
		o, err := redis.ParseURL(address)
		if err != nil {
			return nil, withoutURL(err)
		}
		o.MaintNotificationsConfig = noNotifications()
		o.ContextTimeoutEnabled = true
		o.MaxRetries = cmp.Or(o.MaxRetries, 1)
		impatient(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.DialerRetries)
		frugal(&o.Protocol, &o.PipelinePoolSize, &o.ReadBufferSize, &o.WriteBufferSize)
		return o, nil
	case isMany && kind == "sentinel":
		return parseSentinel(protocol, authority, path)
	case isMany && kind == "cluster":
		u, err := oneHost(protocol, authority, path, "6379")
		if err != nil {
			return nil, err
		}
		o, err := redis.ParseClusterURL(u.String())
		if err != nil {
			return nil, withoutURL(err)
		}
		o.MaintNotificationsConfig = noNotifications()
		o.ContextTimeoutEnabled = true
		impatient(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.DialerRetries)
		frugal(&o.Protocol, &o.PipelinePoolSize, &o.ReadBufferSize, &o.WriteBufferSize)
		return o, nil
	default:
		return nil, errors.New("the URL starts with none of redis://, rediss://, unix://, redis-sentinel://, " +
			"rediss-sentinel://, redis-cluster:// and rediss-cluster://")
	}
}

func parseSentinel(protocol, authority, path string) (any, error) {
	u, err := oneHost(protocol, authority, path, "26379")
	if err != nil {
		return nil, err
	}
	master := strings.Trim(u.Path, "/")
	if master == "" || strings.Contains(master, "/") {
		return nil, errors.New("the URL does not name the master: redis-sentinel://host:port,host:port/master")
	}
	// go-redis takes the name, and the account on the master, as options; the account in the URL is the Sentinels'.
	query := u.Query()
	query.Set("master_name", master)
	if u.User != nil {
		password, _ := u.User.Password()
		query.Set("username", u.User.Username())
		query.Set("password", password)
	}
	u.Path, u.User = "", nil
	if password := query.Get("sentinel_password"); password != "" {
		u.User = url.UserPassword(query.Get("sentinel_username"), password)
	}
	query.Del("sentinel_username")
	query.Del("sentinel_password")
	u.RawQuery = query.Encode()
	o, err := redis.ParseFailoverURL(u.String())
	if err != nil {
		return nil, withoutURL(err)
	}
	if o.RouteByLatency || o.RouteRandomly {
		return nil, errors.New("route_by_latency and route_randomly read from replicas, which may be behind")
	}
	o.ContextTimeoutEnabled = true
	o.MaxRetries = cmp.Or(o.MaxRetries, 1)
	impatient(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.DialerRetries)
	frugal(&o.Protocol, &o.PipelinePoolSize, &o.ReadBufferSize, &o.WriteBufferSize)
	return o, nil
}

// oneHost returns the URL as go-redis wants it: the first host in its place, the others as options. net/url accepts no
// list of hosts.
func oneHost(protocol, authority, path, port string) (*url.URL, error) {
	account, list := "", authority
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		account, list = authority[:i+1], authority[i+1:]
	}
	hosts := strings.Split(list, ",")
	for i, host := range hosts {
		h, err := url.Parse("//" + host)
		if err != nil || h.Hostname() == "" {
			return nil, fmt.Errorf("the URL's host number %d is none", i+1)
		}
		if h.Port() == "" {
			hosts[i] = net.JoinHostPort(h.Hostname(), port)
		}
	}
	u, err := url.Parse(protocol + "://" + account + hosts[0] + path)
	if err != nil {
		return nil, withoutURL(err)
	}
	query := u.Query()
	for _, host := range hosts[1:] {
		query.Add("addr", host)
	}
	u.RawQuery = query.Encode()
	return u, nil
}

// withoutURL takes out what net/url quotes, which may be part of a password.
func withoutURL(err error) error {
	if _, ok := errors.AsType[*url.Error](err); ok {
		return errors.New("the URL is malformed: in a password, write all but letters and digits as %XX")
	}
	return err
}

// commandTimeout is how long a command may take.
const commandTimeout = 500 * time.Millisecond

// impatient fills in what the URL left open.
func impatient(dial, read, write *time.Duration, dials *int) {
	*dial = cmp.Or(*dial, 2*time.Second)
	*read = cmp.Or(*read, commandTimeout)
	*write = cmp.Or(*write, commandTimeout)
	*dials = cmp.Or(*dials, 1)
}

// frugal fills in what else the URL left open: RESP2, of which no reply must be looked at twice for what the server says
// unasked; one pool of connections for all, and small buffers, as what is asked is small and many ask together (Gather).
func frugal(protocol, pipelines, read, write *int) {
	const buffer = 16 << 10
	*protocol = cmp.Or(*protocol, 2)
	*pipelines = cmp.Or(*pipelines, -1)
	*read = cmp.Or(*read, buffer)
	*write = cmp.Or(*write, buffer)
}

// noNotifications spares each connection a question that only Redis Enterprise answers.
func noNotifications() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}
