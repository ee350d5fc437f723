package main

// overview answers one question and shows the reasons: can my CI run jobs?
func overview(l limits) board {
	return board{
		name: "overview", title: "ghostrunner / Overview",
		about: "Can my CI run jobs? One row of answers; below it runners, jobs, queue, host and credential.",
		rows: []row{
			{"Can my CI run jobs?", []panel{
				{
					kind: answer, title: "Runners ready", unit: none, width: 3,
					about:   "Runners that GitHub reports as online, idle or busy, and that are not in their retry loop. With none no job can start.",
					queries: []query{{`count by (host) (max by (host, runner) (ghostrunner_runner_online{host=~"$host", runner=~"$runner"}) == 1 unless on (host, runner) ghostrunner_runner_retrying{host=~"$host"} == 1) or 0 * group by (host) (ghostrunner_runner_online{host=~"$host", runner=~"$runner"})`, "{{host}}"}},
					steps:   []step{{0, red}, {1, green}},
					alerts:  []string{"GhostrunnerAllRunnersOffline", "GhostrunnerRunnerOffline", "GhostrunnerRunnerRetryLoop"},
				},
				{
					kind: answer, title: "Jobs now", unit: none, width: 3,
					about:   "Jobs that run now, according to the logs of the runners.",
					queries: []query{{`sum by (host) (ghostrunner_runner_job_running{host=~"$host", runner=~"$runner"})`, "{{host}}"}},
					steps:   []step{{0, blue}},
				},
				{
					kind: answer, title: "Alerts", unit: none, width: 3,
					about:   "Firing alerts of severity warning or critical.",
					queries: []query{{`count by (host) (ALERTS{host=~"$host", alertstate="firing", severity=~"critical|warning"}) or 0 * group by (host) (up{host=~"$host", job="ghostrunner-exporter"})`, "{{host}}"}},
					steps:   []step{{0, green}, {1, orange}},
				},
				{
					kind: answer, title: "GitHub answers", unit: none, width: 3,
					about:   "Whether the last poll of every scope succeeded. While one fails, no runner is restarted.",
					queries: []query{{`min by (host) (ghostrunner_github_up{host=~"$host"})`, "{{host}}"}},
					states:  truth, steps: []step{{0, red}, {1, green}},
					alerts: []string{"GhostrunnerGitHubUnreachable", "GhostrunnerDNSFailing"},
				},
				{
					kind: answer, title: "PAT works", unit: none, width: 3,
					about:   "Whether GitHub accepts the token and the token may manage runners.",
					queries: []query{{`min by (host) (ghostrunner_pat_valid{host=~"$host"} * on (host) (ghostrunner_pat_permission_sufficient{host=~"$host"} or ghostrunner_pat_valid{host=~"$host"}))`, "{{host}}"}},
					states:  truth, steps: []step{{0, red}, {1, green}},
					alerts: []string{"GhostrunnerPATInvalid", "GhostrunnerPATPermissionInsufficient"},
				},
				{
					kind: answer, title: "Clock off by", unit: seconds, width: 3,
					about:   "The largest offset that a source reported within five minutes. GitHub refuses runners from 300 s on.",
					queries: []query{{`max by (host) (abs(ghostrunner_clock_offset_seconds{host=~"$host"}))`, "{{host}}"}},
					steps:   []step{{0, green}, {l.clockDrift, orange}, {l.clockSkew, red}},
					alerts:  []string{"GhostrunnerClockDrift", "GhostrunnerClockSkewSevere"},
				},
				{
					kind: answer, title: "Disk free", unit: bytes, width: 3,
					about:   "Free space of the watched path that has the least. The color uses the default threshold; the threshold of the host is drawn below.",
					queries: []query{{`min by (host) (ghostrunner_disk_free_bytes{host=~"$host"})`, "{{host}}"}},
					steps:   []step{{0, red}, {l.diskCritical, orange}, {l.diskLow, green}},
					alerts:  []string{"GhostrunnerDiskLow", "GhostrunnerDiskCritical"},
				},
				{
					kind: answer, title: "Healing", unit: none, width: 3,
					about:   "Whether the remediator would act: it runs, is not paused, and is not in dry run.",
					queries: []query{{`min by (host) (ghostrunner_remediator_paused{host=~"$host"} + 2 * ghostrunner_remediator_dry_run{host=~"$host"} + 1) or 0 * group by (host) (up{host=~"$host", job="ghostrunner-remediator"})`, "{{host}}"}},
					states:  []state{{0, "down", red}, {1, "on", green}, {2, "paused", orange}, {3, "dry run", orange}, {4, "dry run, paused", orange}},
					steps:   []step{{0, red}, {1, green}, {2, orange}},
					alerts:  []string{"GhostrunnerRemediatorDown"},
				},
			}},
			{"Runners", []panel{
				{
					kind: timeline, title: "Runners", unit: none, width: 12,
					about: "The state of each slot as GitHub reports it, unless its log shows the retry loop or the remediator stopped it for a back-off.",
					queries: []query{{`4 * (max by (host, runner) (ghostrunner_remediator_breaker_open{host=~"$host", runner=~"$runner"}) == 1)` +
						` or 3 * (max by (host, runner) (ghostrunner_runner_retrying{host=~"$host", runner=~"$runner"}) == 1)` +
						` or max by (host, runner) (ghostrunner_runner_online{host=~"$host", runner=~"$runner"}) + on (host, runner) max by (host, runner) (ghostrunner_runner_busy{host=~"$host", runner=~"$runner"})`, "{{runner}} {{host}}"}},
					states: []state{{0, "offline", red}, {1, "idle", green}, {2, "busy", blue}, {3, "retry loop", orange}, {4, "backed off", "purple"}},
					alerts: []string{"GhostrunnerRunnerOffline", "GhostrunnerRunnerRetryLoop", "GhostrunnerAllRunnersOffline", "GhostrunnerWatchdogStorm"},
				},
				{
					kind: timeline, title: "Containers", unit: none, width: 12,
					about: "The health that Docker reports for each container with a ghostrunner label. Running: the container has no health check, or is still starting.",
					queries: []query{{`1 + max by (host, container) (ghostrunner_container_healthy{host=~"$host"})` +
						` or 3 * max by (host, container) (ghostrunner_container_running{host=~"$host"})`, "{{container}} {{host}}"}},
					states: []state{{0, "not running", red}, {1, "unhealthy", orange}, {2, "healthy", green}, {3, "running", blue}},
					alerts: []string{"GhostrunnerRunnerUnhealthy", "GhostrunnerServiceUnhealthy", "GhostrunnerDockerDown"},
				},
				{
					kind: bars, title: "Starts of containers", unit: count, width: 8,
					about:   "A runner registers again after each job without a start of its container. So each start here is a restart by the remediator, by Docker or by hand.",
					queries: []query{{`sum by (host, container) (increase(ghostrunner_container_starts_total{host=~"$host"}[$__rate_interval]))`, "{{container}} {{host}}"}},
				},
				{
					kind: bars, title: "Failures of runners", unit: count, width: 8,
					about: "Retry loops, refused sessions, and failures with their reason.",
					queries: []query{
						{`sum by (host, runner) (increase(ghostrunner_runner_retry_loop_matches_total{host=~"$host", runner=~"$runner"}[$__rate_interval]))`, "retry loops of {{runner}} {{host}}"},
						{`sum by (host, runner) (increase(ghostrunner_runner_session_conflicts_total{host=~"$host", runner=~"$runner"}[$__rate_interval]))`, "session conflicts of {{runner}} {{host}}"},
						{`sum by (host, runner, reason) (increase(ghostrunner_runner_failures_total{host=~"$host", runner=~"$runner"}[$__rate_interval]))`, "{{reason}} of {{runner}} {{host}}"},
					},
					alerts: []string{"GhostrunnerSessionConflict", "GhostrunnerRunnerVersionDeprecated"},
				},
				{
					kind: list, title: "Registrations", unit: none, width: 8,
					about:   "The present registration of each slot at GitHub, and the version that the runner prints.",
					queries: []query{{`max by (host, runner, name, scope, version, labels, os) (ghostrunner_runner_info{host=~"$host", runner=~"$runner"})`, ""}},
					hidden:  []string{"Value"},
					alerts:  []string{"GhostrunnerRunnerVersionDeprecated"},
				},
				{
					kind: list, title: "Last failure of each runner", unit: seconds, width: 24,
					about:   "How long ago the runner last failed for each reason, as its log says.",
					queries: []query{{`sort(time() - max by (host, runner, reason) (ghostrunner_runner_last_failure_timestamp_seconds{host=~"$host", runner=~"$runner"}))`, ""}},
					alerts:  []string{"GhostrunnerRunnerVersionDeprecated", "GhostrunnerSessionConflict"},
				},
			}},
			{"Jobs", []panel{
				{
					kind: bars, title: "Jobs that ended", unit: count, width: 12,
					about:   "By the result that the runner prints, which can differ from GitHub's conclusion.",
					queries: []query{{`sum by (result) (increase(ghostrunner_runner_jobs_completed_total{host=~"$host", runner=~"$runner"}[$__rate_interval])) > 0`, "{{result}}"}},
				},
				{
					kind: graph, title: "Duration of jobs", unit: seconds, width: 12,
					about: "Of the jobs that ended within the last hour, half took less than the lower line and nine of ten less than the upper line. Over all runners of a host.",
					queries: []query{
						{`histogram_quantile(0.5, sum by (host, le) (increase(ghostrunner_runner_job_duration_seconds_bucket{host=~"$host"}[1h])))`, "half {{host}}"},
						{`histogram_quantile(0.9, sum by (host, le) (increase(ghostrunner_runner_job_duration_seconds_bucket{host=~"$host"}[1h])))`, "nine of ten {{host}}"},
					},
				},
			}},
			{"Queue", []panel{
				{
					kind: graph, title: "Busy share of the runners", unit: share, width: 12,
					about:   "The share of online runners that are busy. At 100 % jobs wait; half an hour of that is an alert.",
					queries: []query{{`avg by (host) (max by (host, runner) (ghostrunner_runner_busy{host=~"$host", runner=~"$runner"}) and on (host, runner) max by (host, runner) (ghostrunner_runner_online{host=~"$host"}) == 1)`, "{{host}}"}},
					steps:   []step{{0, green}, {1, orange}},
					alerts:  []string{"GhostrunnerRunnersSaturated"},
				},
				{
					kind: graph, title: "Registrations of the scope", unit: count, width: 12,
					about:   "All runners registered in the repository, organization or enterprise, also from other machines. Many offline ones are leftovers.",
					queries: []query{{`max by (scope, state) (ghostrunner_github_runners{host=~"$host"})`, "{{state}} {{scope}}"}},
				},
			}},
			{"Host", []panel{
				{
					kind: graph, title: "Clock", unit: seconds, width: 8,
					about: "How far the clock is ahead of each source (negative: behind), and the threshold of the host on both sides. If one source disagrees with the others, that source is wrong.",
					queries: []query{
						{`max by (host, source) (ghostrunner_clock_offset_seconds{host=~"$host"})`, "{{source}} {{host}}"},
						{`host_name:ghostrunner_threshold:effective{host=~"$host", name="clock_drift_seconds"}`, "threshold {{host}}"},
						{`-host_name:ghostrunner_threshold:effective{host=~"$host", name="clock_drift_seconds"}`, "threshold {{host}}, behind"},
					},
					alerts: []string{"GhostrunnerClockDrift", "GhostrunnerClockSkewSevere", "GhostrunnerClockUnsynchronized"},
				},
				{
					kind: graph, title: "Free disk", unit: bytes, width: 8,
					about: "Space that an unprivileged user can use on each watched path, the threshold below which the remediator prunes, and the critical one.",
					queries: []query{
						{`min by (host, path) (ghostrunner_disk_free_bytes{host=~"$host"})`, "{{path}} {{host}}"},
						{`host_name:ghostrunner_threshold:effective{host=~"$host", name="disk_prune_bytes"}`, "threshold {{host}}"},
					},
					steps:  []step{{0, red}, {l.diskCritical, green}},
					alerts: []string{"GhostrunnerDiskLow", "GhostrunnerDiskCritical"},
				},
				{
					kind: graph, title: "Reclaimable space", unit: bytes, width: 8,
					about:   "Unused images, layers of stopped containers and idle build cache of the whole engine. Measured once an hour, because Docker reads the whole disk for it.",
					queries: []query{{`max by (host, kind) (ghostrunner_docker_reclaimable_bytes{host=~"$host"})`, "{{kind}} {{host}}"}},
				},
				{
					kind: graph, title: "Name lookups", unit: seconds, width: 8,
					about:   "Duration of the last lookup of each name that runners need.",
					queries: []query{{`max by (host, name) (ghostrunner_dns_lookup_duration_seconds{host=~"$host"})`, "{{name}} {{host}}"}},
					alerts:  []string{"GhostrunnerDNSFailing"},
				},
				{
					kind: timeline, title: "Names resolve", unit: none, width: 8,
					about:   "Whether the last lookup returned an address.",
					queries: []query{{`max by (host, name) (ghostrunner_dns_lookup_success{host=~"$host"})`, "{{name}} {{host}}"}},
					states:  truth,
					alerts:  []string{"GhostrunnerDNSFailing"},
				},
				{
					kind: bars, title: "Jumps of the clock", unit: count, width: 8,
					about:   "The wall clock moved against the monotonic clock: the machine slept, or the clock was set.",
					queries: []query{{`sum by (host, direction) (increase(ghostrunner_clock_jumps_total{host=~"$host"}[$__rate_interval]))`, "{{direction}} {{host}}"}},
					alerts:  []string{"GhostrunnerClockDrift", "GhostrunnerClockSetBack"},
				},
				{
					kind: answer, title: "Last jump of the clock", unit: seconds, width: 24,
					about:   "Size of the last jump in each direction since the exporter started. Unknown: there was none. Set back by a minute or more is an alert.",
					queries: []query{{`max by (host, direction) (ghostrunner_clock_last_jump_seconds{host=~"$host"})`, "{{direction}} {{host}}"}},
					steps:   []step{{0, blue}},
					alerts:  []string{"GhostrunnerClockSetBack"},
				},
			}},
			{"Credential and GitHub", []panel{
				{
					kind: answer, title: "PAT expires in", unit: seconds, width: 4,
					about:   "As GitHub reports with each response. Unknown: GitHub reports no expiry of this token.",
					queries: []query{{`min by (host) (ghostrunner_pat_expiry_timestamp_seconds{host=~"$host"}) - time()`, "{{host}}"}},
					steps:   []step{{0, red}, {l.patExpire, orange}, {l.patWarn, yellow}, {l.patInfo, green}},
					alerts:  []string{"GhostrunnerPATExpiring"},
				},
				{
					kind: graph, title: "Quota left", unit: share, width: 10,
					about:   "The share of GitHub's quota that is left in the present window. A conditional request whose answer did not change costs nothing.",
					queries: []query{{`min by (host, resource) (ghostrunner_github_rate_limit_remaining{host=~"$host"} / ghostrunner_github_rate_limit{host=~"$host"})`, "{{resource}} {{host}}"}},
					steps:   []step{{0, red}, {l.rateLimit, green}},
					alerts:  []string{"GhostrunnerRateLimitLow"},
				},
				{
					kind: bars, title: "Failed requests to GitHub", unit: count, width: 10,
					about:   "By reason. auth and permission are faults of the token. After rate_limited the exporter waits.",
					queries: []query{{`sum by (host, reason) (increase(ghostrunner_github_request_failures_total{host=~"$host"}[$__rate_interval]))`, "{{reason}} {{host}}"}},
					alerts:  []string{"GhostrunnerGitHubUnreachable", "GhostrunnerPATInvalid"},
				},
			}},
		},
	}
}
