package supervisor

import (
	"context"
	"errors"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// drain stops the slot without harm to a job. It asks GitHub to delete the registration:
//   - deleted, or not found: no job can arrive. The listener is interrupted.
//   - busy: a job runs. The listener ends after it. The request is repeated, because the job may
//     have ended without the listener.
//   - no answer: repeated. After drainUnanswered the listener is interrupted if it has no job.
//
// A listener with a job (see working) is never interrupted, because GitHub has called busy runners
// idle (actions/runner#4422). Docker's stop_grace_period bounds all of this.
func (s *Supervisor) drain(ctx context.Context) (Phase, string) {
	ctx = context.WithoutCancel(ctx)
	defer func() {
		s.proc = nil
		s.deleteRegistration(ctx)
		s.deletePending(ctx)
		s.cleanUpOrLog(ctx)
	}()
	if s.proc == nil || s.reg == nil {
		return Stopped, "no listener"
	}
	begin := time.Now()
	for {
		err := s.deleteRunner(ctx, s.reg.id)
		gone := err == nil || errors.Is(err, runner.ErrNotFound)
		unanswered := !gone && !errors.Is(err, runner.ErrBusy)
		if unanswered {
			s.cfg.Logger.WarnContext(ctx, "GitHub does not say whether the runner is idle", "err", err)
		}
		if (gone || unanswered && time.Since(begin) >= s.t.drainUnanswered) && !s.hasJob() {
			s.stopListener()
			return s.drained(gone)
		}
		s.setDeadline(s.t.deleteRetry)
		select {
		case <-s.proc.done:
			return s.drained(gone)
		case <-time.After(s.t.deleteRetry):
		}
	}
}

// drained handles the end of the last listener. gone says that GitHub has no registration of it.
func (s *Supervisor) drained(gone bool) (Phase, string) {
	p := s.proc.job.snapshot()
	if gone || p.jobsCompleted > 0 {
		s.reg = nil
	}
	if p.jobsCompleted > 0 {
		s.update(func(st *State) { st.Jobs++ })
	}
	if p.jobsStarted > 0 {
		return Stopped, "last job ended, " + s.proc.exit.String()
	}
	return Stopped, "idle, " + s.proc.exit.String()
}

func (s *Supervisor) hasJob() bool {
	select {
	case <-s.proc.done:
		return false
	default:
		return s.working(s.proc.job.snapshot())
	}
}

// working reports whether a worker runs, or may: between the announcement of a job and the line
// that completes it there is none for moments, and for minutes if GitHub is slow. A job without a
// worker for longer than GitHub's lock on it is over.
func (s *Supervisor) working(p progress) bool {
	if s.workerRuns() {
		s.workerAt = time.Now()
		return true
	}
	last := p.jobNews
	if s.workerAt.After(last) {
		last = s.workerAt
	}
	return p.jobsStarted > p.jobsCompleted && time.Since(last) < s.t.workerless
}

func (s *Supervisor) workerRuns() bool {
	for _, p := range descendants(processes(s.tree.proc), s.proc.pid) {
		if !p.zombie && isWorker(s.tree.proc, p.pid) {
			return true
		}
	}
	return false
}
