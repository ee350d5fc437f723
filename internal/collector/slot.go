package collector

import "strings"

// slots finds the runner slot that a registration at GitHub belongs to.
type slots struct {
	order    []string          // names, as the containers come
	scopes   map[string]string // by name
	fallback string            // the scope of slots that name none
}

// slotsOf takes the slots from the containers. Two containers of one slot (an old one that is just being replaced) are
// one slot; the first one's scope counts.
func slotsOf(containers []Container, defaultScope string) slots {
	s := slots{scopes: make(map[string]string, len(containers)), fallback: defaultScope}
	for _, c := range containers {
		if _, seen := s.scopes[c.Runner]; seen || c.Runner == "" {
			continue
		}
		scope := c.Scope
		if scope == "" {
			scope = defaultScope
		}
		s.scopes[c.Runner] = scope
		s.order = append(s.order, c.Runner)
	}
	return s
}

// in tells whether the slot registers at the scope. GitHub's names do not distinguish case.
func (s slots) in(slot, scope string) bool { return strings.EqualFold(s.scopes[slot], scope) }

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
	_, ok := s.scopes[slot]
	return ok
}
