package auth

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/go-json-experiment/json"

	"github.com/trackway/trackway/services/platform/errs"
)

// Keys finds the public key with an id. An id that nobody has is Unauthenticated; keys that can not be had now are
// Unavailable.
type Keys interface {
	Key(ctx context.Context, id string) (ed25519.PublicKey, error)
}

// keysAge is how long fetched keys are believed, so that a key taken out of use is forgotten.
const keysAge = 5 * time.Minute

// keysPause is the least time between two fetches, so that tokens with made-up key ids cause no load.
const keysPause = 2 * time.Second

// fetchTimeout bounds one fetch.
const fetchTimeout = 5 * time.Second

// RemoteKeys are the keys of a JSON Web Key Set that is fetched when first needed, when it has grown old, and when a
// token names a key that is not in it.
type RemoteKeys struct {
	fetch func(ctx context.Context) (jwks []byte, err error)
	known atomic.Pointer[keySet]

	turn  chan struct{} // holds one while somebody fetches; what follows is theirs
	tried time.Time     // when the last fetch ended
	err   error         // what it ended with
}

type keySet struct {
	keys    map[string]ed25519.PublicKey
	fetched time.Time
}

// NewRemoteKeys makes keys that come from fetch.
func NewRemoteKeys(fetch func(ctx context.Context) (jwks []byte, err error)) *RemoteKeys {
	r := &RemoteKeys{fetch: fetch, turn: make(chan struct{}, 1)}
	r.known.Store(&keySet{})
	return r
}

// Key gives the key with the id.
func (r *RemoteKeys) Key(ctx context.Context, id string) (ed25519.PublicKey, error) {
	asked := time.Now()
	if set := r.known.Load(); set.keys[id] != nil && asked.Sub(set.fetched) < keysAge {
		return set.keys[id], nil // out of turn: a made-up key id holds up nobody but its sender
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
	// Those who waited for a fetch take what it brought, also when it failed: one by one they would wait for ever.
	first := r.known.Load().keys == nil && asked.After(r.tried)
	if first || time.Since(r.tried) >= keysPause {
		r.err = r.refresh(ctx)
		r.tried = time.Now()
	}
	// Known keys outlive a users service that is down: its tokens run out by themselves.
	if key := r.known.Load().keys[id]; key != nil {
		return key, nil
	}
	if r.err != nil {
		return nil, unavailable(r.err)
	}
	return nil, errs.New(errs.Unauthenticated, "The access token is not valid.").
		Because(fmt.Errorf("key %q is unknown", id))
}

func unavailable(err error) error {
	return errs.New(errs.Unavailable, "Sign-in can not be checked at the moment.").Because(err)
}

func (r *RemoteKeys) refresh(ctx context.Context) error {
	// Of one caller's context only the values: its cancellation must not fail those who wait for the same keys.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	text, err := r.fetch(ctx)
	if err != nil {
		return fmt.Errorf("fetch the signing keys: %w", err)
	}
	keys, err := parseKeys(text)
	if err != nil {
		return err
	}
	r.known.Store(&keySet{keys: keys, fetched: time.Now()})
	return nil
}

// parseKeys reads the Ed25519 keys of a JSON Web Key Set, and leaves out all others.
func parseKeys(jwks []byte) (map[string]ed25519.PublicKey, error) {
	var set jwkset.JWKSMarshal
	if err := json.Unmarshal(jwks, &set); err != nil {
		return nil, fmt.Errorf("read the signing keys: %w", err)
	}
	all, err := set.JWKSlice()
	if err != nil {
		return nil, fmt.Errorf("read the signing keys: %w", err)
	}
	keys := make(map[string]ed25519.PublicKey)
	for _, k := range all {
		if public, ok := k.Key().(ed25519.PublicKey); ok {
			keys[k.Marshal().KID] = public
		}
	}
	return keys, nil
}
