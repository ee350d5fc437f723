package supervisor

import (
	"context"
	"errors"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// deleteStale deletes registrations that earlier containers of this slot left at GitHub: named like
// this slot's, offline, not busy, and not the one in use. A new registration is offline until its
// listener connects, so it must be stale in two searches, staleCheck apart. GitHub shows a killed
// runner as online or busy for some time, so the search is repeated until ctx ends.
func (s *Supervisor) deleteStale(ctx context.Context) {
	var before map[int64]string
	for {
		if now, err := s.findStale(ctx); err == nil {
			for id, name := range now {
				if _, twice := before[id]; twice {
					s.deleteStaleRunner(ctx, id, name)
				}
			}
			before = now
		}
		if !sleep(ctx, s.t.staleCheck) {
			return
		}
	}
}

func (s *Supervisor) deleteStaleRunner(ctx context.Context, id int64, name string) {
	ctx, cancel := context.WithTimeout(ctx, s.t.callTimeout)
	defer cancel()
	err := s.cfg.Registrar.DeleteRunner(ctx, id)
	switch {
	case ctx.Err() != nil || errors.Is(err, runner.ErrNotFound):
	case err != nil:
		s.cfg.Logger.WarnContext(ctx, "Stale registration not deleted", "registration", name, "err", err)
	default:
		s.cfg.Logger.InfoContext(ctx, "Deleted stale registration", "registration", name)
	}
}

// findStale returns the names of stale registrations by id. A registration that is just being made
// can be among them; at the next search it is the one in use.
func (s *Supervisor) findStale(ctx context.Context) (map[int64]string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.t.callTimeout)
	defer cancel()
	all, err := s.cfg.Registrar.Runners(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stale := make(map[int64]string)
	for _, r := range all {
		if r.Offline() && !r.Busy && ownName(s.cfg.Slot, r.Name) && r.ID != s.state.ID {
			stale[r.ID] = r.Name
		}
	}
	return stale, nil
}
