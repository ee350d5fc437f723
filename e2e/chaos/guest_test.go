package main

import (
	"bytes"
	"strings"
	"testing"
)

// The jumps of the clock need a kernel of their own, and nothing else does. What is left out is named, and where it was asked
// for the run is not whole.
func TestPlayable(t *testing.T) {
	all, err := unplugged().chosen(options{pairs: true})
	if err != nil {
		t.Fatal(err)
	}
	here, there := kernels(all)
	if len(here)+len(there) != len(all) || len(there) != len(unplugged().jumpFaults()) || len(there) == 0 {
		t.Fatalf("%d here, %d there, %d in all", len(here), len(there), len(all))
	}
	for name, tc := range map[string]struct {
		o     options
		why   string
		play  int
		told  int
		whole bool
	}{
		"nobody asked":             {play: len(here), told: len(there), whole: true},
		"nor is there a kernel":    {why: "needs root", play: len(here), told: len(there), whole: true},
		"asked for":                {o: options{guest: true}, play: len(all), whole: true},
		"asked for by name":        {o: options{only: []string{"any"}}, play: len(all), whole: true},
		"asked for, and no kernel": {o: options{guest: true}, why: "needs root", play: len(here), told: len(there)},
		"by name, and no kernel":   {o: options{only: []string{"any"}}, why: "needs root", play: len(here), told: len(there)},
	} {
		var out bytes.Buffer
		todo, err := playable(tc.o, all, tc.why, &out)
		if len(todo) != tc.play || strings.Count(out.String(), "not run: clock") != tc.told || (err == nil) != tc.whole {
			t.Errorf("%s: %d to play, %v\n%s", name, len(todo), err, out.String())
		}
	}
	// Who plays none of them misses nothing.
	if todo, err := playable(options{guest: true}, here, "needs root", &bytes.Buffer{}); err != nil || len(todo) != len(here) {
		t.Errorf("%d to play, %v", len(todo), err)
	}
}
