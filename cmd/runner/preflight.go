package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
	"github.com/blueguy23/ghostrunner/internal/supervisor"
)

// preflightTimeout bounds all that preflight asks others.
const preflightTimeout = 20 * time.Second

// preflight prints every problem with its remedy and returns the exit code. The settings' own problems are known already.
func preflight(ctx context.Context, cfg config, problems []supervisor.Problem, stdout io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	problems = append(problems, checkHere(cfg)...)
	r, err := newRegistrar(cfg)
	if err != nil && cfg.github.Token() != nil {
		problems = append(problems, supervisor.Problem{What: err.Error(), Remedy: "correct --github.api-url (GITHUB_API_URL)"})
	}
	problems = append(problems, checkAround(ctx, cfg, r, true)...)
	if len(problems) == 0 {
		_, _ = fmt.Fprintln(stdout, "Everything that the slot needs is there.")
		return 0
	}
	for _, p := range problems {
		_, _ = fmt.Fprintf(stdout, "✗ %s\n  → %s\n", p.What, p.Remedy)
	}
	return 1
}

// checkHere looks at what this container brings along. Without some of it a slot cannot begin.
func checkHere(cfg config) []supervisor.Problem {
	return slices.Concat(
		supervisor.CheckRoot(cfg.root, cfg.user),
		supervisor.CheckSudo(cfg.sudoers, cfg.sudo),
		supervisor.CheckGit(),
		supervisor.CheckKeepalive(cfg.procfs),
		supervisor.CheckSpace(cfg.root, minFree),
	)
}

// checkAround looks at what others give: the token, GitHub, the Docker engine. It may be there later. thorough asks GitHub also for the
// right to register, which a registration finds out by itself. r may be nil.
func checkAround(ctx context.Context, cfg config, r *registrar, thorough bool) []supervisor.Problem {
	problems := supervisor.CheckToken(cfg.github.TokenFile, cfg.user)
	if r != nil && cfg.scope.String() != "" {
		problems = append(problems, checkGitHub(ctx, r, cfg.github.APIURL, thorough)...)
	}
	return append(problems, supervisor.CheckDocker(ctx, cfg.dockerSocket, cfg.user)...)
}

// checkGitHub asks GitHub for the runners of the scope: the token is accepted and sees them, or not.
func checkGitHub(ctx context.Context, r *registrar, api string, thorough bool) []supervisor.Problem {
	_, err := r.Runners(ctx)
	if err == nil && thorough {
		err = r.client.CheckRegister(ctx, r.scope)
	}
	if err == nil {
		return nil
	}
	remedy := "see that " + api + " can be reached from here"
	if e, ok := errors.AsType[*runner.Error](err); ok && e.Hint != "" {
		remedy = e.Hint
	}
	return []supervisor.Problem{{What: err.Error(), Remedy: remedy}}
}
