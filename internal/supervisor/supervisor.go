package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Supervisor runs one slot. Make it with New and call Run once.
type Supervisor struct {
	cfg    Config
	t      timing
	family family
	names  *names

	// What follows belongs to Run's goroutine.
	reg        *registration // the present one; nil = none
	proc       *listenerProcess
	owed       []int64  // registrations that could not be deleted yet; bounded by maxOwed
	unsure     []string // names of registrations that may have been made, though the answer was lost; bounded by maxOwed
	relaunches int      // of the present registration without a session
	wait       time.Duration
	dirty      bool // the last cleaning failed, or none was done yet
	listening  time.Time
	worked     time.Time // a worker was seen then
	asked      time.Time // GitHub was asked then to delete the registration of a listener that is stuck

	mu         sync.Mutex
	state      State
	aliveUntil time.Time
}

// registration is what the slot is at GitHub.
type registration struct {
	id   int64
	name string
	jit  string // secret
}

// New checks the configuration. Nothing is started.
func New(cfg Config) (*Supervisor, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	t := cfg.timing
	if t.ladder == nil {
		t = defaultTiming()
	}
	if cfg.TimeScale > 0 {
		t = t.scaled(cfg.TimeScale)
	}
	return &Supervisor{
		cfg:    cfg,
		t:      t,
		family: family{proc: "/proc", reap: cfg.Reap},
		names: &names{
			path: cfg.ResolvConf, wanted: cfg.Names, fallback: cfg.Fallback, logger: cfg.Logger, lookup: lookupAt,
		},
		dirty: true, // the last life of this container may have ended in the middle of a job
		state: State{Slot: cfg.Slot, Phase: Preflight, Since: time.Now()},
	}, nil
}

// Run lives the life of the slot until ctx ends, and then drains: it returns when no job of the slot runs any more, which
// may take as long as the job. It fails only before the first registration, for reasons that waiting does not mend.
func (s *Supervisor) Run(ctx context.Context) error {
	if s.cfg.Reap {
		if err := adopt(); err != nil {
			return err
		}
	}
	s.inherit()
	if err := s.state.write(s.cfg.StateFile); err != nil {
		return err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	if s.cfg.Reap {
		wg.Go(func() { s.family.reaper(background) })
	}
	s.busyFor(3 * s.t.beat)
	wg.Go(func() { s.heart(background) })
	wg.Go(func() { s.removeStale(ctx) })
	wg.Go(func() { s.look(ctx) })
	wg.Go(func() { s.names.watch(background, s.t.names) })

	for s.state.Phase != Stopped {
		next, cause := s.step(ctx)
		s.move(ctx, next, cause)
	}
	return nil
}

// step is the state machine: the function of a phase returns when the phase is over.
func (s *Supervisor) step(ctx context.Context) (Phase, string) {
	switch s.state.Phase {
	case Preflight:
		return s.preflight(ctx)
	case Waiting:
		return s.gate(ctx)
	case Registering:
		return s.register(ctx)
	case Connecting, Listening, Job:
		return s.watch(ctx)
	case Cleaning:
		return s.clean(ctx)
	case Draining:
		return s.drain(ctx)
	default:
		return Stopped, "no such phase: " + string(s.state.Phase)
	}
}

// preflight says at once whatever is not as it should be. What nobody but a person can mend has ended the program before this; for the
// rest a slot can wait.
func (s *Supervisor) preflight(ctx context.Context) (Phase, string) {
	if s.cfg.Preflight == nil {
		return Waiting, "started"
	}
	s.busyFor(preflightBound)
	bound, cancel := context.WithTimeout(ctx, preflightBound)
	defer cancel()
	problems := s.cfg.Preflight(bound)
	for _, p := range problems {
		s.cfg.Logger.WarnContext(ctx, "Preflight", "problem", p.What, "remedy", p.Remedy)
	}
	return Waiting, fmt.Sprintf("preflight done, problems: %d", len(problems))
}

// preflightBound is how long the preflight may take.
const preflightBound = 30 * time.Second

// move enters a phase, and tells everybody.
func (s *Supervisor) move(ctx context.Context, next Phase, cause string) {
	from := s.state.Phase
	s.update(func(st *State) {
		if st.Phase != next {
			st.Since = time.Now()
			st.GitHub = Sight{} // it was about the phase before
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
	if next == from { // one more attempt, which fail has told
		return
	}
	s.cfg.Logger.InfoContext(ctx, "Slot changed", "from", from, "to", next, "cause", cause,
		"registration", s.state.Name, "failures", s.state.Failures)
	if next == Listening {
		s.listening = time.Now()
		_, _ = s.cfg.Stdout.Write([]byte("Runner registered. Waiting for a job...\n"))
	}
}

// update changes the state and writes the state file.
func (s *Supervisor) update(change func(*State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
	s.save()
}

// save writes the state file; s.mu is held. A file that cannot be written becomes stale, which the health check reports.
func (s *Supervisor) save() {
	s.state.Updated = time.Now()
	if err := s.state.write(s.cfg.StateFile); err != nil {
		s.cfg.Logger.Error("State file not written", "err", err)
	}
}

// fail records a failed attempt.
func (s *Supervisor) fail(ctx context.Context, cause string, err error) {
	s.update(func(st *State) { st.Failures++; st.Failure, st.Cause = cause, cause })
	if err == nil {
		err = errors.New(cause)
	}
	s.cfg.Logger.WarnContext(ctx, "Attempt failed", "cause", cause, "failures", s.state.Failures, "err", err, "remedy", remedyFor(cause, err))
}

// busyFor promises that the state machine will come back within the given time; as long as promises are kept, the state file
// is refreshed. A state machine that hangs lets the file become stale.
func (s *Supervisor) busyFor(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aliveUntil = time.Now().Add(d)
}

// heart refreshes the state file.
func (s *Supervisor) heart(ctx context.Context) {
	tick := time.NewTicker(s.t.beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		if time.Now().Before(s.aliveUntil) {
			s.save()
		}
		s.mu.Unlock()
	}
}

// pause waits, and reports false if ctx ended before.
func (s *Supervisor) pause(ctx context.Context, d time.Duration) bool {
	s.busyFor(d + 3*s.t.beat)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// call runs one call to GitHub, bounded, and not cut off by the end of ctx: whether a registration exists must be known.
func (s *Supervisor) call(ctx context.Context, do func(context.Context) error) error {
	s.busyFor(s.t.call + 3*s.t.beat)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.t.call)
	defer cancel()
	return do(ctx)
}
