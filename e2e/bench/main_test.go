package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
)

func TestFlags(t *testing.T) {
	if o, err := parse(nil); err != nil || o.cycles != 50 || len(o.runners) != 2 || o.runners[1] != 1000 || !o.wants("scan") {
		t.Errorf("without flags: %+v, %v; want 50 cycles, 2 and 1,000 runners, and all parts", o, err)
	}
	if o, err := parse([]string{"-only=scrape,start"}); err != nil || !o.wants("scrape") || o.wants("reaction") {
		t.Errorf("two parts: %+v, %v", o, err)
	}
	for _, bad := range []string{
		"-cycles=-1", "-idle=1s", "-runners=many", "-runners=0", "-only=everything", "more",
		"-against=true -only=scrape", "-against=true -cycles=0",
	} {
		if _, err := parse(strings.Fields(bad)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestSaveWritesFiles(t *testing.T) {
	dir := t.TempDir()
	o := options{json: filepath.Join(dir, "json"), benchfmt: filepath.Join(dir, "benchfmt")}
	r := report{
		Against: "true",
		Figures: []measure.Figure{{Part: "a", Name: "b", Value: 2, Unit: measure.Seconds, Budget: measure.AtMost(0)}},
		Other:   []measure.Figure{{Part: "a", Name: "b", Value: 3, Unit: measure.Seconds}},
	}
	if err := r.save(o); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(o.json)
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Figures) != 1 || back.Figures[0].Value != 2 || !back.Figures[0].Broken() || back.Other[0].Value != 3 || back.Against != "true" {
		t.Errorf("read back: %+v", back)
	}
	lines, err := os.ReadFile(o.benchfmt)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"healer: ghostrunner\nBenchmarkA/b-", "healer: other\nBenchmarkA/b-", "\t1\t3 sec/op\n"} {
		if !strings.Contains(string(lines), want) {
			t.Errorf("no %q in:\n%s", want, lines)
		}
	}
}

func TestReactionBudgets(t *testing.T) {
	cycles := []cycle{{reaction: time.Second, judged: 600 * time.Millisecond}, {reaction: time.Second, judged: 700 * time.Millisecond}, {reaction: 2 * time.Second}}
	if err := measure.Broken(reactions(cycles)); err != nil {
		t.Errorf("the budgets exactly kept: %v", err)
	}
	cycles[0].reaction += time.Millisecond
	cycles[1].reaction += time.Millisecond
	if err := measure.Broken(reactions(cycles)); err == nil || !strings.Contains(err.Error(), "p50: 1 s") {
		t.Errorf("the median broken: %v", err)
	}
	cycles[0].reaction, cycles[2].reaction = time.Second, 2001*time.Millisecond
	cycles[1].reaction = time.Second
	if err := measure.Broken(reactions(cycles)); err == nil || !strings.Contains(err.Error(), "max: 2 s") {
		t.Errorf("the slowest broken: %v", err)
	}
}

// TestCostBudgets adds two periods, and exceeds each budget alone.
func TestCostBudgets(t *testing.T) {
	build := func(cpu map[string]time.Duration, held float64, programs time.Duration) cost {
		one := func() cost {
			return cost{
				length: time.Minute, cpu: maps.Clone(cpu), programs: programs, engine: time.Second, samples: 60,
				memory: map[string]float64{"exporter": held, "mongo": 1 << 40}, resident: map[string]float64{"exporter": 1},
			}
		}
		c := one()
		c.add(one())
		return c
	}
	const most = 600 * time.Millisecond
	c := build(map[string]time.Duration{"exporter": most, "mongo": 1400 * time.Millisecond}, 128e6, most)
	if c.length != 2*time.Minute || c.programs != 2*most || c.engine != 2*time.Second || c.samples != 120 || c.minutely("exporter", "mongo") != 2 {
		t.Errorf("two stretches: %+v", c)
	}
	if err := measure.Broken(c.promised()); err != nil {
		t.Errorf("the budgets exactly kept: %v", err)
	}
	for want, c := range map[string]cost{
		"the programs alone: CPU":                 build(nil, 0, most+time.Millisecond),
		"every container of our own: CPU":         build(map[string]time.Duration{"remediator": most + time.Millisecond}, 0, 0),
		"every container: CPU":                    build(map[string]time.Duration{"mongo": 2001 * time.Millisecond}, 0, 0),
		"every container of our own: memory held": build(map[string]time.Duration{"exporter": 0}, 128e6+1, 0),
	} {
		if err := measure.Broken(c.promised()); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %q alone", err, want)
		}
	}
}
