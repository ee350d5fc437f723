package runner

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Errors of the calls to GitHub, for errors.Is.
var (
	// ErrBusy: GitHub does not delete a runner while a job runs on it. Nothing was changed.
	ErrBusy = errors.New("runner is busy")
	// ErrNotFound: the runner does not exist. A 404 alone does not prove that, because a token
	// without access gets one too; the list of runners was read with the same token and lacks it.
	ErrNotFound = errors.New("runner not found")
)

// Values of Error.Reason, which are also those of the label reason of
// ghostrunner_github_request_failures_total.
const (
	ReasonAuth        = "auth"         // the token is rejected or missing
	ReasonPermission  = "permission"   // the token is valid, its permissions are not sufficient
	ReasonNotFound    = "not_found"    // does not exist, or the token may not see it
	ReasonRateLimited = "rate_limited" // primary or secondary limit
	ReasonServer      = "server"       // GitHub failed (5xx)
	ReasonNetwork     = "network"      // no answer: DNS, connection, TLS
	ReasonTimeout     = "timeout"      // no complete answer in time
	ReasonInvalid     = "invalid"      // not an answer of GitHub's API, or a request that it refuses
)

// Error is a failed call to GitHub. Its text and hint never contain the token.
type Error struct {
	Op         string        // such as "list runners of octo/hello"
	Reason     string        // one of the Reason constants
	Status     int           // HTTP status, 0 without an answer
	RequestID  string        // X-GitHub-Request-Id, which GitHub's support asks for
	Hint       string        // what the operator can do, a sentence; may be empty
	RetryAfter time.Duration // how long GitHub asks to wait, 0 if it does not say
	Err        error
}

// Error names the call, the reason, and what GitHub said.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op + ": " + e.Reason)
	if e.Status != 0 {
		b.WriteString(" (" + strconv.Itoa(e.Status))
		if e.RequestID != "" {
			b.WriteString(", request " + e.RequestID)
		}
		b.WriteString(")")
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Refused reports whether GitHub answered that it did not do what was asked (4xx). After other
// failures it is unknown whether anything was changed.
func (e *Error) Refused() bool {
	return e.Status >= 400 && e.Status < 500
}
