package supervisor

import (
	"context"
	"errors"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// removeStale deletes what earlier lives of this slot left at GitHub: registrations with a name of this slot that are offline,
// not busy, and not the present one. A registration is offline from its making until its listener connects, so one look proves
// nothing: it must look left over in two looks that are staleGap apart, and so is older than that. And GitHub calls a runner online
// for a while after its listener was killed, and busy until the lock on its job ends, so the looks go on until ctx ends.
func (s *Supervisor) removeStale(ctx context.Context) {
	var before map[int64]string
	for {
		now, err := s.staleNow(ctx)
		if err == nil { // else what looked left over before still does
			for id, name := range now {
				if _, twice := before[id]; twice {
					s.deleteStale(ctx, id, name)
				}
			}
			before = now
		}
		if !sleep(ctx, s.t.staleGap) {
			return
		}
	}
}

func (s *Supervisor) deleteStale(ctx context.Context, id int64, name string) {
	ctx, cancel := context.WithTimeout(ctx, s.t.call)
	defer cancel()
	err := s.cfg.Registrar.DeleteRunner(ctx, id)
	switch {
	case ctx.Err() != nil || err != nil && errors.Is(err, runner.ErrNotFound):
	case err != nil:
		s.cfg.Logger.WarnContext(ctx, "Left-over registration not deleted", "registration", name, "err", err)
	default:
		s.cfg.Logger.InfoContext(ctx, "Deleted left-over registration", "registration", name)
	}
}

// staleNow returns what looks left over, by id. A registration that is being made right now can be among it; by the next look
// it is the present one.
func (s *Supervisor) staleNow(ctx context.Context) (map[int64]string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.t.call)
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

// sleep waits and reports false if ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
