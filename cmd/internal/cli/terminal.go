package cli

import (
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// maxText bounds a text that comes from elsewhere.
const maxText = 1000

// OneLine takes out of a foreign text what could end a line or steer a terminal.
func OneLine(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(strings.ToValidUTF8(s, "?")), "\n", "; ")
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

// Colour is how a word is painted on a terminal: SGR of ECMA-48.
type Colour string

// The colours, and the end of them.
const (
	Plain  Colour = "\x1b[0m"
	Bold   Colour = "\x1b[1m"
	Dim    Colour = "\x1b[2m"
	Green  Colour = "\x1b[32m"
	Red    Colour = "\x1b[1;31m"
	Yellow Colour = "\x1b[33m"
)

// Painter puts colours around words, or not.
type Painter bool

// PainterFor paints if out is a terminal that wants colours (https://no-color.org).
func PainterFor(out io.Writer) Painter {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Paint returns s in that colour, if there are colours.
func (p Painter) Paint(c Colour, s string) string {
	if !p || c == "" || s == "" {
		return s
	}
	return string(c) + s + string(Plain)
}

// Table is text in columns under a heading. What is in a cell never breaks its row.
type Table struct {
	Heading []string
	Rows    [][]string
	// Colours paints a cell by what it says; nil paints none.
	Colours map[string]Colour
}

// Print writes the table. It pads before it paints, so that colours do not count as width; an empty cell is a dash.
func (t Table) Print(out io.Writer) error {
	paint := PainterFor(out)
	width := make([]int, len(t.Heading))
	rows := append([][]string{t.Heading}, t.Rows...)
	for i, row := range rows {
		rows[i] = make([]string, len(row))
		for c, cell := range row {
			if cell = OneLine(cell); cell == "" {
				cell = "-"
			}
			rows[i][c] = cell
			width[c] = max(width[c], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for i, row := range rows {
		for c, cell := range row {
			colour := t.Colours[cell]
			if i == 0 {
				colour = Bold
			}
			b.WriteString(paint.Paint(colour, cell))
			if c < len(row)-1 {
				b.WriteString(strings.Repeat(" ", width[c]-utf8.RuneCountInString(cell)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(out, b.String())
	return err
}
