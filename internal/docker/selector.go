package docker

import (
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/filters"
)

// label is one KEY=VALUE condition.
type label struct{ key, value string }

// selector is a list of labels that must all match. The empty selector matches everything.
type selector []label

// parseSelector reads KEY=VALUE pairs. The value may be empty, and may contain further equals
// signs.
func parseSelector(pairs []string) (selector, error) {
	var s selector
	for _, p := range pairs {
		l, err := parseLabel(p)
		if err != nil {
			return nil, err
		}
		s = append(s, l)
	}
	return s, nil
}

func parseLabel(pair string) (label, error) {
	k, v, ok := strings.Cut(pair, "=")
	if k = strings.TrimSpace(k); !ok || k == "" {
		return label{}, fmt.Errorf("docker label %q: want KEY=VALUE, for example com.docker.compose.project=ghostrunner", pair)
	}
	return label{k, v}, nil
}

// matches reports whether labels satisfies every condition.
func (s selector) matches(labels map[string]string) bool {
	for _, l := range s {
		if v, ok := labels[l.key]; !ok || v != l.value {
			return false
		}
	}
	return true
}

// filters returns the selector as the engine understands it, with further filters. Several values
// of "label" are joined by AND, of any other key by OR (moby api/types/filters, MatchKVList and
// ExactMatch).
func (s selector) filters(more ...filters.KeyValuePair) filters.Args {
	args := filters.NewArgs(more...)
	for _, l := range s {
		args.Add("label", l.key+"="+l.value)
	}
	return args
}
