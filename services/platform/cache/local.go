package cache

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// local keeps the entries used last in this process, up to so many bytes. They are believed only with the versions that
// Redis has, and so save what travels and not the question.
type local struct {
	mu    sync.Mutex
	lru   *simplelru.LRU[string, *entry]
	bytes int
	most  int
}

// maxEntries bounds the number of entries, however small they are.
const maxEntries = 100_000

func newLocal(most int) *local {
	l := &local{most: most}
	lru, err := simplelru.NewLRU(maxEntries, func(_ string, e *entry) { l.bytes -= e.size() })
	if err != nil {
		panic(err) // only a size below one is an error
	}
	l.lru = lru
	return l
}

func (l *local) get(name string) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, _ := l.lru.Get(name)
	return e
}

func (l *local) put(name string, e *entry) {
	if e.size() > l.most/8 { //nolint:mnd // one must not drive out all others
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lru.Remove(name)
	l.bytes += e.size()
	l.lru.Add(name, e)
	for l.bytes > l.most {
		l.lru.RemoveOldest()
	}
}
