package supervisor

import (
	"context"
	"errors"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Sight is what GitHub says of the registration of a slot that listens.
type Sight struct {
	Says string    `json:"says"` // one of the words below
	At   time.Time `json:"at"`
	Row  int       `json:"row"` // how often in a row
}

// What GitHub can say.
const (
	sightOnline      = "online"
	sightOffline     = "offline"
	sightGone        = "not registered"
	sightUnreachable = "unreachable"
)

// look asks GitHub about the present registration, with one conditional request a minute and none while there is nothing to ask
// about, until ctx ends. The health check is the reader: it runs more often, in a process of its own, and has no token.
func (s *Supervisor) look(ctx context.Context) {
	for sleep(ctx, s.t.look) {
		s.mu.Lock()
		then := s.state
		s.mu.Unlock()
		if then.Phase != Listening || time.Since(then.Since) < s.t.look { // GitHub notices a new session within seconds
			continue
		}
		says := s.ask(ctx, then.ID)
		if ctx.Err() != nil {
			return
		}
		s.update(func(now *State) {
			if now.Phase != Listening || now.ID != then.ID {
				return
			}
			row := 1
			if now.GitHub.Says == says {
				row = now.GitHub.Row + 1
			}
			now.GitHub = Sight{Says: says, At: time.Now(), Row: row}
		})
	}
}

func (s *Supervisor) ask(ctx context.Context, id int64) string {
	ctx, cancel := context.WithTimeout(ctx, s.t.call)
	defer cancel()
	r, err := s.cfg.Registrar.Runner(ctx, id)
	switch {
	case err == nil && !r.Offline():
		return sightOnline
	case err == nil:
		return sightOffline
	case errors.Is(err, runner.ErrNotFound):
		return sightGone
	case causeOf(err) == CausePATInvalid:
		return CausePATInvalid
	default:
		return sightUnreachable
	}
}
