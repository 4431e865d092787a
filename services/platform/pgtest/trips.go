package pgtest

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// Trips gives another URL of a database, and counts the round trips that are made through it: how often a client has
// sent something after an answer.
func Trips(tb testing.TB, address string) (through string, made func() int64) {
	tb.Helper()
	u, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(tb.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	t := &trips{to: u.Host}
	t.all.Go(func() { t.serve(l) })
	tb.Cleanup(func() {
		_ = l.Close()
		t.all.Wait()
	})
	u.Host = l.Addr().String()
	return u.String(), t.made.Load
}

type trips struct {
	to   string
	all  sync.WaitGroup
	made atomic.Int64
}

// serve passes connections on until the listener closes.
func (t *trips) serve(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).Dial("tcp", t.to)
		if err != nil {
			_ = client.Close()
			return
		}
		var answered atomic.Bool
		answered.Store(true)
		t.all.Go(func() {
			pass(server, client, func() {
				if answered.Swap(false) {
					t.made.Add(1)
				}
			})
		})
		t.all.Go(func() { pass(client, server, func() { answered.Store(true) }) })
	}
}

// pass copies until one side closes, and tells of each piece before it goes on.
func pass(to, from net.Conn, piece func()) {
	_, _ = io.Copy(to, &watched{from, piece}) // ends with an error or without
	_, _ = to.Close(), from.Close()
}

type watched struct {
	io.Reader

	piece func()
}

// Read reads a piece.
func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	if n > 0 {
		w.piece()
	}
	return n, err //nolint:wrapcheck // io.Copy looks at it
}
