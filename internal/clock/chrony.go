package clock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/facebook/time/ntp/chrony"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Values of chronyd's `tracking` when it does not know the time (chrony ntp.h, reference.h). They
// come with an offset of 0.
const (
	leapUnsynchronized = 3
	refIDNone          = 0
	refIDLocal         = 0x7F7F0101 // 127.127.1.1: `local stratum N`, the machine's own clock
)

const (
	chronyPort = "323"
	// replyPacket is the packet type of an answer (chrony candm.h).
	replyPacket = 2
	// maxRootDistance is the largest accepted uncertainty, in seconds. chronyd selects no source
	// beyond 3 s (directive maxdistance).
	maxRootDistance = 3.0
	// The daemon's last update may be as old as maxReferenceAge, or maxUpdates times the interval
	// between its last two. Its default intervals grow up to 17 min.
	maxReferenceAge = 10 * time.Minute
	maxUpdates      = 4
	// maxOffset is the largest accepted offset, in seconds: 68 years.
	maxOffset = math.MaxInt32
)

// queryChrony asks chronyd for `tracking` by UDP. Each request has a new socket and sequence
// number, so that a late answer is not taken for another one.
func queryChrony(ctx context.Context, address string, timeout time.Duration) (runner.ClockSample, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), chronyPort)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", address)
	if err != nil {
		return runner.ClockSample{}, fmt.Errorf("chronyd: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	tracking, err := exchange(conn)
	if err != nil {
		return runner.ClockSample{}, err
	}
	return chronySample(tracking)
}

// exchange asks over a connection with a deadline.
func exchange(conn io.ReadWriter) (*chrony.Tracking, error) {
	client := chrony.Client{Connection: conn, Sequence: rand.Uint32()}
	reply, err := client.Communicate(chrony.NewTrackingPacket())
	if err != nil {
		return nil, fmt.Errorf("chronyd: tracking: %w", err)
	}
	tracking, ok := reply.(*chrony.ReplyTracking)
	if !ok || tracking.PKTType != replyPacket || tracking.Sequence != client.Sequence {
		return nil, errors.New("chronyd: the answer belongs to another request")
	}
	return &tracking.Tracking, nil
}

// chronySample translates the daemon's answer. Its "system time" correction is positive if the
// local clock is behind; ours is positive if it is ahead.
//
// A daemon that lost all its sources still says that it is synchronized, and its offset goes to 0
// as it corrects its last measurement. So an offset counts only after a recent update.
func chronySample(t *chrony.Tracking) (runner.ClockSample, error) {
	s := runner.ClockSample{Source: SourceChrony, At: time.Now().Round(0), SynchronizedKnown: true}
	distance := t.RootDispersion + t.RootDelay/2
	for _, v := range []float64{t.CurrentCorrection, distance, t.LastUpdateInterval} {
		if math.IsNaN(v) || math.Abs(v) > maxOffset {
			return runner.ClockSample{}, errors.New("chronyd: the answer has impossible values")
		}
	}
	s.Synchronized = t.LeapStatus < leapUnsynchronized && t.RefID != refIDNone && t.RefID != refIDLocal &&
		distance <= maxRootDistance
	limit := max(maxReferenceAge, time.Duration(maxUpdates*t.LastUpdateInterval*float64(time.Second)))
	if s.HasOffset = s.Synchronized && s.At.Sub(t.RefTime).Abs() <= limit; s.HasOffset {
		s.Offset = -time.Duration(t.CurrentCorrection * float64(time.Second))
	}
	return s, nil
}
