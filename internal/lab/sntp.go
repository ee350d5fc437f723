package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"
)

// NTPOptions configures an SNTP server.
type NTPOptions struct {
	// Offset is how far the clients' clocks appear to be ahead: the server serves true time minus
	// Offset.
	Offset time.Duration
	// LabURL, if set, is polled for the clock-offset fault, whose value then replaces Offset.
	LabURL string
	Logger *slog.Logger
}

// NTP is an SNTP server (RFC 5905, mode 4, stratum 1) whose time can be wrong, so that no real
// clock has to be changed.
type NTP struct {
	opts   NTPOptions
	offset atomic.Int64
}

// NewNTP returns a server; see Serve.
func NewNTP(opts NTPOptions) *NTP {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	n := &NTP{opts: opts}
	n.offset.Store(int64(opts.Offset))
	return n
}

// SetOffset changes how far clients appear to be ahead.
func (n *NTP) SetOffset(d time.Duration) {
	if old := n.offset.Swap(int64(d)); old != int64(d) {
		n.opts.Logger.Info("clock offset", "ahead", d)
	}
}

// Serve answers on conn until ctx ends, then closes it.
func (n *NTP) Serve(ctx context.Context, conn net.PacketConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }()
	if n.opts.LabURL != "" {
		go NewClient(n.opts.LabURL).follow(ctx, faultClockOffset, followEvery, func(st FaultState) {
			d, err := parseSeconds(st.Value)
			if !st.On || err != nil {
				d = n.opts.Offset
			}
			n.SetOffset(d)
		})
	}
	buf := make([]byte, 1024)
	for {
		size, from, err := conn.ReadFrom(buf)
		received := worldNow()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("read: %w", err)
		case err != nil:
			continue // an ICMP error for an earlier answer
		}
		ahead := time.Duration(n.offset.Load())
		answer, ok := ntpAnswer(buf[:size], received.Add(-ahead))
		if !ok {
			continue
		}
		binary.BigEndian.PutUint64(answer[40:], ntpTime(worldNow().Add(-ahead)))
		_, _ = conn.WriteTo(answer[:], from)
	}
}

const ntpSize = 48

// ntpAnswer returns the answer to a client's packet, without its transmit timestamp.
func ntpAnswer(query []byte, received time.Time) (answer [ntpSize]byte, ok bool) {
	if len(query) < ntpSize {
		return answer, false
	}
	version, mode := query[0]>>3&7, query[0]&7
	if mode != 3 || version < 3 || version > 4 {
		return answer, false
	}
	answer[0] = version<<3 | 4                         // no leap second, server
	answer[1] = 1                                      // stratum
	answer[2] = query[2]                               // poll interval
	answer[3] = 0xec                                   // precision: 2^-20 s
	binary.BigEndian.PutUint32(answer[4:], 1<<16/1000) // root delay: 1 ms, in 2^-16 s
	binary.BigEndian.PutUint32(answer[8:], 1<<16/1000) // root dispersion: 1 ms
	copy(answer[12:16], "LAB")                         // reference clock
	reference := received.Add(-time.Second).Truncate(time.Second)
	binary.BigEndian.PutUint64(answer[16:], ntpTime(reference))
	copy(answer[24:32], query[40:48]) // originate timestamp: the client's transmit timestamp
	binary.BigEndian.PutUint64(answer[32:], ntpTime(received))
	return answer, true
}

// ntpTime returns a time in NTP format: seconds since 1900 and units of 2^-32 s.
func ntpTime(t time.Time) uint64 {
	const since1900 = 2208988800
	return uint64(t.Unix()+since1900)<<32 | uint64(t.Nanosecond())<<32/1e9
}
