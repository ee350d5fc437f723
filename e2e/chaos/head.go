package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
)

// head describes the run that produced a result.
type head struct {
	Date    string  `json:"date"`
	Commit  string  `json:"commit"`
	Command string  `json:"command"`
	Took    float64 `json:"took_seconds"`
	Cores   int     `json:"cores"`
	CPU     string  `json:"cpu"`
	Memory  float64 `json:"memory_bytes"`
	Kernel  string  `json:"kernel"`
	Docker  string  `json:"docker"`
	// Load has the load averages of 1, 5 and 15 minutes at the end.
	Load string `json:"load"`
}

// currentHead describes this run. Unknown values are empty.
func currentHead(ctx context.Context, took time.Duration) head {
	says := func(name string, args ...string) string {
		out, _ := exec.CommandContext(ctx, name, args...).Output() // a tarball has no commit
		return strings.TrimSpace(string(out))
	}
	h := head{
		Date: time.Now().UTC().Format("2006-01-02"), Commit: says("git", "describe", "--always", "--dirty"), Took: took.Seconds(),
		Cores: runtime.NumCPU(), Kernel: says("uname", "-r"),
	}
	h.Command = "go run ./e2e/chaos"
	for _, arg := range os.Args[1:] {
		if strings.ContainsAny(arg, " '") {
			arg = strconv.Quote(arg)
		}
		h.Command += " " + arg
	}
	// Example: Docker version 20.10.24+dfsg1, build 5d6db84
	h.Docker, _, _ = strings.Cut(strings.TrimPrefix(says("dockerd", "--version"), "Docker version "), ",")
	h.CPU = measure.Field("/proc/cpuinfo", "model name")
	kilobytes, _ := strconv.ParseFloat(strings.TrimSuffix(measure.Field("/proc/meminfo", "MemTotal"), " kB"), 64)
	h.Memory = kilobytes * 1024
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		h.Load = strings.Join(strings.Fields(string(text))[:3], ", ")
	}
	return h
}

func (h head) String() string {
	return fmt.Sprintf("%s, commit %s, `%s`, in %s: %d cores (%s), %.0f GB of memory, Linux %s, Docker %s, load averages at the end %s.",
		h.Date, h.Commit, h.Command, (time.Duration(h.Took) * time.Second).Round(time.Minute), h.Cores, h.CPU, h.Memory/1e9, h.Kernel, h.Docker, h.Load)
}
