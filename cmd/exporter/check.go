package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/version"
	"github.com/shirou/gopsutil/v3/disk"

	"github.com/blueguy23/ghostrunner/internal/clock"
	"github.com/blueguy23/ghostrunner/internal/collector"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Check reads every source once, all at the same time, and reports what was read, whether it is
// good, and the remedy if not. Only what cannot be read or cannot work is a failure: thresholds of
// space and drift are in the rules.

const (
	// checkTime is how long check may take.
	checkTime = 4 * time.Second
	// logTime is how long reading the existing logs may take.
	logTime = 3 * time.Second
	// toleratedOffset is GitHub's bound: with a clock further off it refuses a runner's session
	// (actions/runner, MessageListener.cs: "out of sync with the server time by more than five
	// minutes").
	toleratedOffset = 5 * time.Minute
	// maxNamed bounds the containers that one line names.
	maxNamed = 5
)

// checker is one run of check.
type checker struct {
	*exporter

	host       host
	containers func() ([]runner.Container, error) // asks Docker once
}

// check takes no longer than checkTime.
func (e *exporter) check(ctx context.Context) report {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	c := &checker{exporter: e, host: hostOf("/proc/sys/kernel/osrelease")}
	c.containers = sync.OnceValues(func() ([]runner.Container, error) { return e.docker.Containers(ctx) })
	var clocks []clock.Answer
	sources := []func(context.Context) []finding{
		c.readContainers, c.readLogs, c.readGitHub,
		func(ctx context.Context) []finding { clocks = e.clock.Once(ctx); return nil },
		c.readDisk, c.readDNS, c.readThresholds,
	}
	found := make([][]finding, len(sources))
	var wg sync.WaitGroup
	for i, read := range sources {
		wg.Go(func() { found[i] = read(ctx) })
	}
	wg.Wait()
	found[3] = c.judgeClocks(clocks) // with the time in GitHub's answers
	return newReport(version.Version, append([][]finding{c.host.findings()}, found...)...)
}

func (c *checker) readContainers(context.Context) []finding {
	cs, err := c.containers()
	if err != nil {
		return []finding{fail(collector.NameContainer, err, c.host.remedies(remedyDocker, adviceDesktop)...)}
	}
	var bad, logs []string
	roles := make(map[string]int)
	for _, k := range cs {
		if k.Role == "" {
			continue
		}
		roles[k.Role]++
		if k.State != "running" || k.Health == "unhealthy" {
			bad = append(bad, strings.TrimSpace(k.Name+" is "+k.State+" "+k.Health))
			logs = append(logs, k.Name)
		}
	}
	var out []finding
	switch {
	case len(bad) > 0:
		out = append(out, fail(collector.NameContainer, errors.New(some(bad)), "docker logs "+logs[0]))
	case roles["runner"] == 0:
		out = append(out, fail(collector.NameContainer, errors.New("no container has the label ghostrunner.role=runner"),
			"start the runners with the project's Compose file, and check the labels of --docker.label"))
	default:
		out = append(out, good(collector.NameContainer, count(roles["runner"], "runner")+", "+count(roles["service"], "service")+", all running"))
	}
	if _, err := scopesOf(cs); err != nil {
		out = append(out, fail(collector.NameContainer, err, remedyLabel))
	}
	return out
}

// count writes a number of things in words.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// some joins the first names of many.
func some(names []string) string {
	if more := len(names) - maxNamed; more > 0 {
		return strings.Join(names[:maxNamed], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

// judgeClocks has a line for each clock. A clock that does not answer is a failure only if none
// does.
func (c *checker) judgeClocks(answers []clock.Answer) []finding {
	var out []finding
	known := false
	var silent []int
	offset := func(format, source string, d time.Duration, told string) {
		known = true
		f := good(collector.NameClock, fmt.Sprintf(format, source, d.Seconds())+told)
		if d.Abs() > toleratedOffset {
			f = fail(collector.NameClock, fmt.Errorf("%s: beyond %s GitHub refuses a runner's session", f.Detail, toleratedOffset),
				c.host.remedies(remedyClockSet, adviceSleep, adviceDaemons)...)
		}
		out = append(out, f)
	}
	for _, a := range answers {
		switch s := a.Sample; {
		case a.Err != nil:
			silent = append(silent, len(out))
			out = append(out, note(collector.NameClock, a.Source+" does not answer: "+a.Err.Error(), a.Hint))
		case s.SynchronizedKnown && !s.Synchronized:
			out = append(out, fail(collector.NameClock, errors.New(a.Source+" is not synchronized"), remedyUnsynchronized))
		case !s.HasOffset:
			out = append(out, fail(collector.NameClock, errors.New(a.Source+" has had no recent answer of its servers"), remedyUnsynchronized))
		case a.Source == clock.SourceChrony:
			offset("%s %+.3f s", a.Source, s.Offset, ", synchronized")
		default:
			offset("%s %+.3f s", a.Source, s.Offset, "")
		}
	}
	if c.github != nil {
		if s := c.github.Snapshot().Clock; !s.At.IsZero() {
			offset("%s %+.0f s", s.Source, s.Offset, ", to the second")
		}
	}
	switch {
	case known:
	case len(out) == 0:
		out = append(out, fail(collector.NameClock, errors.New("no clock answers"), remedyClock))
	default:
		for _, i := range silent {
			out[i].State = failed
		}
	}
	return out
}

func (c *checker) readDisk(ctx context.Context) []finding {
	paths := c.cfg.diskPaths
	if len(paths) == 0 {
		root, err := c.dockerRoot(ctx)
		if err != nil {
			return []finding{fail(collector.NameDisk, errors.New("Docker, whose root is measured by default, does not answer"), remedyDocker)} //nolint:staticcheck // a name
		}
		paths = []string{root}
	}
	out := make([]finding, len(paths))
	windows := make([]bool, len(paths))
	var wg sync.WaitGroup
	for i, path := range paths {
		wg.Go(func() { out[i], windows[i] = c.readPath(ctx, path) })
	}
	wg.Wait()
	if c.host.wsl && !slices.Contains(windows, true) {
		out = append(out, note(collector.NameDisk, "no Windows drive is measured, where the virtual disk of WSL2 is", adviceDrive, adviceVHDX))
	}
	return out
}

// readPath abandons a path that hangs in the kernel, as a dead network mount does. It reports
// whether the path is on a Windows drive, which WSL2 mounts by 9p.
func (c *checker) readPath(ctx context.Context, path string) (f finding, windows bool) {
	type answer struct {
		space *disk.UsageStat
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		space, err := c.statfs(ctx, path)
		answers <- answer{space, err}
	}()
	select {
	case a := <-answers:
		if a.err != nil {
			return fail(collector.NameDisk, fmt.Errorf("%s: %w", path, a.err), remedyDisk), false
		}
		detail := fmt.Sprintf("%s: %.1f of %.1f GB free", path, float64(a.space.Free)/1e9, float64(a.space.Total)/1e9)
		return good(collector.NameDisk, detail), a.space.Fstype == "v9fs"
	case <-ctx.Done():
		return fail(collector.NameDisk, fmt.Errorf("%s: the file system does not answer", path), remedyDisk), false
	}
}

func (c *checker) readDNS(ctx context.Context) []finding {
	names := c.names()
	switch err := c.dns.Lookup(ctx); {
	case err != nil:
		return []finding{fail(collector.NameDNS, err, c.host.remedies(remedyDNS, adviceTunnel, adviceUpdate)...)}
	case len(names) == 0:
		return []finding{good(collector.NameDNS, "the API is an address, no lookup is needed")}
	default:
		return []finding{good(collector.NameDNS, strings.Join(names, ", ")+" found")}
	}
}

// readThresholds cannot fail: a bad threshold ends the program at its start.
func (c *checker) readThresholds(context.Context) []finding {
	if len(c.cfg.thresholds) == 0 {
		return []finding{good(collector.NameThreshold, "the defaults of the rules")}
	}
	var told []string
	for name, v := range c.cfg.thresholds {
		told = append(told, fmt.Sprintf("%s %g", name, v))
	}
	slices.Sort(told)
	return []finding{good(collector.NameThreshold, strings.Join(told, ", "))}
}
