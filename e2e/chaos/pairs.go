package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// pairs are first a cause and a symptom: while the cause lasts the runner is not restarted, and
// when it has ended the runner is healed. Then two unrelated faults at once: both are healed.
func (w *world) pairs() []scenario.Fault {
	byName := map[string]scenario.Fault{}
	for _, f := range w.faults() {
		byName[f.Name] = f
	}
	unhealthy := byName["unhealthy container"]
	var all []scenario.Fault
	for _, cause := range []string{"clock 10 min ahead", "DNS dead", "no way to GitHub", "GitHub 500", "GitHub 403, scope removed", "GitHub 401, token rejected"} {
		all = append(all, w.causeAndSymptom(byName[cause], unhealthy))
	}
	// Nothing can be restarted while the engine hangs, so it must end before the runner is healed.
	hangs := byName["engine hangs"]
	hangs.Inject, hangs.Remove = sequence(hangs.Inject, w.alertActive(hangs.Alert), hangs.Remove), nil
	hangs.Alert = nil
	for _, a := range []scenario.Fault{
		byName["database hangs"],
		byName["disk low"],
		byName["clock 3 s ahead"], // a small drift inhibits nothing
		hangs,
		byName["exporter killed"],
		byName["remediator killed"],
		byName["DNS slow"],
	} {
		all = append(all, w.atOnce(a, unhealthy))
	}
	return all
}

// causeAndSymptom injects the cause, waits for its alert, and then injects the symptom.
func (w *world) causeAndSymptom(cause, symptom scenario.Fault) scenario.Fault {
	f := symptom
	f.Name = cause.Name + " + " + symptom.Name
	f.Description = cause.Description + "; then " + symptom.Description
	f.Timeout = 6 * time.Minute
	f.MaxJobsLost = cause.MaxJobsLost + symptom.MaxJobsLost
	f.Allowed = slices.Concat(cause.Allowed, cause.AllowedLater, symptom.Allowed)
	f.Inject = func(ctx context.Context) error {
		begin := time.Now()
		if err := sequence(cause.Inject, w.alertActive(cause.Alert))(ctx); err != nil {
			return err
		}
		started, err := w.Docker(ctx, "inspect", "--format={{.State.StartedAt}}", symptom.Container)
		if err != nil {
			return err
		}
		if err := sequence(symptom.Inject, await("metric "+symptom.Metric, w.holds(symptom.Metric)))(ctx); err != nil {
			return err
		}
		// Without the cause the restart would begin within two seconds.
		if err := checkFor(ctx, inhibitionCheck, func(ctx context.Context) error {
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
		return cause.Remove(ctx)
	}
	f.Metric, f.Rises, f.Alert = "", "", nil // checked above; the action may begin before Run could check them
	return f
}

// alertActive waits for an alert.
func (w *world) alertActive(labels map[string]string) step {
	return await("alert "+labels["alertname"], func(ctx context.Context) (bool, error) { return w.AlertActive(ctx, labels) })
}

// inhibitionCheck is how long a symptom must not be acted on while its cause lasts.
const inhibitionCheck = 8 * time.Second

// checkFor returns the first error of check within d.
func checkFor(ctx context.Context, d time.Duration, check func(context.Context) error) error {
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

// atOnce injects both, removes the first when its alert is active, and requires both to heal.
func (w *world) atOnce(a, b scenario.Fault) scenario.Fault {
	f := b
	f.Name = a.Name + " + " + b.Name
	f.Description = a.Description + "; and " + b.Description
	f.Timeout = a.Timeout + b.Timeout
	f.MaxJobsLost = a.MaxJobsLost + b.MaxJobsLost
	f.Allowed = slices.Concat(a.Allowed, a.AllowedLater, b.Allowed, b.AllowedLater)
	if a.Action != "" {
		f.Allowed = append(f.Allowed, a.Action)
	}
	f.Inject = sequence(b.Inject, a.Inject)
	if len(a.Alert) > 0 {
		f.Inject = sequence(f.Inject, w.alertActive(a.Alert))
	}
	f.Metric, f.Rises, f.Alert = "", "", nil
	f.OrderEvent = ""
	f.Remove = func(ctx context.Context) error {
		for _, remove := range []step{a.Remove, b.Remove} {
			if remove != nil {
				if err := remove(ctx); err != nil {
					return err
				}
			}
		}
		return nil
	}
	f.Healed = both(a.Healed, b.Healed)
	return f
}
