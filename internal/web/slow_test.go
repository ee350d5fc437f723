package web

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener in memory, for fake time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Connections that do not finish a request, or do nothing any more, are closed.
func TestSlowClients(t *testing.T) {
	for _, c := range []struct {
		name, sends string
		closed      time.Duration // after so long
	}{
		{"nothing", "", readHeaderTimeout},
		{"half a header", "POST /webhook HTTP/1.1\r\nHost: x\r\nX-Slow: ", readHeaderTimeout},
		{"half a body", "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf", readTimeout},
		{"a request and no other", "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n", idleTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
				s, err := New(Options{Name: "x", Flags: flags("127.0.0.1:0"), Routes: func(mux *http.ServeMux) {
					mux.HandleFunc("POST /webhook", func(w http.ResponseWriter, r *http.Request) {
						if _, err := io.ReadAll(r.Body); err == nil {
							t.Error("the body ended")
						}
						w.WriteHeader(http.StatusBadRequest)
					})
				}})
				if err != nil {
					t.Fatal(err)
				}
				if err := closeAll(s.listeners); err != nil { // the real port is not needed
					t.Fatal(err)
				}
				s.listeners = []net.Listener{l}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- s.Run(ctx) }()
				client, server := net.Pipe()
				l.conns <- server
				began := time.Now()
				go func() { _, _ = io.Copy(client, strings.NewReader(c.sends)) }()
				_, _ = io.Copy(io.Discard, bufio.NewReader(client)) // until the server hangs up
				if took := time.Since(began); took < c.closed || took > c.closed+2*time.Second {
					t.Errorf("closed after %s, want %s", took, c.closed)
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
