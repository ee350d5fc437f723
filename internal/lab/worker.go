package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Worker is the simulated bin/Runner.Worker: it runs as long as its job does and returns the exit
// code of the result, 100 to 105. Its job is in the environment (LAB_WORKER_DURATION,
// LAB_WORKER_RESULT, LAB_WORKER_SCRIPT, LAB_WORKER_HANG). A line on stdin cancels it, which takes
// 10 s (the step gets SIGINT, after 7.5 s SIGTERM, 2.5 s later it ends: ProcessInvoker.cs:32-33).
// Like the real one it survives a listener that is killed.
func Worker(root string, stdin io.Reader, stdout io.Writer) int {
	// The listener handles signals to the group, and a closed pipe must not end an orphan. They are
	// caught, not ignored, because steps would inherit ignored signals.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE)
	result := max(slices.Index(Results(), os.Getenv("LAB_WORKER_RESULT")), 0)
	d, err := time.ParseDuration(os.Getenv("LAB_WORKER_DURATION"))
	if err != nil {
		d = 0
	}
	diag, err := openDiag(root, "Worker")
	if err != nil {
		return 1
	}
	defer diag.Close()
	trace := func(text string) {
		fmt.Fprintf(diag, "[%s INFO Worker] %s\n", timestamp(), text)
		fmt.Fprintf(stdout, "[WORKER %s INFO Worker] %s\n", timestamp(), text)
	}
	trace("Waiting to receive the job message from the channel.")
	if os.Getenv("LAB_WORKER_HANG") != "" {
		for {
			time.Sleep(time.Hour)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		if bufio.NewScanner(stdin).Scan() { // end of file is not a cancellation
			trace("Cancellation/Shutdown message received.")
			cancel()
		}
	}()
	if script := os.Getenv("LAB_WORKER_SCRIPT"); script != "" {
		if err := step(ctx, root, script, trace); err != nil {
			trace("Step failed: " + err.Error())
			result, d = slices.Index(Results(), "Failed"), 0
		}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		time.Sleep(time.Duration(float64(10*time.Second) * timeScale()))
		result = slices.Index(Results(), "Canceled")
	}
	trace("Job completed.")
	return 100 + result
}

// step runs a script as the runner does: by bash, in the workspace, with the environment of the
// worker. Its output is traced. It waits for the script only, not for background processes.
func step(ctx context.Context, root, script string, trace func(string)) error {
	work := filepath.Join(root, "_work")
	workspace, temp := filepath.Join(work, "lab", "lab"), filepath.Join(work, "_temp")
	for _, dir := range []string{workspace, temp} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	path := filepath.Join(temp, "step.sh")
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "bash", "--noprofile", "--norc", "-e", "-o", "pipefail", path)
	cmd.Dir = workspace
	cmd.Env = append(os.Environ(), "CI=true", "GITHUB_ACTIONS=true", "GITHUB_WORKSPACE="+workspace, "RUNNER_TEMP="+temp)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = time.Second
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			trace(lines.Text())
		}
	}()
	err = cmd.Run()
	_ = w.Close()
	select {
	case <-read:
	case <-time.After(time.Second): // a background process still holds the pipe
	}
	return err
}
