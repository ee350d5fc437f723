package supervisor

import (
	"errors"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// causeOf names an error of the Registrar for the state file and the log; "" if it is not known.
func causeOf(err error) string {
	e, ok := errors.AsType[*runner.Error](err)
	switch {
	case !ok:
		return ""
	case e.Reason == runner.ReasonAuth:
		return CausePATInvalid
	case e.Reason == runner.ReasonPermission:
		return CausePATPermission
	default:
		return "github: " + e.Reason
	}
}

// refused reports whether GitHub said no, so that nothing was changed.
func refused(err error) bool {
	e, ok := errors.AsType[*runner.Error](err)
	return ok && e.Refused()
}

// retryAfter is how long GitHub asks to wait; 0 if it does not say.
func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*runner.Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

// remedyFor says what a person can do about a failed attempt; "" if it is not known.
func remedyFor(cause string, err error) string {
	if e, ok := errors.AsType[*runner.Error](err); ok && e.Hint != "" {
		return e.Hint
	}
	return remedies[cause]
}
