package supervisor

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Registrar is GitHub in the scope of this slot. Calls may fail for hours, with a *runner.Error.
type Registrar interface {
	// JITConfig registers a runner under a new name.
	JITConfig(ctx context.Context, name string) (runner.JIT, error)
	// DeleteRunner deletes a registration. It fails with runner.ErrBusy while a job runs on it.
	DeleteRunner(ctx context.Context, id int64) error
	// Runner reads one registration. It is called once a minute and should cost no quota.
	Runner(ctx context.Context, id int64) (runner.Registration, error)
	// Runners lists all registrations.
	Runners(ctx context.Context) ([]runner.Registration, error)
}

// Config configures a Supervisor.
type Config struct {
	Slot string // name of the slot; registrations are named SLOT-SUFFIX

	Root     string // directory of the Actions runner, with bin/Runner.Listener
	UID, GID int    // of the listener and its jobs; used only if running as root
	Groups   []int  // supplementary groups of the listener; used only if running as root
	// TempDirs are emptied of what UID owns after each job; used only if running as root.
	TempDirs []string

	// Environ is the source of the listener's environment, as of os.Environ. Of it, allowed
	// variables and those of PassEnv are passed on.
	Environ []string
	PassEnv []string

	DockerHub Login // optional

	StateFile           string        // written at every transition and every 5 s
	SessionConflictWait time.Duration // before the next registration after a session conflict

	// Reap makes the supervisor wait for orphaned descendants, as PID 1 must.
	Reap bool

	Registrar Registrar

	// Clock returns the offset of the local clock; ok is false if it is unknown. May be nil.
	Clock func(context.Context) (offset Offset, ok bool)
	// Hostnames must resolve before a registration. While they do not, the servers of Fallback are
	// added to ResolvConf.
	Hostnames  []string
	ResolvConf string
	Fallback   []netip.Addr

	// TimeScale is a factor on every delay of the state machine; 0 means 1.
	TimeScale float64

	// Stdout and Stderr get the listener's lines, each in one Write, from several goroutines.
	Stdout, Stderr io.Writer
	Logger         *slog.Logger

	timing timing // zero: defaultTiming
}

type timing struct {
	backoff         []time.Duration // by the number of failures in a row; the last also beyond
	jitter          func() float64  // factor on backoff
	callTimeout     time.Duration   // of one call to GitHub
	stableSession   time.Duration   // a session of this length ends a row of failures
	jobExit         time.Duration   // from the end of a job to an interrupt of its listener
	interruptGrace  time.Duration   // from SIGINT to SIGKILL; deleting a session takes up to 30 s
	killTimeout     time.Duration   // for killed processes to disappear
	jobStart        time.Duration   // from handing out a job to its start; GitHub allows 60 s
	workerless      time.Duration   // without a worker a job is over; GitHub's lock lasts 10 min
	deleteRetry     time.Duration   // between two attempts to delete the registration in use
	drainUnanswered time.Duration   // until an idle listener is interrupted without GitHub's answer
	heartbeat       time.Duration   // between two writes of the state file
	readyCheck      time.Duration   // between two checks whether a registration is possible
	waitLog         time.Duration   // between two log lines about why it is not
	dnsCheck        time.Duration   // between two checks of the name servers
	statusCheck     time.Duration   // between two reads of the registration's status
	staleCheck      time.Duration   // between two searches for stale registrations
}

func defaultTiming() timing {
	return timing{
		backoff: []time.Duration{0, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second},
		jitter:  func() float64 { return 0.8 + 0.4*rand.Float64() },

		callTimeout:     15 * time.Second,
		stableSession:   time.Minute,
		jobExit:         2 * time.Minute,
		interruptGrace:  45 * time.Second,
		killTimeout:     5 * time.Second,
		jobStart:        2 * time.Minute,
		workerless:      10 * time.Minute,
		deleteRetry:     10 * time.Second,
		drainUnanswered: time.Minute,
		heartbeat:       5 * time.Second,
		readyCheck:      5 * time.Second,
		waitLog:         time.Minute,
		dnsCheck:        30 * time.Second,
		statusCheck:     time.Minute,
		staleCheck:      5 * time.Minute,
	}
}

// scaled multiplies the delays. Timeouts and the heartbeat, which the health check relies on, stay.
func (t timing) scaled(factor float64) timing {
	t.backoff = slices.Clone(t.backoff)
	scale := func(d *time.Duration) { *d = time.Duration(float64(*d) * factor) }
	for i := range t.backoff {
		scale(&t.backoff[i])
	}
	for _, d := range []*time.Duration{
		&t.stableSession, &t.jobExit, &t.interruptGrace, &t.jobStart, &t.workerless, &t.deleteRetry, &t.drainUnanswered,
		&t.readyCheck, &t.waitLog, &t.dnsCheck, &t.statusCheck, &t.staleCheck,
	} {
		scale(d)
	}
	return t
}

func (t timing) delay(failures int) time.Duration {
	step := t.backoff[min(failures, len(t.backoff)-1)]
	return time.Duration(float64(step) * t.jitter())
}

// longestDelay is the wait where an early retry does harm.
func (t timing) longestDelay() time.Duration { return t.backoff[len(t.backoff)-1] }
