package main

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// A polling healer heals a real container, and is measured. Nothing of ours runs.
func TestOtherHealerIsMeasured(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s, err := stack.New(stack.Options{Project: "ghostrunner-other", FirstPort: 22168, Out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.RemoveVictims(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	v := victims{stack: s}
	if v.image, err = s.VictimImage(ctx); err != nil {
		if os.Getenv("CI") == "" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	if v.events, err = s.Events(ctx); err != nil {
		t.Fatal(err)
	}
	b := bench{out: io.Discard, options: options{
		cycles: 2, idle: 3 * time.Second, against: "LABEL=ghostrunner-other=yes INTERVAL=1 exec sh testdata/polling.sh", label: "ghostrunner-other=yes",
	}}
	figures, err := b.other(ctx, v)
	if err != nil {
		t.Fatal(err)
	}
	if len(figures) != 7 {
		t.Errorf("%d figures: %+v", len(figures), figures)
	}
	for _, f := range figures {
		if !(f.Value > 0) {
			t.Errorf("%s, %s: %v", f.Part, f.Name, f.Value)
		}
	}
	// Its figures are in a column beside ours.
	ours := append((&cost{length: time.Minute}).figures("idle"), quantiles([]float64{0.5})...)
	var table strings.Builder
	measure.Print(&table, ours, figures)
	for _, name := range []string{"these together: CPU", "these together: memory resident", "unhealthy to order, max"} {
		_, line, _ := strings.Cut(table.String(), name)
		line, _, _ = strings.Cut(line, "\n")
		if words := strings.Fields(line); len(words) < 4 {
			t.Errorf("%s stands alone:\n%s", name, &table)
		}
	}
}

// A command that ends at once is an error at once.
func TestOtherHealerThatEndsIsAnError(t *testing.T) {
	b := bench{out: io.Discard, options: options{cycles: 1, idle: time.Hour, against: "exit 3"}}
	if _, err := b.other(t.Context(), victims{}); err == nil || !strings.Contains(err.Error(), "ended (exit status 3)") {
		t.Errorf("got %v", err)
	}
}
