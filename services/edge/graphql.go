package edge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/trackway/trackway/graph"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
)

// GraphQLConfig is what the service is told of /graphql.
type GraphQLConfig struct {
	GraphiQL      bool   `env:"GRAPHIQL" envDefault:"true" doc:"Whether browsers get GraphiQL at /graphql"`
	Introspection bool   `env:"GRAPHQL_INTROSPECTION" envDefault:"true" doc:"Whether clients may ask for the GraphQL schema, and errors suggest names of it"`
	Budget        int    `env:"GRAPHQL_BUDGET" envDefault:"1000000" doc:"Price of all GraphQL operations a minute for each caller, in fields that the answers may have; 0 for any price"`
	Documents     string `env:"GRAPHQL_DOCUMENTS" doc:"Trusted GraphQL documents: a folder of .graphql files, or a compiler's JSON file"`
	DocumentsOnly bool   `env:"GRAPHQL_DOCUMENTS_ONLY" envDefault:"false" doc:"Whether all other GraphQL documents are refused"`
}

// minBudget is the price of the dearest operation: with less it would be refused for ever.
const minBudget = 50_000

// fill makes the face's configuration of ours.
func (c GraphQLConfig) fill(to *graph.Config, limits *rates, client redis.UniversalClient) (err error) {
	switch {
	case c.Budget < 0 || c.Budget > 0 && c.Budget < minBudget:
		return fmt.Errorf("GRAPHQL_BUDGET is %d, and must be 0 or at least %d", c.Budget, minBudget)
	case c.DocumentsOnly && c.Documents == "":
		return errors.New("GRAPHQL_DOCUMENTS_ONLY needs GRAPHQL_DOCUMENTS")
	case c.Documents != "":
		if to.Documents, err = graph.LoadDocuments(c.Documents); err != nil {
			return fmt.Errorf("GRAPHQL_DOCUMENTS: %w", err)
		}
	}
	to.GraphiQL, to.HideSchema, to.OnlyDocuments = c.GraphiQL, !c.Introspection, c.DocumentsOnly
	to.Persisted = persistedQueries{client}
	if c.Budget > 0 {
		to.Charge = limits.charge
	}
	return nil
}

// charge takes the price of a GraphQL operation from the caller's budget.
func (s *rates) charge(ctx context.Context, price int) (*graph.Budget, error) {
	p := &s.prices
	res, ok := exchangeOf(ctx).foreseen.paid(ctx, s, price)
	if !ok {
		res, ok = s.ask(ctx, p, budgetKey(ctx, auth.CallerFrom(ctx)), price)
	}
	if !ok {
		return nil, nil //nolint:nilnil // nobody knows what is left
	}
	b := &graph.Budget{Limit: p.limit, Remaining: res.remaining, Window: window, Reset: res.reset}
	if res.allowed {
		return b, nil
	}
	e := errs.New(errs.RateLimited, "This operation would cost more than you have left of %d within a minute. "+
		"Ask for less, or try again later.", p.limit)
	e.Retry = max(res.retry, time.Second)
	return b, e
}

// budgetKey is whose budget it is: the caller's, or the address's.
func budgetKey(ctx context.Context, caller *auth.Caller) string {
	if caller.UserID != 0 {
		return userKey(caller)
	}
	return exchangeOf(ctx).address
}

// persistedQueries keeps the persisted queries of GraphQL in Redis, for all replicas.
type persistedQueries struct{ client redis.UniversalClient }

const (
	persistedPrefix = "persisted-query:"
	// persistedFor is how long a query is kept that nobody sends any more.
	persistedFor = 24 * time.Hour
)

// Get gives a query, and keeps it longer.
func (q persistedQueries) Get(ctx context.Context, hash string) (string, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	query, err := q.client.GetEx(ctx, persistedPrefix+hash, persistedFor).Result()
	if errors.Is(err, redis.Nil) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read a persisted query: %w", err)
	}
	return query, true, nil
}

// Put keeps a query.
func (q persistedQueries) Put(ctx context.Context, hash, query string) error {
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	if err := q.client.Set(ctx, persistedPrefix+hash, query, persistedFor).Err(); err != nil {
		return fmt.Errorf("store a persisted query: %w", err)
	}
	return nil
}
