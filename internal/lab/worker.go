package lab

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// Worker is the simulated bin/Runner.Worker: it runs for as long as its job does and returns the exit code that stands for
// the result, 100 to 105. It takes its job from the environment (LAB_WORKER_DURATION, LAB_WORKER_RESULT,
// LAB_WORKER_HANG) and a cancellation as a line on stdin, which takes 10 s (the step gets SIGINT, 7.5 s, SIGTERM, 2.5 s:
// ProcessInvoker.cs:32-33). Like the real one it outlives a listener that is killed.
func Worker(root string, stdin io.Reader, stdout io.Writer) int {
	// Signals to the group are the listener's to handle; and a closed pipe must not end an orphan.
	signal.Ignore(syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE)
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
	cancelled := make(chan struct{})
	go func() {
		if bufio.NewScanner(stdin).Scan() { // the end of stdin is no cancellation
			close(cancelled)
		}
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-cancelled:
		trace("Cancellation/Shutdown message received.")
		time.Sleep(time.Duration(float64(10*time.Second) * timeScale()))
		result = slices.Index(Results(), "Canceled")
	}
	trace("Job completed.")
	return 100 + result
}
