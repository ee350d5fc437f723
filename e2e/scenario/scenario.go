// Package scenario breaks a running stack in the ways that the world does, one at a time, and follows each fault through
// the loop: metric, alert, action, healed. The demo prints what it sees; the end-to-end tests demand it.
package scenario

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// Fault is one thing that goes wrong, and what must follow.
type Fault struct {
	// Name is short, for the summary and to ask for it.
	Name string
	// Story is what happens in the world, in one sentence.
	Story string
	// Before waits for the state of the world that the fault is to meet. Nil: whatever it is.
	Before func(context.Context, *stack.Stack) error
	// Break makes it happen.
	Break func(context.Context, *stack.Stack) error
	// Metric is a PromQL expression that has a result as soon as Prometheus sees the fault, and none before. Empty: it shows nowhere.
	Metric string
	// Rises is a PromQL expression of one value, for what only ever grows: the fault is seen when it exceeds what it was before.
	Rises string
	// Count is a PromQL expression whose changes are shown while Metric is awaited; empty: nothing is.
	Count string
	// Alert holds the labels of the alert that must fire. Empty: what heals by itself is told to nobody.
	Alert map[string]string
	// Within bounds the time until the alert fires, or until Metric where there is none. Zero: Patience.
	Within time.Duration
	// Action is what the remediator must do, with the labels of its counter. Empty: people are told, and nothing is done.
	Action map[string]string
	// Instead are actions that may be done in its place, as "action target".
	Instead []string
	// Also are further actions that are in order, likewise. Everything else that is done breaks the promise.
	Also []string
	// Then are actions that are in order as soon as the fault has been mended, and not before.
	Then []string
	// Order is Docker's first event on Container that shows the action, where there is one.
	Order, Container string
	// Mend ends what the action cannot end by itself (it does not set the clock and does not renew a PAT).
	Mend func(context.Context, *stack.Stack) error
	// Healed holds when all is well again.
	Healed func(context.Context, *stack.Stack) (bool, error)
	// Settled holds when nothing more can come of it, and what was done can be judged. Nil: as soon as it is healed.
	Settled func(context.Context, *stack.Stack) (bool, error)
	// Costs is how many jobs may end with the fault itself, such as that of a worker that is killed.
	Costs int
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
	r.Err = r.run(ctx, s, step)
	if r.Err != nil {
		r.Err = fmt.Errorf("%s: %w", f.Name, r.Err)
	}
	return r
}

func (r *Result) run(ctx context.Context, s *stack.Stack, step Step) error {
	f := r.Fault
	events, err := s.Events(ctx)
	if err != nil {
		return err
	}
	// Asked for while Docker answers; kept for when it does not.
	if _, err := s.WebhookToken(ctx); err != nil {
		return err
	}
	if f.Before != nil {
		if err := f.Before(ctx, s); err != nil {
			return err
		}
	}
	before, err := f.unseen(ctx, s)
	if err != nil {
		return err
	}
	start := time.Now()
	see := func(kind string, at *time.Duration, detail string) {
		*at = time.Since(start)
		step(kind, detail, *at)
	}
	var broken time.Duration
	see("fault", &broken, f.Story)
	if err := f.Break(ctx, s); err != nil {
		return err
	}
	if err := r.notice(ctx, s, start, before, see, step); err != nil {
		return err
	}
	want := f.Action["action"] + " " + f.Action["target"]
	among := func(counts func(context.Context, time.Time) (map[string]int, error)) func(context.Context) (bool, error) {
		return func(ctx context.Context) (bool, error) {
			n, err := counts(ctx, start)
			if i := slices.IndexFunc(f.Instead, func(other string) bool { return n[other] > 0 }); n[want] == 0 && i >= 0 {
				want = f.Instead[i]
			}
			return n[want] > 0, err
		}
	}
	if len(f.Action) > 0 {
		if err := stack.Await(ctx, "action "+want, among(s.Begun)); err != nil {
			return err
		}
	} else if len(f.Alert) > 0 {
		step("action", "none: people are told", time.Since(start))
	}
	if len(f.Then) > 0 {
		if err := nothingElse(ctx, s, f, start); err != nil {
			return err
		}
		f.Also = slices.Concat(f.Also, f.Then)
	}
	if f.Mend != nil {
		if err := f.Mend(ctx, s); err != nil {
			return err
		}
	}
	// Only now can it be verified: an outage outlasts the restart that it calls for.
	if len(f.Action) > 0 {
		if err := stack.Await(ctx, "end of action "+want, among(s.Done)); err != nil {
			return err
		}
		see("action", &r.Action, want+", verified")
		r.Unhealthy, r.Ordered = order(events, f)
	}
	if err := stack.Await(ctx, "healing of "+f.Name, func(ctx context.Context) (bool, error) { return f.Healed(ctx, s) }); err != nil {
		return err
	}
	see("healed", &r.Healed, "")
	if f.Settled != nil {
		if err := stack.Await(ctx, "calm after "+f.Name, func(ctx context.Context) (bool, error) { return f.Settled(ctx, s) }); err != nil {
			return err
		}
	}
	return nothingElse(ctx, s, f, start)
}

// unseen waits until what shows the fault does not show, or it would be no sign of it, and returns what it must exceed.
func (f Fault) unseen(ctx context.Context, s *stack.Stack) (before float64, err error) {
	if f.Rises != "" {
		before, _, err = s.Query(ctx, f.Rises)
		return before, err
	}
	if f.Metric == "" {
		return 0, nil
	}
	return 0, stack.Await(ctx, "end of what went before: "+f.Metric, func(ctx context.Context) (bool, error) {
		_, shows, err := s.Query(ctx, f.Metric)
		return !shows, err
	})
}

// notice follows the fault to the alert that tells of it.
func (r *Result) notice(ctx context.Context, s *stack.Stack, start time.Time, before float64, see func(string, *time.Duration, string), step Step) error {
	f := r.Fault
	if f.Within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, start.Add(f.Within))
		defer cancel()
	}
	if f.Metric != "" {
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
			return err
		}
		see("metric", &r.Metric, f.Metric)
	}
	if f.Rises != "" {
		if err := stack.Await(ctx, "rise of "+f.Rises, func(ctx context.Context) (bool, error) {
			now, ok, err := s.Query(ctx, f.Rises)
			return ok && now > before, err
		}); err != nil {
			return err
		}
		see("metric", &r.Metric, f.Rises+" rises")
	}
	if len(f.Alert) > 0 {
		if err := stack.Await(ctx, "alert "+f.Alert["alertname"], func(ctx context.Context) (bool, error) {
			return s.AlertActive(ctx, f.Alert)
		}); err != nil {
			return err
		}
		see("alert", &r.Alert, f.Alert["alertname"])
	}
	return nil
}

// nothingElse demands that nothing was begun that the fault does not call for, whether it succeeded or not.
func nothingElse(ctx context.Context, s *stack.Stack, f Fault, start time.Time) error {
	begun, err := s.Begun(ctx, start)
	if err != nil {
		return err
	}
	for what, n := range begun {
		if what != f.Action["action"]+" "+f.Action["target"] && !slices.Contains(f.Instead, what) && !slices.Contains(f.Also, what) {
			return fmt.Errorf("the remediator did what this does not call for: %s, %d times", what, n)
		}
	}
	return nil
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
