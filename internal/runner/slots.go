package runner

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// Slots finds the slot that a registration at GitHub belongs to. It is immutable.
type Slots struct {
	names  []string // in the order of the containers
	scopes map[string]slotScope
}

// slotScope is where a slot registers.
type slotScope struct {
	scope   string
	running bool // a container of this scope runs
	// conflict is the scope of another container of the same slot that also runs.
	conflict string
}

// NewSlots takes the slots from the containers; a container without a scope has the default one.
// Two containers of one slot, such as an old one that is being replaced, are one slot. If they name
// different scopes, the scope of the running one counts, else that of the first.
func NewSlots(containers []Container, defaultScope string) Slots {
	s := Slots{scopes: make(map[string]slotScope, len(containers))}
	for i := range containers {
		c := &containers[i]
		if c.Role != RoleRunner || c.Runner == "" {
			continue
		}
		scope, running := cmp.Or(c.Scope, defaultScope), c.State == StateRunning
		old, seen := s.scopes[c.Runner]
		switch {
		case !seen:
			s.names = append(s.names, c.Runner)
			old = slotScope{scope: scope, running: running}
		case strings.EqualFold(old.scope, scope):
			old.running = old.running || running
		case running && old.running:
			old.conflict = scope
		case running:
			old = slotScope{scope: scope, running: true}
		}
		s.scopes[c.Runner] = old
	}
	return s
}

// Names returns the slots that register at the scope, in the order of the containers, without those
// that Conflicts reports.
func (s Slots) Names(scope string) []string {
	var names []string
	for _, name := range s.names {
		if slot := s.scopes[name]; slot.conflict == "" && strings.EqualFold(slot.scope, scope) {
			names = append(names, name)
		}
	}
	return names
}

// Conflicts reports the slots that running containers of two scopes claim, each with its remedy.
func (s Slots) Conflicts() error {
	var errs []error
	for _, name := range s.names {
		if slot := s.scopes[name]; slot.conflict != "" {
			errs = append(errs, fmt.Errorf("runner %s: containers of %s and of %s have this slot name: give them different labels %s",
				name, slot.scope, slot.conflict, LabelRunner))
		}
	}
	return errors.Join(errs...)
}

// Match returns the slot that a registration of the scope belongs to: its name is the slot's, or
// begins with the slot's and "-". The longest such slot wins, so ci-1-gpu-x belongs to ci-1-gpu and
// not to ci-1. Scopes do not distinguish case, as GitHub's names do not.
func (s Slots) Match(registration, scope string) (slot string, ok bool) {
	for end := len(registration); end > 0; end = strings.LastIndexByte(registration[:end], '-') {
		if name := registration[:end]; s.registersAt(name, scope) {
			return name, true
		}
	}
	return "", false
}

// Registrations returns those of the list that belong to the slot.
func (s Slots) Registrations(list []Registration, slot, scope string) []Registration {
	var out []Registration
	for i := range list {
		if name, ok := s.Match(list[i].Name, scope); ok && name == slot {
			out = append(out, list[i])
		}
	}
	return out
}

func (s Slots) registersAt(name, scope string) bool {
	slot, ok := s.scopes[name]
	return ok && (strings.EqualFold(slot.scope, scope) || slot.conflict != "" && strings.EqualFold(slot.conflict, scope))
}
