package app

import (
	"sync"
	"time"

	"google.golang.org/grpc/resolver"
)

// The addresses of a service are looked up this often, so that new replicas get calls, and those that are about to stop
// get no more. By itself gRPC looks again only when a connection ends, and not before half a minute has passed.
const (
	lookAgainEvery   = 2 * time.Second
	lookAgainSoonest = 500 * time.Millisecond
)

// lookAgain makes resolvers of another builder look again all the time.
type lookAgain struct{ resolver.Builder }

// Build starts a resolver, and what wakes it.
func (b lookAgain) Build(target resolver.Target, cc resolver.ClientConn, opts resolver.BuildOptions) (resolver.Resolver, error) {
	r, err := b.Builder.Build(target, cc, opts)
	if err != nil {
		return nil, err
	}
	w := &woken{Resolver: r, end: make(chan struct{})}
	w.waker.Go(w.wake)
	return w, nil
}

type woken struct {
	resolver.Resolver

	end   chan struct{}
	waker sync.WaitGroup
}

func (w *woken) wake() {
	tick := time.NewTicker(lookAgainEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.end:
			return
		case <-tick.C:
			w.ResolveNow(resolver.ResolveNowOptions{})
		}
	}
}

// Close ends both.
func (w *woken) Close() {
	close(w.end)
	w.waker.Wait()
	w.Resolver.Close()
}
