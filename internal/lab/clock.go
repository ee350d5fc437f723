package lab

import (
	"time"

	"golang.org/x/sys/unix"
)

// The world outside keeps its own time: when somebody sets the clock of the machine that this runs on, GitHub and the time
// servers do not follow. Their time is that of the machine when the program began, and what has passed since by the clock
// that nobody sets and that counts through a sleep.
var (
	beganAt = time.Now()
	beganUp = uptime()
)

// worldNow is the time outside.
func worldNow() time.Time { return beganAt.Add(uptime() - beganUp) }

// uptime is how long the kernel has run, its sleep included.
func uptime() time.Duration {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Since(beganAt)
	}
	return time.Duration(up.Nano())
}
