package measure

import (
	"fmt"
	"io"
	"regexp"
	"runtime"
	"strings"
)

// WriteBenchmarks writes figures in the format of Go benchmarks, for benchstat: one line per figure
// or sample. The figures of another healer have the same names and another value of "healer":
//
//	benchstat old.txt new.txt
//	benchstat -col healer new.txt
func WriteBenchmarks(out io.Writer, ours, others []Figure) error {
	var text strings.Builder
	fmt.Fprintf(&text, "goos: %s\ngoarch: %s\n", runtime.GOOS, runtime.GOARCH)
	if cpu := Field("/proc/cpuinfo", "model name"); cpu != "" {
		fmt.Fprintf(&text, "cpu: %s\n", cpu)
	}
	for _, healer := range []struct {
		name    string
		figures []Figure
	}{{"ghostrunner", ours}, {"other", others}} {
		if len(healer.figures) == 0 {
			continue
		}
		fmt.Fprintf(&text, "healer: %s\n", healer.name)
		for _, f := range healer.figures {
			values := f.Samples
			if len(values) == 0 {
				values = []float64{f.Value}
			}
			for _, v := range values {
				fmt.Fprintf(&text, "%s\t1\t%g %s\n", f.benchmark(), v, f.Unit)
			}
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9.]+`)

// benchmark is the figure's name as a Go benchmark: without spaces, and with the number of
// processors at its end, so that a number at the end of the name is not taken for that.
func (f Figure) benchmark() string {
	word := func(s string) string { return strings.Trim(notInName.ReplaceAllString(s, "_"), "_") }
	part := word(f.Part)
	return fmt.Sprintf("Benchmark%s/%s-%d", strings.ToUpper(part[:1])+part[1:], word(f.Name), runtime.GOMAXPROCS(0))
}
