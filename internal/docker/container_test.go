package docker

import (
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

func TestStatus(t *testing.T) {
	for _, tc := range []struct {
		status string
		health string
		code   int
		exited bool
		maxUp  time.Duration
	}{
		{"Up 3 minutes (healthy)", runner.HealthHealthy, 0, false, 4 * time.Minute},
		{"Up About a minute (unhealthy)", runner.HealthUnhealthy, 0, false, 2 * time.Minute},
		{"Up Less than a second (health: starting)", runner.HealthStarting, 0, false, time.Second},
		{"Up 1 second", "", 0, false, 2 * time.Second},
		{"Up About an hour", "", 0, false, 2 * time.Hour},
		{"Up 5 days (Paused)", "", 0, false, 6 * 24 * time.Hour},
		{"Up some time", "", 0, false, 0},
		{"Exited (137) 2 minutes ago", "", 137, true, 0},
		{"Exited (0) Less than a second ago", "", 0, true, 0},
		{"Restarting (1) 5 seconds ago", "", 1, true, 0},
		{"Created", "", 0, false, 0},
		{"Dead", "", 0, false, 0},
		{"Removal In Progress", "", 0, false, 0},
		{"Exited (x) ago", "", 0, false, 0},
		{"Exited (1", "", 0, false, 0},
		{"", "", 0, false, 0},
	} {
		health := healthOf(tc.status)
		code, exited := exitCodeOf(tc.status)
		up, _ := maxUptimeOf(tc.status)
		if health != tc.health || code != tc.code || exited != tc.exited || up != tc.maxUp {
			t.Errorf("%q: health %q, exit %d %t, up %s; want %+v", tc.status, health, code, exited, up, tc)
		}
	}
}

func TestOwnName(t *testing.T) {
	for want, names := range map[string][]string{"a": {"/x/alias", "/a"}, "b": {"/b"}, "": nil} {
		if got := ownName(names); got != want {
			t.Errorf("ownName(%q) = %q, want %q", names, got, want)
		}
	}
}

func TestSelector(t *testing.T) {
	s, err := parseSelector([]string{"a=1", "b=", "c=x=y"})
	if err != nil {
		t.Fatal(err)
	}
	full := map[string]string{"a": "1", "b": "", "c": "x=y", "d": "2"}
	if !s.matches(full) {
		t.Error("does not match what carries every label")
	}
	for k := range map[string]string{"a": "", "b": "", "c": ""} {
		less := map[string]string{}
		for l, v := range full {
			if l != k {
				less[l] = v
			}
		}
		if s.matches(less) {
			t.Errorf("matches without %s", k)
		}
	}
	if !selector(nil).matches(nil) {
		t.Error("the empty selector does not match")
	}
}
