// Package events appends what happened to the service's own events table, in the transaction of the change itself, so
// that there is never a change without its event or an event without its change.
package events

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/uptrace/bun"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/protobuf/proto"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/postgres"
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
}

type row struct {
	bun.BaseModel `bun:"table:events"`

	Type        string
	SubjectID   int64
	ProjectID   int64 `bun:",nullzero"`
	ActorID     int64 `bun:",nullzero"`
	Version     int64
	Payload     []byte
	Traceparent string `bun:",nullzero"`
}

// Append writes the events, in this order, with the caller of ctx as the actor and the trace of ctx as their cause.
func Append(ctx context.Context, tx bun.Tx, events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	trace := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, trace)
	rows := make([]row, 0, len(events))
	for _, e := range events {
		payload, err := proto.Marshal(e.Payload)
		if err != nil {
			return fmt.Errorf("encode an event: %w", err)
		}
		rows = append(rows, row{
			Type: e.Type, SubjectID: e.SubjectID, ProjectID: e.ProjectID, ActorID: auth.CallerFrom(ctx).UserID,
			Version: e.Version, Payload: payload, Traceparent: trace["traceparent"],
		})
	}
	if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
		return fmt.Errorf("append events: %w", err)
	}
	return nil
}
