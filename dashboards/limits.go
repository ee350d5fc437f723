package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"gopkg.in/yaml.v3"
)

// limits are the thresholds of the rules, read from the rules, so that a line is drawn where the
// alert fires. Thresholds that a host may override are drawn as the series that the alerts read
// (host_name:ghostrunner_threshold:effective); their defaults here are for the colors.
type limits struct {
	diskLow, diskCritical       float64 // bytes free
	clockDrift, clockSkew       float64 // seconds off
	rateLimit                   float64 // share of the quota left
	patInfo, patWarn, patExpire float64 // seconds to live
}

func readLimits(folder string) (limits, error) {
	expressions, err := ruleExpressions(folder)
	if err != nil {
		return limits{}, err
	}
	const day = 86400
	var l limits
	for _, want := range []struct {
		value   *float64
		factor  float64
		rule    string
		nth     int
		pattern string
	}{
		{&l.diskLow, 1, "disk_prune_bytes", 0, `(\S+) \* group by`},
		{&l.diskCritical, 1, "GhostrunnerDiskCritical", 0, `< (\S+)\s*$`},
		{&l.clockDrift, 1, "clock_drift_seconds", 0, `(\S+) \* group by`},
		{&l.clockSkew, 1, "GhostrunnerClockSkewSevere", 0, `> (\d+)\)`},
		{&l.rateLimit, 1, "GhostrunnerRateLimitLow", 0, `< (\S+)\s*$`},
		{&l.patInfo, day, "GhostrunnerPATExpiring", 0, `< (\d+) \* 86400\s*$`},
		{&l.patWarn, day, "GhostrunnerPATExpiring", 1, `< (\d+) \* 86400\s*$`},
		{&l.patExpire, day, "GhostrunnerPATExpiring", 2, `< (\d+) \* 86400\s*$`},
	} {
		of := expressions[want.rule]
		if len(of) <= want.nth {
			return limits{}, fmt.Errorf("%s: no rule %s (%d)", folder, want.rule, want.nth)
		}
		found := regexp.MustCompile(want.pattern).FindStringSubmatch(of[want.nth])
		if found == nil {
			return limits{}, fmt.Errorf("%s: %s does not match %s: update the pattern in limits.go", folder, want.rule, want.pattern)
		}
		value, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			return limits{}, fmt.Errorf("%s: %s: %w", folder, want.rule, err)
		}
		*want.value = value * want.factor
	}
	return l, nil
}

// ruleExpressions returns the expressions of every alert by its name, and of every threshold by the
// label `name` of its recording rule, in the order of the files.
func ruleExpressions(folder string) (map[string][]string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yml"))
	if err != nil {
		return nil, err
	}
	all := map[string][]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var content struct {
			Groups []struct {
				Rules []struct {
					Alert, Expr string
					Labels      struct{ Name string }
				}
			}
		}
		if err := yaml.Unmarshal(text, &content); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, group := range content.Groups {
			for _, rule := range group.Rules {
				name := cmp.Or(rule.Alert, rule.Labels.Name)
				all[name] = append(all[name], rule.Expr)
			}
		}
	}
	return all, nil
}
