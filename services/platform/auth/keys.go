package auth

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"sync"
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

	mu      sync.Mutex
	keys    map[string]ed25519.PublicKey
	fetched time.Time
	tried   time.Time
}

// NewRemoteKeys makes keys that come from fetch.
func NewRemoteKeys(fetch func(ctx context.Context) (jwks []byte, err error)) *RemoteKeys {
	return &RemoteKeys{fetch: fetch}
}

// Key gives the key with the id.
func (r *RemoteKeys) Key(ctx context.Context, id string) (ed25519.PublicKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, known := r.keys[id]
	now := time.Now()
	if known && now.Sub(r.fetched) < keysAge {
		return key, nil
	}
	if r.keys == nil || now.Sub(r.tried) >= keysPause {
		r.tried = now
		if err := r.refresh(ctx, now); err != nil && !known {
			return nil, errs.New(errs.Unavailable, "Sign-in can not be checked at the moment.").Because(err)
		}
		// Known keys outlive a users service that is down: its tokens run out by themselves.
		if fresh, ok := r.keys[id]; ok {
			return fresh, nil
		}
	}
	if key, ok := r.keys[id]; ok {
		return key, nil
	}
	return nil, errs.New(errs.Unauthenticated, "The access token is not valid.").
		Because(fmt.Errorf("key %q is unknown", id))
}

func (r *RemoteKeys) refresh(ctx context.Context, now time.Time) error {
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
	r.keys, r.fetched = keys, now
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
