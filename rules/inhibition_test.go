package rules_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// Inhibition is tested with a running Alertmanager. Every alert is posted as source together with
// every alert as target, each pair on its own host, and the notifications that leave are compared.

// inhibits is the contract: the causes clock, DNS, credential, GitHub and Docker silence the
// runners of their host, the storm silences the other alerts of its runner, and the worse of two
// degrees of one fault the lesser one.
func inhibits(source, target Rule) bool {
	switch source.Alert {
	case "GhostrunnerClockSkewSevere":
		return target.Labels["layer"] == "runner" || target.Alert == "GhostrunnerClockDrift"
	case "GhostrunnerDNSFailing", "GhostrunnerPATInvalid", "GhostrunnerPATPermissionInsufficient",
		"GhostrunnerGitHubUnreachable", "GhostrunnerDockerDown":
		return target.Labels["layer"] == "runner"
	case "GhostrunnerWatchdogStorm":
		return ofOneRunner(target) && target.Alert != "GhostrunnerWatchdogStorm"
	case "GhostrunnerDiskCritical":
		return target.Alert == "GhostrunnerDiskLow"
	default:
		return false
	}
}

// ofOneRunner reports whether an alert is about one runner, not about all runners of a host.
func ofOneRunner(r Rule) bool {
	return r.Labels["layer"] == "runner" &&
		r.Alert != "GhostrunnerAllRunnersOffline" && r.Alert != "GhostrunnerRunnersSaturated"
}

// labels returns the labels of an alert of the rule; an empty host or runner is left out.
func labels(r Rule, host, runner string) map[string]string {
	l := maps.Clone(r.Labels)
	l["alertname"] = r.Alert
	if host != "" {
		l["host"] = host
	}
	if ofOneRunner(r) && runner != "" {
		l["runner"] = runner
	}
	if r.Labels["layer"] == "disk" {
		l["path"] = "/"
	}
	return l
}

// pair is a source, a target, and whether the source silences the target.
type pair struct {
	name           string
	source, target map[string]string
	silenced       bool
}

func pairs(t *testing.T) []pair {
	t.Helper()
	rules := alerts(t)
	byName := map[string]Rule{}
	var all []pair
	for i, source := range rules {
		byName[source.Alert] = source
		for j, target := range rules {
			if i == j || target.Alert == "GhostrunnerWatchdog" {
				continue
			}
			host := fmt.Sprintf("h%d-%d", i, j)
			all = append(all, pair{
				fmt.Sprintf("%s(%s) and %s(%s)", source.Alert, source.Labels["severity"], target.Alert, target.Labels["severity"]),
				labels(source, host, "r"), labels(target, host, "r"), inhibits(source, target),
			})
		}
	}
	github, retry, storm := byName["GhostrunnerGitHubUnreachable"], byName["GhostrunnerRunnerRetryLoop"], byName["GhostrunnerWatchdogStorm"]
	drift, mild := byName["GhostrunnerClockSkewSevere"], maps.Clone(byName["GhostrunnerClockDrift"].Labels)
	mild["alertname"], mild["host"], mild["severity"] = "UserCause", "own", "critical"
	return append(all,
		pair{"a cause on another host", labels(github, "one", "r"), labels(retry, "two", "r"), false},
		pair{"the storm of another runner", labels(storm, "same", "r1"), labels(retry, "same", "r2"), false},
		pair{"the storm of another host's runner", labels(storm, "three", "r1"), labels(retry, "four", "r1"), false},
		pair{"neither names a host", labels(drift, "", "r"), labels(retry, "", "no-host"), false},
		pair{"storm and alert name no runner", labels(storm, "no-runner", ""), labels(retry, "no-runner", ""), false},
		pair{"a critical cause of the user", mild, labels(retry, "own", "r"), true},
	)
}

func TestCauseSilencesSymptom(t *testing.T) {
	am := startAlertmanager(t, notifyAtOnce)
	cases := pairs(t)
	var sources, targets []map[string]string
	for _, c := range cases {
		sources, targets = append(sources, c.source), append(targets, c.target)
	}
	am.post(t, sources, time.Time{})
	am.await(t, "Alertmanager has the sources", func() bool { return len(am.states(t)) >= len(sources) })

	am.post(t, targets, time.Time{})
	am.await(t, "what is not silenced was sent to all its receivers", func() bool {
		return !slices.ContainsFunc(cases, func(c pair) bool { return !c.silenced && !am.arrived(c.target) })
	})
	states := am.states(t)
	for _, c := range cases {
		if got, want := states[key(c.target)] == "suppressed", c.silenced; got != want {
			t.Errorf("%s: silenced %v, want %v (state %q)", c.name, got, want, states[key(c.target)])
		}
		if c.silenced && am.anywhere(c.target) {
			t.Errorf("%s: a notification of the symptom was sent", c.name)
		}
	}
	if t.Failed() {
		return
	}

	// Only the source silenced the symptom: it is sent as soon as the source has ended.
	am.post(t, sources, time.Now())
	am.await(t, "what was silenced was sent", func() bool {
		return !slices.ContainsFunc(cases, func(c pair) bool { return !am.arrived(c.target) })
	})
}

func TestDelivery(t *testing.T) {
	am := startAlertmanager(t, notifyAtOnce)
	byName := map[string]Rule{}
	for _, r := range alerts(t) {
		byName[r.Alert] = r
	}
	restart := labels(byName["GhostrunnerRunnerUnhealthy"], "h", "r")
	heartbeat := labels(byName["GhostrunnerWatchdog"], "", "")
	refused := labels(byName["GhostrunnerDiskLow"], "refuse-once", "")
	begin := time.Now()
	am.post(t, []map[string]string{restart, heartbeat, refused}, time.Time{})
	am.await(t, "everything has arrived", func() bool {
		return am.arrived(restart) && am.arrived(refused) && am.at("heartbeat", heartbeat) != (time.Time{})
	})
	if took := am.at("remediator", restart).Sub(begin); took > 2*time.Second {
		t.Errorf("the remediator received an alert after %s; group_wait is not 0s", took)
	}
	for _, receiver := range []string{"people", "remediator"} {
		if at := am.at(receiver, heartbeat); !at.IsZero() {
			t.Errorf("the heartbeat went to %s", receiver)
		}
	}
	if am.refusals() != 1 {
		t.Errorf("the remediator refused %d times, want once, and then the same again", am.refusals())
	}
	if got := am.badAuthorization(); len(got) > 0 {
		t.Errorf("requests without the token: %v", got)
	}
}
