package remedy

import (
	"context"
	"fmt"
	"time"
)

// guardCooldown refuses the same action on the same target within its cooldown,
// whichever alert asks, and whether the last attempt succeeded or not. Each restart
// in a row that did not make its target healthy doubles the cooldown, up to the
// longest back-off: a database that recovers slowly must not be restarted for ever.
func (r *Remediator) guardCooldown(_ context.Context, p *Plan) Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.state.last[lastKey(p.Action.Name, p.Target)]
	ago := time.Since(last)
	if !ok || ago >= r.longestCooldown() {
		return pass("")
	}
	cooldown := p.Action.Cooldown
	if p.Action.Name == ActionRestart {
		for range r.state.inVain(p.Action.Name, p.Target) {
			cooldown = min(2*cooldown, r.longestCooldown())
		}
	}
	if ago < cooldown {
		return refuse(Cooldown, fmt.Sprintf("last %s of %s was %s ago, cooldown is %s",
			p.Action.Name, p.Target, ago.Round(time.Second), cooldown))
	}
	return pass("")
}

// longestCooldown is the age at which an attempt holds nothing back any more.
func (r *Remediator) longestCooldown() time.Duration {
	longest := r.opts.BackoffMax
	for _, a := range r.actions {
		longest = max(longest, a.Cooldown)
	}
	return longest
}
