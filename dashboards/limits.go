package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"gopkg.in/yaml.v3"
)

// limits are the thresholds of the rules, read from the rules: a line that is drawn elsewhere than the alert fires would be
// believed. What a host may override is drawn as a series instead (rules/thresholds.yml), with these for the colours.
type limits struct {
	diskLow, diskCritical       float64 // bytes free
	clockDrift, clockSkew       float64 // seconds off
	rateLimit                   float64 // share of the quota left
	patInfo, patWarn, patExpire float64 // seconds to live
}

func readLimits(folder string) (limits, error) {
	expressions, err := alertExpressions(folder)
	if err != nil {
		return limits{}, err
	}
	const day = 86400
	var l limits
	for _, want := range []struct {
		value   *float64
		factor  float64
		alert   string
		nth     int
		pattern string
	}{
		{&l.diskLow, 1, "GhostrunnerDiskLow", 0, `(\S+) \* group by`},
		{&l.diskCritical, 1, "GhostrunnerDiskCritical", 0, `< (\S+)\s*$`},
		{&l.clockDrift, 1, "GhostrunnerClockDrift", 0, `(\S+) \* group by`},
		{&l.clockSkew, 1, "GhostrunnerClockSkewSevere", 0, `> (\d+)\)`},
		{&l.rateLimit, 1, "GhostrunnerRateLimitLow", 0, `< (\S+)\s*$`},
		{&l.patInfo, day, "GhostrunnerPATExpiring", 0, `< (\d+) \* 86400\s*$`},
		{&l.patWarn, day, "GhostrunnerPATExpiring", 1, `< (\d+) \* 86400\s*$`},
		{&l.patExpire, day, "GhostrunnerPATExpiring", 2, `< (\d+) \* 86400\s*$`},
	} {
		of := expressions[want.alert]
		if len(of) <= want.nth {
			return limits{}, fmt.Errorf("%s: no alert %s (%d)", folder, want.alert, want.nth)
		}
		found := regexp.MustCompile(want.pattern).FindStringSubmatch(of[want.nth])
		if found == nil {
			return limits{}, fmt.Errorf("%s: %s has nothing like %s: say in limits.go where its threshold stands now", folder, want.alert, want.pattern)
		}
		value, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			return limits{}, fmt.Errorf("%s: %s: %w", folder, want.alert, err)
		}
		*want.value = value * want.factor
	}
	return l, nil
}

// alertExpressions are those of every alert, in the order in which they stand.
func alertExpressions(folder string) (map[string][]string, error) {
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
				Rules []struct{ Alert, Expr string }
			}
		}
		if err := yaml.Unmarshal(text, &content); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, group := range content.Groups {
			for _, rule := range group.Rules {
				if rule.Alert != "" {
					all[rule.Alert] = append(all[rule.Alert], rule.Expr)
				}
			}
		}
	}
	return all, nil
}
