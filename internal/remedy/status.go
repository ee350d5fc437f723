package remedy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// MaxHistory is how many records there can be.
const MaxHistory = journal.MaxRecords + journal.MaxRefusals

// BreakerStatus is the circuit breaker of one runner.
type BreakerStatus struct {
	Runner   string               `json:"runner"`
	State    journal.BreakerState `json:"state"`
	Until    time.Time            `json:"until,omitzero"`  // when the runner is or was started again
	Closes   time.Time            `json:"closes,omitzero"` // when probation ends
	Openings int                  `json:"openings"`
	Fires    uint64               `json:"fires"`
}

// Status is how the remediator is.
type Status struct {
	Ready       bool            `json:"ready"`
	Reason      string          `json:"reason,omitempty"` // why not
	Journal     bool            `json:"journal"`          // without it nothing is accepted and nothing done
	Silent      bool            `json:"silent"`           // no heartbeat has come for too long
	Paused      bool            `json:"paused"`
	PausedUntil time.Time       `json:"pausedUntil,omitzero"` // absent: until a person resumes
	WindowOpens time.Time       `json:"windowOpens,omitzero"` // absent while it is open
	DryRun      bool            `json:"dryRun"`
	DockerUp    bool            `json:"dockerUp"`
	Queue       int             `json:"queue"`
	Heartbeat   time.Time       `json:"heartbeat,omitzero"`
	SetBack     SetBack         `json:"clockSetBack,omitzero"`
	Unfinished  []Unfinished    `json:"unfinished"`
	Breakers    []BreakerStatus `json:"breakers"`
	Targets     []Target        `json:"targets"`
	Firing      []Firing        `json:"firing"`
}

// SetBack is the last step back of the wall clock since this program was started.
type SetBack struct {
	At time.Time `json:"at"`
	By string    `json:"by"`
}

// Target is a container that may be acted on, as it was last seen.
type Target struct {
	Name      string         `json:"name"`
	Container string         `json:"container"`
	Role      string         `json:"role"`
	State     string         `json:"state"`
	Health    string         `json:"health,omitempty"`
	Heal      []string       `json:"heal"`
	Working   bool           `json:"working,omitempty"` // an action on it is in progress
	Breaker   *BreakerStatus `json:"breaker,omitempty"` // nil for what has none
}

// Unfinished is a container that was taken down and not yet seen running again.
type Unfinished struct {
	Target    string        `json:"target"`
	Container string        `json:"container"`
	Action    string        `json:"action"`
	Phase     journal.Phase `json:"phase"`
	StartAt   time.Time     `json:"startAt"`
}

// Explanation is the decision about one alert.
type Explanation struct {
	Alert    string    `json:"alert"`
	Status   string    `json:"status"`
	Action   string    `json:"action"`
	Target   string    `json:"target,omitempty"`
	Decision string    `json:"decision"` // act, refuse or ignore
	Reason   string    `json:"reason,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	Verdicts []Verdict `json:"verdicts,omitempty"`
}

// Attempts returns what happened at a time or later, the newest first.
func (r *Remediator) Attempts(since time.Time, limit int) []journal.Record {
	all := r.store.State().History()
	n := slices.IndexFunc(all, func(rec journal.Record) bool { return rec.At().Before(since) })
	if n < 0 {
		n = len(all)
	}
	return all[:min(n, limit)]
}

// ParseSince reads a time of the past: a time (RFC 3339), a day (2006-01-02, in UTC), or how long
// ago (90m, 24h).
func ParseSince(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		if d < 0 || d > journal.MaxAge {
			return time.Time{}, fmt.Errorf("want at most %d hours, which is how long anything is remembered", journal.MaxAge/time.Hour)
		}
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("want a time such as 2006-01-02T15:04:05Z, a day such as 2006-01-02, or how long ago, such as 24h")
}

// Breakers returns every known runner with its breaker, by name.
func (r *Remediator) Breakers() []BreakerStatus {
	state, now := r.store.State(), r.opts.now()
	out := make([]BreakerStatus, 0, len(state.Fires))
	for _, name := range slices.Sorted(maps.Keys(state.Fires)) {
		b, open := state.Breakers[name]
		s := BreakerStatus{Runner: name, State: cmp.Or(b.State, journal.Closed), Openings: b.Openings, Fires: state.Fires[name]}
		if open {
			s.Until = openUntil(b, now)
		}
		if b.State == journal.HalfOpen {
			s.Closes = now.Time.Add(now.Left(b.Instant, r.opts.BackoffProbation))
		}
		out = append(out, s)
	}
	return out
}

// Targets returns what may be acted on, runners first. Docker is asked, but not waited for.
func (r *Remediator) Targets(ctx context.Context) []Target {
	breakers := r.Breakers()
	out := []Target{}
	for _, c := range r.containers.glance(ctx) {
		if len(c.Heal) == 0 || (c.Role != runner.RoleRunner && c.Role != runner.RoleService) {
			continue
		}
		t := Target{
			Name: c.Target(), Container: c.Name, Role: c.Role, State: c.State, Health: c.Health, Heal: c.Heal,
			Working: r.reconciler.isClaimed(c.Target()),
		}
		i := slices.IndexFunc(breakers, func(b BreakerStatus) bool { return b.Runner == t.Name })
		if i >= 0 && c.Role == runner.RoleRunner {
			t.Breaker = &breakers[i]
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Container, b.Container))
	})
	return out
}

// Status leaves its targets to [Remediator.Targets], which asks Docker.
func (r *Remediator) Status() Status {
	state, now := r.store.State(), r.opts.now()
	s := Status{
		Ready: true, Journal: r.store.Err() == nil, DryRun: r.opts.DryRun, DockerUp: r.containers.answer().err == nil, Queue: state.Queue,
		WindowOpens: r.opts.windowOpens(now.Time),
		Silent:      r.pipeline.silent() != nil, Heartbeat: r.pipeline.lastHeartbeat(),
		Unfinished: []Unfinished{}, Breakers: r.Breakers(), Targets: []Target{}, Firing: r.pipeline.list(state.History()),
	}
	if err := r.Ready(); err != nil {
		s.Ready, s.Reason = false, err.Error()
	}
	var left time.Duration
	if s.Paused, left = state.Pause.At(now); s.Paused && left > 0 {
		s.PausedUntil = now.Time.Add(left)
	}
	for _, target := range slices.Sorted(maps.Keys(state.Starts)) {
		p := state.Starts[target]
		s.Unfinished = append(s.Unfinished, Unfinished{target, p.Container, p.Action, p.Phase, now.Time.Add(now.Left(p.Instant, p.Length))})
	}
	if back := r.setBack.Load(); back != nil {
		s.SetBack = *back
	}
	return s
}

// Explain decides about every alert and does nothing.
func (r *Remediator) Explain(ctx context.Context, list []Notice) []Explanation {
	out := make([]Explanation, 0, len(list))
	for _, n := range list {
		e := Explanation{Alert: n.Name(), Status: "firing", Action: n.Remediation(), Decision: "ignore"}
		if n.Resolved {
			e.Status = "resolved"
		}
		switch {
		case n.Remediation() == "":
			e.Detail = "has no label remediation"
		case n.Resolved:
			e.Detail = "a resolved alert starts nothing"
		default:
			d := r.decide(ctx, n.Alert)
			e.Action, e.Target, e.Verdicts = cmp.Or(d.Plan.Action.Name, e.Action), d.Plan.Target, d.Verdicts
			e.Decision, e.Reason, e.Detail = "act", d.Refused, d.Detail
			if d.Refused != "" {
				e.Decision = "refuse"
			}
		}
		out = append(out, e)
	}
	return out
}
