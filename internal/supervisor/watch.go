package supervisor

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/blueguy23/ghostrunner/internal/listener"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

func (s *Supervisor) watch(ctx context.Context) (Phase, string) {
	tick := time.NewTicker(s.t.heartbeat)
	defer tick.Stop()
	var overdue <-chan time.Time // the job is done, so the listener should have ended
	for {
		s.setDeadline(0)
		p := s.proc.job.snapshot()
		if next, cause := s.nextPhase(p); next != "" {
			return next, cause
		}
		if why := s.stuck(p); why != "" && s.reg != nil {
			s.stopStuck(ctx, why)
		}
		if p.jobsCompleted > 0 && overdue == nil {
			overdue = time.After(s.t.jobExit)
		}
		select {
		case <-s.proc.job.changed:
		case <-s.proc.done:
			if next, _ := s.nextPhase(s.proc.job.snapshot()); next != "" {
				continue // enter the phases of the last lines first
			}
			return s.ended(ctx)
		case <-ctx.Done():
			return Draining, "asked to stop"
		case <-overdue:
			s.cfg.Logger.WarnContext(ctx, "Listener did not end after its job, stopping it", "after", s.t.jobExit)
			s.stopListener()
		case <-tick.C:
		}
	}
}

func (s *Supervisor) nextPhase(p progress) (next Phase, cause string) {
	switch {
	case p.listening && s.state.Phase == Connecting:
		return Listening, "session created"
	case p.jobsStarted > 0 && s.state.Phase != Job:
		return Job, "job started"
	}
	return "", ""
}

// stuck returns why a running listener will not do a job, empty if it may. Listeners have become
// silent for hours after they got a job's message, while GitHub showed them online
// (actions/runner#4668, #4703, #3501).
func (s *Supervisor) stuck(p progress) string {
	switch {
	case p.jobsCompleted > 0:
		return ""
	case p.notAcquired():
		return "its job could not be acquired"
	case p.jobsStarted > 0 && !s.working(p):
		return "it announced a job, and no worker has run since"
	case p.jobsStarted == 0 && p.jobOffered && time.Since(p.jobNews) >= s.t.jobStart:
		return "it was handed a job and did not start it"
	}
	return ""
}

// stopStuck stops a stuck listener if GitHub confirms, by deleting the registration, that it has no
// job. Otherwise watch calls it again.
func (s *Supervisor) stopStuck(ctx context.Context, why string) {
	if time.Since(s.deleteAt) < s.t.deleteRetry {
		return
	}
	s.deleteAt = time.Now()
	err := s.deleteRunner(ctx, s.reg.id)
	if err != nil && !errors.Is(err, runner.ErrNotFound) || s.hasJob() {
		return
	}
	s.cfg.Logger.WarnContext(ctx, "Stopping a listener that is stuck", "why", why, "registration", s.reg.name)
	s.stopListener()
	s.reg = nil
}

type outcome struct {
	cause     string
	done      bool          // it did its job, after which GitHub removes the registration
	mayRemain bool          // with done: GitHub may have kept the registration
	wait      time.Duration // at least, before the next registration
}

// outcomeOf reads the lines first and the exit code second (actions/runner Constants.cs:150-163,
// Program.cs:100-170): 0 also means "stopped while idle" and "the registration is gone", and a job
// whose lock was lost ends with 2.
func outcomeOf(e exit, p progress, conflictWait, slow time.Duration) outcome {
	switch {
	case p.jobsCompleted > 0:
		return outcome{done: true, cause: "job completed: " + string(p.result), mayRemain: p.result == listener.Abandoned || e != exit{}}
	case e.code == 7 || p.failure == listener.VersionDeprecated:
		return outcome{cause: CauseVersionDeprecated, wait: slow}
	case e.code == 5 || p.conflict && !p.listening: // before 2.316 with another code (actions/runner#3215)
		return outcome{cause: CauseSessionConflict, wait: conflictWait}
	case p.notAcquired():
		return outcome{cause: "its job could not be acquired"}
	case p.jobsStarted > 0:
		return outcome{cause: "job without a result: " + e.String()}
	case p.jobOffered:
		return outcome{cause: "handed a job that it did not start: " + e.String()}
	case p.failure != "" && p.failure != listener.Other:
		return outcome{cause: string(p.failure)}
	case p.failure == listener.Other:
		return outcome{cause: p.text}
	case e == exit{}:
		return outcome{cause: "ended without a job"}
	default:
		return outcome{cause: e.String()}
	}
}

// ended handles the end of a listener. Its registration is never used again: a second session with
// it can meet the first one, or "registration deleted".
func (s *Supervisor) ended(ctx context.Context) (Phase, string) {
	o := outcomeOf(s.proc.exit, s.proc.job.snapshot(), s.cfg.SessionConflictWait, s.t.longestDelay())
	wasListening := s.state.Phase == Listening || s.state.Phase == Job
	s.proc = nil
	s.minWait = o.wait
	if o.done {
		if o.mayRemain {
			s.deleteRegistration(ctx)
		}
		s.reg = nil
		s.update(func(st *State) { st.Failures, st.Failure = 0, ""; st.Jobs++ })
		return Cleaning, o.cause
	}
	if wasListening && time.Since(s.listeningAt) >= s.t.stableSession {
		s.update(func(st *State) { st.Failures, st.Failure = 0, "" })
	}
	if o.cause == string(listener.RegistrationDeleted) {
		if _, wrong := s.clockWrong(ctx); wrong {
			o.cause = CauseClockSkew // GitHub answers a skewed login with "invalid client" (actions/runner#4648)
		}
	}
	s.fail(ctx, o.cause, nil)
	s.deleteRegistration(ctx)
	return Cleaning, o.cause
}

// stopListener interrupts the listener, kills it if it does not end in time, and returns when all
// its processes are gone.
func (s *Supervisor) stopListener() {
	s.setDeadline(s.t.interruptGrace + 3*s.t.killTimeout)
	s.tree.interrupt()
	timer := time.NewTimer(s.t.interruptGrace)
	defer timer.Stop()
	select {
	case <-s.proc.done:
		return
	case <-timer.C:
	}
	_ = syscall.Kill(-s.proc.pid, syscall.SIGKILL)
	<-s.proc.done
}
