package remedy

import (
	"context"
	"time"
)

// Plan is what one alert leads to, if no guard objects. The guards fill it in:
// the first ones find action and target, the later ones judge.
type Plan struct {
	Alert  Alert
	Action Action
	// Container is the one container that is acted on; zero for prune.
	Container Container
	// Target is its name in metrics and journal.
	Target string
	// Rung is how far up the ladder a restart is, 0 for other actions. InVain says that the rungs below did not help.
	Rung   int
	InVain bool
	// Probation says that a fire on probation turned a restart into a back-off.
	Probation bool
	// Length is how long a back-off stops the runner.
	Length time.Duration
	// Free is the free space in bytes that a prune begins with.
	Free uint64
	// Held is why a prune must spare what is young: a job runs, or may run.
	Held string
	// Would is what a dry run would remove.
	Would []string
	// Disbelieved is what GitHub says of a job, against all that is seen here.
	Disbelieved string
	// Wait says that somebody works on the target right now: no refusal yet, the
	// alert is decided again after that.
	Wait bool
	// Containers is the list that the target was found in.
	Containers []Container
}

// targetEngine is the target of actions on the engine as a whole.
const targetEngine = "engine"

// Guard is one reason not to act.
type Guard struct {
	// Name is shown in the history.
	Name string
	// Check judges, and may fill the plan in. It must not change anything else.
	Check func(ctx context.Context, p *Plan) Verdict
}

// pass and refuse make verdicts; the guard's name is added by decide.
func pass(detail string) Verdict { return Verdict{OK: true, Detail: detail} }

func refuse(reason Reason, detail string) Verdict {
	return Verdict{Reason: reason, Detail: clean(detail, maxDetail)}
}

// maxDetail bounds every sentence that is kept.
const maxDetail = 512

// Decision is a plan and what the guards said of it.
type Decision struct {
	Plan     Plan
	Verdicts []Verdict
	// Refused is empty if every guard let the plan pass.
	Refused Reason
	Detail  string
}

// decide asks the guards in their order; the first refusal ends it.
func decide(ctx context.Context, guards []Guard, alert Alert) Decision {
	d := Decision{Plan: Plan{Alert: alert}}
	for _, g := range guards {
		v := g.Check(ctx, &d.Plan)
		v.Guard = g.Name
		d.Verdicts = append(d.Verdicts, v)
		if !v.OK {
			d.Refused, d.Detail = v.Reason, v.Detail
			break
		}
	}
	return d
}

// Guards is the list, in reading order: what needs nothing comes first, what
// asks Docker comes last. A new guard is one file and one line.
func (r *Remediator) Guards() []Guard {
	return []Guard{
		{"action", r.guardAction},
		{"paused", r.guardPaused},
		{"window", r.guardWindow},
		{"age", r.guardAge},
		{"duplicate", r.guardDuplicate},
		{"target", r.guardTarget},
		{"breaker", r.guardBreaker},
		{"ladder", r.guardLadder},
		{"allowed", r.guardAllowed},
		{"cooldown", r.guardCooldown},
		{"one_at_a_time", r.guardOneAtATime},
		{"recovered", r.guardRecovered},
		{"busy", r.guardBusy},
		{"last_online", r.guardLastOnline},
		{"dry_run", r.guardDryRun},
	}
}
