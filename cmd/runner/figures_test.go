package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/lab"
)

// BenchmarkSlot runs empty jobs through one slot, with the shipped program at --time-scale=1. It
// reports how much of the time between the end of a job at GitHub and the next session was not
// GitHub's, and the supervisor's memory.
//
//	go test -run=NONE -bench=Slot -benchtime=30x ./cmd/runner
func BenchmarkSlot(b *testing.B) {
	s := newSlot(b)
	s.program, s.scale = shipped(b), "1"
	s.start("")
	s.says(registered, 1)
	for i := range b.N {
		s.job("build", "0s", "Succeeded")
		s.says(registered, i+2)
	}
	polling(s)
	resident := memory(b, s.cmd.Process.Pid, "VmRSS")
	peak := memory(b, s.cmd.Process.Pid, "VmHWM")
	own, github, worst := overhead(s.gh.State(), s.out)
	s.stop()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(own.Seconds()/float64(b.N), "s/registration")
	b.ReportMetric(worst.Seconds(), "s/worst")
	b.ReportMetric(github.Seconds()/float64(b.N), "s/github")
	b.ReportMetric(resident, "MiB-resident")
	b.ReportMetric(peak, "MiB-peak")
}

// overhead sums, over all jobs, the time from their end at GitHub to the next "to=listening" of the
// supervisor's log, without the time of calls to GitHub.
func overhead(st lab.State, out *output) (own, github, worst time.Duration) {
	_, stderr, _ := out.read()
	var sessions []time.Time
	for _, m := range regexp.MustCompile(`(?m)^time=(\S+) .*to=listening`).FindAllStringSubmatch(stderr, -1) {
		if at, err := time.Parse(time.RFC3339Nano, m[1]); err == nil {
			sessions = append(sessions, at)
		}
	}
	for i, job := range st.Completed {
		if i+1 >= len(sessions) {
			break
		}
		from, to := job.Finished, sessions[i+1]
		took := time.Duration(0)
		for _, c := range st.Calls {
			if c.Time.After(from) && c.Time.Before(to) {
				took += time.Duration(c.Took * float64(time.Second))
			}
		}
		own += to.Sub(from) - took
		github += took
		worst = max(worst, to.Sub(from)-took)
	}
	return own, github, worst
}

// TestMemory checks the supervisor's budget, which does not depend on load.
func TestMemory(t *testing.T) {
	const budget, jobs = 20, 5
	s := newSlot(t)
	s.program = shipped(t)
	s.start("")
	s.says(registered, 1)
	for i := range jobs {
		s.job(strings.Repeat("a long name ", 1000), "0s", "Succeeded")
		s.says(registered, i+2)
	}
	s.await("GitHub's status", func() bool { return s.now().GitHub.Answer != "" })
	if got := memory(t, s.cmd.Process.Pid, "VmRSS"); got > budget {
		t.Errorf("the supervisor has %.1f MiB resident, its budget is %d", got, budget)
	} else {
		t.Logf("%.1f MiB resident, peak %.1f", got, memory(t, s.cmd.Process.Pid, "VmHWM"))
	}
	s.stop()
}

// shipped builds the program as the image does.
func shipped(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join("/run", fmt.Sprintf("ghostrunner-shipped-%d", os.Getpid()), program)
	tb.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(path)) })
	cmd := exec.CommandContext(tb.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// memory returns a value of /proc/PID/status, in MiB.
func memory(tb testing.TB, pid int, what string) float64 {
	tb.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + what + `:\s+(\d+) kB$`).FindSubmatch(data)
	if m == nil {
		tb.Fatalf("no %s in\n%s", what, data)
	}
	kib, _ := strconv.ParseFloat(string(m[1]), 64)
	return kib / 1024
}
