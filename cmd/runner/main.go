// Ghostrunner-runner is PID 1 of a runner container and keeps one self-hosted GitHub Actions runner
// slot alive. It registers a runner for exactly one job, runs the Actions listener as an
// unprivileged user, cleans up after the job, and starts again. SIGTERM (docker stop) drains: a
// running job is never interrupted.
//
// # Commands
//
//	run          the default: run the slot until SIGTERM or SIGINT
//	preflight    check everything that the slot needs; exit 1 and print each problem with its remedy
//	healthcheck  for Docker's HEALTHCHECK: one line, exit 0 or 1
//
// run starts with the same checks. A problem that only a new container can solve (a setting, the
// runner's program, a directory that cannot be written) ends it with exit code 1; others are
// logged.
//
// # What it needs
//
//	REPO_OWNER, REPO_NAME   where to register; REPO_NAME empty: organization or enterprises/NAME
//	GITHUB_PAT_FILE         file with a token that may administer runners; read on each use
//	RUNNER_NAME             name of the slot and value of its label ghostrunner.runner; registrations
//	                        are named RUNNER_NAME-SUFFIX. Default: the hostname
//	/actions-runner         the Actions runner, writable for user 1001
//	/var/run/docker.sock    optional: jobs get the socket's group, and with it the machine
//
// --help names every other setting.
//
// A token in GITHUB_PAT works too; it is removed from the environment at the start. Jobs never get
// either: they run as another user, with an environment made from a list of allowed names
// (--runner.pass-env adds to it). This requires that PID 1 is root; otherwise a warning is logged.
//
// # What a job leaves behind
//
// HOME of a job is _home in the runner's directory. After a job _home, _work and _diag are emptied,
// and what the job's user owns in the temporary directories is removed. If the runner's directory
// belongs to root with mode 1777, as in our image, so is everything else that the job's user owns
// in it, and no job can replace the runner's program. Volumes mounted below these directories stay.
//
// # Before each registration
//
// It waits until the clock is right to 2 s, by chronyd, else NTP servers, else GitHub, and until
// GitHub's names resolve. One log line a minute says what it waits for. While the container's name
// servers fail, those of DNS_FALLBACK are appended to its resolv.conf.
//
// # Health
//
// Unhealthy means that a restart or a person is needed: no supervisor, no listener, a listener that
// GitHub twice calls offline (it is asked once a minute), names that do not resolve for five
// minutes, five failures in a row; and at once a rejected token and an Actions runner that is too
// old. A container with a running job is healthy.
//
// # What it prints
//
// The listener's lines go to the same stream as the listener wrote them to. Standard output also
// gets "Runner registered. Waiting for a job..." when a session exists and "Runner listener exited
// with code N." when it ended, standard error one log line for each change of state, with its
// cause.
//
// # Stopping
//
// SIGTERM asks GitHub to delete the registration. If GitHub does, no job can arrive and the
// listener is interrupted. If GitHub refuses, a job runs, and the program waits for it without
// limit: set a stop_grace_period that is longer than your jobs. What could not be deleted is in the
// state file and is deleted at the next start.
//
// # If GitHub cannot be reached
//
// Attempts follow each other after 0, 5, 10, 20, 40 and then every 80 seconds, without end.
//
// Every flag is also an environment variable, named in --help. A flag, file or value that cannot be
// used ends the program with exit code 1 and a line that names it, before anything is started.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/common/version"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/supervisor"
)

const program = "ghostrunner-runner"

// paths are files of the operating system. Tests replace them.
type paths struct{ procfs, sudoers, resolvConf string }

var systemPaths = paths{procfs: "/proc", sudoers: "/etc/sudoers.d/ghostrunner-runner", resolvConf: "/etc/resolv.conf"}

func main() { systemPaths.main() }

// main handles SIGPIPE, because an output that is no longer read must not end the program, and a
// job with it.
func (p paths) main() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	cli.Main(p.run)
}

func (p paths) run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	raw, done, err := parse(args, stdout)
	switch {
	case done:
		return 0
	case err != nil:
		return cli.Fail(stderr, program, err)
	case raw.command == "healthcheck":
		return healthcheck(raw.stateFile, p.procfs, stdout)
	}
	cfg, problems := raw.check()
	problems = append(problems, checkContainer(cfg)...)
	if raw.command == "preflight" {
		return preflight(ctx, cfg, problems, stdout)
	}
	if slices.ContainsFunc(problems, func(p supervisor.Problem) bool { return p.Fatal }) {
		for _, problem := range problems {
			_ = cli.Fail(stderr, program, errors.New(problem.String()))
		}
		return 1
	}
	logger := raw.app.Logger(stderr)
	if err := p.supervise(ctx, cfg, problems, stdout, stderr, logger); err != nil {
		return cli.Fail(stderr, program, err)
	}
	return 0
}

func (p paths) supervise(ctx context.Context, cfg config, problems []supervisor.Problem, stdout, stderr io.Writer, logger *slog.Logger) error {
	logger.InfoContext(ctx, "Starting ghostrunner-runner", "version", version.Info(), "slot", cfg.slot, "scope", cfg.scope)
	registrar, err := newRegistrar(cfg)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(cfg.stateFile), 0o755); err != nil {
		return fmt.Errorf("--state-file: %w", err)
	}
	if os.Geteuid() == 0 {
		if err := supervisor.SetSudo(p.sudoers, cfg.user.UID, cfg.sudo); err != nil {
			return err
		}
	} else {
		logger.WarnContext(ctx, "Not running as root: jobs run as the supervisor's own user and can read its token", "uid", os.Geteuid())
	}
	for _, problem := range append(problems, checkOutside(ctx, cfg, registrar, false)...) {
		logger.WarnContext(ctx, "Preflight", "problem", problem.What, "remedy", problem.Remedy)
	}
	var tempDirs []string
	if os.Getpid() == 1 { // outside of a container other programs use them
		tempDirs = []string{"/tmp", "/var/tmp", "/dev/shm", "/run/lock"}
	}
	return supervisor.New(supervisor.Config{
		Slot:                cfg.slot,
		Root:                cfg.root,
		UID:                 cfg.user.UID,
		GID:                 cfg.user.GID,
		Groups:              cfg.user.Groups,
		TempDirs:            tempDirs,
		Environ:             os.Environ(),
		PassEnv:             cfg.passEnv,
		DockerHub:           cfg.dockerHub,
		StateFile:           cfg.stateFile,
		SessionConflictWait: cfg.sessionConflictWait,
		Reap:                true,
		Registrar:           registrar,
		Clock:               newClocks(cfg, registrar).offset,
		Hostnames:           githubNames(cfg.github.APIURL),
		ResolvConf:          p.resolvConf,
		Fallback:            cfg.dnsFallback,
		TimeScale:           cfg.timeScale,
		Stdout:              stdout,
		Stderr:              stderr,
		Logger:              logger,
	}).Run(ctx)
}

func healthcheck(stateFile, procfs string, stdout io.Writer) int {
	healthy, why := supervisor.Health(stateFile, procfs, time.Now())
	_, _ = fmt.Fprintln(stdout, why)
	if !healthy {
		return 1
	}
	return 0
}
