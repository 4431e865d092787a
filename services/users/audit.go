package users

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// audited are the types of events that the audit trail consists of: all but what users tell of themselves.
func audited() []string {
	return []string{
		"user.created", "user.deactivated", "user.reactivated", "user.deleted", "role.changed", "password.changed", "password.reset",
		"password.removed", "email.asked", "email.changed", "identity.linked", "session.created", "session.reused", "session.revoked", "token.created", "token.revoked",
	}
}

// ListSecurityEvents gives one page of the audit trail: to a user its own, to global admins everybody's.
func (s *service) ListSecurityEvents(ctx context.Context, req *usersv1.ListSecurityEventsRequest) (*usersv1.ListSecurityEventsResponse, error) {
	page := &pagev1.PageRequest{OrderBy: "-id"}
	proto.Merge(page, req.GetPage())
	q, err := eventOrders().Query(page)
	if err != nil {
		return nil, err
	}
	types := audited()
	if len(req.GetTypes()) > 0 {
		types = req.GetTypes()
	}
	var c errs.Check
	for _, t := range types {
		c.That(slices.Contains(audited(), t), "types", "must be among %s", strings.Join(audited(), ", "))
	}
	if err := c.Err(); err != nil {
		return nil, err
	}
	if req.GetUserId() != auth.CallerFrom(ctx).UserID {
		if err := auth.RequireAdmin(ctx); err != nil {
			return nil, err
		}
	}
	p, err := s.store.listEvents(ctx, req.GetUserId(), types, q)
	if err != nil {
		return nil, err
	}
	res := &usersv1.ListSecurityEventsResponse{Page: pageInfo(p)}
	for _, e := range p.Rows {
		m, err := e.proto()
		if err != nil {
			return nil, err
		}
		res.Events = append(res.Events, m)
	}
	return res, nil
}

// proto is the event as the audit trail tells it.
func (e *event) proto() (*usersv1.SecurityEvent, error) {
	m := &usersv1.SecurityEvent{
		Id: e.ID, OccurredAt: timestamppb.New(e.OccurredAt), Type: e.Type, UserId: e.SubjectID, ActorId: e.ActorID,
	}
	noun, _, _ := strings.Cut(e.Type, ".")
	switch noun {
	case "session":
		var ses usersv1.Session
		err := proto.Unmarshal(e.Payload, &ses)
		m.SessionId = ses.GetId()
		return m, err
	case "token":
		var t usersv1.Token
		err := proto.Unmarshal(e.Payload, &t)
		m.TokenId = t.GetId()
		return m, err
	default:
		return m, nil
	}
}
