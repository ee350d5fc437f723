package remedy

import (
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
)

// nextLength is how long the next opening of a breaker lasts: the first time base, on probation
// twice as long as the last time, at most limit.
func nextLength(b journal.Breaker, base, limit time.Duration) time.Duration {
	if b.State != journal.HalfOpen || b.Length <= 0 {
		return min(base, limit)
	}
	return min(2*b.Length, limit)
}

// opened is a breaker after it opened now for length.
func opened(b journal.Breaker, now journal.Instant, length time.Duration) journal.Breaker {
	b.Instant, b.State, b.Length = now, journal.Open, length
	b.Openings++
	return b
}

// onProbation is a breaker after its runner was started again now.
func onProbation(b journal.Breaker, now journal.Instant) journal.Breaker {
	b.Instant, b.State = now, journal.HalfOpen
	return b
}

// openUntil is when a runner is started again, or was. It is in the past on probation: the storm rule
// is silent while it lies there, so that restarts from before the opening do not open it again.
func openUntil(b journal.Breaker, now journal.Instant) time.Time {
	if b.State == journal.HalfOpen {
		return now.Time.Add(-now.Since(b.Instant))
	}
	return now.Time.Add(now.Left(b.Instant, b.Length))
}
