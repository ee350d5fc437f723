package remedy

import (
	"errors"
	"fmt"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
)

// maxPause bounds a pause that ends without a person; a longer one is meant to be ended by one.
const maxPause = 30 * 24 * time.Hour

// ErrUnknownRunner is a runner that was never seen.
var ErrUnknownRunner = errors.New("no such runner")

// Pause makes every alert be refused, durably: for that long, or until Resume if it is 0. What was
// begun is finished, and what was stopped is started.
func (r *Remediator) Pause(length time.Duration) error {
	return r.setPause(journal.Pause{Instant: r.opts.now(), On: true, Length: length})
}

// Resume ends a pause.
func (r *Remediator) Resume() error { return r.setPause(journal.Pause{}) }

func (r *Remediator) setPause(p journal.Pause) error {
	err := r.store.Update(func(t *journal.Tx) error {
		t.SetPause(p)
		return nil
	})
	if err == nil {
		r.opts.Logger.Info("Set by an operator", "paused", p.On, "length", p.Length)
	}
	return err
}

// ParsePause reads how long a pause is to last.
func ParsePause(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second || d > maxPause {
		return 0, fmt.Errorf("want a time such as 90m or 2h, at most %dh", maxPause/time.Hour)
	}
	return d, nil
}

// Reset ends the back-off of a runner: it is started now if it is down. It is on probation from now
// on, because the restarts that opened the breaker still count, but a fire opens it as if for the
// first time.
func (r *Remediator) Reset(target string) error {
	now := r.opts.now()
	err := r.store.Update(func(t *journal.Tx) error {
		if _, known := t.State().Fires[target]; !known {
			return ErrUnknownRunner
		}
		if b, ok := t.State().Breakers[target]; ok {
			b = onProbation(b, now)
			b.Length, b.Openings = 0, 0
			t.PutBreaker(target, b)
		}
		if p, ok := t.State().Starts[target]; ok && p.Action == ActionBackoff {
			p.Length = 0
			t.PutStart(p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.opts.Logger.Info("Breaker reset by an operator", "runner", target)
	r.reconciler.lookAgain(target)
	return nil
}
