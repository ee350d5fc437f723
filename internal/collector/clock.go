package collector

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Clock offsets are measured in the background by up to three sources that share no failure:
// chronyd, SNTP, and the Date header of GitHub's answers. An offset older than StaleAfter is
// dropped, its time stays.

var (
	clockOffset = prometheus.NewDesc("ghostrunner_clock_offset_seconds",
		"How far the local clock is ahead of the source; negative: behind.", []string{"source"}, nil)
	clockSampleTime = prometheus.NewDesc("ghostrunner_clock_sample_timestamp_seconds",
		"When the source was last measured.", []string{"source"}, nil)
	clockSynchronized = prometheus.NewDesc("ghostrunner_clock_synchronized",
		"Whether the time daemon follows a reference other than the local clock.", []string{"source"}, nil)
	clockJumps = prometheus.NewDesc("ghostrunner_clock_jumps_total",
		"Jumps of the wall clock against the monotonic one: sleep and resume, or a step.", []string{"direction"}, nil)
	clockLastJump = prometheus.NewDesc("ghostrunner_clock_last_jump_seconds",
		"Size of the last jump of the direction; absent until there was one.", []string{"direction"}, nil)
)

// Clock returns the samples, and by direction the number of jumps and the size of the last one,
// without any I/O. A direction without a jump has no size.
type Clock interface {
	Samples() []runner.ClockSample
	Jumps() map[string]uint64
	LastJumps() map[string]time.Duration
}

type clockSource struct{ from Clock }

// NewClock returns the source "clock".
func NewClock(from Clock) Source { return clockSource{from} }

func (clockSource) Name() string { return NameClock }

func (s clockSource) Collect(_ context.Context, ch chan<- prometheus.Metric) error {
	for _, sample := range s.from.Samples() {
		timestamp(ch, clockSampleTime, sample.At, sample.Source)
		if !fresh(sample.At) {
			continue
		}
		if sample.HasOffset {
			gauge(ch, clockOffset, sample.Offset.Seconds(), sample.Source)
		}
		if sample.SynchronizedKnown {
			gauge(ch, clockSynchronized, boolean(sample.Synchronized), sample.Source)
		}
	}
	for direction, n := range s.from.Jumps() {
		counter(ch, clockJumps, n, direction)
	}
	for direction, size := range s.from.LastJumps() {
		gauge(ch, clockLastJump, size.Seconds(), direction)
	}
	return nil
}
