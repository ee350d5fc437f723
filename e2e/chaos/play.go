package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/guest"
	"github.com/blueguy23/ghostrunner/e2e/machine"
	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// list names what there is.
func list(todo []scenario.Fault, out io.Writer) {
	for _, f := range todo {
		fmt.Fprintf(out, "%-54s  %s\n", f.Name, f.Story)
	}
}

// chosen are the faults and pairs that were asked for.
func (w *world) chosen(o options) ([]scenario.Fault, error) {
	all := w.early()
	if o.pairs || len(o.only) > 0 {
		all = append(all, w.pairs()...)
	}
	all = append(all, w.late()...)
	if len(o.only) == 0 {
		return all, nil
	}
	for _, name := range o.only {
		if !slices.ContainsFunc(all, func(f scenario.Fault) bool { return f.Name == name }) {
			return nil, fmt.Errorf("--only=%s: there is none of that name, see --list", name)
		}
	}
	return slices.DeleteFunc(all, func(f scenario.Fault) bool { return !slices.Contains(o.only, f.Name) }), nil
}

// play breaks everything that was asked for, one after another, and reports.
func play(ctx context.Context, o options, e *machine.Engine, out io.Writer) error {
	began := time.Now()
	w, err := newWorld(ctx, o, e, out)
	if err == nil {
		var r *referee
		if r, err = newReferee(ctx, w); err == nil {
			fmt.Fprintf(out, "\nwhole after %s; a job each %s, and %d containers that are none of our business\n", seconds(time.Since(began)), jobEvery, foreign)
			if o.soak > 0 {
				return w.soak(ctx, o, r, out)
			}
			return w.rounds(ctx, o, r, out)
		}
	}
	if w != nil {
		w.Diagnose(ctx, out)
	}
	return err
}

// rounds plays the faults and the pairs.
func (w *world) rounds(ctx context.Context, o options, r *referee, out io.Writer) error {
	todo, err := w.chosen(o)
	if err != nil {
		return err
	}
	if !guest.Inside() {
		todo, _ = kernels(todo) // main has said which are left out
	}
	began := time.Now()
	var rows []row
	for i, f := range todo {
		fmt.Fprintf(out, "\n%d of %d. %s\n", i+1, len(todo), f.Name)
		now := w.round(ctx, f, r, out).row()
		rows = append(rows, now)
		if o.rows != "" {
			err = now.appendTo(o.rows)
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			break
		}
	}
	if o.rows != "" {
		return err // who asked for the rows judges them, among those of other machines
	}
	return errors.Join(err, report(ctx, o, rows, time.Since(began), out))
}

// round plays one fault and lets the referee judge it.
func (w *world) round(ctx context.Context, f scenario.Fault, r *referee, out io.Writer) (o outcome) {
	before, err := r.harm(ctx)
	if err == nil {
		o.Result = scenario.Run(ctx, w.Stack, f, func(kind, detail string, since time.Duration) {
			fmt.Fprintf(out, "   %9s  %-7s %s\n", "+"+seconds(since), kind, detail)
		})
		// What the fault holds up, such as an engine that hangs, would hold up the judgement too.
		if o.Err != nil && f.Mend != nil {
			_ = f.Mend(ctx, w.Stack)
		}
		o.Harmed, err = r.judge(ctx, f, before)
	}
	o.Fault = f
	if o.Err = errors.Join(o.Err, err); o.Err == nil {
		return o
	}
	fmt.Fprintf(out, "   BROKEN     %v\n", o.Err)
	w.evidence(ctx, out)
	// The next fault is to meet a whole world, whatever became of this one.
	again, cancel := context.WithTimeout(ctx, patience())
	defer cancel()
	if err := w.anew(again); err != nil {
		fmt.Fprintf(out, "   and after it: %v\n", err)
	}
	return o
}

// anew starts the stack from nothing, because its journal remembers: a runner that is on probation is not restarted, it is rested.
func (w *world) anew(ctx context.Context) error {
	w.pat = stack.Token
	if err := w.accept(w.pat); err != nil {
		return err
	}
	if err := w.Up(ctx); err != nil {
		return err
	}
	return scenario.Ready(ctx, w.Stack)
}

// evidence prints what tells most about a promise that broke.
func (w *world) evidence(ctx context.Context, out io.Writer) {
	for _, show := range [][]string{
		{"ps", "--all", "--filter=label=com.docker.compose.project=" + w.project, "--format={{.Names}}: {{.Status}}"},
		{"exec", w.service("remediator"), "/ghostrunner", "history", "--limit=8"},
		{"logs", "--tail=8", w.service("remediator")},
		{"logs", "--tail=8", w.service("exporter")},
		{"logs", "--tail=12", w.Container(one)},
		{"logs", "--tail=12", w.Container(two)},
	} {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		text, err := w.DockerOutput(ctx, show...)
		cancel()
		fmt.Fprintf(out, "   | docker %s\n", show[0])
		if err != nil {
			text += err.Error()
		}
		indent(out, text)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
