package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/blueguy23/ghostrunner/e2e/machine"
)

// link carries the connections between the stack and the simulated GitHub. It can lose them the way a NAT does that has
// forgotten them: nothing arrives any more, and nobody says so.
type link struct {
	to  string          // address of the simulated GitHub on this machine
	end context.Context //nolint:containedctx // of the program: a link outlives the step that cuts it

	mu   sync.Mutex
	lost context.Context //nolint:containedctx // ends when the connections of now are lost
	lose context.CancelFunc
}

func newLink(ctx context.Context, to string) *link {
	l := &link{to: to, end: ctx}
	l.lost, l.lose = context.WithCancel(ctx)
	return l
}

// cut loses every connection, those of now and all that follow, until mend.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose()
}

// mend lets new connections through. Those that were lost stay lost: cut and mend at once is a NAT's table cleared.
func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost, l.lose = context.WithCancel(l.end)
}

// serve carries connections until ctx ends.
func (l *link) serve(port string) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(l.end, "tcp4", net.JoinHostPort(machine.Address, port))
	if err != nil {
		return fmt.Errorf("link to GitHub: %w", err)
	}
	context.AfterFunc(l.end, func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go l.carry(conn)
		}
	}()
	return nil
}

// carry copies both ways until an end closes, or falls silent for ever when the connection is lost: it stays open then, as
// on the machine whose packets vanish.
func (l *link) carry(client net.Conn) {
	defer client.Close()
	l.mu.Lock()
	lost := l.lost
	l.mu.Unlock()
	var d net.Dialer
	server, err := d.DialContext(l.end, "tcp4", l.to)
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{}, 2)
	pipe := func(to, from net.Conn) {
		_, _ = io.Copy(to, lossy{from, lost, l.end})
		done <- struct{}{}
	}
	go pipe(server, client)
	go pipe(client, server)
	<-done
}

// lossy reads from a connection until it is lost, and then nothing and no end.
type lossy struct {
	net.Conn
	lost, end context.Context //nolint:containedctx // what may end a read
}

func (c lossy) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.lost.Err() != nil {
		<-c.end.Done()
		return 0, io.EOF
	}
	return n, err
}
