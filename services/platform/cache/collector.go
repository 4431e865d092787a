package cache

import (
	"context"
	"sync"
)

// Collector finds out, while an answer is made, what it depends on. The version of a tag is read before the call that
// depends on it.
type Collector struct {
	answers *Answers
	epoch   string

	mu       sync.Mutex
	versions map[string]string // by tag
	refused  bool
}

type collectorKey struct{}

// Collect puts a collector into the context for an answer that is made after the look; nil when it can not be kept.
func (a *Answers) Collect(ctx context.Context, l *Look) (context.Context, *Collector) {
	if l.Epoch == "" || l.Access == "" {
		return ctx, nil
	}
	c := &Collector{answers: a, epoch: l.Epoch, versions: make(map[string]string)}
	return context.WithValue(ctx, collectorKey{}, c), c
}

// Need says that what is fetched next for the answer of ctx depends on the tags.
func Need(ctx context.Context, tags ...string) {
	if c, ok := ctx.Value(collectorKey{}).(*Collector); ok {
		c.need(ctx, tags)
	}
}

// Seen is what Need has read of a tag for the answer of ctx; its version is the look's Access, and "" if nobody needs the
// tag or it is about to change.
func Seen(ctx context.Context, tag string) *Look {
	c, ok := ctx.Value(collectorKey{}).(*Collector)
	if !ok {
		return &Look{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &Look{Epoch: c.epoch}
	if v := c.versions[tag]; !marked(v) {
		l.Access = v
	}
	return l
}

// Refuse says that the answer of ctx can not be kept: it depends on what has no tag.
func Refuse(ctx context.Context) {
	if c, ok := ctx.Value(collectorKey{}).(*Collector); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.refused = true
	}
}

// maxTags bounds what an answer that is kept depends on: a hit reads them all.
const maxTags = 200

func (c *Collector) need(ctx context.Context, tags []string) {
	c.mu.Lock() // while it reads, too: nobody may fetch what depends on a version that is not known yet
	defer c.mu.Unlock()
	var fresh []string
	for _, t := range tags {
		if _, known := c.versions[t]; !known {
			c.versions[t] = ""
			fresh = append(fresh, t)
		}
	}
	if len(fresh) == 0 || c.refused {
		return
	}
	if len(c.versions) > maxTags {
		c.refused = true
		return
	}
	versions, err := c.answers.present(ctx, fresh)
	if err != nil {
		c.refused = true
		c.answers.lost(ctx, err)
		return
	}
	// Versions of a server that has come back from an old snapshot mean nothing: what depends on them is not known.
	if epoch, ok := c.answers.watch.epoch(); !ok || epoch != c.epoch {
		c.refused = true
		return
	}
	for i, t := range fresh {
		c.versions[t] = versions[i]
		c.refused = c.refused || marked(versions[i])
	}
}

// Keep keeps the answer that was made, unless something stands against it.
func (c *Collector) Keep(ctx context.Context, q *Question, answer *Answer) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused || len(c.versions) == 0 {
		return
	}
	e := &entry{
		Answer: *answer, epoch: c.epoch, tags: make([]string, 0, len(c.versions)), versions: make([]string, 0, len(c.versions)),
	}
	for t, v := range c.versions {
		e.tags = append(e.tags, t)
		e.versions = append(e.versions, v)
	}
	c.answers.keep(ctx, q, e)
}

// present gives the versions of the tags, and makes those that are not there.
func (a *Answers) present(ctx context.Context, tags []string) ([]string, error) {
	keys := make([]string, 0, len(tags))
	for _, t := range tags {
		keys = append(keys, versionKey(t))
	}
	versions, err := a.read(ctx, keys)
	if err != nil || !hasMissing(versions) {
		return versions, err
	}
	return a.create(ctx, tags, versions)
}

// Collecting reports whether the answer of ctx may be kept, as far as is known.
func Collecting(ctx context.Context) bool {
	_, ok := ctx.Value(collectorKey{}).(*Collector)
	return ok
}
