package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/guest"
	"github.com/blueguy23/ghostrunner/e2e/machine"
	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// list prints the names and descriptions.
func list(todo []scenario.Fault, out io.Writer) {
	for _, f := range todo {
		fmt.Fprintf(out, "%-54s  %s\n", f.Name, f.Description)
	}
}

// chosen returns the faults and pairs that the options select.
func (w *world) chosen(o options) ([]scenario.Fault, error) {
	all := slices.Concat(w.mainFaults(), w.pairs(), w.lateFaults())
	if len(o.only) == 0 {
		return all, nil
	}
	for _, name := range o.only {
		if !slices.ContainsFunc(all, func(f scenario.Fault) bool { return f.Name == name }) {
			return nil, fmt.Errorf("--only=%s: no fault has this name, see --list", name)
		}
	}
	return slices.DeleteFunc(all, func(f scenario.Fault) bool { return !slices.Contains(o.only, f.Name) }), nil
}

// runInside starts the stack on the machine and runs the faults there.
func runInside(ctx context.Context, o options, e *machine.Engine, out io.Writer) error {
	began := time.Now()
	w, err := newWorld(ctx, o, e, out)
	if err == nil {
		var h *harm
		if h, err = newHarm(ctx, w); err == nil {
			fmt.Fprintf(out, "\nready after %s; a job each %s, and %d foreign containers\n", seconds(time.Since(began)), jobInterval, foreign)
			if o.soak > 0 {
				return w.soak(ctx, o, h, out)
			}
			return w.runAll(ctx, o, h, out)
		}
	}
	if w != nil {
		w.Diagnose(ctx, out)
	}
	return err
}

// runAll runs the faults and pairs one after another.
func (w *world) runAll(ctx context.Context, o options, h *harm, out io.Writer) error {
	todo, err := w.chosen(o)
	if err != nil {
		return err
	}
	if !guest.Inside() {
		todo, _ = splitGuestFaults(todo)
	}
	began := time.Now()
	var rows []row
	for i, f := range todo {
		fmt.Fprintf(out, "\n%d of %d. %s\n", i+1, len(todo), f.Name)
		now := w.runOne(ctx, f, h, out)
		rows = append(rows, now)
		if o.rows != "" {
			err = now.appendTo(o.rows)
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			break
		}
	}
	if o.rows != "" {
		return err // the program outside reports the rows of all machines
	}
	return errors.Join(err, report(ctx, o, rows, time.Since(began), out))
}

// runOne runs one fault and checks the harm.
func (w *world) runOne(ctx context.Context, f scenario.Fault, h *harm, out io.Writer) row {
	result := scenario.Result{Fault: f}
	harmed := 0
	before, err := h.jobsFailed(ctx)
	if err == nil {
		result = scenario.Run(ctx, w.Stack, f, func(kind, detail string, since time.Duration) {
			fmt.Fprintf(out, "   %9s  %-7s %s\n", "+"+seconds(since), kind, detail)
		})
		// A fault that is still there, such as a frozen engine, would block the check too.
		if result.Err != nil && f.Remove != nil {
			_ = f.Remove(ctx)
		}
		harmed, err = h.check(ctx, f, before)
	}
	err = errors.Join(result.Err, err)
	if err != nil {
		fmt.Fprintf(out, "   FAILED     %v\n", err)
		w.printEvidence(ctx, out)
		restarting, cancel := context.WithTimeout(ctx, patience())
		defer cancel()
		if err := w.restart(restarting); err != nil {
			fmt.Fprintf(out, "   and after it: %v\n", err)
		}
	}
	return newRow(result, harmed, err)
}

// restart starts the stack with empty volumes, so that the journal does not affect the next fault:
// a runner on probation gets a back-off instead of a restart.
func (w *world) restart(ctx context.Context) error {
	w.pat = stack.Token
	if err := w.accept(w.pat); err != nil {
		return err
	}
	if err := w.Up(ctx); err != nil {
		return err
	}
	return scenario.Ready(ctx, w.Stack)
}

// printEvidence prints what helps to explain a failure.
func (w *world) printEvidence(ctx context.Context, out io.Writer) {
	for _, args := range [][]string{
		{"ps", "--all", "--filter=label=com.docker.compose.project=" + w.project, "--format={{.Names}}: {{.Status}}"},
		{"exec", w.service("remediator"), "/ghostrunner", "history", "--limit=8"},
		{"logs", "--tail=8", w.service("remediator")},
		{"logs", "--tail=8", w.service("exporter")},
		{"logs", "--tail=12", w.Container(one)},
		{"logs", "--tail=12", w.Container(two)},
	} {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		text, err := w.DockerOutput(ctx, args...)
		cancel()
		fmt.Fprintf(out, "   | docker %s\n", args[0])
		if err != nil {
			text += err.Error()
		}
		for line := range strings.Lines(text) {
			fmt.Fprintf(out, "   |   %s\n", strings.TrimRight(line, "\n"))
		}
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
