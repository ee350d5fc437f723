package supervisor

import (
	"context"
	"fmt"
	"time"
)

// maxOffset is the largest clock offset at which a registration is made. From some minutes on
// GitHub takes the listener's signature, made with local time, for that of a deleted registration
// (actions/runner#4648). An offset of seconds already shows that nothing corrects the clock.
const maxOffset = 2 * time.Second

// readyTimeout bounds asking all clocks and name servers.
const readyTimeout = 30 * time.Second

// Offset is the offset of the local clock.
type Offset struct {
	Ahead  time.Duration // negative: the local clock is behind
	Source string        // for people: chronyd, SNTP or GitHub
}

func (o Offset) String() string {
	if o.Ahead < 0 {
		return (-o.Ahead).Round(100*time.Millisecond).String() + " behind"
	}
	return o.Ahead.Round(100*time.Millisecond).String() + " ahead"
}

// waitUntilReady backs off, then waits until a registration can succeed. Waiting for the clock or
// for DNS is not a failure: a restart of the container would not help.
func (s *Supervisor) waitUntilReady(ctx context.Context) (Phase, string) {
	delay := max(s.t.delay(s.state.Failures), s.minWait)
	s.minWait = 0
	if !s.pause(ctx, delay) {
		return Draining, "asked to stop"
	}
	var logged time.Time
	for {
		s.setDeadline(readyTimeout)
		cause, detail := s.notReady(ctx)
		s.setBlocked(cause)
		if cause == "" {
			return Registering, "clock and names ready"
		}
		if logged.IsZero() || time.Since(logged) >= s.t.waitLog {
			logged = time.Now()
			s.cfg.Logger.WarnContext(ctx, "Waiting", "cause", cause, "detail", detail, "remedy", remedies[cause])
		}
		if !s.pause(ctx, s.t.readyCheck) {
			return Draining, "asked to stop"
		}
	}
}

func (s *Supervisor) setBlocked(cause string) {
	if cause == s.state.Blocked {
		return
	}
	s.update(func(st *State) {
		st.Blocked, st.BlockedSince = cause, time.Now()
		if cause == "" {
			st.BlockedSince = time.Time{}
		}
	})
}

// notReady returns why no registration can be made now; cause is empty if one can. The clock is
// first, because a wrong clock also breaks the rest.
func (s *Supervisor) notReady(ctx context.Context) (cause, detail string) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if offset, wrong := s.clockWrong(ctx); wrong {
		return CauseClockSkew, fmt.Sprintf("the local clock is %s by %s", offset, offset.Source)
	}
	if err := s.dns.check(ctx); err != nil {
		return CauseNames, err.Error()
	}
	return "", ""
}

func (s *Supervisor) clockWrong(ctx context.Context) (Offset, bool) {
	if s.cfg.Clock == nil {
		return Offset{}, false
	}
	offset, known := s.cfg.Clock(ctx)
	return offset, known && offset.Ahead.Abs() > maxOffset
}
