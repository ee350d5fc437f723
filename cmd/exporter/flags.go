package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/exporter-toolkit/web"
	webflag "github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/collector"
	"github.com/blueguy23/ghostrunner/internal/github"
)

// config is the command line and the environment, checked as far as that is possible without any
// I/O.
type config struct {
	check       bool   // subcommand
	format      string // of its output
	healthcheck bool   // subcommand
	healthURL   string

	app *cli.App
	web *web.FlagConfig

	dockerHost          string
	dockerLabels        []string
	reclaimableInterval time.Duration // 0: not measured

	github       *cli.GitHub
	scopes       *[]github.Scope // besides that of github
	pollInterval time.Duration

	chronyAddress               string
	ntpServers                  []string
	chronyInterval, ntpInterval time.Duration

	diskPaths  []string // empty: Docker's root
	dnsNames   []string // empty: the names behind the API
	thresholds map[string]float64
}

// The formats of check.
const (
	formatTable = "table"
	formatJSON  = "json"
)

// maxInterval keeps every value younger than collector.StaleAfter.
const maxInterval = collector.StaleAfter - time.Minute

// parse reads args and the environment. done says that help or version was asked for and printed.
func parse(args []string, stdout io.Writer) (cfg config, done bool, err error) {
	app := cli.New(program, "Exports the health of self-hosted GitHub Actions runners on this machine as Prometheus metrics.", stdout)
	cfg.app = app
	cfg.web = webflag.AddFlags(app.Application, ":10068")

	app.Flag("docker.host", "Address of the Docker engine; empty: the default socket.").Envar("DOCKER_HOST").StringVar(&cfg.dockerHost)
	app.Flag("docker.label", "KEY=VALUE that a container must carry to exist for this program. Repeatable: all must match.").StringsVar(&cfg.dockerLabels)

	reclaimable(app.Flag("docker.reclaimable-interval", "Time between two measurements of what a prune could free; 0: never.").Default("1h"), &cfg.reclaimableInterval)

	cfg.github = cli.GitHubFlags(app)
	cfg.scopes = cli.ScopesFlag(app)
	interval(app.Flag("github.poll-interval", "Time between two polls of GitHub.").Default("30s"), &cfg.pollInterval)

	app.Flag("clock.chrony-address", "Command address of chronyd; empty: chronyd is not asked.").
		Envar("CHRONY_ADDRESS").Default(unlessEmptied("CHRONY_ADDRESS", "127.0.0.1:323")).StringVar(&cfg.chronyAddress)
	list(app.Flag("clock.ntp-servers", "NTP servers, separated by commas; empty: none is asked.").
		Envar("NTP_SERVERS").Default(unlessEmptied("NTP_SERVERS", "pool.ntp.org")), &cfg.ntpServers)
	interval(app.Flag("clock.chrony-interval", "Time between two requests to chronyd.").Default("5s"), &cfg.chronyInterval)
	interval(app.Flag("clock.ntp-interval", "Time between two requests to the NTP servers.").Default("60s"), &cfg.ntpInterval)

	list(app.Flag("disk.paths", "Paths whose file systems are measured, separated by commas; empty: Docker's root, if it is visible here.").
		Envar("DISK_PATHS"), &cfg.diskPaths)
	list(app.Flag("dns.names", "Names to look up, separated by commas; empty: those of --github.api-url."), &cfg.dnsNames)

	thresholds := make(map[string]float64)
	threshold(app.Flag("disk.prune-threshold-gb", "Published for the rules if set: prune below this much free space (10^9 bytes).").
		Envar("PRUNE_THRESHOLD_GB"), thresholds, "disk_prune_bytes", 1e9)
	threshold(app.Flag("watchdog.max-fires", "Published for the rules if set: watchdog restarts an hour before a runner is backed off.").
		Envar("WATCHDOG_MAX_FIRES"), thresholds, "watchdog_max_fires", 1)
	threshold(app.Flag("clock.drift-threshold", "Published for the rules if set: clock offset in seconds that is reported.").
		Envar("CLOCK_DRIFT_SECONDS"), thresholds, "clock_drift_seconds", 1)
	cfg.thresholds = thresholds

	app.Command("serve", "Serve metrics (the default).").Default()
	check := app.Command("check", "Read every source once and print what is wrong, with the remedy; exit 1 if something is.")
	oneOf(check.Flag("format", "Output format: table for people, json for programs.").Default(formatTable), &cfg.format, formatTable, formatJSON)

	health := app.Command("healthcheck", "Exit 0 if the exporter at --url is healthy, else 1.")
	health.Flag("url", "URL of its /-/healthy.").Default("http://127.0.0.1:10068/-/healthy").StringVar(&cfg.healthURL)

	command, done, err := app.Parse(args)
	cfg.check = command == check.FullCommand()
	cfg.healthcheck = command == health.FullCommand()
	return cfg, done, err
}

// unlessEmptied returns an empty default if the variable is set and empty, which kingpin takes for
// unset.
func unlessEmptied(envar, value string) string {
	if v, ok := os.LookupEnv(envar); ok && v == "" {
		return ""
	}
	return value
}

// parsed is a kingpin.Value made of a function.
type parsed struct {
	text string
	from func(string) error
}

func (p *parsed) String() string { return p.text }

func (p *parsed) Set(s string) error {
	p.text = s
	return p.from(s)
}

func interval(flag *kingpin.FlagClause, to *time.Duration) {
	flag.SetValue(&parsed{from: func(s string) (err error) {
		if *to, err = time.ParseDuration(s); err != nil || *to < time.Second || *to > maxInterval {
			return fmt.Errorf("want a duration between 1s and %s, such as 30s", maxInterval)
		}
		return nil
	}})
}

// reclaimable is the interval of a measurement that can cost the engine minutes of disk work.
func reclaimable(flag *kingpin.FlagClause, to *time.Duration) {
	flag.SetValue(&parsed{from: func(s string) (err error) {
		if *to, err = time.ParseDuration(s); err != nil || *to != 0 && *to < collector.MinReclaimableInterval {
			return fmt.Errorf("want a duration of at least %s, such as 1h, or 0", collector.MinReclaimableInterval)
		}
		return nil
	}})
}

// oneOf allows only the given words.
func oneOf(flag *kingpin.FlagClause, to *string, words ...string) {
	flag.SetValue(&parsed{from: func(s string) error {
		if !slices.Contains(words, s) {
			return errors.New("want " + strings.Join(words, " or "))
		}
		*to = s
		return nil
	}})
}

// list splits at commas and drops what is empty or repeated.
func list(flag *kingpin.FlagClause, to *[]string) {
	flag.SetValue(&parsed{from: func(s string) error {
		*to = cli.List(s)
		return nil
	}})
}

func threshold(flag *kingpin.FlagClause, to map[string]float64, name string, unit float64) {
	flag.PlaceHolder("NUMBER").SetValue(&parsed{from: func(s string) error {
		v, err := cli.Positive(s)
		if err != nil {
			return errors.New("want a number greater than 0, or nothing for the rule's default")
		}
		to[name] = v * unit
		return nil
	}})
}
