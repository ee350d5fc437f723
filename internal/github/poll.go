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
// It must be called once. A scope that Options.MoreScopes names for the first
// time is asked within seconds.
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
	p := &poller{c: c}
	p.adopt()
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
	scopes    []*turn // the static ones, then the others by name
	tooMany   int     // scopes that were left out, to log changes only
}

// turn is what the loop remembers of one scope.
type turn struct {
	scope  Scope
	delay  delay
	reason string // last logged failure, "" if it is up
}

// byName orders scopes as people would. Those that differ in case only are
// neighbours, in an order that is always the same.
func byName(a, b Scope) int {
	return cmp.Or(strings.Compare(strings.ToLower(a.String()), strings.ToLower(b.String())), strings.Compare(a.String(), b.String()))
}

// adopt takes over the scopes as they are named now. It reports whether there is
// one among them that was not there before.
func (p *poller) adopt() (added bool) {
	scopes := p.c.opts.Scopes
	if p.c.opts.MoreScopes != nil {
		more := slices.Clone(p.c.opts.MoreScopes())
		slices.SortFunc(more, byName)
		scopes = Distinct(slices.Concat(scopes, more)...)
	}
	tooMany := max(0, len(scopes)-MaxScopes)
	scopes = scopes[:len(scopes)-tooMany]
	if p.tooMany != tooMany && tooMany > 0 {
		p.c.opts.Logger.Warn("too many GitHub scopes, the last in the alphabet are not asked", "asked", MaxScopes, "left_out", tooMany)
	}
	p.tooMany = tooMany
	if slices.EqualFunc(p.scopes, scopes, func(t *turn, s Scope) bool { return t.scope == s }) {
		return false
	}
	turns := make([]*turn, len(scopes))
	for i, s := range scopes {
		known := slices.IndexFunc(p.scopes, func(t *turn) bool { return t.scope == s })
		if known < 0 {
			turns[i], added = &turn{scope: s}, true
		} else {
			turns[i] = p.scopes[known]
		}
	}
	p.scopes = turns
	p.c.setScopes(scopes)
	return added
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
	p.adopt()
	for _, t := range p.scopes {
		if now.Before(t.delay.until) {
			continue
		}
		err := p.c.refresh(ctx, t.scope, p.token)
		if ctx.Err() != nil {
			return
		}
		if !p.record(t, err) {
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
		if p.allReason != runner.ReasonRateLimited {
			p.all = delay{}
		}
		for _, t := range p.scopes {
			t.delay = delay{}
		}
	}
	p.started, p.token = true, token
	return changed
}

// record sets the delays after one scope was asked. It reports whether to go on
// with the others.
func (p *poller) record(t *turn, err error) bool {
	p.log(t, err)
	var e *runner.Error
	if !errors.As(err, &e) {
		t.delay, p.all = delay{}, delay{}
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
			if wait = e.RetryAfter; wait == 0 {
				wait = doubled(secondaryWait, p.all.failures, maxSecondaryWait)
			}
		}
		p.all = delay{failures: p.all.failures + 1, until: now.Add(wait)}
		p.c.allDown(e)
		return false
	case runner.ReasonPermission, runner.ReasonNotFound, runner.ReasonInvalid:
		t.delay = delay{t.delay.failures + 1, now.Add(doubled(interval, t.delay.failures, maxRefusedWait))}
	case runner.ReasonServer:
		wait := e.RetryAfter
		if wait == 0 {
			wait = doubled(interval, t.delay.failures, maxServerWait)
		}
		t.delay = delay{t.delay.failures + 1, now.Add(wait)}
	default: // network, timeout
		t.delay = delay{}
		if idle, ok := p.c.transport.(interface{ CloseIdleConnections() }); ok {
			idle.CloseIdleConnections() // do not try a dead one again
		}
	}
	return true
}

// log tells of changes only: a new reason, and that it works again.
func (p *poller) log(t *turn, err error) {
	logger, scope := p.c.opts.Logger, t.scope.String()
	var e *runner.Error
	switch {
	case errors.As(err, &e) && e.Reason != t.reason:
		t.reason = e.Reason
		logger.Warn("GitHub poll failed", "scope", scope, "err", e, "hint", e.Hint)
	case err == nil && t.reason != "":
		t.reason = ""
		logger.Info("GitHub answers again", "scope", scope)
	}
}

// due is when the next round has something to ask.
func (p *poller) due() time.Time {
	if len(p.scopes) == 0 {
		return p.next
	}
	first := slices.MinFunc(p.scopes, func(a, b *turn) int { return a.delay.until.Compare(b.delay.until) })
	return slices.MaxFunc([]time.Time{p.next, p.all.until, first.delay.until}, time.Time.Compare)
}

// wait sleeps until something is due. A changed token and a new scope make it due
// at once, the latter not while all scopes have to wait.
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
		if p.readToken() || p.adopt() && !time.Now().Before(p.all.until) {
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
func (c *Client) allDown(err *runner.Error) {
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
