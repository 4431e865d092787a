package tasks //nolint:testpackage // what it hides has no other face

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// A row that was neither completed nor deleted becomes a message in one piece, and no time is lost or taken for another.
//
//nolint:paralleltest // allocations are counted for the whole process
func TestARowBecomesAMessageInOnePiece(t *testing.T) {
	created, updated := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999_000, time.UTC)
	row, remark := &task{CreatedAt: created, UpdatedAt: updated}, &comment{CreatedAt: created, UpdatedAt: updated}
	for name, tt := range map[string]struct {
		proto     func() proto.Message
		got, want proto.Message
	}{
		"a task": {
			func() proto.Message { return row.proto() }, row.proto(),
			&tasksv1.Task{CreatedAt: timestamppb.New(created), UpdatedAt: timestamppb.New(updated)},
		},
		"a comment": {
			func() proto.Message { return remark.proto() }, remark.proto(),
			&tasksv1.Comment{CreatedAt: timestamppb.New(created), UpdatedAt: timestamppb.New(updated)},
		},
	} {
		if !proto.Equal(tt.got, tt.want) {
			t.Errorf("%s: got %v, want %v", name, tt.got, tt.want)
		}
		if got := testing.AllocsPerRun(100, func() { tt.proto() }); got > 1 {
			t.Errorf("%s: got %v allocations, want 1", name, got)
		}
	}
}
