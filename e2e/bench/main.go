// Bench measures ghostrunner's promised figures on this machine and prints them as one table: how
// soon the shipped configuration orders a restart, what each program costs when idle and during
// restarts, and its throughput.
//
//	go run ./e2e/bench     (make bench)
//	go run ./e2e/bench -only=scrape,webhook     (make bench PART=scrape,webhook)
//	go run ./e2e/bench -only=reaction -against='sh e2e/bench/testdata/polling.sh'     beside another healer
//
// It exits with 1 if a figure exceeds its budget. It removes what it created, except images.
// Durations are meaningful only on an idle machine; CPU times nearly everywhere.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
)

// parts are the parts, in this order. Those that load the machine most are last.
var parts = []struct {
	name    string
	measure func(*bench, context.Context) ([]measure.Figure, error)
}{
	{"start", (*bench).start},       // exporter and remediator, until ready
	{"scrape", (*bench).scrape},     // the exporter with few and with many runners
	{"flood", (*bench).flood},       // the exporter while a job prints without limit
	{"rest", (*bench).rest},         // the idle remediator
	{"webhook", (*bench).webhook},   // the remediator's webhook
	{"scan", (*bench).scan},         // parsing logs
	{"reaction", (*bench).reaction}, // the whole stack, idle and during restarts
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	only           []string
	cycles         int
	idle           time.Duration
	runners        []int
	against, label string
	json, benchfmt string
	verbose        bool
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	only := flags.String("only", "", "`parts` to measure, of "+strings.Join(names, ",")+"; empty: all")
	flags.IntVar(&o.cycles, "cycles", 50, "`number` of restarts; 0: only the cost without a fault")
	flags.DurationVar(&o.idle, "idle", time.Minute, "how long each program is measured while idle")
	runners := flags.String("runners", "2,1000", "`numbers` of runners with which the exporter is scraped")
	flags.StringVar(&o.against, "against", "", "shell `command` of another healer, which is measured after ours with as many cycles")
	flags.StringVar(&o.label, "against-label", "autoheal=true", "`label` of the containers that the other healer restarts")
	flags.StringVar(&o.json, "json", "", "`file` for the figures as JSON")
	flags.StringVar(&o.benchfmt, "benchfmt", "", "`file` for the figures as Go benchmarks, for benchstat")
	flags.BoolVar(&o.verbose, "v", false, "print each cycle and the programs' logs")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for name := range strings.FieldsFuncSeq(*only, comma) {
		if !slices.Contains(names, name) {
			return o, fmt.Errorf("-only: unknown part %q; want some of %s", name, strings.Join(names, ","))
		}
		o.only = append(o.only, name)
	}
	for n := range strings.FieldsFuncSeq(*runners, comma) {
		number, err := strconv.Atoi(n)
		if err != nil || number < 1 {
			return o, fmt.Errorf("-runners: %q is not a number of runners", n)
		}
		o.runners = append(o.runners, number)
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.cycles < 0:
		return o, errors.New("-cycles: want 0 or more")
	case o.idle < 10*time.Second:
		return o, errors.New("-idle: want 10s or more, the engine's CPU clock ticks in hundredths of a second")
	case o.against != "" && (o.cycles == 0 || !o.wants("reaction")):
		return o, errors.New("-against: the other healer is measured in the cycles of the part reaction")
	}
	return o, nil
}

func comma(r rune) bool { return r == ',' }

func (o options) wants(part string) bool { return len(o.only) == 0 || slices.Contains(o.only, part) }

// bench is shared by all parts.
type bench struct {
	options

	dir string // for programs, journals and sockets
	out io.Writer
	// otherFigures are those of another healer, under the names of ours.
	otherFigures []measure.Figure
}

// report is what a run saves.
type report struct {
	Date    time.Time        `json:"date"`
	Load    [2]float64       `json:"load"` // of the last minute, at the start and at the end
	Against string           `json:"against,omitempty"`
	Figures []measure.Figure `json:"figures"`
	Other   []measure.Figure `json:"other,omitempty"`
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "gr") // short, because the path of a socket must be
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{options: o, dir: dir, out: out}
	r := report{Date: time.Now().UTC(), Against: o.against}
	r.Load[0] = measure.LoadAverage()
	var failed error
	for _, p := range parts {
		if !o.wants(p.name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintf(out, "%s %s\n", time.Now().Format(time.TimeOnly), p.name)
		figures, err := p.measure(b, ctx)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", p.name, err))
		}
		r.Figures = append(r.Figures, figures...)
	}
	r.Load[1], r.Other = measure.LoadAverage(), b.otherFigures
	measure.Print(out, r.Figures, r.Other)
	fmt.Fprintf(out, "\n%s after %s; load average %.2f before, %.2f after\n", r.Date.Format(time.RFC3339), time.Since(r.Date).Round(time.Second), r.Load[0], r.Load[1])
	return errors.Join(failed, r.save(o), measure.Broken(r.Figures))
}

// save writes the files that the options name.
func (r report) save(o options) error {
	var errs []error
	if o.json != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		errs = append(errs, err, os.WriteFile(o.json, append(text, '\n'), 0o644))
	}
	if o.benchfmt != "" {
		var text bytes.Buffer
		errs = append(errs, measure.WriteBenchmarks(&text, r.Figures, r.Other), os.WriteFile(o.benchfmt, text.Bytes(), 0o644))
	}
	return errors.Join(errs...)
}

// program builds a program of this module unless it exists.
func (b *bench) program(ctx context.Context, from string) (string, error) {
	path := filepath.Join(b.dir, filepath.Base(from))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, measure.Build(ctx, path, from)
}

// log is where the programs' logs go.
func (b *bench) log() io.Writer {
	if b.verbose {
		return os.Stderr
	}
	return io.Discard
}
