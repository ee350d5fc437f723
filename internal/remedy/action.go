package remedy

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Names of the actions, as in the label "remediation".
const (
	ActionRestart = "restart"
	ActionBackoff = "backoff"
	ActionPrune   = "prune"
)

// Action is something that can be done to the world: a value, not a hierarchy.
type Action struct {
	Name string
	// Engine says that it works on the engine and has no container as its target.
	Engine bool
	// Timeout bounds Do, Cooldown is the least time between two on one target.
	Timeout, Cooldown time.Duration
	// Takes says that Do takes the container down: a debt is written before it.
	Takes bool
	// Do acts. An error means that it did not succeed, with its reason (Failure).
	Do func(ctx context.Context, a *Attempt) error
	// Verify returns nil as soon as the world shows that it worked. It is bounded
	// by the VerifyTimeout of the options.
	Verify func(ctx context.Context, a *Attempt) error
}

// action returns the action of that name, which must exist.
func (r *Remediator) action(name string) Action {
	i := slices.IndexFunc(r.actions, func(a Action) bool { return a.Name == name })
	return r.actions[i]
}

// Attempt is an action in progress.
type Attempt struct {
	Plan   Plan
	Record *Record
	// debt is set for actions that take the container down.
	debt *Debt
	// sight is what GitHub sees of a restart.
	sight *sight
	// up says that the container was started again, so the debt is paid.
	up bool
	r  *Remediator
}

// maxEvidence bounds the notes of one attempt.
const maxEvidence = 50

// Note adds one observation to the record.
func (a *Attempt) Note(format string, args ...any) {
	if len(a.Record.Evidence) < maxEvidence {
		a.Record.Evidence = append(a.Record.Evidence, clean(fmt.Sprintf(format, args...), maxDetail))
	}
}

// bounded keeps of a list of notes as many as an attempt may have, and says how many are left out.
func bounded(notes []string) []string {
	if over := len(notes) - maxEvidence; over > 0 {
		notes = append(slices.Clone(notes[:maxEvidence]), fmt.Sprintf("and %d more", over))
	}
	return notes
}

// fail makes a Failure of this attempt.
func (a *Attempt) fail(reason, hint string, err error) error {
	return &Failure{Op: a.Record.Action + " " + a.Record.Target, Reason: reason, Hint: hint, Err: err}
}
