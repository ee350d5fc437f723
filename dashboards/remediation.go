package main

// remediation shows what fired, what was done about it and what was not, and how quickly.
func remediation(limits) board {
	return board{
		name: "remediation", title: "ghostrunner / Remediation",
		about: "Alerts, actions, refusals by reason, breakers, reaction time and reclaimed bytes.",
		rows: []row{
			{"In the time shown", []panel{
				{
					kind: answer, title: "Actions", unit: none, width: 4,
					about:   "Actions that were done and verified.",
					queries: []query{{`round(sum by (host) (increase(ghostrunner_remediator_actions_total{host=~"$host"}[$__range])))`, "{{host}}"}},
					steps:   []step{{0, blue}},
				},
				{
					kind: answer, title: "Failed", unit: none, width: 4,
					about:   "Actions that were begun and did not succeed. One that gave way to a job is finished later, and does not count.",
					queries: []query{{`round(sum by (host) (increase(ghostrunner_remediator_action_failures_total{host=~"$host", reason!="busy"}[$__range]))) or 0 * group by (host) (ghostrunner_remediator_queue_length{host=~"$host"})`, "{{host}}"}},
					steps:   []step{{0, green}, {1, red}},
					alerts:  []string{"GhostrunnerRemediationFailing"},
				},
				{
					kind: answer, title: "Refused", unit: none, width: 4,
					about:   "Alerts that a guard refused to act on. That is what guards are for: the reasons are below.",
					queries: []query{{`round(sum by (host) (increase(ghostrunner_remediator_actions_refused_total{host=~"$host"}[$__range])))`, "{{host}}"}},
					steps:   []step{{0, blue}},
				},
				{
					kind: answer, title: "Backed off now", unit: none, width: 4,
					about:   "Runners that are stopped because restarts did not help.",
					queries: []query{{`sum by (host) (ghostrunner_remediator_breaker_open{host=~"$host", runner=~"$runner"})`, "{{host}}"}},
					steps:   []step{{0, green}, {1, orange}},
					alerts:  []string{"GhostrunnerWatchdogStorm"},
				},
				{
					kind: answer, title: "Half of the reactions within", unit: seconds, width: 4,
					about:   "From the start of the alert to the beginning of the action. For a restart the alert's start is at most 0.7 s after the scrape that saw the fault.",
					queries: []query{{`histogram_quantile(0.5, sum by (host, le) (increase(ghostrunner_remediator_reaction_seconds_bucket{host=~"$host"}[$__range])))`, "{{host}}"}},
					steps:   []step{{0, blue}},
				},
				{
					kind: answer, title: "Reclaimed", unit: bytes, width: 4,
					about:   "What prunes removed from the disk, as Docker counts it.",
					queries: []query{{`sum by (host) (increase(ghostrunner_remediator_reclaimed_bytes_total{host=~"$host"}[$__range]))`, "{{host}}"}},
					steps:   []step{{0, blue}},
				},
			}},
			{"Alerts", []panel{
				{
					kind: timeline, title: "What fired", unit: none, width: 24,
					about:   "Every alert but the heartbeat, from pending to firing. What Alertmanager held back because of an earlier cause is here as well.",
					queries: []query{{`max by (host, alertname, runner, container, path, source) (ALERTS{host=~"$host", alertstate="firing", alertname!="GhostrunnerWatchdog"})`, "{{alertname}} {{runner}}{{container}}{{path}}{{source}} {{host}}"}},
					states:  []state{{1, "firing", orange}},
				},
			}},
			{"Actions", []panel{
				{
					kind: bars, title: "Done and verified", unit: count, width: 8,
					about:   "By action and target.",
					queries: []query{{`sum by (host, action, target) (increase(ghostrunner_remediator_actions_total{host=~"$host"}[$__rate_interval])) > 0`, "{{action}} {{target}} {{host}}"}},
				},
				{
					kind: bars, title: "Refused, by reason", unit: count, width: 8,
					about:   "Why a guard said no. busy: a job runs. recovered: nothing is wrong any more. cooldown, duplicate and one_at_a_time keep two actions apart. unknown_state: it could not be told whether it was safe.",
					queries: []query{{`sum by (host, action, reason) (increase(ghostrunner_remediator_actions_refused_total{host=~"$host"}[$__rate_interval])) > 0`, "{{action}}: {{reason}} {{host}}"}},
					alerts:  []string{"GhostrunnerRemediationFailing"},
				},
				{
					kind: bars, title: "Failed, by reason", unit: count, width: 8,
					about:   "Begun, and not shown by the world to be done. A line at zero: none.",
					queries: []query{{`sum by (host, action, target, reason) (increase(ghostrunner_remediator_action_failures_total{host=~"$host"}[$__rate_interval])) or 0 * group by (host) (ghostrunner_remediator_queue_length{host=~"$host"})`, "{{action}} {{target}} {{reason}} {{host}}"}},
					alerts:  []string{"GhostrunnerRemediationFailing"},
				},
				{
					kind: list, title: "Last decision about each target", unit: seconds, width: 24,
					about:   "How long ago each was taken: of all actions the latest, and of all refusals the latest. The whole history: docker compose exec remediator /ghostrunner history.",
					queries: []query{{`sort(time() - max by (host, action, target, outcome, reason) (ghostrunner_remediator_last_decision_timestamp_seconds{host=~"$host"}))`, ""}},
				},
			}},
			{"Breakers", []panel{
				{
					kind: timeline, title: "Breakers", unit: none, width: 12,
					about: "Open: stopped for a back-off. Probation: started again, and the next failure opens it for twice as long. An hour without one closes it.",
					queries: []query{{`2 * (max by (host, runner) (ghostrunner_remediator_breaker_open_until_timestamp_seconds{host=~"$host", runner=~"$runner"} <= bool time()) == 1)` +
						` or max by (host, runner) (ghostrunner_remediator_breaker_open{host=~"$host", runner=~"$runner"})`, "{{runner}} {{host}}"}},
					states: []state{{0, "closed", green}, {1, "open", red}, {2, "probation", orange}},
					alerts: []string{"GhostrunnerWatchdogStorm"},
				},
				{
					kind: graph, title: "Restarts because of a retry loop, in the hour before", unit: count, width: 12,
					about: "Above the threshold the breaker opens.",
					queries: []query{
						{`max by (host, runner) (ghostrunner_watchdog_fires_total{host=~"$host", runner=~"$runner"}) - min by (host, runner) (min_over_time(ghostrunner_watchdog_fires_total{host=~"$host", runner=~"$runner"}[1h]))`, "{{runner}} {{host}}"},
						{`host_name:ghostrunner_threshold:effective{host=~"$host", name="watchdog_max_fires"}`, "threshold {{host}}"},
					},
					alerts: []string{"GhostrunnerWatchdogStorm", "GhostrunnerRunnerRetryLoop"},
				},
			}},
			{"How quickly, and how much", []panel{
				{
					kind: graph, title: "Reaction time", unit: seconds, width: 8,
					about: "From the start of the alert to the beginning of the action, over the hour before: half, and 19 of 20. Long ones waited for a job, a cooldown or a cause.",
					queries: []query{
						{`histogram_quantile(0.5, sum by (host, action, le) (increase(ghostrunner_remediator_reaction_seconds_bucket{host=~"$host"}[1h])))`, "half, {{action}} {{host}}"},
						{`histogram_quantile(0.95, sum by (host, action, le) (increase(ghostrunner_remediator_reaction_seconds_bucket{host=~"$host"}[1h])))`, "19 of 20, {{action}} {{host}}"},
					},
				},
				{
					kind: graph, title: "Duration of actions", unit: seconds, width: 8,
					about:   "From the beginning of an action to its verified end, over the hour before: 19 of 20. A restart of a runner takes as long as it needs to be online again.",
					queries: []query{{`histogram_quantile(0.95, sum by (host, action, le) (increase(ghostrunner_remediator_action_duration_seconds_bucket{host=~"$host"}[1h])))`, "{{action}} {{host}}"}},
				},
				{
					kind: bars, title: "Reclaimed", unit: bytes, width: 8,
					about:   "What prunes removed, by kind. Volumes and networks are never among them.",
					queries: []query{{`sum by (host, kind) (increase(ghostrunner_remediator_reclaimed_bytes_total{host=~"$host"}[$__rate_interval])) > 0`, "{{kind}} {{host}}"}},
					alerts:  []string{"GhostrunnerDiskLow", "GhostrunnerDiskCritical"},
				},
			}},
		},
	}
}
