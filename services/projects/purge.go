package projects

import (
	"context"
	"time"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/trash"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// purge deletes the projects that were deleted longer than keep ago. What others have of them they delete when they hear of
// it (BatchGetPurged).
func (s *service) purge(ctx context.Context, keep time.Duration) error {
	return trash.Batches(ctx, func(ctx context.Context) (bool, error) { return s.store.purge(ctx, keep) })
}

// BatchGetPurged says which of the projects were purged. It is asked without a caller, and tells nothing else of them.
func (s *service) BatchGetPurged(ctx context.Context, req *projectsv1.BatchGetPurgedRequest) (*projectsv1.BatchGetPurgedResponse, error) {
	if len(req.GetProjectIds()) > maxBatch {
		return nil, errs.InvalidField("project_ids", "must be at most %d", maxBatch)
	}
	ids, err := s.store.purged(ctx, req.GetProjectIds())
	if err != nil {
		return nil, err
	}
	return &projectsv1.BatchGetPurgedResponse{ProjectIds: ids}, nil
}
