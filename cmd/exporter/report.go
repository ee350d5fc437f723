package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
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
			f.Detail = oneLine(f.Detail)
			var remedy []string
			for _, s := range f.Remedy {
				if s = oneLine(s); s != "" {
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

// maxText bounds a text that comes from elsewhere.
const maxText = 1000

// oneLine takes out what could end a line or steer a terminal.
func oneLine(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\n", "; ")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > maxText {
		s = string(runes[:maxText]) + "…"
	}
	return strings.TrimSpace(s)
}

// write prints the report as a table, or as JSON.
func (r report) write(w io.Writer, format string) error {
	if format == formatJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	_, err := io.WriteString(w, r.table(colourful(w)))
	return err
}

// The colours of a terminal: SGR of ECMA-48.
const (
	plain = "\x1b[0m"
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
)

var colours = map[state]string{well: "\x1b[32m", failed: "\x1b[1;31m", noted: "\x1b[33m"}

// table pads before it paints, so that colours do not count as width.
func (r report) table(colour bool) string {
	paint := func(code, s string) string {
		if !colour {
			return s
		}
		return code + s + plain
	}
	width := len("SOURCE")
	for _, f := range r.Findings {
		width = max(width, utf8.RuneCountInString(f.Source))
	}
	var b strings.Builder
	b.WriteString(paint(bold, fmt.Sprintf("%-*s  STATE  DETAIL", width, "SOURCE")) + "\n")
	for _, f := range r.Findings {
		word := string(f.State)
		if f.State == failed {
			word = "FAIL"
		}
		fmt.Fprintf(&b, "%-*s  %s  %s\n", width, f.Source, paint(colours[f.State], fmt.Sprintf("%-5s", word)), f.Detail)
		for _, s := range f.Remedy {
			fmt.Fprintf(&b, "%*s  %s\n", width+len("  STATE"), "", paint(dim, "→ "+s))
		}
	}
	return b.String()
}

// colourful reports whether w is a terminal that wants colours (https://no-color.org).
func colourful(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
