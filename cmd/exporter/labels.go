package main

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/blueguy23/ghostrunner/internal/github"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// labelScopes reads the scopes that slots of this machine have in their label ghostrunner.scope.
type labelScopes struct {
	containers func() (containers []runner.Container, up bool)
	logger     *slog.Logger

	known  []runner.Container // when the engine was last up: GitHub's view does not end with Docker's
	logged string             // the last error that was logged
}

// current returns the scopes. Only the goroutine that polls GitHub calls it.
func (l *labelScopes) current() []github.Scope {
	if containers, up := l.containers(); up {
		l.known = containers
	}
	scopes, err := scopesOf(l.known)
	var text string
	if err != nil {
		text = err.Error()
	}
	if text != l.logged && text != "" {
		l.logger.Warn("A container's label is not a scope of GitHub, its slot is not polled", "err", text, "remedy", remedyLabel)
	}
	l.logged = text
	return scopes
}

// scopesOf reads the labels of the runners. The error names each label that cannot be read; the
// other scopes are returned with it.
func scopesOf(containers []runner.Container) (scopes []github.Scope, err error) {
	var bad []string
	for _, c := range containers {
		if c.Runner == "" || c.Scope == "" {
			continue
		}
		switch scope, err := github.ParseScope(c.Scope); {
		case err != nil:
			bad = append(bad, fmt.Sprintf("%s: ghostrunner.scope=%.200q", c.Name, c.Scope))
		case !slices.Contains(scopes, scope):
			scopes = append(scopes, scope)
		}
	}
	if len(bad) > 0 {
		err = errors.New(strings.Join(bad, ", "))
	}
	return scopes, err
}
