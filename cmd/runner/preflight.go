package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/runner"
	"github.com/blueguy23/ghostrunner/internal/supervisor"
)

const preflightTimeout = 20 * time.Second

// minFree is the least free space for a job, in bytes. Below it GhostrunnerDiskCritical fires.
const minFree = 2e9

// preflight prints every problem with its remedy and returns the exit code. problems are those that
// are already known.
func preflight(ctx context.Context, cfg config, problems []supervisor.Problem, stdout io.Writer) int {
	r, err := newRegistrar(cfg)
	if err != nil && cfg.github.Token() != nil {
		problems = append(problems, supervisor.Problem{What: err.Error(), Remedy: "correct --github.api-url (GITHUB_API_URL)"})
	}
	problems = append(problems, checkOutside(ctx, cfg, r, true)...)
	if len(problems) == 0 {
		_, _ = fmt.Fprintln(stdout, "Everything that the slot needs is there.")
		return 0
	}
	for _, p := range problems {
		_, _ = fmt.Fprintf(stdout, "✗ %s\n  → %s\n", p.What, p.Remedy)
	}
	return 1
}

func checkContainer(cfg config) []supervisor.Problem {
	return slices.Concat(
		supervisor.CheckRoot(cfg.root, cfg.user),
		supervisor.CheckProgram(cfg.root, cfg.user),
		supervisor.CheckSudo(cfg.sudo),
		supervisor.CheckSpace(cfg.root, minFree),
	)
}

// checkOutside checks the token, GitHub and the Docker engine, which may come later. thorough also
// checks the permission to register, which a registration does by itself. r may be nil.
func checkOutside(ctx context.Context, cfg config, r *registrar, thorough bool) []supervisor.Problem {
	ctx, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	problems := supervisor.CheckToken(cfg.github.TokenFile, cfg.user)
	if r != nil && cfg.scope.String() != "" {
		problems = append(problems, checkGitHub(ctx, r, cfg.github.APIURL, thorough)...)
	}
	return append(problems, checkDocker(ctx, cfg)...)
}

func checkDocker(ctx context.Context, cfg config) []supervisor.Problem {
	problems := supervisor.CheckDocker(cfg.dockerSocket, cfg.user)
	if _, err := os.Stat(cfg.dockerSocket); err != nil || len(problems) > 0 {
		return problems
	}
	if err := cli.PingDocker(ctx, cfg.dockerSocket); err != nil {
		return []supervisor.Problem{{What: "no Docker engine answers at " + cfg.dockerSocket + " (" + err.Error() + ")",
			Remedy: "start the Docker engine on the host, or the proxy in front of it"}}
	}
	return nil
}

func checkGitHub(ctx context.Context, r *registrar, api string, thorough bool) []supervisor.Problem {
	_, err := r.Runners(ctx)
	if err == nil && thorough {
		err = r.client.CheckRegister(ctx, r.scope)
	}
	if err == nil {
		return nil
	}
	remedy := "check that " + api + " can be reached from here"
	if e, ok := errors.AsType[*runner.Error](err); ok && e.Hint != "" {
		remedy = e.Hint
	}
	return []supervisor.Problem{{What: err.Error(), Remedy: remedy}}
}
