package remedy

import "time"

// BreakerState is the state of a runner's circuit breaker.
type BreakerState string

// The states of a breaker. A runner without an entry is closed.
const (
	Closed   BreakerState = "closed"    // nothing is held back
	Open     BreakerState = "open"      // stopped until its time is up
	HalfOpen BreakerState = "half_open" // started again, on probation
)

// Breaker is the memory of a runner that was backed off. Its methods are pure:
// they return what follows. Times on disk are wall clock; whoever waits uses
// [remaining], which a jump of that clock cannot stretch.
type Breaker struct {
	State BreakerState `json:"state"`
	// Length is how long this opening lasts.
	Length time.Duration `json:"length"`
	// Since is when the state was entered.
	Since time.Time `json:"since"`
	// Until is when the runner is or was to be started again.
	Until time.Time `json:"until"`
	// Closes is when probation ends without a fire; zero while open.
	Closes time.Time `json:"closes,omitzero"`
	// Openings counts openings since it was last closed.
	Openings int `json:"openings"`
	// Ladder says that restarts in vain opened it, and not a storm of them: on probation any restart that is asked for
	// opens it again.
	Ladder bool `json:"ladder,omitempty"`
}

// nextLength is how long the next opening lasts: the first time base, on
// probation twice as long as the last time, at most limit.
func (b Breaker) nextLength(base, limit time.Duration) time.Duration {
	if b.State != HalfOpen || b.Length <= 0 {
		return min(base, limit)
	}
	return min(2*b.Length, limit)
}

// opened is the breaker after it opened at now for length.
func (b Breaker) opened(now time.Time, length time.Duration) Breaker {
	return Breaker{State: Open, Length: length, Since: now, Until: now.Add(length), Openings: b.Openings + 1, Ladder: b.Ladder}
}

// probation is the breaker after the runner was started again at now. Until stays,
// unless it is still to come: the storm rule is silent while it lies in the past,
// so that restarts from before the opening do not open it again.
func (b Breaker) probation(now time.Time, length time.Duration) Breaker {
	if b.Until.After(now) {
		b.Until = now
	}
	b.State, b.Since, b.Closes = HalfOpen, now, now.Add(length)
	return b
}

// reset is the breaker after a person ended the back-off: on probation, because the
// restarts that opened it still count, but a fire opens it as if for the first time.
func (b Breaker) reset(now time.Time, length time.Duration) Breaker {
	b.Length, b.Openings = 0, 0
	return b.probation(now, length)
}

// remaining is how long it is until end, never more than length: the wall clock
// may have jumped back by hours since end was written down.
func remaining(now, end time.Time, length time.Duration) time.Duration {
	return min(max(end.Sub(now), 0), length)
}
