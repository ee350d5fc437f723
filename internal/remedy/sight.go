package remedy

import (
	"context"
	"time"
)

// sightInterval is the time between two questions to GitHub while a restart is verified. An answer that has not changed
// costs no quota.
const sightInterval = 2 * time.Second

// sight is what GitHub says of a runner that is being restarted. It is asked anew: what was last heard may be older than that.
type sight struct {
	r *Remediator
	a *Attempt
	// before are the registrations that were online before, and have not been seen to end: a runner that was killed is
	// called online for a while.
	before map[int64]bool
	last   time.Time
	asked  bool
	err    error  // of the last question
	said   string // for the note
}

// sightBefore begins before the restart.
func (r *Remediator) sightBefore(a *Attempt) *sight {
	s := &sight{r: r, a: a, before: map[int64]bool{}}
	if list, ok := r.registrations(a.Plan.Container, a.Plan.Containers); ok {
		for _, reg := range list {
			if reg.Online() {
				s.before[reg.ID] = true
			}
		}
	}
	return s
}

// sightAfter begins when the restart is over, and what was online before is not known.
func (r *Remediator) sightAfter(a *Attempt) *sight { return &sight{r: r, a: a} }

// online reports whether GitHub sees the runner online; yes for what is no runner and where there is no GitHub to ask.
func (s *sight) online(ctx context.Context) bool {
	c := s.a.Plan.Container
	if s.r.opts.GitHub == nil || c.Role != RoleRunner {
		return true
	}
	if s.asked && time.Since(s.last) < sightInterval {
		return false
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := s.r.opts.GitHub.Ask(call, c.Scope)
	if err != nil && ctx.Err() != nil && s.asked {
		return false // cut short by the end of the wait: what was heard before counts
	}
	s.last, s.asked, s.err = time.Now(), true, err
	if err != nil {
		return false
	}
	still := map[int64]bool{}
	found := false
	for _, reg := range ofSlot(list, c, s.a.Plan.Containers) {
		switch {
		case reg.Online() && s.before[reg.ID]:
			still[reg.ID] = true
		case reg.Online():
			found = true
			s.said = ", " + reg.Name + " is online at GitHub"
		}
	}
	s.before = still
	return found
}
