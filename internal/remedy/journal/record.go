package journal

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Alert is an alert as it is kept: bounded, and free of control characters.
type Alert struct {
	Fingerprint string            `json:"fingerprint"`
	StartsAt    time.Time         `json:"startsAt"`
	Labels      map[string]string `json:"labels"`
	Summary     string            `json:"summary,omitempty"`
	Received    time.Time         `json:"received"`
}

// Name is the alert's name, "" if it has none.
func (a Alert) Name() string { return a.Labels["alertname"] }

// Remediation is the name of the action that the alert asks for.
func (a Alert) Remediation() string { return a.Labels["remediation"] }

// Same reports whether two alerts are one firing that asks for one action, from any sender.
func (a Alert) Same(b Alert) bool {
	return a.Fingerprint == b.Fingerprint && a.StartsAt.Equal(b.StartsAt) && a.Remediation() == b.Remediation()
}

// Outcome of a decision.
type Outcome string

// The outcomes. An action that was interrupted stays Running until it is finished after the
// restart.
const (
	Running   Outcome = "running"
	Completed Outcome = "completed" // done and verified
	Failed    Outcome = "failed"
	Refused   Outcome = "refused"
)

// Record is one line of history: an action that was begun, or a refusal. Equal refusals share one
// record and are counted in it.
type Record struct {
	ID      uint64  `json:"id"`
	Outcome Outcome `json:"outcome"`
	// Action is what was or would have been done; Asked is what the alert asked for, where the two
	// differ.
	Action string `json:"action"`
	Asked  string `json:"asked,omitempty"`
	// Target is the runner slot, the service's name, or "engine" for prune.
	Target    string    `json:"target,omitempty"`
	Container string    `json:"container,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Detail    string    `json:"detail,omitempty"`
	Alert     Alert     `json:"alert"`
	Verdicts  []Verdict `json:"verdicts,omitempty"` // of the stages and guards, in order
	Evidence  []string  `json:"evidence,omitempty"` // seen while acting
	Fire      bool      `json:"fire,omitempty"`     // it counted as a watchdog fire
	Began     time.Time `json:"began"`
	Ended     time.Time `json:"ended,omitzero"`
	// Count is how often the same refusal was given, Ended the last time.
	Count uint64 `json:"count"`
}

// Verdict is the result of one stage or guard.
type Verdict struct {
	Guard  string `json:"guard"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// At is the time that a record is sorted by: the last thing that happened.
func (r Record) At() time.Time {
	if r.Ended.IsZero() {
		return r.Began
	}
	return r.Ended
}

// Bounds of one sentence, in bytes, and of the notes of one record. A record then has at most 2 kB of
// alert, 3 kB of verdicts and 4 kB of notes; with what Go adds all MaxRecords and MaxRefusals of
// them are about 16 MB.
const (
	MaxDetail   = 200
	maxEvidence = 20
)

// Note returns the record with one more observation. The list of r is left as it is.
func (r Record) Note(format string, args ...any) Record {
	switch n := len(r.Evidence); {
	case n < maxEvidence:
		r.Evidence = append(slices.Clip(r.Evidence), runner.Printable(fmt.Sprintf(format, args...), MaxDetail))
	case n == maxEvidence:
		r.Evidence = append(slices.Clip(r.Evidence), "and more")
	}
	return r
}

func (r Record) refusalKey() string {
	return r.Alert.Fingerprint + "|" + r.Action + "|" + r.Target + "|" + r.Reason
}

// older compares two records by the last thing that happened; the id decides between equal times.
func older(a, b Record) int { return cmp.Or(a.At().Compare(b.At()), cmp.Compare(a.ID, b.ID)) }

// Phase is how far an action that takes a container down has come.
type Phase string

// The phases, in order.
const (
	PhaseIntent     Phase = "intent"     // SIGTERM may have been sent or not
	PhaseTerminated Phase = "terminated" // SIGTERM was sent: it is leaving, or waits for its job
	PhaseDown       Phase = "down"       // it was seen down: if it runs now, it was started again
)

// PendingStart is a container that is being taken down and must run again: now, or after Length. It
// is on disk before the first call to Docker and stays until the container was started. Bucket and
// keys have the names that an older version gave them.
type PendingStart struct {
	Instant // when it was begun

	Target    string        `json:"target"`
	Container string        `json:"container"`
	ID        string        `json:"id"`
	Action    string        `json:"action"`
	Record    uint64        `json:"record"`
	Phase     Phase         `json:"phase"`
	Length    time.Duration `json:"length"` // how long it is to stay down; 0: not at all
}

// BreakerState is the state of a runner's circuit breaker.
type BreakerState string

// The states of a breaker. A runner without an entry is closed.
const (
	Closed   BreakerState = "closed"
	Open     BreakerState = "open"      // stopped until its time is up
	HalfOpen BreakerState = "half_open" // started again, on probation
)

// Breaker is the memory of a runner that was backed off.
type Breaker struct {
	Instant // when the state was entered

	State    BreakerState  `json:"state"`
	Length   time.Duration `json:"length"`   // of the last opening
	Openings int           `json:"openings"` // since it was last closed
	// Ineffective says that restarts that did not help opened it, and not a storm of them: on
	// probation any restart that is asked for opens it again.
	Ineffective bool `json:"ladder,omitempty"`
}

// Pause is an operator's order to refuse every alert. The zero Pause is none.
type Pause struct {
	Instant

	On     bool          `json:"on"`
	Length time.Duration `json:"length"` // 0: until resumed
}

// At reports whether the pause holds, and what is left of it.
func (p Pause) At(now Instant) (holds bool, left time.Duration) {
	left = now.Left(p.Instant, p.Length)
	return p.On && (p.Length == 0 || left > 0), left
}
