package rules_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The Prometheus that `make test` builds parses expressions over its API. The parser as a library
// would raise the versions of a dozen modules that the programs are built from.

// node is a part of a parsed expression, as GET /api/v1/parse_query returns it. Each type fills
// some fields.
type node struct {
	Type string

	Name     string // of a selector
	Matchers []struct{ Name, Type, Value string }

	Op       string // of an aggregation or a binary expression
	Grouping []string
	Without  bool
	Matching *struct { // nil: one side is a scalar
		Card            string
		On              bool
		Labels, Include []string
	}

	Func struct{ Name string }
	Args []*node
	Val  string // of a literal

	Expr, Param, LHS, RHS *node
}

// promQL parses expressions.
type promQL struct{ url string }

// startPrometheus runs a Prometheus that scrapes nothing until the test ends.
func startPrometheus(t *testing.T) promQL {
	t.Helper()
	dir, address := t.TempDir(), freeAddress(t)
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, tool(t, "prometheus"), "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	p := promQL{url: "http://" + address}
	deadline, tick := time.After(time.Minute), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := p.parse(t.Context(), "up"); err == nil {
				return p
			}
		case err := <-ended:
			ended <- err
			t.Fatalf("Prometheus has ended: %v\n%s", err, log.String())
		case <-deadline:
			t.Fatal("Prometheus does not answer within a minute")
		}
	}
}

// parse returns the tree of an expression, or the error of Prometheus.
func (p promQL) parse(ctx context.Context, expr string) (*node, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/v1/parse_query?query="+url.QueryEscape(expr), http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var answer struct {
		Data  *node
		Error string
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s: %w", response.Status, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", response.Status, answer.Error)
	}
	return answer.Data, nil
}
