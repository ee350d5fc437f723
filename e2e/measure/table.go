package measure

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// Print writes the figures as a table with a heading for each part. Figures of another healer with
// the same part and name are in a column of their own.
func Print(out io.Writer, ours, others []Figure) {
	other := map[[2]string]Figure{}
	for _, f := range others {
		other[[2]string{f.Part, f.Name}] = f
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, measured, budget, other, verdict string) {
		cells := []string{name, measured, budget}
		if len(others) > 0 {
			cells = append(cells, other)
		}
		fmt.Fprintln(w, strings.Join(append(cells, verdict), "\t"))
	}
	fmt.Fprintln(w)
	row("FIGURE", "MEASURED", "BUDGET", "THE OTHER HEALER", "")
	part := ""
	for _, f := range ours {
		if f.Part != part {
			part = f.Part
			row(part, "", "", "", "")
		}
		beside, verdict := "", ""
		if o, ok := other[[2]string{f.Part, f.Name}]; ok {
			beside = show(o.Value, o.Unit)
		}
		if f.Broken() {
			verdict = "BROKEN"
		}
		row("  "+f.Name, show(f.Value, f.Unit), f.budget(), beside, verdict)
	}
	_ = w.Flush()
}

// budget formats the bound.
func (f Figure) budget() string {
	switch {
	case f.Budget == nil:
		return ""
	case f.Budget.Least:
		return "≥ " + show(f.Budget.Bound, f.Unit)
	}
	return "≤ " + show(f.Budget.Bound, f.Unit)
}

// show formats a value: 0.00183 seconds are 1.83 ms.
func show(value float64, unit string) string {
	switch unit {
	case Seconds, CPUSeconds:
		return scaled(value, "s", []scale{{1, ""}, {1e-3, "m"}, {1e-6, "µ"}})
	case CPUPerMinute:
		return fmt.Sprintf("%.3f s/min", value)
	case Bytes: // memory is counted in powers of two
		return scaled(value, "B", []scale{{1 << 30, "Gi"}, {1 << 20, "Mi"}, {1 << 10, "Ki"}, {1, ""}})
	case Allocated:
		return scaled(value, "B", []scale{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}})
	case BytesPerSecond:
		return scaled(value, "B/s", []scale{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}})
	case PerSecond:
		return fmt.Sprintf("%.0f /s", value)
	}
	return strings.TrimSuffix(fmt.Sprintf("%g %s", value, unit), " "+Count)
}

type scale struct {
	factor float64
	prefix string
}

// scaled shows three digits, in the first scale in which the value is at least one, or else in the
// last.
func scaled(value float64, unit string, scales []scale) string {
	at := scales[len(scales)-1]
	for _, s := range scales {
		if math.Abs(value) >= s.factor {
			at = s
			break
		}
	}
	value /= at.factor
	digits := max(0, 2-int(math.Floor(math.Log10(max(math.Abs(value), 1)))))
	text := fmt.Sprintf("%.*f", digits, value)
	if digits > 0 {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text + " " + at.prefix + unit
}
