package cache

import (
	"context"
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// Remembered keeps things in this process, each as of a version that a Look has read: as long as the version stays the
// same, so does the thing.
type Remembered[K comparable, V any] struct {
	known  *lru.Cache[K, remembered[V]]
	flight singleflight.Group
	fetch  func(ctx context.Context, key K) (V, error)
}

type remembered[V any] struct {
	epoch, version string
	thing          V
}

// Remember remembers at most so many things. fetch gets one.
func Remember[K comparable, V any](most int, fetch func(ctx context.Context, key K) (V, error)) *Remembered[K, V] {
	known, err := lru.New[K, remembered[V]](most)
	if err != nil {
		panic(err) // only a size below one is an error
	}
	return &Remembered[K, V]{known: known, fetch: fetch}
}

// Get gives the thing as of the look, whose Access is its version. It is fetched once for all who ask at the same time.
// It is not ok when the version can not be known, or when that came to nothing: whoever needs the thing asks for it then.
func (r *Remembered[K, V]) Get(ctx context.Context, key K, look *Look) (thing V, ok bool) {
	if look.Access == "" || look.Epoch == "" {
		return thing, false
	}
	if k, known := r.known.Get(key); known && k.version == look.Access && k.epoch == look.Epoch {
		return k.thing, true
	}
	// Versions tell apart what one tag was at different times, and not the tags: one write gives several the same.
	v, err, _ := r.flight.Do(fmt.Sprint(key, look.Epoch, look.Access), func() (any, error) {
		thing, err := r.fetch(ctx, key)
		if err == nil {
			r.known.Add(key, remembered[V]{look.Epoch, look.Access, thing})
		}
		return thing, err
	})
	thing, _ = v.(V)
	return thing, err == nil
}
