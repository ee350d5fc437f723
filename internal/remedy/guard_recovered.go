package remedy

import (
	"context"
	"fmt"
)

// guardRecovered looks again at what the alert claims, where that can be seen
// from here: the free space, the health of the container, and that it runs at all.
// One that is down was stopped by a person since the alert began (what we stopped
// ourselves is a debt, and refused before); starting it is not ours. Other
// conditions are believed.
func (r *Remediator) guardRecovered(ctx context.Context, p *Plan) Verdict {
	if p.Action.Engine {
		free, err := r.free(ctx)
		if err != nil {
			return refuse(UnknownState, "free space is not known: "+err.Error())
		}
		p.Free = free
		detail := fmt.Sprintf("%d bytes are free, threshold is %d", free, r.opts.PruneThreshold)
		if free >= r.opts.PruneThreshold {
			return refuse(Recovered, detail)
		}
		return pass(detail)
	}
	c := p.Container
	ofHealth, ofRunning := p.Alert.Fallback, p.Action.Name == ActionBackoff || p.Alert.Fallback
	switch p.Alert.Name() {
	case "GhostrunnerRunnerUnhealthy", "GhostrunnerServiceUnhealthy":
		ofHealth, ofRunning = true, true
	case AlertRetryLoop, "GhostrunnerRunnerOffline", AlertSetBack:
		ofRunning = true
	}
	switch {
	case ofRunning && c.Down():
		return refuse(Recovered, fmt.Sprintf("container %s is %s: somebody stopped it", c.Name, c.State))
	case ofHealth && c.Running() && c.Health != "unhealthy":
		return refuse(Recovered, fmt.Sprintf("container %s is running and its health is %q", c.Name, c.Health))
	}
	return pass("")
}
