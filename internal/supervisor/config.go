package supervisor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Registrar is GitHub, in the scope of this runner. Its calls may fail for hours, with errors of package runner.
type Registrar interface {
	// JITConfig registers a runner under a new name.
	JITConfig(ctx context.Context, name string) (runner.JIT, error)
	// DeleteRunner removes a registration; GitHub refuses while it runs a job.
	DeleteRunner(ctx context.Context, id int64) error
	// Runner reads one registration, cheaply: it is asked for once a minute.
	Runner(ctx context.Context, id int64) (runner.Registration, error)
	// Runners lists all registrations.
	Runners(ctx context.Context) ([]runner.Registration, error)
}

// Causes that others than people act on. Every other cause is text.
const (
	CausePATInvalid        = "pat_invalid"
	CausePATPermission     = "pat_permission"
	CauseVersionDeprecated = "version_deprecated"
	CauseSessionConflict   = "session_conflict"
	CauseClockSkew         = "clock_skew"
	CauseNames             = "names_unresolved"
)

// Config is everything that a Supervisor needs.
type Config struct {
	Slot string // name of the slot; registrations are named Slot-suffix

	Root     string // directory of the runner; contains bin/Runner.Listener, must be writable for the job's user
	UID, GID int    // user of the listener and of the job; only used when running as root
	// Groups are supplementary groups of the listener, such as that of the Docker socket; only used when running as root.
	Groups []int
	// TempDirs are directories in which entries that belong to UID are removed after a job; only used when running as root.
	TempDirs []string

	// Environ is where the allowed variables of the listener's environment are taken from, as from os.Environ; PassEnv
	// names further ones to let through.
	Environ []string
	PassEnv []string

	DockerHub Login // optional

	StateFile           string        // written at every transition and every few seconds; "" = none
	SessionConflictWait time.Duration // before the next registration when GitHub still holds a session

	// Reap makes the supervisor adopt and wait for orphaned descendants, as PID 1 must.
	Reap bool

	Registrar Registrar

	// Preflight looks for what keeps the slot from working; each finding is logged. nil = nothing is looked at.
	Preflight func(context.Context) []Problem
	// Clock is how far the local clock is off, if anybody knows; nil = never known.
	Clock func(context.Context) (Offset, bool)
	// Names must be resolvable before a registration is made. If they are not, Fallback is added to ResolvConf.
	Names      []string
	ResolvConf string
	Fallback   []netip.Addr

	// TimeScale multiplies every wait of the state machine; 0 = 1. Demo and tests are not patient.
	TimeScale float64

	// Stdout and Stderr take the listener's lines, each in one Write. They are used by several goroutines at once.
	Stdout, Stderr io.Writer
	Logger         *slog.Logger

	timing timing // zero = defaults
}

// timing is every duration of the state machine.
type timing struct {
	ladder        []time.Duration // wait after 0, 1, 2, … failures in a row; the last one for all further
	jitter        func() float64  // factor on it
	call          time.Duration   // bound of one call to GitHub
	relaunch      time.Duration   // before the listener is started again with the same registration (run-helper.sh: 5 s)
	stable        time.Duration   // a session that lived so long ends a row of failures
	jobExit       time.Duration   // a listener that is still there so long after its job is interrupted
	interrupt     time.Duration   // from SIGINT to SIGKILL; the listener needs up to 30 s to delete its session
	kill          time.Duration   // to see killed processes gone
	deaf          time.Duration   // a job that was handed out so long ago and did not begin is with somebody else: GitHub waits 60 s
	workerless    time.Duration   // a job that was announced and has had no worker for so long is over: GitHub's lock lasts 10 min
	retire        time.Duration   // between two attempts to delete the registration of a listener that is stuck
	drainRetry    time.Duration   // between two attempts to delete the registration
	drainUnknown  time.Duration   // GitHub does not answer and nothing speaks for a job: interrupt all the same
	beat          time.Duration   // between two writes of the state file
	gate          time.Duration   // between two looks at what stands in the way of a registration
	tell          time.Duration   // between two lines about it
	names         time.Duration   // between two looks at the name servers
	look          time.Duration   // between two questions to GitHub about the present registration
	staleGap      time.Duration   // between two looks for left-over registrations: their age when they are deleted, at least
	maxRelaunches int
}

func defaultTiming() timing {
	return timing{
		ladder: []time.Duration{0, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second},
		jitter: func() float64 { return 0.8 + 0.4*rand.Float64() },

		call:          15 * time.Second,
		relaunch:      5 * time.Second,
		stable:        time.Minute,
		jobExit:       2 * time.Minute,
		interrupt:     45 * time.Second,
		kill:          5 * time.Second,
		deaf:          2 * time.Minute,
		workerless:    10 * time.Minute,
		retire:        15 * time.Second,
		drainRetry:    5 * time.Second,
		drainUnknown:  time.Minute,
		beat:          5 * time.Second,
		gate:          5 * time.Second,
		tell:          time.Minute,
		names:         30 * time.Second,
		look:          time.Minute,
		staleGap:      5 * time.Minute,
		maxRelaunches: 5,
	}
}

// scaled multiplies what is waited for; not what bounds a call, kills, and tells that the supervisor is alive.
func (t timing) scaled(factor float64) timing {
	t.ladder = slices.Clone(t.ladder)
	scale := func(d *time.Duration) { *d = time.Duration(float64(*d) * factor) }
	for i := range t.ladder {
		scale(&t.ladder[i])
	}
	for _, d := range []*time.Duration{
		&t.relaunch, &t.stable, &t.jobExit, &t.interrupt, &t.deaf, &t.workerless, &t.retire, &t.drainRetry, &t.drainUnknown, &t.gate, &t.tell, &t.names, &t.look, &t.staleGap,
	} {
		scale(d)
	}
	return t
}

// delay is the wait after so many failures in a row.
func (t timing) delay(failures int) time.Duration {
	step := t.ladder[min(failures, len(t.ladder)-1)]
	return time.Duration(float64(step) * t.jitter())
}

func (c *Config) check() error {
	switch {
	case c.Slot == "":
		return errors.New("the slot has no name")
	case c.Root == "":
		return errors.New("the runner's directory is not set")
	case c.Registrar == nil:
		return errors.New("no registrar")
	case c.Stdout == nil || c.Stderr == nil || c.Logger == nil:
		return errors.New("no output or logger")
	}
	return nil
}
