package remedy

import (
	"context"
	"time"
)

// guardWindow refuses outside of the maintenance window.
func (r *Remediator) guardWindow(context.Context, *Plan) Verdict {
	now := time.Now()
	if r.opts.Window.Open(now) {
		return pass("")
	}
	return refuse(OutsideWindow, "the maintenance window "+r.opts.Window.String()+" opens "+
		r.opts.Window.Next(now).Format("Mon 2006-01-02 15:04 MST"))
}
