// The bench measures what ghostrunner promises in figures, on this machine, and tells all of it in one table: how soon the shipped
// configuration orders a restart, what every program costs while nothing happens and while restarts do, and what each program bears.
//
//	go run ./e2e/bench     (make bench)
//	go run ./e2e/bench -only=scrape,webhook     (make bench PART=scrape,webhook)
//	go run ./e2e/bench -only=reaction -against='sh e2e/bench/testdata/polling.sh'     another healer too, in the same run
//
// It exits with 1 if a budget is broken. Everything that it created is removed at the end, but for the images. Times mean little on a
// machine that does other work; the CPU time of a program means nearly the same.
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

// parts are what there is to measure, in this order. What keeps the machine busiest is last.
var parts = []struct {
	name    string
	measure func(*bench, context.Context) ([]measure.Figure, error)
}{
	{"start", (*bench).start},       // exporter and remediator, from nothing to ready
	{"scrape", (*bench).scrape},     // the exporter with few and with many runners
	{"flood", (*bench).flood},       // the exporter, while a job prints without measure
	{"rest", (*bench).rest},         // the remediator with nothing to do
	{"webhook", (*bench).webhook},   // the remediator's door
	{"scan", (*bench).scan},         // reading logs
	{"reaction", (*bench).reaction}, // the whole stack, without a fault and with restarts
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
	cycles, phases int
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
	flags.IntVar(&o.cycles, "cycles", 50, "containers that become unhealthy, one after the other; 0: none, the cost without a fault alone")
	flags.IntVar(&o.phases, "phases", 5, "containers of Prometheus that the cycles are spread over")
	flags.DurationVar(&o.idle, "idle", time.Minute, "how long each thing is measured while nothing happens to it")
	runners := flags.String("runners", "2,1000", "`numbers` of runners that the exporter is scraped with")
	flags.StringVar(&o.against, "against", "", "shell `command` of another healer, which is measured after ours over as many cycles")
	flags.StringVar(&o.label, "against-label", "autoheal=true", "`label` by which the other healer knows what is its to restart")
	flags.StringVar(&o.json, "json", "", "`file` for the figures as JSON")
	flags.StringVar(&o.benchfmt, "benchfmt", "", "`file` for the figures as Go benchmarks, for benchstat")
	flags.BoolVar(&o.verbose, "v", false, "one line for each cycle, and what the programs log")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for name := range strings.FieldsFuncSeq(*only, comma) {
		if !slices.Contains(names, name) {
			return o, fmt.Errorf("-only: there is no %q; want some of %s", name, strings.Join(names, ","))
		}
		o.only = append(o.only, name)
	}
	for n := range strings.FieldsFuncSeq(*runners, comma) {
		number, err := strconv.Atoi(n)
		if err != nil || number < 1 {
			return o, fmt.Errorf("-runners: %q is no number of runners", n)
		}
		o.runners = append(o.runners, number)
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.cycles < 0 || o.phases < 1 || o.cycles > 0 && o.phases > o.cycles:
		return o, errors.New("-cycles, -phases: want at least one cycle for each phase")
	case o.idle < 10*time.Second:
		return o, errors.New("-idle: want 10s or more, the engine's CPU clock ticks in hundredths of a second")
	case o.against != "" && (o.cycles == 0 || !o.wants("reaction")):
		return o, errors.New("-against: the other healer is measured in the cycles of the part reaction")
	}
	return o, nil
}

func comma(r rune) bool { return r == ',' }

func (o options) wants(part string) bool { return len(o.only) == 0 || slices.Contains(o.only, part) }

// bench is what all parts share.
type bench struct {
	options

	dir string // for programs, journals and sockets
	out io.Writer
	// rival are the figures of another healer, by the names that ours have.
	rival []measure.Figure
}

// report is what is kept of a run.
type report struct {
	Date    time.Time        `json:"date"`
	Load    [2]float64       `json:"load"` // average of the last minute, at the begin and at the end
	Against string           `json:"against,omitempty"`
	Figures []measure.Figure `json:"figures"`
	Rival   []measure.Figure `json:"rival,omitempty"`
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "gr") // short, because a socket's path must be
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
	r.Load[1], r.Rival = measure.LoadAverage(), b.rival
	measure.Print(out, r.Figures, r.Rival)
	fmt.Fprintf(out, "\n%s after %s; load average %.2f before, %.2f after\n", r.Date.Format(time.RFC3339), time.Since(r.Date).Round(time.Second), r.Load[0], r.Load[1])
	return errors.Join(failed, r.save(o), measure.Broken(r.Figures))
}

// save writes the files that were asked for.
func (r report) save(o options) error {
	var errs []error
	if o.json != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		errs = append(errs, err, os.WriteFile(o.json, append(text, '\n'), 0o644))
	}
	if o.benchfmt != "" {
		var text bytes.Buffer
		errs = append(errs, measure.WriteBenchmarks(&text, r.Figures, r.Rival), os.WriteFile(o.benchfmt, text.Bytes(), 0o644))
	}
	return errors.Join(errs...)
}

// program is one of this module, built when it is first wanted.
func (b *bench) program(ctx context.Context, from string) (string, error) {
	path := filepath.Join(b.dir, filepath.Base(from))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, measure.Build(ctx, path, from)
}

// log is where the programs log to.
func (b *bench) log() io.Writer {
	if b.verbose {
		return os.Stderr
	}
	return io.Discard
}
