package e2e_test

import (
	"context"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// A restart and a back-off of a busy runner are refused, and its job succeeds.
func TestNoActionDuringJob(t *testing.T) {
	const slot = "ci-runner-1"
	labels := map[string]string{"runner": slot, "result": "Succeeded"}
	done := func(ctx context.Context) float64 {
		n, _, err := system.Metric(ctx, system.Ports.Exporter, "ghostrunner_runner_jobs_completed_total", labels)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before, refused := done(t.Context()), refusals(t, "busy")
	container := system.Container(slot)
	started, err := system.Docker(t.Context(), "inspect", "--format={{.State.StartedAt}}", container)
	if err != nil {
		t.Fatal(err)
	}
	if err := system.Job(t.Context(), "a release", slot, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	await(t, "the job to run", func(ctx context.Context) (bool, error) {
		running, _, err := system.Metric(ctx, system.Ports.Exporter, "ghostrunner_runner_job_running", map[string]string{"runner": slot})
		return running == 1, err
	})
	restart := stack.RetryLoopAlert(slot)
	delete(restart, "recheck") // GitHub shows the runner online, which is refused first
	post(t, restart, stack.StormAlert(slot))
	await(t, "both to be refused", func(context.Context) (bool, error) { return refusals(t, "busy") >= refused+2, nil })
	if n := done(t.Context()); n != before {
		t.Fatal("the job ended before the alerts were decided")
	}
	await(t, "the job to succeed", func(ctx context.Context) (bool, error) { return done(ctx) > before, nil })
	if now, err := system.Docker(t.Context(), "inspect", "--format={{.State.StartedAt}}", container); err != nil || now != started {
		t.Errorf("the container was restarted under the job: started %s, before %s (%v)", now, started, err)
	}
}
