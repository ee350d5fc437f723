package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/blueguy23/ghostrunner/e2e/machine"
)

// link forwards the connections between the stack and the simulated GitHub. It can drop them as a
// NAT does that has lost its table: nothing arrives, and there is no error.
type link struct {
	to  string          // address of the simulated GitHub on this machine
	end context.Context //nolint:containedctx // of the program: a link outlives the step that cuts it

	mu   sync.Mutex
	ways map[string]way // by client address
}

// way is the state of all connections of one client address.
type way struct {
	lost context.Context //nolint:containedctx // ends when the connections of now are lost
	lose context.CancelFunc
}

// allAddresses stands for every client address.
const allAddresses = ""

func newLink(ctx context.Context, to string) *link {
	return &link{to: to, end: ctx, ways: map[string]way{}}
}

// way returns the way of an address. The caller holds mu.
func (l *link) way(from string) way {
	w, ok := l.ways[from]
	if !ok {
		w.lost, w.lose = context.WithCancel(l.end)
		l.ways[from] = w
	}
	return w
}

// cut drops all connections of an address, present and future, until restore.
func (l *link) cut(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.way(from).lose()
}

// restore lets new connections through. Dropped ones stay dropped.
func (l *link) restore(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.way(from).lost.Err() != nil {
		delete(l.ways, from)
	}
}

// serve forwards connections until the program ends.
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

// carry copies in both directions until one end closes. A dropped connection stays open without
// data.
func (l *link) carry(client net.Conn) {
	defer client.Close()
	from := allAddresses
	if address, ok := client.RemoteAddr().(*net.TCPAddr); ok {
		from = address.IP.String()
	}
	l.mu.Lock()
	own, all := l.way(from).lost, l.way(allAddresses).lost
	l.mu.Unlock()
	var d net.Dialer
	server, err := d.DialContext(l.end, "tcp4", l.to)
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{}, 2)
	pipe := func(to, of net.Conn) {
		_, _ = io.Copy(to, lossy{of, own, all, l.end})
		done <- struct{}{}
	}
	go pipe(server, client)
	go pipe(client, server)
	<-done
}

// lossy reads from a connection until it is dropped; then it blocks.
type lossy struct {
	net.Conn
	own, all, end context.Context //nolint:containedctx // what may end a read
}

func (c lossy) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.own.Err() != nil || c.all.Err() != nil {
		<-c.end.Done()
		return 0, io.EOF
	}
	return n, err
}
