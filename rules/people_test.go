package rules_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
)

// Every example in alertmanager.yml is enabled, as a person would do it. A running Alertmanager
// delivers to servers that accept what Slack, Discord, ntfy, a mail server and a dead man's switch
// accept.

// example is a line that can be enabled: in the lists at the end, a # without a space, or with the
// indentation of YAML after it.
var example = regexp.MustCompile(`(?m)^( {4,})#(\S|  )`)

func enableExamples(t *testing.T, config string) string {
	t.Helper()
	if !example.MatchString(config) {
		t.Fatalf("%s has no examples", alertmanagerConfig)
	}
	return example.ReplaceAllString(config, "$1$2")
}

func TestExamplesAreValid(t *testing.T) {
	dir := t.TempDir()
	for _, file := range glob(t, alertmanagerTemplates) {
		write(t, dir, filepath.Base(file), read(t, file))
	}
	config := enableExamples(t, read(t, alertmanagerConfig))
	for _, want := range []string{
		"slack_configs:", "discord_configs:", "/ntfy_url", "email_configs:", "webhook_configs:", "/dead_mans_switch_url", "- weekdays:",
	} {
		if !regexp.MustCompile(`(?m)^ +[^#\n]*` + want).MatchString(config) {
			t.Errorf("%s has no example of %s", alertmanagerConfig, want)
		}
	}
	run(t, "amtool", "check-config", write(t, dir, "alertmanager.yml", config))
}

// toAllReceivers enables the receivers and sends everything to the given servers. Mute times stay
// off, because a test must not depend on the hour.
func toAllReceivers(f *fakes) func(t *testing.T, config, receivers string) string {
	return func(t *testing.T, config, receivers string) string {
		t.Helper()
		secrets := t.TempDir()
		ntfy := regexp.MustCompile(`# (https://ntfy\.sh/TOPIC\S+)`).FindStringSubmatch(config)
		if ntfy == nil {
			t.Fatalf("%s does not explain secrets/ntfy_url", alertmanagerConfig)
		}
		for name, content := range map[string]string{
			"slack_url":            f.url + "/slack",
			"discord_url":          f.url + "/discord",
			"ntfy_url":             strings.Replace(ntfy[1], "https://ntfy.sh/TOPIC", f.url+"/ntfy", 1),
			"webhook_url":          f.url + "/webhook",
			"dead_mans_switch_url": receivers + "/dead-mans-switch",
			"smtp_password":        mailPassword,
		} {
			write(t, secrets, name, content+"\n")
		}
		receiversPart, times, found := strings.Cut(config, "\ntime_intervals:")
		if !found {
			t.Fatalf("%s has no time_intervals", alertmanagerConfig)
		}
		config = enableExamples(t, receiversPart) + "\ntime_intervals:" + times
		config = strings.ReplaceAll(config, "/etc/alertmanager/secrets", secrets)
		config = changed(t, config, "smarthost: smtp.example.com:587\n", "smarthost: "+f.smtp+"\n        require_tls: false\n")
		config = changed(t, config, "group_interval: 10s\n", "group_interval: 1s\n") // of the remediator
		return paced(t, config, "2s", "1s")
	}
}

// story is what happens on a host of the same name, and the message that people read.
type story struct {
	host    string
	alerts  []alert
	then    func([]alert) // what changes after the message; nil: nothing
	subject string
	text    string // of the last message; SINCE stands for the time of the test
}

func fires(name, severity string, labels, annotations map[string]string) alert {
	a := alert{Labels: map[string]string{"alertname": name, "severity": severity}, Annotations: annotations}
	maps.Copy(a.Labels, labels)
	if annotations["runbook_url"] == "" && annotations["description"] != "" {
		a.Annotations["runbook_url"] = runbookURL + strings.ToLower(name)
	}
	return a
}

func unhealthy(runner, healing string) alert {
	return fires("GhostrunnerRunnerUnhealthy", "warning",
		map[string]string{"layer": "runner", "remediation": "restart", "recheck": "health", "runner": runner},
		map[string]string{
			"summary":     "A runner's container is unhealthy.",
			"description": "Docker reports container " + runner + " as unhealthy, after three failed checks in a row.",
			"healing":     healing,
		})
}

func cause(name, layer, summary, description string) alert {
	return fires(name, "critical", map[string]string{"layer": layer}, map[string]string{"summary": summary, "description": description})
}

func unhealthyOnes(n int) []alert {
	var all []alert
	for i := range n {
		all = append(all, unhealthy(fmt.Sprintf("ci-runner-%02d", i+1), "nothing yet"))
	}
	return all
}

func stories(start time.Time) []story {
	const dashboard = "Dashboard: http://127.0.0.1:10069/"
	runbook := func(name string) string { return "Runbook: " + runbookURL + strings.ToLower(name) + "\n\n" }
	over := func(a *alert) { a.Start, a.End = start.Add(-192*time.Second), start }
	long := strings.Repeat("x", 10_000)
	evil := "\x1b[2J\r\n\u202e<!channel> @everyone `x` [bank](http://evil) <b>" + long
	harmless := "[2J ‹!channel› ＠everyone 'x' [bank] (http://evil) ‹b›" + long
	cut := func(s string) string { return string([]rune(s)[:59]) + "…" }
	return []story{
		{
			host:    "healed",
			alerts:  []alert{unhealthy("ci-runner-1", "restart completed 20s ago")},
			subject: "WARNING on healed: A runner's container is unhealthy.",
			text: "Docker reports container ci-runner-1 as unhealthy, after three failed checks in a row.\n" +
				"Healing: restart completed 20s ago\nSince SINCE.\n" + runbook("GhostrunnerRunnerUnhealthy") + dashboard,
		}, {
			host:    "refused",
			alerts:  []alert{unhealthy("ci-runner-1", "restart refused (cooldown) 10s ago; restart completed 40s ago")},
			subject: "WARNING on refused: A runner's container is unhealthy.",
			text: "Docker reports container ci-runner-1 as unhealthy, after three failed checks in a row.\n" +
				"Healing: restart refused (cooldown) 10s ago; restart completed 40s ago\nSince SINCE.\n" + runbook("GhostrunnerRunnerUnhealthy") + dashboard,
		}, {
			// GitHub is unreachable because the clock is wrong, and so is everything else: one
			// message.
			host: "cause",
			alerts: append(unhealthyOnes(5),
				cause("GhostrunnerClockSkewSevere", "clock", "A host's clock is wrong by more than a minute.", "The clock is 400 s off."),
				cause("GhostrunnerGitHubUnreachable", "github", "GitHub does not answer.", "No poll has succeeded for 5 minutes."),
			),
			subject: "CRITICAL on cause: A host's clock is wrong by more than a minute. [2 firing]",
			text: "The clock is 400 s off.\n" +
				"Healing: no automatic action; follow the runbook.\nSince SINCE.\n" + runbook("GhostrunnerClockSkewSevere") +
				"No poll has succeeded for 5 minutes.\n" +
				"Healing: no automatic action; follow the runbook.\nSince SINCE.\n" + runbook("GhostrunnerGitHubUnreachable") +
				dashboard,
		}, {
			host:    "several",
			alerts:  unhealthyOnes(40),
			subject: "WARNING on several: A runner's container is unhealthy. [40 firing]",
			text: "Docker reports container ci-runner-01 as unhealthy, after three failed checks in a row.\n" +
				"Healing: nothing yet\nSince SINCE.\n" + runbook("GhostrunnerRunnerUnhealthy") +
				"Docker reports container ci-runner-02 as unhealthy, after three failed checks in a row.\n" +
				"Healing: nothing yet\nSince SINCE.\n" + runbook("GhostrunnerRunnerUnhealthy") +
				"Docker reports container ci-runner-03 as unhealthy, after three failed checks in a row.\n" +
				"Healing: nothing yet\nSince SINCE.\n" + runbook("GhostrunnerRunnerUnhealthy") +
				"3 of 40 firing alerts are shown.\n\n" + dashboard,
		}, {
			host:    "over",
			alerts:  []alert{unhealthy("ci-runner-1", "restart completed 2m ago")},
			then:    func(all []alert) { over(&all[0]) },
			subject: "RESOLVED on over: A runner's container is unhealthy.",
			text: "Resolved after 3m 12s: Docker reports container ci-runner-1 as unhealthy, after three failed checks in a row.\n" +
				"Healing: restart completed 2m ago\n\n" + dashboard,
		}, {
			host:    "half-over",
			alerts:  []alert{unhealthy("ci-runner-1", "restart completed 2m ago"), unhealthy("ci-runner-2", "restart refused (busy) 5s ago")},
			then:    func(all []alert) { over(&all[0]) },
			subject: "WARNING on half-over: A runner's container is unhealthy. [1 firing, 1 resolved]",
			text: "Docker reports container ci-runner-2 as unhealthy, after three failed checks in a row.\n" +
				"Healing: restart refused (busy) 5s ago\nSince SINCE.\n" + runbook("GhostrunnerRunnerUnhealthy") +
				"Resolved after 3m 12s: Docker reports container ci-runner-1 as unhealthy, after three failed checks in a row.\n" +
				"Healing: restart completed 2m ago\n\n" + dashboard,
		}, {
			host: "degrees",
			alerts: []alert{
				fires("GhostrunnerPATExpiring", "info", nil, map[string]string{"summary": "The token expires soon."}),
				fires("GhostrunnerRateLimitLow", "warning", nil, map[string]string{"summary": "The quota is nearly used up."}),
			},
			subject: "WARNING on degrees: The quota is nearly used up. [2 firing]",
			text: "The token expires soon.\nHealing: no automatic action.\nSince SINCE.\n\n" +
				"The quota is nearly used up.\nHealing: no automatic action.\nSince SINCE.\n\n" + dashboard,
		}, {
			// Rules of the user, with the least that Prometheus demands.
			host: "bare",
			alerts: []alert{
				fires("DoorOpen", "page", nil, nil),
				fires("QueueStuck", "page", map[string]string{"remediation": "restart"}, nil),
			},
			subject: "ALERT on bare: DoorOpen [2 firing]",
			text: "DoorOpen\nHealing: no automatic action.\nSince SINCE.\n\n" +
				"QueueStuck\nHealing: requested; the remediator's page shows the result.\nSince SINCE.\n\n" + dashboard,
		}, {
			host: "hostile" + evil,
			alerts: []alert{fires("Hostile", "warning", map[string]string{"runner": evil}, map[string]string{
				"summary": evil, "description": "ü" + evil, "healing": long, "runbook_url": evil,
			})},
			subject: "WARNING on " + cut("hostile "+harmless) + ": " + cut(harmless),
			text: cut("ü "+harmless) + "\nHealing: " + long[:237] + "…\nSince SINCE.\n" +
				"Runbook: " + cut(harmless) + "\n\n" + dashboard,
		},
	}
}

func TestMessagesToPeople(t *testing.T) {
	t.Parallel()
	f := startFakes(t)
	am := startAlertmanager(t, toAllReceivers(f))
	start := time.Now().UTC()
	all := stories(start)

	// A silence on this host exists before its alert: neither people nor the remediator are
	// notified.
	silenced := unhealthy("ci-runner-1", "nothing yet")
	silenced.Labels["host"], silenced.Start = "silenced", start
	silence := am.silence(t, "silenced")

	post := []alert{silenced}
	for _, s := range all {
		for i := range s.alerts {
			s.alerts[i].Labels["host"], s.alerts[i].Start = s.host, start
		}
		post = append(post, s.alerts...)
	}
	am.send(t, "/api/v2/alerts", post)
	notified := func(s story, times int) bool {
		return !slices.ContainsFunc(media, func(medium string) bool { return len(f.messages(medium, hostOf(s.subject))) < times })
	}
	am.await(t, "every receiver has every message", func() bool {
		return !slices.ContainsFunc(all, func(s story) bool { return !notified(s, 1) })
	})

	var later []alert
	for _, s := range all {
		if s.then != nil {
			s.then(s.alerts)
			later = append(later, s.alerts...)
		}
	}
	am.send(t, "/api/v2/alerts", later)
	am.await(t, "every receiver has the later messages", func() bool {
		return !slices.ContainsFunc(all, func(s story) bool { return s.then != nil && !notified(s, 2) })
	})

	for _, s := range all {
		t.Run(hostOf(s.subject), func(t *testing.T) {
			messages := 1
			if s.then != nil {
				messages = 2
			}
			want := s.subject + "\n\n" + strings.ReplaceAll(s.text, "SINCE", start.Format("2 Jan 15:04 MST"))
			for _, medium := range media {
				got := f.messages(medium, hostOf(s.subject))
				if len(got) != messages {
					t.Fatalf("%s got %d messages, want %d: one cause is one message", medium, len(got), messages)
				}
				if diff := cmp.Diff(want, got[messages-1].subject+"\n\n"+got[messages-1].text); diff != "" {
					t.Errorf("%s (-want +got):\n%s", medium, diff)
				}
			}
			if !f.posted(s.host) {
				t.Error("the webhook was not notified")
			}
		})
	}
	if state := am.states(t)[key(silenced.Labels)]; state != "suppressed" {
		t.Errorf("the silenced alert is %q", state)
	}
	quiet := story{subject: "WARNING on silenced: "}
	if notified(quiet, 1) || f.posted("silenced") || am.anywhere(silenced.Labels) {
		t.Error("a silenced alert was sent")
	}
	if code, answer := am.do(t, http.MethodDelete, "/api/v2/silence/"+silence, nil); code != http.StatusOK {
		t.Fatalf("Alertmanager answers %d: %s", code, answer)
	}
	am.await(t, "it is sent when the silence ends", func() bool {
		return notified(quiet, 1) && !am.at("remediator", silenced.Labels).IsZero()
	})
}

// TestTextIsBounded: ntfy accepts 4,096 bytes, the other integrations more.
func TestTextIsBounded(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 14, 2, 0, 0, time.UTC)
	annotations := map[string]string{
		"description": strings.Repeat("😀", 10_000), "healing": strings.Repeat("x", 10_000), "runbook_url": strings.Repeat("<", 10_000),
	}
	var all []map[string]any
	for _, status := range []string{"firing", "resolved"} {
		for range 40 {
			all = append(all, map[string]any{
				"status": status, "annotations": annotations, "startsAt": start, "endsAt": start.Add(100 * 24 * time.Hour),
			})
		}
	}
	data, err := json.Marshal(map[string]any{"status": "firing", "alerts": all})
	if err != nil {
		t.Fatal(err)
	}
	text := run(t, "amtool", "template", "render", "--template.glob="+alertmanagerTemplates,
		`--template.text={{ template "ghostrunner.text" . }}`, "--template.data="+write(t, t.TempDir(), "data.json", string(data)))
	if len(text) > 4096 || !strings.Contains(text, "3 of 40 resolved alerts are shown.") || strings.Count(text, "Healing") != 6 {
		t.Errorf("%d bytes:\n%s", len(text), text)
	}
}

// hostOf returns the first word of the host in a subject.
func hostOf(subject string) string {
	_, rest, _ := strings.Cut(subject, " on ")
	return rest[:max(0, strings.IndexAny(rest, ": "))]
}

// silence silences a host and returns the ID of the silence.
func (a *alertmanager) silence(t *testing.T, host string) string {
	t.Helper()
	var answer struct{ SilenceID string }
	if err := json.Unmarshal(a.send(t, "/api/v2/silences", map[string]any{
		"matchers": []map[string]any{{"name": "host", "value": host, "isRegex": false, "isEqual": true}},
		"startsAt": time.Now(), "endsAt": time.Now().Add(time.Hour), "createdBy": "test", "comment": "test",
	}), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.SilenceID
}

// TestMuteTimes: people get only critical alerts in a mute time, the remediator gets all.
func TestMuteTimes(t *testing.T) {
	t.Parallel()
	am := startAlertmanager(t, func(t *testing.T, config, receivers string) string {
		t.Helper()
		config = changed(t, config, "      #- weekdays: [saturday, sunday]\n", "      - years: ['2020:2100']\n")
		return notifyAtOnce(t, config, receivers)
	})
	warning := map[string]string{"alertname": "GhostrunnerDiskLow", "severity": "warning", "remediation": "prune", "host": "h"}
	critical := map[string]string{"alertname": "GhostrunnerDiskCritical", "severity": "critical", "remediation": "prune", "host": "h"}
	am.post(t, []map[string]string{warning, critical}, time.Time{})
	am.await(t, "people have the critical alert, the remediator has both", func() bool {
		return am.arrived(critical) && !am.at("remediator", warning).IsZero()
	})
	am.await(t, "Alertmanager has muted the warning", func() bool {
		_, metrics := am.do(t, http.MethodGet, "/metrics", nil)
		return strings.Contains(string(metrics), `alertmanager_notifications_suppressed_total{reason="mute_time_interval"} 1`)
	})
	if !am.at("people", warning).IsZero() {
		t.Error("people were notified of a warning in a mute time")
	}
}

// TestDeadMansSwitch: the heartbeat goes outside as often as to the remediator, without the
// remediator's token, and stops only with the Watchdog.
func TestDeadMansSwitch(t *testing.T) {
	t.Parallel()
	f := startFakes(t)
	am := startAlertmanager(t, func(t *testing.T, config, receivers string) string {
		t.Helper()
		config = toAllReceivers(f)(t, config, receivers)
		config = strings.ReplaceAll(config, "group_interval: 15s\n", "group_interval: 1s\n")
		return strings.ReplaceAll(config, "repeat_interval: 50s\n", "repeat_interval: 500ms\n")
	})
	watchdog := func(host string) map[string]string {
		return map[string]string{"alertname": "GhostrunnerWatchdog", "severity": "none", "layer": "pipeline", "host": host}
	}
	dies, lives := watchdog("dies"), watchdog("lives")
	pings := func(labels map[string]string) int { return am.times("dead-mans-switch", labels) }
	am.post(t, []map[string]string{dies, lives}, time.Time{})
	am.await(t, "three pings", func() bool { return pings(dies) >= 3 && pings(lives) >= 3 })
	if out, in := pings(lives), am.times("heartbeat", lives); out-in > 1 || in-out > 1 {
		t.Errorf("%d heartbeats outside and %d to the remediator", out, in)
	}

	am.post(t, []map[string]string{dies}, time.Now())
	am.await(t, "Alertmanager has resolved it", func() bool { return am.states(t)[key(dies)] == "" })
	before := pings(lives)
	am.await(t, "a ping that was being sent has arrived", func() bool { return pings(lives) > before })
	last := pings(dies)
	am.await(t, "three more of the other", func() bool { return pings(lives) > before+3 })
	if now := pings(dies); now != last {
		t.Errorf("%d pings since the Watchdog has stopped", now-last)
	}
	if n := am.times("dead-mans-switch resolved", dies); n != 0 {
		t.Error("the end of the Watchdog was sent outside, where each request counts as a heartbeat")
	}
	if got := am.badAuthorization(); len(got) > 0 {
		t.Errorf("receivers with the wrong authorization: %v", got)
	}
}

// TestHealingIsUpToDate: Prometheus sends the annotation `healing` to Alertmanager often enough
// that a message to people is not outdated.
func TestHealingIsUpToDate(t *testing.T) {
	compose, err := os.ReadFile("../compose/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	duration := func(text, pattern string) time.Duration {
		m := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("nothing matches %s", pattern)
		}
		d, err := model.ParseDuration(m[1])
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(d)
	}
	resend := duration(string(compose), `--rules\.alert\.resend-delay=(\S+)`)
	interval := duration(read(t, "remediation.yml"), `(?m)^    interval: (15s)`)
	wait := duration(read(t, alertmanagerConfig), `group_wait: (30s)`)
	// Prometheus sends at the first evaluation that is later than resend after the last time, not
	// at one exactly then.
	if again := resend.Truncate(interval) + interval; again > wait/2 {
		t.Errorf("an alert is sent again after %s; a message leaves %s after its first alert", again, wait)
	}
}
