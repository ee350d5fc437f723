// Package scenario breaks a running stack in the ways that the world does, one at a time, and follows each fault through
// the loop: metric, alert, action, healed. The demo prints what it sees; the end-to-end tests demand it.
package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// Fault is one thing that goes wrong, and what must follow.
type Fault struct {
	// Name is short, for the summary.
	Name string
	// Story is what happens in the world, in one sentence.
	Story string
	// Break makes it happen.
	Break func(context.Context, *stack.Stack) error
	// Metric is a PromQL expression that has a result as soon as Prometheus sees the fault.
	Metric string
	// Count is a PromQL expression whose changes are shown while Metric is awaited; empty: nothing is.
	Count string
	// Alert holds the labels of the alert that must fire.
	Alert map[string]string
	// Action is what the remediator must do, with the labels of its counter. Empty: people are told, and nothing is done.
	Action map[string]string
	// Order is Docker's first event on Container that shows the action, where there is one.
	Order, Container string
	// Mend ends what the action cannot end by itself (it does not set the clock and does not renew a PAT).
	Mend func(context.Context, *stack.Stack) error
	// Healed holds when all is well again.
	Healed func(context.Context, *stack.Stack) (bool, error)
	// Patience bounds the whole scenario.
	Patience time.Duration
}

// Result says when each step was seen, in time since the fault.
type Result struct {
	Fault                         Fault
	Metric, Alert, Action, Healed time.Duration
	// Unhealthy and Ordered are Docker's own time stamps of the unhealthy event and of the restart order; zero if the
	// fault has none.
	Unhealthy, Ordered time.Time
	Err                error
}

// Reaction is the time from Docker's unhealthy event to the restart order. ok is false where the fault had none.
func (r Result) Reaction() (d time.Duration, ok bool) {
	if r.Unhealthy.IsZero() || r.Ordered.IsZero() {
		return 0, false
	}
	return r.Ordered.Sub(r.Unhealthy), true
}

// Step tells the watcher what was seen just now.
type Step func(kind, detail string, since time.Duration)

// Run plays one fault to its end.
func Run(ctx context.Context, s *stack.Stack, f Fault, step Step) (r Result) {
	ctx, cancel := context.WithTimeout(ctx, f.Patience)
	defer cancel()
	r.Fault = f
	fail := func(err error) Result { r.Err = fmt.Errorf("%s: %w", f.Name, err); return r }

	events, err := s.Events(ctx)
	if err != nil {
		return fail(err)
	}
	done, err := actionsDone(ctx, s, f.Action)
	if err != nil {
		return fail(err)
	}
	all, err := actionsDone(ctx, s, nil)
	if err != nil {
		return fail(err)
	}

	start := time.Now()
	see := func(kind string, at *time.Duration, detail string) {
		*at = time.Since(start)
		step(kind, detail, *at)
	}
	var broken time.Duration
	see("fault", &broken, f.Story)
	if err := f.Break(ctx, s); err != nil {
		return fail(err)
	}
	var counted float64
	if err := stack.Await(ctx, "metric "+f.Metric, func(ctx context.Context) (bool, error) {
		if f.Count != "" {
			if n, ok, err := s.Query(ctx, f.Count); err == nil && ok && n != counted {
				counted = n
				step("count", fmt.Sprintf("%s is %v", f.Count, n), time.Since(start))
			}
		}
		_, ok, err := s.Query(ctx, f.Metric)
		return ok, err
	}); err != nil {
		return fail(err)
	}
	see("metric", &r.Metric, f.Metric)
	if err := stack.Await(ctx, "alert "+f.Alert["alertname"], func(ctx context.Context) (bool, error) {
		return s.AlertActive(ctx, f.Alert)
	}); err != nil {
		return fail(err)
	}
	see("alert", &r.Alert, f.Alert["alertname"])

	if len(f.Action) > 0 {
		if err := stack.Await(ctx, fmt.Sprintf("action %v", f.Action), func(ctx context.Context) (bool, error) {
			now, err := actionsDone(ctx, s, f.Action)
			return now > done, err
		}); err != nil {
			return fail(err)
		}
		see("action", &r.Action, fmt.Sprintf("%s %s, verified", f.Action["action"], f.Action["target"]))
		r.Unhealthy, r.Ordered = order(events, f)
	} else {
		now, err := actionsDone(ctx, s, nil)
		if err != nil {
			return fail(err)
		}
		if now != all {
			return fail(fmt.Errorf("the remediator acted %v times on a cause that no restart can heal", now-all))
		}
		see("action", &r.Action, "none: people are told")
	}
	if f.Mend != nil {
		if err := f.Mend(ctx, s); err != nil {
			return fail(err)
		}
	}
	if err := stack.Await(ctx, "healing of "+f.Name, func(ctx context.Context) (bool, error) { return f.Healed(ctx, s) }); err != nil {
		return fail(err)
	}
	see("healed", &r.Healed, "")
	return r
}

// actionsDone counts completed and verified actions.
func actionsDone(ctx context.Context, s *stack.Stack, labels map[string]string) (float64, error) {
	n, _, err := s.Metric(ctx, s.Ports.Remediator, "ghostrunner_remediator_actions_total", labels)
	return n, err
}

// order finds the unhealthy event and the first sign of the order after it, among the events seen so far.
func order(events <-chan stack.Event, f Fault) (unhealthy, ordered time.Time) {
	for {
		select {
		case e, open := <-events:
			switch {
			case !open:
				return unhealthy, ordered
			case e.Container != f.Container:
			case e.Action == "health_status: unhealthy":
				unhealthy = e.At
			case e.Action == f.Order && ordered.IsZero() && !unhealthy.IsZero():
				ordered = e.At
			}
		default:
			return unhealthy, ordered
		}
	}
}
