package graph

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/99designs/gqlgen/graphql"
)

// costExtension is the name under which an operation carries its price, and the answer tells it.
const costExtension = "cost"

// Budget is what a caller may still spend on operations, in the unit of their price.
type Budget struct {
	Limit     int           // within one window
	Remaining int           // after this operation
	Window    time.Duration // what Limit is for
	Reset     time.Duration // until all of Limit is there again
}

// cost is what an answer tells of its price.
type cost struct {
	Price  int    `json:"price"`
	Limit  int    `json:"limit"`
	Window *spent `json:"window,omitempty"`
}

// spent is what it tells of the caller's budget. Times are in seconds.
type spent struct {
	Limit     int `json:"limit"`
	Remaining int `json:"remaining"`
	Seconds   int `json:"seconds"`
	Reset     int `json:"reset"`
}

// costs are the extensions of an answer; none if the operation was not understood well enough to have a price.
func costs(op *graphql.OperationContext, b *Budget) map[string]any {
	price, ok := op.Stats.GetExtension(costExtension).(int)
	if !ok {
		return nil
	}
	c := cost{Price: price, Limit: maxPrice}
	if b != nil {
		c.Window = &spent{b.Limit, b.Remaining, whole(b.Window), whole(b.Reset)}
	}
	return map[string]any{costExtension: c}
}

// charge takes the price of an operation from the caller's budget and tells in the header what is left
// (draft-ietf-httpapi-ratelimit-headers).
func (s *server) charge(ctx context.Context, h http.Header, op *graphql.OperationContext) (*Budget, error) {
	if s.cfg.Charge == nil {
		return nil, nil // nobody counts
	}
	price, _ := op.Stats.GetExtension(costExtension).(int)
	b, err := s.cfg.Charge(ctx, price)
	if b != nil {
		h.Add("Ratelimit-Policy", fmt.Sprintf(`"graphql";q=%d;w=%d`, b.Limit, whole(b.Window)))
		h.Add("Ratelimit", fmt.Sprintf(`"graphql";r=%d;t=%d`, b.Remaining, whole(b.Reset)))
	}
	return b, err
}

// whole is a time in seconds, rounded up.
func whole(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

func seconds(d time.Duration) string { return strconv.Itoa(whole(d)) }
