package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// exporter is one that runs.
type exporter struct{ *measure.Program }

// exporter starts the program as people do: but for where Docker and GitHub are, and what the
// network would have to answer, all flags have their defaults.
func (b *bench) exporter(ctx context.Context, dockerHost, gitHubURL string, more ...string) (exporter, error) {
	path, err := b.program(ctx, "cmd/exporter")
	if err != nil {
		return exporter{}, err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{
		"--web.listen-address=127.0.0.1:0", "--docker.host=" + dockerHost, "--github.api-url=" + gitHubURL, "--github.owner=gr", "--github.repo=figures",
		"--clock.ntp-servers=", "--dns.names=localhost",
	}, more...)...)
	cmd.Env = []string{"GITHUB_PAT=figures", "PATH=" + os.Getenv("PATH")}
	p, err := measure.Start(cmd, b.log())
	return exporter{p}, err
}

// simulated starts one with n runners of a simulated Docker and a simulated GitHub. What is
// returned ends all of it.
func (b *bench) simulated(ctx context.Context, n int) (e exporter, end func() error, err error) {
	engine, stopEngine, err := serve("unix", filepath.Join(b.dir, strconv.Itoa(n)+".sock"), docker(n))
	if err != nil {
		return e, nil, err
	}
	hub, stopHub, err := serve("tcp", "127.0.0.1:0", gitHub(n))
	if err != nil {
		return e, nil, errors.Join(err, stopEngine())
	}
	e, err = b.exporter(ctx, "unix://"+engine, "http://"+hub)
	if err != nil {
		return e, nil, errors.Join(err, stopHub(), stopEngine())
	}
	return e, func() error { return errors.Join(e.Stop(), stopHub(), stopEngine()) }, nil
}

// scrape asks as Prometheus does, so for a compressed answer, and returns how long it took to the
// last byte.
func (e exporter) scrape(ctx context.Context) (raw []byte, took time.Duration, err error) {
	status, raw, took, err := e.Do(ctx, http.MethodGet, "/metrics", http.Header{
		"Accept":          {"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"},
		"Accept-Encoding": {"gzip"}, // set by hand, it is not undone by the client, whose time does not count
	}, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("/metrics: status %d: %.200s", status, raw)
	}
	return raw, took, err
}

// read asks for plain text.
func (e exporter) read(ctx context.Context, query string) (stack.Page, error) {
	status, text, _, err := e.Do(ctx, http.MethodGet, "/metrics"+query, nil, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("/metrics%s: status %d", query, status)
	}
	return stack.Page(text), err
}

// value is the sum of some series of the page that is read.
func (e exporter) value(ctx context.Context, query, name string, labels map[string]string) (float64, error) {
	p, err := e.read(ctx, query)
	if err != nil {
		return 0, err
	}
	v, _, err := p.Sum(name, labels)
	return v, err
}

// series is how many of a metric a page has.
func series(p stack.Page, name string) int { return strings.Count("\n"+string(p), "\n"+name+"{") }
