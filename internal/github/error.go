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

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// reasons are all values of runner.Error.Reason, so that each is counted from zero.
var reasons = []string{
	runner.ReasonAuth, runner.ReasonPermission, runner.ReasonNotFound, runner.ReasonRateLimited,
	runner.ReasonServer, runner.ReasonNetwork, runner.ReasonTimeout, runner.ReasonInvalid,
}

// failure turns the error of an operation into a *runner.Error, or into the context's error if the
// caller canceled.
func (l *call) failure(ctx context.Context, err error) error {
	if cause := ctx.Err(); errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%s: %w", l.op, cause)
	}
	e := &runner.Error{Op: l.op, Reason: runner.ReasonInvalid, Err: err}
	if text := err.Error(); strings.Contains(text, l.token) {
		e.Err = errors.New(l.redact(text))
	}
	host := l.c.base.Host
	var netErr net.Error
	a := l.last
	switch {
	case errors.Is(err, errTooLarge), errors.Is(err, errNotModified):
		e.Hint = l.notGitHubHint()
	case a == nil && (errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout()):
		e.Reason = runner.ReasonTimeout
		e.Hint = "GitHub did not answer in time; check the network, a VPN or a proxy between here and " + host
	case a == nil && strings.Contains(err.Error(), "x509: "):
		e.Reason = runner.ReasonNetwork
		e.Hint = "the certificate of " + host + " is not accepted; check the clock of this machine, then for a proxy that opens TLS"
	case a == nil:
		e.Reason = runner.ReasonNetwork
		e.Hint = "no connection to " + host + "; check DNS, VPN and proxy"
	default:
		e.Status = a.status
		e.RequestID = l.printable(a.header.Get("X-GitHub-Request-Id"), 64)
		if a.status < http.StatusMultipleChoices {
			e.Hint = l.notGitHubHint()
			break
		}
		text := l.printable(a.message(), 300)
		if text == "" {
			text = strings.ToLower(http.StatusText(a.status))
		}
		e.Err = errors.New(text)
		l.classify(e, a)
	}
	return e
}

// classify maps an answer of status 300 and above to reason, hint and delay.
//
// Sources: docs.github.com "Troubleshooting the REST API", "Rate limits for the REST API",
// "Authenticating to the REST API".
func (l *call) classify(e *runner.Error, a *answer) {
	msg := strings.ToLower(a.message())
	switch {
	case a.status == http.StatusUnauthorized && a.isHTML():
		e.Hint = l.notGitHubHint() // a proxy or a captive portal asks for a login; GitHub sends JSON
	case a.status == http.StatusUnauthorized:
		e.Reason, e.Hint = runner.ReasonAuth, l.rejectedHint(a)
	case a.status == http.StatusForbidden && strings.Contains(msg, "login attempts exceeded"):
		e.Reason = runner.ReasonAuth
		e.Hint = "GitHub has locked out this user for a while after too many rejected tokens; put a valid token in place, then wait"
	case a.rateLimited(msg):
		e.Reason = runner.ReasonRateLimited
		e.RetryAfter = a.retryAfter()
		e.Hint = "the quota is shared by all tokens of the same user; poll less often or use a token of another user or an App"
	case a.status == http.StatusForbidden,
		// GitHub says 404 instead of 403 where a 403 would reveal that something exists, also if
		// single sign-on is missing.
		a.status == http.StatusNotFound && a.header.Get("X-GitHub-SSO") != "":
		e.Reason, e.Hint = runner.ReasonPermission, l.permissionHint(a)
	case a.status == http.StatusNotFound:
		e.Reason, e.Hint = runner.ReasonNotFound, l.notFoundHint()
	case a.refusesBusy(msg):
		e.Err = fmt.Errorf("%w: %w", runner.ErrBusy, e.Err)
		e.Hint = "wait until its job is done"
	case a.status == http.StatusConflict && a.method == http.MethodPost:
		e.Hint = "a runner of this name exists: choose another name"
	case a.status >= http.StatusInternalServerError:
		e.Reason = runner.ReasonServer
		e.RetryAfter = a.retryAfterHeader()
		e.Hint = "GitHub has a problem, see https://www.githubstatus.com"
	case a.status < http.StatusBadRequest:
		e.Hint = "the answer is a redirect that is not followed; was the repository renamed or moved, is the API URL right?"
	}
}

// notGitHubHint is for answers that GitHub does not send.
func (l *call) notGitHubHint() string {
	return "the answer is not from GitHub's API; is " + l.c.base.String() +
		" right (GitHub Enterprise Server: https://HOST/api/v3), or is a proxy or a login page in between?"
}

func (l *call) notFoundHint() string {
	return l.scope.String() + " does not exist, or the token may not see it (GitHub says 404 for both); " +
		"check the spelling, the API URL (GitHub Enterprise Server: https://HOST/api/v3) and the token: " + needHint(l.scope)
}

// needHint says which permission a token needs for a scope's runners.
//
// Sources: the REST reference of self-hosted runners; github/docs fine-grained-pat-permissions.
func needHint(s Scope) string {
	switch s.kind {
	case scopeOrganization:
		return "classic token: scope admin:org (and repo); fine-grained: organization permission Self-hosted runners, resource owner " + s.owner + "; the user must be an owner of the organization"
	case scopeEnterprise:
		return "classic token: scope manage_runners:enterprise; fine-grained tokens do not work for enterprises"
	default:
		return "classic token: scope repo; fine-grained: repository permission Administration; the user must be an administrator of the repository"
	}
}

func (l *call) permissionHint(a *answer) string {
	if a.header.Get("X-GitHub-SSO") != "" {
		return "the organization uses SAML single sign-on: authorize the token for it under GitHub, Settings, Developer settings, Personal access tokens, Configure SSO"
	}
	if p := l.printable(a.header.Get("X-Accepted-GitHub-Permissions"), 200); p != "" {
		return "give the token the permission that GitHub asks for: " + p
	}
	return needHint(l.scope)
}

func (a *answer) message() string {
	var body struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(a.body, &body) != nil {
		return ""
	}
	return body.Message
}

// refusesBusy reports the refusal to delete a runner that runs a job: 422, "Bad request - Runner
// "NAME" is still running a job" (actions-runner-controller runner_graceful_stop.go:442); an older
// service says 400. Every 422 to a deletion counts: if the wording changes, we wait, and no job is
// lost.
func (a *answer) refusesBusy(msg string) bool {
	return a.method == http.MethodDelete && (a.status == http.StatusUnprocessableEntity ||
		a.status == http.StatusBadRequest && strings.Contains(msg, "running a job"))
}

func (a *answer) isHTML() bool {
	t, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	return err == nil && t == "text/html"
}

// printable prepares text of an answer for a log, without the token, if a server sends it back.
func (l *call) printable(s string, limit int) string { return runner.Printable(l.redact(s), limit) }

func (l *call) redact(s string) string {
	if l.token == "" {
		return s
	}
	return strings.ReplaceAll(s, l.token, "[token]")
}
