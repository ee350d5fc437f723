package main

import (
	"bytes"
	"strings"
	"testing"
)

// Only the clock jumps need a guest. Those that are left out are printed, and are an error if they
// were asked for.
func TestRunnable(t *testing.T) {
	all, err := listOnly().chosen(options{})
	if err != nil {
		t.Fatal(err)
	}
	here, onGuest := splitGuestFaults(all)
	if len(here)+len(onGuest) != len(all) || len(onGuest) != len(listOnly().jumpFaults()) || len(onGuest) == 0 {
		t.Fatalf("%d here, %d on a guest, %d in all", len(here), len(onGuest), len(all))
	}
	for name, tc := range map[string]struct {
		o       options
		missing string
		run     int
		printed int
		ok      bool
	}{
		"not asked for":           {run: len(here), printed: len(onGuest), ok: true},
		"not asked for, no guest": {missing: "needs root", run: len(here), printed: len(onGuest), ok: true},
		"asked for":               {o: options{guest: true}, run: len(all), ok: true},
		"asked for by name":       {o: options{only: []string{"any"}}, run: len(all), ok: true},
		"asked for, no guest":     {o: options{guest: true}, missing: "needs root", run: len(here), printed: len(onGuest)},
		"by name, no guest":       {o: options{only: []string{"any"}}, missing: "needs root", run: len(here), printed: len(onGuest)},
	} {
		var out bytes.Buffer
		todo, err := runnable(tc.o, all, tc.missing, &out)
		if len(todo) != tc.run || strings.Count(out.String(), "not run: clock") != tc.printed || (err == nil) != tc.ok {
			t.Errorf("%s: %d to run, %v\n%s", name, len(todo), err, out.String())
		}
	}
	if todo, err := runnable(options{guest: true}, here, "needs root", &bytes.Buffer{}); err != nil || len(todo) != len(here) {
		t.Errorf("%d to run, %v", len(todo), err)
	}
}
