package cli

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// maxText bounds text from elsewhere, in bytes.
const maxText = 1000

// OneLine makes text from elsewhere safe to print; a line end becomes "; ".
func OneLine(s string) string {
	return runner.Printable(strings.NewReplacer("\n", "; ", "\t", " ").Replace(strings.TrimSpace(s)), maxText)
}

// Color is the SGR sequence of ECMA-48 that starts a color.
type Color string

// The colors; Plain ends one.
const (
	Plain  Color = "\x1b[0m"
	Bold   Color = "\x1b[1m"
	Dim    Color = "\x1b[2m"
	Green  Color = "\x1b[32m"
	Red    Color = "\x1b[1;31m"
	Yellow Color = "\x1b[33m"
)

// Painter reports whether to use colors.
type Painter bool

// PainterFor uses colors if out is a terminal and NO_COLOR is not set (https://no-color.org).
func PainterFor(out io.Writer) Painter {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Paint returns s in the color, if colors are used.
func (p Painter) Paint(c Color, s string) string {
	if !p || c == "" || s == "" {
		return s
	}
	return string(c) + s + string(Plain)
}

// Table is text in columns under a heading.
type Table struct {
	Heading []string
	Rows    [][]string
	// Colors maps the text of a cell to its color. May be nil.
	Colors map[string]Color
}

// Print writes the table. An empty cell becomes a dash, a blank one stays blank. Cells are padded
// before they are colored, because color sequences have no width; text/tabwriter counts them.
func (t Table) Print(out io.Writer) error {
	paint := PainterFor(out)
	width := make([]int, len(t.Heading))
	rows := append([][]string{t.Heading}, t.Rows...)
	for i, row := range rows {
		rows[i] = make([]string, len(row))
		for c, cell := range row {
			if cell == "" {
				cell = "-"
			}
			cell = OneLine(cell)
			rows[i][c] = cell
			width[c] = max(width[c], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for i, row := range rows {
		for c, cell := range row {
			color := t.Colors[cell]
			if i == 0 {
				color = Bold
			}
			b.WriteString(paint.Paint(color, cell))
			if c < len(row)-1 {
				b.WriteString(strings.Repeat(" ", width[c]-utf8.RuneCountInString(cell)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(out, b.String())
	return err
}
