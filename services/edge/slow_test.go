package edge

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
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
	const post = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
	large := make([]byte, 1<<20)
	for name, tt := range map[string]struct {
		send string
		more string // sent every two seconds, four times
		read bool
		want time.Duration
	}{
		"headers that never end":       {"GET / HTTP/1.1\r\nHost: x\r\n", "", true, readHeaderTimeout},
		"a body that never comes":      {post + "10\r\n\r\n", "", true, bodyGrace},
		"a body that drips":            {post + "10\r\n\r\n1", "1", true, bodyGrace + 3*time.Second/slowest},
		"a body that is too long":      {post + "1000000\r\n\r\n1", strings.Repeat("1", 100_000), true, bodyTimeout},
		"a body that comes slowly":     {post + "80000\r\n\r\n", strings.Repeat("1", 20_000), true, 8 * time.Second},
		"an answer that nobody reads":  {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "", false, writeTimeout},
		"a connection without request": {"", "", true, readHeaderTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			var gone time.Duration
			start := time.Now()
			handled := make(chan struct{}, 1)
			srv := newServer(arrive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer func() { gone = time.Since(start); handled <- struct{}{} }()
				if err := rest.LimitBody(w, r, 1<<20); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if _, err := io.Copy(io.Discard, r.Body); err == nil {
					_, _ = w.Write(large)
				}
			})))
			client, server := net.Pipe()
			l := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
			l.conn <- server
			served := make(chan error, 1)
			go func() { served <- srv.Serve(l) }()
			if _, err := io.WriteString(client, tt.send); err != nil {
				t.Fatal(err)
			}
			var sending sync.WaitGroup
			if tt.more != "" {
				sending.Go(func() {
					for range 4 {
						time.Sleep(2 * time.Second) //nolint:forbidigo // nobody waits
						if _, err := io.WriteString(client, tt.more); err != nil {
							return // cut off
						}
					}
				})
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
			sending.Wait()
			_ = srv.Close()
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}
