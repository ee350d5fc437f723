package remedy

import (
	"context"
	"fmt"
	"time"
)

// maxAge is how long an accepted alert may wait for its decision. Alertmanager
// repeats each minute what still stands.
const maxAge = 15 * time.Minute

// guardAge refuses what was accepted long ago: before the machine went to sleep, or
// before this program was stopped. Nobody knows whether it still stands.
func (r *Remediator) guardAge(_ context.Context, p *Plan) Verdict {
	if age := time.Since(p.Alert.Received); age > maxAge {
		return refuse(UnknownState, fmt.Sprintf("received %s ago; it comes again if it still stands", age.Round(time.Second)))
	}
	return pass("")
}
