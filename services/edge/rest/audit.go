package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/trackway/trackway/services/platform/auth"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// SecurityEvent is one thing that happened to an account.
type SecurityEvent struct {
	ID         int64     `json:"id" minimum:"1" example:"1" doc:"The id; a later event has a higher one."`
	OccurredAt time.Time `json:"occurred_at" example:"2026-01-31T09:30:00Z" doc:"When it happened."`
	Type       string    `json:"type" maxLength:"100" pattern:"^[a-z]+[.][a-z]+$" example:"session.created" doc:"The thing and what happened to it."`
	UserID     int64     `json:"user_id" minimum:"1" example:"1" doc:"Whose account it is."`
	ActorID    *int64    `json:"actor_id" minimum:"1" example:"1" doc:"Who did it; null for somebody who was not signed in."`
	SessionID  *string   `json:"session_id" format:"uuid" maxLength:"36" doc:"The session that it is about; null for another matter, or all of them."`
	TokenID    *int64    `json:"token_id" minimum:"1" doc:"The personal access token that it is about; null for another matter, or all of them."`
}

func newSecurityEvent(e *usersv1.SecurityEvent) SecurityEvent {
	v := SecurityEvent{ID: e.GetId(), OccurredAt: moment(e.GetOccurredAt()), Type: e.GetType(), UserID: e.GetUserId()}
	if e.GetActorId() != 0 {
		v.ActorID = new(e.GetActorId())
	}
	if e.GetSessionId() != "" {
		v.SessionID = new(e.GetSessionId())
	}
	if e.GetTokenId() != 0 {
		v.TokenID = new(e.GetTokenId())
	}
	return v
}

// EventFilter is what the lists of events can be asked for. It is exported, as huma leaves out the parameters of what is not.
type EventFilter struct {
	Ordering []string `query:"ordering" enum:"id,-id" maxItems:"8" doc:"The order: fields, each falling when preceded by a minus. The newest first when absent."`
	Type     string   `query:"type" maxLength:"100" pattern:"^[a-z]+[.][a-z]+$" patternDescription:"a type such as session.created" doc:"Only events of this type."`
}

type ownEvents struct {
	Listing
	EventFilter
}

type allEvents struct {
	Listing
	EventFilter

	User int64 `query:"user" minimum:"1" doc:"Only events of this user's account."`
}

func (a *api) registerAudit() {
	register(a, operation(http.MethodGet, "/api/audit/", "listSecurityEvents", tagUsers, "List the audit trail",
		"Gives what happened to accounts, sessions and tokens, the newest first. Administrators only."),
		func(ctx context.Context, in *allEvents) (*List[SecurityEvent], error) {
			return a.events(ctx, &in.Listing, in.EventFilter, in.User)
		})
	register(a, operation(http.MethodGet, "/api/users/me/security-events/", "listOwnSecurityEvents", tagUsers,
		"List what happened to the caller's account", "Gives what happened to the caller's account, sessions and tokens, the newest first."),
		func(ctx context.Context, in *ownEvents) (*List[SecurityEvent], error) {
			return a.events(ctx, &in.Listing, in.EventFilter, auth.CallerFrom(ctx).UserID)
		})
}

func (a *api) events(ctx context.Context, l *Listing, f EventFilter, userID int64) (*List[SecurityEvent], error) {
	req := &usersv1.ListSecurityEventsRequest{Page: l.request(f.Ordering), UserId: userID}
	if f.Type != "" {
		req.Types = []string{f.Type}
	}
	res, err := a.users.ListSecurityEvents(ctx, req)
	if err != nil {
		return nil, err
	}
	return list(l, res.GetEvents(), res.GetPage(), newSecurityEvent), nil
}
