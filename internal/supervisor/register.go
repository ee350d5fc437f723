package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// A registration is named SLOT-SUFFIX. The suffix has a fixed length and alphabet, so that a name
// of the slot ci-1-2 is not taken for one of ci-1. GitHub allows 64 characters.
const (
	suffixChars = "abcdefghijkmnpqrstuvwxyz23456789" // without those that are easily confused
	suffixLen   = 10
	maxSlotLen  = 64 - 1 - suffixLen
)

const (
	maxPending    = 16               // registrations remembered for deletion
	maxRetryAfter = 15 * time.Minute // longest wait that GitHub can ask for
)

func newName(slot string) string {
	random := make([]byte, suffixLen)
	_, _ = rand.Read(random) // never fails since Go 1.24
	for i, b := range random {
		random[i] = suffixChars[int(b)%len(suffixChars)]
	}
	return slot + "-" + string(random)
}

func ownName(slot, name string) bool {
	suffix, ok := strings.CutPrefix(name, slot+"-")
	return ok && len(suffix) == suffixLen && strings.Trim(suffix, suffixChars) == ""
}

func (s *Supervisor) register(ctx context.Context) (Phase, string) {
	if err := s.cleanUp(); err != nil {
		s.fail(ctx, "cleaning: "+err.Error(), err)
		return Waiting, s.state.Cause
	}
	s.deletePending(ctx)
	jit, err := s.newRegistration(ctx)
	if err != nil {
		s.fail(ctx, causeOf(err), err)
		return Waiting, s.state.Cause
	}
	if ctx.Err() != nil {
		return Draining, "asked to stop"
	}
	if err := s.logIn(); err != nil { // jobs run without it
		s.cfg.Logger.WarnContext(ctx, "Jobs are not logged in at Docker Hub", "err", err)
	}
	proc, err := s.launch(jit)
	if err != nil {
		s.fail(ctx, "start the listener: "+err.Error(), err)
		s.deleteRegistration(ctx)
		return Cleaning, s.state.Cause
	}
	s.proc = proc
	return Connecting, "listener started"
}

// newRegistration registers a runner and returns its just-in-time configuration, a secret.
func (s *Supervisor) newRegistration(ctx context.Context) (string, error) {
	name := newName(s.cfg.Slot)
	ctx, cancel := s.callContext(ctx)
	defer cancel()
	jit, err := s.cfg.Registrar.JITConfig(ctx, name)
	if err == nil {
		s.reg = &registration{id: jit.ID, name: name}
		s.update(func(st *State) { st.Name, st.ID = name, jit.ID }) // for loadPrevious, after a kill
		return jit.Encoded, nil
	}
	if !asGitHub(err).Refused() && len(s.unconfirmed) < maxPending {
		s.unconfirmed = append(s.unconfirmed, name)
	}
	s.minWait = min(asGitHub(err).RetryAfter, maxRetryAfter)
	if causeOf(err) == CausePATInvalid { // GitHub locks out valid tokens too after several invalid ones
		s.minWait = max(s.minWait, s.t.longestDelay())
	}
	return "", err
}

// deleteRegistration deletes the registration in use at GitHub, now or later.
func (s *Supervisor) deleteRegistration(ctx context.Context) {
	if s.reg == nil {
		return
	}
	pending := append(slices.Clone(s.state.Pending), s.reg.id)
	s.setPending(pending[max(0, len(pending)-maxPending):]) // GitHub removes offline ephemeral runners after a day
	s.reg = nil
	s.deletePending(ctx)
}

// deletePending deletes unused registrations. It stops at the first error that is not about the
// registration itself. A busy one is dropped: it ends with its job, or deleteStale deletes it. The
// list is in the state file, for loadPrevious.
func (s *Supervisor) deletePending(ctx context.Context) {
	s.findUnconfirmed(ctx)
	for len(s.state.Pending) > 0 {
		id := s.state.Pending[0]
		err := s.deleteRunner(ctx, id)
		if err != nil && !errors.Is(err, runner.ErrNotFound) && !errors.Is(err, runner.ErrBusy) {
			s.cfg.Logger.WarnContext(ctx, "Unused registration not deleted, will try again", "id", id, "err", err)
			return
		}
		s.setPending(s.state.Pending[1:])
	}
}

// findUnconfirmed finds registrations that were made although the answer was lost, and adds them to
// the pending deletions. If it fails, the next deletePending repeats it.
func (s *Supervisor) findUnconfirmed(ctx context.Context) {
	if len(s.unconfirmed) == 0 {
		return
	}
	call, cancel := s.callContext(ctx)
	defer cancel()
	all, err := s.cfg.Registrar.Runners(call)
	if err != nil {
		return
	}
	pending := slices.Clone(s.state.Pending)
	for _, r := range all {
		if slices.Contains(s.unconfirmed, r.Name) && len(pending) < maxPending {
			pending = append(pending, r.ID)
		}
	}
	s.setPending(pending)
	s.unconfirmed = nil
}

func (s *Supervisor) setPending(ids []int64) { s.update(func(st *State) { st.Pending = ids }) }

// loadPrevious takes over the registrations of a previous process of this slot that was killed.
func (s *Supervisor) loadPrevious() {
	old, err := ReadState(s.cfg.StateFile)
	if err != nil || old.Slot != s.cfg.Slot {
		return
	}
	s.state.Pending = old.Pending[:min(len(old.Pending), maxPending-1)]
	if old.ID != 0 {
		s.state.Pending = append([]int64{old.ID}, s.state.Pending...)
	}
}
