package github

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"
)

// Times of the poll loop.
const (
	// tokenCheck is how often a waiting poll looks whether the token changed.
	tokenCheck = 5 * time.Second
	// maxAuthWait bounds the doubling after a 401. GitHub locks the user out,
	// valid tokens too, after several rejected tries in a short time.
	maxAuthWait = 10 * time.Minute
	// maxRefusedWait bounds it after answers that only the operator can change.
	maxRefusedWait = 2 * time.Minute
	// maxServerWait bounds it after a 5xx.
	maxServerWait = time.Minute
	// maxSecondaryWait bounds it after a limit that names no time.
	maxSecondaryWait = 16 * time.Minute
	// fullCheck is how often the pages are read anew instead of conditionally,
	// because it is not documented that a 304 states scopes and expiry.
	fullCheck = 6 * time.Hour
)

// Poll lists every scope each PollInterval until ctx ends, and returns nil then.
// It must be called once.
//
// A failure of one scope delays that scope; a rejected token or an exhausted
// quota delays all, since both belong to the user:
//
//	auth          PollInterval doubled each time, at most 10 min; at once if the token changes
//	rate_limited  Retry-After, else until the reset, else 1 min doubled, at most 16 min
//	permission, not_found, invalid  PollInterval doubled, at most 2 min; at once if the token changes
//	server        Retry-After, else PollInterval doubled, at most 1 min
//	network, timeout  PollInterval: it costs no quota, and the way back should be short
func (c *Client) Poll(ctx context.Context) error {
	p := &poller{c: c, scopes: make([]delay, len(c.opts.Scopes)), reasons: make([]string, len(c.opts.Scopes))}
	for ctx.Err() == nil {
		p.round(ctx)
		p.wait(ctx)
	}
	return nil
}

// delay is a back-off: how often in a row it failed and until when to wait. The
// zero delay is none.
type delay struct {
	failures int
	until    time.Time
}

// poller is the state of the loop, used by its goroutine alone.
type poller struct {
	c         *Client
	token     string // of the present round, "" if there is none
	tokenErr  string // last error of reading it, to log changes only
	started   bool
	lastFull  time.Time
	next      time.Time // of the next round
	all       delay     // auth and quota
	allReason string
	scopes    []delay
	reasons   []string // last logged failure of each scope, "" if it is up
}

// round asks for every scope that is due.
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
	for i := range p.scopes {
		if now.Before(p.scopes[i].until) {
			continue
		}
		err := p.c.refresh(ctx, p.c.opts.Scopes[i], p.token)
		if ctx.Err() != nil {
			return
		}
		if !p.record(i, err) {
			return
		}
	}
}

// readToken takes the token as it is now. A changed one ends every delay that a
// token can end.
func (p *poller) readToken() (changed bool) {
	token, err := p.c.token()
	if err != nil {
		if text := err.Error(); text != p.tokenErr {
			p.tokenErr = text
			e := tokenError("poll GitHub", err)
			p.c.opts.Logger.Error("no GitHub token, nothing is asked", "err", e, "hint", e.Hint)
		}
		if p.token != "" || !p.started {
			p.started, p.token = true, ""
			p.c.withoutToken()
			p.c.allDown(tokenError("poll GitHub", err))
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
		// Read the pages anew: a 304 may not state this token's expiry.
		p.c.cache.clear()
		p.lastFull = time.Now()
		if p.allReason != ReasonRateLimited {
			p.all = delay{}
		}
		clear(p.scopes)
	}
	p.started, p.token = true, token
	return changed
}

// record sets the delays after one scope was asked. It reports whether to go on
// with the others.
func (p *poller) record(i int, err error) bool {
	p.log(i, err)
	var e *Error
	if !errors.As(err, &e) {
		p.scopes[i], p.all = delay{}, delay{}
		return true
	}
	interval := p.c.opts.PollInterval
	now := time.Now()
	switch e.Reason {
	case ReasonAuth, ReasonRateLimited:
		if p.allReason != e.Reason {
			p.all = delay{}
		}
		p.allReason = e.Reason
		wait := doubled(interval, p.all.failures+1, maxAuthWait)
		if e.Reason == ReasonRateLimited {
			if wait = e.RetryAfter; wait == 0 {
				wait = doubled(secondaryWait, p.all.failures, maxSecondaryWait)
			}
		}
		p.all = delay{failures: p.all.failures + 1, until: now.Add(wait)}
		p.c.allDown(e)
		return false
	case ReasonPermission, ReasonNotFound, ReasonInvalid:
		p.scopes[i] = delay{p.scopes[i].failures + 1, now.Add(doubled(interval, p.scopes[i].failures, maxRefusedWait))}
	case ReasonServer:
		wait := e.RetryAfter
		if wait == 0 {
			wait = doubled(interval, p.scopes[i].failures, maxServerWait)
		}
		p.scopes[i] = delay{p.scopes[i].failures + 1, now.Add(wait)}
	default: // network, timeout
		p.scopes[i] = delay{}
		if t, ok := p.c.transport.(interface{ CloseIdleConnections() }); ok {
			t.CloseIdleConnections() // do not try a dead one again
		}
	}
	return true
}

// log tells of changes only: a new reason, and that it works again.
func (p *poller) log(i int, err error) {
	logger, scope := p.c.opts.Logger, p.c.opts.Scopes[i].String()
	var e *Error
	switch {
	case errors.As(err, &e) && e.Reason != p.reasons[i]:
		p.reasons[i] = e.Reason
		logger.Warn("GitHub poll failed", "scope", scope, "err", e, "hint", e.Hint)
	case err == nil && p.reasons[i] != "":
		p.reasons[i] = ""
		logger.Info("GitHub answers again", "scope", scope)
	}
}

// due is when the next round has something to ask.
func (p *poller) due() time.Time {
	if len(p.scopes) == 0 {
		return p.next
	}
	first := slices.MinFunc(p.scopes, func(a, b delay) int { return a.until.Compare(b.until) })
	return slices.MaxFunc([]time.Time{p.next, p.all.until, first.until}, time.Time.Compare)
}

// wait sleeps until something is due. A changed token makes it due at once.
func (p *poller) wait(ctx context.Context) {
	for {
		left := time.Until(p.due())
		if left <= 0 {
			return
		}
		timer := time.NewTimer(min(left, tokenCheck))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if p.readToken() {
			return
		}
	}
}

// refresh lists one scope and puts the result into the snapshot.
func (c *Client) refresh(ctx context.Context, s Scope, token string) error {
	started := wallNow()
	list, err := c.call(s, token).runners(ctx, "list runners of "+s.String())
	if err != nil && ctx.Err() != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.state(s)
	st.LastAttempt, st.Up, st.LastError = started, err == nil, err
	if err == nil {
		st.LastSuccess, st.Runners = wallNow(), list
	}
	c.publish()
	return err
}

// withoutToken forgets what was known of the token: there is none.
func (c *Client) withoutToken() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.credential, c.judged = Credential{}, tokenHash{}
	for _, st := range c.scopes {
		st.permission = permissionUnknown
	}
	c.publish()
}

// allDown says of every scope that it cannot be asked, also of those whose turn
// did not come.
func (c *Client) allDown(err *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range c.scopes {
		st.Up, st.LastError = false, err
	}
	c.publish()
}

// doubled is base doubled n times, at most limit but never below base.
func doubled(base time.Duration, n int, limit time.Duration) time.Duration {
	d := base
	for range n {
		if d >= limit {
			break
		}
		d = min(2*d, limit)
	}
	return d
}

// spread varies an interval by a tenth, so that many hosts do not ask at once
// and the Date headers meet different parts of the second.
func spread(d time.Duration) time.Duration {
	return d - d/20 + rand.N(d/10+1)
}
