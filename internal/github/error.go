package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"strings"
	"unicode"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// reasons are all of them, so that each is counted from zero.
var reasons = []string{
	runner.ReasonAuth, runner.ReasonPermission, runner.ReasonNotFound, runner.ReasonRateLimited,
	runner.ReasonServer, runner.ReasonNetwork, runner.ReasonTimeout, runner.ReasonInvalid,
}

// errTooLarge and errNotModified are answers that the transport refuses,
// errNoToken is an empty token file.
var (
	errTooLarge    = fmt.Errorf("answer exceeds %d bytes", maxBodyBytes)
	errNotModified = errors.New("304 to a request without If-None-Match")
	errNoToken     = errors.New("no token")
)

// failure turns what a call met into an *runner.Error, or into the context's error
// when the caller gave up.
func (l *call) failure(ctx context.Context, op string, err error) error {
	if cause := ctx.Err(); errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%s: %w", op, cause)
	}
	e := &runner.Error{Op: op, Err: err}
	if text := err.Error(); strings.Contains(text, l.token) {
		e.Err = errors.New(l.redact(text))
	}
	a := l.last
	var netErr net.Error
	switch {
	case a == nil && (errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout()):
		e.Reason = runner.ReasonTimeout
		e.Hint = "GitHub did not answer in time; check the network, a VPN or a proxy between here and " + l.c.base.Host
	case errors.Is(err, errTooLarge), errors.Is(err, errNotModified):
		e.Reason = runner.ReasonInvalid
		e.Hint = l.strangerHint()
	case a == nil && strings.Contains(err.Error(), "x509: "):
		e.Reason = runner.ReasonNetwork
		e.Hint = "the certificate of " + l.c.base.Host + " is not accepted; check the clock of this machine, then for a proxy that opens TLS"
	case a == nil:
		e.Reason = runner.ReasonNetwork
		e.Hint = "no connection to " + l.c.base.Host + "; check DNS, VPN and proxy"
	case a.status >= http.StatusMultipleChoices:
		e.Status = a.status
		e.RequestID = clean(l.redact(a.header.Get("X-GitHub-Request-Id")), 64)
		if m := clean(l.redact(a.message()), 300); m != "" {
			e.Err = errors.New(m)
		} else {
			e.Err = errors.New(strings.ToLower(http.StatusText(a.status)))
		}
		l.judge(e, a)
	default:
		e.Status = a.status
		e.RequestID = clean(l.redact(a.header.Get("X-GitHub-Request-Id")), 64)
		e.Reason = runner.ReasonInvalid
		e.Hint = l.strangerHint()
	}
	return e
}

// judge maps an answer of status 300 and above to reason, hint and waiting time.
//
// Sources: docs.github.com "Troubleshooting the REST API", "Rate limits for the
// REST API", "Authenticating to the REST API".
func (l *call) judge(e *runner.Error, a *answer) {
	msg := strings.ToLower(a.message())
	switch {
	case a.status == http.StatusUnauthorized && a.isHTML():
		// A proxy or a captive portal asks for a login. GitHub speaks JSON.
		e.Reason, e.Hint = runner.ReasonInvalid, l.strangerHint()
	case a.status == http.StatusUnauthorized:
		e.Reason, e.Hint = runner.ReasonAuth, l.rejectedHint(a)
	case a.status == http.StatusForbidden && strings.Contains(msg, "login attempts exceeded"):
		// After several rejected tries GitHub refuses every token of the user
		// for a while, good ones too.
		e.Reason = runner.ReasonAuth
		e.Hint = "GitHub has locked out this user for a while after too many rejected tokens; put a valid token in place, then wait"
	case a.rateLimited(msg):
		e.Reason = runner.ReasonRateLimited
		e.RetryAfter = a.retryAfter()
		e.Hint = "the quota is shared by all tokens of the same user; poll less often or use a token of another user or an App"
	case a.status == http.StatusForbidden,
		// Where a 403 would reveal that the thing exists GitHub says 404, also for
		// want of single sign-on; the header tells.
		a.status == http.StatusNotFound && a.header.Get("X-GitHub-SSO") != "":
		e.Reason, e.Hint = runner.ReasonPermission, l.permissionHint(a)
	case a.status == http.StatusNotFound:
		e.Reason, e.Hint = runner.ReasonNotFound, l.notFoundHint()
	case a.refusesBusy(msg):
		e.Reason, e.Err = runner.ReasonInvalid, fmt.Errorf("%w: %w", runner.ErrBusy, e.Err)
		e.Hint = "wait until its job is done"
	case a.status == http.StatusConflict && a.method == http.MethodPost:
		e.Reason, e.Err = runner.ReasonInvalid, fmt.Errorf("%w: %w", runner.ErrNameTaken, e.Err)
		e.Hint = "choose another runner name"
	case a.status >= http.StatusInternalServerError:
		e.Reason = runner.ReasonServer
		e.RetryAfter = a.retryAfterHeader()
		e.Hint = "GitHub has a problem, see https://www.githubstatus.com"
	case a.status >= http.StatusMultipleChoices && a.status < http.StatusBadRequest:
		e.Reason = runner.ReasonInvalid
		e.Hint = "the answer is a redirect that is not followed; was the repository renamed or moved, is the API URL right?"
	default:
		e.Reason = runner.ReasonInvalid
	}
}

// strangerHint is for answers that GitHub would not give.
func (l *call) strangerHint() string {
	return "the answer is not from GitHub's API; is " + l.c.base.String() +
		" right (GitHub Enterprise Server: https://HOST/api/v3), or does a proxy or a login page stand in between?"
}

func (l *call) notFoundHint() string {
	return l.scope.String() + " does not exist, or the token may not see it (GitHub says 404 for both); " +
		"check the spelling, the API URL (GitHub Enterprise Server: https://HOST/api/v3) and the token: " + needHint(l.scope)
}

// needHint says which rights a token needs for a scope's runners.
//
// Sources: the REST reference of self-hosted runners; github/docs
// fine-grained-pat-permissions.
func needHint(s Scope) string {
	switch s.kind {
	case scopeOrganization:
		return "classic token: scope admin:org (and repo); fine-grained: organisation permission Self-hosted runners, resource owner " + s.owner + "; the user must be an owner of the organisation"
	case scopeEnterprise:
		return "classic token: scope manage_runners:enterprise; fine-grained tokens do not work for enterprises"
	default:
		return "classic token: scope repo; fine-grained: repository permission Administration; the user must be an administrator of the repository"
	}
}

func (l *call) permissionHint(a *answer) string {
	if a.header.Get("X-GitHub-SSO") != "" {
		return "the organisation uses SAML single sign-on: authorise the token for it under GitHub, Settings, Developer settings, Personal access tokens, Configure SSO"
	}
	if p := clean(l.redact(a.header.Get("X-Accepted-GitHub-Permissions")), 200); p != "" {
		return "give the token the permission that GitHub asks for: " + p
	}
	return needHint(l.scope)
}

// message is what GitHub's error body says, as it came.
func (a *answer) message() string {
	var body struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(a.body, &body) != nil {
		return ""
	}
	return body.Message
}

// refusesBusy reports the refusal to delete a runner that runs a job: 422, "Bad
// request - Runner "NAME" is still running a job" (actions-runner-controller
// runner_graceful_stop.go:442); an older service says 400. Every 422 to a
// deletion counts, so that a change of the wording costs patience and no job.
func (a *answer) refusesBusy(msg string) bool {
	return a.method == http.MethodDelete && (a.status == http.StatusUnprocessableEntity ||
		a.status == http.StatusBadRequest && strings.Contains(msg, "running a job"))
}

// isHTML reports whether the answer is a page for people.
func (a *answer) isHTML() bool {
	t, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	return err == nil && t == "text/html"
}

// clean makes foreign text fit for one line of a log.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "..."
	}
	return strings.TrimSpace(s)
}

// redact takes the token out of foreign text, should a server echo it.
func (l *call) redact(s string) string {
	if l.token == "" {
		return s
	}
	return strings.ReplaceAll(s, l.token, "[token]")
}
