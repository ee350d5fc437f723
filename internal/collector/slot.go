package collector

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// slots finds the runner slot that a registration at GitHub belongs to.
type slots struct {
	order []string        // names, as the containers come
	at    map[string]home // by name
}

// home is where a slot registers.
type home struct {
	scope   string
	running bool   // one of its containers of that scope runs
	other   string // scope of another container that runs too, so that the slot is none of both; usually empty
}

// slotsOf takes the slots from the containers. Two containers of one slot (an old one that is just being replaced) are
// one slot. If they name different scopes the one that runs counts, else the first; if both run, nobody can tell whose
// log and whose registration is meant, see contested.
func slotsOf(containers []Container, defaultScope string) slots {
	s := slots{at: make(map[string]home, len(containers))}
	for _, c := range containers {
		if c.Runner == "" {
			continue
		}
		scope, running := cmp.Or(c.Scope, defaultScope), c.State == "running"
		h, seen := s.at[c.Runner]
		switch {
		case !seen:
			s.order = append(s.order, c.Runner)
			h = home{scope: scope, running: running}
		case strings.EqualFold(h.scope, scope):
			h.running = h.running || running
		case running && h.running:
			h.other = scope
		case running:
			h = home{scope: scope, running: true}
		}
		s.at[c.Runner] = h
	}
	return s
}

// in tells whether the slot registers at the scope. GitHub's names do not distinguish case.
func (s slots) in(slot, scope string) bool {
	h := s.at[slot]
	return strings.EqualFold(h.scope, scope) || h.other != "" && strings.EqualFold(h.other, scope)
}

// contested names the slots that containers of two scopes claim, each with what to do.
func (s slots) contested() error {
	var errs []error
	for _, slot := range s.order {
		if h := s.at[slot]; h.other != "" {
			errs = append(errs, fmt.Errorf("runner %s is the name of a container of %s and of one of %s: give them different labels ghostrunner.runner",
				slot, h.scope, h.other))
		}
	}
	return errors.Join(errs...)
}

// match returns the slot of a registration: its name is the slot's, or begins with the slot's and "-". The longest such
// slot of the same scope wins, so ci-runner-1-x belongs to ci-runner-1 and not to ci-runner.
func (s slots) match(registration, scope string) (string, bool) {
	for end := len(registration); end > 0; end = strings.LastIndexByte(registration[:end], '-') {
		if slot := registration[:end]; s.has(slot) && s.in(slot, scope) {
			return slot, true
		}
	}
	return "", false
}

func (s slots) has(slot string) bool {
	_, ok := s.at[slot]
	return ok
}
