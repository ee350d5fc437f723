package slots_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/lab"
)

// busy starts a job on each slot and returns the running jobs.
func busy(t *testing.T, name string, d time.Duration) (running []int64) {
	t.Helper()
	for _, slot := range slots {
		running = append(running, enqueue(t, job(name, slot, d)).ID)
	}
	for _, id := range running {
		awaitRunning(t, id)
	}
	return running
}

// unharmed checks that the jobs have succeeded.
func unharmed(t *testing.T, running []int64) {
	t.Helper()
	for _, id := range running {
		if j, where := find(state(t), id); where != "completed" || j.Result != "Succeeded" {
			t.Errorf("job %d of %s is %s, with result %q: it was interrupted", id, j.Slot, where, j.Result)
		}
	}
}

// names are the names of GitHub's registrations.
func names(st lab.State) (all []string) {
	for _, r := range st.Registrations {
		all = append(all, r.Name)
	}
	return all
}

func TestRestartFinishesRunningJobs(t *testing.T) {
	running := busy(t, "while it is restarted", 8*time.Second)
	old := names(state(t))
	if err := system.Compose(t.Context(), nil, "restart", "runner-1", "runner-2"); err != nil {
		t.Fatal(err)
	}
	unharmed(t, running)
	for _, slot := range slots {
		j := awaitCompleted(t, enqueue(t, job("after the restart", slot, 0)).ID)
		if slices.Contains(old, j.Runner) {
			t.Errorf("%s kept its registration %s", slot, j.Runner)
		}
	}
	for _, name := range names(state(t)) {
		if slices.Contains(old, name) {
			t.Errorf("registration %s of before the restart is left", name)
		}
	}
}

// The stop timeout of compose.yaml is longer than the jobs, and `down` uses it.
func TestDownFinishesRunningJobs(t *testing.T) {
	running := busy(t, "during down", 8*time.Second)
	if err := system.Compose(t.Context(), nil, "down"); err != nil {
		t.Fatal(err)
	}
	unharmed(t, running)
	if left := names(state(t)); len(left) > 0 {
		t.Errorf("registrations are left: %v", left)
	}
	if left := workLeft(t); left != "" {
		t.Errorf("work directories hold\n%s", left)
	}
	if err := system.Compose(t.Context(), nil, "up", "--detach", "--no-build", "--pull=never"); err != nil {
		t.Fatal(err)
	}
	for _, slot := range slots {
		awaitCompleted(t, enqueue(t, job("after down", slot, 0)).ID)
	}
}

// After the stop timeout, and not before, the container is killed. Its job is lost, GitHub keeps
// the registration until the lock on the job expires, and the slot continues.
func TestJobLongerThanStopTimeoutIsKilled(t *testing.T) {
	const slot, service = "ci-runner-1", "runner-1"
	long := enqueue(t, job("longer than the stop timeout", slot, time.Hour))
	awaitRunning(t, long.ID)
	begin := time.Now()
	if err := system.Compose(t.Context(), nil, "stop", "--timeout=5", service); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 5*time.Second {
		t.Errorf("the container was stopped after %s, before the stop timeout", took)
	}
	if _, where := find(state(t), long.ID); where != "running" {
		t.Errorf("the job is %s at GitHub, although its lock has not expired", where)
	}
	if err := system.Compose(t.Context(), nil, "start", service); err != nil {
		t.Fatal(err)
	}
	awaitCompleted(t, enqueue(t, job("after a job was interrupted", slot, 0)).ID)
	if j := awaitCompleted(t, long.ID); j.Result != "Abandoned" {
		t.Errorf("the job was killed with its container and ended as %s", j.Result)
	}
}

// A new RUNNER_VERSION creates containers with a new image and the old volumes. The running job is
// finished, the new listener is the image's, and the caches are kept.
func TestUpgradeFinishesRunningJob(t *testing.T) {
	const slot, service, version = "ci-runner-1", "runner-1", "2.999.0"
	awaitCompleted(t, enqueue(t, lab.JobRequest{Name: "fills the cache", Runner: slot, Script: "echo kept >/var/cache/ghostrunner/pnpm/kept"}).ID)
	next, err := system.RunnerImage(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	running := busy(t, "while the runner is upgraded", 8*time.Second)
	if err := system.Compose(t.Context(), map[string]string{"RUNNER_IMAGE": next}, "up", "--detach", "--no-build", "--pull=never", "--no-deps", service); err != nil {
		t.Fatal(err)
	}
	unharmed(t, running[:1])
	j := awaitCompleted(t, enqueue(t, lab.JobRequest{Name: "after the upgrade", Runner: slot, Script: "test -s /var/cache/ghostrunner/pnpm/kept"}).ID)
	if j.Result != "Succeeded" {
		t.Errorf("the cache was lost by the upgrade: the job ended as %s", j.Result)
	}
	logs, err := system.Docker(t.Context(), "logs", system.Container(slot))
	if err != nil || !strings.Contains(logs, "Current runner version: '"+version+"'") {
		t.Errorf("the slot does not run version %s (%v)", version, err)
	}
	awaitCompleted(t, running[1])
}
