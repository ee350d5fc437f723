package remedy

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/remedy/prune"
)

// Options configures a [Remediator]. Zero durations take the default in parentheses.
type Options struct {
	Logger   *slog.Logger          // required
	Registry prometheus.Registerer // nil: no metrics
	Docker   Docker                // required
	GitHub   GitHub                // nil: Docker's view of the runners decides alone
	Pruner   prune.Pruner          // its Docker and PollInterval are set from here

	JournalPath string // the bbolt file; required
	QueueLimit  int    // bounds the alerts that wait for a decision (50,000)

	RestartCooldown time.Duration // least time between two restarts of one target (2 m)
	RestartGrace    time.Duration // for an idle container to exit after SIGTERM (30 s)
	RestartTimeout  time.Duration // for a job that began in the last instant (grace + 1 m)
	VerifyTimeout   time.Duration // until the container runs and is healthy (3 m)
	PollInterval    time.Duration // between two looks at a container that changes (500 ms)

	BackoffDuration  time.Duration // how long a runner stays stopped the first time (10 m)
	BackoffMax       time.Duration // bounds the doubling (60 m)
	BackoffProbation time.Duration // without a fire, closes the breaker (1 h)

	PruneCooldown time.Duration // least time between two prunes (5 m)

	Window           Window        // when actions may begin; nil: always
	HeartbeatTimeout time.Duration // without a heartbeat the pipeline is silent (5 m)
	// Self is the id of the container that this program runs in, "" if it is in none: it is never
	// acted on.
	Self      string
	DryRun    bool    // decide and journal, but do nothing
	TimeScale float64 // a factor on every delay, for demonstrations (1)

	// For tests: the clock that cannot be set, what outlives the process, and what is called with the
	// name of each point at which the process may die.
	BootTime  func() journal.BootTime
	OpenDisk  func() (journal.Disk, error)
	Failpoint func(name string)
}

// Window is a maintenance window.
type Window interface {
	Open(now time.Time) bool
	// Next is when it opens next, while it is not open.
	Next(now time.Time) time.Time
}

// withDefaults returns o with every zero value replaced, and every delay scaled.
func (o Options) withDefaults() *Options {
	if o.TimeScale <= 0 {
		o.TimeScale = 1
	}
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
		*d = max(o.scale(*d), time.Nanosecond)
	}
	set(&o.RestartCooldown, 2*time.Minute)
	set(&o.RestartGrace, 30*time.Second)
	if o.RestartTimeout <= 0 {
		o.RestartTimeout = o.RestartGrace + time.Minute
	}
	set(&o.VerifyTimeout, 3*time.Minute)
	set(&o.PollInterval, 500*time.Millisecond)
	set(&o.BackoffDuration, 10*time.Minute)
	set(&o.BackoffMax, time.Hour)
	o.BackoffMax = max(o.BackoffMax, o.BackoffDuration)
	set(&o.BackoffProbation, time.Hour)
	set(&o.HeartbeatTimeout, 5*time.Minute)
	set(&o.PruneCooldown, 5*time.Minute)
	if o.Pruner.MinAge <= 0 {
		o.Pruner.MinAge = 24 * time.Hour
	}
	o.Pruner.Docker, o.Pruner.PollInterval = o.Docker, o.PollInterval
	if o.QueueLimit <= 0 {
		o.QueueLimit = 50_000
	}
	if o.BootTime == nil {
		o.BootTime = journal.ReadBootTime
	}
	if o.Failpoint == nil {
		o.Failpoint = func(string) {}
	}
	return &o
}

func (o *Options) scale(d time.Duration) time.Duration {
	return time.Duration(float64(d) * o.TimeScale)
}

func (o *Options) windowOpens(now time.Time) time.Time {
	if o.Window == nil || o.Window.Open(now) {
		return time.Time{}
	}
	return o.Window.Next(now)
}

func (o *Options) now() journal.Instant { return journal.Instant{Time: time.Now(), Boot: o.BootTime()} }
