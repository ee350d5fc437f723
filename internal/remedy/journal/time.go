package journal

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// BootTime is a point on a clock that cannot be set: how long the machine had been up, sleep
// included, and which boot that was. The zero BootTime is unknown.
type BootTime struct {
	Boot string        `json:"boot"`
	Up   time.Duration `json:"up"`
}

// ReadBootTime reads the present boot time. In a container it is that of the machine.
func ReadBootTime() BootTime {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var up unix.Timespec
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) != nil {
		return BootTime{}
	}
	return BootTime{Boot: strings.TrimSpace(string(boot)), Up: time.Duration(up.Nano())}
}

// Instant is a point in time on the wall clock and on the clock that cannot be set. It tells how long
// ago something was although the wall clock was set by hours since, also across processes.
type Instant struct {
	Time time.Time `json:"since"`
	Boot BootTime  `json:"mark,omitzero"`
}

// Since returns how long ago then was. After a reboot only the wall clock can tell; an instant in
// its future counts as now.
func (now Instant) Since(then Instant) time.Duration {
	if then.Boot.Boot != "" && then.Boot.Boot == now.Boot.Boot && then.Boot.Up <= now.Boot.Up {
		return now.Boot.Up - then.Boot.Up
	}
	return max(now.Time.Sub(then.Time), 0)
}

// Left returns what is left of a length that began then: never more than all of it, never negative.
func (now Instant) Left(then Instant, length time.Duration) time.Duration {
	return max(length-now.Since(then), 0)
}

// rebooted reports whether the machine was started again since then; false where that is unknown.
func (now Instant) rebooted(then Instant) bool {
	return then.Boot.Boot != "" && now.Boot.Boot != "" && then.Boot.Boot != now.Boot.Boot
}

// SetBack returns by how much the wall clock was set back between two instants; negative if it was
// set ahead, 0 if that is unknown.
func (now Instant) SetBack(before Instant) time.Duration {
	if before.Boot.Boot == "" || before.Boot.Boot != now.Boot.Boot {
		return 0
	}
	return now.Boot.Up - before.Boot.Up - now.Time.Round(0).Sub(before.Time.Round(0))
}

// rebase expresses an instant of an earlier process in the clocks of this one.
func (now Instant) rebase(then Instant) Instant {
	age := now.Since(then)
	out := Instant{Time: now.Time.Add(-age)}
	if now.Boot.Boot != "" {
		out.Boot = BootTime{now.Boot.Boot, now.Boot.Up - age}
	}
	return out
}

// past returns a time that was read from disk with the monotonic reading of this process. One in
// the future counts as now: the wall clock was set back since.
func (now Instant) past(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Time.Add(-max(now.Time.Sub(t), 0))
}
