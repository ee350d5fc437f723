package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"

	"github.com/blueguy23/ghostrunner/e2e/measure"
)

// scans are Go benchmarks of the tree, each with the least that it must read of a log in bytes a
// second.
var scans = []struct {
	pkg, benchmark, name string
	budget               *measure.Budget
}{
	{"./internal/listener", "BenchmarkScan/worker", "lines of a worker, text to session", measure.AtLeast(2e9)},
	{"./internal/listener", "BenchmarkScan/listener", "lines of a listener, text to session", measure.AtLeast(200e6)},
	{"./internal/docker", "BenchmarkLine/worker", "lines of a worker, from what the engine sends", measure.AtLeast(100e6)},
}

var speed = regexp.MustCompile(`(?m)^Benchmark\S+\s.*\s([0-9.]+) MB/s`)

// scan measures how quickly logs are read. The benchmarks are those that a developer runs.
func (b *bench) scan(ctx context.Context) (all []measure.Figure, err error) {
	for _, s := range scans {
		said, err := exec.CommandContext(ctx, "go", "test", "-run=NONE", "-bench="+s.benchmark+"$", "-count=6", "-benchtime=0.5s", s.pkg).CombinedOutput()
		if err != nil {
			return all, fmt.Errorf("%s: %w\n%s", s.benchmark, err, said)
		}
		var each []float64
		for _, m := range speed.FindAllSubmatch(said, -1) {
			mb, err := strconv.ParseFloat(string(m[1]), 64)
			if err != nil {
				return all, err
			}
			each = append(each, mb*1e6)
		}
		if len(each) == 0 {
			return all, fmt.Errorf("%s told no speed:\n%s", s.benchmark, said)
		}
		all = append(all, measure.Figure{Part: "scan", Name: s.name, Value: measure.Quantile(each, 0.5), Unit: measure.BytesPerSecond, Budget: s.budget, Samples: each})
	}
	return all, nil
}
