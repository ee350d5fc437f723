package clock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/beevik/ntp"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

const (
	maxServers = 16
	// kissPause is how long a server that rate-limited us (kiss-o'-death) is not asked.
	kissPause = 10 * time.Minute
)

// sntp asks several servers and takes the median, so that one wrong server of three has no effect.
type sntp struct {
	servers []string
	timeout time.Duration
	dial    func(ctx context.Context, network, address string) (net.Conn, error)

	paused map[string]time.Time // by server; belongs to one goroutine
}

func newSNTP(servers []string, timeout time.Duration) *sntp {
	return &sntp{
		servers: servers[:min(len(servers), maxServers)], timeout: timeout,
		dial: new(net.Dialer).DialContext, paused: map[string]time.Time{},
	}
}

func (s *sntp) query(ctx context.Context) (runner.ClockSample, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	offsets := make([]time.Duration, len(s.servers))
	errs := make([]error, len(s.servers))
	var wg sync.WaitGroup
	for i, server := range s.servers {
		if time.Now().Before(s.paused[server]) {
			errs[i] = fmt.Errorf("ntp server %s: it rate-limited us (kiss-o'-death), not asked", server)
			continue
		}
		wg.Go(func() { offsets[i], errs[i] = s.ask(ctx, server) })
	}
	wg.Wait()
	var valid []time.Duration
	for i, err := range errs {
		if err == nil {
			valid = append(valid, offsets[i])
		} else if errors.Is(err, ntp.ErrKissOfDeath) {
			s.paused[s.servers[i]] = time.Now().Add(kissPause)
		}
	}
	if len(valid) == 0 {
		return runner.ClockSample{}, errors.Join(errs...)
	}
	return runner.ClockSample{Source: SourceNTP, Offset: median(valid), HasOffset: true, At: time.Now().Round(0)}, nil
}

// ask returns how far the local clock is ahead of one server.
func (s *sntp) ask(ctx context.Context, server string) (time.Duration, error) {
	began := time.Now()
	var stop func() bool
	answer, err := ntp.QueryWithOptions(server, ntp.QueryOptions{
		Timeout: s.timeout,
		// Wall time at the start plus monotonic time: a step of the clock between request and
		// answer has no effect.
		GetSystemTime: func() time.Time { return began.Round(0).Add(time.Since(began)) },
		Dialer: func(_, address string) (net.Conn, error) {
			conn, err := s.dial(ctx, "udp", address)
			if err == nil {
				stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
			}
			return conn, err
		},
	})
	if stop != nil {
		stop()
	}
	if err == nil {
		err = answer.Validate()
	}
	if err != nil {
		return 0, fmt.Errorf("ntp server %s: %w", server, err)
	}
	return -answer.ClockOffset, nil
}

func median(v []time.Duration) time.Duration {
	slices.Sort(v)
	low, high := v[(len(v)-1)/2], v[len(v)/2]
	return low + (high-low)/2
}
