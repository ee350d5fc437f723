package dockerproxy

import (
	"fmt"
	"strings"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// pairs are labels KEY=VALUE that an object must all have.
type pairs []string

func parsePairs(list ...string) (pairs, error) {
	for _, item := range list {
		if key, value, _ := strings.Cut(item, "="); key == "" || value == "" {
			return nil, fmt.Errorf("label %q: want KEY=VALUE", item)
		}
	}
	return list, nil
}

func (p pairs) in(labels map[string]string) bool {
	for _, want := range p {
		if key, value, _ := strings.Cut(want, "="); labels[key] != value {
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
