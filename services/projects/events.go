package projects

import (
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/events"
	eventsv1 "github.com/trackway/trackway/services/rpc/events/v1"
)

// ListEvents tells what happened to one project that the caller may read, to all that it is a member of, or what
// concerns the caller: those who lose a project are told of that, too.
func (s *service) ListEvents(ctx context.Context, req *eventsv1.ListEventsRequest) (*eventsv1.ListEventsResponse, error) {
	caller := auth.CallerFrom(ctx)
	var f events.Filter
	switch {
	case req.GetMine():
		f.Audience = caller.UserID
		if req.GetProjectId() != 0 {
			f.Projects = []int64{req.GetProjectId()}
		}
	case req.GetProjectId() != 0:
		p, err := s.require(ctx, req.GetProjectId(), auth.ReadProject)
		if err != nil {
			return nil, err
		}
		f.Projects = []int64{p.ID}
	default:
		mine, err := s.store.access(ctx, caller.UserID)
		if err != nil {
			return nil, err
		}
		f = events.Filter{Projects: ids(mine), Audience: caller.UserID, Either: true}
	}
	p, err := events.Read(ctx, s.store.db, req, f)
	if err != nil {
		return nil, err
	}
	in := make([]int64, 0, len(p.Records))
	for _, r := range p.Records {
		in = append(in, r.ProjectID)
	}
	slices.Sort(in)
	readable, err := s.readable(ctx, accessColumns, slices.Compact(in), "project_ids", maxBatch)
	if err != nil {
		return nil, err
	}
	answer := &eventsv1.ListEventsResponse{Cursor: p.Cursor, More: p.More}
	for i := range p.Records {
		r := &p.Records[i]
		if auth.ReadScope(r.Noun()) == "" { // such as invitations, which not every reader of the project may see
			continue
		}
		bye := farewell(r) && slices.Contains(r.Audience, caller.UserID) && caller.InProject(r.ProjectID)
		if bye || slices.Contains(ids(readable), r.ProjectID) {
			answer.Events = append(answer.Events, eventProto(r))
		}
	}
	return answer, nil
}

// farewell reports whether the event takes a project away from those whom it concerns, and so is for them although they
// may read the project no more.
func farewell(r *events.Record) bool {
	return r.Type == "member.deleted" || r.Type == "project.deleted"
}

func eventProto(r *events.Record) *eventsv1.Event {
	return &eventsv1.Event{
		Cursor: r.Position.String(), Type: r.Type, SubjectId: r.SubjectID, ProjectId: r.ProjectID, ActorId: r.ActorID,
		Version: r.Version, OccurredAt: timestamppb.New(r.OccurredAt), Payload: r.Payload, Changed: r.Changed,
		Audience: r.Audience,
	}
}
