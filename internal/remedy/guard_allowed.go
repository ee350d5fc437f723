package remedy

import (
	"context"
	"fmt"
	"strings"
)

// guardAllowed asks the container itself: its label ghostrunner.heal must name the
// action. No label means none, ever; so does a role that is not ours, and so does the
// container of this very program, whatever its labels: nobody would finish what it
// began. A back-off is for runners only.
func (r *Remediator) guardAllowed(_ context.Context, p *Plan) Verdict {
	if p.Action.Engine {
		return pass("")
	}
	c := p.Container
	switch {
	case r.opts.Self != "" && c.ID == r.opts.Self:
		return refuse(NotAllowed, "container "+c.Name+" is this program's own")
	case c.Role != RoleRunner && c.Role != RoleService:
		return refuse(NotAllowed, fmt.Sprintf("container %s has no label ghostrunner.role", c.Name))
	case p.Action.Name == ActionBackoff && (c.Role != RoleRunner || c.Runner == ""):
		return refuse(NotAllowed, "only a runner is backed off, "+c.Name+" is a "+c.Role)
	case !c.Allows(p.Action.Name):
		return refuse(NotAllowed, fmt.Sprintf("container %s has ghostrunner.heal=%q, which does not name %s",
			c.Name, strings.Join(c.Heal, ","), p.Action.Name))
	}
	return pass("")
}
