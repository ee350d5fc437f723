package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one fault as people and programs read it. Times are in seconds since the fault.
type row struct {
	Fault   string  `json:"fault"`
	Story   string  `json:"story"`
	Noticed float64 `json:"noticed_seconds,omitempty"`
	Alert   string  `json:"alert,omitempty"`
	Alerted float64 `json:"alert_seconds,omitempty"`
	Action  string  `json:"action,omitempty"`
	Healed  float64 `json:"healed_seconds,omitempty"`
	Harmed  int     `json:"jobs_harmed"`
	Broken  string  `json:"broken,omitempty"`
}

func rows(results []outcome) (all []row, broken int) {
	for _, o := range results {
		r := row{
			Fault: o.Fault.Name, Story: o.Fault.Story, Noticed: o.Metric.Seconds(), Alert: o.Fault.Alert["alertname"], Alerted: o.Alert.Seconds(),
			Action: strings.TrimSpace(o.Fault.Action["action"] + " " + o.Fault.Action["target"]), Healed: o.Healed.Seconds(), Harmed: o.Harmed,
		}
		if o.Err != nil {
			r.Broken = o.Err.Error()
			broken++
		}
		all = append(all, r)
	}
	return all, broken
}

var columns = []string{"fault", "noticed after", "alert", "alert after", "action", "healed after", "jobs harmed"}

func (r row) cells() []string {
	after := func(s float64) string {
		if s == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f s", s)
	}
	dash := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	healed := after(r.Healed)
	if r.Broken != "" {
		healed = "BROKEN"
	}
	return []string{r.Fault, after(r.Noticed), dash(r.Alert), after(r.Alerted), dash(r.Action), healed, strconv.Itoa(r.Harmed)}
}

// report prints the table, writes it where it was asked for, and fails if a promise broke.
func report(ctx context.Context, o options, results []outcome, took time.Duration, out io.Writer) error {
	all, broken := rows(results)
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(columns, "\t")))
	for _, r := range all {
		fmt.Fprintln(w, strings.Join(r.cells(), "\t"))
	}
	err := w.Flush()
	if o.markdown != "" {
		err = errors.Join(err, os.WriteFile(o.markdown, markdown(all, about(ctx, took)), 0o644))
	}
	if o.json != "" {
		text, jsonErr := json.MarshalIndent(all, "", "  ")
		err = errors.Join(err, jsonErr, os.WriteFile(o.json, append(text, '\n'), 0o644))
	}
	if broken > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d promises broke", broken, len(all)))
	} else if err == nil {
		fmt.Fprintf(out, "\n%d promises kept, in %s\n", len(all), took.Round(time.Second))
	}
	return err
}

// about says where and when a result was found.
func about(ctx context.Context, took time.Duration) string {
	commit, _ := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output() // a tarball has none
	return fmt.Sprintf("%s, commit %s, %d cores, %s; took %s. Waiting times of rules are divided by twenty, as in the demo.",
		time.Now().UTC().Format("2006-01-02"), bytes.TrimSpace(commit), runtime.NumCPU(), strings.Join(os.Args, " "), took.Round(time.Second))
}

func markdown(all []row, about string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n", about)
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(columns)
	fmt.Fprintln(&b, strings.Repeat("|---", len(columns))+"|")
	for _, r := range all {
		line(r.cells())
	}
	return b.Bytes()
}

func indent(out io.Writer, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(out, "   |   %s\n", strings.TrimRight(line, "\n"))
	}
}
