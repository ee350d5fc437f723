package dockerproxy

import (
	"fmt"
	"strings"
)

// Labels of containers (README.md); each package that reads them says so itself.
const (
	labelRole = "ghostrunner.role"
	labelHeal = "ghostrunner.heal"

	roleRunner  = "runner"
	roleService = "service"
)

// pair is a label with its value.
type pair struct{ key, value string }

func (p pair) String() string { return p.key + "=" + p.value }

// pairs are labels that must all be there.
type pairs []pair

func parsePairs(list []string) (pairs, error) {
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

// in reports whether a container or an image carries them all.
func (p pairs) in(labels map[string]string) bool {
	for _, want := range p {
		if got, ok := labels[want.key]; !ok || got != want.value {
			return false
		}
	}
	return true
}

// heals reports whether the container may be ended and started at all. A back-off ends it and starts it later, a restart at
// once: to Docker both are the same calls, so which of the two is allowed is for the remediator to tell.
func heals(labels map[string]string) bool {
	if role := labels[labelRole]; role != roleRunner && role != roleService {
		return false
	}
	for action := range strings.SplitSeq(labels[labelHeal], ",") {
		switch strings.TrimSpace(action) {
		case "restart", "backoff":
			return true
		}
	}
	return false
}
