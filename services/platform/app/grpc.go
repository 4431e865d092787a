package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/telemetry"
)

const (
	// callTimeout bounds a call whose caller set no deadline, or a later one. A request to the edge may take as long, so
	// that the calls for it need no timers of their own.
	callTimeout = 20 * time.Second
	// streamWorkers answer calls, and keep the stacks that they have grown: a new goroutine grows one anew for each call.
	// When all are busy, calls get goroutines of their own.
	streamWorkers = 32
	// The windows of HTTP/2 flow control, in bytes, have room for the usual answers. One that grows by itself measures
	// the network with a ping for nearly every message.
	streamWindow, connWindow = 1 << 20, 8 << 20
	// answerBuffer is how many bytes of an answer are written, and read, with one system call; with gRPC's 32 KiB, 150,000
	// bytes take five of each. A client holds one a connection, a server only while it writes.
	answerBuffer = 256 << 10
	// maxMessage bounds a request or answer, in bytes.
	maxMessage = 8 << 20
	// Connections end now and then, so that what stands between us and our clients can spread them anew.
	maxConnectionAge      = 2 * time.Minute
	maxConnectionAgeGrace = 30 * time.Second
	// A service that restarted is found again within about a second: gRPC's own waits grow to two minutes.
	reconnectFirst = 50 * time.Millisecond
	reconnectMost  = time.Second
	connectTimeout = 5 * time.Second
)

// GRPC is what a service serves.
type GRPC struct {
	Register func(*grpc.Server)
	// Interceptors run in this order, inside those of every service.
	Interceptors []grpc.UnaryServerInterceptor
	// Ready reports what keeps the service from answering, such as a database out of reach.
	Ready func(context.Context) error
	// Jobs run until the context ends.
	Jobs []func(context.Context)
}

// ServeGRPC serves on cfg.Listen, and the probes beside it, until ctx ends. Every failure that is not for the caller
// is logged here, once, and leaves as an internal error without its text.
func ServeGRPC(ctx context.Context, cfg Config, env Env, g GRPC) error {
	l, err := env.listen(ctx, cfg.Listen)
	if err != nil {
		return err
	}
	served, err := servedCalls(env)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	replays, err := countReplays(env)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	messages, err := newCodec()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	chain := append([]grpc.UnaryServerInterceptor{served.serve(replays), env.report}, env.Calls...)
	srv := grpc.NewServer(
		grpc.ChainUnaryInterceptor(append(chain, g.Interceptors...)...),
		grpc.StreamInterceptor(served.serveStream),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.WriteBufferSize(answerBuffer),
		grpc.ForceServerCodecV2(messages), experimental.BufferPool(messages.pool),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge: maxConnectionAge, MaxConnectionAgeGrace: maxConnectionAgeGrace,
		}),
	)
	g.Register(srv)
	state := health.NewServer()
	healthpb.RegisterHealthServer(srv, state)
	servers := []server{{
		serve: func() error {
			// ErrServerStopped: told to stop before it began.
			if err := srv.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("serve gRPC: %w", err)
			}
			return nil
		},
		drain: func(ctx context.Context) error {
			state.Shutdown()
			return drainGRPC(ctx, srv)
		},
	}}
	admin, err := adminServer(ctx, cfg, env, g.Ready)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return serve(ctx, cfg, append(servers, admin...), g.Jobs)
}

func drainGRPC(ctx context.Context, srv *grpc.Server) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.GracefulStop()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		srv.Stop() // ends GracefulStop too
		<-done
		return fmt.Errorf("stop gRPC: %w", ctx.Err())
	}
}

// countReplays counts the answers that were given before, by the method.
func countReplays(env Env) (*telemetry.Counts[string], error) {
	return telemetry.NewCounts(env.MeterProvider(), "trackway.idempotency.replays", "{request}",
		"Requests whose Idempotency-Key got the answer that was given before.",
		func(method string) []attribute.KeyValue { return []attribute.KeyValue{semconv.RPCMethod(method)} })
}

// report turns every failure into one for the caller, and logs what the caller may not see.
func (e Env) report(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (answer any, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.Log.ErrorContext(ctx, "panic", "method", info.FullMethod, "panic", p, "stack", string(debug.Stack()))
			answer, err = nil, errs.From(fmt.Errorf("panic: %v", p))
		}
	}()
	answer, err = next(ctx, req)
	if err == nil {
		return answer, nil
	}
	failure := errs.From(err)
	if errors.Is(ctx.Err(), context.Canceled) { // whoever asked has gone, such as a subscriber
		e.Log.DebugContext(ctx, "call given up", "method", info.FullMethod, "error", failure)
		return nil, failure
	}
	switch failure.Code {
	case errs.Internal:
		e.Log.ErrorContext(ctx, "call failed", "method", info.FullMethod, "error", failure.Unwrap())
	case errs.Unavailable, errs.DeadlineExceeded:
		e.Log.WarnContext(ctx, "call failed", "method", info.FullMethod, "error", failure)
	default:
		e.Log.DebugContext(ctx, "call refused", "method", info.FullMethod, "error", failure)
	}
	return nil, failure
}

// Dial opens a client to a service at host:port, or at several of these, separated by commas. Calls are spread over all
// its replicas, carry the caller's token, have a deadline, and are tried again when the service could not be reached, if
// they only read.
func Dial(env Env, addr string, services ...grpc.ServiceDesc) (*grpc.ClientConn, error) {
	config, err := serviceConfig(services)
	if err != nil {
		return nil, err
	}
	calls, err := sentCalls(env)
	if err != nil {
		return nil, err
	}
	messages, err := newCodec()
	if err != nil {
		return nil, err
	}
	target := "dns:///" + addr
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(config),
		grpc.WithDisableServiceConfig(), // spares the DNS a question for one, each time
		grpc.WithResolvers(lookAgain{resolver.Get("dns")}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: reconnectFirst, Multiplier: backoff.DefaultConfig.Multiplier,
				Jitter: backoff.DefaultConfig.Jitter, MaxDelay: reconnectMost,
			},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithUnaryInterceptor(calls.send), grpc.WithStreamInterceptor(calls.sendStream),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.ForceCodecV2(messages)),
		experimental.WithBufferPool(messages.pool),
		grpc.WithReadBufferSize(answerBuffer),
		grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(connWindow),
	}
	switch several := strings.Split(addr, ","); {
	case len(several) > 1:
		list := manual.NewBuilderWithScheme("list")
		var state resolver.State
		for _, one := range several {
			state.Addresses = append(state.Addresses, resolver.Address{Addr: one})
		}
		list.InitialState(state)
		target = "list:///" + several[0]
		opts = append(opts, grpc.WithResolvers(list))
	case env.DialTo != nil:
		target = "passthrough:///" + addr
	}
	if env.DialTo != nil {
		opts = append(opts, grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return env.DialTo(ctx, addr)
		}))
	}
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return conn, nil
}

// The service config, whose names are gRPC's: https://github.com/grpc/grpc-proto/blob/master/grpc/service_config/service_config.proto.
//
//nolint:tagliatelle // see above
type (
	serviceConfigJSON struct {
		LoadBalancing []map[string]struct{} `json:"loadBalancingConfig"`
		Methods       []methodConfig        `json:"methodConfig"`
	}
	methodConfig struct {
		Name  []methodName `json:"name"`
		Retry retryPolicy  `json:"retryPolicy"`
	}
	methodName struct {
		Service string `json:"service"`
		Method  string `json:"method"`
	}
	retryPolicy struct {
		MaxAttempts       int      `json:"maxAttempts"`
		InitialBackoff    string   `json:"initialBackoff"`
		MaxBackoff        string   `json:"maxBackoff"`
		BackoffMultiplier float64  `json:"backoffMultiplier"`
		Codes             []string `json:"retryableStatusCodes"`
	}
)

// serviceConfig spreads calls over replicas and retries the methods that only read. Writes are never retried here: a
// client that wants that sends an idempotency key and retries itself.
func serviceConfig(services []grpc.ServiceDesc) (string, error) {
	reads := methodConfig{Retry: retryPolicy{
		MaxAttempts: 4, InitialBackoff: "0.05s", MaxBackoff: "0.5s", BackoffMultiplier: 2, Codes: []string{"UNAVAILABLE"},
	}}
	for _, s := range services {
		for _, m := range s.Methods {
			for _, verb := range []string{"Get", "List", "BatchGet", "BatchList"} {
				if strings.HasPrefix(m.MethodName, verb) {
					reads.Name = append(reads.Name, methodName{s.ServiceName, m.MethodName})
					break
				}
			}
		}
	}
	b, err := json.Marshal(serviceConfigJSON{
		LoadBalancing: []map[string]struct{}{{"round_robin": {}}},
		Methods:       []methodConfig{reads},
	})
	if err != nil {
		return "", fmt.Errorf("write the service config: %w", err)
	}
	return string(b), nil
}
