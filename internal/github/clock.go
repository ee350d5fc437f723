package github

import (
	"math"
	"net/http"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

const (
	dateResolution = time.Second
	// clockWindow is how long answers narrow the interval. A quartz that is off by 100 ppm moves
	// 30 ms in it.
	clockWindow  = 5 * time.Minute
	maxRoundTrip = 2 * time.Second
	// maxStep is how much wall time and monotonic time may differ during a request; beyond it the
	// clock was set meanwhile.
	maxStep = 50 * time.Millisecond
	// maxAway is how far a Date may be from local time: 68 years, so that no difference overflows.
	maxAway = math.MaxInt32 * time.Second
)

// clockEstimate is what GitHub's Date headers say about the local clock: the interval that the
// answers since a time leave. Times are wall and monotonic.
//
// A Date header is GitHub's time cut to the second. If the local time was in [t0, t1] when GitHub
// wrote the value D, then
//
//	t0 - D - 1 s  <  local - GitHub  <=  t1 - D
//
// and nothing inside that interval is known. Answers of the last minutes narrow it.
type clockEstimate struct {
	lo, hi    time.Duration
	since, at time.Time // of the first answer used and the newest; zero: none
}

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
	n := clockEstimate{lo: from.Round(0).Sub(d) - dateResolution, hi: to.Round(0).Sub(d), since: to, at: to}
	// After a step or a sleep, an older answer says nothing about now.
	stepped := (to.Round(0).Sub(c.at.Round(0)) - to.Sub(c.at)).Abs() > maxStep
	lo, hi := max(n.lo, c.lo), min(n.hi, c.hi)
	if lo <= hi && !stepped && to.Sub(c.since) <= clockWindow {
		n.lo, n.hi, n.since = lo, hi, c.since
	}
	*c = n
}

func (c *clockEstimate) sample() runner.ClockSample {
	out := runner.ClockSample{Source: "github", HasOffset: true, At: c.at.Round(0)}
	switch {
	case c.lo > 0:
		out.Offset = c.lo
	case c.hi < 0:
		out.Offset = c.hi
	}
	return out
}
