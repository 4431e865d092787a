package events

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxStream is about how many events a stream keeps; what is older is read from the service.
const maxStream = 10_000

// Stream is the key of the Redis Stream that a service's events are published to.
func Stream(service string) string { return "events:" + service }

// Publisher is the consumer that adds every event to the service's Redis Stream. The id of an entry is the event's
// position, so Redis itself refuses what is there already, and readers of the stream and of the table agree on places.
func Publisher(client redis.UniversalClient, service string) Consumer {
	p := publisher{client, Stream(service)}
	return Consumer{
		Name:   "redis",
		Handle: func(ctx context.Context, records []Record) error { _, err := p.add(ctx, records...); return err },
		Idle:   p.again,
	}
}

type publisher struct {
	client redis.UniversalClient
	stream string
}

// add adds the records, and says how many of them are new to the stream.
func (p publisher) add(ctx context.Context, records ...Record) (added int, err error) {
	results, err := p.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i := range records {
			pipe.XAdd(ctx, &redis.XAddArgs{
				Stream: p.stream, MaxLen: maxStream, Approx: true, ID: records[i].Position.String(), Values: encode(&records[i]),
			})
		}
		return nil
	})
	for _, r := range results {
		switch {
		case r.Err() == nil:
			added++
		case !old(r.Err()):
			return added, fmt.Errorf("add an event to a stream: %w", r.Err())
		}
	}
	if err != nil && !old(err) {
		return added, fmt.Errorf("add events to a stream: %w", err)
	}
	return added, nil
}

// old reports whether Redis refused an entry because it has that one, or a later one. Redis has no codes for errors.
func old(err error) bool {
	return strings.Contains(err.Error(), "equal or smaller than the target stream top item")
}

// again adds the last event once more. Redis refuses it, unless it has lost the stream: then those who read it see by
// the entry that they have missed something. A stream that is ahead of the table is that of another database, such as
// one before a restore, and goes.
func (p publisher) again(ctx context.Context, last Record) error {
	if added, err := p.add(ctx, last); err != nil || added > 0 {
		return err
	}
	top, err := p.client.XRevRangeN(ctx, p.stream, "+", "-", 1).Result()
	if err != nil || len(top) == 0 {
		return err
	}
	if at, err := ParsePosition(top[0].ID); err != nil || !last.Position.Before(at) {
		return err
	}
	if err := p.client.Del(ctx, p.stream).Err(); err != nil {
		return fmt.Errorf("drop a stream: %w", err)
	}
	_, err = p.add(ctx, last)
	return err
}

// The names of an entry's values are short, since every entry repeats them.
const (
	keyPrevious  = "p"
	keyTime      = "t"
	keyType      = "e"
	keySubject   = "s"
	keyProject   = "j"
	keyActor     = "a"
	keyVersion   = "v"
	keyPayload   = "b"
	keyChanged   = "c"
	keyAudience  = "u"
	keyTraceback = "r"
)

func encode(r *Record) []string {
	values := []string{
		keyPrevious, r.Previous.String(), keyTime, strconv.FormatInt(r.OccurredAt.UnixMicro(), 10), keyType, r.Type,
		keySubject, strconv.FormatInt(r.SubjectID, 10), keyProject, strconv.FormatInt(r.ProjectID, 10),
		keyActor, strconv.FormatInt(r.ActorID, 10), keyVersion, strconv.FormatInt(r.Version, 10), keyPayload, string(r.Payload),
	}
	if len(r.Changed) > 0 {
		values = append(values, keyChanged, strings.Join(r.Changed, ","))
	}
	if len(r.Audience) > 0 {
		ids := make([]string, 0, len(r.Audience))
		for _, id := range r.Audience {
			ids = append(ids, strconv.FormatInt(id, 10))
		}
		values = append(values, keyAudience, strings.Join(ids, ","))
	}
	if r.Traceparent != "" {
		values = append(values, keyTraceback, r.Traceparent)
	}
	return values
}

// decode reads an entry of a stream.
func decode(m redis.XMessage) (*Record, error) {
	var failed error
	text := func(key string) string { s, _ := m.Values[key].(string); return s }
	number := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		failed = errors.Join(failed, err)
		return n
	}
	at, err := ParsePosition(m.ID)
	if err != nil {
		return nil, err
	}
	previous, err := ParsePosition(text(keyPrevious))
	if err != nil {
		return nil, err
	}
	r := &Record{
		Position: at, Previous: previous, OccurredAt: time.UnixMicro(number(text(keyTime))).UTC(), Type: text(keyType),
		SubjectID: number(text(keySubject)), ProjectID: number(text(keyProject)), ActorID: number(text(keyActor)),
		Version: number(text(keyVersion)), Payload: []byte(text(keyPayload)), Traceparent: text(keyTraceback),
	}
	if s := text(keyChanged); s != "" {
		r.Changed = strings.Split(s, ",")
	}
	if s := text(keyAudience); s != "" {
		for id := range strings.SplitSeq(s, ",") {
			r.Audience = append(r.Audience, number(id))
		}
	}
	return r, failed
}
