package auth

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/errs"
)

// sessions stands in for the service that owns sessions.
type sessions struct {
	mu    sync.Mutex
	ended map[string]time.Time
	down  bool
	slow  bool
	asked []time.Time // since when
}

func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[id] = time.Now()
}

func (s *sessions) list(ctx context.Context, since *timestamppb.Timestamp) (Revoked, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, since.AsTime())
	switch {
	case s.slow:
		s.slow = false
		<-ctx.Done()
		return nil, ctx.Err()
	case s.down:
		return nil, errors.New("out of reach")
	}
	a := answer{readAt: time.Now()}
	for id, at := range s.ended {
		if !at.Before(since.AsTime()) {
			a.ids = append(a.ids, id)
		}
	}
	return a, nil
}

type answer struct {
	ids    []string
	readAt time.Time
}

//nolint:revive // the generated name
func (a answer) GetSessionIds() []string           { return a.ids }
func (a answer) GetReadAt() *timestamppb.Timestamp { return timestamppb.New(a.readAt) }
func (a answer) GetLifetime() *durationpb.Duration { return durationpb.New(10 * time.Minute) }

func (s *sessions) set(down, slow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down, s.slow = down, slow
}

// running gives revocations that are kept up to date until the test ends, beside their stand-in and their log.
func running(t *testing.T) (*Revocations, *sessions, *strings.Builder) {
	t.Helper()
	s := &sessions{ended: make(map[string]time.Time)}
	r := NewRevocations(s.list)
	var log strings.Builder
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx, slog.New(slog.NewTextHandler(&log, nil)))
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	synctest.Wait()
	return r, s, &log
}

func TestTheTokensOfAnEndedSessionStopWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]bool{"": false, "with one answer lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				i, v := issuing(t, 10*time.Minute)
				r, s, _ := running(t)
				v.ended = r
				var tokens []string
				for _, session := range []string{"ends", "goes on", ""} {
					token, err := i.Issue(7, false, session)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := v.Verify(t.Context(), token); err != nil { // and so is remembered
						t.Fatal(err)
					}
					tokens = append(tokens, token)
				}
				<-time.After(time.Millisecond) // just after an answer: the longest to wait
				s.end("ends")
				s.set(false, slow)
				<-time.After(5 * time.Second)
				if c, err := v.Verify(t.Context(), tokens[0]); c != nil || !errs.Is(err, errs.Unauthenticated) {
					t.Errorf("the ended session's: got %+v, %v, want %v", c, err, errs.Unauthenticated)
				}
				for _, token := range tokens[1:] {
					if _, err := v.Verify(t.Context(), token); err != nil {
						t.Errorf("another: got %v, want no error", err)
					}
				}
				fresh, err := i.Issue(7, false, "ends")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := v.Verify(t.Context(), fresh); !errs.Is(err, errs.Unauthenticated) {
					t.Errorf("one of the ended session that was never seen: got %v, want %v", err, errs.Unauthenticated)
				}
			})
		})
	}
}

func TestWhatIsKnownIsKeptWhileNobodyCanBeAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s, log := running(t)
		s.end("first")
		<-time.After(2 * revocationsEvery)
		s.set(true, false)
		<-time.After(10 * revocationsEvery)
		s.end("second")
		if !r.Has("first") || r.Has("second") || r.Has("never") {
			t.Errorf("while nobody can be asked: got first %v, second %v, want only the first", r.Has("first"), r.Has("second"))
		}
		s.set(false, false)
		<-time.After(2 * revocationsEvery)
		synctest.Wait()
		if !r.Has("first") || !r.Has("second") {
			t.Errorf("afterwards: got first %v, second %v, want both", r.Has("first"), r.Has("second"))
		}
		if got := strings.Count(log.String(), "\n"); got != 2 {
			t.Errorf("log: got %d lines, want that it began and that it is over:\n%s", got, log)
		}
		<-time.After(11 * time.Minute)
		synctest.Wait()
		if r.Has("first") || len(*r.ended.Load()) != 0 {
			t.Errorf("when all its tokens are over: got %v, want nothing", *r.ended.Load())
		}
		if last := s.asked[len(s.asked)-1]; time.Since(last) > 2*revocationsEvery {
			t.Errorf("the last question: got since %v, want only what is new", last)
		}
	})
}

func TestADeviceTravelsAsPlainText(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"": "", " ": "", "App/1.0 (Phone)": "App/1.0 (Phone)", "ä\x00b\r\nc: d": "bc: d", strings.Repeat("x", 300): strings.Repeat("x", maxDevice),
		strings.Repeat("ä", 300): "",
	} {
		out, _ := metadata.FromOutgoingContext(WithDevice(t.Context(), name))
		if got := DeviceFrom(metadata.NewIncomingContext(t.Context(), out)); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func BenchmarkVerifyRemembered(b *testing.B) {
	i, v := issuing(b, time.Hour)
	v.ended = NewRevocations(nil)
	token, err := i.Issue(7, false, "8e03978e-40d5-43e8-bc93-6894a57f9324")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := v.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
