package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
)

// state is how a finding is meant.
type state string

const (
	well   state = "ok"
	failed state = "fail"
	noted  state = "note" // worth knowing, and nothing is wrong
)

// finding is one line of the table.
type finding struct {
	Source string   `json:"source"`
	State  state    `json:"state"`
	Detail string   `json:"detail"`
	Remedy []string `json:"remedy,omitempty"` // sentences; what to do
}

func good(source, detail string) finding { return finding{Source: source, State: well, Detail: detail} }

func note(source, detail string, remedy ...string) finding {
	return finding{Source: source, State: noted, Detail: detail, Remedy: remedy}
}

func fail(source string, err error, remedy ...string) finding {
	return finding{Source: source, State: failed, Detail: err.Error(), Remedy: remedy}
}

// report is what check found.
type report struct {
	OK       bool      `json:"ok"`
	Version  string    `json:"version"`
	Findings []finding `json:"findings"`
}

// newReport joins the findings and makes foreign text fit for a terminal.
func newReport(version string, parts ...[]finding) report {
	r := report{OK: true, Version: version, Findings: []finding{}}
	for _, part := range parts {
		for _, f := range part {
			f.Detail = cli.OneLine(f.Detail)
			var remedy []string
			for _, s := range f.Remedy {
				if s = cli.OneLine(s); s != "" {
					remedy = append(remedy, s)
				}
			}
			f.Remedy = remedy
			r.OK = r.OK && f.State != failed
			r.Findings = append(r.Findings, f)
		}
	}
	return r
}

// write prints the report as a table, or as JSON.
func (r report) write(w io.Writer, format string) error {
	if format == formatJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	_, err := io.WriteString(w, r.table(cli.PainterFor(w)))
	return err
}

var colours = map[state]cli.Color{well: cli.Green, failed: cli.Red, noted: cli.Yellow}

// table pads before it paints, so that colours do not count as width.
func (r report) table(on cli.Painter) string {
	width := len("SOURCE")
	for _, f := range r.Findings {
		width = max(width, utf8.RuneCountInString(f.Source))
	}
	var b strings.Builder
	b.WriteString(on.Paint(cli.Bold, fmt.Sprintf("%-*s  STATE  DETAIL", width, "SOURCE")) + "\n")
	for _, f := range r.Findings {
		word := string(f.State)
		if f.State == failed {
			word = "FAIL"
		}
		fmt.Fprintf(&b, "%-*s  %s  %s\n", width, f.Source, on.Paint(colours[f.State], fmt.Sprintf("%-5s", word)), f.Detail)
		for _, s := range f.Remedy {
			fmt.Fprintf(&b, "%*s  %s\n", width+len("  STATE"), "", on.Paint(cli.Dim, "→ "+s))
		}
	}
	return b.String()
}
