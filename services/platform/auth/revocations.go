package auth

import (
	"context"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/telemetry"
)

const (
	// revocationsEvery is how often a process asks which sessions have ended. With revocationsTimeout it makes sure that
	// a token stops working within five seconds, even when one answer is lost.
	revocationsEvery   = 2 * time.Second
	revocationsTimeout = 1500 * time.Millisecond
	// revocationsLost is how many answers in a row must be lost to be worth a line in the log: a service that restarts
	// loses fewer.
	revocationsLost = 3
)

// Revoked is an answer of the service that owns sessions: those that ended since it was asked last.
type Revoked interface {
	GetSessionIds() []string
	// GetReadAt is what to ask with next time.
	GetReadAt() *timestamppb.Timestamp
	// GetLifetime is how long to remember the sessions: after it no access token of theirs is valid.
	GetLifetime() *durationpb.Duration
}

// Revocations are the sessions that ended before the access tokens that were given out for them, as far as this process
// knows: Run asks for them every two seconds. A Verifier looks here on every request, and finds without waiting.
//
// While nobody can be asked what is known stays, and no token is refused for it: a session that the service out of
// reach can not end can not have ended, and of one that ended behind a torn network the access token runs out by
// itself. A process that has just started and can reach nobody has no keys either, and so accepts nothing.
type Revocations struct {
	fetch func(ctx context.Context, since *timestamppb.Timestamp) (Revoked, error)
	ended atomic.Pointer[map[string]time.Time] // until when to remember each; never changed, only replaced
}

// NewRevocations makes the revocations that fetch tells of.
func NewRevocations(fetch func(ctx context.Context, since *timestamppb.Timestamp) (Revoked, error)) *Revocations {
	r := &Revocations{fetch: fetch}
	r.ended.Store(&map[string]time.Time{})
	return r
}

// Has reports whether the session is known to have ended. Of nil Revocations none has.
func (r *Revocations) Has(session string) bool {
	if r == nil {
		return false
	}
	_, ended := (*r.ended.Load())[session]
	return ended
}

// Run asks until ctx ends. It logs when it begins to fail and when it no longer does.
func (r *Revocations) Run(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(revocationsEvery)
	defer tick.Stop()
	var (
		since *timestamppb.Timestamp
		lost  int // answers in a row
	)
	for {
		readAt, err := r.ask(telemetry.Untraced(ctx), since)
		if err == nil {
			if lost >= revocationsLost {
				log.InfoContext(ctx, "ended sessions are known again")
			}
			since, lost = readAt, 0
		} else if lost++; lost == revocationsLost && ctx.Err() == nil {
			log.WarnContext(ctx, "ended sessions can not be asked for: what is known is kept", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ask takes in one answer, and forgets what is old.
func (r *Revocations) ask(ctx context.Context, since *timestamppb.Timestamp) (*timestamppb.Timestamp, error) {
	ctx, cancel := context.WithTimeout(ctx, revocationsTimeout)
	defer cancel()
	answer, err := r.fetch(ctx, since)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	ended := maps.Clone(*r.ended.Load())
	maps.DeleteFunc(ended, func(_ string, until time.Time) bool { return until.Before(now) })
	until := now.Add(answer.GetLifetime().AsDuration())
	for _, id := range answer.GetSessionIds() {
		if _, known := ended[id]; !known {
			ended[id] = until
		}
	}
	r.ended.Store(&ended)
	return answer.GetReadAt(), nil
}
