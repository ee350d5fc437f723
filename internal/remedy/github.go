package remedy

import (
	"context"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

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

// ofSlot picks the registrations of a slot.
func ofSlot(list []Registration, c Container, all []Container) []Registration {
	return runner.NewSlots(append([]Container{c}, all...), "").Registrations(list, c.Runner, c.Scope)
}
