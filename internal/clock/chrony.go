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
)

// What `tracking` of chronyd says when it does not know the time (chrony
// ntp.h, reference.h). Both come with an offset of 0.
const (
	leapUnsynchronised = 3
	refIDNone          = 0
	refIDLocal         = 0x7F7F0101 // 127.127.1.1: `local stratum N`, its own clock
)

const (
	chronyPort = "323"
	// replyPacket is the packet type of an answer (chrony candm.h).
	replyPacket = 2
	// maxRootDistance is how uncertain the daemon may be, in seconds. chronyd
	// itself selects no source beyond 3 s (directive maxdistance).
	maxRootDistance = 3.0
	// maxReferenceAge is how old the daemon's last update may be, or that many
	// times the interval between its last two, whichever is longer: the longest
	// interval that it doubles to by itself is 17 min.
	maxReferenceAge = 10 * time.Minute
	maxUpdates      = 4
	// maxOffset bounds what is taken for an offset, in seconds: 68 years.
	maxOffset = math.MaxInt32
)

// queryChrony asks chronyd for `tracking` by UDP, which it answers to anybody on
// the machine. Each question has a socket and a sequence number of its own, so
// no late answer is taken for another one.
func queryChrony(ctx context.Context, address string, timeout time.Duration) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), chronyPort)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", address)
	if err != nil {
		return Sample{}, fmt.Errorf("chronyd: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	tracking, err := exchange(conn)
	if err != nil {
		return Sample{}, err
	}
	return chronySample(tracking)
}

// exchange asks over a connection that ends by itself in time.
func exchange(conn io.ReadWriter) (*chrony.Tracking, error) {
	client := chrony.Client{Connection: conn, Sequence: rand.Uint32()}
	reply, err := client.Communicate(chrony.NewTrackingPacket())
	if err != nil {
		return nil, fmt.Errorf("chronyd: tracking: %w", err)
	}
	tracking, ok := reply.(*chrony.ReplyTracking)
	if !ok || tracking.PKTType != replyPacket || tracking.Sequence != client.Sequence {
		return nil, errors.New("chronyd: the answer is not to this question")
	}
	return &tracking.Tracking, nil
}

// chronySample translates the daemon's answer. Its "system time" correction is
// positive if the local clock is behind; ours is positive if it is ahead.
//
// A daemon that lost all its sources goes on to say that it is synchronised, and
// its offset goes to 0 as it corrects what it measured last. So an offset that no
// recent update stands behind is none.
func chronySample(t *chrony.Tracking) (Sample, error) {
	s := Sample{Source: SourceChrony, At: time.Now().Round(0), SynchronizedKnown: true}
	distance := t.RootDispersion + t.RootDelay/2
	for _, v := range []float64{t.CurrentCorrection, distance, t.LastUpdateInterval} {
		if math.IsNaN(v) || math.Abs(v) > maxOffset {
			return Sample{}, errors.New("chronyd: the answer has impossible values")
		}
	}
	s.Synchronized = t.LeapStatus < leapUnsynchronised && t.RefID != refIDNone && t.RefID != refIDLocal &&
		distance <= maxRootDistance
	limit := max(maxReferenceAge, time.Duration(maxUpdates*t.LastUpdateInterval*float64(time.Second)))
	if s.HasOffset = s.Synchronized && s.At.Sub(t.RefTime).Abs() <= limit; s.HasOffset {
		s.Offset = -time.Duration(t.CurrentCorrection * float64(time.Second))
	}
	return s, nil
}
