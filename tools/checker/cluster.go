package checker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/local"
	"github.com/trackway/trackway/tools/programs"
)

const (
	replicas     = 2
	startTimeout = 2 * time.Minute
	stopTimeout  = 30 * time.Second
)

// cluster is two replicas of each service, each a process that reaches the one Redis by a way of its own.
type cluster struct {
	bin      string // folder of the programs
	log      io.Writer
	dir      string
	postgres *local.Postgres
	redis    *local.Redis
	client   redis.UniversalClient // to Redis, by no way that is ever cut
	nodes    []*node
}

// node is one replica.
type node struct {
	name          string
	listen, admin string
	way           *toxiproxy.Proxy // to Redis
	cmd           *exec.Cmd
	ended         chan struct{}
	cluster       *cluster
	vars          []string
}

// startCluster starts everything, in a folder that Postgres may enter.
func startCluster(ctx context.Context, bin, dir string, log io.Writer) (_ *cluster, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c := &cluster{bin: bin, dir: dir, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	if c.postgres, err = local.StartPostgres(ctx, local.PostgresOptions{Dir: filepath.Join(dir, "postgres")}); err != nil {
		return nil, err
	}
	if c.redis, err = local.StartRedis(ctx, local.RedisOptions{Dir: filepath.Join(dir, "redis")}); err != nil {
		return nil, err
	}
	if c.client, err = cache.Open(c.redis.URL()); err != nil {
		return nil, err
	}
	key, err := auth.GenerateKey()
	if err != nil {
		return nil, err
	}
	keyFile := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		return nil, err
	}
	if err := c.place(ctx, keyFile); err != nil {
		return nil, err
	}
	for i, n := range c.nodes {
		if i%replicas == 0 && n.name != "edge" {
			if out, err := n.command(ctx, "migrate").CombinedOutput(); err != nil {
				return nil, fmt.Errorf("migrate %s: %w: %s", n.name, err, out)
			}
		}
	}
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			return nil, err
		}
	}
	for _, n := range c.nodes {
		if err := n.awaitReady(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// place gives every replica its ports, its way to Redis and its configuration.
func (c *cluster) place(ctx context.Context, keyFile string) error {
	ports, err := freePorts(ctx, 2*replicas*len(programs.Services()))
	if err != nil {
		return err
	}
	next := func() string {
		address := "127.0.0.1:" + ports[0]
		ports = ports[1:]
		return address
	}
	addresses := map[string][]string{}
	for _, name := range programs.Services() {
		for range replicas {
			n := &node{name: name, listen: next(), admin: next(), cluster: c}
			c.nodes = append(c.nodes, n)
			addresses[name] = append(addresses[name], n.listen)
		}
	}
	server, err := url.Parse(c.redis.URL())
	if err != nil {
		return errors.New("the address of Redis is not a URL") // err holds the password
	}
	toxics := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	for i, n := range c.nodes {
		n.way = toxiproxy.NewProxy(toxics, n.name+strconv.Itoa(i), "127.0.0.1:0", server.Host)
		if err := n.way.Start(); err != nil {
			return fmt.Errorf("start a way to Redis: %w", err)
		}
		way := *server
		way.Host = n.way.Listen
		n.vars = []string{
			"LISTEN_ADDR=" + n.listen, "ADMIN_ADDR=" + n.admin, "REDIS_URL=" + way.String(), "SIGNING_KEY_FILES=" + keyFile,
			"USERS_ADDR=" + strings.Join(addresses["users"], ","), "PROJECTS_ADDR=" + strings.Join(addresses["projects"], ","),
			"TASKS_ADDR=" + strings.Join(addresses["tasks"], ","), "LOG_LEVEL=error", "LOG_FORMAT=text",
			"RATE_LIMIT=0", "AUTH_RATE_LIMIT=0", "GRAPHQL_BUDGET=0", "SHUTDOWN_GRACE=1s", "DATABASE_MAX_CONNS=10",
		}
		if n.name == "edge" {
			continue
		}
		if i%replicas == 0 {
			if err := c.postgres.CreateDatabase(ctx, n.name); err != nil {
				return err
			}
		}
		n.vars = append(n.vars, "DATABASE_URL="+c.postgres.URL(n.name))
	}
	return nil
}

// freePorts finds ports on which nobody listens, below those that systems give to connections going out.
func freePorts(ctx context.Context, n int) (ports []string, err error) {
	const lowest, highest = 20000, 32000
	var lc net.ListenConfig
	for tries := 50 * n; len(ports) < n; tries-- {
		port := strconv.Itoa(lowest + mathrand.IntN(highest-lowest)) //nolint:gosec // nobody gains by guessing it
		l, listenErr := lc.Listen(ctx, "tcp4", "127.0.0.1:"+port)
		switch {
		case listenErr == nil:
			ports = append(ports, port)
			defer func() { err = errors.Join(err, l.Close()) }() // when all are found, and so differ
		case tries == 0:
			return nil, fmt.Errorf("find a free port: %w", listenErr)
		}
	}
	return ports, nil
}

func (n *node) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(n.cluster.bin, n.name), args...)
	cmd.Env = n.vars
	cmd.WaitDelay = time.Second
	return cmd
}

func (n *node) start() error {
	n.cmd = n.command(context.Background())
	n.cmd.Stdout, n.cmd.Stderr = n.cluster.log, n.cluster.log
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	ended := make(chan struct{})
	n.ended = ended
	go func(cmd *exec.Cmd) {
		defer close(ended)
		_ = cmd.Wait() // it is killed
	}(n.cmd)
	return nil
}

// kill ends the process as a power cut would.
func (n *node) kill() {
	_ = n.cmd.Process.Kill() // fails only if it has ended
	<-n.ended
}

func (n *node) awaitReady(ctx context.Context) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.admin+"/readyz", http.NoBody)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			err = res.Body.Close()
			if err == nil && res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", n.name, errors.Join(ctx.Err(), err))
		case <-n.ended:
			return fmt.Errorf("%s has ended by itself", n.name)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// doors are the URLs of the edge's replicas.
func (c *cluster) doors() (urls []string) {
	for _, n := range c.nodes {
		if n.name == "edge" {
			urls = append(urls, "http://"+n.listen)
		}
	}
	return urls
}

// signal sends a signal to Redis.
func (c *cluster) signal(pid int, s syscall.Signal) error {
	if err := syscall.Kill(pid, s); err != nil {
		return fmt.Errorf("signal Redis: %w", err)
	}
	return nil
}

// redisPID is the process of Redis.
func (c *cluster) redisPID(ctx context.Context) (int, error) {
	info, err := c.client.Info(ctx, "server").Result()
	if err != nil {
		return 0, fmt.Errorf("ask Redis for its process: %w", err)
	}
	_, after, _ := strings.Cut(info, "process_id:")
	pid, _, _ := strings.Cut(after, "\r\n")
	return strconv.Atoi(pid)
}

func (c *cluster) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	for _, n := range c.nodes {
		if n.cmd != nil {
			n.kill()
		}
		if n.way != nil {
			n.way.Stop()
		}
	}
	if c.client != nil {
		errs = append(errs, c.client.Close())
	}
	if c.redis != nil {
		errs = append(errs, c.redis.Stop(ctx))
	}
	if c.postgres != nil {
		errs = append(errs, c.postgres.Stop(ctx))
	}
	return errors.Join(errs...)
}

// unique is a text that nobody has used.
func unique() string { return rand.Text()[:10] }
