package system

import (
	"context"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc/test/bufconn"
)

// pipeSize is how many bytes may be under way on a connection in memory, each way.
const pipeSize = 256 << 10

// network connects the services of one process in memory, by the addresses that they have in a cluster.
type network struct {
	mu        sync.Mutex
	listeners map[string]*bufconn.Listener
}

func newNetwork() *network { return &network{listeners: map[string]*bufconn.Listener{}} }

// at returns the listener of an address. Whoever comes first makes it, so that a client may dial a service that does
// not listen yet, and waits for it.
func (n *network) at(addr string) *bufconn.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l, ok := n.listeners[addr]
	if !ok {
		l = bufconn.Listen(pipeSize)
		n.listeners[addr] = l
	}
	return l
}

// Listen is app.Env's ListenOn.
func (n *network) Listen(_ context.Context, addr string) (net.Listener, error) {
	return n.at(addr), nil
}

// Dial is app.Env's DialTo.
func (n *network) Dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := n.at(addr).DialContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial %s in memory: %w", addr, err)
	}
	return conn, nil
}
