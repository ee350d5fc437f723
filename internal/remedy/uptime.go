package remedy

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Mark is a moment on a clock that nobody sets: how long the machine had been up, sleep included, and which boot that was.
// It tells how long ago something was although the wall clock was set by hours since, also when another process wrote it
// down. The zero Mark is not known.
type Mark struct {
	Boot string        `json:"boot"`
	Up   time.Duration `json:"up"`
}

// uptimeNow reads the mark of this moment. In a container it is that of its machine.
func uptimeNow() Mark {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var up unix.Timespec
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) != nil {
		return Mark{}
	}
	return Mark{Boot: strings.TrimSpace(string(boot)), Up: time.Duration(up.Nano())}
}

// moment is now, on both clocks.
type moment struct {
	time.Time

	mark Mark
}

// since is how long ago something was that was written down with the time of the wall clock and a mark. After a reboot
// the wall clock alone can tell; something in its future counts as now.
func (m moment) since(wall time.Time, mark Mark) time.Duration {
	if mark.Boot != "" && mark.Boot == m.mark.Boot && mark.Up <= m.mark.Up {
		return m.mark.Up - mark.Up
	}
	return max(m.Sub(wall), 0)
}

// rebooted reports whether the machine has been started anew since a mark; false where that is not known.
func (m moment) rebooted(since Mark) bool {
	return since.Boot != "" && m.mark.Boot != "" && since.Boot != m.mark.Boot
}

// remaining is what is left of a length that began then: never more than all of it, never less than nothing.
func (m moment) remaining(wall time.Time, mark Mark, length time.Duration) time.Duration {
	return max(length-m.since(wall, mark), 0)
}

// now is the present moment.
func (r *Remediator) now() moment { return moment{time.Now(), r.opts.Uptime()} }

// anchor keeps the times of the wall clock that people and rules are shown true: a wait that goes on ends later or sooner
// by that clock when it was set meanwhile. What waits is not touched.
func (r *Remediator) anchor() {
	now := time.Now()
	moved := func(t time.Time) (time.Time, bool) { return anchored(now, t.Sub(now), t) }
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.state.debts {
		if t, ok := moved(d.due); ok {
			d.due, d.StartAt = t, t
		}
	}
	for runner, b := range r.state.breakers {
		until, ok := moved(b.Until)
		if !ok {
			continue
		}
		b.Until = until
		if !b.Closes.IsZero() {
			b.Closes, _ = moved(b.Closes)
		}
		r.state.breakers[runner] = b
	}
}

// anchored is the time that lies so far ahead of now, and whether that differs from what was written down.
func anchored(now time.Time, left time.Duration, written time.Time) (time.Time, bool) {
	at := now.Add(left)
	return at, at.Round(0).Sub(written.Round(0)).Abs() > time.Second
}

// remaining is how long it is until end by the wall clock, never more than length.
func remaining(now, end time.Time, length time.Duration) time.Duration {
	return min(max(end.Sub(now), 0), length)
}
