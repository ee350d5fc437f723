package supervisor

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

type process struct {
	pid, ppid int
	zombie    bool
}

func processes(proc string) []process {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil
	}
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := readProcess(proc, pid); ok {
			all = append(all, p)
		}
	}
	return all
}

// readProcess reads /proc/PID/stat, "pid (name) state ppid …". The name may contain spaces and
// brackets (proc_pid_stat(5)).
func readProcess(proc string, pid int) (process, bool) {
	data, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return process{}, false
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 2 {
		return process{}, false
	}
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return process{}, false
	}
	return process{pid: pid, ppid: ppid, zombie: fields[0] == "Z" || fields[0] == "X"}, true
}

func descendants(all []process, of int) []process {
	below := map[int]bool{of: true}
	var found []process
	for grew := true; grew; {
		grew = false
		for _, p := range all {
			if below[p.ppid] && !below[p.pid] {
				below[p.pid], grew = true, true
				found = append(found, p)
			}
		}
	}
	return found
}

func isWorker(proc string, pid int) bool {
	cmdline, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "cmdline"))
	return err == nil && runner.IsWorker(string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
}
