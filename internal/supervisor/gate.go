package supervisor

import (
	"context"
	"fmt"
	"time"
)

// maxOffset is how far the clock may be off when a registration is made. GitHub takes the listener's signature, which is made with
// the local time, for that of a deleted registration if it is minutes off (actions/runner#4648); long before that, jobs and caches
// go wrong, and a clock that is seconds off is one that nobody keeps.
const maxOffset = 2 * time.Second

// gateBound is how long asking all clocks and name servers may take.
const gateBound = 30 * time.Second

// Offset is how far the local clock is ahead by somebody's word.
type Offset struct {
	Ahead time.Duration
	By    string // chronyd, ntp, github
}

// obstacle is why no registration is made now. The zero obstacle is none.
type obstacle struct {
	cause  string
	detail string
}

// gate is the phase before each attempt: it lets the time since the last one pass, and then waits for what a registration needs and
// this container cannot give itself. What it waits for is no failure, costs no call that changes anything, and ends by itself.
func (s *Supervisor) gate(ctx context.Context) (Phase, string) {
	delay := max(s.t.delay(s.state.Failures), s.wait)
	if s.reg != nil {
		delay = max(delay, s.t.relaunch)
	}
	s.wait = 0
	if !s.pause(ctx, delay) {
		return Draining, "asked to stop"
	}
	var told time.Time
	for {
		s.busyFor(gateBound + 3*s.t.beat)
		o := s.obstacle(ctx)
		s.block(o)
		if o == (obstacle{}) {
			return Registering, "clock and names ready"
		}
		if told.IsZero() || time.Since(told) >= s.t.tell {
			told = time.Now()
			s.cfg.Logger.WarnContext(ctx, "Waiting", "cause", o.cause, "detail", o.detail, "remedy", remedies[o.cause])
		}
		if !s.pause(ctx, s.t.gate) {
			return Draining, "asked to stop"
		}
	}
}

// block notes what stands in the way, and since when.
func (s *Supervisor) block(o obstacle) {
	if o.cause == s.state.Blocked {
		return
	}
	s.update(func(st *State) {
		st.Blocked, st.BlockedSince = o.cause, time.Now()
		if o.cause == "" {
			st.BlockedSince = time.Time{}
		}
	})
}

// obstacle asks for what stands in the way; the clock first, because a clock that is off makes the rest look broken.
func (s *Supervisor) obstacle(ctx context.Context) obstacle {
	ctx, cancel := context.WithTimeout(ctx, gateBound)
	defer cancel()
	if offset, off := s.clockOff(ctx); off {
		return obstacle{CauseClockSkew, fmt.Sprintf("the local clock is %s by %s", offset, offset.By)}
	}
	if why := s.names.ready(ctx); why != "" {
		return obstacle{CauseNames, why}
	}
	return obstacle{}
}

// clockOff tells whether the clock is known to be off. Where nobody knows the time, nothing is known.
func (s *Supervisor) clockOff(ctx context.Context) (Offset, bool) {
	if s.cfg.Clock == nil {
		return Offset{}, false
	}
	offset, known := s.cfg.Clock(ctx)
	return offset, known && offset.Ahead.Abs() > maxOffset
}

func (o Offset) String() string {
	if o.Ahead < 0 {
		return (-o.Ahead).Round(100*time.Millisecond).String() + " behind"
	}
	return o.Ahead.Round(100*time.Millisecond).String() + " ahead"
}

// remedies say what a person can do about a cause.
var remedies = map[string]string{
	CausePATInvalid:        "put a valid token into the token file; it is picked up by itself",
	CausePATPermission:     "give the token the right to administrate runners",
	CauseVersionDeprecated: "GitHub no longer serves this version of the Actions runner: build the image with a newer RUNNER_VERSION",
	CauseSessionConflict:   "none, if it ends by itself; else look for a second runner with this registration",
	CauseClockSkew:         "set the clock of the machine, or let chronyd do it (CLOCK_MODE=step); it goes on by itself",
	CauseNames:             "check DNS and VPN of the host, or name a server in DNS_FALLBACK; it goes on by itself",
}
