// Ghostrunner-exporter turns what can go wrong with self-hosted GitHub Actions runners on this machine into Prometheus
// metrics. It observes, and nothing else: it holds no threshold, starts no action, and needs no right to write anywhere.
//
// # What it reads
//
//	source      from                                                  needs
//	container   Docker's list and event stream                        --docker.host
//	listener    the logs of the runner containers                     --docker.host
//	github      the runner list of the GitHub API, in the background  a token and --github.owner
//	credential  what each of these answers says about the token       the same
//	clock       chronyd, SNTP, GitHub's Date header                   --clock.chrony-address, --clock.ntp-servers
//	disk        statfs; what a prune could free by Docker, rarely      --disk.paths, or Docker's root; --docker.reclaimable-interval
//	dns         lookups of GitHub's names, in the background          --dns.names, or the host of --github.api-url
//	threshold   the environment of this process                       PRUNE_THRESHOLD_GB, WATCHDOG_MAX_FIRES, CLOCK_DRIFT_SECONDS
//	exporter    this process itself
//
// Each is optional. What is missing is said once in the log, with what would turn it on, and everything else is exported.
// What was not measured is absent, never 0.
//
// # Scraping
//
// GET /metrics gives everything. GET /metrics?collect[]=container&collect[]=listener gives only these sources, and
// ?exclude[]=… all but these. Container and listener are kept in memory by events and cost next to nothing, so Prometheus
// may ask for them every second, and for the rest every fifteen. /-/healthy is 200 while the process runs; /-/ready is 503
// with a reason until Docker answered or five seconds have passed, and while it shuts down.
//
// # The token
//
// It is read from --github.token-file (GITHUB_PAT_FILE) whenever it is used, so it can be exchanged at any time; white
// space around it does not matter. Without such a file it is taken from GITHUB_PAT once, and that variable is removed from
// the environment. It is never a flag, and never in a log, an error or a metric.
//
// # Looking for a fault
//
// ghostrunner-exporter check, with the same flags and environment, reads every source once, prints a table with a remedy
// beside each failure, and exits 1 if there is one.
//
// Every flag is also an environment variable, named in --help. SIGTERM and SIGINT end the process with exit code 0; a flag,
// file or value that cannot be used ends it with 1 and one line before anything is started.
package main

import (
	"context"
	"io"
	"log/slog"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
)

const program = "ghostrunner-exporter"

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
	logger := cfg.app.Logger(stderr)
	if cfg.check {
		logger = slog.New(slog.DiscardHandler) // the table says it better
	}
	e, err := build(cfg, logger)
	if err != nil {
		return cli.Fail(stderr, program, err)
	}
	if cfg.check {
		if e.check(ctx, stdout) {
			return 0
		}
		return 1
	}
	if err := e.serve(ctx); err != nil {
		return cli.Fail(stderr, program, err)
	}
	return 0
}
