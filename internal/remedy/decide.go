package remedy

import (
	"context"
	"fmt"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/remedy/prune"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// World is what a decision is based on. What has to be asked for is a function, and is asked only
// if the decision comes so far.
type World struct {
	Now     journal.Instant
	State   *journal.State
	Options *Options
	// List lists the containers.
	List func() ([]runner.Container, error)
	// Registrations returns GitHub's last answer about a container's slot; false if there is none
	// that is recent.
	Registrations func(runner.Container) ([]runner.Registration, bool)
	// JobIn refuses if a job may be running in one of the containers.
	JobIn   func([]runner.Container) Verdict
	Measure func(prune.Space) (prune.Space, error)
	// Working reports whether an action on a target is in progress this very moment.
	Working func(target string) bool
}

// Plan is what one alert leads to, if no guard refuses. It is complete before the first guard sees
// it, and is not changed after that.
type Plan struct {
	Alert       journal.Alert
	Action      Action
	Target      string             // the name in metrics and journal
	Container   runner.Container   // that is acted on; zero for prune
	Containers  []runner.Container // the list that it was found in
	Space       prune.Space        // what a prune is to free
	Fire        bool               // a restart that counts for the breaker
	Length      time.Duration      // how long a back-off stops the runner
	Ineffective string             // why the last action did not help; "" if that is not so
}

// Verdict is what a stage or guard says.
type Verdict = journal.Verdict

func pass(format string, args ...any) Verdict {
	return Verdict{OK: true, Detail: fmt.Sprintf(format, args...)}
}

func refuse(reason, format string, args ...any) Verdict {
	return Verdict{Reason: reason, Detail: runner.Printable(fmt.Sprintf(format, args...), journal.MaxDetail)}
}

// Guard is one reason not to act. Judge reads World and Plan, and changes nothing.
type Guard struct {
	Name  string // as in the history
	Judge func(World, Plan) Verdict
}

// Guards is the list, in reading order: input first, then history, then what has to be asked for.
var Guards = []Guard{
	{"paused", guardPaused},
	{"window", guardWindow},
	{"age", guardAge},
	{"allowed", guardAllowed},
	{"duplicate", guardDuplicate},
	{"breaker", guardBreaker},
	{"cooldown", guardCooldown},
	{"one_at_a_time", guardOneAtATime},
	{"recovered", guardRecovered},
	{"busy", guardBusy},
	{"last_online", guardLastOnline},
	{"dry_run", guardDryRun},
}

// Decision is a plan and what came of it.
type Decision struct {
	Plan            Plan
	Verdicts        []Verdict
	Refused, Detail string   // of the guard that refused; "" if the plan is to be carried out
	Would           []string // what a dry run would remove
}

// decide resolves the alert to a plan, escalates that, and asks the guards in their order; the
// first refusal ends it.
func decide(w World, alert journal.Alert) Decision {
	d := Decision{}
	add := func(name string, v Verdict) bool {
		v.Guard = name
		d.Verdicts = append(d.Verdicts, v)
		if !v.OK {
			d.Refused, d.Detail = v.Reason, v.Detail
		}
		return v.OK
	}
	plan, v := resolve(w, alert)
	d.Plan = plan
	if !add("resolve", v) {
		return d
	}
	d.Plan, v = escalate(w, plan)
	add("escalate", v)
	for _, g := range Guards {
		if !add(g.Name, g.Judge(w, d.Plan)) {
			break
		}
	}
	return d
}

// decide decides about an alert now. A dry run of a prune lists what would be removed.
func (r *Remediator) decide(ctx context.Context, alert journal.Alert) Decision {
	d := decide(World{
		Now: r.opts.now(), State: r.store.State(), Options: r.opts,
		List:          func() ([]runner.Container, error) { return r.containers.since(ctx, alert.Received) },
		Registrations: func(c runner.Container) ([]runner.Registration, bool) { return r.idle.registrations(ctx, c) },
		JobIn:         func(list []runner.Container) Verdict { return r.idle.check(ctx, list) },
		Measure:       func(s prune.Space) (prune.Space, error) { return r.opts.Pruner.Measured(ctx, s) },
		Working:       r.reconciler.isClaimed,
	}, alert)
	if d.Refused == DryRun && d.Plan.Action.Name == ActionPrune {
		d.Would, d.Detail = r.listPrune(ctx, d.Plan, d.Detail)
	}
	return d
}
