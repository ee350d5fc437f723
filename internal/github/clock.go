package github

import (
	"math"
	"net/http"
	"time"
)

// ClockSample is what GitHub's Date headers say about the local clock.
//
// A Date header is GitHub's time cut to the second. If the local time was in [t0, t1] when GitHub
// wrote the value D, then
//
//	t0 - D - 1 s  <  local - GitHub  <=  t1 - D
//
// and nothing inside that interval is known. Answers of the last minutes narrow it. Offset is the
// value nearest to zero in it: 0 if the clock may be right, else the least possible offset. So
// rounding never causes an alert, and an offset of 3 s is reported as 2 to 3 s.
type ClockSample struct {
	Offset time.Duration // > 0: the local clock is ahead
	At     time.Time     // of the newest answer used; zero: none
}

const (
	dateResolution = time.Second
	// clockWindow is how long an answer narrows the interval. A quartz that is off by 100 ppm moves
	// 30 ms in it.
	clockWindow  = 5 * time.Minute
	clockSamples = 16
	// maxRoundTrip is the longest request whose Date is used.
	maxRoundTrip = 2 * time.Second
	// maxStep is how much wall time and monotonic time may differ during a request; beyond it the
	// clock was set meanwhile.
	maxStep = 50 * time.Millisecond
	// maxAway is how far a Date may be from local time: 68 years, so that no difference overflows.
	maxAway = math.MaxInt32 * time.Second
)

// interval bounds the offset by one answer.
type interval struct {
	lo, hi time.Duration
	at     time.Time // wall and monotonic
}

// clockEstimate keeps the intervals of the last minutes.
type clockEstimate struct{ seen []interval }

// add takes the Date of an answer. GitHub wrote it between from and to, local times with monotonic
// readings. An unusable answer is ignored.
func (c *clockEstimate) add(from, to time.Time, date string) {
	d, err := http.ParseTime(date)
	if err != nil {
		return
	}
	wall, mono := to.Round(0).Sub(from.Round(0)), to.Sub(from)
	if mono < 0 || mono > maxRoundTrip || (wall-mono).Abs() > maxStep || from.Sub(d).Abs() > maxAway {
		return
	}
	n := interval{lo: from.Round(0).Sub(d) - dateResolution, hi: to.Round(0).Sub(d), at: to}
	var kept []interval
	lo, hi := n.lo, n.hi
	for _, s := range c.seen {
		age := to.Sub(s.at)
		// After a step or a sleep, an older measurement says nothing about now.
		if age > clockWindow || (to.Round(0).Sub(s.at.Round(0))-age).Abs() > maxStep {
			continue
		}
		lo, hi = max(lo, s.lo), min(hi, s.hi)
		kept = append(kept, s)
	}
	if lo > hi { // they contradict each other: only the newest counts
		kept = nil
	}
	kept = append(kept, n)
	c.seen = kept[max(0, len(kept)-clockSamples):]
}

// sample returns the estimate at the newest answer.
func (c *clockEstimate) sample() ClockSample {
	if len(c.seen) == 0 {
		return ClockSample{}
	}
	newest := c.seen[len(c.seen)-1]
	lo, hi := newest.lo, newest.hi
	for _, s := range c.seen {
		lo, hi = max(lo, s.lo), min(hi, s.hi)
	}
	out := ClockSample{At: newest.at.Round(0)}
	switch {
	case lo > 0:
		out.Offset = lo
	case hi < 0:
		out.Offset = hi
	}
	return out
}
