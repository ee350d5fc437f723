package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Supervisor runs one slot. Make it with New and call Run once.
type Supervisor struct {
	cfg  Config
	t    timing
	tree processTree
	dns  *dnsFallback

	// The following fields belong to Run's goroutine.
	reg         *registration // in use; nil: none
	proc        *listenerProcess
	unconfirmed []string // names of registrations whose answer was lost; at most maxPending
	minWait     time.Duration
	listeningAt time.Time
	workerAt    time.Time // a worker was last seen
	deleteAt    time.Time // the last attempt to delete the registration of a stuck listener

	mu       sync.Mutex
	state    State
	deadline time.Time // see setDeadline
}

type registration struct {
	id   int64
	name string
}

// New returns a Supervisor. Nothing is started.
func New(cfg Config) *Supervisor {
	t := cfg.timing
	if t.backoff == nil {
		t = defaultTiming()
	}
	if cfg.TimeScale > 0 {
		t = t.scaled(cfg.TimeScale)
	}
	return &Supervisor{
		cfg:  cfg,
		t:    t,
		tree: processTree{proc: "/proc", reap: cfg.Reap},
		dns: &dnsFallback{
			path: cfg.ResolvConf, hostnames: cfg.Hostnames, servers: cfg.Fallback, logger: cfg.Logger, lookup: lookupAt,
		},
		state: State{Slot: cfg.Slot, Phase: Waiting, Since: time.Now()},
	}
}

// Run runs the slot until ctx ends, then drains it. It returns when no job of the slot runs, which
// may take as long as the job. It fails only before the first registration.
func (s *Supervisor) Run(ctx context.Context) error {
	if s.cfg.Reap {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("become child subreaper: %w", err)
		}
	}
	s.loadPrevious()
	if err := s.state.write(s.cfg.StateFile); err != nil {
		return err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	if s.cfg.Reap {
		wg.Go(func() { s.tree.reapUntil(background) })
	}
	s.setDeadline(0)
	wg.Go(func() { s.heartbeat(background) })
	wg.Go(func() { s.deleteStale(ctx) })
	wg.Go(func() { s.pollStatus(ctx) })
	wg.Go(func() { s.dns.watch(background, s.t.dnsCheck) })

	for s.state.Phase != Stopped {
		next, cause := s.step(ctx)
		s.enter(ctx, next, cause)
	}
	return nil
}

func (s *Supervisor) step(ctx context.Context) (next Phase, cause string) {
	switch s.state.Phase {
	case Waiting:
		return s.waitUntilReady(ctx)
	case Registering:
		return s.register(ctx)
	case Connecting, Listening, Job:
		return s.watch(ctx)
	case Cleaning:
		return s.clean(ctx)
	default: // draining
		return s.drain(ctx)
	}
}

func (s *Supervisor) enter(ctx context.Context, next Phase, cause string) {
	from := s.state.Phase
	s.update(func(st *State) {
		if st.Phase != next {
			st.Since = time.Now()
			st.GitHub = GitHubStatus{} // it was about the previous phase
		}
		st.Phase, st.Cause = next, cause
		st.Name, st.ID, st.PID = "", 0, 0
		if s.reg != nil {
			st.Name, st.ID = s.reg.name, s.reg.id
		}
		if s.proc != nil {
			st.PID = s.proc.pid
		}
	})
	s.cfg.Logger.InfoContext(ctx, "Slot changed", "from", from, "to", next, "cause", cause,
		"registration", s.state.Name, "failures", s.state.Failures)
	if next == Listening {
		s.listeningAt = time.Now()
		_, _ = s.cfg.Stdout.Write([]byte("Runner registered. Waiting for a job...\n"))
	}
}

func (s *Supervisor) update(change func(*State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
	s.save()
}

// save writes the state file; s.mu is held. The health check reports a file that gets too old.
func (s *Supervisor) save() {
	s.state.Updated = time.Now()
	if err := s.state.write(s.cfg.StateFile); err != nil {
		s.cfg.Logger.Error("State file not written", "err", err)
	}
}

// fail records and logs a failed attempt. err may be nil.
func (s *Supervisor) fail(ctx context.Context, cause string, err error) {
	s.update(func(st *State) { st.Failures++; st.Failure, st.Cause = cause, cause })
	if err == nil {
		err = errors.New(cause)
	}
	s.cfg.Logger.WarnContext(ctx, "Attempt failed", "cause", cause, "failures", s.state.Failures, "err", err, "remedy", cmp.Or(asGitHub(err).Hint, remedies[cause]))
}

// setDeadline says that the state machine may be silent for d. Until then the heartbeat refreshes
// the state file; after it the file gets too old, and the health check fails.
func (s *Supervisor) setDeadline(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = time.Now().Add(d + 3*s.t.heartbeat)
}

func (s *Supervisor) heartbeat(ctx context.Context) {
	for sleep(ctx, s.t.heartbeat) {
		s.mu.Lock()
		if time.Now().Before(s.deadline) {
			s.save()
		}
		s.mu.Unlock()
	}
}

// pause waits, and returns false if ctx ended before.
func (s *Supervisor) pause(ctx context.Context, d time.Duration) bool {
	s.setDeadline(d)
	return sleep(ctx, d) && ctx.Err() == nil
}

// callContext bounds one call to GitHub. The call outlives ctx: whether a registration exists must
// be known.
func (s *Supervisor) callContext(ctx context.Context) (context.Context, context.CancelFunc) {
	s.setDeadline(s.t.callTimeout)
	return context.WithTimeout(context.WithoutCancel(ctx), s.t.callTimeout)
}

func (s *Supervisor) deleteRunner(ctx context.Context, id int64) error {
	ctx, cancel := s.callContext(ctx)
	defer cancel()
	return s.cfg.Registrar.DeleteRunner(ctx, id)
}

// sleep waits, and returns false if ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
