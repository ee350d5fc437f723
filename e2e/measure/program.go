package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// Build builds a static program of this module, as for the images.
func Build(ctx context.Context, to, from string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", to, "github.com/blueguy23/ghostrunner/"+from)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", from, err, said)
	}
	return nil
}

// Program is a running server of ours.
type Program struct {
	PID   int
	Began time.Time
	URL   string // http://HOST:PORT
	// HTTP keeps enough connections for any measurement.
	HTTP *http.Client

	cmd   *exec.Cmd
	ended chan struct{} // closed when err is set
	err   error
}

// Start starts a command, copies its log, and waits until it has logged its address on 127.0.0.1.
func Start(cmd *exec.Cmd, log io.Writer) (*Program, error) {
	found := &addressIn{log: log, found: make(chan string, 1)}
	cmd.Stderr = found
	p := &Program{Began: time.Now(), cmd: cmd, ended: make(chan struct{}), HTTP: &http.Client{
		Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.PID = cmd.Process.Pid
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	select {
	case address := <-found.found:
		p.URL = "http://" + address
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("%s ended at once: %w", cmd.Path, p.err)
	case <-time.After(patience):
		return nil, errors.Join(fmt.Errorf("%s does not listen", cmd.Path), p.Stop())
	}
}

// Stop ends it with SIGTERM and returns its exit status.
func (p *Program) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return p.err
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("%s does not end", p.cmd.Path), p.cmd.Process.Kill())
	}
}

// Do sends a request, reads the whole answer, and returns how long that took.
func (p *Program) Do(ctx context.Context, method, path string, header http.Header, body []byte) (status int, answer []byte, took time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, method, p.URL+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, 0, err
	}
	if header != nil {
		req.Header = header
	}
	begun := time.Now()
	resp, err := p.HTTP.Do(req)
	if err != nil {
		return 0, nil, 0, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, time.Since(begun), err
}

// Ready waits until the program is ready, and returns the time since its start.
func (p *Program) Ready(ctx context.Context) (time.Duration, error) {
	err := Until(ctx, p.cmd.Path+" to be ready", 5*time.Millisecond, func() (bool, error) {
		status, _, _, err := p.Do(ctx, http.MethodGet, "/-/ready", nil, nil)
		return status == http.StatusOK, err
	})
	return time.Since(p.Began), err
}

// CPUOf is the CPU time that the program uses while do runs.
func (p *Program) CPUOf(do func() error) (time.Duration, error) {
	before, err := CPU(p.PID)
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := CPU(p.PID)
	return after - before, err
}

// addressIn copies a log and finds the address in it.
type addressIn struct {
	log   io.Writer
	found chan string

	mu   sync.Mutex
	text []byte
	done bool
}

var address = regexp.MustCompile(`address=(127\.0\.0\.1:\d+)\s`)

func (a *addressIn) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.done {
		a.text = append(a.text, b...)
		if m := address.FindSubmatch(a.text); m != nil {
			a.found <- string(m[1])
			a.done, a.text = true, nil
		}
	}
	return a.log.Write(b)
}
