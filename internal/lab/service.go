package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ServiceOptions configures a stand-in for a database.
type ServiceOptions struct {
	// LabURL, if set, is polled for the service-hang fault.
	LabURL string
	Logger *slog.Logger
}

// maxServiceConns bounds the connections that are served at once; further ones are closed.
const maxServiceConns = 64

// Service answers each line that a client sends with PONG, until it hangs: then it accepts
// connections but never answers. Only a restart of the process ends that, as for the databases that
// it stands for.
type Service struct {
	opts ServiceOptions
	hung atomic.Bool
}

// NewService returns a service; see Serve.
func NewService(opts ServiceOptions) *Service {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{opts: opts}
}

// Serve answers on l until ctx ends, then closes it.
func (s *Service) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	defer func() { _ = l.Close() }()
	if s.opts.LabURL != "" {
		wg.Go(func() { s.follow(ctx) })
	}
	slots := make(chan struct{}, maxServiceConns)
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept: %w", err)
		case err != nil: // for example, out of file descriptors
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		select {
		case slots <- struct{}{}:
			wg.Go(func() { s.serve(ctx, conn); <-slots })
		default:
			_ = conn.Close()
		}
	}
}

// follow makes this process hang when the fault is turned on. A fault that was already on at the
// first poll was meant for an earlier process, unless it is sticky.
func (s *Service) follow(ctx context.Context) {
	first, old := true, uint64(0)
	NewClient(s.opts.LabURL).follow(ctx, faultServiceHang, followEvery, func(st FaultState) {
		if first && st.On && st.Value != "sticky" {
			old = st.Seq
		}
		first = false
		if st.On && st.Seq != old && !s.hung.Swap(true) {
			s.opts.Logger.Info("hanging until restarted")
		}
	})
}

func (s *Service) serve(ctx context.Context, conn net.Conn) {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	lines := bufio.NewScanner(io.LimitReader(conn, 1<<20))
	for lines.Scan() {
		if s.hung.Load() {
			continue
		}
		if _, err := io.WriteString(conn, "PONG\n"); err != nil {
			return
		}
	}
}

// CheckService is the health check of a Service: a PING must be answered within 2 s.
func CheckService(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("service check: %w", err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if _, err := io.WriteString(conn, "PING\n"); err != nil {
		return fmt.Errorf("service check: %w", err)
	}
	line, err := bufio.NewReader(io.LimitReader(conn, 100)).ReadString('\n')
	if err != nil {
		return fmt.Errorf("service check: no answer: %w", err)
	}
	if line != "PONG\n" {
		return fmt.Errorf("service check: answered %q instead of PONG", line)
	}
	return nil
}
