package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// job acknowledges, acquires and runs one job. done is false if it could not be acquired; polling
// then continues.
func (l *listener) job(request requestJSON) (done bool) {
	l.term.Trace("INFO", "Runner", "Acknowledging runner request '"+request.RequestID+"'.")
	if _, err := l.client.do(l.stop, http.MethodPost, "acknowledge", request, nil); err != nil {
		l.term.Trace("WARN", "Runner", "Acknowledge: "+err.Error())
	}
	if value, deaf := l.client.fault(faultDeaf); deaf && value == "" {
		<-l.stop.Done()
		return false
	}
	var job jobJSON
	if _, err := l.client.do(l.stop, http.MethodPost, "acquirejob", request, &job); err != nil {
		l.term.Trace("INFO", "Runner", "Skipping message Job. "+err.Error()) // R:738-746: prints nothing
		return false
	}
	l.term.WriteLine(stamped("Running job: " + job.Name))
	if value, deaf := l.client.fault(faultDeaf); deaf && value == "job" {
		<-l.stop.Done()
		return false
	}
	if value, crash := l.client.fault(faultListenerCrash); crash {
		l.crash(job, value)
	}
	if err := l.renew(request, job); err != nil { // JD:401-406: no completed line
		l.term.Trace("ERR ", "JobDispatcher", "First renew failed: "+err.Error())
		return true
	}

	ctx, cancel := context.WithCancelCause(l.stop)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() { l.keepLock(ctx, cancel, request, job) })
	wg.Go(func() { l.pollBusy(ctx, cancel) })
	result := l.work(ctx, job)
	cause := context.Cause(ctx)
	cancel(nil)
	wg.Wait()
	switch {
	case errors.Is(cause, errLockLost):
		result = "Abandoned"
	case cause != nil:
		result = "Canceled" // even if the worker returned another result (JD:612-619)
	}
	l.term.Trace("INFO", "JobDispatcher", "finish job request for job "+job.JobID+" with result: "+result)
	l.complete(completeJSON{request.RequestID, result})
	l.term.WriteLine(stamped("Job " + job.Name + " completed with result: " + result))
	return true
}

var (
	errLockLost = errors.New("the lock on the job is lost")
	errCanceled = errors.New("the job is canceled")
)

// cancelTimeout is how long a worker may take after its job was canceled, before it is killed:
// GitHub's five minutes less 15 s (JD, WorkerDispatcher.Cancel). If the listener itself is stopped,
// there is no limit.
const cancelTimeout = 5*time.Minute - 15*time.Second

// pollBusy polls beside a job. This keeps the runner online and delivers a cancellation.
func (l *listener) pollBusy(ctx context.Context, cancel context.CancelCauseFunc) {
	var p poller
	for {
		m, err := l.poll(ctx, &p, "Busy")
		if err != nil {
			return
		}
		if m != nil && m.Type == "JobCancellation" {
			cancel(errCanceled)
		}
	}
}

func (l *listener) renew(request requestJSON, job jobJSON) error {
	var out renewJSON
	if _, err := l.client.do(context.WithoutCancel(l.stop), http.MethodPost, "renewjob", request, &out); err != nil {
		return err
	}
	l.term.Trace("INFO", "JobDispatcher", "Successfully renew job "+job.JobID+", job is valid till "+out.LockedUntil.UTC().Format("01/02/2006 15:04:05"))
	return nil
}

// keepLock renews the lock each minute until ctx ends. The first failure cancels the job, as in
// issue 4635.
func (l *listener) keepLock(ctx context.Context, cancel context.CancelCauseFunc, request requestJSON, job jobJSON) {
	tick := time.NewTicker(max(l.scaled(time.Minute), time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if ctx.Err() != nil {
			return
		}
		if err := l.renew(request, job); err != nil {
			l.term.Trace("ERR ", "JobDispatcher", "Catch exception during renew runner job: "+err.Error())
			cancel(errLockLost)
			return
		}
	}
}

// complete reports the result, with three tries.
func (l *listener) complete(body completeJSON) {
	for range 3 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(l.stop), 5*time.Second)
		_, err := l.client.do(ctx, http.MethodPost, "completejob", body, nil)
		cancel()
		if err == nil || status(err) == 404 {
			return
		}
		l.term.Trace("WARN", "JobDispatcher", "Complete job: "+err.Error())
	}
}

// work runs the worker and returns the result for its exit code. When ctx ends it cancels the
// worker and waits for it: without limit, unless the job itself was canceled.
func (l *listener) work(ctx context.Context, job jobJSON) (result string) {
	l.term.Trace("INFO", "JobDispatcher", "Send job request message to worker for job "+job.JobID)
	cmd, stdin, stdout, err := l.startWorker(job)
	if err != nil {
		l.term.Trace("ERR ", "JobDispatcher", "Start worker: "+err.Error())
		return "Failed"
	}
	defer stdin.Close()
	ended := make(chan struct{})
	defer close(ended)
	stopWatching := context.AfterFunc(ctx, func() {
		_, _ = io.WriteString(stdin, "cancel\n")
		if !errors.Is(context.Cause(ctx), errCanceled) {
			return
		}
		select {
		case <-ended:
		case <-time.After(l.scaled(cancelTimeout)):
			l.term.Trace("INFO", "JobDispatcher", "worker process for job "+job.JobID+" haven't exit within cancellation timout, kill running worker.")
			_ = cmd.Process.Kill()
		}
	})
	defer stopWatching()
	l.echo(stdout)
	code := 0
	if err := cmd.Wait(); err != nil {
		code = cmd.ProcessState.ExitCode()
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			code = 128 + int(ws.Signal())
		}
	}
	l.term.Trace("INFO", "JobDispatcher", fmt.Sprintf("Worker finished for job %s. Code: %d", job.JobID, code))
	if i := code - 100; i >= 0 && i < len(Results()) {
		return Results()[i]
	}
	return "Failed" // TaskResultUtil.cs:8-32
}

// echo copies the worker's diagnostic lines to stdout, as the real listener does (JD:442-459).
func (l *listener) echo(stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if l.term.echo {
			l.term.print(l.term.stdout, lines.Text())
		}
	}
	_, _ = io.Copy(io.Discard, stdout) // after a line that is too long
}

// startWorker starts bin/Runner.Worker, or this program under that name if it does not exist.
func (l *listener) startWorker(job jobJSON) (*exec.Cmd, io.WriteCloser, io.Reader, error) {
	name := filepath.Join(l.root, "bin", "Runner.Worker")
	path := name
	if _, err := os.Stat(path); err != nil {
		self, err := os.Executable()
		if err != nil {
			return nil, nil, nil, fmt.Errorf("find this program: %w", err)
		}
		path = self
	}
	cmd := &exec.Cmd{Path: path, Args: []string{name, "spawnclient", "114", "117"}, Dir: l.root}
	cmd.Env = append(os.Environ(), "LAB_WORKER_DURATION="+job.Duration.String(), "LAB_WORKER_RESULT="+job.Wanted, "LAB_WORKER_SCRIPT="+job.Script)
	if _, hang := l.client.fault(faultWorkerHang); hang {
		cmd.Env = append(cmd.Env, "LAB_WORKER_HANG=1")
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, nil, fmt.Errorf("start the worker: %w", err)
	}
	return cmd, stdin, stdout, nil
}

// crash starts a worker and ends this process at once, with an exit code or by SIGKILL.
func (l *listener) crash(job jobJSON, value string) {
	if _, _, _, err := l.startWorker(job); err != nil {
		l.term.Trace("ERR ", "JobDispatcher", "Start worker: "+err.Error())
	}
	if code, err := strconv.Atoi(value); err == nil && code != 137 {
		os.Exit(code)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	time.Sleep(time.Minute) // until the signal arrives
}
