package remedy

import (
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// These guards look at the orders of people and at the labels of alert and container.

func guardPaused(w World, _ Plan) Verdict {
	holds, left := w.State.Pause.At(w.Now)
	switch {
	case !holds:
		return pass("")
	case left > 0:
		return refuse(Paused, "paused by an operator until %s; `ghostrunner-remediator resume` ends it",
			w.Now.Time.Add(left).UTC().Format("2006-01-02 15:04 MST"))
	default:
		return refuse(Paused, "paused by an operator; `ghostrunner-remediator resume` ends it")
	}
}

func guardWindow(w World, _ Plan) Verdict {
	if opens := w.Options.windowOpens(w.Now.Time); !opens.IsZero() {
		return refuse(OutsideWindow, "the maintenance window opens %s", opens.Format("Mon 2006-01-02 15:04 MST"))
	}
	return pass("")
}

// maxAge is how long an accepted alert may wait for its decision. Alertmanager repeats each minute
// what still stands.
const maxAge = 15 * time.Minute

// guardAge refuses what was accepted before the machine went to sleep, or before this program was
// stopped: it is unknown whether it still stands.
func guardAge(w World, p Plan) Verdict {
	if age := w.Now.Time.Sub(p.Alert.Received); age > maxAge {
		return refuse(UnknownState, "received %s ago; it comes again if it still stands", age.Round(time.Second))
	}
	return pass("")
}

// guardAllowed looks at the container itself: its label ghostrunner.heal must name the action. No
// label means none, ever; so does a role that is not ours, and so does the container of this very
// program, because nothing would finish what it began. A back-off is for runners only.
func guardAllowed(w World, p Plan) Verdict {
	if p.Action.Engine {
		return pass("")
	}
	c := p.Container
	switch {
	case w.Options.Self != "" && c.ID == w.Options.Self:
		return refuse(NotAllowed, "container %s is this program's own", c.Name)
	case c.Role != runner.RoleRunner && c.Role != runner.RoleService:
		return refuse(NotAllowed, "container %s has no label ghostrunner.role", c.Name)
	case p.Action.Name == ActionBackoff && (c.Role != runner.RoleRunner || c.Runner == ""):
		return refuse(NotAllowed, "only a runner is backed off, %s is a %s", c.Name, c.Role)
	case !c.Allows(p.Action.Name):
		return refuse(NotAllowed, "container %s has ghostrunner.heal=%q, which does not name %s",
			c.Name, strings.Join(c.Heal, ","), p.Action.Name)
	}
	return pass("")
}

func guardDryRun(w World, p Plan) Verdict {
	if !w.Options.DryRun {
		return pass("")
	}
	return refuse(DryRun, "would %s %s", p.Action.Name, p.Target)
}
