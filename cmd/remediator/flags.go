package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/exporter-toolkit/web"
	webflag "github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/remedy/prune"
)

// config is what the command line and the environment say, checked as far as that is possible
// without any I/O.
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
	measure                                       prune.Measure // of the disk
	timeScale                                     float64
	durations                                     map[string]*time.Duration // by flag
	pruneKeep                                     *regexp.Regexp
	verifyTimeout, heartbeatTimeout               time.Duration
	window                                        cli.Window
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

// parse reads args and the environment. done says that everything is done already: help or version
// was asked for.
func parse(args []string, stdout io.Writer) (cfg config, done bool, err error) {
	app := cli.New(program, "Heals self-hosted GitHub Actions runners on this machine, as Alertmanager asks for it.", stdout)
	cfg.app, cfg.measure = app, diskUsage
	window, keep := cfg.flags(app)
	cfg.commands(app)
	cfg.command, done, err = app.Parse(args)
	if done || err != nil {
		return cfg, done, err
	}
	if cfg.window, err = cli.ParseWindow(*window); err != nil {
		return cfg, false, fmt.Errorf("--window=%q (REMEDIATION_WINDOW): %w", *window, err)
	}
	if *keep != "" {
		if cfg.pruneKeep, err = regexp.Compile(*keep); err != nil {
			return cfg, false, fmt.Errorf("--prune.keep=%q (PRUNE_KEEP): %w", *keep, err)
		}
	}
	return cfg, false, cfg.check()
}

// flags adds the flags. It returns the values that are still to be parsed.
func (c *config) flags(app *cli.App) (window, keep *string) {
	c.web = webflag.AddFlags(app.Application, ":10069")
	app.Flag("web.bearer-token-file", "File with the token that webhook and API want; read for each request.").
		Envar("WEBHOOK_TOKEN_FILE").StringVar(&c.tokenFile)

	app.Flag("docker.host", "Address of the Docker engine; empty: the default socket.").Envar("DOCKER_HOST").StringVar(&c.dockerHost)
	app.Flag("docker.label", "KEY=VALUE that a container must carry to exist for this program. Repeatable: all must match.").
		StringsVar(&c.dockerLabels)

	app.Flag("journal.path", "File that remembers what was accepted, begun and done.").
		Default("/var/lib/ghostrunner/journal.db").StringVar(&c.journalPath)
	c.durations = map[string]*time.Duration{}
	duration := func(name, help, def string, v *time.Duration) {
		app.Flag(name, help).Default(def).DurationVar(v)
		c.durations[name] = v
	}
	duration("restart.cooldown", "Least time between two restarts of one container.", "2m", &c.restartCooldown)
	duration("restart.grace", "How long an idle container may take to exit after SIGTERM.", "30s", &c.restartGrace)
	duration("restart.verify-timeout", "How long a restarted container may take to be healthy, and a runner to be online at GitHub.",
		"3m", &c.verifyTimeout)
	duration("backoff.duration", "How long a runner stays stopped the first time.", "10m", &c.backoffDuration)
	duration("backoff.max", "Longest back-off; each fire on probation doubles it.", "60m", &c.backoffMax)
	duration("backoff.probation", "Time without a fire that ends the probation.", "1h", &c.backoffProbation)
	app.Flag("prune.label", "KEY=VALUE that an object must carry to be pruned; build cache is then left alone. Empty: any unused image.").
		StringVar(&c.pruneLabel)
	duration("prune.min-age", "Least time since an unused image that still has a name was last used.", "24h", &c.pruneMinAge)
	keep = app.Flag("prune.keep", "Images whose name or id matches this regular expression are never removed.").Envar("PRUNE_KEEP").String()
	duration("prune.cooldown", "Least time between two prunes.", "5m", &c.pruneCooldown)
	app.Flag("disk.path", "Folder on the disk whose free space counts; empty: Docker's root.").StringVar(&c.diskPath)
	duration("heartbeat.timeout", "How long no heartbeat may come before unhealthy containers are restarted without an alert.",
		"5m", &c.heartbeatTimeout)
	window = app.Flag("window", "When actions may begin: [DAYS] HH:MM-HH:MM [ZONE], several separated by semicolons, such as "+
		`"Mon-Fri 22:00-06:00 Europe/Berlin; Sat,Sun 00:00-24:00"; zone UTC unless named. Empty: always.`).Envar("REMEDIATION_WINDOW").String()
	app.Flag("dry-run", "Decide, journal and report, but do nothing.").Envar("REMEDIATION_DRY_RUN").BoolVar(&c.dryRun)
	cli.TimeScale(app, &c.timeScale)

	// Without an owner GitHub is not asked whether a runner is busy.
	c.github = cli.GitHubFlags(app)
	duration("github.poll-interval", "Time between two looks at GitHub.", "30s", &c.pollInterval)

	app.Flag("remediator.url", "Where a running remediator is; for the subcommands that talk to one.").
		Default("http://127.0.0.1:10069").StringVar(&c.url)
	app.Flag("http.config.file", "How to reach it if it has a --web.config.file: tls_config with ca_file, cert_file and key_file, as for promtool.").
		StringVar(&c.httpConfig)
	return window, keep
}

// commands adds the subcommands.
func (c *config) commands(app *cli.App) {
	app.Command("serve", "Receive alerts and act. This is the default.").Default()
	format := func(cmd *kingpin.CmdClause) *kingpin.CmdClause {
		cmd.Flag("format", "How to print it: table for people, json for programs.").Default("table").EnumVar(&c.format, "table", "json")
		return cmd
	}
	const sinceHelp = "How far back: 24h, a day such as 2006-01-02, or a time such as 2006-01-02T15:04:05Z."
	history := format(app.Command("history", "Show what was done and refused, and why."))
	history.Flag("limit", "Number of lines.").Default("20").IntVar(&c.limit)
	history.Flag("since", sinceHelp+" Empty: everything.").StringVar(&c.since)
	breakers := app.Command("breakers", "The circuit breakers of the runners.")
	format(breakers.Command("show", "Show them. This is the default.").Default())
	reset := format(breakers.Command("reset", "End a back-off: the runner is started if it is down, and is on probation."))
	reset.Arg("runner", "Runner whose back-off is to end now.").Required().StringVar(&c.reset)
	pause := format(app.Command("pause", "Refuse every alert until resumed, across restarts."))
	pause.Flag("for", "End the pause after this time, such as 2h.").StringVar(&c.pauseFor)
	format(app.Command("resume", "End a pause."))
	explain := format(app.Command("explain", "Say what would be done about each alert of a payload, and what each guard says. Does nothing."))
	explain.Arg("payload", "File with a webhook payload; - for standard input.").Default("-").StringVar(&c.payloadFile)
	incident := app.Command("incident", "Write down what happened as Markdown, for the incident log.")
	incident.Flag("since", sinceHelp).Default("24h").StringVar(&c.since)
	app.Command("healthcheck", "Tell whether the remediator at --remediator.url is alive, by exit code.")
}

// check finds values that the flag parser takes but that cannot be used.
func (c *config) check() error {
	for name, d := range c.durations {
		if *d <= 0 {
			return fmt.Errorf("--%s=%s: must be more than 0", name, *d)
		}
	}
	if c.backoffMax < c.backoffDuration {
		return fmt.Errorf("--backoff.max=%s: must not be less than --backoff.duration=%s", c.backoffMax, c.backoffDuration)
	}
	if c.pruneLabel != "" {
		if k, v, ok := strings.Cut(c.pruneLabel, "="); !ok || k == "" || v == "" {
			return fmt.Errorf("--prune.label=%s: want KEY=VALUE", c.pruneLabel)
		}
	}
	if c.tokenFile == "" && c.command != "healthcheck" {
		return errors.New("--web.bearer-token-file (WEBHOOK_TOKEN_FILE): not given; name a file with a random token, which Alertmanager reads too")
	}
	return nil
}
