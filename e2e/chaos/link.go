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
	ways map[string]way // by the address that they come from
}

// way is what the connections of one address have in common.
type way struct {
	lost context.Context //nolint:containedctx // ends when the connections of now are lost
	lose context.CancelFunc
}

// everyone stands for every address.
const everyone = ""

func newLink(ctx context.Context, to string) *link {
	return &link{to: to, end: ctx, ways: map[string]way{}}
}

// way finds or makes the way from an address. The caller holds the lock.
func (l *link) way(from string) way {
	w, ok := l.ways[from]
	if !ok {
		w.lost, w.lose = context.WithCancel(l.end)
		l.ways[from] = w
	}
	return w
}

// cut loses every connection from an address, those of now and all that follow, until mend.
func (l *link) cut(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.way(from).lose()
}

// mend lets new connections through. Those that were lost stay lost: cut and mend at once is a NAT's table cleared.
func (l *link) mend(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.way(from).lost.Err() != nil {
		delete(l.ways, from)
	}
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
	from := everyone
	if address, ok := client.RemoteAddr().(*net.TCPAddr); ok {
		from = address.IP.String()
	}
	l.mu.Lock()
	own, everybody := l.way(from).lost, l.way(everyone).lost
	l.mu.Unlock()
	var d net.Dialer
	server, err := d.DialContext(l.end, "tcp4", l.to)
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{}, 2)
	pipe := func(to, of net.Conn) {
		_, _ = io.Copy(to, lossy{of, own, everybody, l.end})
		done <- struct{}{}
	}
	go pipe(server, client)
	go pipe(client, server)
	<-done
}

// lossy reads from a connection until it is lost, and then nothing and no end.
type lossy struct {
	net.Conn
	own, everybody, end context.Context //nolint:containedctx // what may end a read
}

func (c lossy) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.own.Err() != nil || c.everybody.Err() != nil {
		<-c.end.Done()
		return 0, io.EOF
	}
	return n, err
}
