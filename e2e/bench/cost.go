package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// Services of the stack: those whose cost is listed one by one; those that run a program of ours;
// and those on which the reaction depends. The others are the database and Grafana, which are
// stand-ins if no registry answers.
var (
	watching = []string{"prometheus", "alertmanager", "exporter", "exporter-proxy", "remediator", "remediator-proxy"}
	ours     = []string{"exporter", "exporter-proxy", "remediator", "remediator-proxy", "runner-1", "runner-2"}
	reacting = []string{"prometheus", "alertmanager", "exporter"}
)

// cost is what a period took: the kernel's accounts of each container, including its health checks,
// by Compose service.
type cost struct {
	length time.Duration
	cpu    map[string]time.Duration
	// programs is the CPU time of the programs in reacting, as they report it, without health
	// checks.
	programs time.Duration
	// engine is the CPU time of dockerd, containerd and their child processes.
	engine time.Duration
	// memory is that of each container at the end, resident that of its first process.
	memory, resident map[string]float64
	// samples that Prometheus stored, including those of rules.
	samples float64
}

// costOf measures a period. The engine is measured innermost, because the other measurements use
// it.
func costOf(ctx context.Context, s *stack.Stack, stretch func() error) (c cost, err error) {
	usage, err := s.Usage(ctx)
	if err != nil {
		return c, err
	}
	before, err := accountsOf(ctx, s)
	if err != nil {
		return c, err
	}
	engine, begun := engineCPU(), time.Now()
	if err := stretch(); err != nil {
		return c, err
	}
	c.length, c.engine = time.Since(begun), engineCPU()-engine
	now, err := accountsOf(ctx, s)
	if err != nil {
		return c, err
	}
	c.programs, c.samples = now.programs-before.programs, now.samples-before.samples
	after, err := s.Usage(ctx)
	if err != nil {
		return c, err
	}
	c.cpu, c.memory = map[string]time.Duration{}, map[string]float64{}
	for service, now := range after {
		if !strings.HasPrefix(service, "lab") { // the simulated GitHub does not count
			c.cpu[service], c.memory[service] = now.CPU-usage[service].CPU, float64(now.Memory)
		}
	}
	c.resident, err = s.Resident(ctx)
	return c, err
}

// add adds another period.
func (c *cost) add(later cost) {
	for service, cpu := range c.cpu {
		later.cpu[service] += cpu
	}
	later.length, later.programs, later.engine = later.length+c.length, later.programs+c.programs, later.engine+c.engine
	later.samples += c.samples
	*c = later
}

// figures are those of each program in watching, and their sum.
func (c *cost) figures(part string) (all []measure.Figure) {
	for _, service := range watching {
		all = append(all,
			measure.Figure{Part: part, Name: service + ": CPU", Value: c.minutely(service), Unit: measure.CPUPerMinute},
			measure.Figure{Part: part, Name: service + ": memory resident", Value: c.resident[service], Unit: measure.Bytes})
	}
	resident := 0.0
	for _, service := range watching {
		resident += c.resident[service]
	}
	return append(all,
		measure.Figure{Part: part, Name: "these together: CPU", Value: c.minutely(watching...), Unit: measure.CPUPerMinute},
		measure.Figure{Part: part, Name: "these together: memory resident", Value: resident, Unit: measure.Bytes},
		measure.Figure{Part: part, Name: "the Docker engine: CPU", Value: measure.PerMinute(c.engine, c.length), Unit: measure.CPUPerMinute})
}

// promised are the figures with a budget while there is no fault (docs/figures.md).
func (c *cost) promised() []measure.Figure {
	var whole []string
	held := 0.0
	for service := range c.cpu {
		whole = append(whole, service)
		if slices.Contains(ours, service) {
			held += c.memory[service]
		}
	}
	return []measure.Figure{
		{Part: "idle", Name: strings.Join(reacting, ", ") + ", the programs alone: CPU", Value: measure.PerMinute(c.programs, c.length), Unit: measure.CPUPerMinute, Budget: measure.AtMost(0.6)},
		{Part: "idle", Name: "their containers, health checks included: CPU", Value: c.minutely(reacting...), Unit: measure.CPUPerMinute},
		{Part: "idle", Name: "every container of our own: CPU", Value: c.minutely(ours...), Unit: measure.CPUPerMinute, Budget: measure.AtMost(0.6)},
		{Part: "idle", Name: "every container of our own: memory held", Value: held, Unit: measure.Bytes, Budget: measure.AtMost(128e6)},
		{Part: "idle", Name: "every container: CPU", Value: c.minutely(whole...), Unit: measure.CPUPerMinute, Budget: measure.AtMost(2)},
		{Part: "idle", Name: "samples that Prometheus stores", Value: c.samples / c.length.Seconds(), Unit: measure.PerSecond},
	}
}

// minutely is the CPU time of services, in seconds per minute.
func (c *cost) minutely(services ...string) float64 {
	var sum time.Duration
	for _, service := range services {
		sum += c.cpu[service]
	}
	return measure.PerMinute(sum, c.length)
}

// accounts is what the programs report since their start.
type accounts struct {
	programs time.Duration // CPU
	samples  float64
}

func accountsOf(ctx context.Context, s *stack.Stack) (a accounts, err error) {
	for _, port := range []int{s.Ports.Prometheus, s.Ports.Alertmanager, s.Ports.Exporter} {
		page, err := s.Page(ctx, port)
		if err != nil {
			return a, err
		}
		seconds, found, err := page.Sum("process_cpu_seconds_total", nil)
		if err == nil && !found {
			err = errors.New("no such metric")
		}
		if err != nil {
			return a, fmt.Errorf("CPU time of the program behind port %d: %w", port, err)
		}
		a.programs += time.Duration(seconds * float64(time.Second))
		if port == s.Ports.Prometheus {
			if a.samples, _, err = page.Sum("prometheus_tsdb_head_samples_appended_total", nil); err != nil {
				return a, err
			}
		}
	}
	return a, nil
}

// engineCPU is 0 if the engine is not on this machine.
func engineCPU() (total time.Duration) {
	for _, p := range measure.Processes(func(p measure.Process) bool {
		return slices.Contains([]string{"dockerd", "containerd", "containerd-shim", "docker-proxy"}, p.Name)
	}) {
		total += p.CPU
	}
	return total
}
