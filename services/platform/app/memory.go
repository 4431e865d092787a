package app

import (
	"context"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc/test/bufconn"
)

// buffer is how many bytes a connection in memory holds in each direction.
const buffer = 256 << 10

// Memory is a network inside the process, for services that run in one: gRPC as on a real network, interceptors,
// deadlines and all, but without a socket. Any text is an address. The zero Memory is ready.
type Memory struct {
	mu     sync.Mutex
	places map[string]*place
}

type place struct {
	*bufconn.Listener

	taken bool
	leave func()
}

// Close makes the address free again.
func (p *place) Close() error {
	p.leave()
	return p.Listener.Close()
}

func (m *Memory) place(addr string) *place {
	p, ok := m.places[addr]
	if !ok {
		p = &place{Listener: bufconn.Listen(buffer)}
		p.leave = func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			delete(m.places, addr)
		}
		if m.places == nil {
			m.places = make(map[string]*place)
		}
		m.places[addr] = p
	}
	return p
}

// Listen takes an address; it is an Env's ListenOn.
func (m *Memory) Listen(_ context.Context, addr string) (net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.place(addr)
	if p.taken {
		return nil, fmt.Errorf("listen on %s: the address is taken", addr)
	}
	p.taken = true
	return p, nil
}

// Dial connects to an address, and waits for somebody to listen there until ctx ends; it is an Env's DialTo.
func (m *Memory) Dial(ctx context.Context, addr string) (net.Conn, error) {
	m.mu.Lock()
	p := m.place(addr)
	m.mu.Unlock()
	conn, err := p.DialContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return conn, nil
}
