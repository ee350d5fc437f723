// Package scenario injects faults into a running stack, one at a time, and follows each through the
// loop: metric, alert, action, healed. The demo prints what it observes; the end-to-end tests
// assert it.
package scenario

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// Step is a part of a fault, such as its injection.
type Step = func(context.Context) error

// Condition reports whether something holds now.
type Condition = func(context.Context) (bool, error)

// Fault is one fault and its expected consequences. An action is written as "action target", such
// as "restart ci-runner-1".
type Fault struct {
	Name        string
	Description string
	// Ready waits for the state that the fault needs. Nil: any.
	Ready  Step
	Inject Step
	// Metric is a PromQL expression that has a result as soon as Prometheus sees the fault, and
	// none before. Empty: the fault shows in no metric.
	Metric string
	// Rises is a PromQL expression of one value that only increases: Prometheus sees the fault when
	// it exceeds its earlier value.
	Rises string
	// Count is a PromQL expression whose changes are shown while Metric is awaited. Optional.
	Count string
	// Alert has the labels of the alert that must fire. Empty: none, the fault heals without help.
	Alert map[string]string
	// Within bounds the time until the alert fires, or until Metric if there is none. Zero:
	// Timeout.
	Within time.Duration
	// Action is what the remediator must do. Empty: nothing, people are notified.
	Action string
	// Alternatives may be done in place of Action.
	Alternatives []string
	// Allowed may be done too. Any other action is an error.
	Allowed []string
	// AllowedLater may be done once the fault has been removed, but not earlier.
	AllowedLater []string
	// OrderEvent is the first Docker event of Container that belongs to the action. Optional.
	OrderEvent, Container string
	// Remove ends what the action cannot end, such as a revoked PAT. Optional.
	Remove Step
	Healed Condition
	// Settled holds when no further action can follow, so that all of them can be checked. Nil: as
	// soon as the fault is healed.
	Settled Condition
	// MaxJobsLost is how many jobs the fault itself may interrupt, such as that of a killed worker.
	MaxJobsLost int
	// Timeout bounds the whole scenario.
	Timeout time.Duration
}

// Result has the time of each observation since the injection.
type Result struct {
	Fault                         Fault
	Metric, Alert, Action, Healed time.Duration
	// Unhealthy and Ordered are Docker's timestamps of the unhealthy event and of OrderEvent; zero
	// if there was none.
	Unhealthy, Ordered time.Time
	Err                error
}

// Reaction is the time from Docker's unhealthy event to the restart order.
func (r Result) Reaction() (d time.Duration, ok bool) {
	if r.Unhealthy.IsZero() || r.Ordered.IsZero() {
		return 0, false
	}
	return r.Ordered.Sub(r.Unhealthy), true
}

// Observe is called with each observation.
type Observe func(kind, detail string, since time.Duration)

// Run runs one scenario.
func Run(ctx context.Context, s *stack.Stack, f Fault, observe Observe) Result {
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	r := run{Result: Result{Fault: f}, stack: s, observe: observe}
	if err := r.run(ctx); err != nil {
		r.Err = fmt.Errorf("%s: %w", f.Name, err)
	}
	return r.Result
}

// run is a scenario in progress.
type run struct {
	Result

	stack   *stack.Stack
	observe Observe
	start   time.Time
	before  float64 // value of Rises before the injection
}

func (r *run) record(kind string, at *time.Duration, detail string) {
	*at = time.Since(r.start)
	r.observe(kind, detail, *at)
}

func (r *run) run(ctx context.Context) error {
	f := r.Fault
	events, err := r.stack.Events(ctx)
	if err != nil {
		return err
	}
	// Read now, because the fault may stop Docker.
	if _, err := r.stack.WebhookToken(ctx); err != nil {
		return err
	}
	if f.Ready != nil {
		if err := f.Ready(ctx); err != nil {
			return err
		}
	}
	if err := r.awaitUnseen(ctx); err != nil {
		return err
	}
	r.start = time.Now()
	r.observe("fault", f.Description, 0)
	if err := f.Inject(ctx); err != nil {
		return err
	}
	if err := r.awaitNotice(ctx); err != nil {
		return err
	}
	if err := r.awaitAction(ctx, events); err != nil {
		return err
	}
	if err := stack.Await(ctx, f.Name+" to be healed", f.Healed); err != nil {
		return err
	}
	r.record("healed", &r.Healed, "")
	if f.Settled != nil {
		if err := stack.Await(ctx, "everything to settle after "+f.Name, f.Settled); err != nil {
			return err
		}
	}
	return r.checkActions(ctx)
}

// awaitUnseen waits until the signs of the fault are absent.
func (r *run) awaitUnseen(ctx context.Context) (err error) {
	f := r.Fault
	if f.Rises != "" {
		r.before, _, err = r.stack.Query(ctx, f.Rises)
		return err
	}
	if f.Metric == "" {
		return nil
	}
	return stack.Await(ctx, "no result of "+f.Metric, func(ctx context.Context) (bool, error) {
		_, found, err := r.stack.Query(ctx, f.Metric)
		return !found, err
	})
}

// awaitNotice waits for the metric and the alert.
func (r *run) awaitNotice(ctx context.Context) error {
	f := r.Fault
	if f.Within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, r.start.Add(f.Within))
		defer cancel()
	}
	if f.Metric != "" {
		var counted float64
		if err := stack.Await(ctx, "metric "+f.Metric, func(ctx context.Context) (bool, error) {
			if f.Count != "" {
				if n, ok, err := r.stack.Query(ctx, f.Count); err == nil && ok && n != counted {
					counted = n
					r.observe("count", fmt.Sprintf("%s is %v", f.Count, n), time.Since(r.start))
				}
			}
			_, ok, err := r.stack.Query(ctx, f.Metric)
			return ok, err
		}); err != nil {
			return err
		}
		r.record("metric", &r.Metric, f.Metric)
	}
	if f.Rises != "" {
		if err := stack.Await(ctx, "rise of "+f.Rises, func(ctx context.Context) (bool, error) {
			now, ok, err := r.stack.Query(ctx, f.Rises)
			return ok && now > r.before, err
		}); err != nil {
			return err
		}
		r.record("metric", &r.Metric, f.Rises+" rises")
	}
	if len(f.Alert) > 0 {
		if err := stack.Await(ctx, "alert "+f.Alert["alertname"], func(ctx context.Context) (bool, error) {
			return r.stack.AlertActive(ctx, f.Alert)
		}); err != nil {
			return err
		}
		r.record("alert", &r.Alert, f.Alert["alertname"])
	}
	return nil
}

// awaitAction waits for the action to begin, removes the fault, and waits for the action to be
// verified, which an outage can delay until it has ended.
func (r *run) awaitAction(ctx context.Context, events <-chan stack.Event) error {
	f := r.Fault
	want := f.Action
	counted := func(counts func(context.Context, time.Time) (map[string]int, error)) Condition {
		return func(ctx context.Context) (bool, error) {
			n, err := counts(ctx, r.start)
			i := slices.IndexFunc(f.Alternatives, func(other string) bool { return n[other] > 0 })
			if n[want] == 0 && i >= 0 {
				want = f.Alternatives[i]
			}
			return n[want] > 0, err
		}
	}
	if want != "" {
		if err := stack.Await(ctx, "action "+want, counted(r.stack.Begun)); err != nil {
			return err
		}
	} else if len(f.Alert) > 0 {
		r.observe("action", "none: people are notified", time.Since(r.start))
	}
	if len(f.AllowedLater) > 0 {
		if err := r.checkActions(ctx); err != nil {
			return err
		}
		r.Fault.Allowed = slices.Concat(f.Allowed, f.AllowedLater)
	}
	if f.Remove != nil {
		if err := f.Remove(ctx); err != nil {
			return err
		}
	}
	if want == "" {
		return nil
	}
	if err := stack.Await(ctx, "end of action "+want, counted(r.stack.Done)); err != nil {
		return err
	}
	r.record("action", &r.Action, want+", verified")
	r.Unhealthy, r.Ordered = orderTimes(events, f)
	return nil
}

// checkActions returns an error if an action was begun that the fault does not allow.
func (r *run) checkActions(ctx context.Context) error {
	begun, err := r.stack.Begun(ctx, r.start)
	if err != nil {
		return err
	}
	f := r.Fault
	allowed := slices.Concat([]string{f.Action}, f.Alternatives, f.Allowed)
	for action, n := range begun {
		if !slices.Contains(allowed, action) {
			return fmt.Errorf("the remediator did what is not allowed here: %s, %d times", action, n)
		}
	}
	return nil
}

// orderTimes finds the unhealthy event and the OrderEvent after it, among the events so far.
func orderTimes(events <-chan stack.Event, f Fault) (unhealthy, ordered time.Time) {
	for {
		select {
		case e, open := <-events:
			switch {
			case !open:
				return unhealthy, ordered
			case e.Container != f.Container:
			case e.Action == "health_status: unhealthy":
				unhealthy = e.At
			case e.Action == f.OrderEvent && ordered.IsZero() && !unhealthy.IsZero():
				ordered = e.At
			}
		default:
			return unhealthy, ordered
		}
	}
}
