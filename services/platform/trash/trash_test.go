package trash_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace/noop"

	"github.com/trackway/trackway/services/platform/trash"
)

func empty(ctx context.Context, t *testing.T, keep time.Duration, purge func(context.Context, time.Duration) error) {
	t.Helper()
	trash.Empty(ctx, trash.Config{Keep: keep}, slog.New(slog.NewTextHandler(t.Output(), nil)), noop.NewTracerProvider(), purge)
}

func TestTheTrashIsPurgedEveryHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Minute)
		defer cancel()
		n := 0
		empty(ctx, t, 48*time.Hour, func(_ context.Context, keep time.Duration) error {
			if keep != 48*time.Hour {
				t.Errorf("kept for %v, want 48h", keep)
			}
			n++
			return errors.New("not now")
		})
		if n != 3 {
			t.Errorf("in two and a half hours: got %d purges, want 3", n)
		}
	})
}

func TestTheTrashThatIsKeptForEverIsNotPurged(t *testing.T) {
	t.Parallel()
	empty(t.Context(), t, 0, func(context.Context, time.Duration) error {
		t.Error("it was purged")
		return nil
	})
}

func TestWhatCouldBeGoneTooSoonStopsTheStart(t *testing.T) {
	t.Parallel()
	for keep, ok := range map[time.Duration]bool{0: true, 24 * time.Hour: true, 720 * time.Hour: true, time.Hour: false, -time.Hour: false} {
		err := trash.Config{Keep: keep}.Check()
		if ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "TRASH_RETENTION") {
			t.Errorf("%v: got %v, want it right: %t", keep, err, ok)
		}
	}
}

func TestBatchesGoOnWhileThereIsMore(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		outcomes []error // the last is that there is no more
		calls    int
		want     error
	}{
		"to the end":  {[]error{nil, nil, nil}, 3, nil},
		"to an error": {[]error{nil, broken, nil}, 2, broken},
	} {
		n := 0
		err := trash.Batches(t.Context(), func(ctx context.Context) (bool, error) {
			if _, limited := ctx.Deadline(); !limited {
				t.Error("a batch has no deadline")
			}
			n++
			return n < len(tt.outcomes), tt.outcomes[n-1]
		})
		if !errors.Is(err, tt.want) || n != tt.calls {
			t.Errorf("%s: got %v after %d batches, want %v after %d", name, err, n, tt.want, tt.calls)
		}
	}
}
