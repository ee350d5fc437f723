package supervisor

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/blueguy23/ghostrunner/internal/listener"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// watch follows a listener through connecting, listening and job to its end.
func (s *Supervisor) watch(ctx context.Context) (Phase, string) {
	tick := time.NewTicker(s.t.beat)
	defer tick.Stop()
	var overdue <-chan time.Time // the job is done, the listener should have ended
	for {
		s.busyFor(3 * s.t.beat)
		p := s.proc.ledger.progress()
		if next, cause := s.ahead(p); next != "" {
			return next, cause
		}
		if why := s.stuck(p); why != "" && s.reg != nil {
			s.retire(ctx, why)
		}
		if p.jobsCompleted > 0 && overdue == nil {
			overdue = time.After(s.t.jobExit)
		}
		select {
		case <-s.proc.ledger.changed:
		case <-s.proc.done:
			if next, _ := s.ahead(s.proc.ledger.progress()); next != "" {
				continue // what came together with the end is told in its order
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

// usedUp tells whether GitHub has handed out the one job of this registration, and it came to nothing: the listener says so in its
// diagnostic lines alone, stays online and idle, and is never handed another (actions/runner#4617).
func (p progress) usedUp() bool { return p.jobSkipped && p.jobsStarted == 0 }

// stuck tells why nothing will come of a listener although it runs; "" = it may be well. Listeners have been seen to fall silent with a
// job's message in their hands, for hours, while GitHub called them online (actions/runner#4668, #4703, #3501).
func (s *Supervisor) stuck(p progress) string {
	switch {
	case p.jobsCompleted > 0:
		return ""
	case p.usedUp():
		return "nobody could acquire its job"
	case p.jobsStarted > 0 && !s.working(p):
		return "it announced a job, and no worker has run since"
	case p.jobsStarted == 0 && p.jobOffered && time.Since(p.jobNews) >= s.t.deaf:
		return "it was handed a job, and nothing has come of it"
	}
	return ""
}

// retire stops a listener that is stuck, if GitHub agrees by deleting the registration that it has no job; else it is asked again.
func (s *Supervisor) retire(ctx context.Context, why string) {
	if time.Since(s.asked) < s.t.retire {
		return
	}
	s.asked = time.Now()
	err := s.call(ctx, func(ctx context.Context) error { return s.cfg.Registrar.DeleteRunner(ctx, s.reg.id) })
	if err != nil && !errors.Is(err, runner.ErrNotFound) || s.hasJob() {
		return
	}
	s.cfg.Logger.WarnContext(ctx, "Stopping a listener that is stuck", "why", why, "registration", s.reg.name)
	s.stopListener()
	s.forget()
}

// ahead returns the next phase if the lines are further than the state machine, else "".
func (s *Supervisor) ahead(p progress) (next Phase, cause string) {
	switch {
	case p.listening && s.state.Phase == Connecting:
		return Listening, "session created"
	case p.jobsStarted > 0 && s.state.Phase != Job:
		return Job, "job started"
	}
	return "", ""
}

// verdict is what the end of a listener means.
type verdict struct {
	cause    string
	job      bool          // it did its job: GitHub removes the registration, and the row of failures is over
	doubtful bool          // unless it may see that otherwise
	relaunch bool          // the registration was not used: start the listener with it again
	wait     time.Duration // at least, before the next registration
}

// judge weighs lines first and the exit code second (actions/runner Constants.cs:150-163, Program.cs:100-170): 0 also means
// "stopped while idle" and "the registration is gone", and a job whose lock was lost ends with 2.
func judge(e exit, p progress, conflictWait, slow time.Duration) verdict {
	switch {
	case p.jobsCompleted > 0:
		return verdict{job: true, cause: "job completed: " + string(p.result), doubtful: p.result == listener.Abandoned || e != exit{}}
	case e.code == 7 || p.failure == listener.VersionDeprecated:
		return verdict{cause: CauseVersionDeprecated, wait: slow}
	case e.code == 5 || p.conflict && !p.listening: // before 2.316 with another code (actions/runner#3215)
		return verdict{cause: CauseSessionConflict, wait: conflictWait}
	case p.usedUp():
		return verdict{cause: "used up by a job that nobody could acquire"}
	case p.jobsStarted > 0:
		return verdict{cause: "job without a result: " + e.String()}
	case p.jobOffered: // and the registration is used up by it
		return verdict{cause: "handed a job that it did not begin: " + e.String()}
	case e.code == 2 || e.code == 3 || e.code == 4: // retryable, and two that only an update can cause
		return verdict{cause: "retryable: " + e.String(), relaunch: true}
	case p.failure != "" && p.failure != listener.Other:
		return verdict{cause: string(p.failure)}
	case p.failure == listener.Other:
		return verdict{cause: p.text}
	case e.code == 0 && e.signal == 0:
		return verdict{cause: "ended without a job"}
	default:
		return verdict{cause: e.String()}
	}
}

// ended draws the consequences of the end of the listener.
func (s *Supervisor) ended(ctx context.Context) (Phase, string) {
	v := judge(s.proc.exit, s.proc.ledger.progress(), s.cfg.SessionConflictWait, s.t.ladder[len(s.t.ladder)-1])
	wasListening := s.state.Phase == Listening || s.state.Phase == Job
	s.proc = nil
	s.wait = v.wait
	switch {
	case v.job:
		if v.doubtful {
			s.disown(ctx)
		}
		s.forget()
		s.update(func(st *State) { st.Failures, st.Failure = 0, ""; st.Jobs++ })
		return Cleaning, v.cause
	case wasListening && time.Since(s.listening) >= s.t.stable:
		s.update(func(st *State) { st.Failures, st.Failure = 0, "" })
	}
	if v.cause == string(listener.RegistrationDeleted) {
		if _, off := s.clockOff(ctx); off {
			v.cause = CauseClockSkew // GitHub answers a skewed login with "invalid client" (actions/runner#4648)
		}
	}
	s.fail(ctx, v.cause, nil)
	if v.relaunch && s.relaunches < s.t.maxRelaunches {
		if wasListening {
			s.relaunches = 0
		}
		s.relaunches++
		return Cleaning, v.cause
	}
	s.disown(ctx)
	return Cleaning, v.cause
}

// forget drops the present registration because GitHub removes it itself after its one job. Where it does not, removeStale does.
func (s *Supervisor) forget() { s.reg = nil }

// stopListener interrupts the listener and kills what remains of its group when its time is up. It returns when all is gone.
func (s *Supervisor) stopListener() {
	if s.proc == nil {
		return
	}
	s.busyFor(s.t.interrupt + 3*s.t.kill + 3*s.t.beat)
	s.family.interrupt()
	timer := time.NewTimer(s.t.interrupt)
	defer timer.Stop()
	select {
	case <-s.proc.done:
		return
	case <-timer.C:
	}
	_ = syscall.Kill(-s.proc.pid, syscall.SIGKILL)
	<-s.proc.done
}
