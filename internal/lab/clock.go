package lab

import (
	"time"

	"golang.org/x/sys/unix"
)

// The simulated world keeps its own time: a step of this machine's clock must not move GitHub or
// the time servers. Their time is the wall clock at the start plus the boot-time clock since, which
// cannot be set and counts a suspend.
var (
	beganAt = time.Now()
	beganUp = uptime()
)

// worldNow is the time in the simulated world.
func worldNow() time.Time { return beganAt.Add(uptime() - beganUp) }

// uptime is the time since boot, including suspend.
func uptime() time.Duration {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Since(beganAt)
	}
	return time.Duration(up.Nano())
}
