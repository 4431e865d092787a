package edge

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/telemetry"
)

const (
	// The headers, as net/http spells them; names of headers have no case.
	limitHeader  = "Ratelimit"
	policyHeader = "Ratelimit-Policy"

	// takeTimeout bounds the question to Redis: a request that it limits must not wait for it.
	takeTimeout = 100 * time.Millisecond
	// takePause is how long Redis is left alone after it failed.
	takePause = time.Second
)

// rates limits requests by GCRA in Redis, one script call a request. When Redis is out of reach everything is let
// through: a limit that fails must not be an outage.
type rates struct {
	requests, signIns, prices policy
	accounts, everywhere      policy // of one account from one address, and from those that it does not know
	redis                     redis.UniversalClient
	gather                    *cache.Gather
	timeout                   time.Duration // of what is asked besides
	script                    *redis.Script
	log                       *slog.Logger
	failedAt                  atomic.Int64 // Unix nanoseconds, zero while Redis answers
	open, refused             metric.Int64Counter
}

// takeScript takes ARGV[3] of what is left under KEYS[1], if that is enough, and gives back what is less than nothing.
// ARGV[1] is how long one takes to come back, in microseconds, ARGV[2] how many there may be. The key holds when all of
// them will be there again, as GCRA does: https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm. It answers how many
// it took, how many are left, and in how many microseconds there will be enough, or else all.
const takeScript = `
local t = redis.call('TIME')
local now, interval, cost = t[1] * 1000000 + t[2], ARGV[1] + 0, ARGV[3] + 0
local whole = redis.call('GET', KEYS[1])
if not whole or whole + 0 < now then whole = now end
local after = whole + cost * interval
local left = ARGV[2] * interval - (after - now)
if left < 0 then return {0, 0, -left, whole - now} end
if after > now then redis.call('SET', KEYS[1], after, 'PX', math.ceil((after - now) / 1000))
elseif cost < 0 then redis.call('DEL', KEYS[1]) end
return {cost, left / interval, 0, after - now}`

// policy is a limit and how the header tells it (draft-ietf-httpapi-ratelimit-headers).
type policy struct {
	name     string
	limit    int // within a window, and at once; 0 is any number
	interval any // ARGV[1] of takeScript
	header   []string
}

// window is what limits are for.
const window = time.Minute

func newPolicy(name string, perMinute int) policy {
	p := policy{name: name, limit: perMinute}
	if perMinute > 0 {
		p.interval = strconv.FormatFloat(float64(window.Microseconds())/float64(perMinute), 'g', -1, 64)
		p.header = []string{fmt.Sprintf(`"%s";q=%d;w=%d`, name, perMinute, int(window.Seconds()))}
	}
	return p
}

// left is what takeScript answers.
type left struct {
	allowed      bool
	remaining    int
	retry, reset time.Duration
}

func newRates(client redis.UniversalClient, cfg Config, log *slog.Logger) *rates {
	s := &rates{
		redis: client, gather: cache.NewGather(client, takeTimeout), timeout: takeTimeout, script: redis.NewScript(takeScript), log: log,
		open: noop.Int64Counter{}, refused: noop.Int64Counter{},
		requests: newPolicy("requests", cfg.RateLimit), signIns: newPolicy("sign-ins", cfg.AuthRateLimit),
		prices: newPolicy("graphql", cfg.GraphQL.Budget),
	}
	if cfg.AuthRateLimit > 0 {
		s.accounts = newPolicy("account", cfg.AccountRateLimit)
		s.everywhere = newPolicy("account-everywhere", everywhere*cfg.AccountRateLimit)
	}
	return s
}

// meter counts what is refused, and what is let through because Redis can not be asked.
func (s *rates) meter(p metric.MeterProvider) (err error) {
	m := p.Meter(telemetry.Scope)
	s.open, err = m.Int64Counter("trackway.ratelimit.open",
		metric.WithDescription("Requests that no limit was held against, as Redis could not be asked."), metric.WithUnit("{request}"))
	if err != nil {
		return fmt.Errorf("count what is not limited: %w", err)
	}
	s.refused, err = m.Int64Counter("trackway.ratelimit.refused",
		metric.WithDescription("Requests that were refused as too many, by the policy."), metric.WithUnit("{request}"))
	if err != nil {
		return fmt.Errorf("count what is refused: %w", err)
	}
	// What has not happened yet is zero and not unknown: a first time would otherwise be no increase.
	s.open.Add(context.Background(), 0)
	for _, policy := range []policy{s.requests, s.signIns, s.prices, s.accounts, s.everywhere} {
		if policy.limit == 0 {
			continue
		}
		s.refused.Add(context.Background(), 0, metric.WithAttributes(attribute.String("policy", policy.name)))
	}
	return nil
}

// take counts a request, tells how many are left, and is an error when there are none. Other commands ride along in its
// round trip, if there is one.
func (s *rates) take(ctx context.Context, h http.Header, key string, signIn bool, riders ...redis.Cmder) error {
	p := s.policy(signIn)
	if res, ok := s.asked(ctx, h, p, key, 1, riders...); ok {
		return p.refusal(res)
	}
	return nil
}

// tell tells how many requests are left, and counts none.
func (s *rates) tell(ctx context.Context, h http.Header, key string, signIn bool) {
	s.asked(ctx, h, s.policy(signIn), key, 0)
}

func (s *rates) policy(signIn bool) *policy {
	if signIn {
		return &s.signIns
	}
	return &s.requests
}

// asked counts n requests and tells how many are left; it is not ok when nobody knows, and where there is no limit.
func (s *rates) asked(ctx context.Context, h http.Header, p *policy, key string, n int, riders ...redis.Cmder) (_ left, ok bool) {
	if p.limit == 0 {
		return left{}, false
	}
	h[policyHeader] = p.header
	res, ok := s.ask(ctx, p, key, n, riders...)
	if ok {
		b := make([]byte, 0, 48) //nolint:mnd // room for names and numbers
		b = append(append(append(b, '"'), p.name...), `";r=`...)
		b = append(strconv.AppendInt(b, int64(res.remaining), 10), ";t="...)
		h[limitHeader] = []string{string(strconv.AppendInt(b, seconds(res.reset), 10))}
	}
	return res, ok
}

// signIn counts what needs no token at the GraphQL door, such as a login, against the same limit as at that of REST.
func (s *rates) signIn(ctx context.Context) error {
	return s.count(ctx, &s.signIns, exchangeOf(ctx).address)
}

// operation counts one on a WebSocket, which began with one request, against the same limit as requests.
func (s *rates) operation(ctx context.Context) error {
	return s.count(ctx, &s.requests, userKey(auth.CallerFrom(ctx)))
}

// count takes one of what is left, and is an error when there is none.
func (s *rates) count(ctx context.Context, p *policy, key string) error {
	if p.limit == 0 {
		return nil
	}
	if res, ok := s.ask(ctx, p, key, 1); ok {
		return p.refusal(res)
	}
	return nil
}

// refusal is nil for a request that may pass.
func (p *policy) refusal(res left) error {
	if res.allowed {
		return nil
	}
	e := errs.New(errs.RateLimited, "You have sent %d requests within a minute. Try again later.", p.limit)
	e.Retry = max(res.retry, time.Second)
	return e
}

// ask takes n of what is left; it is not ok when Redis can not answer.
func (s *rates) ask(ctx context.Context, p *policy, key string, n int, riders ...redis.Cmder) (_ left, ok bool) {
	if failedAt := s.failedAt.Load(); failedAt != 0 && time.Since(time.Unix(0, failedAt)) < takePause {
		s.open.Add(ctx, 1)
		return left{}, false
	}
	asked := s.question(ctx, p, key, n)
	s.gather.Do(ctx, append(riders, asked)...)
	return s.answer(ctx, p, asked, n)
}

// question is the command that takes n of what is left.
func (s *rates) question(ctx context.Context, p *policy, key string, n int) *redis.IntSliceCmd {
	cmd := redis.NewIntSliceCmd(ctx, "evalsha", s.script.Hash(), 1, "limit:"+p.name+":"+key, p.interval, p.limit, n)
	cmd.SetFirstKeyPos(3) //nolint:mnd // where it stands
	return cmd
}

// answer is what came of the question.
func (s *rates) answer(ctx context.Context, p *policy, asked *redis.IntSliceCmd, n int) (_ left, ok bool) {
	values, err := asked.Result()
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // the first one that this server is asked
		limited, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		key, _ := asked.Args()[3].(string)
		values, err = s.script.Eval(limited, s.redis, []string{key}, p.interval, p.limit, n).Int64Slice()
	}
	failedAt := s.failedAt.Load()
	switch {
	case err == nil && failedAt != 0 && s.failedAt.CompareAndSwap(failedAt, 0):
		s.log.InfoContext(ctx, "the rate limit works again")
	case err != nil && ctx.Err() == nil:
		s.open.Add(ctx, 1)
		if s.failedAt.Swap(time.Now().UnixNano()) == 0 {
			s.log.WarnContext(ctx, "the rate limit is open: Redis can not be asked", "error", err)
		}
	}
	if err != nil || len(values) != 4 { //nolint:mnd // see takeScript
		return left{}, false
	}
	l := left{
		allowed: values[0] > 0 || n == 0, remaining: int(values[1]),
		retry: time.Duration(values[2]) * time.Microsecond, reset: time.Duration(values[3]) * time.Microsecond,
	}
	if !l.allowed {
		s.refused.Add(ctx, 1, metric.WithAttributes(attribute.String("policy", p.name)))
	}
	return l, true
}

func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }
