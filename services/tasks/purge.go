package tasks

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	"github.com/trackway/trackway/services/platform/trash"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// purge deletes what was deleted longer than keep ago, and what there is of projects that were purged.
func (s *service) purge(ctx context.Context, keep time.Duration) error {
	return errors.Join(
		trash.Batches(ctx, func(ctx context.Context) (bool, error) { return s.store.purgeComments(ctx, keep) }),
		trash.Batches(ctx, func(ctx context.Context) (bool, error) { return s.store.purgeTasks(ctx, keep) }),
		s.forgetPurged(ctx),
	)
}

// forgetPurged deletes all that there is of the projects that were purged. It asks about every project, each time: who is
// told once can miss it.
func (s *service) forgetPurged(ctx context.Context) error {
	var (
		last   int64
		purged []int64
	)
	err := trash.Batches(ctx, func(ctx context.Context) (more bool, err error) {
		ids, err := s.store.projectsAfter(ctx, last)
		if err != nil || len(ids) == 0 {
			return false, err
		}
		last = ids[len(ids)-1]
		answer, err := s.projects.BatchGetPurged(ctx, &projectsv1.BatchGetPurgedRequest{ProjectIds: ids}, grpc.WaitForReady(true))
		purged = append(purged, answer.GetProjectIds()...)
		return len(ids) == maxBatch, err
	})
	for _, id := range purged {
		err = errors.Join(err, trash.Batches(ctx, func(ctx context.Context) (bool, error) { return s.store.forget(ctx, id) }))
	}
	return err
}
