package main

// remediation shows alerts, actions, refusals, and the time between them.
func remediation(limits) board {
	return board{
		name: "remediation", title: "ghostrunner / Remediation",
		about: "Alerts, actions, refusals by reason, breakers, reaction time and reclaimed bytes.",
		rows: []row{
			{"In the time shown", []panel{
				{
					kind: answer, title: "Actions", unit: none, width: 4,
					about:   "Actions that were completed and verified.",
					queries: []query{{`round(sum by (host) (increase(ghostrunner_remediator_actions_total{host=~"$host"}[$__range])))`, "{{host}}"}},
					steps:   []step{{0, blue}},
				},
				{
					kind: answer, title: "Failed", unit: none, width: 4,
					about:   "Actions that began and failed. An action that stopped for a job is finished later and does not count.",
					queries: []query{{`round(sum by (host) (increase(ghostrunner_remediator_action_failures_total{host=~"$host", reason!="busy"}[$__range]))) or 0 * group by (host) (ghostrunner_remediator_queue_length{host=~"$host"})`, "{{host}}"}},
					steps:   []step{{0, green}, {1, red}},
					alerts:  []string{"GhostrunnerRemediationFailing"},
				},
				{
					kind: answer, title: "Refused", unit: none, width: 4,
					about:   "Actions that a guard refused. The reasons are below.",
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
					kind: answer, title: "Median reaction", unit: seconds, width: 4,
					about:   "From the start of the alert to the start of the action. A restart's alert starts at most 0.7 s after the scrape with the fault.",
					queries: []query{{`histogram_quantile(0.5, sum by (host, le) (increase(ghostrunner_remediator_reaction_seconds_bucket{host=~"$host"}[$__range])))`, "{{host}}"}},
					steps:   []step{{0, blue}},
				},
				{
					kind: answer, title: "Reclaimed", unit: bytes, width: 4,
					about:   "Space that prunes freed, as Docker counts it.",
					queries: []query{{`sum by (host) (increase(ghostrunner_remediator_reclaimed_bytes_total{host=~"$host"}[$__range]))`, "{{host}}"}},
					steps:   []step{{0, blue}},
				},
			}},
			{"Alerts", []panel{
				{
					kind: timeline, title: "Firing alerts", unit: none, width: 24,
					about:   "Every firing alert except the heartbeat, including those that Alertmanager silenced because of an earlier cause.",
					queries: []query{{`max by (host, alertname, runner, container, path, source) (ALERTS{host=~"$host", alertstate="firing", alertname!="GhostrunnerWatchdog"})`, "{{alertname}} {{runner}}{{container}}{{path}}{{source}} {{host}}"}},
					states:  []state{{1, "firing", orange}},
				},
			}},
			{"Actions", []panel{
				{
					kind: bars, title: "Completed", unit: count, width: 8,
					about:   "Completed and verified actions, by action and target.",
					queries: []query{{`sum by (host, action, target) (increase(ghostrunner_remediator_actions_total{host=~"$host"}[$__rate_interval])) > 0`, "{{action}} {{target}} {{host}}"}},
				},
				{
					kind: bars, title: "Refused, by reason", unit: count, width: 8,
					about:   "busy: a job runs. recovered: the fault has ended. cooldown, duplicate and one_at_a_time separate two actions. unknown_state: it is unknown whether the action is safe.",
					queries: []query{{`sum by (host, action, reason) (increase(ghostrunner_remediator_actions_refused_total{host=~"$host"}[$__rate_interval])) > 0`, "{{action}}: {{reason}} {{host}}"}},
					alerts:  []string{"GhostrunnerRemediationFailing"},
				},
				{
					kind: bars, title: "Failed, by reason", unit: count, width: 8,
					about:   "Actions that failed or could not be verified. A line at zero: none.",
					queries: []query{{`sum by (host, action, target, reason) (increase(ghostrunner_remediator_action_failures_total{host=~"$host"}[$__rate_interval])) or 0 * group by (host) (ghostrunner_remediator_queue_length{host=~"$host"})`, "{{action}} {{target}} {{reason}} {{host}}"}},
					alerts:  []string{"GhostrunnerRemediationFailing"},
				},
				{
					kind: list, title: "Last decision about each target", unit: seconds, width: 24,
					about:   "How long ago the latest action and the latest refusal of each target were. The whole history: docker compose exec remediator /ghostrunner history.",
					queries: []query{{`sort(time() - max by (host, action, target, outcome, reason) (ghostrunner_remediator_last_decision_timestamp_seconds{host=~"$host"}))`, ""}},
				},
			}},
			{"Breakers", []panel{
				{
					kind: timeline, title: "Breakers", unit: none, width: 12,
					about: "Open: the runner is stopped for a back-off. Probation: it was started again, and the next fire opens the breaker for twice as long. An hour without a fire closes it.",
					queries: []query{{`2 * (max by (host, runner) (ghostrunner_remediator_breaker_open_until_timestamp_seconds{host=~"$host", runner=~"$runner"} <= bool time()) == 1)` +
						` or max by (host, runner) (ghostrunner_remediator_breaker_open{host=~"$host", runner=~"$runner"})`, "{{runner}} {{host}}"}},
					states: []state{{0, "closed", green}, {1, "open", red}, {2, "probation", orange}},
					alerts: []string{"GhostrunnerWatchdogStorm"},
				},
				{
					kind: graph, title: "Restarts because of a retry loop, last hour", unit: count, width: 12,
					about: "Above the threshold the breaker opens.",
					queries: []query{
						{`max by (host, runner) (ghostrunner_watchdog_fires_total{host=~"$host", runner=~"$runner"}) - min by (host, runner) (min_over_time(ghostrunner_watchdog_fires_total{host=~"$host", runner=~"$runner"}[1h]))`, "{{runner}} {{host}}"},
						{`host_name:ghostrunner_threshold:effective{host=~"$host", name="watchdog_max_fires"}`, "threshold {{host}}"},
					},
					alerts: []string{"GhostrunnerWatchdogStorm", "GhostrunnerRunnerRetryLoop"},
				},
			}},
			{"Times and sizes", []panel{
				{
					kind: graph, title: "Reaction time", unit: seconds, width: 8,
					about: "From the start of the alert to the start of the action over the last hour: median and 95th percentile. Long ones waited for a job, a cooldown or a cause.",
					queries: []query{
						{`histogram_quantile(0.5, sum by (host, action, le) (increase(ghostrunner_remediator_reaction_seconds_bucket{host=~"$host"}[1h])))`, "median, {{action}} {{host}}"},
						{`histogram_quantile(0.95, sum by (host, action, le) (increase(ghostrunner_remediator_reaction_seconds_bucket{host=~"$host"}[1h])))`, "p95, {{action}} {{host}}"},
					},
				},
				{
					kind: graph, title: "Duration of actions", unit: seconds, width: 8,
					about:   "From the start of an action to its verified end over the last hour, 95th percentile. A restart ends when the runner is online again.",
					queries: []query{{`histogram_quantile(0.95, sum by (host, action, le) (increase(ghostrunner_remediator_action_duration_seconds_bucket{host=~"$host"}[1h])))`, "{{action}} {{host}}"}},
				},
				{
					kind: bars, title: "Reclaimed", unit: bytes, width: 8,
					about:   "Space that prunes freed, by kind. Volumes and networks are never removed.",
					queries: []query{{`sum by (host, kind) (increase(ghostrunner_remediator_reclaimed_bytes_total{host=~"$host"}[$__rate_interval])) > 0`, "{{kind}} {{host}}"}},
					alerts:  []string{"GhostrunnerDiskLow", "GhostrunnerDiskCritical"},
				},
			}},
		},
	}
}
