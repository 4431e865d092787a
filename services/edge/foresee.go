package edge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"

	"github.com/redis/go-redis/v9"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
)

// A GraphQL request asks Redis three things: whether its caller may send one more, whether they can pay for it, and for
// the answer. What the last two are is known when it has been read and checked; but of one that was sent before, word for
// word, it is known at once. Then all three go in one round trip, and those who want to know find that they are answered.

const (
	// maxForeseen bounds the body of a request that is read before its caller is admitted, in bytes.
	maxForeseen = 16 << 10
	// maxSeen is how many requests are remembered.
	maxSeen = 4096
)

// seen is what is known of a request that was answered before.
type seen struct {
	price int
	name  string // of the answer, by all that it depends on but the caller
}

// foreseen is what one request is expected to ask.
type foreseen struct {
	sum    [sha256.Size]byte
	price  int // that was asked for
	before *seen
	bill   *redis.IntSliceCmd // nil when nobody has asked, or when the price has been paid by it
	lookup *cache.Lookup
}

// foresee reads the request's body, and puts it back; nil for a request whose answer is not kept.
func (q queries) foresee(r *http.Request, caller *auth.Caller) *foreseen {
	if q.answers == nil || r.Method != http.MethodPost || r.URL.Path != "/graphql" || !keepsFor(caller) ||
		r.ContentLength <= 0 || r.ContentLength > maxForeseen {
		return nil
	}
	body := make([]byte, r.ContentLength)
	n, err := io.ReadFull(r.Body, body)
	r.Body = &replayed{ReadCloser: r.Body, read: bytes.NewReader(body[:n]), err: err}
	if err != nil {
		return nil
	}
	f := &foreseen{sum: sha256.Sum256(body)}
	if before, ok := q.seen.Get(f.sum); ok {
		f.before = &before
		f.lookup = q.answers.Begin(q.question(caller, before.name))
	}
	return f
}

// replayed is a body of which all was read, or as much as could be.
type replayed struct {
	io.ReadCloser

	read *bytes.Reader
	err  error
}

// Read gives what was read, and then the end, or the error that was there instead.
func (b *replayed) Read(p []byte) (int, error) {
	n, err := b.read.Read(p)
	if errors.Is(err, io.EOF) && b.err != nil {
		return n, b.err
	}
	return n, err //nolint:wrapcheck // io.EOF, bare
}

// commands are what can be asked already.
func (f *foreseen) commands(ctx context.Context, s *rates, caller *auth.Caller) []redis.Cmder {
	if f.before == nil {
		return nil
	}
	all := f.lookup.Commands(ctx)
	if s.prices.limit > 0 {
		f.bill = s.question(ctx, &s.prices, userKey(caller), f.before.price)
		all = append(all, f.bill)
	}
	return all
}

// paid is what came of paying the price; not ok when that is still to be done.
func (f *foreseen) paid(ctx context.Context, s *rates, price int) (_ left, ok bool) {
	if f == nil {
		return left{}, false
	}
	f.price = price
	bill := f.bill
	if bill == nil || f.before.price != price || bill.Err() == nil && len(bill.Val()) == 0 {
		return left{}, false
	}
	f.bill = nil
	return s.answer(ctx, &s.prices, bill, price)
}

// refund gives back what was paid for a request that has come to cost nothing, such as one too many.
func (f *foreseen) refund(ctx context.Context, s *rates, caller *auth.Caller) {
	if f == nil || f.bill == nil || f.bill.Err() != nil || len(f.bill.Val()) == 0 || f.bill.Val()[0] == 0 {
		return
	}
	ctx = context.WithoutCancel(ctx)
	s.gather.Do(ctx, s.question(ctx, &s.prices, userKey(caller), -f.before.price))
}

// look ends the look that was begun for the question, or makes one, and remembers what the request has asked for.
func (q queries) look(ctx context.Context, question *cache.Question, name string) *cache.Look {
	f := exchangeOf(ctx).foreseen
	if f == nil {
		return q.answers.Look(ctx, question)
	}
	if f.before != nil && f.before.name == name {
		return q.answers.End(ctx, f.lookup)
	}
	q.seen.Add(f.sum, seen{f.price, name})
	return q.answers.Look(ctx, question)
}
