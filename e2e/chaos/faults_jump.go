package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/guest"
	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// jumpFaults set the clock of a whole machine, which only a guest's kernel allows. What is outside of the machine, GitHub and
// the time servers, does not follow; chronyd, as it is shipped, puts the clock right. Nothing of the stack may be restarted for
// it but the two that remember the future and would wait for it; and afterwards an ordinary fault is healed as ever.
func (w *world) jumpFaults() []scenario.Fault {
	jump := func(name, story string, by time.Duration, held bool) scenario.Fault {
		j := &jump{w: w, by: by, held: held}
		return scenario.Fault{
			Name: name, Story: story,
			Break: j.strike, Within: 3 * time.Minute,
			Metric: `max(abs(ghostrunner_clock_offset_seconds)) > 3600`, Alert: alert("GhostrunnerClockSkewSevere"),
			Mend: inTurn(j.mend, w.whenOld(one), j.ordinary),
			// In a guest a slot that has waited for the clock can need longer to be back than the rules give it.
			Also:   append(j.forgetful(), "restart "+one, "restart "+two),
			Healed: runnersOnline(), Patience: 20 * time.Minute,
		}
	}
	back := jump("clock jumps 8 h back", "the machine's clock is set 8 hours back; chronyd puts it right as soon as it sees it; then "+one+" hangs in its retry loop", -8*time.Hour, false)
	// Prometheus stores nothing that is older than what it has, so it is not sure to know before the clock is right again. The
	// remediator needs no alert to see to the two.
	back.Metric, back.Alert, back.Rises = "", nil, `sum(ghostrunner_clock_jumps_total{direction="backward"})`
	back.Within = 5 * time.Minute
	return []scenario.Fault{
		jump("clock jumps 8 h ahead", "the machine's clock is set 8 hours ahead; chronyd puts it right as soon as it sees it; then "+one+" hangs in its retry loop", 8*time.Hour, false),
		back,
		jump("clock 8 h ahead, recorded, and back", "the machine's clock is set 8 hours ahead while chronyd is dead, until metrics and the heartbeat of the future are written down; "+
			"then chronyd comes back; then "+one+" hangs in its retry loop", 8*time.Hour, true),
	}
}

// jump is one such fault while it is played.
type jump struct {
	w       *world
	by      time.Duration
	held    bool // chronyd is dead until the wrong time has been recorded
	struck  time.Time
	started map[string]string // by container
}

// forgetful are the restarts that a jump back calls for, as "action target".
func (j *jump) forgetful() []string {
	return []string{"restart " + j.w.service("prometheus"), "restart " + j.w.service("alertmanager")}
}

func (j *jump) strike(ctx context.Context, _ *stack.Stack) (err error) {
	if j.started, err = j.starts(ctx); err != nil {
		return err
	}
	if j.held {
		if err := j.w.chrony.stop(ctx); err != nil {
			return err
		}
	}
	j.struck = time.Now()
	return guest.StepClock(j.by)
}

// starts says of each container of the project when it began to run.
func (j *jump) starts(ctx context.Context) (map[string]string, error) {
	names, err := j.w.Containers(ctx)
	if err != nil {
		return nil, err
	}
	out, err := j.w.Docker(ctx, append([]string{"inspect", "--format={{.Name}} {{.State.StartedAt}}"}, names...)...)
	at := map[string]string{}
	for line := range strings.Lines(out) {
		name, began, _ := strings.Cut(strings.TrimSpace(line), " ")
		at[strings.TrimPrefix(name, "/")] = began
	}
	return at, err
}

// mend lets chronyd put the clock right, and waits until everything has found its way back to the present.
func (j *jump) mend(ctx context.Context, _ *stack.Stack) error {
	w := j.w
	if j.held {
		if err := stack.Await(ctx, "the wrong time to be recorded", w.holds(`count_over_time(up{job="ghostrunner-exporter"}[2m]) > 20`)); err != nil {
			return err
		}
		if err := stack.Await(ctx, "a heartbeat of the wrong time", j.beats); err != nil {
			return err
		}
		if err := w.chrony.synchronised(ctx); err != nil {
			return err
		}
	}
	for _, wait := range []struct {
		what string
		is   func(context.Context) (bool, error)
	}{
		{"the clock to be right", j.right},
		{"Prometheus to see that the clock is right", w.holds(`max(abs(ghostrunner_clock_offset_seconds)) < 2`)},
		{"the alert to be over", func(ctx context.Context) (bool, error) {
			active, err := w.AlertActive(ctx, alert("GhostrunnerClockSkewSevere"))
			return !active, err
		}},
		{"a heartbeat", j.beats},
		{"both runners to be online", func(ctx context.Context) (bool, error) { return runnersOnline()(ctx, w.Stack) }},
		{"nothing to be under repair", w.holds(`ghostrunner_remediator_unfinished_actions == 0 unless on() ALERTS{remediation=~".+"}`)},
	} {
		if err := stack.Await(ctx, wait.what, wait.is); err != nil {
			j.explain(context.WithoutCancel(ctx))
			return err
		}
		fmt.Printf("   %9s  %s\n", "+"+seconds(time.Since(j.struck)), wait.what)
	}
	return j.untouched(ctx)
}

// explain prints what is known of the clock, after a wait in vain.
func (j *jump) explain(ctx context.Context) {
	page, err := j.w.Page(ctx, j.w.Ports.Exporter)
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "ghostrunner_clock_offset_seconds{") {
			fmt.Printf("   the exporter says  %s", line)
		}
	}
	_, answer, queryErr := j.w.Get(ctx, j.w.Ports.Prometheus, "/api/v1/query?query=ghostrunner_clock_offset_seconds")
	fmt.Printf("   Prometheus says    %s\n   it is now          %s %v\n", answer, time.Now().UTC().Format(time.RFC3339), errors.Join(err, queryErr))
}

// right holds when the time servers say so.
func (j *jump) right(ctx context.Context) (bool, error) {
	page, err := j.w.Page(ctx, j.w.Ports.Exporter)
	if err != nil {
		return false, err
	}
	off, found, err := page.Sum("ghostrunner_clock_offset_seconds", map[string]string{"source": "ntp"})
	return found && off > -2 && off < 2, err
}

// beats holds when the remediator has just had a heartbeat.
func (j *jump) beats(ctx context.Context) (bool, error) {
	page, err := j.w.Page(ctx, j.w.Ports.Remediator)
	if err != nil {
		return false, err
	}
	at, found, err := page.Sum("ghostrunner_remediator_heartbeat_timestamp_seconds", nil)
	ago := time.Since(time.Unix(int64(at), 0))
	return found && ago > -2*time.Second && ago < 20*time.Second, err
}

// untouched demands that what remembers the future was restarted, and nothing else.
func (j *jump) untouched(ctx context.Context) error {
	now, err := j.starts(ctx)
	if err != nil {
		return err
	}
	for name, began := range j.started {
		switch anew, forgets := now[name] != began, slices.Contains(j.forgetful(), "restart "+name); {
		case anew && !forgets:
			return fmt.Errorf("%s was started anew: at %s, and before the jump at %s", name, now[name], began)
		case forgets && !anew:
			return fmt.Errorf("%s was not started anew, and waits for the time that the clock had shown", name)
		}
	}
	return nil
}

// ordinary plays a fault that has nothing to do with clocks, nor with health checks, which are slow in a guest.
func (j *jump) ordinary(ctx context.Context, s *stack.Stack) error {
	f := scenario.RetryLoop(s)
	f.Patience, f.Also = 6*time.Minute, append(j.forgetful(), "restart "+two)
	r := scenario.Run(ctx, s, f, func(kind, detail string, since time.Duration) {
		fmt.Printf("   after it, %9s  %-7s %s\n", "+"+seconds(since), kind, detail)
	})
	return r.Err
}
