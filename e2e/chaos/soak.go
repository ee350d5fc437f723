package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// soak injects random faults until the time is up. Growth is found by comparing the median of the
// first third, after the start, with that of the last.
func (w *world) soak(ctx context.Context, o options, h *harm, out io.Writer) error {
	seed := o.seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	random := rand.New(rand.NewPCG(seed, 0))
	fmt.Fprintf(out, "soaking for %s; repeat with --soak=%s --seed=%d\n", o.soak, o.soak, seed)
	faults := w.soakFaults()
	began := time.Now()
	var rows []row
	var samples []sample
	for time.Since(began) < o.soak && ctx.Err() == nil {
		f := faults[random.IntN(len(faults))]
		fmt.Fprintf(out, "\n+%s  %s\n", time.Since(began).Round(time.Second), f.Name)
		rows = append(rows, w.runOne(ctx, f, h, out))
		s, err := w.measure(ctx)
		if err != nil {
			return err
		}
		samples = append(samples, s)
	}
	err := report(ctx, o, rows, time.Since(began), out)
	jobs, jobsErr := w.Lab().State(ctx)
	fmt.Fprintf(out, "\n%d jobs succeeded; %d faults\n", jobs.CompletedTotal["Succeeded"], len(rows))
	return errors.Join(err, jobsErr, checkGrowth(samples, out), ctx.Err())
}

// soakFaults are the faults that do not end our programs, so that their size can be followed. A
// random order lets one fault affect the next: any slot may be restarted, or get a back-off after
// six restarts within an hour. Which alert leads to an action is checked with single faults only.
func (w *world) soakFaults() []scenario.Fault {
	faults := slices.Concat(w.runnerFaults(), w.containerFaults(), w.clockFaults(), w.networkFaults(), w.apiFaults(), w.engineFaults(), w.hostileFaults())
	for i := range faults {
		f := &faults[i]
		f.Timeout = max(f.Timeout, 10*time.Minute) // the longest back-off takes three
		if f.Action != "" {
			f.Alert = nil
		}
		for _, slot := range []string{one, two} {
			f.Allowed = append(f.Allowed, "restart "+slot)
			f.Alternatives = append(f.Alternatives, "backoff "+slot)
		}
		f.Allowed = append(f.Allowed, "restart "+w.Container("ci-mongo"), "prune engine")
	}
	return faults
}

// sample has what our programs use at one moment, by name.
type sample map[string]float64

// allowed is the total growth that is allowed: heaps fluctuate, and a fault leaves some
// connections.
var allowed = map[string]struct{ part, more float64 }{
	"exporter memory": {0.25, 8e6}, "exporter goroutines": {0.1, 20}, "exporter descriptors": {0.1, 12},
	"remediator memory": {0.25, 8e6}, "remediator goroutines": {0.1, 20}, "remediator descriptors": {0.1, 12},
	"journal bytes": {0.5, 16e6}, "supervisors' memory": {0.25, 8e6}, "supervisors' descriptors": {0.1, 12},
}

func (w *world) measure(ctx context.Context) (sample, error) {
	s := sample{}
	for program, port := range map[string]int{"exporter": w.Ports.Exporter, "remediator": w.Ports.Remediator} {
		page, err := w.Page(ctx, port)
		if err != nil {
			return nil, err
		}
		for what, metric := range map[string]string{
			"memory": "process_resident_memory_bytes", "goroutines": "go_goroutines", "descriptors": "process_open_fds",
		} {
			v, found, err := page.Sum(metric, nil)
			if !found || err != nil {
				return nil, fmt.Errorf("%s of the %s: %w", metric, program, err)
			}
			s[program+" "+what] = v
		}
	}
	for _, slot := range []string{one, two} {
		pid, err := w.Docker(ctx, "inspect", "--format={{.State.Pid}}", w.Container(slot))
		if err != nil {
			return nil, err
		}
		memory, descriptors, err := process(pid)
		if err != nil {
			return nil, err
		}
		s["supervisors' memory"] += memory
		s["supervisors' descriptors"] += descriptors
	}
	volume, err := w.Docker(ctx, "volume", "inspect", "--format={{.Mountpoint}}", w.project+"_journal")
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(filepath.Join(volume, "journal.db"))
	if err != nil {
		return nil, err
	}
	s["journal bytes"] = float64(info.Size())
	return s, nil
}

// process reads the resident memory and open files of a process.
func process(pid string) (memory, descriptors float64, err error) {
	number, err := strconv.Atoi(pid)
	if err != nil {
		return 0, 0, err
	}
	memory, err = measure.Memory(number, "VmRSS")
	if err != nil {
		return 0, 0, err
	}
	open, err := os.ReadDir(filepath.Join("/proc", pid, "fd"))
	return memory, float64(len(open)), err
}

// checkGrowth prints the growth and returns an error if it exceeds what is allowed.
func checkGrowth(samples []sample, out io.Writer) error {
	third := len(samples) / 3
	if third == 0 {
		return fmt.Errorf("only %d samples: soak longer to see whether anything grows", len(samples))
	}
	var grown error
	for _, what := range slices.Sorted(maps.Keys(allowed)) {
		first, last := median(samples[:third], what), median(samples[len(samples)-third:], what)
		fmt.Fprintf(out, "%-26s %14.0f -> %14.0f\n", what, first, last)
		if a := allowed[what]; last > first*(1+a.part)+a.more {
			grown = errors.Join(grown, fmt.Errorf("%s grew from %.0f to %.0f", what, first, last))
		}
	}
	return grown
}

func median(samples []sample, what string) float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, s[what])
	}
	slices.Sort(values)
	return values[len(values)/2]
}
