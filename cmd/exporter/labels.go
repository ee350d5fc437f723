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

// labelScopes is where the slots of this machine register beside the configured scopes, by their label ghostrunner.scope.
type labelScopes struct {
	containers func() (containers []runner.Container, up bool)
	logger     *slog.Logger

	known []runner.Container // when the engine was last up: GitHub's view does not end with Docker's
	told  string             // what was logged last
}

// current is called by the one goroutine that polls GitHub.
func (l *labelScopes) current() []github.Scope {
	if containers, up := l.containers(); up {
		l.known = containers
	}
	scopes, err := scopesOf(l.known)
	var text string
	if err != nil {
		text = err.Error()
	}
	if text != l.told && text != "" {
		l.logger.Warn("a container's label names no place of runners, its slot has no view of GitHub", "err", text, "remedy", remedyLabel)
	}
	l.told = text
	return scopes
}

// scopesOf reads the labels of the runners. The error names each one that cannot be read, and there are scopes beside it.
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
