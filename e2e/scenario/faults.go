package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// Faults returns the six faults of the demo in their order. The PAT is last: for a minute after a
// 401 nothing is restarted, which would delay the storm.
func Faults(s *stack.Stack) []Fault {
	all := []Fault{RetryLoop(s), Unhealthy(s), clockOff(s), DiskLow(s), Storm(s), rejectedPAT(s)}
	for i := range all {
		// Other programs can fill the shared disk below the threshold at any time.
		all[i].Allowed = append(all[i].Allowed, "prune engine")
	}
	return all
}

// Switch returns the steps that turn a fault of the lab on and off; runner and value may be empty.
func Switch(s *stack.Stack, name, runner, value string) (on, off Step) {
	set := func(on bool, runner, value string) Step {
		return func(ctx context.Context) error {
			_, err := s.Lab().SetFault(ctx, name, runner, on, value)
			return err
		}
	}
	return set(true, runner, value), set(false, "", "")
}

// Holds is the condition that a PromQL expression has a result.
func Holds(s *stack.Stack, expr string) Condition {
	return func(ctx context.Context) (bool, error) {
		_, ok, err := s.Query(ctx, expr)
		return ok, err
	}
}

// RetryLoop is a listener whose poll hangs in its retry loop.
func RetryLoop(s *stack.Stack) Fault {
	const slot = "ci-runner-1"
	on, off := Switch(s, "retry-loop", slot, "")
	return Fault{
		Name:        "retry loop",
		Description: slot + "'s long poll dies; its listener retries without end and GitHub shows it offline",
		Inject:      on,
		Metric:      fmt.Sprintf("ghostrunner_runner_retrying{runner=%q} == 1", slot),
		Alert:       map[string]string{"alertname": "GhostrunnerRunnerRetryLoop", "runner": slot},
		Action:      "restart " + slot,
		Container:   s.Container(slot),
		Remove:      off,
		Healed:      Online(s, slot),
		Timeout:     2 * time.Minute,
	}
}

// Unhealthy is a runner whose health check fails.
func Unhealthy(s *stack.Stack) Fault {
	const slot = "ci-runner-2"
	return Fault{
		Name:        "unhealthy container",
		Description: slot + "'s supervisor freezes; its health check fails three times",
		Inject: func(ctx context.Context) error {
			_, err := s.Docker(ctx, "kill", "--signal=STOP", s.Container(slot))
			return err
		},
		Metric:     fmt.Sprintf("ghostrunner_container_healthy{container=%q} == 0", s.Container(slot)),
		Alert:      map[string]string{"alertname": "GhostrunnerRunnerUnhealthy", "container": s.Container(slot)},
		Action:     "restart " + slot,
		OrderEvent: "kill",
		Container:  s.Container(slot),
		Healed:     Online(s, slot),
		Timeout:    2 * time.Minute,
	}
}

func clockOff(s *stack.Stack) Fault {
	on, off := Switch(s, "clock-offset", "", "3")
	return Fault{
		Name:        "clock 3 s off",
		Description: "the time servers report that this machine's clock is 3 s ahead",
		Inject:      on,
		Metric:      `abs(ghostrunner_clock_offset_seconds{source="ntp"}) > 2`,
		Alert:       map[string]string{"alertname": "GhostrunnerClockDrift"},
		Remove:      off,
		Healed:      Holds(s, `abs(ghostrunner_clock_offset_seconds{source="ntp"}) < 1`),
		Timeout:     2 * time.Minute,
	}
}

func rejectedPAT(s *stack.Stack) Fault {
	on, off := Switch(s, "pat-rejected", "", "")
	return Fault{
		Name:        "rejected PAT",
		Description: "the PAT is revoked: GitHub answers 401",
		Inject:      on,
		Metric:      `ghostrunner_pat_valid == 0`,
		Alert:       map[string]string{"alertname": "GhostrunnerPATInvalid"},
		Remove:      off,
		Healed:      Holds(s, `ghostrunner_pat_valid == 1`),
		Timeout:     3 * time.Minute,
	}
}

// DiskLow is a disk that unused images fill below the threshold.
func DiskLow(s *stack.Stack) Fault {
	const free, threshold = `min(ghostrunner_disk_free_bytes)`, `min(ghostrunner_threshold{name="disk_prune_bytes"})`
	return Fault{
		Name:        "disk low",
		Description: "throw-away images fill the disk below the threshold",
		Inject:      s.AddFillerImages,
		Metric:      free + " < " + threshold,
		Alert:       map[string]string{"alertname": "GhostrunnerDiskLow"},
		Action:      "prune engine",
		Healed:      Holds(s, free+" > "+threshold),
		Timeout:     3 * time.Minute,
	}
}

// Storm is a runner that restarts do not heal.
func Storm(s *stack.Stack) Fault {
	const slot = "ci-runner-1"
	on, off := Switch(s, "retry-loop", slot, "sticky")
	return Fault{
		Name:        "sixth restart in an hour",
		Description: slot + " enters the retry loop again after every restart",
		Inject:      on,
		Count:       fmt.Sprintf("ghostrunner_watchdog_fires_total{runner=%q}", slot),
		Metric:      fmt.Sprintf("ghostrunner_watchdog_fires_total{runner=%q} >= 6", slot),
		Alert:       map[string]string{"alertname": "GhostrunnerWatchdogStorm", "runner": slot},
		Action:      "backoff " + slot,
		Allowed:     []string{"restart " + slot},
		Container:   s.Container(slot),
		// The network recovers during the back-off; only then can the probation succeed.
		Remove:  off,
		Healed:  Online(s, slot),
		Timeout: 6 * time.Minute,
	}
}

// Online holds when GitHub shows the slot online, its listener's polls are answered, and its
// container is healthy.
func Online(s *stack.Stack, slot string) Condition {
	online := Holds(s, fmt.Sprintf(`ghostrunner_runner_online{runner=%[1]q} == 1 unless on(runner) ghostrunner_runner_retrying{runner=%[1]q} == 1`, slot))
	return func(ctx context.Context) (bool, error) {
		if ok, err := online(ctx); !ok || err != nil {
			return false, err
		}
		health, found, err := s.Metric(ctx, s.Ports.Exporter, "ghostrunner_container_healthy", map[string]string{"container": s.Container(slot)})
		return found && health == 1, err
	}
}

// slots are the runners of the stack.
var slots = []string{"ci-runner-1", "ci-runner-2"}

// Ready waits until both runners are online and every Prometheus target is up.
func Ready(ctx context.Context, s *stack.Stack) error {
	for _, slot := range slots {
		if err := stack.Await(ctx, slot+" to be online", Online(s, slot)); err != nil {
			return err
		}
	}
	return stack.Await(ctx, "every Prometheus target", func(ctx context.Context) (bool, error) {
		down, ok, err := s.Query(ctx, `count(up == 0) or vector(0)`)
		return ok && down == 0, err
	})
}

// Jobs queues jobs until each runner has completed one, and returns how many it queued.
func Jobs(ctx context.Context, s *stack.Stack) (queued int, err error) {
	before := map[string]float64{}
	for _, slot := range slots {
		if before[slot], err = jobsDone(ctx, s, slot); err != nil {
			return 0, err
		}
	}
	finished := func(ctx context.Context) (bool, error) {
		for _, slot := range slots {
			if n, err := jobsDone(ctx, s, slot); err != nil || n <= before[slot] {
				return false, err
			}
		}
		return true, nil
	}
	// One idle runner may take two jobs in a row, so repeat until both had one.
	for range 10 {
		for range slots {
			queued++
			if err := s.Job(ctx, fmt.Sprintf("build (%d)", queued), "", 2*time.Second); err != nil {
				return queued, err
			}
		}
		round, cancel := context.WithTimeout(ctx, 15*time.Second)
		err = stack.Await(round, "a job on each runner", finished)
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return queued, err
}

func jobsDone(ctx context.Context, s *stack.Stack, slot string) (float64, error) {
	n, _, err := s.Metric(ctx, s.Ports.Exporter, "ghostrunner_runner_jobs_completed_total", map[string]string{"runner": slot, "result": "Succeeded"})
	return n, err
}
