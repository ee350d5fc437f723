package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// Faults are the six of the demo, in the order in which they are played on this stack. The PAT comes last: for a minute
// after GitHub has refused us nothing is restarted, and the storm would wait for that.
func Faults(s *stack.Stack) []Fault {
	all := []Fault{RetryLoop(s), Unhealthy(s), clockOff(), DiskLow(), Storm(s), rejectedPAT()}
	for i := range all {
		// The disk is everybody's: what others write to it while this runs can push it below the threshold.
		all[i].Also = append(all[i].Also, "prune engine")
	}
	return all
}

// RetryLoop is a listener that hangs in its retry loop.
func RetryLoop(s *stack.Stack) Fault {
	const slot = "ci-runner-1"
	return Fault{
		Name:  "retry loop",
		Story: slot + "'s long poll dies; its listener retries for ever and GitHub shows it offline",
		Break: func(ctx context.Context, s *stack.Stack) error {
			return s.Fault(ctx, "retry-loop", "on", "--runner", slot)
		},
		Metric:    fmt.Sprintf("ghostrunner_runner_retrying{runner=%q} == 1", slot),
		Alert:     map[string]string{"alertname": "GhostrunnerRunnerRetryLoop", "runner": slot},
		Action:    map[string]string{"action": "restart", "target": slot},
		Container: s.Container(slot),
		Mend: func(ctx context.Context, s *stack.Stack) error {
			return s.Fault(ctx, "retry-loop", "off", "--runner", slot)
		},
		Healed:   Online(slot),
		Patience: 2 * time.Minute,
	}
}

// Unhealthy is a runner whose health check fails.
func Unhealthy(s *stack.Stack) Fault {
	const slot = "ci-runner-2"
	return Fault{
		Name:  "unhealthy container",
		Story: slot + "'s supervisor freezes; its health check fails three times",
		Break: func(ctx context.Context, s *stack.Stack) error {
			_, err := s.Docker(ctx, "kill", "--signal=STOP", s.Container(slot))
			return err
		},
		Metric:    fmt.Sprintf("ghostrunner_container_healthy{container=%q} == 0", s.Container(slot)),
		Alert:     map[string]string{"alertname": "GhostrunnerRunnerUnhealthy", "container": s.Container(slot)},
		Action:    map[string]string{"action": "restart", "target": slot},
		Order:     "kill",
		Container: s.Container(slot),
		Healed:    Online(slot),
		Patience:  2 * time.Minute,
	}
}

func clockOff() Fault {
	return Fault{
		Name:  "clock 3 s off",
		Story: "the time servers say that this machine's clock is 3 s ahead",
		Break: func(ctx context.Context, s *stack.Stack) error {
			return s.Fault(ctx, "clock-offset", "on", "--value", "3")
		},
		Metric: `abs(ghostrunner_clock_offset_seconds{source="ntp"}) > 2`,
		Alert:  map[string]string{"alertname": "GhostrunnerClockDrift"},
		Mend: func(ctx context.Context, s *stack.Stack) error {
			return s.Fault(ctx, "clock-offset", "off")
		},
		Healed: func(ctx context.Context, s *stack.Stack) (bool, error) {
			_, ok, err := s.Query(ctx, `abs(ghostrunner_clock_offset_seconds{source="ntp"}) < 1`)
			return ok, err
		},
		Patience: 2 * time.Minute,
	}
}

func rejectedPAT() Fault {
	return Fault{
		Name:  "rejected PAT",
		Story: "the PAT is revoked: GitHub answers 401",
		Break: func(ctx context.Context, s *stack.Stack) error {
			return s.Fault(ctx, "pat-rejected", "on")
		},
		Metric: `ghostrunner_pat_valid == 0`,
		Alert:  map[string]string{"alertname": "GhostrunnerPATInvalid"},
		Mend: func(ctx context.Context, s *stack.Stack) error {
			return s.Fault(ctx, "pat-rejected", "off")
		},
		Healed: func(ctx context.Context, s *stack.Stack) (bool, error) {
			_, ok, err := s.Query(ctx, `ghostrunner_pat_valid == 1`)
			return ok, err
		},
		Patience: 3 * time.Minute,
	}
}

// DiskLow is a disk that images have filled below the threshold.
func DiskLow() Fault {
	return Fault{
		Name:   "disk low",
		Story:  "throw-away images push the free disk below the threshold",
		Break:  func(ctx context.Context, s *stack.Stack) error { return s.AddBallast(ctx) },
		Metric: `min(ghostrunner_disk_free_bytes) < min(ghostrunner_threshold{name="disk_prune_bytes"})`,
		Alert:  map[string]string{"alertname": "GhostrunnerDiskLow"},
		Action: map[string]string{"action": "prune", "target": "engine"},
		Healed: func(ctx context.Context, s *stack.Stack) (bool, error) {
			_, ok, err := s.Query(ctx, `min(ghostrunner_disk_free_bytes) > min(ghostrunner_threshold{name="disk_prune_bytes"})`)
			return ok, err
		},
		Patience: 3 * time.Minute,
	}
}

// Storm is a runner that restarts do not help.
func Storm(s *stack.Stack) Fault {
	const slot = "ci-runner-1"
	return Fault{
		Name:  "sixth restart in an hour",
		Story: slot + " falls into the retry loop again after every restart",
		Break: func(ctx context.Context, s *stack.Stack) error {
			return s.Fault(ctx, "retry-loop", "on", "--runner", slot, "--value", "sticky")
		},
		Count:     fmt.Sprintf("ghostrunner_watchdog_fires_total{runner=%q}", slot),
		Metric:    fmt.Sprintf("ghostrunner_watchdog_fires_total{runner=%q} >= 6", slot),
		Alert:     map[string]string{"alertname": "GhostrunnerWatchdogStorm", "runner": slot},
		Action:    map[string]string{"action": "backoff", "target": slot},
		Also:      []string{"restart " + slot},
		Container: s.Container(slot),
		// The network recovers while the runner is given its rest; only then can the probation succeed.
		Mend: func(ctx context.Context, s *stack.Stack) error {
			return s.Fault(ctx, "retry-loop", "off", "--runner", slot)
		},
		Healed:   Online(slot),
		Patience: 6 * time.Minute,
	}
}

// Online holds when GitHub sees the slot, its log says that it listens, and its container is well.
func Online(slot string) func(context.Context, *stack.Stack) (bool, error) {
	expr := fmt.Sprintf(`ghostrunner_runner_online{runner=%[1]q} == 1 unless on(runner) ghostrunner_runner_retrying{runner=%[1]q} == 1`, slot)
	return func(ctx context.Context, s *stack.Stack) (bool, error) {
		_, ok, err := s.Query(ctx, expr)
		if !ok || err != nil {
			return false, err
		}
		health, found, err := s.Metric(ctx, s.Ports.Exporter, "ghostrunner_container_healthy", map[string]string{"container": s.Container(slot)})
		return found && health == 1, err
	}
}

// slots are the runners of the stack.
var slots = []string{"ci-runner-1", "ci-runner-2"}

// Ready waits until the stack is whole: both runners online and every Prometheus target scraped.
func Ready(ctx context.Context, s *stack.Stack) error {
	for _, slot := range slots {
		healthy := Online(slot)
		if err := stack.Await(ctx, slot+" to be online", func(ctx context.Context) (bool, error) { return healthy(ctx, s) }); err != nil {
			return err
		}
	}
	return stack.Await(ctx, "every Prometheus target", func(ctx context.Context) (bool, error) {
		down, ok, err := s.Query(ctx, `count(up == 0) or vector(0)`)
		return ok && down == 0, err
	})
}

// Jobs runs jobs until each runner has finished one more: the proof that the machine does what it is for.
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
	// One idle runner may take two jobs in a row, so ask again until both had one.
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
