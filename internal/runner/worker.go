package runner

import (
	"path"
	"strings"
)

// Worker is the program that runs a job. Its process lives exactly as long as the job
// (actions/runner, JobDispatcher.cs).
const Worker = "Runner.Worker"

// IsWorker reports whether a command line is that of a worker: its program is called Runner.Worker,
// or one of its words is a path that ends in /Runner.Worker or /Runner.Worker.dll. The second
// covers dotnet, and paths with spaces, which a process listing does not quote. A step that names
// such a path makes its runner look busy, which is safe; nothing that a job runs makes a busy
// runner look idle.
func IsWorker(command string) bool {
	for i, word := range strings.Fields(command) {
		if name := path.Base(word); name != Worker && name != Worker+".dll" {
			continue
		}
		if i == 0 || strings.Contains(word, "/") {
			return true
		}
	}
	return false
}
