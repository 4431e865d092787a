package auth

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trackway/trackway/services/platform/errs"
)

// What package remote promises: the least time between two fetches, and the most that one takes.
const (
	keysPause    = 2 * time.Second
	fetchTimeout = 5 * time.Second
)

// source is where keys are fetched from.
type source struct {
	issuer *Issuer
	takes  time.Duration
	err    error

	fetched int
}

func (s *source) fetch(ctx context.Context) ([]byte, error) {
	s.fetched++
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.err != nil {
		return nil, s.err
	}
	return s.issuer.JWKS()
}

// origin gives keys that come from a source, and the id of the one that is there.
func origin(t *testing.T) (*source, *RemoteKeys, string) {
	t.Helper()
	i, _ := issuing(t, time.Minute)
	s := &source{issuer: i}
	return s, NewRemoteKeys(s.fetch), i.keys.Load().signs.ID
}

func expect(t *testing.T, what string, r *RemoteKeys, id string, want errs.Code) {
	t.Helper()
	key, err := r.Key(t.Context(), id)
	if want == "" && (err != nil || key == nil) || want != "" && (key != nil || !errs.Is(err, want)) {
		t.Errorf("%s: got %v, %v, want %q", what, key, err, want)
	}
}

func (s *source) expect(t *testing.T, want int) {
	t.Helper()
	if s.fetched != want {
		t.Errorf("fetches: got %d, want %d", s.fetched, want)
	}
}

func TestMadeUpKeyIDsCauseNoLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r, id := origin(t)
		expect(t, "the first key", r, id, "")
		for range 100 {
			expect(t, "a made-up key", r, "made up", errs.Unauthenticated)
			expect(t, "the key", r, id, "")
		}
		s.expect(t, 1)
		<-time.After(keysPause)
		expect(t, "a made-up key", r, "made up", errs.Unauthenticated)
		expect(t, "a made-up key", r, "another", errs.Unauthenticated)
		s.expect(t, 2)
		// A key that is really new is found as soon.
		i, _ := issuing(t, time.Minute)
		s.issuer.Use(s.issuer.keys.Load().signs, s.issuer.Also(i.keys.Load().published)...)
		<-time.After(keysPause)
		expect(t, "a new key", r, i.keys.Load().signs.ID, "")
		s.expect(t, 3)
		<-time.After(KeysAge - 1)
		expect(t, "the key", r, id, "")
		s.expect(t, 3)
	})
}

func TestAKeyTakenOutOfUseIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r, id := origin(t)
		expect(t, "the key", r, id, "")
		s.issuer, _ = issuing(t, time.Minute)
		<-time.After(KeysAge)
		expect(t, "the key out of use", r, id, errs.Unauthenticated)
		expect(t, "the key that follows it", r, s.issuer.keys.Load().signs.ID, "")
		s.expect(t, 2)
	})
}

func TestKnownKeysOutliveTheirSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r, id := origin(t)
		s.err = errors.New("down")
		expect(t, "nothing known", r, id, errs.Unavailable)
		s.err = nil
		<-time.After(1)
		expect(t, "back again", r, id, "")
		s.err = errors.New("down")
		<-time.After(10 * KeysAge)
		expect(t, "a known key", r, id, "")
		for range 3 { // nobody can say now whether there is such a key
			expect(t, "an unknown key", r, "unknown", errs.Unavailable)
		}
		s.expect(t, 3)
	})
}

func TestWhoeverWaitsForKeysWaitsForOneFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, r, id := origin(t)
		ask := func(id string, want errs.Code) time.Duration {
			begin := time.Now()
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() { expect(t, "one of twenty", r, id, want) })
			}
			wg.Wait()
			return time.Since(begin)
		}
		s.takes = time.Hour
		if got := ask(id, errs.Unavailable); got != fetchTimeout {
			t.Errorf("a source that hangs: got %v, want %v", got, fetchTimeout)
		}
		s.takes = time.Second
		<-time.After(1)
		if got := ask(id, ""); got != time.Second {
			t.Errorf("a slow source: got %v, want %v", got, time.Second)
		}
		s.expect(t, 2)

		// Nobody waits longer than its own deadline.
		s.takes = time.Hour
		<-time.After(keysPause)
		var wg sync.WaitGroup
		wg.Go(func() { expect(t, "a made-up key", r, "made up", errs.Unavailable) })
		synctest.Wait()
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Key(ctx, "made up"); !errs.Is(err, errs.Unavailable) || time.Since(begin) != time.Second {
			t.Errorf("a caller with a deadline of a second: got %v after %v, want %v", err, time.Since(begin), errs.Unavailable)
		}
		// A key that is known waits for nothing, also when others wait for one that is not.
		if got := ask(id, ""); got != 0 {
			t.Errorf("a known key: got %v, want no wait", got)
		}
		wg.Wait()
	})
}

func TestKeysThatAreNoneOfOursAreLeftOut(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"keys":[]}`,
		`{"keys":[{"kty":"oct","kid":"id","alg":"HS256","k":"c2VjcmV0"}]}`,
	} {
		r := NewRemoteKeys(func(context.Context) ([]byte, error) { return []byte(text), nil })
		expect(t, text, r, "id", errs.Unauthenticated)
	}
	for _, text := range []string{"", "null and void", `{"keys":[{"kty":"OKP","kid":"id","crv":"Ed25519","x":"AA"}]}`} {
		r := NewRemoteKeys(func(context.Context) ([]byte, error) { return []byte(text), nil })
		expect(t, text, r, "id", errs.Unavailable)
	}
}
