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

// soak draws faults at random until the time is up. What grows is found by comparing the middle of the first third, when
// everything is warm, with that of the last.
func (w *world) soak(ctx context.Context, o options, r *referee, out io.Writer) error {
	seed := o.seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	draw := rand.New(rand.NewPCG(seed, 0))
	fmt.Fprintf(out, "soaking for %s; the same again with --soak=%s --seed=%d\n", o.soak, o.soak, seed)
	faults := w.lasting()
	began := time.Now()
	var rows []row
	var sizes []sample
	for time.Since(began) < o.soak && ctx.Err() == nil {
		f := faults[draw.IntN(len(faults))]
		fmt.Fprintf(out, "\n+%s  %s\n", time.Since(began).Round(time.Second), f.Name)
		rows = append(rows, w.round(ctx, f, r, out).row())
		s, err := w.measure(ctx)
		if err != nil {
			return err
		}
		sizes = append(sizes, s)
	}
	err := report(ctx, o, rows, time.Since(began), out)
	jobs, jobsErr := w.lab(ctx)
	fmt.Fprintf(out, "\n%d jobs succeeded; %d faults\n", jobs.CompletedTotal["Succeeded"], len(rows))
	return errors.Join(err, jobsErr, flat(sizes, out), ctx.Err())
}

// lasting are the faults that leave our programs running, so that what they hold can be followed. With faults drawn at random
// one meets the wake of another: any slot of ours may be restarted, or rested, which six restarts within an hour earn; and which
// of its alerts asks for that is told in the table of single faults alone.
func (w *world) lasting() (faults []scenario.Fault) {
	for _, layer := range [][]scenario.Fault{w.runnerFaults(), w.containerFaults(), w.clockFaults(), w.networkFaults(), w.apiFaults(), w.engineFaults(), w.hostileFaults()} {
		faults = append(faults, layer...)
	}
	for i := range faults {
		faults[i].Patience = max(faults[i].Patience, 10*time.Minute) // the longest rest lasts three
		if len(faults[i].Action) > 0 {
			faults[i].Alert = nil
		}
		for _, slot := range []string{one, two} {
			faults[i].Also = append(faults[i].Also, "restart "+slot)
			faults[i].Instead = append(faults[i].Instead, "backoff "+slot)
		}
		faults[i].Also = append(faults[i].Also, "restart "+w.Container("ci-mongo"), "prune engine")
	}
	return faults
}

// sample is what our programs hold at one moment, by what it is.
type sample map[string]float64

// allowed is how much each may grow in all: a heap breathes, and a fault that has just ended leaves a few connections.
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

// process reads what one process holds from the process table.
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

// flat prints what grew and fails if it was more than it may be.
func flat(sizes []sample, out io.Writer) error {
	third := len(sizes) / 3
	if third == 0 {
		return fmt.Errorf("only %d samples: soak longer to see whether anything grows", len(sizes))
	}
	var grown error
	for _, what := range slices.Sorted(maps.Keys(allowed)) {
		first, last := median(sizes[:third], what), median(sizes[len(sizes)-third:], what)
		fmt.Fprintf(out, "%-26s %14.0f -> %14.0f\n", what, first, last)
		if a := allowed[what]; last > first*(1+a.part)+a.more {
			grown = errors.Join(grown, fmt.Errorf("%s grew from %.0f to %.0f", what, first, last))
		}
	}
	return grown
}

func median(sizes []sample, what string) float64 {
	var values []float64
	for _, s := range sizes {
		values = append(values, s[what])
	}
	slices.Sort(values)
	return values[len(values)/2]
}
