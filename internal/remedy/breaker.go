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
// they return what follows.
type Breaker struct {
	State BreakerState `json:"state"`
	// Length is how long this opening lasts.
	Length time.Duration `json:"length"`
	// Since is when the state was entered.
	Since time.Time `json:"since"`
	// Mark is Since on a clock that nobody sets.
	Mark Mark `json:"mark,omitzero"`
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
func (b Breaker) opened(now moment, length time.Duration) Breaker {
	return Breaker{State: Open, Length: length, Since: now.Time, Mark: now.mark, Until: now.Add(length), Openings: b.Openings + 1, Ladder: b.Ladder}
}

// probation is the breaker after the runner was started again at now. Until stays,
// unless it is still to come: the storm rule is silent while it lies in the past,
// so that restarts from before the opening do not open it again.
func (b Breaker) probation(now moment, length time.Duration) Breaker {
	if b.Until.After(now.Time) {
		b.Until = now.Time
	}
	b.State, b.Since, b.Mark, b.Closes = HalfOpen, now.Time, now.mark, now.Add(length)
	return b
}

// reset is the breaker after a person ended the back-off: on probation, because the
// restarts that opened it still count, but a fire opens it as if for the first time.
func (b Breaker) reset(now moment, length time.Duration) Breaker {
	b.Length, b.Openings = 0, 0
	return b.probation(now, length)
}
