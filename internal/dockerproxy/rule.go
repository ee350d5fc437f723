package dockerproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rule is one call that passes.
type rule struct {
	method string
	// path is that of Docker's API without its version. {id} is the full id of a container, {image}
	// the name or id of an image.
	path string
	// query lists the parameters. Any other one, or one given twice, is refused.
	query params
	// many is the one parameter that may be given more than once.
	many string
	// object judges the object that the path names, with the engine's help. Nil: it names none.
	object func(ctx context.Context, name string) error
	// limit is the timeout of the call. 0: a stream, or a stop that takes as long as a job; the
	// client ends it by disconnecting.
	limit time.Duration

	pattern *regexp.Regexp // of path
}

// Timeouts of calls that the engine answers from memory, and of those for which it reads or deletes
// files.
const (
	quick = 30 * time.Second
	slow  = 10 * time.Minute
)

// params maps the name of a parameter to the check of its values. The check of an absent parameter
// gets "".
type params map[string]func(value string) error

var (
	versionPrefix = regexp.MustCompile(`^/v1\.[0-9]{1,3}`)
	placeholders  = strings.NewReplacer(
		`\{id\}`, `([0-9a-f]{64})`,
		`\{image\}`, `([A-Za-z0-9][A-Za-z0-9._:@/-]{0,254})`,
	)
)

func (r *rule) compile() {
	r.pattern = regexp.MustCompile(`^` + placeholders.Replace(regexp.QuoteMeta(r.path)) + `$`)
}

// match reports whether a request is this call, and returns the object that its path names.
func (r rule) match(method, path string) (object string, ok bool) {
	if method != r.method || strings.Contains(path, "..") || strings.Contains(path, "//") {
		return "", false
	}
	m := r.pattern.FindStringSubmatch(path)
	if m == nil {
		return "", false
	}
	return strings.Join(m[1:], ""), true
}

func (r rule) allows(ctx context.Context, object string, query url.Values) error {
	for name, values := range query {
		check, known := r.query[name]
		switch {
		case !known:
			return fmt.Errorf("parameter %s is not among those that pass", name)
		case len(values) != 1 && name != r.many:
			return fmt.Errorf("parameter %s is given more than once", name)
		}
		for _, value := range values {
			if err := check(value); err != nil {
				return fmt.Errorf("parameter %s: %w", name, err)
			}
		}
	}
	for name, check := range r.query {
		if !query.Has(name) {
			if err := check(""); err != nil {
				return fmt.Errorf("parameter %s is missing: %w", name, err)
			}
		}
	}
	if r.object == nil {
		return nil
	}
	return r.object(ctx, object)
}

// oneOf accepts the given words, and absence.
func oneOf(words ...string) func(string) error {
	return func(value string) error {
		if value == "" || slices.Contains(words, value) {
			return nil
		}
		return errors.New("must be " + strings.Join(words, " or "))
	}
}

// exactly accepts one value, and not absence.
func exactly(word string) func(string) error {
	return func(value string) error {
		if value != word {
			return errors.New("must be " + word)
		}
		return nil
	}
}

// maxSeconds fits into the engine's nanoseconds. More would overflow, and a long stop become a
// kill.
const maxSeconds = 9e9

// number accepts seconds, of a stop or since 1970, and absence.
func number(from float64) func(string) error {
	return func(value string) error {
		if n, err := strconv.ParseFloat(value, 64); value != "" && (err != nil || !(n >= from) || n > maxSeconds) {
			return fmt.Errorf("must be at least %g and at most %g", from, maxSeconds)
		}
		return nil
	}
}

// anyFilters accepts every well-formed filter: it narrows a list that may be seen whole.
func anyFilters(value string) error {
	_, err := parseFilters(value)
	return err
}

// ownFilters accepts a filter that narrows the list to containers with these labels.
func ownFilters(labels pairs) func(string) error {
	return func(value string) error {
		filters, err := parseFilters(value)
		if err != nil {
			return err
		}
		for _, label := range labels {
			if !filters["label"][label] {
				return fmt.Errorf("must ask for label %s", label)
			}
		}
		return nil
	}
}

// parseFilters reads the form that the engine takes: {"label":{"key=value":true}}.
func parseFilters(value string) (map[string]map[string]bool, error) {
	filters := map[string]map[string]bool{}
	if value == "" {
		return filters, nil
	}
	if err := json.Unmarshal([]byte(value), &filters); err != nil {
		return nil, errors.New("is not a filter")
	}
	return filters, nil
}
