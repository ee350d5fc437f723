// Ghostrunner-remediator receives alerts from Alertmanager and restarts, backs off or prunes - or
// refuses, and says why. It judges only whether an action is safe; whether one is wanted is said by
// the labels of the alert.
//
// # Labels of an alert
//
//	remediation       the action: restart, backoff or prune. Absent: the alert starts nothing
//	runner, container the target; they must match exactly one container
//	recheck           what is looked at again before acting: health, online (at GitHub) or disk
//	counts_as         watchdog_fire: a restart counts for the circuit breaker
//	threshold_bytes   of prune: the free space below which it is wanted
//	target_bytes      of prune: the free space at which it ends; at most half of the disk
//	heartbeat         true: the alert always fires, and shows that alerts arrive
//
// # What it may touch
//
// Containers that carry every --docker.label and whose label ghostrunner.heal names the action;
// images, and build cache if --prune.label is not set. No volume, no network, nothing else, ever.
// Nothing is begun outside of --window. At GitHub it only reads.
//
// # How it knows that a runner is idle
//
// No Runner.Worker is in its container, and GitHub, if --github.token-file is given, does not call
// it busy, asked at the place that the container's label ghostrunner.scope names, else at
// --github.owner and --github.repo. GitHub's claim against an empty container counts for ten
// minutes. A restart is done when the container is healthy and GitHub sees the runner online; one
// that does not help is followed by a back-off.
//
// # What it prunes
//
// Build cache, dangling images, stopped containers with --prune.label, then images unused for
// --prune.min-age, the most recently used last, until target_bytes are free by what the file system
// says. Only while no runner is busy; below 2 GB also then, but nothing that was used within the hour.
// With --dry-run each object is listed with its size.
//
// # The webhook
//
// POST /webhook takes Alertmanager's payload (version 4) with "Authorization: Bearer" from
// --web.bearer-token-file. It is answered with 202 as soon as the alerts are on disk; 503 asks
// Alertmanager to try again.
//
// # When no alerts arrive
//
// If no heartbeat comes for --heartbeat.timeout, /-/ready says so, and containers that Docker calls
// unhealthy are restarted without an alert, with the same guards and in the same journal, until one
// comes.
//
// # The journal
//
// --journal.path holds what was accepted, begun and done. An intent is on disk before the first call
// to Docker; after kill -9 the next process finishes what was begun, and starts what was stopped. A
// journal that cannot be opened or written is reported in the log, on / and by /-/ready; nothing is
// done until it can.
//
// # For people
//
//	ghostrunner-remediator history [--limit=N] [--since=24h]   what was done and refused, and why
//	ghostrunner-remediator breakers                            who is backed off, and until when
//	ghostrunner-remediator breakers reset RUNNER               end a back-off
//	ghostrunner-remediator pause [--for=2h] | resume           refuse everything for a time or until resumed
//	ghostrunner-remediator explain [payload.json]              the decision about each alert of a payload
//	ghostrunner-remediator incident [--since=24h]              what happened, as Markdown for the incident log
//	ghostrunner-remediator healthcheck                         whether the remediator is alive; exit 1 if not
//
// All talk to the API of a running remediator at --remediator.url, and all but the last with the
// token of --web.bearer-token-file. All but the last two take --format=json.
//
// The page at / shows the same. Reading it needs no token, as reading /metrics needs none; its
// buttons are for those who have signed in with the token. TLS and client certificates in
// --web.config.file close all of it to everybody else; the subcommands then need
// --http.config.file.
//
// Every flag is also an environment variable, named in --help. SIGTERM and SIGINT end the process
// with exit code 0; a flag, file or value that cannot be used ends it with 1 and one line before
// anything is started.
package main

import (
	"context"
	"io"
	_ "time/tzdata" // --window names time zones, and the image has no files

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
)

const program = "ghostrunner-remediator"

func main() { cli.Main(run) }

// run is main without the process: it can be called any number of times in one.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, done, err := parse(args, stdout)
	switch {
	case done:
		return 0
	case err != nil:
		return cli.Fail(stderr, program, err)
	}
	if do := commands[cfg.command]; do != nil {
		err = do(ctx, cfg, stdout)
	} else {
		err = serve(ctx, cfg, cfg.app.Logger(stderr))
	}
	if err != nil {
		return cli.Fail(stderr, program, err)
	}
	return 0
}
