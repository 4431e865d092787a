// Package events appends what happened to the service's own events table, in the transaction of the change itself, so
// that there is never a change without its event or an event without its change; reads the table in the order of
// commits; and relays it, to a Redis Stream among others, whose readers share a Hub.
package events

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"slices"

	"github.com/uptrace/bun"
	"google.golang.org/protobuf/proto"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/telemetry"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations creates the events table.
func Migrations() fs.FS { return postgres.MigrationFiles(migrations) }

// Event is one change of one thing.
type Event struct {
	Type      string        // noun and what happened to it, such as "task.created"
	SubjectID int64         // the thing
	ProjectID int64         // the project it is in; 0 when it is in none
	Version   int64         // the thing's version after the change
	Payload   proto.Message // the thing after the change
	Changed   []string      // the fields that an update changed, as the contract spells them
	Audience  []int64       // the users whom it concerns, such as who a task is assigned to; zeros do not count
	Tags      []string      // what cached answers depended on and is other now (rpc/tags)
	Mark      string        // what the tags are marked with until the change has been committed (platform/cache)
}

type row struct {
	bun.BaseModel `bun:"table:events"`

	Type        string
	SubjectID   int64
	ProjectID   int64 `bun:",nullzero"`
	ActorID     int64 `bun:",nullzero"`
	Version     int64
	Payload     []byte
	Traceparent string   `bun:",nullzero"`
	Changed     []string `bun:",array"`
	Audience    []int64  `bun:",array"`
	Mark        string   `bun:",nullzero"`
	Tags        []string `bun:",array"`
}

// Append writes the events, in this order, with the caller of ctx as the actor and the trace of ctx as their cause. They go
// with the transaction's next statement, or its end.
func Append(ctx context.Context, tx postgres.Tx, events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	cause := telemetry.Traceparent(ctx)
	rows := make([]row, 0, len(events))
	for _, e := range events {
		payload, err := proto.Marshal(e.Payload)
		if err != nil {
			return fmt.Errorf("encode an event: %w", err)
		}
		rows = append(rows, row{
			Type: e.Type, SubjectID: e.SubjectID, ProjectID: e.ProjectID, ActorID: auth.CallerFrom(ctx).UserID,
			Version: e.Version, Payload: payload, Traceparent: cause,
			Changed: e.Changed, Audience: people(e.Audience),
			Mark: e.Mark, Tags: e.Tags,
		})
	}
	if err := tx.Later(ctx, tx.NewInsert().Model(&rows)); err != nil {
		return fmt.Errorf("append events: %w", err)
	}
	return nil
}

// people gives those of the users who are some, each once.
func people(users []int64) []int64 {
	users = slices.DeleteFunc(slices.Clone(users), func(id int64) bool { return id == 0 })
	slices.Sort(users)
	return slices.Compact(users)
}

// Differences names the fields, as the contract spells them, in which two messages of one type differ, beside those
// that every change moves.
func Differences(before, after proto.Message) []string {
	var names []string
	b, a := before.ProtoReflect(), after.ProtoReflect()
	fields := a.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.Name() == "version" || f.Name() == "updated_at" {
			continue
		}
		if b.Has(f) != a.Has(f) || !b.Get(f).Equal(a.Get(f)) {
			names = append(names, string(f.Name()))
		}
	}
	return names
}

// Tags gives the tags of all of the events, each once, sorted.
func Tags(events []Event) []string {
	var all []string
	for _, e := range events {
		all = append(all, e.Tags...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
