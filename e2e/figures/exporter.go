package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// patience is how long is waited for what should come much sooner.
	patience = 2 * time.Minute
	// tick is the unit of the CPU times in /proc: Linux shows hundredths of a second whatever it counts in.
	tick = 10 * time.Millisecond
)

// build makes a static program of this module, as the images have it.
func build(ctx context.Context, to, from string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", to, from)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", from, err, out)
	}
	return nil
}

// exporter is one that runs.
type exporter struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when err is set
	err   error
	log   logFile
	begun time.Time
	base  string // http://HOST:PORT
	http  http.Client
}

// logFile keeps what is logged, until the address is known, and hands it on.
type logFile struct {
	to *os.File

	mu   sync.Mutex
	text []byte
	seen chan string // the address
}

var address = regexp.MustCompile(`address=(127\.0\.0\.1:\d+)`)

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen != nil {
		l.text = append(l.text, b...)
		if m := address.FindSubmatch(l.text); m != nil {
			l.seen <- string(m[1])
			l.seen, l.text = nil, nil
		}
	}
	return l.to.Write(b)
}

// start runs the program as people do: but for where Docker and GitHub are, and what the network would have to answer, all
// flags have their defaults.
func (b *bench) start(ctx context.Context, dockerHost, gitHubURL string, more ...string) (*exporter, error) {
	log, err := os.OpenFile(b.keep, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	e := &exporter{ended: make(chan struct{}), log: logFile{to: log, seen: found}, http: http.Client{Timeout: patience}}
	e.cmd = exec.CommandContext(ctx, b.program, append([]string{
		"--web.listen-address=127.0.0.1:0", "--docker.host=" + dockerHost, "--github.api-url=" + gitHubURL, "--github.owner=gr", "--github.repo=figures",
		"--clock.ntp-servers=", "--dns.names=localhost", "--listener.state-file=" + filepath.Join(b.dir, "state-"+strconv.FormatInt(time.Now().UnixNano(), 36)),
	}, more...)...)
	e.cmd.Env = []string{"GITHUB_PAT=figures", "PATH=" + os.Getenv("PATH")}
	e.cmd.Stderr = &e.log
	e.begun = time.Now()
	if err := e.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		e.err = e.cmd.Wait()
		_ = log.Close()
		close(e.ended)
	}()
	select {
	case a := <-found:
		e.base = "http://" + a
		return e, nil
	case <-e.ended:
		return nil, fmt.Errorf("the exporter ended at once: %w", e.err)
	case <-time.After(patience):
		return nil, errors.Join(errors.New("the exporter does not listen"), e.stop())
	}
}

func (e *exporter) stop() error {
	if err := e.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-e.ended:
		return e.err
	case <-time.After(patience):
		return errors.Join(errors.New("the exporter does not end"), e.cmd.Process.Kill())
	}
}

// scrape asks as Prometheus does, so for a compressed answer, and returns how long it took to the last byte.
func (e *exporter) scrape(ctx context.Context) (raw []byte, took time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.base+"/metrics", http.NoBody)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
	req.Header.Set("Accept-Encoding", "gzip") // set by hand, it is not undone by the client, whose time does not count
	begun := time.Now()
	resp, err := e.http.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	raw, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("/metrics: status %d: %.200s", resp.StatusCode, raw)
	}
	return raw, time.Since(begun), err
}

// page is what one scrape gave.
type page string

// read asks for plain text.
func (e *exporter) read(ctx context.Context, query string) (page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.base+"/metrics"+query, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("/metrics%s: status %d", query, resp.StatusCode)
	}
	return page("\n" + string(text)), err
}

// series is how many there are of a metric.
func (p page) series(name string) int { return strings.Count(string(p), "\n"+name+"{") }

// value is that of one series, as it stands in the text.
func (p page) value(series string) (v float64, ok bool) {
	_, rest, ok := strings.Cut(string(p), "\n"+series+" ")
	if !ok {
		return 0, false
	}
	rest, _, _ = strings.Cut(rest, "\n")
	v, err := strconv.ParseFloat(rest, 64)
	return v, err == nil
}

// cpu is the CPU time that the process has taken, that of the kernel for it included.
func (e *exporter) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name of the program may hold anything
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("unknown form of stat: %q", text)
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// memory is a row of /proc/PID/status in MiB: VmRSS is what is resident now, VmHWM the most that ever was.
func (e *exporter) memory(row string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); name == row {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("no %s", row)
}

// every calls do at each interval until the time is over.
func every(ctx context.Context, interval, whole time.Duration, do func() error) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	end := time.After(whole)
	for {
		select {
		case <-t.C:
			if err := do(); err != nil {
				return err
			}
		case <-end:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// until polls a condition.
func until(ctx context.Context, what string, pause time.Duration, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		switch done, err := ok(); {
		case err != nil:
			return fmt.Errorf("waiting for %s: %w", what, err)
		case done:
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s", what)
		}
	}
}
