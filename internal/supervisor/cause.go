package supervisor

import (
	"errors"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Causes that the health check or a remedy depends on. Every other cause is free text.
const (
	CausePATInvalid        = "pat_invalid"
	CausePATPermission     = "pat_permission"
	CauseVersionDeprecated = "version_deprecated"
	CauseSessionConflict   = "session_conflict"
	CauseClockSkew         = "clock_skew"
	CauseNames             = "names_unresolved"
)

var remedies = map[string]string{
	CausePATInvalid:        "put a valid token into the token file; it is read again before each use",
	CausePATPermission:     "give the token the permission to administer runners",
	CauseVersionDeprecated: "GitHub no longer serves this version of the Actions runner: build the image with a newer RUNNER_VERSION",
	CauseSessionConflict:   "if it does not end, look for a second runner with this registration",
	CauseClockSkew:         "set the clock of the machine, or let chronyd do it (CLOCK_MODE=step); the slot then continues",
	CauseNames:             "check DNS and VPN of the host, or name a server in DNS_FALLBACK; the slot then continues",
}

// asGitHub returns the error of GitHub in err, an empty one if there is none.
func asGitHub(err error) *runner.Error {
	if e, ok := errors.AsType[*runner.Error](err); ok {
		return e
	}
	return &runner.Error{}
}

func causeOf(err error) string {
	switch reason := asGitHub(err).Reason; reason {
	case "":
		return "registration failed"
	case runner.ReasonAuth:
		return CausePATInvalid
	case runner.ReasonPermission:
		return CausePATPermission
	default:
		return "github: " + reason
	}
}
