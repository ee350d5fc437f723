package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/exporter-toolkit/web"
	webflag "github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/remedy"
)

// The formats of what the subcommands print.
const (
	formatTable = "table"
	formatJSON  = "json"
)

// config is what the command line and the environment say, checked as far as that is possible without any I/O.
type config struct {
	command string
	app     *cli.App

	web       *web.FlagConfig
	tokenFile string // of the webhook and the API

	dockerHost   string
	dockerLabels []string

	journalPath                                   string
	restartCooldown, restartGrace                 time.Duration
	backoffDuration, backoffMax, backoffProbation time.Duration
	pruneLabel                                    string
	pruneMinAge, pruneCooldown                    time.Duration
	diskPath                                      string
	pruneThreshold                                uint64 // bytes
	pruneKeep                                     *regexp.Regexp
	verifyTimeout, heartbeatTimeout               time.Duration
	window                                        remedy.Window
	dryRun                                        bool

	github       *cli.GitHub
	pollInterval time.Duration

	// Of the other subcommands.
	url         string
	httpConfig  string
	format      string
	limit       int
	since       string
	reset       string
	pauseFor    string
	payloadFile string
}

// parse reads args and the environment. done says that everything is done already: help or version was asked for.
func parse(args []string, stdout io.Writer) (cfg config, done bool, err error) {
	app := cli.New(program, "Heals self-hosted GitHub Actions runners on this machine, as Alertmanager asks for it.", stdout)
	cfg.app = app
	cfg.web = webflag.AddFlags(app.Application, ":10069")
	app.Flag("web.bearer-token-file", "File with the token that webhook and API want; read for each request.").
		Envar("WEBHOOK_TOKEN_FILE").StringVar(&cfg.tokenFile)

	app.Flag("docker.host", "Address of the Docker engine; empty: the default socket.").Envar("DOCKER_HOST").StringVar(&cfg.dockerHost)
	app.Flag("docker.label", "KEY=VALUE that a container must carry to exist for this program. Repeatable: all must match.").StringsVar(&cfg.dockerLabels)

	app.Flag("journal.path", "File that remembers what was accepted, begun and done.").Default("/var/lib/ghostrunner/journal.db").StringVar(&cfg.journalPath)
	duration := func(name, help, def string, v *time.Duration) { app.Flag(name, help).Default(def).DurationVar(v) }
	duration("restart.cooldown", "Least time between two restarts of one container.", "2m", &cfg.restartCooldown)
	duration("restart.grace", "How long an idle container may take to leave by itself.", "30s", &cfg.restartGrace)
	duration("restart.verify-timeout", "How long a restarted container may take to be healthy, and a runner to be online at GitHub.", "3m", &cfg.verifyTimeout)
	duration("backoff.duration", "How long a runner stays stopped the first time.", "10m", &cfg.backoffDuration)
	duration("backoff.max", "Longest back-off; each fire on probation doubles it.", "60m", &cfg.backoffMax)
	duration("backoff.probation", "Time without a fire that ends the probation.", "1h", &cfg.backoffProbation)
	app.Flag("prune.label", "KEY=VALUE that an object must carry to be pruned; build cache is then left alone. Empty: any unused image.").StringVar(&cfg.pruneLabel)
	duration("prune.min-age", "Least time since an unused image that still has a name was last used.", "24h", &cfg.pruneMinAge)
	keep := app.Flag("prune.keep", "Images whose name or id matches this regular expression are never removed.").Envar("PRUNE_KEEP").String()
	duration("prune.cooldown", "Least time between two prunes.", "5m", &cfg.pruneCooldown)
	app.Flag("disk.path", "Folder on the disk whose free space counts; empty: Docker's root.").StringVar(&cfg.diskPath)
	threshold := app.Flag("disk.prune-threshold-gb", "Free space in GB (10^9 bytes) below which pruning is wanted; it ends at 1.2 times this.").
		Envar("PRUNE_THRESHOLD_GB").Default("10").Float64()
	duration("heartbeat.timeout", "How long the alert GhostrunnerWatchdog may stay away before unhealthy containers are restarted without being asked.", "5m", &cfg.heartbeatTimeout)
	window := app.Flag("window", "When actions may begin: [DAYS] HH:MM-HH:MM [ZONE], several separated by semicolons, such as "+
		`"Mon-Fri 22:00-06:00 Europe/Berlin; Sat,Sun 00:00-24:00"; zone UTC unless named. Empty: always.`).Envar("REMEDIATION_WINDOW").String()
	app.Flag("dry-run", "Decide, journal and report, but do nothing.").Envar("REMEDIATION_DRY_RUN").BoolVar(&cfg.dryRun)

	// Without an owner GitHub is not asked whether a runner is busy.
	cfg.github = cli.GitHubFlags(app)
	duration("github.poll-interval", "Time between two looks at GitHub.", "30s", &cfg.pollInterval)

	app.Flag("remediator.url", "Where a running remediator is; for the subcommands that talk to one.").Default("http://127.0.0.1:10069").StringVar(&cfg.url)
	app.Flag("http.config.file", "How to reach it if it has a --web.config.file: tls_config with ca_file, cert_file and key_file, as for promtool.").StringVar(&cfg.httpConfig)

	app.Command("serve", "Receive alerts and act. This is the default.").Default()
	format := func(c *kingpin.CmdClause) *kingpin.CmdClause {
		c.Flag("format", "How to print it: table for people, json for programs.").Default(formatTable).EnumVar(&cfg.format, formatTable, formatJSON)
		return c
	}
	const sinceHelp = "How far back: 24h, a day such as 2006-01-02, or a time such as 2006-01-02T15:04:05Z."
	history := format(app.Command("history", "Show what was done and refused, and why."))
	history.Flag("limit", "Number of lines.").Default("20").IntVar(&cfg.limit)
	history.Flag("since", sinceHelp+" Empty: everything.").StringVar(&cfg.since)
	breakers := format(app.Command("breakers", "Show the circuit breakers, or end a back-off."))
	breakers.Arg("reset", "Runner whose back-off is to end now: it is started if it is down, and is on probation.").StringVar(&cfg.reset)
	pause := format(app.Command("pause", "Refuse every alert until resumed, across restarts."))
	pause.Flag("for", "End the pause by itself after this time, such as 2h.").StringVar(&cfg.pauseFor)
	format(app.Command("resume", "End a pause."))
	explain := format(app.Command("explain", "Say what would be done about each alert of a payload, and what each guard says. Does nothing."))
	explain.Arg("payload", "File with a webhook payload; - for standard input.").Default("-").StringVar(&cfg.payloadFile)
	incident := app.Command("incident", "Write down what happened as Markdown, for the incident log.")
	incident.Flag("since", sinceHelp).Default("24h").StringVar(&cfg.since)
	app.Command("healthcheck", "Tell whether the remediator at --remediator.url is alive, by exit code.")

	cfg.command, done, err = app.Parse(args)
	if done || err != nil {
		return cfg, done, err
	}
	if cfg.window, err = remedy.ParseWindow(*window); err != nil {
		return cfg, false, fmt.Errorf("--window=%q (REMEDIATION_WINDOW): %w", *window, err)
	}
	if *keep != "" {
		if cfg.pruneKeep, err = regexp.Compile(*keep); err != nil {
			return cfg, false, fmt.Errorf("--prune.keep=%q (PRUNE_KEEP): %w", *keep, err)
		}
	}
	return cfg, false, cfg.check(*threshold)
}

// check finds values that the flag parser takes but nobody can use.
func (c *config) check(thresholdGB float64) error {
	for name, d := range map[string]time.Duration{
		"restart.cooldown": c.restartCooldown, "restart.grace": c.restartGrace, "restart.verify-timeout": c.verifyTimeout, "heartbeat.timeout": c.heartbeatTimeout, "backoff.duration": c.backoffDuration,
		"backoff.max": c.backoffMax, "backoff.probation": c.backoffProbation, "prune.min-age": c.pruneMinAge,
		"prune.cooldown": c.pruneCooldown, "github.poll-interval": c.pollInterval,
	} {
		if d <= 0 {
			return fmt.Errorf("--%s=%s: must be more than 0", name, d)
		}
	}
	if c.backoffMax < c.backoffDuration {
		return fmt.Errorf("--backoff.max=%s: must not be less than --backoff.duration=%s", c.backoffMax, c.backoffDuration)
	}
	if !(thresholdGB > 0) || thresholdGB > 1e6 || math.IsNaN(thresholdGB) {
		return fmt.Errorf("--disk.prune-threshold-gb=%g: must be more than 0 and at most 1000000", thresholdGB)
	}
	c.pruneThreshold = uint64(thresholdGB * 1e9)
	if c.pruneLabel != "" {
		if k, v, ok := strings.Cut(c.pruneLabel, "="); !ok || k == "" || v == "" {
			return fmt.Errorf("--prune.label=%s: want KEY=VALUE", c.pruneLabel)
		}
	}
	if c.command == "history" && c.limit < 1 {
		return fmt.Errorf("--limit=%d: must be at least 1", c.limit)
	}
	if c.since != "" {
		if _, err := remedy.ParseSince(c.since, time.Now()); err != nil {
			return fmt.Errorf("--since=%s: %w", c.since, err)
		}
	}
	if c.pauseFor != "" {
		if _, err := remedy.ParsePause(c.pauseFor); err != nil {
			return fmt.Errorf("--for=%s: %w", c.pauseFor, err)
		}
	}
	if c.command == "healthcheck" {
		return nil
	}
	if c.tokenFile == "" {
		return errors.New("--web.bearer-token-file (WEBHOOK_TOKEN_FILE): not given; name a file with a random token, which Alertmanager reads too")
	}
	return nil
}
