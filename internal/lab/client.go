package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client calls the /lab/v1 API of a simulated GitHub.
type Client struct {
	url  string
	http *http.Client
}

// NewClient returns a client for a lab's address, such as http://127.0.0.1:10070.
func NewClient(labURL string) *Client {
	return &Client{strings.TrimSuffix(labURL, "/"), &http.Client{Timeout: 5 * time.Second}}
}

// Fault returns the state of a fault for a slot or registration; runner may be empty.
func (c *Client) Fault(ctx context.Context, name, runner string) (FaultState, error) {
	var st FaultState
	return st, c.do(ctx, http.MethodGet, faultPath(name, runner), nil, &st)
}

// SetFault turns a fault on or off.
func (c *Client) SetFault(ctx context.Context, name, runner string, on bool, value string) (FaultState, error) {
	var st FaultState
	return st, c.do(ctx, http.MethodPut, faultPath(name, runner), faultChange{on, value}, &st)
}

// Faults lists all faults and those that are on.
func (c *Client) Faults(ctx context.Context) (FaultList, error) {
	var list FaultList
	return list, c.do(ctx, http.MethodGet, "/lab/v1/faults", nil, &list)
}

// State returns the state of the simulated GitHub.
func (c *Client) State(ctx context.Context) (State, error) {
	var st State
	return st, c.do(ctx, http.MethodGet, "/lab/v1/state", nil, &st)
}

// JITConfigs returns the newest 100 just-in-time configurations that were handed out, oldest first.
func (c *Client) JITConfigs(ctx context.Context) ([]string, error) {
	var blobs []string
	return blobs, c.do(ctx, http.MethodGet, "/lab/v1/jitconfigs", nil, &blobs)
}

// Enqueue queues a job.
func (c *Client) Enqueue(ctx context.Context, job JobRequest) (Job, error) {
	var queued Job
	return queued, c.do(ctx, http.MethodPost, "/lab/v1/jobs", job, &queued)
}

// Cancel cancels a running job.
func (c *Client) Cancel(ctx context.Context, id int64) error {
	return c.do(ctx, http.MethodPost, fmt.Sprintf("/lab/v1/jobs/%d/cancel", id), nil, nil)
}

func faultPath(name, runner string) string {
	p := "/lab/v1/faults/" + url.PathEscape(name)
	if runner != "" {
		p += "?runner=" + url.QueryEscape(runner)
	}
	return p
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	defer resp.Body.Close()
	limited := io.LimitReader(resp.Body, 16<<20)
	if resp.StatusCode >= 300 {
		var failure struct {
			Error string `json:"error"`
		}
		if err := json.NewDecoder(limited).Decode(&failure); err != nil || failure.Error == "" {
			failure.Error = resp.Status
		}
		return errors.New("lab: " + failure.Error)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(limited).Decode(out); err != nil {
		return fmt.Errorf("lab: decode answer: %w", err)
	}
	return nil
}

// follow polls a fault until ctx ends and calls seen with each answer. While the lab does not
// answer, seen is not called.
func (c *Client) follow(ctx context.Context, name string, every time.Duration, seen func(FaultState)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if st, err := c.Fault(ctx, name, ""); err == nil {
			seen(st)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// followEvery is how often the lab's other processes poll their fault.
const followEvery = 200 * time.Millisecond
