package supervisor

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// process is one entry of the process table.
type process struct {
	pid, ppid int
	zombie    bool
}

// processes reads the process table. It leaves out processes that end meanwhile.
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
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return process{}, false
	}
	fields := strings.Fields(string(data[end+1:]))
	if len(fields) < 2 {
		return process{}, false
	}
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return process{}, false
	}
	return process{pid: pid, ppid: ppid, zombie: fields[0] == "Z" || fields[0] == "X"}, true
}

// descendants returns the processes below one, zombies included.
func descendants(all []process, of int) []process {
	children := make(map[int][]process)
	for _, p := range all {
		children[p.ppid] = append(children[p.ppid], p)
	}
	var found []process
	seen := map[int]bool{of: true} // the table is not read at one instant, so it may have a cycle
	queue := []int{of}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		for _, p := range children[next] {
			if !seen[p.pid] {
				seen[p.pid] = true
				found = append(found, p)
				queue = append(queue, p.pid)
			}
		}
	}
	return found
}

// isWorker reports whether a process runs a job. Zombies do not.
func isWorker(proc string, pid int) bool {
	cmdline, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "cmdline"))
	return err == nil && runner.IsWorker(string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
}
