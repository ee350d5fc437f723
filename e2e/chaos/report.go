package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"
)

// result is what a run saves.
type result struct {
	Head head  `json:"head"`
	Rows []row `json:"faults"`
}

// report prints the table, saves it as the options say, and returns an error if a fault failed.
func report(ctx context.Context, o options, rows []row, took time.Duration, out io.Writer) error {
	table(rows, out)
	failed := 0
	for _, r := range rows {
		if r.Failed != "" {
			failed++
		}
	}
	var err error
	if failed > 0 {
		err = fmt.Errorf("%d of %d faults failed", failed, len(rows))
	} else {
		fmt.Fprintf(out, "\n%d faults passed, in %s\n", len(rows), took.Round(time.Second))
	}
	if o.markdown == "" && o.json == "" {
		return err
	}
	return errors.Join(err, save(o, result{currentHead(context.WithoutCancel(ctx), took), rows}))
}

// table prints the rows.
func table(rows []row, out io.Writer) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(columns, "\t")))
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r.cells(), "\t"))
	}
	_ = w.Flush() // stdout
}

// save writes a result to files, merged into an earlier one if the options name one.
func save(o options, r result) error {
	if o.into != "" {
		text, err := os.ReadFile(o.into)
		if err != nil {
			return err
		}
		var earlier result
		if err := json.Unmarshal(text, &earlier); err != nil {
			return fmt.Errorf("%s: %w", o.into, err)
		}
		r = result{earlier.Head, merge(earlier.Rows, r.Rows, r.Head.Date+", "+r.Head.Commit, names())}
	}
	var err error
	if o.json != "" {
		text, jsonErr := json.MarshalIndent(r, "", "  ")
		err = errors.Join(jsonErr, os.WriteFile(o.json, append(text, '\n'), 0o644))
	}
	if o.markdown != "" {
		text, pageErr := page(r, names())
		err = errors.Join(err, pageErr, os.WriteFile(o.markdown, text, 0o644))
	}
	return err
}

// names are those of all faults and pairs.
func names() (all []string) {
	todo, _ := listOnly().chosen(options{pairs: true}) // fails only for unknown names
	for _, f := range todo {
		all = append(all, f.Name)
	}
	return all
}

//go:embed proof.md.tmpl
var proof string

// page returns docs/proof.md.
func page(r result, names []string) ([]byte, error) {
	played := map[string]bool{}
	var results [][]string
	for _, row := range r.Rows {
		if strings.HasPrefix(row.Failed, notRun) {
			continue
		}
		played[row.Fault] = true
		results = append(results, row.cells())
	}
	var b bytes.Buffer
	err := template.Must(template.New("proof").Parse(proof)).Execute(&b, map[string]any{
		"Head": r.Head, "Results": markdown(columns, results),
		"Missing": strings.Join(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return played[name] }), ", "),
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

func indent(out io.Writer, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(out, "   |   %s\n", strings.TrimRight(line, "\n"))
	}
}
