package github

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Delays after a rate limit, in the order that GitHub documents: Retry-After, else the reset if
// nothing remains, else at least a minute, and longer each time. The bounds are for absurd headers.
const (
	minLimitWait  = time.Second
	maxLimitWait  = 65 * time.Minute // the primary window is an hour
	secondaryWait = time.Minute
	maxResources  = 32
)

// rateLimited reports whether a 403 or 429 is about quota, primary or secondary. msg is the message
// in lower case.
func (a *answer) rateLimited(msg string) bool {
	switch a.status {
	case http.StatusTooManyRequests:
		return true
	case http.StatusForbidden:
		return a.header.Get("X-Ratelimit-Remaining") == "0" || a.header.Get("Retry-After") != "" ||
			strings.Contains(msg, "rate limit") || strings.Contains(msg, "abuse detection")
	default:
		return false
	}
}

// retryAfter returns how long GitHub asks to wait, 0 if it does not say. If GitHub sent its time,
// it is a difference of two of GitHub's times, so that a wrong local clock does not matter.
func (a *answer) retryAfter() time.Duration {
	if d := a.retryAfterHeader(); d > 0 {
		return d
	}
	if a.header.Get("X-Ratelimit-Remaining") != "0" {
		return 0
	}
	reset, err := strconv.ParseInt(a.header.Get("X-Ratelimit-Reset"), 10, 64)
	if err != nil || reset <= 0 {
		return 0
	}
	return bound(time.Unix(reset, 0).Sub(a.now()) + time.Second) // both are cut to seconds
}

func (a *answer) retryAfterHeader() time.Duration {
	seconds, err := strconv.ParseInt(a.header.Get("Retry-After"), 10, 64)
	if err != nil || seconds < 0 {
		return 0
	}
	return bound(time.Duration(min(seconds, int64(maxLimitWait/time.Second))) * time.Second)
}

func bound(d time.Duration) time.Duration { return min(max(d, minLimitWait), maxLimitWait) }

// now returns GitHub's time of the answer, or the local time if it sent none.
func (a *answer) now() time.Time {
	if date, err := http.ParseTime(a.header.Get("Date")); err == nil {
		return date
	}
	return a.received
}

// rateLimit reads the quota headers. ok is false if there are none: GitHub Enterprise Server has no
// limits by default.
func (a *answer) rateLimit() (r runner.RateLimit, ok bool) {
	limit, err1 := strconv.Atoi(a.header.Get("X-Ratelimit-Limit"))
	remaining, err2 := strconv.Atoi(a.header.Get("X-Ratelimit-Remaining"))
	if err1 != nil || err2 != nil || limit < 0 || remaining < 0 {
		return runner.RateLimit{}, false
	}
	r = runner.RateLimit{Resource: runner.Printable(a.header.Get("X-Ratelimit-Resource"), 64), Limit: limit, Remaining: remaining, At: a.received}
	if r.Resource == "" {
		r.Resource = "core"
	}
	if reset, err := strconv.ParseInt(a.header.Get("X-Ratelimit-Reset"), 10, 64); err == nil && reset > 0 {
		r.Reset = time.Unix(reset, 0)
	}
	return r, true
}
