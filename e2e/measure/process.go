package measure

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a process in /proc.
type Process struct {
	Name  string
	Group int
	// CPU includes children that have ended. Its resolution is 10 ms.
	CPU time.Duration
	// Resident is its memory in bytes.
	Resident float64
}

// Processes returns all that match; none without /proc.
func Processes(match func(Process) bool) (all []Process) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is valid
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		if p, err := parseStat(string(text)); err == nil && match(p) {
			all = append(all, p)
		}
	}
	return all
}

// parseStat reads /proc/PID/stat. The name, in parentheses, may contain anything.
func parseStat(text string) (p Process, err error) {
	begin, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if begin < 0 || end < begin {
		return p, fmt.Errorf("unknown form of stat: %q", text)
	}
	p.Name = text[begin+1 : end]
	fields := strings.Fields(text[end+1:]) // the first is field 3 of proc(5)
	if len(fields) < 22 {
		return p, fmt.Errorf("unknown form of stat: %q", text)
	}
	number := func(field int) (n int) {
		if err == nil {
			n, err = strconv.Atoi(fields[field-3])
		}
		return n
	}
	p.Group = number(5)
	ticks := number(14) + number(15) + number(16) + number(17)
	p.CPU = time.Duration(ticks) * 10 * time.Millisecond
	p.Resident = float64(number(24) * os.Getpagesize())
	return p, err
}

// CPU is the CPU time of a process, in nanoseconds.
func CPU(pid int) (time.Duration, error) {
	var t unix.Timespec
	// The clock id of clock_getcpuclockid(3): the inverted PID and the kind of clock.
	err := unix.ClockGettime(int32(^pid<<3|2), &t)
	if err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// Memory is a row of /proc/PID/status in bytes: VmRSS is resident, VmHWM its maximum.
func Memory(pid int, row string) (float64, error) {
	value := Field(fmt.Sprintf("/proc/%d/status", pid), row)
	if value == "" {
		return 0, fmt.Errorf("no %s of process %d", row, pid)
	}
	kib, err := strconv.ParseFloat(strings.TrimSuffix(value, " kB"), 64)
	return kib * 1024, err
}

// Field is the first value of a name in a list of the kernel; empty if there is none.
func Field(path, name string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// LoadAverage is that of the last minute; 0 if unknown.
func LoadAverage() float64 {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	load, _ := strconv.ParseFloat(first, 64)
	return load
}
