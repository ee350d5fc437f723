package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/version"
	"golang.org/x/sync/errgroup"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/docker"
	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/remedy/httpapi"
	"github.com/blueguy23/ghostrunner/internal/remedy/prune"
	"github.com/blueguy23/ghostrunner/internal/web"
)

// serve is the program: it wires the parts and runs them until ctx ends.
func serve(ctx context.Context, cfg config, logger *slog.Logger) error {
	token := func() (string, error) { return cli.ReadSecret("web.bearer-token-file", cfg.tokenFile) }
	if _, err := token(); err != nil {
		return fmt.Errorf("%w; write a random token into it, which Alertmanager reads too", err)
	}
	docker, err := docker.New(docker.Options{Host: cfg.dockerHost, Labels: cfg.dockerLabels, Logger: logger})
	if err != nil {
		return err
	}
	view, err := newGitHubView(cfg, logger)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		versioncollector.NewCollector("ghostrunner_remediator"))
	remediator := remedy.New(remedy.Options{
		Logger: logger, Registry: registry, Docker: dockerAdapter{docker, view}, GitHub: view.orNil(),
		JournalPath:     cfg.journalPath,
		RestartCooldown: cfg.restartCooldown, RestartGrace: cfg.restartGrace, VerifyTimeout: cfg.verifyTimeout,
		BackoffDuration: cfg.backoffDuration, BackoffMax: cfg.backoffMax, BackoffProbation: cfg.backoffProbation,
		PruneCooldown: cfg.pruneCooldown,
		Pruner:        prune.Pruner{Measure: cfg.measure, Path: cfg.diskPath, Label: cfg.pruneLabel, MinAge: cfg.pruneMinAge, Keep: cfg.pruneKeep},
		DryRun:        cfg.dryRun, Window: cfg.window, HeartbeatTimeout: cfg.heartbeatTimeout, TimeScale: cfg.timeScale,
		Self: ownContainer("/proc/self/mountinfo"),
	})
	api := httpapi.New(remediator, registry)
	auth := web.NewSessionAuth(logged(token, logger))
	server, err := web.New(web.Options{
		Logger: logger, Flags: cfg.web, Registry: registry,
		Name: "Ghostrunner Remediator", Description: "Acts on alerts, or refuses and says why",
		Ready: remediator.Ready, Root: api.Page(auth.SignedIn),
		Routes: func(mux *http.ServeMux) {
			auth.Routes(mux)
			api.Routes(mux, auth.Guard)
		},
	})
	if err != nil {
		return err
	}
	logger.Info("Starting", "program", program, "version", version.Info(), "build_context", version.BuildContext(), "dry_run", cfg.dryRun)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Run(ctx) })
	group.Go(func() error { return remediator.Run(ctx) })
	if view != nil {
		group.Go(func() error { return view.client.Poll(ctx) })
	}
	err = group.Wait()
	logger.Info("Stopped")
	return err
}

// logged says why a token could not be read, which the client is not told.
func logged(token func() (string, error), logger *slog.Logger) func() (string, error) {
	return func() (string, error) {
		t, err := token()
		if err != nil {
			logger.Error("Requests are refused", "err", err)
		}
		return t, err
	}
}
