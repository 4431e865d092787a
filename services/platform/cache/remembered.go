package cache

import (
	"context"
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// Remembered keeps things in this process, each as of a version that a Look has read: as long as the version stays the
// same, so does the thing. The version is that of the look's Access.
type Remembered[K comparable, V any] struct {
	things *lru.Cache[K, remembered[V]]
	flight singleflight.Group
}

type remembered[V any] struct {
	epoch, version string
	thing          V
}

// Remember remembers at most so many things.
func Remember[K comparable, V any](most int) *Remembered[K, V] {
	things, err := lru.New[K, remembered[V]](most)
	if err != nil {
		panic(err) // only a size below one is an error
	}
	return &Remembered[K, V]{things: things}
}

// Known gives the thing, if it is as of the look.
func (r *Remembered[K, V]) Known(key K, look *Look) (thing V, ok bool) {
	if look.Access == "" || look.Epoch == "" {
		return thing, false
	}
	k, ok := r.things.Get(key)
	if !ok || k.version != look.Access || k.epoch != look.Epoch {
		return thing, false
	}
	return k.thing, true
}

// Keep keeps a thing that was fetched after the look.
func (r *Remembered[K, V]) Keep(key K, look *Look, thing V) {
	if look.Access != "" && look.Epoch != "" {
		r.things.Add(key, remembered[V]{look.Epoch, look.Access, thing})
	}
}

// Get gives the thing as of the look. It is fetched once for all who ask at the same time. It is not ok when the version
// can not be known, or when fetch came to nothing: whoever needs the thing asks for it then.
func (r *Remembered[K, V]) Get(ctx context.Context, key K, look *Look, fetch func(context.Context) (V, error)) (thing V, ok bool) {
	if look.Access == "" || look.Epoch == "" {
		return thing, false
	}
	if thing, ok = r.Known(key, look); ok {
		return thing, true
	}
	// Versions tell apart what one tag was at different times, and not the tags: one write gives several the same.
	v, err, _ := r.flight.Do(fmt.Sprint(key, look.Epoch, look.Access), func() (any, error) {
		thing, err := fetch(ctx)
		if err == nil {
			r.Keep(key, look, thing)
		}
		return thing, err
	})
	thing, _ = v.(V)
	return thing, err == nil
}
