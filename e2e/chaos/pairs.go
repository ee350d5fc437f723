package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// pairs are a cause and a symptom at the same time: while the cause lasts nobody touches the runner, and as soon as it has
// ended the runner is healed. Then two faults that have nothing to do with each other: both are healed.
func (w *world) pairs() []scenario.Fault {
	byName := map[string]scenario.Fault{}
	for _, f := range w.faults() {
		byName[f.Name] = f
	}
	unhealthy := scenario.Unhealthy(w.Stack).Name
	var all []scenario.Fault
	for _, cause := range []string{"clock 10 min ahead", "DNS dead", "no way to GitHub", "GitHub 500", "GitHub 403, scope removed", "GitHub 401, token rejected"} {
		all = append(all, w.causeAndSymptom(byName[cause], byName[unhealthy]))
	}
	hangs := byName["engine hangs"]
	hangs.Break, hangs.Mend = inTurn(hangs.Break, w.whenAlerted(hangs.Alert), hangs.Mend), nil // nobody can restart anything meanwhile
	hangs.Alert = nil
	for _, a := range []scenario.Fault{
		byName["database hangs"],
		byName[scenario.DiskLow().Name],
		byName["clock 3 s ahead"], // a drift of seconds holds nothing back
		hangs,
		byName["exporter killed"],
		byName["remediator killed"],
		byName["DNS slow"],
	} {
		all = append(all, atOnce(a, byName[unhealthy]))
	}
	return all
}

// causeAndSymptom breaks the cause, waits until it is known, and then the runner.
func (w *world) causeAndSymptom(cause, symptom scenario.Fault) scenario.Fault {
	f := symptom
	f.Name = cause.Name + " + " + symptom.Name
	f.Story = cause.Story + "; then " + symptom.Story
	f.Patience = 6 * time.Minute
	f.Costs = cause.Costs + symptom.Costs
	f.Also = slices.Concat(cause.Also, cause.Then, symptom.Also)
	f.Break = func(ctx context.Context, s *stack.Stack) error {
		begin := time.Now()
		if err := cause.Break(ctx, s); err != nil {
			return err
		}
		if err := w.whenAlerted(cause.Alert)(ctx, s); err != nil {
			return err
		}
		started, err := w.Docker(ctx, "inspect", "--format={{.State.StartedAt}}", symptom.Container)
		if err != nil {
			return err
		}
		if err := symptom.Break(ctx, s); err != nil {
			return err
		}
		if err := stack.Await(ctx, "metric "+symptom.Metric, w.holds(symptom.Metric)); err != nil {
			return err
		}
		// Without the cause the order comes within two seconds of this.
		if err := watch(ctx, holdBack, func(ctx context.Context) error {
			now, err := w.Docker(ctx, "inspect", "--format={{.State.StartedAt}}", symptom.Container)
			if err == nil && now != started {
				err = fmt.Errorf("%s was restarted although %s lasts", symptom.Container, cause.Name)
			}
			return err
		}); err != nil {
			return err
		}
		if begun, err := w.Begun(ctx, begin); err != nil || len(begun) > 0 {
			return fmt.Errorf("begun while %s lasts: %v (%w)", cause.Name, begun, err)
		}
		return cause.Mend(ctx, s)
	}
	f.Metric, f.Rises, f.Alert = "", "", nil // seen above; the order may come before they are asked for
	return f
}

// whenAlerted waits for an alert.
func (w *world) whenAlerted(labels map[string]string) step {
	return act(func(ctx context.Context) error {
		return stack.Await(ctx, "alert "+labels["alertname"], func(ctx context.Context) (bool, error) { return w.AlertActive(ctx, labels) })
	})
}

// holdBack is how long a symptom is left alone before it counts as proven.
const holdBack = 8 * time.Second

// watch demands that something stays true for a while.
func watch(ctx context.Context, d time.Duration, check func(context.Context) error) error {
	end := time.After(d)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := check(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return nil
		case <-tick.C:
		}
	}
}

// atOnce breaks both, mends the first when it is known, and demands that both heal.
func atOnce(a, b scenario.Fault) scenario.Fault {
	f := b
	f.Name = a.Name + " + " + b.Name
	f.Story = a.Story + "; and " + b.Story
	f.Patience = a.Patience + b.Patience
	f.Costs = a.Costs + b.Costs
	f.Also = slices.Concat(a.Also, a.Then, b.Also, b.Then)
	if len(a.Action) > 0 {
		f.Also = append(f.Also, a.Action["action"]+" "+a.Action["target"])
	}
	f.Break = func(ctx context.Context, s *stack.Stack) error {
		if err := b.Break(ctx, s); err != nil {
			return err
		}
		if err := a.Break(ctx, s); err != nil {
			return err
		}
		if len(a.Alert) > 0 {
			return stack.Await(ctx, fmt.Sprintf("alert %v", maps.Clone(a.Alert)), func(ctx context.Context) (bool, error) { return s.AlertActive(ctx, a.Alert) })
		}
		return nil
	}
	f.Metric, f.Rises, f.Alert = "", "", nil
	f.Order = ""
	f.Mend = func(ctx context.Context, s *stack.Stack) error {
		for _, mend := range []step{a.Mend, b.Mend} {
			if mend != nil {
				if err := mend(ctx, s); err != nil {
					return err
				}
			}
		}
		return nil
	}
	f.Healed = both(a.Healed, b.Healed)
	return f
}
