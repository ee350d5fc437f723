package remedy

import "time"

// recordVersion is written into every record; a reader refuses newer ones.
const recordVersion = 1

// Outcome of a decision.
type Outcome string

// The outcomes. A begun action that was interrupted stays OutcomeRunning until
// it is finished after the restart.
const (
	OutcomeRunning   Outcome = "running"
	OutcomeCompleted Outcome = "completed" // done and verified
	OutcomeFailed    Outcome = "failed"
	OutcomeRefused   Outcome = "refused"
)

// Record is one line of history: an action that was begun, or a refusal. Equal
// refusals share one record and are counted in it.
type Record struct {
	V       int     `json:"v"`
	ID      uint64  `json:"id"`
	Outcome Outcome `json:"outcome"`
	// Action is what was or would have been done; Asked is what the alert asked
	// for, where the two differ (a fire on probation asks for a restart).
	Action string `json:"action"`
	Asked  string `json:"asked,omitempty"`
	// Target is the runner slot, the service's name, or "engine" for prune.
	Target    string `json:"target,omitempty"`
	Container string `json:"container,omitempty"`
	// Reason is one of Reasons for a refusal, one of the Fail constants for a failure.
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
	Alert  Alert  `json:"alert"`
	// Verdicts are what the guards said, in order.
	Verdicts []Verdict `json:"verdicts,omitempty"`
	// Evidence is what was seen while acting.
	Evidence []string `json:"evidence,omitempty"`
	// Rung is how far up the ladder a restart was, or the back-off that it turned into.
	Rung int `json:"rung,omitempty"`
	// Fire says that this restart counted as a watchdog fire.
	Fire  bool      `json:"fire,omitempty"`
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended,omitzero"`
	// Count is how often the same refusal was given, Ended the last time.
	Count uint64 `json:"count"`
}

// weight is about as many bytes as the record has on disk.
func (r *Record) weight() int {
	const frame = 300 // the names of the fields, times and numbers
	n := frame + len(r.Detail) + len(r.Alert.Summary)
	for k, v := range r.Alert.Labels {
		n += len(k) + len(v) + 6
	}
	for _, v := range r.Verdicts {
		n += len(v.Guard) + len(v.Detail) + 30
	}
	for _, e := range r.Evidence {
		n += len(e) + 3
	}
	return n
}

// Verdict is what one guard said.
type Verdict struct {
	Guard  string `json:"guard"`
	OK     bool   `json:"ok"`
	Reason Reason `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Phase is how far an action that takes a container down has come. It decides
// what is done about the container after a crash.
type Phase string

// The phases, in order.
const (
	PhaseIntent     Phase = "intent"     // SIGTERM may have been sent or not
	PhaseTerminated Phase = "terminated" // SIGTERM was sent: it is leaving, or waits for its job
	PhaseDown       Phase = "down"       // it was seen down: whoever runs it now started it
)

// Debt is a container that we began to take down and have not yet seen running
// again. It is written before the first call and stays until it is paid.
type Debt struct {
	V         int    `json:"v"`
	Target    string `json:"target"`
	Runner    string `json:"runner,omitempty"` // the slot; "" for a service
	Container string `json:"container"`        // name, to find a recreated one
	ID        string `json:"id"`
	Action    string `json:"action"`
	Record    uint64 `json:"record"`
	Phase     Phase  `json:"phase"`
	// Since is when it was begun, Length how long it is to stay down (0: not at
	// all), StartAt the sum.
	Since   time.Time     `json:"since"`
	Length  time.Duration `json:"length"`
	StartAt time.Time     `json:"startAt"`
	// Mark is Since on a clock that nobody sets.
	Mark Mark `json:"mark,omitzero"`

	// due is StartAt on the monotonic clock of this process.
	due time.Time
	// retry is when a start that failed is tried again, and after how long then.
	retry time.Time
	delay time.Duration
	// missed says that the last list of containers lacks it.
	missed bool
}
