package remedy

import (
	"context"
	"strings"
)

// Registration is a runner as GitHub lists it.
type Registration struct {
	ID           int64
	Name         string
	Online, Busy bool
}

// GitHub is the second, independent view of the runners. A scope is the place that a slot registers at
// ([Container.Scope]).
type GitHub interface {
	// Known returns what GitHub said last of a scope, without asking; false if it has not been asked successfully of late.
	Known(scope string) ([]Registration, bool)
	// Ask asks it now.
	Ask(ctx context.Context, scope string) ([]Registration, error)
	// Deregister removes a registration. GitHub refuses while a job runs on it, and then the error says so; one that is
	// gone already is no error.
	Deregister(ctx context.Context, scope string, id int64) error
}

// registrations returns what GitHub said last of a slot's registrations, if it can be asked at all.
func (r *Remediator) registrations(c Container, all []Container) (list []Registration, ok bool) {
	if r.opts.GitHub == nil {
		return nil, false
	}
	list, ok = r.opts.GitHub.Known(c.Scope)
	return ofSlot(list, c, all), ok
}

// ofSlot picks the registrations of a slot: the name of each is the slot's, or begins with it and a dash. Where several
// slots of the same scope fit, the longest has it: ci-1-gpu-x belongs to ci-1-gpu and not to ci-1.
func ofSlot(list []Registration, c Container, all []Container) []Registration {
	var out []Registration
	for _, reg := range list {
		longest := ""
		for _, other := range append([]Container{c}, all...) {
			slot := other.Runner
			if other.Role != RoleRunner || !strings.EqualFold(other.Scope, c.Scope) || len(slot) <= len(longest) {
				continue
			}
			if reg.Name == slot || strings.HasPrefix(reg.Name, slot+"-") {
				longest = slot
			}
		}
		if longest != "" && longest == c.Runner {
			out = append(out, reg)
		}
	}
	return out
}
