// Ghostrunner-exporter turns what can go wrong with self-hosted GitHub Actions runners on this
// machine into Prometheus metrics. It only observes: it holds no threshold, starts no action and
// writes no file.
//
// # What it reads
//
//	source      from                                                  needs
//	container   Docker's list and event stream                        --docker.host
//	health      the same: whether the engine answers, health checks   --docker.host
//	listener    the logs of the runner containers                     --docker.host
//	github      the runner list of the GitHub API, in the background  a token and --github.owner or --github.scope
//	credential  what each of these answers says about the token       the same
//	clock       chronyd, SNTP, GitHub's Date header                   --clock.chrony-address, --clock.ntp-servers
//	disk        statfs; what a prune could free, rarely               --disk.paths, or Docker's root; --docker.reclaimable-interval
//	dns         lookups of GitHub's names, in the background          --dns.names, or the host of --github.api-url
//	threshold   the environment of this process                       PRUNE_THRESHOLD_GB, WATCHDOG_MAX_FIRES, CLOCK_DRIFT_SECONDS
//	exporter    this process itself
//
// Each is optional. What is missing is logged once, with what would turn it on, and all else is
// exported. What was not measured is absent, never 0.
//
// Counters live as long as the process. At a start the log of each running runner is replayed from
// the start of its container, which restores the state and the times of failures; nothing of it is
// counted.
//
// # Scraping
//
// GET /metrics returns all metrics; GET /metrics?collect[]=health&collect[]=listener returns only
// these sources. Scrape health every second and the rest every fifteen: what Prometheus pays for is
// the number of samples. /-/healthy is 200 while the process runs; /-/ready is 503 with a reason
// until Docker answered or five seconds have passed, and during the shutdown.
//
// # The token
//
// It is read from --github.token-file (GITHUB_PAT_FILE) whenever it is used, so it can be replaced
// at any time; white space around it is ignored. Without such a file it is taken from GITHUB_PAT
// once, and that variable is removed from the environment. It is never a flag, and never in a log,
// an error or a metric.
//
// # Diagnosis
//
// ghostrunner-exporter check, with the same flags and environment, reads every source once within
// five seconds, prints a table with a remedy for each failure, and exits 1 if there is one.
// --format=json is for programs: an object with ok, version, and findings of source, state (ok,
// fail, note), detail and remedy. Colors are for terminals only, and off if NO_COLOR is set. It
// starts nothing and writes nothing.
//
// Every flag is also an environment variable, named in --help. SIGTERM and SIGINT end the process
// with exit code 0; a bad flag, file or value ends it with 1 and one line before anything is
// started.
package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
)

const program = "ghostrunner-exporter"

// gcPercent halves the garbage that the runtime keeps, unless GOGC is set: memory is scarce on a
// laptop, and this program makes little garbage.
const gcPercent = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	cli.Main(run)
}

// run is main without the process: it can be called any number of times in one.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, done, err := parse(args, stdout)
	switch {
	case done:
		return 0
	case err != nil:
		return cli.Fail(stderr, program, err)
	}
	if cfg.healthcheck {
		if err := cli.HealthCheck(ctx, http.DefaultClient, cfg.healthURL); err != nil {
			return cli.Fail(stderr, program, err)
		}
		return 0
	}
	logger := cfg.app.Logger(stderr)
	if cfg.check {
		logger = slog.New(slog.DiscardHandler) // the table shows it
	}
	e, err := build(cfg, logger)
	if err != nil {
		return cli.Fail(stderr, program, err)
	}
	if cfg.check {
		r := e.check(ctx)
		if err := r.write(stdout, cfg.format); err != nil {
			return cli.Fail(stderr, program, err)
		}
		if !r.OK {
			return 1
		}
		return 0
	}
	if err := e.serve(ctx); err != nil {
		return cli.Fail(stderr, program, err)
	}
	return 0
}
