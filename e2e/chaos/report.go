package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// report prints the table, writes the page if the options name a file, and returns an error if a
// fault failed.
func report(ctx context.Context, o options, rows []row, took time.Duration, out io.Writer) error {
	faults := listed()
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(columns, "\t")))
	failed := 0
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r.cells(find(faults, r.Fault)), "\t"))
		if r.Failed != "" {
			failed++
		}
	}
	_ = w.Flush() // stdout
	var err error
	if failed > 0 {
		err = fmt.Errorf("%d of %d faults failed", failed, len(rows))
	} else {
		fmt.Fprintf(out, "\n%d faults passed, in %s\n", len(rows), took.Round(time.Second))
	}
	if o.markdown == "" {
		return err
	}
	text, pageErr := page(heading(context.WithoutCancel(ctx), took), faults, rows)
	return errors.Join(err, pageErr, os.WriteFile(o.markdown, text, 0o644))
}

// listed are all faults and pairs.
func listed() []scenario.Fault {
	all, _ := listOnly().chosen(options{}) // fails only for unknown names
	return all
}

func find(faults []scenario.Fault, name string) scenario.Fault {
	for _, f := range faults {
		if f.Name == name {
			return f
		}
	}
	return scenario.Fault{}
}

// heading says when, where and of which version a result was found.
func heading(ctx context.Context, took time.Duration) string {
	output := func(name string, args ...string) string {
		out, _ := exec.CommandContext(ctx, name, args...).Output() // a tarball has no commit
		return strings.TrimSpace(string(out))
	}
	// Docker version 20.10.24+dfsg1, build 5d6db84
	docker, _, _ := strings.Cut(strings.TrimPrefix(output("dockerd", "--version"), "Docker version "), ",")
	loads, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("%s, commit %s, `go run ./e2e/chaos %s`, in %s: %d cores (%s), %s of memory, Linux %s, Docker %s, load averages at the end %s.",
		time.Now().UTC().Format(time.DateOnly), output("git", "describe", "--always", "--dirty"), strings.Join(os.Args[1:], " "),
		took.Round(time.Minute), runtime.NumCPU(), measure.Field("/proc/cpuinfo", "model name"), measure.Field("/proc/meminfo", "MemTotal"),
		output("uname", "-r"), docker, strings.Join(strings.Fields(string(loads) + " - - -")[:3], ", "))
}

//go:embed proof.md.tmpl
var proof string

// page returns docs/proof.md.
func page(head string, faults []scenario.Fault, rows []row) ([]byte, error) {
	missing := map[string]bool{}
	for _, f := range faults {
		missing[f.Name] = true
	}
	var results [][]string
	for _, r := range rows {
		if strings.HasPrefix(r.Failed, notRun) {
			continue
		}
		missing[r.Fault] = false
		results = append(results, r.cells(find(faults, r.Fault)))
	}
	var names []string
	for _, f := range faults {
		if missing[f.Name] {
			names = append(names, f.Name)
		}
	}
	var b bytes.Buffer
	err := template.Must(template.New("proof").Parse(proof)).Execute(&b, map[string]any{
		"Head": head, "Results": markdown(columns, results), "Missing": strings.Join(names, ", "),
	})
	return b.Bytes(), err
}

func markdown(columns []string, cells [][]string) string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(columns)
	fmt.Fprintln(&b, strings.Repeat("|---", len(columns))+"|")
	for _, c := range cells {
		line(c)
	}
	return b.String()
}
