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

// Names of registrations are the slot's, a dash, and suffixLen characters of suffixChars; so whether a name belongs to this
// slot is decidable also where one slot's name begins with another's. GitHub allows 64 characters.
const (
	suffixChars = "abcdefghijkmnpqrstuvwxyz23456789" // 32, without those that are easily confused
	suffixLen   = 10
	maxSlotLen  = 64 - 1 - suffixLen
)

// Bounds.
const (
	maxNames      = 3                // names tried in a row if GitHub says that one is taken
	maxOwed       = 16               // registrations remembered for deletion
	maxRetryAfter = 15 * time.Minute // longest wait that GitHub can ask for
)

// newName makes a registration name that was never used before.
func newName(slot string) string {
	random := make([]byte, suffixLen)
	_, _ = rand.Read(random) // never fails since Go 1.24
	for i, b := range random {
		random[i] = suffixChars[int(b)%len(suffixChars)]
	}
	return slot + "-" + string(random)
}

// ownName tells whether a registration was made by this slot.
func ownName(slot, name string) bool {
	suffix, ok := strings.CutPrefix(name, slot+"-")
	return ok && len(suffix) == suffixLen && strings.Trim(suffix, suffixChars) == ""
}

// register gets a registration, unless there is one that was not used, and starts the listener with it.
func (s *Supervisor) register(ctx context.Context) (Phase, string) {
	if s.dirty {
		if err := s.scrub(); err != nil {
			s.fail(ctx, "cleaning: "+err.Error(), err)
			return Waiting, s.state.Cause
		}
	}
	s.payOwed(ctx)
	if s.reg == nil {
		if cause, err := s.newRegistration(ctx); cause != "" {
			s.fail(ctx, cause, err)
			return Waiting, cause
		}
	}
	if ctx.Err() != nil {
		return Draining, "asked to stop"
	}
	if err := s.logIn(); err != nil { // jobs can do without
		s.cfg.Logger.WarnContext(ctx, "Jobs are not logged in at Docker Hub", "err", err)
	}
	proc, err := s.launch(s.reg.jit)
	if err != nil {
		s.fail(ctx, "start the listener: "+err.Error(), err)
		s.disown(ctx)
		return Cleaning, s.state.Cause
	}
	s.proc = proc
	return Connecting, "listener started"
}

// newRegistration sets s.reg or returns why there is none.
func (s *Supervisor) newRegistration(ctx context.Context) (cause string, err error) {
	for range maxNames {
		name := newName(s.cfg.Slot)
		var jit runner.JIT
		err = s.call(ctx, func(ctx context.Context) (err error) {
			jit, err = s.cfg.Registrar.JITConfig(ctx, name)
			return err
		})
		if err == nil {
			s.reg, s.relaunches = &registration{id: jit.ID, name: name, jit: jit.Encoded}, 0
			s.update(func(st *State) { st.Name, st.ID = name, jit.ID }) // so that the next life knows of it, whatever comes now
			return "", nil
		}
		if errors.Is(err, runner.ErrNameTaken) {
			continue
		}
		if !refused(err) && len(s.unsure) < maxOwed {
			s.unsure = append(s.unsure, name)
		}
		break
	}
	if cause = causeOf(err); cause == "" {
		cause = "registration failed"
	}
	s.wait = min(retryAfter(err), maxRetryAfter)
	if cause == CausePATInvalid { // several wrong logins make GitHub refuse right ones too, so do not begin with a quick retry
		s.wait = max(s.wait, s.t.ladder[len(s.t.ladder)-1])
	}
	return cause, err
}

// disown deletes the present registration at GitHub, now or later.
func (s *Supervisor) disown(ctx context.Context) {
	if s.reg == nil {
		return
	}
	if len(s.owed) == maxOwed { // GitHub removes offline ephemeral runners after a day
		s.owed = s.owed[1:]
	}
	s.owed = append(s.owed, s.reg.id)
	s.reg = nil
	s.payOwed(ctx)
}

// payOwed deletes registrations that nobody will use. It stops at the first error that is about GitHub and not about the
// registration. One that is busy belongs to a job that GitHub still believes in; it goes with it, or by removeStale. What is owed
// stands in the state file, so that it is paid by the next life of this slot if this one ends before.
func (s *Supervisor) payOwed(ctx context.Context) {
	defer func() {
		if !slices.Equal(s.state.Owed, s.owed) {
			s.update(func(st *State) { st.Owed = slices.Clone(s.owed) })
		}
	}()
	if len(s.unsure) > 0 {
		s.settle(ctx)
	}
	for len(s.owed) > 0 {
		id := s.owed[0]
		err := s.call(ctx, func(ctx context.Context) error { return s.cfg.Registrar.DeleteRunner(ctx, id) })
		if err != nil && !errors.Is(err, runner.ErrNotFound) && !errors.Is(err, runner.ErrBusy) {
			s.cfg.Logger.WarnContext(ctx, "Unused registration not deleted, will try again", "id", id, "err", err)
			return
		}
		s.owed = s.owed[1:]
	}
}

// settle finds out which registrations were made although the answer was lost, and makes them owed.
func (s *Supervisor) settle(ctx context.Context) {
	var all []runner.Registration
	err := s.call(ctx, func(ctx context.Context) (err error) { all, err = s.cfg.Registrar.Runners(ctx); return err })
	if err != nil {
		return // asked again before the next registration, and at the end
	}
	for _, r := range all {
		if slices.Contains(s.unsure, r.Name) && len(s.owed) < maxOwed {
			s.owed = append(s.owed, r.ID)
		}
	}
	s.unsure = nil
}

// inherit takes over what an earlier life of this slot, which was killed, had at GitHub and still owed to it.
func (s *Supervisor) inherit() {
	old, err := ReadState(s.cfg.StateFile)
	if err != nil || old.Slot != s.cfg.Slot {
		return
	}
	if old.ID != 0 {
		s.owed = append(s.owed, old.ID)
	}
	s.owed = append(s.owed, old.Owed...)
	s.owed = s.owed[:min(len(s.owed), maxOwed)]
	s.state.Owed = slices.Clone(s.owed)
}
