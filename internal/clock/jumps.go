package clock

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// The directions of Monitor.Jumps.
const (
	// JumpForward: the wall clock was set ahead by more than half a second. A sleep that the kernel
	// did not see looks the same, as when the host of a virtual machine (WSL2) slept and the
	// guest's clock was corrected afterwards.
	JumpForward = "forward"
	// JumpBackward: the wall clock was set back by more than half a second.
	JumpBackward = "backward"
	// JumpSleep: the machine was suspended for more than a second. Boot time went on, monotonic
	// time stood still.
	JumpSleep = "sleep"
)

var directions = []string{JumpForward, JumpBackward, JumpSleep}

const (
	jumpInterval = time.Second
	minStep      = 500 * time.Millisecond
	minSleep     = time.Second
	// maxReadTime is how long reading the clocks may take. A reading that was interrupted for
	// longer is not used.
	maxReadTime = 20 * time.Millisecond
)

type reading struct{ wall, mono, boot time.Duration }

type jump struct {
	direction string
	size      time.Duration // never negative
}

// jumped returns the jumps between two readings. Boot time counts during a sleep and is steered
// like the wall clock, so steering by NTP is in neither difference. Only the wall clock can be set.
func jumped(before, after reading) []jump {
	var out []jump
	wall, mono, boot := after.wall-before.wall, after.mono-before.mono, after.boot-before.boot
	if slept := boot - mono; slept > minSleep {
		out = append(out, jump{JumpSleep, slept})
	}
	switch step := wall - boot; {
	case step > minStep:
		out = append(out, jump{JumpForward, step})
	case step < -minStep:
		out = append(out, jump{JumpBackward, -step})
	}
	return out
}

// watchJumps compares the clocks every second, records jumps, and has every source asked after one.
func (m *Monitor) watchJumps(ctx context.Context) {
	ticker := time.NewTicker(jumpInterval)
	defer ticker.Stop()
	last, have := m.read()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		next, ok := m.read()
		if !ok {
			continue
		}
		if have {
			for _, j := range jumped(last, next) {
				m.record(j)
			}
		}
		last, have = next, true
	}
}

func (m *Monitor) record(j jump) {
	m.mu.Lock()
	m.jumps[j.direction]++
	m.lastJumps[j.direction] = j.size
	m.mu.Unlock()
	m.logger.Info("Clock jumped", "direction", j.direction, "size", j.size)
	for _, s := range m.sources {
		select {
		case s.now <- struct{}{}:
		default:
		}
	}
}

// readClocks reads the three clocks. ok is false if they could not be read close together.
func readClocks() (r reading, ok bool) {
	get := func(id int32) time.Duration {
		var ts unix.Timespec
		_ = unix.ClockGettime(id, &ts) // fails only for an unknown clock
		return time.Duration(ts.Nano())
	}
	first := get(unix.CLOCK_MONOTONIC)
	r.wall, r.boot = get(unix.CLOCK_REALTIME), get(unix.CLOCK_BOOTTIME)
	r.mono = get(unix.CLOCK_MONOTONIC)
	return r, r.mono-first <= maxReadTime
}
