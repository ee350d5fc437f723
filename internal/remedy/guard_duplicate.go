package remedy

import (
	"context"
	"fmt"
	"time"
)

// guardDuplicate refuses an alert that has been acted on within the action's
// cooldown. Alertmanager repeats, and two of them send the same twice. After the
// cooldown an alert that still stands acts again: the first time did not help.
func (r *Remediator) guardDuplicate(_ context.Context, p *Plan) Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	done, ok := r.state.done[p.Alert.key()]
	if ok && time.Since(done) < p.Action.Cooldown {
		return refuse(Duplicate, fmt.Sprintf("acted on this very alert %s ago", time.Since(done).Round(time.Second)))
	}
	return pass("")
}
