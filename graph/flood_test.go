package graph_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/trackway/trackway/graph"
	"github.com/trackway/trackway/services/platform/errs"
)

// floods sends the messages until the server takes no more of them, and gives how many it took.
func (l *listener) floods(most int, text func(n int) string) int {
	ctx, cancel := context.WithTimeout(l.Context(), time.Minute)
	defer cancel()
	for n := range most {
		if l.conn.Write(ctx, websocket.MessageText, []byte(text(n))) != nil {
			return n
		}
	}
	return most
}

func TestAClientThatTakesNoAnswersCanNotAskForMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := listens(t, "1 for 10m")
		got := l.floods(10_000, func(n int) string { return subscribe(strconv.Itoa(n + 2)) })
		if most := 50 + cap(l.came) + 10; got > most {
			t.Errorf("the server took %d subscriptions, want at most %d: as many as may be, and as many as were answered", got, most)
		}
	})
}

func TestOperationsThatAreEndedAtOnceDoNotPileUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running atomic.Int64
		ended := make(chan struct{})
		l := listens(t, "1 for 10m", func(c *graph.Config) {
			c.Charge = func(context.Context, int) (*graph.Budget, error) {
				running.Add(1)
				<-ended
				return nil, nil
			}
		})
		l.floods(1000, func(n int) string {
			id := strconv.Itoa(n/2 + 2)
			if n%2 == 0 {
				return subscribe(id)
			}
			return `{"id": "` + id + `", "type": "complete"}`
		})
		synctest.Wait()
		if got := running.Load(); got > 100 {
			t.Errorf("%d operations run, want at most 100: those that may, and as many that come to an end", got)
		}
		close(ended)
	})
}

func TestAnOperationOnASocketCountsAsARequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int64
		l := listens(t, "1 for 10m", func(c *graph.Config) {
			c.Count = func(context.Context) error {
				if requests.Add(1) > 2 {
					return errs.New(errs.RateLimited, "No more.")
				}
				return nil
			}
		})
		l.send(`{"id": "2", "type": "subscribe", "payload": {"query": "{ __typename }"}}`)
		l.expect(`{"id":"2","type":"next","payload":{"data":{"__typename":"Query"},"extensions":{"cost":{"price":1,"limit":50000}}}}`)
		l.expect(`{"id":"2","type":"complete"}`)
		l.send(subscribe("3"))
		l.expect(`{"id":"3","type":"error","payload":[{"message":"No more.","extensions":{"code":"RATE_LIMITED"}}]}`)
	})
}
