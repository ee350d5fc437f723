package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/blueguy23/ghostrunner/internal/github"
	"github.com/blueguy23/ghostrunner/internal/supervisor"
)

// preflightTimeout bounds all that preflight asks others.
const preflightTimeout = 20 * time.Second

// preflight prints every problem with its remedy and returns the exit code. The settings' own problems are known already.
func preflight(ctx context.Context, cfg config, problems []supervisor.Problem, stdout io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	if cfg.github.Token() != nil {
		found := supervisor.CheckToken(cfg.github.TokenFile, cfg.user)
		problems = append(problems, found...)
		if cfg.scope.String() != "" {
			problems = append(problems, checkGitHub(ctx, cfg)...)
		}
	}
	problems = append(problems, supervisor.CheckRoot(cfg.root, cfg.user)...)
	problems = append(problems, supervisor.CheckDocker(ctx, cfg.dockerSocket, cfg.user)...)
	problems = append(problems, supervisor.CheckSpace(cfg.root, minFree)...)
	if len(problems) == 0 {
		_, _ = fmt.Fprintln(stdout, "Everything that the slot needs is there.")
		return 0
	}
	for _, p := range problems {
		_, _ = fmt.Fprintf(stdout, "✗ %s\n  → %s\n", p.What, p.Remedy)
	}
	return 1
}

// checkGitHub asks GitHub for the runners of the scope: the token is accepted and sees them, or not.
func checkGitHub(ctx context.Context, cfg config) []supervisor.Problem {
	r, err := newRegistrar(cfg)
	if err != nil {
		return []supervisor.Problem{{What: err.Error(), Remedy: "correct --github.api-url (GITHUB_API_URL)"}}
	}
	if _, err = r.Runners(ctx); err == nil {
		return nil
	}
	remedy := "see that " + cfg.github.APIURL + " can be reached from here"
	if e, ok := errors.AsType[*github.Error](err); ok && e.Hint != "" {
		remedy = e.Hint
	}
	return []supervisor.Problem{{What: err.Error(), Remedy: remedy}}
}
