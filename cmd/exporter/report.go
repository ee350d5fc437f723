package main

import (
	"encoding/json"
	"io"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
)

// state is what a finding says.
type state string

const (
	well   state = "ok"
	failed state = "fail"
	noted  state = "note" // worth knowing, not wrong
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

// newReport joins the findings and makes foreign text safe for a terminal.
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
	t := cli.Table{
		Heading: []string{"SOURCE", "STATE", "DETAIL"},
		Colors:  map[string]cli.Color{string(well): cli.Green, "FAIL": cli.Red, string(noted): cli.Yellow},
	}
	for _, f := range r.Findings {
		word := string(f.State)
		if f.State == failed {
			word = "FAIL"
		}
		t.Rows = append(t.Rows, []string{f.Source, word, f.Detail})
		for _, remedy := range f.Remedy {
			t.Colors["→ "+remedy] = cli.Dim
			t.Rows = append(t.Rows, []string{" ", " ", "→ " + remedy})
		}
	}
	return t.Print(w)
}
