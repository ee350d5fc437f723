package github

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

const expiryHeader = "Github-Authentication-Token-Expiration"

// parseExpiry reads the two forms seen on github.com, "2023-01-31 23:00:00 UTC" and "2023-04-26
// 23:23:18 +0200" (google/go-github#2649), and RFC 3339. A zone name other than UTC is read as UTC:
// an expiry that is hours off is better than none.
func parseExpiry(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	for _, layout := range []string{"2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05 MST", time.RFC3339} {
		t, err := time.ParseInLocation(layout, s, time.UTC)
		if err == nil && t.Year() >= 2008 && t.Year() < 10000 { // GitHub began in 2008
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

type permission int

const (
	permissionUnknown permission = iota
	permissionSufficient
	permissionInsufficient
)

// updateCredential takes from the end of an operation what it says about the token. err is the
// operation's result; list says that it was the list of runners. c.mu is held.
func (c *Client) updateCredential(l *call, list bool, err error) {
	a := l.last
	if a == nil {
		return // no answer says nothing about the token
	}
	e, isError := errors.AsType[*runner.Error](err)
	switch {
	case err == nil:
	case !isError:
		return
	case a.status == http.StatusUnauthorized && e.Reason == runner.ReasonAuth:
	case a.status >= http.StatusBadRequest && a.status < http.StatusInternalServerError && a.provesToken() && e.Reason != runner.ReasonAuth:
	default:
		return
	}
	valid := !isError || e.Reason != runner.ReasonAuth
	if l.hash != c.credentialToken {
		c.setCredentialToken(l.hash)
	}
	c.credential.Known, c.credential.Valid, c.credential.LastCheck = true, valid, a.received
	if expiry, ok := parseExpiry(a.header.Get(expiryHeader)); ok {
		c.credential.Expiry = expiry
	} else if err == nil && !a.cached && a.header.Get(expiryHeader) == "" {
		c.credential.Expiry = time.Time{} // errors and 304 need not repeat it
	}
	decisive := !isError || e.Reason == runner.ReasonPermission || e.Reason == runner.ReasonNotFound
	if st := c.state(l.scope); list && st != nil && valid && decisive {
		st.permission = permissionBy(l.scope, a, e)
	}
	c.credential.PermissionKnown, c.credential.PermissionSufficient = c.permissions()
}

// setCredentialToken drops what was known about another token. c.mu is held.
func (c *Client) setCredentialToken(hash tokenHash) {
	c.credentialToken, c.credential = hash, runner.Credential{}
	for _, st := range c.scopes {
		st.permission = permissionUnknown
	}
}

// permissions sums up the scopes: one that is refused is enough for insufficient, all must be
// sufficient for sufficient. c.mu is held.
func (c *Client) permissions() (known, sufficient bool) {
	known = len(c.scopes) > 0
	for _, st := range c.scopes {
		if st.permission == permissionInsufficient {
			return true, false
		}
		known = known && st.permission == permissionSufficient
	}
	return known, known
}

// provesToken reports whether an answer has something that GitHub sends only to an accepted token.
// A 403 or 404 without it may come from elsewhere.
func (a *answer) provesToken() bool {
	for _, h := range []string{"X-Oauth-Scopes", "X-Accepted-Github-Permissions", "X-Github-Sso", expiryHeader} {
		if _, ok := a.header[h]; ok {
			return true
		}
	}
	// Without a token GitHub allows 60 requests an hour.
	limit, err := strconv.Atoi(a.header.Get("X-Ratelimit-Limit"))
	return err == nil && limit > 60
}

// permissionBy judges the answer to a list of runners; e is nil if it succeeded.
//
// Classic tokens state their scopes. Fine-grained tokens state nothing: a delivered list proves
// reading, a 403 disproves it, and a 404 may also be a misspelled scope.
func permissionBy(s Scope, a *answer, e *runner.Error) permission {
	have := strings.FieldsFunc(a.header.Get("X-Oauth-Scopes"), func(r rune) bool { return r == ',' || r == ' ' })
	granted := func(scope string) bool { return slices.Contains(have, scope) }
	if len(have) > 0 && !slices.ContainsFunc(neededScopes(s), granted) {
		return permissionInsufficient
	}
	switch {
	case e == nil:
		return permissionSufficient
	case e.Reason == runner.ReasonPermission:
		return permissionInsufficient
	default:
		return permissionUnknown
	}
}

// neededScopes are the classic scopes of which one is needed (REST reference of self-hosted
// runners).
func neededScopes(s Scope) []string {
	switch s.kind {
	case scopeOrganization:
		return []string{"admin:org", "manage_runners:org"}
	case scopeEnterprise:
		return []string{"admin:enterprise", "manage_runners:enterprise"}
	default:
		return []string{"repo"}
	}
}

// rejectedHint tells an expired token from a revoked or mistyped one, by the last expiry that
// GitHub reported for it.
func (l *call) rejectedHint(a *answer) string {
	l.c.mu.Lock()
	var expiry time.Time
	if l.c.credentialToken == l.hash {
		expiry = l.c.credential.Expiry
	}
	l.c.mu.Unlock()
	if reported, ok := parseExpiry(a.header.Get(expiryHeader)); ok {
		expiry = reported
	}
	return RejectedHint(expiry, a.now())
}

// RejectedHint says why a token was probably rejected, and what to do. expiry is the last one that
// GitHub reported for it, zero if none; now is GitHub's present time. GitHub itself says "Bad
// credentials" in each case.
func RejectedHint(expiry, now time.Time) string {
	const remedy = "; put a new one into the token file, it is read again before each use"
	switch {
	case expiry.IsZero():
		return "GitHub rejects the token: it is mistyped, revoked or expired" + remedy
	case !now.Before(expiry):
		return "the token expired at " + expiry.UTC().Format(time.RFC3339) + remedy
	default:
		return "GitHub rejects the token before its expiry at " + expiry.UTC().Format(time.RFC3339) + ": it was revoked" + remedy
	}
}
