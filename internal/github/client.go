package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Defaults of Options.
const (
	DefaultAPIURL       = "https://api.github.com"
	DefaultPollInterval = 30 * time.Second
	DefaultTimeout      = 10 * time.Second // GitHub ends a request after 10 s of work
	defaultUserAgent    = "ghostrunner"    // GitHub refuses requests without one
)

// MaxScopes bounds what one Client polls. At the default interval these are 64 requests a minute,
// of the 900 that GitHub's secondary limit allows a user.
const MaxScopes = 32

// Options configure a Client.
type Options struct {
	// APIURL is the root of the REST API, for GitHub Enterprise Server https://HOST/api/v3. Only a
	// slash is appended. Empty: DefaultAPIURL.
	APIURL string
	// Token returns the token; surrounding space is dropped. It is called for each operation and,
	// by Poll, every few seconds, so that a changed file is noticed.
	Token func() (string, error)
	// Scopes are polled by Poll, at most MaxScopes. May be empty.
	Scopes []Scope
	// MoreScopes returns further scopes to poll. Poll calls it every few seconds, so it should do
	// no I/O. Beyond MaxScopes in all, the last in the alphabet are ignored. May be nil.
	MoreScopes func() []Scope
	// PollInterval is the time between two rounds. Zero: DefaultPollInterval.
	PollInterval time.Duration
	// Timeout bounds one request including its body. Zero: DefaultTimeout.
	Timeout time.Duration
	// Logger gets changes of state from Poll. Nil: nothing is logged.
	Logger *slog.Logger
	// UserAgent names the program and its version. Empty: "ghostrunner".
	UserAgent string
	// Transport replaces the network in tests. May be nil.
	Transport http.RoundTripper
}

// Client talks to one GitHub with one credential. It is safe for concurrent use.
type Client struct {
	opts      Options
	base      *url.URL // ends in a slash
	transport http.RoundTripper
	cache     *cache
	snapshot  atomic.Pointer[runner.GitHub]
	change    chan struct{} // has one place: changes are made one at a time

	mu              sync.Mutex    // guards the fields below
	scopes          []*scopeState // only Poll replaces the slice, so Poll may read it without mu
	credential      runner.Credential
	credentialToken tokenHash // the token that credential is about
	limits          map[string]runner.RateLimit
	requests        map[string]uint64
	failures        map[string]uint64
	clock           clockEstimate
}

type scopeState struct {
	runner.Scope
	scope      Scope
	permission permission

	// The fields below belong to Poll.
	delay  delay
	logged string // reason of the last logged failure, empty if the scope is up
}

// New checks the options and returns a Client. It opens no connection.
func New(opts Options) (*Client, error) {
	base, err := parseAPIURL(cmp.Or(opts.APIURL, DefaultAPIURL))
	if err != nil {
		return nil, err
	}
	if opts.Token == nil {
		return nil, errors.New("github: no token function")
	}
	opts.Scopes = slices.Clone(opts.Scopes)
	if len(opts.Scopes) > MaxScopes {
		return nil, fmt.Errorf("github: %d scopes, want at most %d", len(opts.Scopes), MaxScopes)
	}
	if len(Distinct(opts.Scopes...)) != len(opts.Scopes) {
		return nil, fmt.Errorf("github: one of the scopes %q is empty or given twice", opts.Scopes)
	}
	opts.PollInterval = cmp.Or(max(opts.PollInterval, 0), DefaultPollInterval)
	opts.Timeout = cmp.Or(max(opts.Timeout, 0), DefaultTimeout)
	opts.Logger = cmp.Or(opts.Logger, slog.New(slog.DiscardHandler))
	opts.UserAgent = cmp.Or(opts.UserAgent, defaultUserAgent)
	c := &Client{
		opts: opts, base: base, transport: opts.Transport, cache: newCache(maxCacheEntries, maxCacheBytes),
		change: make(chan struct{}, 1),
		limits: map[string]runner.RateLimit{}, requests: map[string]uint64{}, failures: map[string]uint64{},
	}
	if c.transport == nil {
		c.transport = newTransport()
	}
	for _, r := range reasons {
		c.failures[r] = 0
	}
	c.setScopes(opts.Scopes)
	return c, nil
}

// parseAPIURL refuses a URL that cannot work or would send the token elsewhere.
func parseAPIURL(raw string) (*url.URL, error) {
	const want = `want "https://api.github.com", or "https://HOST/api/v3" for GitHub Enterprise Server`
	u, err := url.Parse(raw)
	switch {
	case err != nil: // it repeats the URL, which may contain a password
		return nil, errors.New("GitHub API URL is malformed: " + want)
	case u.User != nil:
		return nil, errors.New("GitHub API URL contains a user name or password: " + want)
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("GitHub API URL %q: %s", raw, want)
	case u.Host == "github.com" || u.Host == "www.github.com":
		return nil, fmt.Errorf("GitHub API URL %q is the web site: %s", raw, want)
	}
	u.Path = strings.TrimRight(u.Path, "/") + "/"
	return u, nil
}

func (c *Client) token() (string, error) {
	t, err := c.opts.Token()
	if err != nil {
		return "", err
	}
	t = strings.TrimSpace(t)
	if t == "" {
		return "", errors.New("no token")
	}
	if len(t) > 4096 || strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("it is not a token: it contains spaces, line breaks or other characters")
	}
	return t, nil
}

func (c *Client) begin(op string, scope Scope) (*call, error) {
	if scope.kind == scopeNone {
		return nil, &runner.Error{Op: op, Reason: runner.ReasonInvalid, Err: errors.New("empty scope")}
	}
	token, err := c.token()
	if err != nil {
		return nil, tokenError(op, err)
	}
	return c.call(op, scope, token), nil
}

func tokenError(op string, err error) *runner.Error {
	return &runner.Error{
		Op: op, Reason: runner.ReasonAuth, Err: fmt.Errorf("read token: %w", err),
		Hint: "put a GitHub token into the token file; it is read again before each use",
	}
}

func (c *Client) call(op string, scope Scope, token string) *call {
	return &call{c: c, op: op, scope: scope, token: token, hash: hashToken(token)}
}

// finish turns the error of go-github or of decoding into a *runner.Error, counts it, and publishes
// what the answer says. list says that the operation was the list of runners.
func (l *call) finish(ctx context.Context, list bool, err error) error {
	if err != nil {
		err = l.failure(ctx, err)
	}
	c := l.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := errors.AsType[*runner.Error](err); ok && !errors.Is(err, runner.ErrBusy) { // busy is an answer
		c.failures[e.Reason]++
		if e.Reason == runner.ReasonInvalid {
			c.cache.clear() // a 304 must not confirm a page that is wrong
		}
	}
	c.updateCredential(l, list, err)
	c.publish()
	return err
}

// setScopes sets the polled scopes and reports whether there is a new one. It keeps the state of
// those that stay.
func (c *Client) setScopes(scopes []Scope) (added bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	states := make([]*scopeState, len(scopes))
	for i, s := range scopes {
		if states[i] = c.state(s); states[i] == nil {
			states[i], added = &scopeState{scope: s, Scope: runner.Scope{Name: s.String()}}, true
		}
	}
	c.scopes = states
	if c.credential.Known {
		c.credential.PermissionKnown, c.credential.PermissionSufficient = c.permissions()
	}
	c.publish()
	return added
}

// state finds a polled scope, nil if it is not polled. c.mu is held.
func (c *Client) state(s Scope) *scopeState {
	for _, st := range c.scopes {
		if st.scope == s {
			return st
		}
	}
	return nil
}
