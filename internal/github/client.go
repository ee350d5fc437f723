package github

import (
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

	gogithub "github.com/google/go-github/v60/github"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Defaults of Options.
const (
	DefaultAPIURL       = "https://api.github.com"
	DefaultPollInterval = 30 * time.Second
	DefaultTimeout      = 10 * time.Second // GitHub itself gives up after 10 s of work
	defaultUserAgent    = "ghostrunner"    // GitHub refuses requests without one
)

// MaxScopes bounds what one Client polls. At the default interval they are 64
// requests a minute, of the 900 that GitHub's secondary limit allows a user.
const MaxScopes = 32

// Options configure a Client.
type Options struct {
	// APIURL is the root of the REST API exactly as it is to be used: nothing is
	// appended but a slash. For GitHub Enterprise Server it is
	// https://HOST/api/v3. Empty: DefaultAPIURL.
	APIURL string
	// Token returns the token; surrounding space is dropped. It is called for
	// each round and operation, and every few seconds while waiting, so that a
	// changed file is noticed: it should read a small file and nothing more.
	Token func() (string, error)
	// Scopes are what Poll lists, at most MaxScopes. May be empty for a client
	// that only acts.
	Scopes []Scope
	// MoreScopes returns what is to be listed besides, as it is now; nil: nothing.
	// It is called every few seconds by Poll: it should do no I/O. Those that
	// Scopes has already are ignored, and so are the last in the alphabet of more
	// than MaxScopes in all.
	MoreScopes func() []Scope
	// PollInterval is the time between two rounds. Zero: DefaultPollInterval.
	PollInterval time.Duration
	// Timeout bounds one request including its body. Zero: DefaultTimeout.
	Timeout time.Duration
	// Logger gets changes of state from Poll. Nil: nothing is logged.
	Logger *slog.Logger
	// UserAgent names the program and its version. Empty: "ghostrunner".
	UserAgent string
	// Transport replaces the network in tests. Nil: a transport of its own.
	Transport http.RoundTripper
}

// Client talks to one GitHub with one credential. It is safe for concurrent use.
type Client struct {
	opts      Options
	base      *url.URL // ends in a slash
	transport http.RoundTripper
	cache     *cache
	snapshot  atomic.Pointer[Snapshot]
	mutation  chan struct{} // holds one: changes are made one at a time
	lastWrite time.Time     // of whoever holds mutation

	mu         sync.Mutex // guards what follows
	scopes     []*scopeState
	credential Credential
	judged     tokenHash // the token that credential is about
	limits     map[string]RateLimit
	requests   map[string]uint64
	failures   map[string]uint64
	clock      clockEstimate
}

// scopeState is a polled scope.
type scopeState struct {
	ScopeSnapshot
	scope      Scope
	permission permission
}

// New checks the options and returns a Client. It opens no connection.
func New(opts Options) (*Client, error) {
	if opts.APIURL == "" {
		opts.APIURL = DefaultAPIURL
	}
	base, err := parseAPIURL(opts.APIURL)
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
	if opts.PollInterval <= 0 {
		opts.PollInterval = DefaultPollInterval
	}
	if opts.Timeout <= 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.UserAgent == "" {
		opts.UserAgent = defaultUserAgent
	}
	c := &Client{
		opts: opts, base: base, transport: opts.Transport, cache: newCache(maxCacheEntries, maxCacheBytes),
		mutation: make(chan struct{}, 1),
		limits:   map[string]RateLimit{}, requests: map[string]uint64{}, failures: map[string]uint64{},
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

// parseAPIURL refuses what would send the token astray or could not work.
func parseAPIURL(raw string) (*url.URL, error) {
	const want = `want "https://api.github.com", or "https://HOST/api/v3" for GitHub Enterprise Server`
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		// The parser's error repeats the URL, which may hold a password.
		return nil, errors.New("GitHub API URL is malformed: " + want)
	case u.User != nil:
		return nil, errors.New("GitHub API URL holds a user name or password: " + want)
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("GitHub API URL %q: %s", raw, want)
	case u.Host == "github.com" || u.Host == "www.github.com":
		return nil, fmt.Errorf("GitHub API URL %q is the web site: %s", raw, want)
	}
	u.Path = strings.TrimRight(u.Path, "/") + "/"
	return u, nil
}

// token reads and checks the token.
func (c *Client) token() (string, error) {
	t, err := c.opts.Token()
	if err != nil {
		return "", err
	}
	t = strings.TrimSpace(t)
	if t == "" {
		return "", errNoToken
	}
	if len(t) > 4096 || strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("what was read is not a token: it has spaces, line breaks or other characters inside")
	}
	return t, nil
}

// begin reads the token for one operation.
func (c *Client) begin(op string, scope Scope) (*call, error) {
	if scope.kind == scopeNone {
		return nil, &runner.Error{Op: op, Reason: runner.ReasonInvalid, Err: errors.New("empty scope")}
	}
	token, err := c.token()
	if err != nil {
		return nil, tokenError(op, err)
	}
	return c.call(scope, token), nil
}

func tokenError(op string, err error) *runner.Error {
	return &runner.Error{
		Op: op, Reason: runner.ReasonAuth, Err: fmt.Errorf("read token: %w", err),
		Hint: "put a GitHub token into the token file; it is picked up by itself",
	}
}

func (c *Client) call(scope Scope, token string) *call {
	return &call{c: c, scope: scope, token: token, hash: hashToken(token)}
}

// api is a go-github client for one operation. That it is a new one each time
// keeps all memory of v60 about rate limits out of the way.
func (l *call) api() *gogithub.Client {
	api := gogithub.NewClient(&http.Client{Transport: l, CheckRedirect: l.redirect})
	api.BaseURL = l.c.base
	api.UserAgent = l.c.opts.UserAgent
	return api
}

// finish judges the end of an operation, counts, and publishes. err is what
// go-github or the decoding said. A busy runner and a taken name are answers, not
// failures.
func (l *call) finish(ctx context.Context, op string, list bool, err error) error {
	if err != nil {
		err = l.failure(ctx, op, err)
	}
	c := l.c
	c.mu.Lock()
	defer c.mu.Unlock()
	var e *runner.Error
	if errors.As(err, &e) && !errors.Is(err, runner.ErrBusy) && !errors.Is(err, runner.ErrNameTaken) {
		c.failures[e.Reason]++
		if e.Reason == runner.ReasonInvalid {
			c.cache.clear() // a page that makes no sense must not be confirmed by a 304
		}
	}
	c.learn(l, list, err)
	c.publish()
	return err
}

// setScopes makes these the polled scopes and publishes that. What is known of
// those that stay is kept.
func (c *Client) setScopes(scopes []Scope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	states := make([]*scopeState, len(scopes))
	for i, s := range scopes {
		if states[i] = c.state(s); states[i] == nil {
			states[i] = &scopeState{scope: s, ScopeSnapshot: ScopeSnapshot{Scope: s.String()}}
		}
	}
	c.scopes = states
	if c.credential.Known {
		c.credential.PermissionKnown, c.credential.PermissionSufficient = c.permissions()
	}
	c.publish()
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
