// Package peers lets the replicas of a service share what lives in the memory of one of them. Redis knows which replica
// has a thing, for as long as that one says so, and carries questions to it and its answers back.
package peers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"
)

// Why a replica does not get what it wants. Other errors say that Redis, or the replica asked, is out of reach.
var (
	// ErrNone says that there is no such thing.
	ErrNone = errors.New("no replica has it, and it is not reserved")
	// ErrReserved says that nobody has the thing yet.
	ErrReserved = errors.New("it is reserved, and no replica has it")
	// ErrTaken says that a replica has the thing already.
	ErrTaken = errors.New("a replica has it")
	// ErrMany says that there are as many things of this owner as there may be.
	ErrMany = errors.New("there are too many")
)

// maxAnswering is how many questions a replica answers at once. What is beyond is lost, and the asker told by its own
// deadline.
const maxAnswering = 256

// Peers are the replicas, as one of them sees them.
type Peers struct {
	client redis.UniversalClient
	name   string // of the things
	me     string // the channel of this replica

	mu      sync.Mutex
	waiting map[string]chan []byte // for answers, by the question
}

// New makes the peers who share the things of that name.
func New(client redis.UniversalClient, name string) *Peers {
	return &Peers{client: client, name: name, me: name + "-replica:" + rand.Text(), waiting: make(map[string]chan []byte)}
}

// A thing has a key, which lasts as long as the thing is reserved or had, and holds the channel of the replica that has
// it. The things of one owner are in a sorted set besides, by when they end, so that they can be counted. The owner is the
// keys' hash tag: a script runs on one node of a Cluster.
func (p *Peers) keys(owner int64, thing string) []string {
	all := p.name + ":{" + strconv.FormatInt(owner, 10) + "}"
	return []string{all, all + ":" + thing}
}

// holdScript makes a thing last until ARGV[4] milliseconds from now. ARGV[1] is what it depends on: to reserve there may
// be no more than ARGV[5] of the owner's, to claim it must be reserved, to keep nothing. ARGV[2] is the thing, ARGV[3] the
// replica that has it.
//
//nolint:dupword // Lua ends its blocks so
const holdScript = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if ARGV[1] == 'reserve' then
	redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
	if redis.call('ZCARD', KEYS[1]) >= ARGV[5] + 0 then return 'many' end
elseif ARGV[1] == 'claim' then
	local has = redis.call('GET', KEYS[2])
	if not has then return 'none' end
	if has ~= '' and has ~= ARGV[3] then return 'taken' end
end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[4]), ARGV[2])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last[2] + 0))
return 'held'`

func (p *Peers) hold(ctx context.Context, how string, owner int64, thing, by string, last time.Duration, most int) error {
	said, err := redis.NewScript(holdScript).Run(ctx, p.client, p.keys(owner, thing), how, thing, by, last.Milliseconds(), most).Text()
	switch {
	case err != nil:
		return fmt.Errorf("%s what replicas share: %w", how, err)
	case said == "many":
		return ErrMany
	case said == "none":
		return ErrNone
	case said == "taken":
		return ErrTaken
	}
	return nil
}

// Reserve makes a thing of the owner's that any replica may claim, unless there are most already: it is ErrMany then.
func (p *Peers) Reserve(ctx context.Context, owner int64, thing string, last time.Duration, most int) error {
	return p.hold(ctx, "reserve", owner, thing, "", last, most)
}

// Claim makes this replica the one that has a reserved thing. Of several replicas that claim it one succeeds, and the others
// get ErrTaken; it is ErrNone if it is not reserved. The one may claim it again: the answer may have got lost.
func (p *Peers) Claim(ctx context.Context, owner int64, thing string, last time.Duration) error {
	return p.hold(ctx, "claim", owner, thing, p.me, last, 0)
}

// Keep says that this replica has the thing still, whatever Redis knew of it.
func (p *Peers) Keep(ctx context.Context, owner int64, thing string, last time.Duration) error {
	return p.hold(ctx, "keep", owner, thing, p.me, last, 0)
}

// Release ends a thing.
func (p *Peers) Release(ctx context.Context, owner int64, thing string) error {
	keys := p.keys(owner, thing)
	_, err := p.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.ZRem(ctx, keys[0], thing)
		pipe.Del(ctx, keys[1])
		return nil
	})
	if err != nil {
		return fmt.Errorf("release what replicas share: %w", err)
	}
	return nil
}

// message goes from one replica to another: a question, which names who asks, or its answer.
type message struct {
	ID    string `json:"id"`
	From  string `json:"from,omitempty"`
	Thing string `json:"thing,omitempty"`
	Body  []byte `json:"body,omitempty"`
}

// Ask asks the replica that has the thing, and waits for its answer until ctx ends. It is ErrNone or ErrReserved if there is
// nobody to ask.
func (p *Peers) Ask(ctx context.Context, owner int64, thing string, question []byte) (answer []byte, err error) {
	to, err := p.client.Get(ctx, p.keys(owner, thing)[1]).Result()
	switch {
	case errors.Is(err, redis.Nil) || to == p.me: // whoever asks has looked here
		return nil, ErrNone
	case err != nil:
		return nil, fmt.Errorf("find the replica to ask: %w", err)
	case to == "":
		return nil, ErrReserved
	}
	m := message{ID: rand.Text(), From: p.me, Thing: thing, Body: question}
	answers := make(chan []byte, 1)
	p.mu.Lock()
	p.waiting[m.ID] = answers
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.waiting, m.ID)
	}()
	if err := p.send(ctx, to, m); err != nil {
		return nil, err
	}
	select {
	case answer := <-answers:
		return answer, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another replica's answer: %w", ctx.Err())
	}
}

func (p *Peers) send(ctx context.Context, to string, m message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write to another replica: %w", err)
	}
	if err := p.client.Publish(ctx, to, text).Err(); err != nil {
		return fmt.Errorf("send to another replica: %w", err)
	}
	return nil
}

// Run takes what other replicas send, until ctx ends. answer answers a question about a thing, within timeout.
func (p *Peers) Run(ctx context.Context, timeout time.Duration, answer func(ctx context.Context, thing string, question []byte) []byte) {
	messages := p.client.Subscribe(ctx, p.me)
	defer messages.Close() //nolint:errcheck // it is not used any more
	var answering sync.WaitGroup
	defer answering.Wait()
	room := make(chan struct{}, maxAnswering)
	came := messages.Channel() // which connects again, for as long as it takes
	for {
		select {
		case <-ctx.Done():
			return
		case text, open := <-came:
			if !open {
				return
			}
			var m message
			if json.Unmarshal([]byte(text.Payload), &m) != nil {
				continue // nobody who knows how to ask
			}
			if m.From == "" {
				p.answered(m)
				continue
			}
			select {
			case room <- struct{}{}:
			default:
				continue
			}
			answering.Go(func() {
				defer func() { <-room }()
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
				defer cancel()
				reply := message{ID: m.ID, Body: answer(ctx, m.Thing, m.Body)}
				_ = p.send(ctx, m.From, reply) // who asks has a deadline
			})
		}
	}
}

func (p *Peers) answered(m message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if answers, ok := p.waiting[m.ID]; ok {
		answers <- m.Body
		delete(p.waiting, m.ID)
	}
}
