package supervisor

import (
	"context"
	"errors"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// GitHubStatus is what GitHub says about the registration of a listening slot.
type GitHubStatus struct {
	Answer  string `json:"answer"`  // a status below, or CausePATInvalid; empty: not asked
	Repeats int    `json:"repeats"` // how often in a row, 1 for the first time
}

const (
	statusOnline        = "online"
	statusOffline       = "offline"
	statusNotRegistered = "not registered"
	statusUnreachable   = "unreachable"
)

// pollStatus reads the registration of a listening slot from GitHub until ctx ends. The result is
// in the state file for the health check, which runs more often, in its own process, without a
// token.
func (s *Supervisor) pollStatus(ctx context.Context) {
	for sleep(ctx, s.t.statusCheck) {
		s.mu.Lock()
		asked := s.state
		s.mu.Unlock()
		if asked.Phase != Listening || time.Since(asked.Since) < s.t.statusCheck { // a new session takes GitHub seconds to see
			continue
		}
		answer := s.readStatus(ctx, asked.ID)
		if ctx.Err() != nil {
			return
		}
		s.update(func(now *State) {
			if now.Phase != Listening || now.ID != asked.ID {
				return
			}
			if now.GitHub.Answer != answer {
				now.GitHub = GitHubStatus{Answer: answer}
			}
			now.GitHub.Repeats++
		})
	}
}

func (s *Supervisor) readStatus(ctx context.Context, id int64) string {
	ctx, cancel := context.WithTimeout(ctx, s.t.callTimeout)
	defer cancel()
	r, err := s.cfg.Registrar.Runner(ctx, id)
	switch {
	case err == nil && !r.Offline():
		return statusOnline
	case err == nil:
		return statusOffline
	case errors.Is(err, runner.ErrNotFound):
		return statusNotRegistered
	case causeOf(err) == CausePATInvalid:
		return CausePATInvalid
	default:
		return statusUnreachable
	}
}
