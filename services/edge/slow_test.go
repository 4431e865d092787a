package edge

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trackway/trackway/services/edge/rest"
)

// oneConn is a listener with one connection.
type oneConn struct {
	conn   chan net.Conn
	closed chan struct{}
	close  sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error {
	l.close.Do(func() { close(l.closed) })
	return nil
}

func (*oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// TestSlowClientsAreCutOff runs on a clock that passes as soon as everybody waits.
func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	large := make([]byte, 1<<20)
	for name, tt := range map[string]struct {
		send string
		read bool
		want time.Duration
	}{
		"headers that never end":       {"GET / HTTP/1.1\r\nHost: x\r\n", true, readHeaderTimeout},
		"a body that never comes":      {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1", true, readTimeout},
		"an answer that nobody reads":  {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, writeTimeout},
		"a connection without request": {"", true, readHeaderTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			var gone time.Duration
			start := time.Now()
			handled := make(chan struct{}, 1)
			srv := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer func() { gone = time.Since(start); handled <- struct{}{} }()
				if err := rest.LimitBody(w, r, 100); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if _, err := io.Copy(io.Discard, r.Body); err == nil {
					_, _ = w.Write(large)
				}
			}))
			client, server := net.Pipe()
			l := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
			l.conn <- server
			served := make(chan error, 1)
			go func() { served <- srv.Serve(l) }()
			if _, err := io.WriteString(client, tt.send); err != nil {
				t.Fatal(err)
			}
			if tt.read {
				_, _ = io.Copy(io.Discard, client) // until it is cut off
				gone = time.Since(start)
			} else {
				<-handled
			}
			if gone != tt.want {
				t.Errorf("%s: got cut off after %s, want %s", name, gone, tt.want)
			}
			_ = client.Close()
			_ = srv.Close()
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}
