// Package listener reads what the GitHub Actions runner (the .NET program bin/Runner.Listener and
// the shell scripts around it) prints: whether it listens, whether it is in its retry loop, whether
// it runs a job, how that job ended, why it gave up.
//
// It has three layers, each usable alone:
//
//   - Parse: one line in, at most one Event out. The table of patterns is in patterns.go; no other
//     package contains a string that the runner prints.
//   - Session: the state machine of one runner slot, fed with lines and with the starts and ends of
//     its process.
//   - Fleet: the sessions of all slots of a machine, safe for concurrent use.
//
// Three facts shape it (sources in patterns.go). The retry line is printed once per outage, not
// once per attempt, so a retry loop is a state and not a rate. On the broker protocol the listener
// never prints that it recovered, so other lines must end that state. The names of jobs are text
// that strangers write, so every pattern is anchored.
//
// The package is pure: standard library only, no clock, no I/O, no goroutine.
package listener

import "time"

// Result is how a job ended, in the runner's own words (actions/runner TaskResult.cs:6-25). It can
// differ from the conclusion that GitHub shows.
type Result string

// The six results that the runner prints.
const (
	Succeeded           Result = "Succeeded"
	SucceededWithIssues Result = "SucceededWithIssues"
	Failed              Result = "Failed"
	Canceled            Result = "Canceled"  // by GitHub, or because the runner was stopped
	Skipped             Result = "Skipped"   //
	Abandoned           Result = "Abandoned" // the lock on the job could not be renewed
)

// Results returns the six results, in the order in which the runner declares them.
func Results() []Result {
	return []Result{Succeeded, SucceededWithIssues, Failed, Canceled, Skipped, Abandoned}
}

// Reason is why the listener gave up or could not work.
type Reason string

// The reasons that can be told apart from what the listener prints.
const (
	RegistrationDeleted Reason = "registration_deleted" // also what a clock that is minutes off looks like (actions/runner#4648)
	VersionDeprecated   Reason = "version_deprecated"
	ClockSkew           Reason = "clock_skew"
	Unauthorized        Reason = "unauthorized"
	NotConfigured       Reason = "not_configured"
	Other               Reason = "other"
)

// Reasons returns every reason, in a fixed order.
func Reasons() []Reason {
	return []Reason{RegistrationDeleted, VersionDeprecated, ClockSkew, Unauthorized, NotConfigured, Other}
}

// Kind is the meaning of a line.
type Kind int

// The meanings that lines can have.
const (
	Unrecognized    Kind = iota // looks like a line of the listener's ("{ts}: …") but is none that we know
	Notice                      // known, no change of the state
	Connected                   // "√ Connected to GitHub": printed before every attempt, so it is no sign of health
	Listening                   // a session exists and the listener waits for a job
	RetryLoop                   // the first failure of an outage: "Retrying until reconnected."
	Reconnected                 // the end of an outage; never printed by the poll loop of the broker protocol
	RetryAttempt                // one more attempt of an outage, from the diagnostic lines
	JobStarted                  // Event.Job
	JobCompleted                // Event.Job and Event.Result
	JobOffered                  // a job was handed out; JobStarted or JobSkipped follows within moments, unless the listener hangs
	JobSkipped                  // a job was handed out that cannot be acquired any more; it uses up an ephemeral registration
	SessionConflict             // another session of this runner exists
	Failure                     // Event.Reason; the process usually ends soon after
	Version                     // Event.Version
	Exiting                     // the listener was interrupted and will end, after its job if it has one
	Exited                      // the listener's process ended
)

// Event is the meaning of one line.
type Event struct {
	Kind    Kind
	Time    time.Time // as printed in the line, UTC, whole seconds; zero if the line has none
	Job     string    // JobStarted, JobCompleted: untrusted text of the workflow's author, at most MaxText bytes
	Result  Result    // JobCompleted: empty if the runner printed a word that is none of the six
	Reason  Reason    // Failure
	Version string    // Version, such as "2.336.0"
	Text    string    // the line without its time stamp, at most MaxText bytes, always valid UTF-8
}

// Bounds of what is read and kept.
const (
	MaxLine = 64 << 10 // longer lines have no meaning
	MaxText = 512      // bytes of a line or of a job's name that are kept
)
