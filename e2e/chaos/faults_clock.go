package main

import (
	"fmt"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// clockFaults change what the time sources say, never a clock: the kernel has one for all. jumpFaults have a kernel of their
// own.
func (w *world) clockFaults() []scenario.Fault {
	// A clock that is off is off by every source; chronyd, which steers it, is the last to see it.
	off := func(name, story string, seconds int, metric, alertname string) scenario.Fault {
		ntp, ntpOff := w.switched("clock-offset", fmt.Sprintf("--value=%d", seconds))
		date, dateOff := w.switched("github-date", fmt.Sprintf("--value=%d", -seconds))
		return scenario.Fault{
			Name: name, Story: story, Break: inTurn(ntp, date), Metric: metric, Alert: alert(alertname), Mend: inTurn(ntpOff, dateOff),
			Healed: state(w.holds(`max(abs(ghostrunner_clock_offset_seconds)) < 2`)),
		}
	}
	date, dateOff := w.switched("github-date", "--value=600")
	return []scenario.Fault{
		off("clock 3 s ahead", "the time servers say that this machine's clock is 3 s ahead", 3,
			`ghostrunner_clock_offset_seconds{source="ntp"} > 2`, "GhostrunnerClockDrift"),
		off("clock 3 s behind", "the time servers say that this machine's clock is 3 s behind", -3,
			`ghostrunner_clock_offset_seconds{source="ntp"} < -2`, "GhostrunnerClockDrift"),
		off("clock 10 min ahead", "the time servers say that this machine's clock is 10 minutes ahead", 600,
			`ghostrunner_clock_offset_seconds{source="ntp"} > 60`, "GhostrunnerClockSkewSevere"),
		{
			Name: "GitHub's Date is wrong", Story: "GitHub's own clock is 10 minutes off, and all others are right",
			Break:  date,
			Metric: `abs(ghostrunner_clock_offset_seconds{source="github"}) > 60`, Alert: alert("GhostrunnerClockDrift"), Mend: dateOff,
			Healed: state(w.holds(`abs(ghostrunner_clock_offset_seconds{source="github"}) < 2`)),
		}, {
			Name: "chronyd dead", Story: "the time daemon is killed: its answers are gone, not 0",
			Break:  act(w.chrony.stop),
			Metric: `absent(ghostrunner_clock_offset_seconds{source="chrony"})`,
			Mend:   act(w.chrony.synchronised),
			Healed: state(w.holds(`ghostrunner_clock_synchronized == 1`)),
		}, {
			Name: "chronyd never synchronised", Story: "the time daemon runs without a time source, and calls its offset 0",
			Break:  inTurn(act(w.chrony.stop), act(w.chrony.alone)),
			Metric: `ghostrunner_clock_synchronized == 0 unless on() ghostrunner_clock_offset_seconds{source="chrony"}`,
			Alert:  alert("GhostrunnerClockUnsynchronized"), Within: 2 * time.Minute,
			Mend:   inTurn(act(w.chrony.stop), act(w.chrony.synchronised)),
			Healed: state(w.holds(`ghostrunner_clock_synchronized == 1`)),
		},
	}
}
