package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/singleflight"

	"github.com/trackway/trackway/services/platform/telemetry"
)

const (
	// answerTime is how long an answer is kept in Redis, and with jitter up to twice as long. It is no rule about its age,
	// which the versions decide: it only clears away what nobody asks for.
	answerTime = 10 * time.Minute
	// maxAnswer bounds an answer that is kept, in bytes.
	maxAnswer = 1 << 20
	// outageCalls is how many questions at once go on to the services while there is no cache.
	outageCalls = 256
)

// Answers keeps answers and tells which of them are still right. It never gives one that is older than a write that was
// acknowledged before it was asked.
type Answers struct {
	client   redis.UniversalClient
	gather   *Gather
	late     *Gather // of what nobody waits for
	program  string  // see Apart
	log      *slog.Logger
	watch    *watch
	local    *local
	flight   singleflight.Group
	outage   chan struct{}
	requests *telemetry.Counts[outcome]
}

// NewAnswers keeps answers that depend on these services, each of which Keeps its lease. Up to memory bytes of them are
// in this process too. It believes nothing before Run.
func NewAnswers(client redis.UniversalClient, services []string, memory int, log *slog.Logger, meter metric.MeterProvider,
) (*Answers, error) {
	requests, err := telemetry.NewCounts(meter, "trackway.cache.requests", "{request}",
		"Questions by whether the cache had the answer; bypass is one that it was not asked.", outcome.labels)
	if err != nil {
		return nil, err
	}
	gather := NewGather(client, commandTimeout)
	return &Answers{
		client: client, gather: gather, late: gather, log: log, watch: newWatch(client, services), local: newLocal(memory),
		outage: make(chan struct{}, outageCalls), requests: requests,
	}, nil
}

// Ride has the answers that are kept travel with what others ask of Redis. It is for the time before Run.
func (a *Answers) Ride(with *Gather) { a.late = with }

// Apart keeps answers apart from those of other programs, which may have made them of another form. It is for the time before
// Run.
func (a *Answers) Apart(program string) { a.program = program }

// Run looks after the leases, and after answers that nobody came to ride with, until ctx ends.
func (a *Answers) Run(ctx context.Context) { a.watch.run(ctx, func() { a.late.Do(ctx) }) }

// Question is something to be answered.
type Question struct {
	Kind string // for the metrics, such as "task"
	Name string // the question, the same for everybody whom its answer is for; "" looks for the Access only
	// Tags are what the answer depends on. There are none where only the answer tells: then it is kept for one caller.
	Tags []string
	// Access is the tag of what the caller may see. Its version is read beside, and is no part of what a shared answer
	// depends on.
	Access string
}

// Look is what the cache knows about a question.
type Look struct {
	// Answer is right now, or nil.
	Answer *Answer
	// Access is the version of the caller's access; "" when it is about to change or can not be known.
	Access string

	Epoch    string // of the leases; "" when nothing is believed and nothing can be kept
	tags     []string
	versions []string // of the tags; nil when one of them is about to change
}

// CanKeep reports whether an answer that is made from now on may be kept.
func (l *Look) CanKeep() bool { return l.Epoch != "" && l.versions != nil }

// Look asks for the answer, in one round trip.
func (a *Answers) Look(ctx context.Context, q *Question) *Look { return a.End(ctx, a.Begin(q)) }

// Lookup is a look under way.
type Lookup struct {
	q      *Question
	known  *entry // in this process
	tags   []string
	keys   []string // none when there is nothing to look for
	groups [][]int
	asked  []*redis.SliceCmd // nil until somebody asks for the commands
}

// Begin begins a look, for whoever has other commands to send in the same round trip.
func (a *Answers) Begin(q *Question) *Lookup {
	if _, ok := a.watch.epoch(); !ok {
		return &Lookup{q: q}
	}
	l := &Lookup{q: q, tags: q.Tags}
	if q.Name != "" {
		l.known = a.local.get(q.Name)
	}
	if len(l.tags) == 0 && l.known != nil {
		l.tags = l.known.tags
	}
	l.keys = make([]string, 0, len(l.tags)+2) //nolint:mnd // see below
	for _, t := range l.tags {
		l.keys = append(l.keys, versionKey(t))
	}
	l.keys = append(l.keys, versionKey(q.Access))
	if l.known == nil && q.Name != "" {
		l.keys = append(l.keys, answerKey(q.first(), a.program, q.Name))
	}
	l.groups = byNode(a.client, l.keys)
	return l
}

// first is the tag that an answer lies beside.
func (q *Question) first() string {
	if len(q.Tags) > 0 {
		return q.Tags[0]
	}
	return q.Access
}

// Commands are what the look asks of Redis. Whoever calls it runs them before End, or lets it be.
func (l *Lookup) Commands(ctx context.Context) []redis.Cmder {
	if len(l.keys) == 0 {
		return nil
	}
	all := make([]redis.Cmder, len(l.groups), len(l.groups)+2) //nolint:mnd // others ride along
	l.asked = questions(ctx, l.keys, l.groups)
	for i, cmd := range l.asked {
		all[i] = cmd
	}
	return all
}

// End ends the look. What was not run, or came to nothing, is asked for now.
func (a *Answers) End(ctx context.Context, l *Lookup) *Look {
	if len(l.keys) == 0 {
		return &Look{}
	}
	found, err := collect(l.asked, l.keys, l.groups)
	if err != nil {
		if found, err = a.read(ctx, l.keys); err != nil {
			a.lost(ctx, err)
			return &Look{}
		}
	}
	n := len(l.tags)
	if len(found) == n+1 || found[n+1] == "" {
		return a.judge(ctx, l.known, l.tags, found[:n], l.q.Access, found[n])
	}
	known, err := decode(found[n+1])
	switch {
	case err != nil:
		known = nil
	case len(l.q.Tags) == 0: // whose tags are known only now
		return a.second(ctx, l.q, known, found[n])
	}
	look := a.judge(ctx, known, l.tags, found[:n], l.q.Access, found[n])
	if look.Answer != nil {
		a.local.put(l.q.Name, known)
	}
	return look
}

// second is the rest of Look for an answer from Redis that alone tells its tags.
func (a *Answers) second(ctx context.Context, q *Question, known *entry, access string) *Look {
	keys := make([]string, 0, len(known.tags))
	for _, t := range known.tags {
		keys = append(keys, versionKey(t))
	}
	found, err := a.read(ctx, keys)
	if err != nil {
		a.lost(ctx, err)
		return &Look{}
	}
	l := a.judge(ctx, known, known.tags, found, q.Access, access)
	if l.Answer != nil {
		a.local.put(q.Name, known)
	}
	return l
}

// judge says whether the entry is right, after the versions were read.
func (a *Answers) judge(ctx context.Context, known *entry, tags, versions []string, accessTag, access string) *Look {
	if hasMissing(versions) || access == "" {
		all, err := a.create(ctx, append(slices.Clone(tags), accessTag), append(slices.Clone(versions), access))
		if err != nil {
			a.lost(ctx, err)
			return &Look{}
		}
		versions, access = all[:len(tags)], all[len(tags)]
	}
	epoch, ok := a.watch.epoch()
	if !ok {
		return &Look{}
	}
	l := &Look{Epoch: epoch, tags: tags}
	if !marked(access) {
		l.Access = access
	}
	if slices.ContainsFunc(versions, marked) {
		return l
	}
	l.versions = versions
	if known != nil && known.current(epoch, versions) {
		l.Answer = &known.Answer
	}
	return l
}

func hasMissing(versions []string) bool {
	return slices.Contains(versions, "")
}

func marked(version string) bool { return strings.Contains(version, "|") }

// create gives versions to those tags that have none.
func (a *Answers) create(ctx context.Context, tags, versions []string) ([]string, error) {
	all := slices.Clone(versions)
	made := make(map[int]*redis.StringCmd)
	var cmds []redis.Cmder
	for i, v := range all {
		if v == "" {
			key := versionKey(tags[i])
			made[i] = redis.NewStringCmd(ctx, "get", key) // ours, or another reader's
			cmds = append(cmds, redis.NewStatusCmd(ctx, "set", key, NewMark(), "px", versionTime.Milliseconds(), "nx"), made[i])
		}
	}
	a.gather.Do(ctx, cmds...)
	for i, cmd := range made {
		if cmd.Err() != nil {
			return nil, fmt.Errorf("begin versions: %w", cmd.Err())
		}
		all[i] = cmd.Val()
	}
	return all, nil
}

// Keep keeps an answer that was made after the look, for as long as nothing of what it depends on changes.
func (a *Answers) Keep(ctx context.Context, q *Question, l *Look, answer *Answer) {
	if l.CanKeep() {
		a.keep(ctx, q, &entry{Answer: *answer, epoch: l.Epoch, tags: l.tags, versions: l.versions})
	}
}

func (a *Answers) keep(ctx context.Context, q *Question, e *entry) {
	if len(e.Body) > maxAnswer {
		return
	}
	a.local.put(q.Name, e)
	life := answerTime + mathrand.N(answerTime) //nolint:gosec // no secret
	body := e.encode()
	cmd := redis.NewStatusCmd(ctx, "set", answerKey(q.first(), a.program, q.Name), body, "px", life.Milliseconds())
	if a.late.Later(ctx, cmd, len(body), func(err error) { a.lost(context.WithoutCancel(ctx), err) }) {
		return
	}
	if a.gather.Do(ctx, cmd); cmd.Err() != nil {
		a.lost(ctx, cmd.Err())
	}
}

// Once lets one of those who ask the same at the same time make the answer, and gives it to all of them. The others get
// nil when it came to nothing, and make their own.
func (a *Answers) Once(q *Question, l *Look, answered func() *Answer) (answer *Answer, own bool) {
	v, _, _ := a.flight.Do(q.Name+"\x00"+l.Epoch+"\x00"+strings.Join(l.versions, " "), func() (any, error) {
		own = true
		return answered(), nil
	})
	answer, _ = v.(*Answer)
	return answer, own
}

// Throttle bounds how many questions at once go on to the services while there is no cache to spare them. It returns
// what to call when one is through.
func (a *Answers) Throttle(ctx context.Context, l *Look) (done func(), err error) {
	if l.Epoch != "" {
		return func() {}, nil
	}
	select {
	case a.outage <- struct{}{}:
		return func() { <-a.outage }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a turn: %w", ctx.Err())
	}
}

// outcome is what became of questions that are counted together.
type outcome struct{ kind, outcome string }

func (o outcome) labels() []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("kind", o.kind), attribute.String("outcome", o.outcome)}
}

// Count counts a question with its outcome: hit, miss or bypass.
func (a *Answers) Count(ctx context.Context, kind, what string) {
	a.requests.Add(ctx, outcome{kind, what})
}

// read gives the values of the keys, "" for those that are not there, in one round trip.
func (a *Answers) read(ctx context.Context, keys []string) ([]string, error) {
	groups := byNode(a.client, keys)
	asked := questions(ctx, keys, groups)
	cmds := make([]redis.Cmder, len(asked))
	for i, cmd := range asked {
		cmds[i] = cmd
	}
	a.gather.Do(ctx, cmds...)
	return collect(asked, keys, groups)
}

// questions read the keys, one for each group, and collect gives what they have read.
func questions(ctx context.Context, keys []string, groups [][]int) []*redis.SliceCmd {
	asked := make([]*redis.SliceCmd, 0, len(groups))
	for _, group := range groups {
		args := make([]any, 1, 1+len(group))
		args[0] = "mget"
		for _, i := range group {
			args = append(args, keys[i])
		}
		asked = append(asked, redis.NewSliceCmd(ctx, args...))
	}
	return asked
}

var errNotAsked = errors.New("nobody has asked")

func collect(asked []*redis.SliceCmd, keys []string, groups [][]int) ([]string, error) {
	if asked == nil {
		return nil, errNotAsked
	}
	found := make([]string, len(keys))
	for g, cmd := range asked { // one for each group
		group := groups[g]
		values, err := cmd.Result()
		if err != nil {
			return nil, fmt.Errorf("read versions: %w", err)
		}
		if len(values) != len(group) { // of a pipeline that was never sent
			return nil, errNotAsked
		}
		for n, i := range group {
			found[i], _ = values[n].(string)
		}
	}
	return found, nil
}

// lost ends all belief after Redis could not be asked: until it answers the watch, nobody else waits for it.
func (a *Answers) lost(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // the client has gone
	}
	a.watch.distrust()
	a.log.DebugContext(ctx, "the cache is left out", "error", err)
}
