package main

import (
	"strconv"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// clockFaults change what the time sources report, never a clock, because all share the kernel's.
// jumpFaults have their own kernel.
func (w *world) clockFaults() []scenario.Fault {
	// All sources but chronyd report a wrong clock: chronyd steers it and is the last to see it.
	off := func(name, description string, seconds int, metric, alertname string) scenario.Fault {
		ntp, ntpOff := scenario.Switch(w.Stack, "clock-offset", "", strconv.Itoa(seconds))
		date, dateOff := scenario.Switch(w.Stack, "github-date", "", strconv.Itoa(-seconds))
		return scenario.Fault{
			Name: name, Description: description, Inject: sequence(ntp, date), Metric: metric, Alert: alert(alertname),
			Remove: sequence(ntpOff, dateOff), Healed: w.holds(`max(abs(ghostrunner_clock_offset_seconds)) < 2`),
		}
	}
	date, dateOff := scenario.Switch(w.Stack, "github-date", "", "600")
	return []scenario.Fault{
		off("clock 3 s ahead", "the time servers report that this machine's clock is 3 s ahead", 3,
			`ghostrunner_clock_offset_seconds{source="ntp"} > 2`, "GhostrunnerClockDrift"),
		off("clock 3 s behind", "the time servers report that this machine's clock is 3 s behind", -3,
			`ghostrunner_clock_offset_seconds{source="ntp"} < -2`, "GhostrunnerClockDrift"),
		off("clock 10 min ahead", "the time servers report that this machine's clock is 10 minutes ahead", 600,
			`ghostrunner_clock_offset_seconds{source="ntp"} > 60`, "GhostrunnerClockSkewSevere"),
		{
			Name: "GitHub's Date is wrong", Description: "GitHub's own clock is 10 minutes off, and all others are right",
			Inject: date,
			Metric: `abs(ghostrunner_clock_offset_seconds{source="github"}) > 60`, Alert: alert("GhostrunnerClockDrift"), Remove: dateOff,
			Healed: w.holds(`abs(ghostrunner_clock_offset_seconds{source="github"}) < 2`),
		}, {
			Name: "chronyd dead", Description: "the time daemon is killed: its offset is absent, not 0",
			Inject: w.chrony.stop,
			Metric: `absent(ghostrunner_clock_offset_seconds{source="chrony"})`,
			Remove: w.chrony.startSynchronized,
			Healed: w.holds(`ghostrunner_clock_synchronized == 1`),
		}, {
			Name: "chronyd never synchronized", Description: "the time daemon runs without a time source and reports the offset 0",
			Inject: sequence(w.chrony.stop, w.chrony.startAlone),
			Metric: `ghostrunner_clock_synchronized == 0 unless on() ghostrunner_clock_offset_seconds{source="chrony"}`,
			Alert:  alert("GhostrunnerClockUnsynchronized"), Within: 2 * time.Minute,
			Remove: sequence(w.chrony.stop, w.chrony.startSynchronized),
			Healed: w.holds(`ghostrunner_clock_synchronized == 1`),
		},
	}
}
