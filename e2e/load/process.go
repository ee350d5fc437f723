package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience bounds every wait.
const patience = time.Minute

func build(ctx context.Context, work string) (string, error) {
	bin := filepath.Join(work, "remediator")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", bin, "github.com/blueguy23/ghostrunner/cmd/remediator")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is shipped
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the remediator: %w: %s", err, msg)
	}
	return bin, nil
}

// program is a running remediator.
type program struct {
	cmd   *exec.Cmd
	url   string
	token string
	http  *http.Client
}

var address = regexp.MustCompile(`address=(127\.0\.0\.1:\d+)`)

// start runs a remediator with a new journal until it is ready.
func start(ctx context.Context, bin, work string, flags ...string) (*program, error) {
	dir, err := os.MkdirTemp(work, "run-")
	if err != nil {
		return nil, err
	}
	token := filepath.Join(dir, "token")
	if msg, err := exec.CommandContext(ctx, bin, "token", "--out="+token).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make a token: %w: %s", err, msg)
	}
	secret, err := os.ReadFile(token)
	if err != nil {
		return nil, err
	}
	p := &program{token: strings.TrimSpace(string(secret)), http: &http.Client{
		Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}}
	p.cmd = exec.CommandContext(ctx, bin, append([]string{
		"--web.listen-address=127.0.0.1:0", "--web.bearer-token-file=" + token,
		"--docker.label=ghostrunner-load=none", "--journal.path=" + filepath.Join(dir, "journal.db"),
	}, flags...)...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if m := address.FindSubmatch(lines.Bytes()); m != nil {
				found <- string(m[1])
			}
		}
	}()
	select {
	case a := <-found:
		p.url = "http://" + a
	case <-time.After(patience):
		return nil, errors.Join(errors.New("the remediator does not listen"), p.stop())
	}
	return p, p.await(ctx, "the remediator to be ready", func() (bool, error) {
		status, _, err := p.get(ctx, "/-/ready")
		return err == nil && status == http.StatusOK, nil
	})
}

func (p *program) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.cmd.Wait()
}

// get returns the status and the body of an answer.
func (p *program) get(ctx context.Context, path string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := p.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// await waits for a condition.
func (p *program) await(ctx context.Context, what string, ok func() (bool, error)) error {
	for deadline := time.Now().Add(patience); ; {
		if yes, err := ok(); yes || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %s for %s", patience, what)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// cpu is the time that the process has had on a processor.
func (p *program) cpu() (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue // a thread that has ended
		}
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum), nil
}

// memory returns a field of the process's status, in MiB: VmRSS is what is resident, VmHWM the most that ever was.
func (p *program) memory(field string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc", field)
}

// deafDocker is a socket that takes every connection and answers nothing.
func deafDocker(work string) (host string, closer func() error, err error) {
	path := filepath.Join(work, "deaf.sock")
	l, err := net.Listen("unix", path) //nolint:noctx // a local socket
	if err != nil {
		return "", nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, conn) }() // until the other side gives up
		}
	}()
	return "unix://" + path, l.Close, nil
}

// syncTime is how long this disk takes to make two pages durable, half of the times.
func syncTime(work string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(work, "sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	took := make([]time.Duration, 200)
	page := make([]byte, 8<<10)
	for i := range took {
		if _, err := f.WriteAt(page, int64(i)*int64(len(page))); err != nil {
			return 0, err
		}
		began := time.Now()
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		took[i] = time.Since(began)
	}
	return quantile(took, 0.5), nil
}

// quantile is the smallest value that the fraction q of all does not exceed.
func quantile(values []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
