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
	var before map[int64]bool
	for {
		before = s.deleteStaleOf(ctx, before)
		if !sleep(ctx, s.t.staleCheck) {
			return
		}
	}
}

// deleteStaleOf deletes what is stale now and was before, and returns what is stale now. If GitHub
// does not answer that is what it was before. A registration that is just being made can be among
// them; at the next search it is the one in use.
func (s *Supervisor) deleteStaleOf(ctx context.Context, before map[int64]bool) map[int64]bool {
	ctx, cancel := context.WithTimeout(ctx, s.t.callTimeout)
	defer cancel()
	all, err := s.cfg.Registrar.Runners(ctx)
	if err != nil {
		return before
	}
	s.mu.Lock()
	inUse := s.state.ID
	s.mu.Unlock()
	now := make(map[int64]bool)
	for _, r := range all {
		if !r.Offline() || r.Busy || !ownName(s.cfg.Slot, r.Name) || r.ID == inUse {
			continue
		}
		now[r.ID] = true
		if !before[r.ID] {
			continue
		}
		err := s.cfg.Registrar.DeleteRunner(ctx, r.ID)
		switch {
		case ctx.Err() != nil || errors.Is(err, runner.ErrNotFound):
		case err != nil:
			s.cfg.Logger.WarnContext(ctx, "Stale registration not deleted", "registration", r.Name, "err", err)
		default:
			s.cfg.Logger.InfoContext(ctx, "Deleted stale registration", "registration", r.Name)
		}
	}
	return now
}
