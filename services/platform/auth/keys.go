package auth

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/go-json-experiment/json"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/remote"
)

// Keys finds the public key with an id. An id that nobody has is Unauthenticated; keys that can not be had now are
// Unavailable.
type Keys interface {
	Key(ctx context.Context, id string) (ed25519.PublicKey, error)
}

// KeysAge is how long fetched keys are believed, so that a key taken out of use is forgotten, and that a key that is
// published so long before it signs is known to everybody.
const KeysAge = 5 * time.Minute

// RemoteKeys are the keys of a JSON Web Key Set that is fetched when first needed, when it has grown old, and when a
// token names a key that is not in it.
type RemoteKeys struct {
	known *remote.Value[map[string]ed25519.PublicKey]
}

// NewRemoteKeys makes keys that come from fetch.
func NewRemoteKeys(fetch func(ctx context.Context) (jwks []byte, err error)) *RemoteKeys {
	return &RemoteKeys{remote.New(KeysAge, func(ctx context.Context) (map[string]ed25519.PublicKey, error) {
		text, err := fetch(ctx)
		if err != nil {
			return nil, fmt.Errorf("fetch the signing keys: %w", err)
		}
		return parseKeys(text)
	})}
}

// Key gives the key with the id. Known keys outlive a users service that is down: its tokens run out by themselves.
func (r *RemoteKeys) Key(ctx context.Context, id string) (ed25519.PublicKey, error) {
	keys, err := r.known.Get(ctx, func(keys map[string]ed25519.PublicKey) bool { return keys[id] != nil })
	switch {
	case keys[id] != nil:
		return keys[id], nil
	case err != nil:
		return nil, errs.New(errs.Unavailable, "Sign-in can not be checked at the moment.").Because(err)
	default:
		return nil, errs.New(errs.Unauthenticated, "The access token is not valid.").
			Because(fmt.Errorf("key %q is unknown", id))
	}
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
