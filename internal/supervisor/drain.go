package supervisor

import (
	"context"
	"errors"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// drain ends the life of the slot without harm to a job.
//
// It asks GitHub to delete the registration, and goes by the answer:
//   - deleted, or no such registration: no job can come any more. The listener is interrupted.
//   - busy: a job runs. It is left alone; the listener ends by itself after it. The question is asked again, because the
//     job may turn out to have ended elsewhere.
//   - no answer: asked again. After a while the listener is interrupted if nothing here speaks for a job.
//
// Whatever GitHub says, a listener that printed "Running job:" or has a worker process is not interrupted: GitHub has been
// seen to call busy runners idle (actions/runner#4422). Only an announcement without a worker for ten minutes is no job any more
// (see working). Docker's own patience (stop_grace_period) bounds all of this.
func (s *Supervisor) drain(ctx context.Context) (Phase, string) {
	ctx = context.WithoutCancel(ctx)
	defer func() {
		s.proc = nil
		s.disown(ctx)
		s.payOwed(ctx) // the last chance of this life
		if err := s.scrub(); err != nil {
			s.cfg.Logger.WarnContext(ctx, "Not everything was cleaned", "err", err)
		}
	}()
	if s.proc == nil || s.reg == nil {
		return Stopped, "no listener"
	}
	begin := time.Now()
	for {
		err := s.call(ctx, func(ctx context.Context) error { return s.cfg.Registrar.DeleteRunner(ctx, s.reg.id) })
		gone := err == nil || errors.Is(err, runner.ErrNotFound)
		busy := errors.Is(err, runner.ErrBusy)
		if !gone && !busy {
			s.cfg.Logger.WarnContext(ctx, "GitHub does not say whether the runner is idle", "err", err)
		}
		unknown := !gone && !busy && time.Since(begin) >= s.t.drainUnknown
		if (gone || unknown) && !s.hasJob() {
			s.stopListener()
			return s.drained(ctx, gone)
		}
		s.busyFor(s.t.drainRetry + 3*s.t.beat)
		select {
		case <-s.proc.done:
			return s.drained(ctx, gone)
		case <-time.After(s.t.drainRetry):
		}
	}
}

// hasJob tells whether anything here speaks for a job. A job that was completed does not count.
func (s *Supervisor) hasJob() bool {
	select {
	case <-s.proc.done:
		return false
	default:
	}
	return s.working(s.proc.ledger.progress())
}

// working tells whether a worker runs, or may have: between the announcement of a job and the line that completes it there is none for
// moments, and minutes where GitHub is slow to answer. Longer than the lock on a job lasts there is no job without a worker.
func (s *Supervisor) working(p progress) bool {
	if s.workerRuns() {
		s.worked = time.Now()
		return true
	}
	last := p.jobNews
	if s.worked.After(last) {
		last = s.worked
	}
	return p.jobsStarted > p.jobsCompleted && time.Since(last) < s.t.workerless
}

// workerRuns looks for a worker among our own descendants.
func (s *Supervisor) workerRuns() bool {
	for _, p := range descendants(processes(s.family.proc), s.proc.pid) {
		if !p.zombie && isWorker(s.family.proc, p.pid) {
			return true
		}
	}
	return false
}

// drained draws the consequences of the end of the last listener.
func (s *Supervisor) drained(ctx context.Context, gone bool) (Phase, string) {
	p := s.proc.ledger.progress()
	if gone || p.jobsCompleted > 0 {
		s.forget()
	}
	cause := "idle, " + s.proc.exit.String()
	if p.jobsStarted > 0 {
		cause = "last job ended, " + s.proc.exit.String()
		s.update(func(st *State) {
			if p.jobsCompleted > 0 {
				st.Jobs++
			}
		})
	}
	s.cfg.Logger.DebugContext(ctx, "Drained", "exit", s.proc.exit.String())
	return Stopped, cause
}
