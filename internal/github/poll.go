package github

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

const (
	tokenCheck = 5 * time.Second
	// maxAuthWait bounds the delay after a 401. After several invalid tokens in a short time GitHub
	// refuses valid ones too.
	maxAuthWait      = 10 * time.Minute
	maxRefusedWait   = 2 * time.Minute
	maxServerWait    = time.Minute
	maxSecondaryWait = 16 * time.Minute
	// fullCheck is how often pages are read unconditionally, because GitHub does not document that
	// a 304 states the token's scopes and expiry.
	fullCheck = 6 * time.Hour
)

// Poll lists every scope each PollInterval until ctx ends, and then returns nil. Call it once. A
// new scope of Options.MoreScopes is listed within seconds.
//
// A failure of one scope delays that scope. A rejected token or a used-up quota delays all, because
// both belong to the user:
//
//	auth          PollInterval doubled each time, at most 10 min; at once if the token changes
//	rate_limited  Retry-After, else until the reset, else 1 min doubled, at most 16 min
//	permission, not_found, invalid  PollInterval doubled, at most 2 min; at once if the token changes
//	server        Retry-After, else PollInterval doubled, at most 1 min
//	network, timeout  PollInterval: it costs no quota, and recovery should be noticed soon
func (c *Client) Poll(ctx context.Context) error {
	p := &poller{c: c}
	p.updateScopes()
	for ctx.Err() == nil {
		p.round(ctx)
		p.wait(ctx)
	}
	return nil
}

type delay struct {
	failures int // in a row
	until    time.Time
}

type poller struct {
	c         *Client
	token     string // of the present round, empty if there is none
	tokenErr  string // last error of reading it, to log changes only
	lastFull  time.Time
	next      time.Time // of the next round
	all       delay     // after auth and rate_limited
	allReason string
	leftOut   int // scopes beyond MaxScopes, to log changes only
}

// byName orders scopes without regard to case first, so that the order is stable.
func byName(a, b Scope) int {
	return cmp.Or(strings.Compare(strings.ToLower(a.String()), strings.ToLower(b.String())), strings.Compare(a.String(), b.String()))
}

func (p *poller) updateScopes() (added bool) {
	scopes := p.c.opts.Scopes
	if p.c.opts.MoreScopes != nil {
		more := slices.Clone(p.c.opts.MoreScopes())
		slices.SortFunc(more, byName)
		scopes = Distinct(slices.Concat(scopes, more)...)
	}
	leftOut := max(0, len(scopes)-MaxScopes)
	scopes = scopes[:len(scopes)-leftOut]
	if p.leftOut != leftOut && leftOut > 0 {
		p.c.opts.Logger.Warn("Too many GitHub scopes, the last in the alphabet are not polled", "polled", MaxScopes, "left_out", leftOut)
	}
	p.leftOut = leftOut
	return p.c.setScopes(scopes)
}

func (p *poller) round(ctx context.Context) {
	now := time.Now()
	p.next = now.Add(spread(p.c.opts.PollInterval))
	if p.readToken(); p.token == "" || now.Before(p.all.until) {
		return
	}
	if now.Sub(p.lastFull) >= fullCheck {
		p.c.cache.clear()
		p.lastFull = now
	}
	p.updateScopes()
	for _, st := range p.c.scopes {
		if now.Before(st.delay.until) {
			continue
		}
		err := p.refresh(ctx, st)
		if ctx.Err() != nil || !p.backOff(st, err) {
			return
		}
	}
}

// readToken reads the token. A changed one ends every delay that a token can end.
func (p *poller) readToken() (changed bool) {
	token, err := p.c.token()
	if err != nil {
		e := tokenError("poll GitHub", err)
		if text := err.Error(); text != p.tokenErr {
			p.tokenErr, p.token = text, ""
			p.c.opts.Logger.Error("No GitHub token, nothing is polled", "err", e, "hint", e.Hint)
			p.c.dropCredential()
			p.c.setAllDown(e)
		}
		return false
	}
	if p.tokenErr != "" {
		p.tokenErr = ""
		p.c.opts.Logger.Info("GitHub token found")
	}
	changed = token != p.token
	if changed && p.token != "" {
		p.c.opts.Logger.Info("GitHub token changed, checking it")
	}
	if changed {
		p.c.cache.clear() // a 304 may not state the new token's expiry
		p.lastFull = time.Now()
		if p.allReason != runner.ReasonRateLimited {
			p.all = delay{}
		}
		for _, st := range p.c.scopes {
			st.delay = delay{}
		}
	}
	p.token = token
	return changed
}

func (p *poller) refresh(ctx context.Context, st *scopeState) error {
	started := wallNow()
	list, err := p.c.call("list runners of "+st.scope.String(), st.scope, p.token).runners(ctx)
	if err != nil && ctx.Err() != nil {
		return err
	}
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	st.LastAttempt, st.Up, st.LastError = started, err == nil, err
	if err == nil {
		st.LastSuccess, st.Runners = wallNow(), list
	}
	p.c.publish()
	return err
}

// backOff sets the delays after one scope was listed, and reports whether to go on with the others.
func (p *poller) backOff(st *scopeState, err error) bool {
	p.log(st, err)
	var e *runner.Error
	if !errors.As(err, &e) {
		st.delay, p.all = delay{}, delay{}
		return true
	}
	interval := p.c.opts.PollInterval
	now := time.Now()
	switch e.Reason {
	case runner.ReasonAuth, runner.ReasonRateLimited:
		if p.allReason != e.Reason {
			p.all = delay{}
		}
		p.allReason = e.Reason
		wait := doubled(interval, p.all.failures+1, maxAuthWait)
		if e.Reason == runner.ReasonRateLimited {
			wait = cmp.Or(e.RetryAfter, doubled(secondaryWait, p.all.failures, maxSecondaryWait))
		}
		p.all = delay{p.all.failures + 1, now.Add(wait)}
		p.c.setAllDown(e)
		return false
	case runner.ReasonPermission, runner.ReasonNotFound, runner.ReasonInvalid:
		st.delay = delay{st.delay.failures + 1, now.Add(doubled(interval, st.delay.failures, maxRefusedWait))}
	case runner.ReasonServer:
		wait := cmp.Or(e.RetryAfter, doubled(interval, st.delay.failures, maxServerWait))
		st.delay = delay{st.delay.failures + 1, now.Add(wait)}
	default: // network, timeout
		st.delay = delay{}
		if idle, ok := p.c.transport.(interface{ CloseIdleConnections() }); ok {
			idle.CloseIdleConnections() // they may be dead
		}
	}
	return true
}

func (p *poller) log(st *scopeState, err error) {
	logger, scope := p.c.opts.Logger, st.scope.String()
	var e *runner.Error
	switch {
	case errors.As(err, &e) && e.Reason != st.logged:
		st.logged = e.Reason
		logger.Warn("GitHub poll failed", "scope", scope, "err", e, "hint", e.Hint)
	case err == nil && st.logged != "":
		st.logged = ""
		logger.Info("GitHub answers again", "scope", scope)
	}
}

func (p *poller) due() time.Time {
	if len(p.c.scopes) == 0 {
		return p.next
	}
	first := slices.MinFunc(p.c.scopes, func(a, b *scopeState) int { return a.delay.until.Compare(b.delay.until) })
	return slices.MaxFunc([]time.Time{p.next, p.all.until, first.delay.until}, time.Time.Compare)
}

// wait sleeps until a scope is due, the token changes, or there is a new scope and no common delay.
func (p *poller) wait(ctx context.Context) {
	for {
		left := time.Until(p.due())
		if left <= 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(left, tokenCheck)):
		}
		if p.readToken() || p.updateScopes() && !time.Now().Before(p.all.until) {
			return
		}
	}
}

func (c *Client) dropCredential() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setCredentialToken(tokenHash{})
	c.publish()
}

func (c *Client) setAllDown(err *runner.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range c.scopes {
		st.Up, st.LastError = false, err
	}
	c.publish()
}

// doubled returns base doubled n times, at most limit and at least base.
func doubled(base time.Duration, n int, limit time.Duration) time.Duration {
	return max(base, min(base<<min(n, 10), limit))
}

// spread varies an interval by a tenth, so that many hosts do not ask at the same time and Date
// headers fall on different parts of a second.
func spread(d time.Duration) time.Duration {
	return d - d/20 + rand.N(d/10+1)
}
