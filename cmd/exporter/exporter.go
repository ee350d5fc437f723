package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/version"
	"github.com/shirou/gopsutil/v3/disk"
	"golang.org/x/sync/errgroup"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/clock"
	"github.com/blueguy23/ghostrunner/internal/collector"
	"github.com/blueguy23/ghostrunner/internal/docker"
	"github.com/blueguy23/ghostrunner/internal/github"
	"github.com/blueguy23/ghostrunner/internal/listener"
	"github.com/blueguy23/ghostrunner/internal/web"
)

// startGrace is how long Docker may take for its first answer before the exporter calls itself
// ready without it.
const startGrace = 5 * time.Second

// rootPause is the time between two checks whether Docker answers, so that it can be asked for its
// root.
const rootPause = 100 * time.Millisecond

// exporter is all parts, wired. A nil field is turned off.
type exporter struct {
	cfg    config
	logger *slog.Logger

	docker *docker.Engine
	logs   *listener.Fleet
	github *github.Client
	scopes []github.Scope // of the configuration; slots without a label ghostrunner.scope belong to the first
	clock  *clock.Monitor
	dns    *collector.DNS
	statfs collector.Statfs

	reclaimable *collector.Reclaimable

	diskPaths atomic.Pointer[[]string]
	sources   *collector.Set
}

// build wires the parts. Its only I/O is reading the token file. Its errors name the flag at fault.
func build(cfg config, logger *slog.Logger) (*exporter, error) {
	jobs := collector.NewJobDurations()
	e := &exporter{cfg: cfg, logger: logger, logs: listener.NewFleet(jobs.Observe), statfs: disk.UsageWithContext}
	var err error
	if e.docker, err = docker.New(docker.Options{Host: cfg.dockerHost, Labels: cfg.dockerLabels, Logger: logger}); err != nil {
		return nil, fmt.Errorf("--docker.host, --docker.label: %w", err)
	}
	if err := e.buildGitHub(); err != nil {
		return nil, err
	}
	e.clock = clock.New(clock.Options{
		ChronyAddress: cfg.chronyAddress, NTPServers: cfg.ntpServers,
		ChronyInterval: cfg.chronyInterval, NTPInterval: cfg.ntpInterval, Logger: logger,
	})
	e.dns = collector.NewDNS(net.DefaultResolver, e.names())
	e.diskPaths.Store(&cfg.diskPaths)

	if cfg.reclaimableInterval > 0 {
		e.reclaimable = &collector.Reclaimable{
			Measure: e.docker.ReclaimableBytes, Up: e.dockerUp,
			Interval: cfg.reclaimableInterval, Logger: logger,
		}
	}

	sources := []collector.Source{
		collector.NewContainer(e.docker),
		collector.NewHealth(e.docker),
		collector.NewListener(e.logs, e.docker, jobs),
		collector.NewClock(clocks{e.clock, e.github}),
		collector.NewDisk(func() []string { return *e.diskPaths.Load() }, e.statfs, e.reclaimable),
		collector.NewThreshold(cfg.thresholds),
		e.dns,
	}
	if e.github != nil {
		sources = append(sources, collector.NewGitHub(e.github, e.docker, e.logs), collector.NewCredential(e.github))
	}
	e.sources = collector.NewSet(logger, sources...)
	return e, nil
}

// buildGitHub leaves e.github nil if no scope or no token is given. A token file that cannot be
// read is an error; an empty one is not, since it can be filled later.
func (e *exporter) buildGitHub() error {
	if e.cfg.github.Owner == "" && e.cfg.github.Repo != "" {
		return errors.New("--github.repo (REPO_NAME) without --github.owner (REPO_OWNER): give both, or the owner alone")
	}
	if e.cfg.github.Owner != "" {
		scope, err := e.cfg.github.Scope()
		if err != nil {
			return fmt.Errorf("--github.owner, --github.repo: %w", err)
		}
		e.scopes = append(e.scopes, scope)
	}
	e.scopes = github.Distinct(append(e.scopes, *e.cfg.scopes...)...)
	if len(e.scopes) > github.MaxScopes {
		return fmt.Errorf("--github.scope (GITHUB_SCOPES): want at most %d scopes, with that of --github.owner", github.MaxScopes)
	}
	token := e.cfg.github.Token()
	if token == nil || len(e.scopes) == 0 {
		return nil
	}
	if _, err := token(); err != nil && !errors.Is(err, cli.ErrEmpty) {
		return err
	}
	var err error
	e.github, err = github.New(github.Options{
		APIURL: e.cfg.github.APIURL, Token: token, Scopes: e.scopes, PollInterval: e.cfg.pollInterval,
		MoreScopes: (&labelScopes{containers: e.docker.Observed, logger: e.logger}).current,
		Logger:     e.logger, UserAgent: program + "/" + version.Version,
	})
	if err != nil {
		return fmt.Errorf("--github.api-url: %w", err)
	}
	return nil
}

// names returns the names to look up.
func (e *exporter) names() []string {
	if len(e.cfg.dnsNames) > 0 {
		return e.cfg.dnsNames
	}
	return dnsNames(e.cfg.github.APIURL)
}

// dnsNames returns the names that a runner needs: the host of the API, and for github.com also the
// host of clones and artifacts. An address needs no lookup.
func dnsNames(api string) []string {
	u, err := url.Parse(api)
	if err != nil || u.Hostname() == "" {
		return nil // github.New reports it
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if host == "api.github.com" {
		return []string{host, "github.com"}
	}
	return []string{host}
}

// serve runs everything until ctx ends or one part fails.
func (e *exporter) serve(ctx context.Context) error {
	begun := time.Now()
	own := prometheus.NewRegistry()
	own.MustRegister(
		versioncollector.NewCollector("ghostrunner_exporter"),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	server, err := web.New(web.Options{
		Logger: e.logger, Flags: e.cfg.web, Registry: own, Name: program,
		Description:    "The health of self-hosted GitHub Actions runners on this machine.",
		MetricsHandler: e.sources.Handler(own, e.logger),
		Ready: func() error {
			if !e.dockerUp() && time.Since(begun) < startGrace {
				return errors.New("Docker has not answered yet") //nolint:staticcheck // a name
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	e.logger.Info("Starting "+program, "version", version.Info(), "build_context", version.BuildContext())
	e.logOff()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Run(ctx) })
	for _, work := range e.background() {
		g.Go(func() error { return work(ctx) })
	}
	return g.Wait()
}

// background returns what the sources read from while the exporter serves.
func (e *exporter) background() []func(context.Context) error {
	work := []func(context.Context) error{
		e.docker.Watch,
		func(ctx context.Context) error { return e.docker.Tail(ctx, e.logs) },
		e.clock.Run,
		e.dns.Run,
		e.findDockerRoot,
	}
	if e.reclaimable != nil {
		work = append(work, e.reclaimable.Run)
	}
	if e.github != nil {
		work = append(work, e.github.Poll)
	}
	return work
}

func (e *exporter) dockerUp() bool {
	_, up := e.docker.Observed()
	return up
}

// findDockerRoot makes Docker's root the path to measure, unless paths were given. It asks when the
// watcher has an answer.
func (e *exporter) findDockerRoot(ctx context.Context) error {
	if len(e.cfg.diskPaths) > 0 {
		return nil
	}
	tick := time.NewTicker(rootPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !e.dockerUp() {
			continue
		}
		root, err := e.dockerRoot(ctx)
		if err != nil {
			tick.Reset(startGrace)
			continue
		}
		e.diskPaths.Store(&[]string{root})
		if _, err := os.Stat(root); err != nil {
			e.logger.Warn("Free disk space is not measured: Docker's root is not visible here", "err", err, "remedy", remedyDisk)
		}
		return nil
	}
}

func (e *exporter) dockerRoot(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startGrace)
	defer cancel()
	return e.docker.Root(ctx)
}
