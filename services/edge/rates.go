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

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

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
	limiter                   *redis_rate.Limiter
	requests, signIns, prices policy
	accounts, everywhere      policy // of one account from one address, and from those that it does not know
	redis                     redis.UniversalClient
	timeout                   time.Duration
	log                       *slog.Logger
	failedAt                  atomic.Int64 // Unix nanoseconds, zero while Redis answers
	open, refused             metric.Int64Counter
}

// policy is a limit and how the header tells it (draft-ietf-httpapi-ratelimit-headers).
type policy struct {
	name   string
	limit  redis_rate.Limit
	header string
}

func newPolicy(name string, perMinute int) policy {
	limit := redis_rate.PerMinute(perMinute)
	return policy{
		name: name, limit: limit,
		header: fmt.Sprintf(`"%s";q=%d;w=%d`, name, limit.Burst, int(limit.Period.Seconds())),
	}
}

func newRates(client redis.UniversalClient, cfg Config, log *slog.Logger) *rates {
	s := &rates{
		limiter: redis_rate.NewLimiter(shared{client}), redis: client, timeout: takeTimeout, log: log, open: noop.Int64Counter{}, refused: noop.Int64Counter{},
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
	for _, policy := range []policy{s.requests, s.signIns, s.prices} {
		s.refused.Add(context.Background(), 0, metric.WithAttributes(attribute.String("policy", policy.name)))
	}
	return nil
}

// take counts a request, tells how many are left, and is an error when there are none.
func (s *rates) take(h http.Header, r *http.Request, key string, signIn bool) error {
	p := s.policy(signIn)
	return p.refusal(s.asked(h, r, p, key, 1))
}

// tell tells how many requests are left, and counts none.
func (s *rates) tell(h http.Header, r *http.Request, key string, signIn bool) {
	s.asked(h, r, s.policy(signIn), key, 0)
}

func (s *rates) policy(signIn bool) *policy {
	if signIn {
		return &s.signIns
	}
	return &s.requests
}

// asked counts n requests and tells how many are left; it is nil when nobody knows, and where there is no limit.
func (s *rates) asked(h http.Header, r *http.Request, p *policy, key string, n int) *redis_rate.Result {
	if p.limit.Rate == 0 {
		return nil
	}
	h.Set(policyHeader, p.header)
	res := s.ask(r.Context(), p, key, n)
	if res != nil {
		h.Set(limitHeader, `"`+p.name+`";r=`+strconv.Itoa(res.Remaining)+";t="+seconds(res.ResetAfter))
	}
	return res
}

// addressKey is the context's key of what a request without a caller is counted against.
type addressKey struct{}

// signIn counts a register or login at the GraphQL door, against the same limit as those of REST.
func (s *rates) signIn(ctx context.Context) error {
	address, _ := ctx.Value(addressKey{}).(string)
	return s.count(ctx, &s.signIns, address)
}

// count takes one of what is left, and is an error when there is none.
func (s *rates) count(ctx context.Context, p *policy, key string) error {
	if p.limit.Rate == 0 {
		return nil
	}
	return p.refusal(s.ask(ctx, p, key, 1))
}

// refusal is nil for a request that may pass, which those that nobody could count may too.
func (p *policy) refusal(res *redis_rate.Result) error {
	if res == nil || res.Allowed > 0 {
		return nil
	}
	e := errs.New(errs.RateLimited, "You have sent %d requests within a minute. Try again later.", p.limit.Rate)
	e.Retry = max(res.RetryAfter, time.Second)
	return e
}

// ask takes n of what is left; it is nil when Redis can not answer.
func (s *rates) ask(ctx context.Context, p *policy, key string, n int) *redis_rate.Result {
	failedAt := s.failedAt.Load()
	if failedAt != 0 && time.Since(time.Unix(0, failedAt)) < takePause {
		s.open.Add(ctx, 1)
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	res, err := s.limiter.AllowN(limited, p.name+":"+key, p.limit, n)
	switch {
	case err == nil && failedAt != 0 && s.failedAt.CompareAndSwap(failedAt, 0):
		s.log.InfoContext(ctx, "the rate limit works again")
	case err == nil && res.Allowed == 0 && n > 0:
		s.refused.Add(ctx, 1, metric.WithAttributes(attribute.String("policy", p.name)))
	case err != nil && ctx.Err() == nil:
		s.open.Add(ctx, 1)
		if s.failedAt.Swap(time.Now().UnixNano()) == 0 {
			s.log.WarnContext(ctx, "the rate limit is open: Redis can not be asked", "error", err)
		}
	}
	return res
}

func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }
