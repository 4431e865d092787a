package rest

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// Meta is what every thing has. The fields can not be written.
type Meta struct {
	ID        int64     `json:"id" minimum:"1" example:"1" doc:"The id."`
	Version   int64     `json:"version" minimum:"1" example:"1" doc:"Rises by one with each change; in quotes, the ETag."`
	CreatedAt time.Time `json:"created_at" example:"2026-01-31T09:30:00Z" doc:"When it was made."`
	UpdatedAt time.Time `json:"updated_at" example:"2026-01-31T09:30:00Z" doc:"When it was changed last."`
}

// made is what every message in the contract has.
type made interface {
	message
	GetCreatedAt() *timestamppb.Timestamp
	GetUpdatedAt() *timestamppb.Timestamp
}

func newMeta(m made) Meta {
	return Meta{
		ID: m.GetId(), Version: m.GetVersion(),
		CreatedAt: moment(m.GetCreatedAt()), UpdatedAt: moment(m.GetUpdatedAt()),
	}
}

// moment is a time in UTC, to the microsecond, as Postgres keeps it.
func moment(t *timestamppb.Timestamp) time.Time { return t.AsTime().Truncate(time.Microsecond) }

// maybeMoment is nil for no time.
func maybeMoment(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	m := moment(t)
	return &m
}
