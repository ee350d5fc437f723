package runner

import "testing"

func TestIsWorker(t *testing.T) {
	for command, want := range map[string]bool{
		"/actions-runner/bin/Runner.Worker spawnclient 113 116": true,
		"Runner.Worker": true,
		"/home/my runner/bin/Runner.Worker spawnclient 113 116":  true,
		"dotnet /actions-runner/bin/Runner.Worker.dll spawn 1 2": true,
		"/actions-runner/bin/Runner.Listener run":                false,
		"/bin/sh -c echo Runner.Worker":                          false,
		"/bin/Runner.WorkerX":                                    false,
		"/bin/NotRunner.Worker":                                  false,
		"/ghostrunner-runner run --runner.name=Runner.Worker":    false,
		"":                               false,
		"/opt/Runner.Worker/bin/sleep 5": false,
		"[Runner.Worker] <defunct>":      false,
	} {
		if got := IsWorker(command); got != want {
			t.Errorf("IsWorker(%q) = %t", command, got)
		}
	}
}
