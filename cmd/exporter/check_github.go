package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/blueguy23/ghostrunner/internal/collector"
	"github.com/blueguy23/ghostrunner/internal/github"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// maxAsked bounds the scopes that are asked at the same time.
const maxAsked = 4

// readGitHub lists the runners of every scope, and judges the token by the answers.
func (c *checker) readGitHub(ctx context.Context) []finding {
	if c.github == nil {
		remedy := remedyOwner
		if c.cfg.github.Token() == nil {
			remedy = remedyToken
		}
		return []finding{fail(collector.NameGitHub, errors.New("off"), remedy)}
	}
	// The first one alone: GitHub locks out a user who shows a bad token many times.
	first, rejected := c.readScope(ctx, c.scopes[0])
	out := []finding{first}
	if !rejected {
		scopes := c.scopes
		if cs, err := c.containers(); err == nil {
			labeled, _ := scopesOf(cs) // a bad label is reported with the containers
			scopes = github.Distinct(append(scopes[:len(scopes):len(scopes)], labeled...)...)
		}
		if more := len(scopes) - github.MaxScopes; more > 0 {
			scopes = scopes[:github.MaxScopes]
			out = append(out, fail(collector.NameGitHub, fmt.Errorf("%d scopes more than the %d that are polled", more, github.MaxScopes), remedyLabel))
		}
		rest := make([]finding, len(scopes)-1)
		var g errgroup.Group
		g.SetLimit(maxAsked)
		for i, scope := range scopes[1:] {
			g.Go(func() error { rest[i], _ = c.readScope(ctx, scope); return nil })
		}
		_ = g.Wait() // none returns an error
		out = append(out, rest...)
	}
	return append(out, c.judgeCredential())
}

// readScope reports whether GitHub rejected the token.
func (c *checker) readScope(ctx context.Context, scope github.Scope) (f finding, rejected bool) {
	runners, err := c.github.Runners(ctx, scope)
	if err != nil {
		var e *runner.Error
		f = fail(collector.NameGitHub, err)
		if errors.As(err, &e) {
			rejected = e.Reason == runner.ReasonAuth
			f = fail(collector.NameGitHub, err, e.Hint)
			if e.Reason == runner.ReasonNetwork || e.Reason == runner.ReasonTimeout {
				f.Remedy = c.host.remedies(e.Hint, adviceUpdate)
			}
		}
		return f, rejected
	}
	online, busy := 0, 0
	for _, r := range runners {
		if r.Online() {
			online++
		}
		if r.Busy {
			busy++
		}
	}
	detail := fmt.Sprintf("%s has %s, %d online, %d busy", scope, count(len(runners), "runner"), online, busy)
	limits := c.github.Snapshot().RateLimits
	if i := slices.IndexFunc(limits, func(l runner.RateLimit) bool { return l.Resource == "core" }); i >= 0 {
		detail += fmt.Sprintf("; %d of %d requests left", limits[i].Remaining, limits[i].Limit)
	}
	return good(collector.NameGitHub, detail), false
}

// judgeCredential judges the token by the answers.
func (c *checker) judgeCredential() finding {
	k := c.github.Snapshot().Credential
	switch {
	case !k.Known:
		return note(collector.NameCredential, "GitHub said nothing about the token", "see above")
	case !k.Valid:
		return fail(collector.NameCredential, errors.New("GitHub rejects the token"), remedyRejected)
	case k.PermissionKnown && !k.PermissionSufficient:
		return fail(collector.NameCredential, errors.New("valid, but it may not list the runners of every scope above"), remedyPermission)
	case k.Expiry.IsZero():
		return good(collector.NameCredential, "valid, GitHub reports no expiry")
	default:
		return good(collector.NameCredential, "valid, expires "+k.Expiry.UTC().Format(time.RFC3339))
	}
}
