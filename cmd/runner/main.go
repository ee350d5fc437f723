// Ghostrunner-runner is PID 1 of a runner container: it keeps one self-hosted GitHub Actions runner slot alive. It registers
// a runner for exactly one job, runs the Actions listener as an unprivileged user, cleans up after the job, and begins
// again. SIGTERM (docker stop) drains: a running job is never interrupted.
//
// # Commands
//
//	run          the default: run the slot until SIGTERM or SIGINT
//	preflight    check everything that the slot needs, and print every problem at once, each with its remedy; exit 1 if any
//	healthcheck  for Docker's HEALTHCHECK: one line and exit 0 or 1, from the state file and the process table, within milliseconds
//
// run begins with the same checks. What no waiting mends (a setting, the runner's program, a directory that cannot be written) ends it
// with 1; the rest is logged, and the slot goes on.
//
// # What it needs
//
//	REPO_OWNER, REPO_NAME        where to register; REPO_NAME empty: the organisation, or enterprises/NAME
//	GITHUB_PAT_FILE              file with a token that may administrate runners; read whenever it is used
//	RUNNER_NAME                  name of the slot, such as ci-runner-1; registrations are named ci-runner-1-SUFFIX. Without
//	                             it the container's hostname, which must then be one that stays: the label
//	                             ghostrunner.runner names the same slot
//	RUNNER_LABELS                what jobs select
//	DOCKERHUB_USERNAME, DOCKERHUB_TOKEN_FILE or DOCKERHUB_TOKEN
//	                             optional: docker commands of jobs are logged in with it, and jobs can read it
//	/actions-runner              the Actions runner, writable for user 1001
//	/var/run/docker.sock         optional: jobs get the socket's group, and with it the machine
//	RUNNER_SUDO                  true: jobs may become root by sudo, and can then read the token
//	CHRONY_ADDRESS, NTP_SERVERS  who is asked for the time; GitHub's Date header is what remains
//	DNS_FALLBACK                 name servers for when the container's own do not give GitHub's names
//
// A token in GITHUB_PAT works too; it is removed from the environment at the start. Jobs never get either: they run as another
// user, with an environment made from a list of allowed names (--runner.pass-env adds to it). This needs root as PID 1's user;
// otherwise a warning says so.
//
// # What a job leaves behind
//
// HOME of a job is _home in the runner's directory. It is emptied after the job, as are _work, _diag and what the job's user owns in
// the temporary directories. If the runner's directory belongs to root with mode 1777, everything else that the job's user owns in it
// goes too, and no job can replace the runner's program; otherwise a warning says so. What jobs shall share belongs into a volume elsewhere.
//
// Volumes that are mounted below these directories stay, with what is in them.
//
// # Before each registration
//
// It waits until the clock is right to 2 s, by chronyd, else NTP servers, else GitHub, and until GitHub's names can be resolved, with
// one log line a minute that says what for. While the container's name servers fail, those of DNS_FALLBACK are appended to its
// resolv.conf, and taken away again when the first ones answer.
//
// # Health
//
// Unhealthy is what a restart may mend, or a person: no supervisor, no listener where there should be one, a listener that GitHub twice
// calls offline (it is asked at most once a minute), names that cannot be resolved for five minutes, five failures in a row; and at
// once, by its own word, a token that is rejected and an Actions runner that is too old. A container with a running job is healthy.
//
// # What it prints
//
// The listener's own lines go to the same stream that the listener wrote them to. Between them stand, on standard output,
// "Runner registered. Waiting for a job..." when a session exists and "Runner listener exited with code N." when it ended, and
// on standard error one log line for every change of state, with its cause.
//
// # Stopping
//
// SIGTERM asks GitHub to delete the registration. If GitHub agrees, no job can come and the listener is interrupted. If it refuses,
// a job runs, and is waited for, without limit: give the container a stop_grace_period that is longer than your jobs.
//
// # When GitHub cannot be reached
//
// Attempts follow each other after 0, 5, 10, 20, 40 and then every 80 seconds, for ever. What could not be deleted at GitHub is
// remembered in the state file, and deleted by the next life of the slot if this one ends before.
//
// Every flag is also an environment variable, named in --help. A flag, file or value that cannot be used ends the program with 1 and a
// line that names it, before anything is started.
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

// SIGPIPE is caught because it would end this program, and a job with it, when nobody reads the output any more.
func main() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	cli.Main(run)
}

// run is main without the process.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	raw, exit, err := parse(args, stdout)
	if exit {
		return 0
	}
	if err != nil {
		return cli.Fail(stderr, program, err)
	}
	if raw.command == "healthcheck" {
		return healthcheck(raw, stdout)
	}
	cfg, problems := raw.check()
	if raw.command == "preflight" {
		return preflight(ctx, cfg, problems, stdout)
	}
	problems = append(problems, checkHere(cfg)...)
	if slices.ContainsFunc(problems, func(p supervisor.Problem) bool { return p.Fatal }) {
		for _, p := range problems {
			_ = cli.Fail(stderr, program, errors.New(p.String()))
		}
		return 1
	}
	logger := raw.app.Logger(stderr)
	if err := supervise(ctx, cfg, stdout, stderr, logger); err != nil {
		return cli.Fail(stderr, program, err)
	}
	return 0
}

// supervise wires the parts and lives the life of the slot.
func supervise(ctx context.Context, cfg config, stdout, stderr io.Writer, logger *slog.Logger) error {
	logger.InfoContext(ctx, "Starting ghostrunner-runner", "version", version.Info(), "slot", cfg.slot, "scope", cfg.scope)
	if os.Geteuid() != 0 {
		logger.WarnContext(ctx, "Not running as root: jobs run as the supervisor's own user and can read its token", "uid", os.Geteuid())
	}
	for _, p := range supervisor.CheckProgram(cfg.root, cfg.user) {
		logger.WarnContext(ctx, "Not safe from jobs", "problem", p.What, "remedy", p.Remedy)
	}
	registrar, err := newRegistrar(cfg)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(cfg.stateFile), 0o755); err != nil {
		return fmt.Errorf("--state-file: %w", err)
	}
	var tempDirs []string
	if os.Getpid() == 1 { // outside of a container these are not ours alone
		tempDirs = []string{"/tmp", "/var/tmp", "/dev/shm", "/run/lock"}
	}
	if os.Geteuid() == 0 {
		if err := supervisor.SetSudo(cfg.sudoers, cfg.user.UID, cfg.sudo); err != nil {
			return err
		}
	}
	s, err := supervisor.New(supervisor.Config{
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
		Preflight: func(ctx context.Context) []supervisor.Problem {
			return append(checkHere(cfg), checkAround(ctx, cfg, registrar, false)...)
		},
		Clock:      newClocks(cfg, registrar).offset,
		Names:      cfg.names,
		ResolvConf: cfg.resolvConf,
		Fallback:   cfg.dnsFallback,
		TimeScale:  cfg.timeScale,
		Stdout:     stdout,
		Stderr:     stderr,
		Logger:     logger,
	})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

func healthcheck(raw *settings, stdout io.Writer) int {
	healthy, why := supervisor.Health(raw.stateFile, raw.procfs, time.Now())
	_, _ = fmt.Fprintln(stdout, why)
	if !healthy {
		return 1
	}
	return 0
}
