package collector

import (
	"context"
	"time"
)

// Clock offsets are measured in the background by up to three sources that share no failure: chronyd, SNTP, and the Date
// header of GitHub's answers. An offset older than StaleAfter is dropped, its time stays.

var (
	clockOffset = newDesc("ghostrunner_clock_offset_seconds",
		"How far the local clock is ahead of the source; negative: behind.", "source")
	clockSampleTime = newDesc("ghostrunner_clock_sample_timestamp_seconds",
		"When the source was last measured.", "source")
	clockSynchronized = newDesc("ghostrunner_clock_synchronized",
		"Whether the time daemon follows a reference other than the local clock.", "source")
	clockJumps = newDesc("ghostrunner_clock_jumps_total",
		"Jumps of the wall clock against the monotonic one: sleep and resume, or a step.", "direction")
)

// ClockSample is the last thing that one source said.
type ClockSample struct {
	Source            string        // "chrony", "ntp" or "github"
	Offset            time.Duration // positive: the local clock is ahead
	HasOffset         bool
	At                time.Time // zero: never measured
	Synchronized      bool
	SynchronizedKnown bool
}

// Clock gives the samples and the jumps by direction without any I/O.
type Clock interface {
	ClockSamples() []ClockSample
	Jumps() map[string]uint64
}

type clockSource struct{ from Clock }

// NewClock returns the source "clock".
func NewClock(from Clock) Source { return clockSource{from} }

func (clockSource) Name() string { return NameClock }

func (s clockSource) Collect(_ context.Context, out *Samples) error {
	for _, sample := range s.from.ClockSamples() {
		timestamp(out, clockSampleTime, sample.At, sample.Source)
		if !fresh(sample.At) {
			continue
		}
		if sample.HasOffset {
			gauge(out, clockOffset, sample.Offset.Seconds(), sample.Source)
		}
		if sample.SynchronizedKnown {
			gauge(out, clockSynchronized, boolean(sample.Synchronized), sample.Source)
		}
	}
	counters(out, clockJumps, s.from.Jumps())
	return nil
}
