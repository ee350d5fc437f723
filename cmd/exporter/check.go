package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/blueguy23/ghostrunner/internal/clock"
	"github.com/blueguy23/ghostrunner/internal/collector"
	"github.com/blueguy23/ghostrunner/internal/github"
)

// checkTime is how long check may take; what has no answer by then has none.
const checkTime = 4500 * time.Millisecond

// finding is one line of the table.
type finding struct {
	source string
	detail string
	err    error
	remedy string // for people; only with err
}

// check reads every source once and prints one line for each, in a fixed order. It reports whether all is well.
func (e *exporter) check(ctx context.Context, w io.Writer) bool {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	checks := []func(context.Context) []finding{e.checkDocker, e.checkGitHub, e.checkClock, e.checkDisk, e.checkDNS}
	findings := make([][]finding, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { findings[i] = c(ctx) })
	}
	wg.Wait()

	well := true
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "SOURCE\tSTATE\tDETAIL")
	for _, fs := range findings {
		for _, f := range fs {
			state, detail := "ok", f.detail
			if f.err != nil {
				well = false
				state, detail = "FAIL", strings.ReplaceAll(f.err.Error(), "\n", "; ")
			}
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", f.source, state, detail)
			if f.err != nil && f.remedy != "" {
				_, _ = fmt.Fprintf(table, "\t\t→ %s\n", f.remedy)
			}
		}
	}
	_ = table.Flush() // of a standard output that is closed nobody needs to know
	return well
}

func (e *exporter) checkDocker(ctx context.Context) []finding {
	cs, err := e.docker.Containers(ctx)
	if err != nil {
		return []finding{{source: collector.NameContainer, err: err, remedy: remedyDocker}}
	}
	var bad []string
	roles := make(map[string]int)
	for _, c := range cs {
		if c.Role == "" {
			continue
		}
		roles[c.Role]++
		if c.State != "running" || c.Health == "unhealthy" {
			bad = append(bad, strings.TrimSpace(c.Name+" is "+c.State+" "+c.Health))
		}
	}
	f := finding{source: collector.NameContainer, detail: fmt.Sprintf("%d runners, %d services", roles["runner"], roles["service"])}
	switch {
	case len(bad) > 0:
		f.err, f.remedy = errors.New(strings.Join(bad, ", ")), "docker logs CONTAINER"
	case roles["runner"] == 0:
		f.err = errors.New("no container has the label ghostrunner.role=runner")
		f.remedy = "start the runners with the project's Compose file; are the labels of --docker.label theirs?"
	}
	return []finding{f}
}

func (e *exporter) checkGitHub(ctx context.Context) []finding {
	if e.github == nil {
		remedy := remedyOwner
		if e.cfg.github.Token() == nil {
			remedy = remedyToken
		}
		return []finding{{source: collector.NameGitHub, err: errors.New("off"), remedy: remedy}}
	}
	rs, err := e.github.Runners(ctx, e.scope)
	f := finding{source: collector.NameGitHub, detail: fmt.Sprintf("%s has %d runners", e.scope, len(rs)), err: err}
	var ge *github.Error
	if errors.As(err, &ge) {
		f.remedy = ge.Hint
	}
	found := []finding{f}
	if c := e.github.Snapshot().Credential; c.Known && c.Valid {
		expiry := "GitHub reports no expiry"
		if !c.Expiry.IsZero() {
			expiry = "expires " + c.Expiry.Format(time.DateTime)
		}
		f := finding{source: collector.NameCredential, detail: "valid, " + expiry}
		if c.PermissionKnown && !c.PermissionSufficient {
			f.err = errors.New("valid, but it may not manage the runners of " + e.scope.String())
			f.remedy = remedyPermission
		}
		found = append(found, f)
	}
	return found
}

// checkClock waits for the first answer of each source that is to be asked, until three seconds have passed.
func (e *exporter) checkClock(ctx context.Context) []finding {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_ = e.clock.Run(ctx) // ends with ctx, and says nothing else
	samples := make(map[string]collector.ClockSample)
	for _, s := range (clockAdapter{e.clock, e.github}).ClockSamples() {
		samples[s.Source] = s
	}
	var told []string
	f := finding{source: collector.NameClock, err: errors.New("no source knows the time"), remedy: remedyClock}
	for _, name := range e.clockSources() {
		switch s, ok := samples[name]; {
		case !ok:
			told = append(told, name+" does not answer")
		case name == sourceGitHub:
			told, f.err = append(told, fmt.Sprintf("%s %+.0f s", name, s.Offset.Seconds())), nil
		case s.HasOffset:
			told, f.err = append(told, fmt.Sprintf("%s %+.3f s", name, s.Offset.Seconds())), nil
		default:
			told = append(told, name+" is not synchronised")
		}
	}
	f.detail = strings.Join(told, ", ")
	switch s := samples[clock.SourceChrony]; {
	case f.err != nil && len(told) > 0:
		f.err = fmt.Errorf("%w: %s", f.err, f.detail)
	case s.SynchronizedKnown && !s.Synchronized:
		f.err, f.remedy = errors.New(f.detail), "chronyc sources shows whether chronyd reaches its servers"
	}
	return []finding{f}
}

// clockSources are those that are asked.
func (e *exporter) clockSources() (names []string) {
	if e.cfg.chronyAddress != "" {
		names = append(names, clock.SourceChrony)
	}
	if len(e.cfg.ntpServers) > 0 {
		names = append(names, clock.SourceNTP)
	}
	if e.github != nil {
		names = append(names, sourceGitHub)
	}
	return names
}

func (e *exporter) checkDisk(ctx context.Context) []finding {
	paths := e.cfg.diskPaths
	if len(paths) == 0 {
		root, err := e.dockerRoot(ctx)
		if err != nil {
			return []finding{{source: collector.NameDisk, err: errors.New("Docker, whose root would be measured, does not answer"), remedy: remedyDocker}} //nolint:staticcheck // a name
		}
		paths = []string{root}
	}
	found := make([]finding, 0, len(paths))
	for _, path := range paths {
		answer := make(chan finding, 1)
		go func() {
			space, err := collector.Statfs(ctx, path)
			if err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
			answer <- finding{
				source: collector.NameDisk, err: err, remedy: remedyDisk,
				detail: fmt.Sprintf("%s: %.1f of %.1f GB free", path, float64(space.Free)/1e9, float64(space.Size)/1e9),
			}
		}()
		select {
		case f := <-answer:
			found = append(found, f)
		case <-ctx.Done():
			found = append(found, finding{source: collector.NameDisk, err: fmt.Errorf("%s: the file system does not answer", path), remedy: remedyDisk})
		}
	}
	return found
}

func (e *exporter) checkDNS(ctx context.Context) []finding {
	names := e.cfg.dnsNames
	if len(names) == 0 {
		names = dnsNames(e.cfg.github.APIURL)
	}
	return []finding{{
		source: collector.NameDNS, err: e.dns.Lookup(ctx), remedy: remedyDNS,
		detail: fmt.Sprintf("%d of %d names found", len(names), len(names)),
	}}
}
