package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// remediator is a running remediator with an empty journal.
type remediator struct {
	*measure.Program

	token string
}

// remediator starts one for which no container on this machine has the label.
func (b *bench) remediator(ctx context.Context, flags ...string) (r remediator, err error) {
	path, err := b.program(ctx, "cmd/remediator")
	if err != nil {
		return r, err
	}
	dir, err := os.MkdirTemp(b.dir, "run-")
	if err != nil {
		return r, err
	}
	token := filepath.Join(dir, "token")
	r.token = rand.Text()
	if err := os.WriteFile(token, []byte(r.token), 0o600); err != nil {
		return r, err
	}
	r.Program, err = measure.Start(exec.CommandContext(ctx, path, append([]string{
		"--web.listen-address=127.0.0.1:0", "--web.bearer-token-file=" + token,
		"--docker.label=ghostrunner-bench=none", "--journal.path=" + filepath.Join(dir, "journal.db"),
	}, flags...)...), b.log())
	return r, err
}

// readyRemediator starts one and waits until it is ready.
func (b *bench) readyRemediator(ctx context.Context, flags ...string) (remediator, error) {
	r, err := b.remediator(ctx, flags...)
	if err != nil {
		return r, err
	}
	if _, err = r.Ready(ctx); err != nil {
		err = errors.Join(err, r.Stop())
	}
	return r, err
}

// post sends a payload and returns the time until the answer.
func (r remediator) post(ctx context.Context, body []byte) (time.Duration, error) {
	status, said, took, err := r.Do(ctx, http.MethodPost, "/webhook", http.Header{
		"Authorization": {"Bearer " + r.token}, "Content-Type": {"application/json"},
	}, body)
	if err == nil && status != http.StatusAccepted {
		err = fmt.Errorf("answered %d: %s", status, said)
	}
	return took, err
}

// get returns a page that requires the token.
func (r remediator) get(ctx context.Context, path string) ([]byte, error) {
	status, body, _, err := r.Do(ctx, http.MethodGet, path, http.Header{"Authorization": {"Bearer " + r.token}}, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %.200s", path, status, body)
	}
	return body, err
}

// queue is the number of alerts that wait for a decision.
func (r remediator) queue(ctx context.Context) (int, error) {
	body, err := r.get(ctx, "/api/v1/status")
	if err != nil {
		return 0, err
	}
	var status struct{ Queue int }
	return status.Queue, json.Unmarshal(body, &status)
}

// acted is the number of actions that were begun.
func (r remediator) acted(ctx context.Context) (begun float64, err error) {
	body, err := r.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	begun, found, err := stack.Page(body).Sum("ghostrunner_remediator_reaction_seconds_count", nil)
	if err == nil && !found {
		err = errors.New("no reaction_seconds_count in /metrics")
	}
	return begun, err
}

// silentDocker is a socket that accepts connections and does not answer.
func (b *bench) silentDocker() (host string, closer func() error, err error) {
	path := filepath.Join(b.dir, "silent.sock")
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
			go func() { _, _ = io.Copy(io.Discard, conn) }() // until the client closes it
		}
	}()
	return "unix://" + path, l.Close, nil
}
