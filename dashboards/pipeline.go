package main

// pipeline shows the health of exporter, Prometheus, Alertmanager and remediator.
func pipeline(limits) board {
	return board{
		name: "pipeline", title: "ghostrunner / Exporter and pipeline health", everyHost: true,
		about: "The health of exporter, Prometheus, Alertmanager and remediator, and their cost.",
		rows: []row{
			{"Is the pipeline working?", []panel{
				{
					kind: timeline, title: "Scraped", unit: none, width: 8,
					about:   "Whether Prometheus can scrape each program.",
					queries: []query{{`min by (host, job) (up{host=~"$host"})`, "{{job}} {{host}}"}},
					states:  []state{{0, "down", red}, {1, "up", green}},
					alerts:  []string{"GhostrunnerExporterDown", "GhostrunnerRemediatorDown"},
				},
				{
					kind: answer, title: "Heartbeat", unit: seconds, width: 4,
					about:   "How long ago the remediator received the alert that always fires. Prometheus and Alertmanager send it once a minute. After a few minutes without it one of them does not work.",
					queries: []query{{`time() - max by (host) (ghostrunner_remediator_heartbeat_timestamp_seconds{host=~"$host"})`, "{{host}}"}},
					steps:   []step{{0, green}, {300, red}},
					alerts:  []string{"GhostrunnerWatchdog", "GhostrunnerPipelineSilent"},
				},
				{
					kind: answer, title: "Fallback", unit: none, width: 4,
					about:   "Whether the remediator restarts unhealthy containers without alerts, because it receives no heartbeat.",
					queries: []query{{`max by (host) (ghostrunner_remediator_fallback_active{host=~"$host"})`, "{{host}}"}},
					states:  []state{{0, "not needed", green}, {1, "in use", orange}}, steps: []step{{0, green}, {1, orange}},
					alerts: []string{"GhostrunnerPipelineSilent"},
				},
				{
					kind: answer, title: "Journal", unit: none, width: 4,
					about:   "Whether the remediator can write its journal. Without it there are no actions.",
					queries: []query{{`min by (host) (ghostrunner_remediator_journal_up{host=~"$host"})`, "{{host}}"}},
					states:  []state{{0, "cannot be written", red}, {1, "written", green}}, steps: []step{{0, red}, {1, green}},
					alerts: []string{"GhostrunnerRemediatorDown"},
				},
				{
					kind: answer, title: "Docker answers", unit: none, width: 4,
					about:   "Whether the exporter reaches the Docker engine.",
					queries: []query{{`min by (host) (ghostrunner_docker_up{host=~"$host"})`, "{{host}}"}},
					states:  truth, steps: []step{{0, red}, {1, green}},
					alerts: []string{"GhostrunnerDockerDown"},
				},
			}},
			{"Exporter", []panel{
				{
					kind: timeline, title: "Sources", unit: none, width: 12,
					about:   "Whether each source was read without an error.",
					queries: []query{{`min by (host, collector) (ghostrunner_scrape_collector_success{host=~"$host"})`, "{{collector}} {{host}}"}},
					states:  truth,
				},
				{
					kind: graph, title: "Age of the data", unit: seconds, width: 12,
					about: "Time since the last response of each source. The exporter polls in the background and a scrape reads memory. Old GitHub and clock samples are dropped.",
					queries: []query{
						{`time() - max by (host, scope) (ghostrunner_github_last_success_timestamp_seconds{host=~"$host"})`, "GitHub {{scope}} {{host}}"},
						{`time() - max by (host, source) (ghostrunner_clock_sample_timestamp_seconds{host=~"$host"})`, "clock {{source}} {{host}}"},
						{`time() - max by (host) (ghostrunner_pat_last_check_timestamp_seconds{host=~"$host"})`, "PAT {{host}}"},
					},
					alerts: []string{"GhostrunnerGitHubUnreachable"},
				},
				{
					kind: graph, title: "Duration of a scrape", unit: seconds, width: 8,
					about:   "As measured by Prometheus.",
					queries: []query{{`max by (host, job) (scrape_duration_seconds{host=~"$host", job=~"ghostrunner-.+"})`, "{{job}} {{host}}"}},
				},
				{
					kind: graph, title: "Duration of each source", unit: seconds, width: 8,
					about:   "Time to read a source within a scrape.",
					queries: []query{{`max by (host, collector) (ghostrunner_scrape_collector_duration_seconds{host=~"$host"})`, "{{collector}} {{host}}"}},
				},
				{
					kind: graph, title: "Log lines read", unit: "cps", width: 8,
					about: "Lines from the containers of the runners. Unrecognized lines can come from a new version of the runner.",
					queries: []query{
						{`sum by (host) (rate(ghostrunner_runner_log_lines_total{host=~"$host"}[$__rate_interval]))`, "all {{host}}"},
						{`sum by (host) (rate(ghostrunner_runner_unrecognised_lines_total{host=~"$host"}[$__rate_interval]))`, "unrecognized {{host}}"},
					},
				},
				{
					kind: bars, title: "Requests to GitHub", unit: count, width: 12,
					about:   "By HTTP status. 304 means that the answer did not change; it costs no quota.",
					queries: []query{{`sum by (host, code) (increase(ghostrunner_github_requests_total{host=~"$host"}[$__rate_interval])) > 0`, "{{code}} {{host}}"}},
					alerts:  []string{"GhostrunnerRateLimitLow"},
				},
				{
					kind: list, title: "Versions", unit: none, width: 12,
					about: "Versions of the exporter and the remediator on each host.",
					queries: []query{
						{`max by (host, job, version, revision, goversion) (ghostrunner_exporter_build_info{host=~"$host"} or ghostrunner_remediator_build_info{host=~"$host"})`, ""},
					},
					hidden: []string{"Value"},
				},
			}},
			{"Prometheus and Alertmanager", []panel{
				{
					kind: graph, title: "Duration of rule evaluations", unit: seconds, width: 8,
					about:   "The last evaluation of each group of rules.",
					queries: []query{{`max by (host, rule_group) (prometheus_rule_group_last_duration_seconds{host=~"$host"})`, "{{rule_group}}"}},
				},
				{
					kind: bars, title: "Missed and failed evaluations", unit: count, width: 8,
					about: "Evaluations that were skipped because the previous one took too long, and rules that failed. Both are faults. A line at zero: none.",
					queries: []query{
						{`sum by (host) (increase(prometheus_rule_group_iterations_missed_total{host=~"$host"}[$__rate_interval]))`, "missed {{host}}"},
						{`sum by (host) (increase(prometheus_rule_evaluation_failures_total{host=~"$host"}[$__rate_interval]))`, "failed {{host}}"},
					},
				},
				{
					kind: bars, title: "Alerts sent", unit: count, width: 8,
					about: "Alerts that Prometheus sent to Alertmanager, and those that it could not send.",
					queries: []query{
						{`sum by (host) (increase(prometheus_notifications_sent_total{host=~"$host"}[$__rate_interval]))`, "sent {{host}}"},
						{`sum by (host) (increase(prometheus_notifications_errors_total{host=~"$host"}[$__rate_interval]))`, "errors {{host}}"},
						{`sum by (host) (increase(prometheus_notifications_dropped_total{host=~"$host"}[$__rate_interval]))`, "dropped {{host}}"},
					},
					alerts: []string{"GhostrunnerWatchdog"},
				},
				{
					kind: bars, title: "Notifications", unit: count, width: 8,
					about: "Notifications from Alertmanager to people and to the remediator, and those that failed.",
					queries: []query{
						{`sum by (host, integration) (increase(alertmanager_notifications_total{host=~"$host"}[$__rate_interval])) > 0`, "{{integration}} {{host}}"},
						{`sum by (host, integration) (increase(alertmanager_notifications_failed_total{host=~"$host"}[$__rate_interval])) > 0 or 0 * group by (host) (alertmanager_alerts{host=~"$host"})`, "failed {{integration}} {{host}}"},
					},
					alerts: []string{"GhostrunnerWatchdog"},
				},
				{
					kind: graph, title: "Alerts in Alertmanager", unit: count, width: 8,
					about:   "By state. Suppressed alerts are inhibited by an earlier cause, or silenced.",
					queries: []query{{`max by (host, state) (alertmanager_alerts{host=~"$host"})`, "{{state}} {{host}}"}},
				},
				{
					kind: graph, title: "Series", unit: count, width: 8,
					about:   "Series that Prometheus keeps in memory.",
					queries: []query{{`max by (host) (prometheus_tsdb_head_series{host=~"$host"})`, "{{host}}"}},
				},
			}},
			{"Remediator", []panel{
				{
					kind: bars, title: "Webhooks", unit: count, width: 8,
					about:   "By HTTP status. 202: accepted and on disk. 401: wrong token.",
					queries: []query{{`sum by (host, code) (increase(ghostrunner_remediator_webhook_requests_total{host=~"$host"}[$__rate_interval])) > 0`, "{{code}} {{host}}"}},
				},
				{
					kind: bars, title: "Alerts received", unit: count, width: 8,
					about:   "By status. A resolved alert never starts an action.",
					queries: []query{{`sum by (host, status) (increase(ghostrunner_remediator_alerts_received_total{host=~"$host"}[$__rate_interval]))`, "{{status}} {{host}}"}},
				},
				{
					kind: graph, title: "Waiting", unit: count, width: 8,
					about: "Alerts that wait for a decision, and containers that were stopped and do not run again yet.",
					queries: []query{
						{`max by (host) (ghostrunner_remediator_queue_length{host=~"$host"})`, "alerts {{host}}"},
						{`max by (host) (ghostrunner_remediator_unfinished_actions{host=~"$host"})`, "containers {{host}}"},
					},
					alerts: []string{"GhostrunnerRemediationFailing"},
				},
			}},
			{"Cost", []panel{
				{
					kind: graph, title: "CPU", unit: share, width: 8,
					about:   "Share of one core, by program.",
					queries: []query{{`sum by (host, job) (rate(process_cpu_seconds_total{host=~"$host"}[$__rate_interval]))`, "{{job}} {{host}}"}},
				},
				{
					kind: graph, title: "Memory", unit: bytes, width: 8,
					about:   "Resident memory, by program.",
					queries: []query{{`sum by (host, job) (process_resident_memory_bytes{host=~"$host"})`, "{{job}} {{host}}"}},
				},
				{
					kind: graph, title: "Open files", unit: count, width: 8,
					about:   "A line that only rises is a leak.",
					queries: []query{{`sum by (host, job) (process_open_fds{host=~"$host"})`, "{{job}} {{host}}"}},
				},
			}},
		},
	}
}
