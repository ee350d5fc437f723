package measure

import (
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	values := []float64{4, 1, 3, 2}
	for q, want := range map[float64]float64{0: 1, 0.25: 1, 0.5: 2, 0.51: 3, 0.9: 4, 1: 4} {
		if got := Quantile(values, q); got != want {
			t.Errorf("quantile %v of 1 to 4 is %v, want %v", q, got, want)
		}
	}
	if got := Quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("the quantile of nothing is %v", got)
	}
}

// Each kind of budget is kept exactly, and then exceeded by the least amount.
func TestBudgetBounds(t *testing.T) {
	kept := []Figure{
		{Part: "a", Name: "most", Value: 5, Unit: Seconds, Budget: AtMost(5)},
		{Part: "a", Name: "none", Value: 0, Unit: Count, Budget: AtMost(0)},
		{Part: "a", Name: "least", Value: 2000, Unit: PerSecond, Budget: AtLeast(2000)},
		{Part: "a", Name: "no budget", Value: 1e9, Unit: Seconds},
	}
	if err := Broken(kept); err != nil {
		t.Errorf("kept: %v", err)
	}
	for want, f := range map[string]Figure{
		"a, most: 5.01 s, the budget is ≤ 5 s":         {"a", "most", 5.01, Seconds, AtMost(5), nil},
		"a, none: 1, the budget is ≤ 0":                {"a", "none", 1, Count, AtMost(0), nil},
		"a, least: 1999 /s, the budget is ≥ 2000 /s":   {"a", "least", 1999, PerSecond, AtLeast(2000), nil},
		"a, nothing: NaN s/min, the budget is ≤ 1.000": {"a", "nothing", math.NaN(), CPUPerMinute, AtMost(1), nil},
	} {
		if err := Broken(append(kept, f)); err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want one line with %q", err, want)
		}
	}
}

func TestPrintTable(t *testing.T) {
	ours := []Figure{
		{Part: "reaction", Name: "p50", Value: 0.8034, Unit: Seconds, Budget: AtMost(1)},
		{Part: "reaction", Name: "max", Value: 2.25, Unit: Seconds, Budget: AtMost(2)},
		{Part: "rest", Name: "memory", Value: 23 << 20, Unit: Bytes},
	}
	for name, test := range map[string]struct {
		others []Figure
		want   string
	}{
		"alone": {nil, `
FIGURE    MEASURED  BUDGET
reaction
  p50     803 ms    ≤ 1 s
  max     2.25 s    ≤ 2 s   BROKEN
rest
  memory  23 MiB
`},
		"beside another": {[]Figure{{Part: "reaction", Name: "p50", Value: 3, Unit: Seconds}, {Part: "rest", Name: "p50", Value: 1, Unit: Seconds}}, `
FIGURE    MEASURED  BUDGET  THE OTHER HEALER
reaction
  p50     803 ms    ≤ 1 s   3 s
  max     2.25 s    ≤ 2 s                     BROKEN
rest
  memory  23 MiB
`},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			Print(&out, ours, test.others)
			var got strings.Builder
			for line := range strings.Lines(out.String()) {
				got.WriteString(strings.TrimRight(line, " \n") + "\n")
			}
			if got.String() != test.want {
				t.Errorf("got%swant%s", &got, test.want)
			}
		})
	}
}

func TestShowUnits(t *testing.T) {
	for want, f := range map[string]Figure{
		"0 µs":        {Value: 0, Unit: Seconds},
		"0.4 µs":      {Value: 4e-7, Unit: Seconds},
		"160 µs":      {Value: 0.00016, Unit: CPUSeconds},
		"1.83 ms":     {Value: 0.001832, Unit: Seconds},
		"1.44 s":      {Value: 1.4444, Unit: Seconds},
		"125 s":       {Value: 125, Unit: Seconds},
		"20.2 MiB":    {Value: 20.2 * (1 << 20), Unit: Bytes},
		"1.42 MB":     {Value: 1.42e6, Unit: Allocated},
		"10.5 GB/s":   {Value: 10.5e9, Unit: BytesPerSecond},
		"290 MB/s":    {Value: 290e6, Unit: BytesPerSecond},
		"5762 /s":     {Value: 5762.4, Unit: PerSecond},
		"0.430 s/min": {Value: 0.43, Unit: CPUPerMinute},
		"100 MiB":     {Value: 100 << 20, Unit: Bytes},
	} {
		if got := show(f.Value, f.Unit); got != want {
			t.Errorf("%v %s is shown as %q, want %q", f.Value, f.Unit, got, want)
		}
	}
}

// Every line has the format of https://go.dev/design/14313-benchmark-format, no name ends in its
// own number, and samples are lines.
func TestWriteBenchmarks(t *testing.T) {
	var out strings.Builder
	err := WriteBenchmarks(&out,
		[]Figure{
			{Part: "scrape", Name: "1000 runners: scrape, p99", Value: 0.0199, Unit: Seconds},
			{Part: "idle", Name: "runner-1: CPU", Value: 0.1, Unit: CPUPerMinute, Samples: []float64{0.1, 0.2}},
		},
		[]Figure{{Part: "idle", Name: "runner-1: CPU", Value: 0.3, Unit: CPUPerMinute}})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	var got []string
	for _, line := range lines {
		if key, _, isKey := strings.Cut(line, ": "); isKey && key == strings.ToLower(key) && !strings.Contains(key, "\t") {
			if key == "healer" {
				got = append(got, line)
			}
			continue
		}
		name, rest, _ := strings.Cut(line, "\t")
		base, procs, _ := cutLast(name, "-")
		if procs == "" {
			t.Errorf("no number of processors in %q", line)
		}
		got = append(got, base+" "+strings.ReplaceAll(rest, "\t", " "))
	}
	want := []string{
		"healer: ghostrunner",
		"BenchmarkScrape/1000_runners_scrape_p99 1 0.0199 sec/op",
		"BenchmarkIdle/runner_1_CPU 1 0.1 cpu-sec/min",
		"BenchmarkIdle/runner_1_CPU 1 0.2 cpu-sec/min",
		"healer: other",
		"BenchmarkIdle/runner_1_CPU 1 0.3 cpu-sec/min",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, key := range []string{"goos: ", "goarch: "} {
		if !strings.Contains(out.String(), key) {
			t.Errorf("no %q", key)
		}
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// TestProcessUsage compares Linux's two clocks and two memory figures of this process.
func TestProcessUsage(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); time.Since(begun) < 50*time.Millisecond; {
		if after, err := CPU(os.Getpid()); err != nil || after < before {
			t.Fatalf("%s after %s: %v", after, before, err)
		}
	}
	after, err := CPU(os.Getpid())
	if err != nil || after == before {
		t.Errorf("no time for work: %s after %s, %v", after, before, err)
	}
	resident, err := Memory(os.Getpid(), "VmRSS")
	if err != nil || resident < 1<<20 {
		t.Errorf("VmRSS is %v, %v", resident, err)
	}
	most, err := Memory(os.Getpid(), "VmHWM")
	if err != nil || most < resident {
		t.Errorf("VmHWM is %v, %v", most, err)
	}
	if _, err := Memory(os.Getpid(), "VmNone"); err == nil {
		t.Error("a row that does not exist was found")
	}
	// A process group whose child has used CPU and ended.
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done & wait; echo done; cat`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	var cpu time.Duration
	var held float64
	for _, p := range Processes(func(p Process) bool { return p.Group == cmd.Process.Pid }) {
		cpu, held = cpu+p.CPU, held+p.Resident
	}
	if cpu < 10*time.Millisecond || held < 100<<10 {
		t.Errorf("the group took %s and holds %v bytes", cpu, held)
	}
	_ = stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestParseStat(t *testing.T) {
	// A line of proc(5) with a misleading name.
	p, err := parseStat("42 (a) S (b) S 1 40 40 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 5 1000000 250 18446744073709551615 1 1\n")
	if err != nil || p.Name != "a) S (b" || p.Group != 40 || p.CPU != 1240*time.Millisecond || p.Resident != float64(250*os.Getpagesize()) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"", "42 (a) S 1 2", ")(", "42 (a) S 1 x 40 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 5 1000000 250 1"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q was understood", bad)
		}
	}
}
