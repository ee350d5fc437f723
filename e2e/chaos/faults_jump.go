package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/guest"
	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// jumpFaults step the clock of a whole machine, which needs a guest's kernel. GitHub and the time
// servers do not follow; chronyd, as shipped, corrects the clock.
//
// A step ahead and its correction leave two programs waiting: Prometheus rejects samples that are
// older than its newest, and Alertmanager repeats nothing until its newest notification is past. No
// rule can report that in time, so the remediator does, and a person follows the runbook of
// GhostrunnerClockSetBack. Afterwards an ordinary fault must be healed as always.
func (w *world) jumpFaults() []scenario.Fault {
	fault := func(name, description string, by time.Duration, held bool) scenario.Fault {
		j := &jump{w: w, by: by, held: held}
		return scenario.Fault{
			Name: name, Description: description + "; then " + one + " hangs in its retry loop",
			Inject: j.inject,
			Remove: sequence(j.correct, w.startedLongAgo(one), j.ordinaryFault),
			// In the slow guest a slot that waited for the clock may take longer than the rules
			// allow.
			Allowed: []string{"restart " + one, "restart " + two},
			Healed:  w.runnersOnline(), Timeout: 25 * time.Minute,
		}
	}
	return []scenario.Fault{
		fault("clock jumps 8 h ahead", "the clock is set 8 hours ahead; chronyd sets it back at once", 8*time.Hour, false),
		fault("clock jumps 8 h back", "the clock is set 8 hours back; chronyd sets it ahead at once", -8*time.Hour, false),
		fault("clock 8 h ahead, recorded, and back", "the clock is set 8 hours ahead while chronyd is dead, until Prometheus and the remediator have recorded "+
			"the wrong time; then chronyd sets it back", 8*time.Hour, true),
	}
}

// jump is such a fault while it runs.
type jump struct {
	w        *world
	by       time.Duration
	held     bool // chronyd is dead until the wrong time has been recorded
	injected time.Time
	started  map[string]string // start time by container
}

func (j *jump) inject(ctx context.Context) (err error) {
	if j.started, err = j.startTimes(ctx); err != nil {
		return err
	}
	if j.held {
		if err := j.w.chrony.stop(ctx); err != nil {
			return err
		}
	}
	j.injected = time.Now()
	return guest.StepClock(j.by)
}

// startTimes has the start time of each container of the project that keeps running.
func (j *jump) startTimes(ctx context.Context) (map[string]string, error) {
	names, err := j.w.Containers(ctx)
	if err != nil {
		return nil, err
	}
	out, err := j.w.Docker(ctx, append([]string{"inspect", "--format={{.Name}} {{.State.Running}} {{.State.StartedAt}}"}, names...)...)
	started := map[string]string{}
	for line := range strings.Lines(out) {
		if name, at, running := strings.Cut(strings.TrimSpace(line), " true "); running {
			started[strings.TrimPrefix(name, "/")] = at
		}
	}
	return started, err
}

// correct waits until the clock is right, checks that the remediator reports the step back and that
// nothing else was restarted, and follows the runbook.
func (j *jump) correct(ctx context.Context) error {
	w := j.w
	if j.held {
		if err := sequence(
			await("the wrong time to be recorded", w.holds(`count_over_time(up{job="ghostrunner-exporter"}[2m]) > 20`)),
			await("a heartbeat of the wrong time", j.heartbeat),
			w.chrony.startSynchronized,
		)(ctx); err != nil {
			return err
		}
	}
	// Every scenario has a step back: the injected step or its correction.
	if err := sequence(
		j.await("the clock to be right", j.clockRight),
		j.await("the exporter to report the step back", j.stepReported),
		j.await("the remediator to log the step back", j.stepLogged),
		j.othersNotRestarted,
	)(ctx); err != nil {
		return err
	}
	if j.by > 0 {
		if err := j.restartWithoutData(ctx); err != nil {
			return err
		}
	}
	setBack := alert("GhostrunnerClockSetBack")
	return sequence(
		j.await("GhostrunnerClockSetBack", func(ctx context.Context) (bool, error) { return w.AlertActive(ctx, setBack) }),
		func(ctx context.Context) error { return w.Compose(ctx, nil, "restart", "exporter") },
		j.await("GhostrunnerClockSetBack to end", j.noAlert(setBack)),
		j.await("Prometheus to see that the clock is right", w.holds(`max(abs(ghostrunner_clock_offset_seconds)) < 2`)),
		j.await("GhostrunnerClockSkewSevere to end", j.noAlert(alert("GhostrunnerClockSkewSevere"))),
		j.await("a heartbeat", j.heartbeat),
		j.await("both runners to be online", w.runnersOnline()),
		j.await("no unfinished action", w.holds(`ghostrunner_remediator_unfinished_actions == 0 unless on() ALERTS{remediation=~".+"}`)),
	)(ctx)
}

// await is a step that waits for a condition and prints the time since the injection.
func (j *jump) await(what string, c condition) step {
	return func(ctx context.Context) error {
		if err := stack.Await(ctx, what, c); err != nil {
			j.printClocks(context.WithoutCancel(ctx))
			return err
		}
		fmt.Printf("   %9s  %s\n", "+"+seconds(time.Since(j.injected)), what)
		return nil
	}
}

// restartWithoutData is the runbook of GhostrunnerClockSetBack: Prometheus and Alertmanager start
// with empty data.
func (j *jump) restartWithoutData(ctx context.Context) error {
	if err := j.w.Compose(ctx, nil, "rm", "--stop", "--force", "prometheus", "alertmanager"); err != nil {
		return err
	}
	if _, err := j.w.Docker(ctx, "volume", "rm", j.w.project+"_prometheus-data", j.w.project+"_alertmanager-data"); err != nil {
		return err
	}
	return j.w.Compose(ctx, nil, "up", "--detach", "--no-build", "--pull=never")
}

// printClocks prints what is known of the clock.
func (j *jump) printClocks(ctx context.Context) {
	page, err := j.w.Page(ctx, j.w.Ports.Exporter)
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "ghostrunner_clock_") {
			fmt.Printf("   exporter:    %s", line)
		}
	}
	_, answer, queryErr := j.w.Get(ctx, j.w.Ports.Prometheus, "/api/v1/query?query=ghostrunner_clock_offset_seconds")
	fmt.Printf("   Prometheus:  %s\n   now:         %s %v\n", answer, time.Now().UTC().Format(time.RFC3339), errors.Join(err, queryErr))
}

// clockRight holds when the time servers report a small offset.
func (j *jump) clockRight(ctx context.Context) (bool, error) {
	off, found, err := j.w.Metric(ctx, j.w.Ports.Exporter, "ghostrunner_clock_offset_seconds", map[string]string{"source": "ntp"})
	return found && off > -2 && off < 2, err
}

func (j *jump) stepReported(ctx context.Context) (bool, error) {
	step, found, err := j.w.Metric(ctx, j.w.Ports.Exporter, "ghostrunner_clock_last_jump_seconds", map[string]string{"direction": "backward"})
	return found && step > 7*3600, err
}

func (j *jump) stepLogged(ctx context.Context) (bool, error) {
	log, err := j.w.Log(ctx, "remediator")
	return strings.Contains(log, "set back"), err
}

func (j *jump) noAlert(labels map[string]string) condition {
	return func(ctx context.Context) (bool, error) {
		active, err := j.w.AlertActive(ctx, labels)
		return !active, err
	}
}

// heartbeat holds when the remediator has just received a heartbeat.
func (j *jump) heartbeat(ctx context.Context) (bool, error) {
	at, found, err := j.w.Metric(ctx, j.w.Ports.Remediator, "ghostrunner_remediator_heartbeat_timestamp_seconds", nil)
	ago := time.Since(time.Unix(int64(at), 0))
	return found && ago > -2*time.Second && ago < 20*time.Second, err
}

// othersNotRestarted returns an error if a container was restarted that is not a runner.
func (j *jump) othersNotRestarted(ctx context.Context) error {
	now, err := j.startTimes(ctx)
	if err != nil {
		return err
	}
	for name, started := range j.started {
		if now[name] != started && name != j.w.Container(one) && name != j.w.Container(two) {
			return fmt.Errorf("%s was restarted: at %s, and before the jump at %s", name, now[name], started)
		}
	}
	return nil
}

// ordinaryFault runs a fault that concerns neither clocks nor health checks, which are slow in a
// guest.
func (j *jump) ordinaryFault(ctx context.Context) error {
	f := scenario.RetryLoop(j.w.Stack)
	f.Timeout, f.Allowed = 6*time.Minute, []string{"restart " + two}
	r := scenario.Run(ctx, j.w.Stack, f, func(kind, detail string, since time.Duration) {
		fmt.Printf("   afterwards, %9s  %-7s %s\n", "+"+seconds(since), kind, detail)
	})
	return r.Err
}
