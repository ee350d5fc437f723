package remedy

import (
	"errors"
	"log/slog"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options configures a [Remediator]. Zero durations take the default named at
// the field.
type Options struct {
	// Logger receives one line per decision that changes something. Required.
	Logger *slog.Logger
	// Registry receives the metrics. Nil registers nothing.
	Registry prometheus.Registerer
	// Docker is the engine that is acted on. Required.
	Docker Docker
	// GitHub is the second view of the runners. Nil: Docker's decides alone.
	GitHub GitHub
	// Free measures the bytes free to an unprivileged user below a path. Default statfs.
	Free func(path string) (uint64, error)

	// JournalPath is the bbolt file. Required.
	JournalPath string
	// JournalTimeout bounds the wait for the lock of the file (5 s).
	JournalTimeout time.Duration
	// QueueLimit bounds the alerts that wait for a decision (50,000).
	QueueLimit int

	// RestartCooldown is the least time between two restarts of one target (2 m).
	RestartCooldown time.Duration
	// RestartGrace is how long an idle container may take to leave by itself (30 s).
	RestartGrace time.Duration
	// RestartTimeout bounds the wait for a job that began in the last instant (grace + 1 m).
	RestartTimeout time.Duration
	// VerifyTimeout bounds the wait until the container runs and is healthy (3 m).
	VerifyTimeout time.Duration
	// PollInterval is the time between two looks at a container that changes (500 ms).
	PollInterval time.Duration

	// BackoffDuration is how long a runner stays stopped the first time (10 m).
	BackoffDuration time.Duration
	// BackoffMax bounds the doubling (60 m).
	BackoffMax time.Duration
	// BackoffProbation is the time without a fire that closes the breaker (1 h).
	BackoffProbation time.Duration

	// PruneLabel (KEY=VALUE) confines pruning to objects that carry it; the build
	// cache, which has no labels, is then left alone. Empty: every unused image.
	PruneLabel string
	// PruneMinAge is the least time since an unused image that has a name was last used (24 h).
	PruneMinAge time.Duration
	// PruneKeep matches the names and ids of images that are never removed. Nil: none.
	PruneKeep *regexp.Regexp
	// PruneCooldown is the least time between two prunes (5 m).
	PruneCooldown time.Duration
	// PruneThreshold is the free space in bytes below which pruning is wanted
	// (10 GB, and never less than the critical 2 GB); a prune ends at 1.2 times this.
	PruneThreshold uint64
	// DiskPath is where free space is measured. Empty: Docker's root.
	DiskPath string

	// Window is when actions may begin. Zero: always.
	Window Window
	// HeartbeatTimeout is how long the Watchdog alert may stay away before the pipeline is called silent (5 m).
	HeartbeatTimeout time.Duration
	// Self is the id of the container that this program runs in, "" if it is in none: it is never acted on.
	Self string
	// DryRun decides and journals but does nothing.
	DryRun bool

	// Uptime reads the clock that nobody sets. Default the kernel's.
	Uptime func() Mark
	// open opens what outlives the process. Default the file at JournalPath.
	open func(path string, timeout time.Duration) (store, error)
	// Failpoint is called with the name of each point at which the process may
	// die. Nil outside of tests.
	Failpoint func(name string)
}

// withDefaults returns o with every zero value replaced.
func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Logger == nil:
		return o, errors.New("remedy: no logger given")
	case o.Docker == nil:
		return o, errors.New("remedy: no Docker engine given")
	case o.JournalPath == "":
		return o, errors.New("remedy: no journal path given")
	}
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&o.JournalTimeout, 5*time.Second)
	set(&o.RestartCooldown, 2*time.Minute)
	set(&o.RestartGrace, 30*time.Second)
	set(&o.RestartTimeout, o.RestartGrace+time.Minute)
	set(&o.VerifyTimeout, 3*time.Minute)
	set(&o.PollInterval, 500*time.Millisecond)
	set(&o.BackoffDuration, 10*time.Minute)
	set(&o.BackoffMax, time.Hour)
	o.BackoffMax = max(o.BackoffMax, o.BackoffDuration)
	set(&o.BackoffProbation, time.Hour)
	set(&o.HeartbeatTimeout, 5*time.Minute)
	set(&o.PruneMinAge, 24*time.Hour)
	set(&o.PruneCooldown, 5*time.Minute)
	if o.PruneThreshold == 0 {
		o.PruneThreshold = 10e9
	}
	o.PruneThreshold = max(o.PruneThreshold, criticalFloor)
	if o.QueueLimit <= 0 {
		o.QueueLimit = 50_000
	}
	if o.Free == nil {
		o.Free = statfsFree
	}
	if o.Uptime == nil {
		o.Uptime = uptimeNow
	}
	if o.open == nil {
		o.open = openFile
	}
	if o.Failpoint == nil {
		o.Failpoint = func(string) {}
	}
	return o, nil
}
