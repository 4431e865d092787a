package tasks

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	eventsv1 "github.com/trackway/trackway/services/rpc/events/v1"
)

// ListEvents tells what happened in one project that the caller may read, or what concerns the caller in any.
func (s *service) ListEvents(ctx context.Context, req *eventsv1.ListEventsRequest) (*eventsv1.ListEventsResponse, error) {
	var f events.Filter
	switch {
	case req.GetProjectId() != 0:
		a, err := s.access(ctx, []int64{req.GetProjectId()})
		if err != nil {
			return nil, err
		}
		if err := a.require(req.GetProjectId(), auth.ReadProject, "project"); err != nil {
			return nil, err
		}
		f.Projects = []int64{req.GetProjectId()}
	case !req.GetMine():
		return nil, errs.InvalidField("project_id", "must be the id of a project")
	}
	if req.GetMine() {
		f.Audience = auth.CallerFrom(ctx).UserID
	}
	p, err := events.Read(ctx, s.store.db, req, f)
	if err != nil {
		return nil, err
	}
	a, err := s.access(ctx, distinct(p.Records, func(r events.Record) int64 { return r.ProjectID }))
	if err != nil {
		return nil, err
	}
	answer := &eventsv1.ListEventsResponse{Cursor: p.Cursor, More: p.More}
	for i := range p.Records {
		r := &p.Records[i]
		scope := auth.ReadScope(r.Noun())
		if scope == "" { // a purge, which is no news for anybody
			continue
		}
		if a.readable(r.ProjectID) && auth.CallerFrom(ctx).Has(scope) {
			answer.Events = append(answer.Events, eventProto(r))
		}
	}
	return answer, nil
}

func eventProto(r *events.Record) *eventsv1.Event {
	return &eventsv1.Event{
		Cursor: r.Position.String(), Type: r.Type, SubjectId: r.SubjectID, ProjectId: r.ProjectID, ActorId: r.ActorID,
		Version: r.Version, OccurredAt: timestamppb.New(r.OccurredAt), Payload: r.Payload, Changed: r.Changed,
		Audience: r.Audience,
	}
}
