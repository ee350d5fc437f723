package dockerproxy

import (
	"fmt"
	"strings"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// pair is a label with its value.
type pair struct{ key, value string }

func (p pair) String() string { return p.key + "=" + p.value }

// pairs are labels that an object must all have.
type pairs []pair

func parsePairs(list ...string) (pairs, error) {
	var out pairs
	for _, item := range list {
		key, value, ok := strings.Cut(item, "=")
		if !ok || key == "" || value == "" {
			return nil, fmt.Errorf("label %q: want KEY=VALUE", item)
		}
		out = append(out, pair{key, value})
	}
	return out, nil
}

// in reports whether an object has all of them.
func (p pairs) in(labels map[string]string) bool {
	for _, want := range p {
		if got, ok := labels[want.key]; !ok || got != want.value {
			return false
		}
	}
	return true
}

// healable reports whether the container may be stopped and started at all. To Docker a back-off
// and a restart are the same calls; the remediator decides which of the two is allowed.
func healable(labels map[string]string) bool {
	c := runner.Container{Role: labels[runner.LabelRole], Heal: runner.ParseHeal(labels[runner.LabelHeal])}
	return (c.Role == runner.RoleRunner || c.Role == runner.RoleService) && (c.Allows("restart") || c.Allows("backoff"))
}
