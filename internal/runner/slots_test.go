package runner

import (
	"strings"
	"testing"
)

func TestMatchRegistrationToSlot(t *testing.T) {
	slots := func(list ...Container) []Container {
		for i := range list {
			list[i].Role = RoleRunner
		}
		return list
	}
	s := NewSlots(append(slots(
		Container{Runner: "a"}, Container{Runner: "a-1"}, Container{Runner: "b", Scope: "Org"},
		Container{Runner: "b", Scope: "late"}, Container{Runner: ""},
		Container{Runner: "moved", Scope: "o/old", State: StateExited}, Container{Runner: "moved", Scope: "o/new", State: StateRunning},
		Container{Runner: "same", Scope: "O/R", State: StateRunning}, Container{Runner: "same", State: StateRunning},
		Container{Runner: "a-2", State: StateRunning}, Container{Runner: "a-2", Scope: "org", State: StateRunning},
		Container{Runner: "a", Scope: "org", State: StateExited},
	), Container{Role: RoleService, Runner: "a-db"}), "o/r")
	for _, tc := range []struct{ registration, scope, slot string }{
		{"a", "o/r", "a"},
		{"a-1", "o/r", "a-1"},
		{"a-1-x-y", "O/R", "a-1"},
		{"a-12", "o/r", "a"},
		{"a-", "o/r", "a"},
		{"a-db-x", "o/r", "a"}, // a service is no slot
		{"ab", "o/r", ""},
		{"b-1", "o/r", ""},
		{"b-1", "org", "b"},
		{"", "o/r", ""},
		{"-", "o/r", ""},
		{"-a", "o/r", ""},
		{"moved-1", "o/new", "moved"},
		{"moved-1", "o/old", ""},
		{"same-1", "o/r", "same"},
		{"a-2-x", "o/r", "a-2"}, // a conflict: not the shorter slot's either
		{"a-2-x", "org", "a-2"},
		{"a-x", "org", ""},
	} {
		if got, ok := s.Match(tc.registration, tc.scope); got != tc.slot || ok != (tc.slot != "") {
			t.Errorf("Match(%q, %q) = %q, %t; want %q", tc.registration, tc.scope, got, ok, tc.slot)
		}
	}
	if got, want := strings.Join(s.Names("o/r"), " "), "a a-1 same"; got != want {
		t.Errorf("slots of o/r: %s, want %s", got, want)
	}
	if err := s.Conflicts(); err == nil || !strings.Contains(err.Error(), "runner a-2: containers of o/r and of org") {
		t.Errorf("Conflicts: %v", err)
	}
	list := []Registration{{Name: "a"}, {Name: "a-1-x"}, {Name: "a-x"}, {Name: "b-1"}}
	var got []string
	for _, r := range s.Registrations(list, "a", "O/R") {
		got = append(got, r.Name)
	}
	if strings.Join(got, " ") != "a a-x" {
		t.Errorf("registrations of a: %v", got)
	}
}

// TestStatus states what each program means by online and offline.
func TestStatus(t *testing.T) {
	for status, want := range map[string]struct{ online, offline bool }{
		"online": {true, false}, "offline": {false, true}, "": {false, false}, "idle": {false, false}, "ONLINE": {false, false},
	} {
		r := Registration{Status: status}
		if r.Online() != want.online || r.Offline() != want.offline {
			t.Errorf("%q: online %t, offline %t", status, r.Online(), r.Offline())
		}
	}
}

// TestContainerState states what each program means by running and down.
func TestContainerState(t *testing.T) {
	for state, want := range map[string]struct{ running, down bool }{
		StateCreated: {false, true}, StateRunning: {true, false}, StatePaused: {true, false}, StateRestarting: {false, false},
		"removing": {false, false}, StateExited: {false, true}, StateDead: {false, true}, "": {false, false},
	} {
		c := Container{State: state}
		if c.Running() != want.running || c.Down() != want.down {
			t.Errorf("%q: running %t, down %t", state, c.Running(), c.Down())
		}
	}
	if got := ParseHeal(" restart, backoff,,"); strings.Join(got, "|") != "restart|backoff" {
		t.Errorf("ParseHeal: %q", got)
	}
}
