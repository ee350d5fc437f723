package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// programs are those that the budget is about.
var programs = []string{"prometheus", "alertmanager", "exporter"}

// cost is what a stretch of time took.
type cost struct {
	Seconds float64 `json:"seconds"`
	// CPU is in seconds, by program (process_cpu_seconds_total).
	CPU map[string]float64 `json:"cpu_seconds"`
	// Resident is memory in bytes, by program, at the end (process_resident_memory_bytes).
	Resident map[string]float64 `json:"resident_bytes"`
	// Samples were taken into Prometheus's database, those of the rules included.
	Samples float64 `json:"samples"`
}

// add joins a later stretch.
func (c *cost) add(later cost) {
	if c.CPU == nil {
		c.CPU = map[string]float64{}
	}
	for p, s := range later.CPU {
		c.CPU[p] += s
	}
	c.Seconds += later.Seconds
	c.Samples += later.Samples
	c.Resident = later.Resident
}

// cpuPerMinute is one program's.
func (c *cost) cpuPerMinute(program string) float64 { return c.CPU[program] / c.Seconds * 60 }

// total is all programs'.
func (c *cost) total() (perMinute float64) {
	for _, p := range programs {
		perMinute += c.cpuPerMinute(p)
	}
	return perMinute
}

// costOf measures a stretch of time.
func costOf(ctx context.Context, s *stack.Stack, stretch func() error) (cost, error) {
	before, err := readMeters(ctx, s)
	if err != nil {
		return cost{}, err
	}
	begin := time.Now()
	if err := stretch(); err != nil {
		return cost{}, err
	}
	after, err := readMeters(ctx, s)
	if err != nil {
		return cost{}, err
	}
	c := cost{
		Seconds: time.Since(begin).Seconds(), CPU: map[string]float64{}, Resident: after.resident,
		Samples: after.samples - before.samples,
	}
	for _, p := range programs {
		c.CPU[p] = after.cpu[p] - before.cpu[p]
	}
	return c, nil
}

// meters are counters that only grow, and gauges.
type meters struct {
	cpu, resident map[string]float64
	samples       float64
}

// readMeters asks each program once: the page of Prometheus alone costs it some milliseconds.
func readMeters(ctx context.Context, s *stack.Stack) (meters, error) {
	m := meters{cpu: map[string]float64{}, resident: map[string]float64{}}
	for program, port := range map[string]int{
		"prometheus": s.Ports.Prometheus, "alertmanager": s.Ports.Alertmanager, "exporter": s.Ports.Exporter,
	} {
		page, err := s.Page(ctx, port)
		if err != nil {
			return m, err
		}
		if m.cpu[program], _, err = page.Sum("process_cpu_seconds_total", nil); err != nil {
			return m, err
		}
		if m.resident[program], _, err = page.Sum("process_resident_memory_bytes", nil); err != nil {
			return m, err
		}
		if program == "prometheus" {
			if m.samples, _, err = page.Sum("prometheus_tsdb_head_samples_appended_total", nil); err != nil {
				return m, err
			}
		}
	}
	return m, nil
}

// loadAverage is that of the last minute, at the beginning; the second place is for that at the end. Figures of a machine
// that was busy otherwise are worth little.
func loadAverage() (load [2]float64) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return load
	}
	first, _, _ := strings.Cut(string(text), " ")
	load[0], _ = strconv.ParseFloat(first, 64) // 0 where there is none
	return load
}
