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
	"sync"
	"syscall"
	"time"
)

// brokerClient is the listener's side of the broker protocol.
type brokerClient struct {
	base     string // ends in /broker/
	clientID string
	name     string // of the registration
	http     *http.Client

	mu      sync.Mutex
	session string
	faults  url.Values // from the last answer
}

// requestTimeout bounds one request (VssUtil.cs:67-87). At any time scale it must exceed the
// service's long poll, which is scaled by another process; hence minRequestTimeout.
const (
	requestTimeout    = 100 * time.Second
	minRequestTimeout = 10 * time.Second
)

func newBrokerClient(settings runnerSettings, cred credentials, timeout time.Duration) *brokerClient {
	return &brokerClient{
		base: strings.TrimSuffix(settings.ServerURLV2, "/") + "/", clientID: cred.Data.ClientID, name: settings.AgentName,
		http: &http.Client{Timeout: timeout},
	}
}

// Error implements error.
func (e *brokerError) Error() string { return e.Message }

// kind returns the errorKind of an error from the broker, or empty.
func kind(err error) string {
	if e, ok := errors.AsType[*brokerError](err); ok {
		return e.Kind
	}
	return ""
}

// do sends in as JSON, if not nil, and decodes the answer into out, if not nil. It reports whether
// there was a body.
func (c *brokerClient) do(ctx context.Context, method, path string, in, out any) (bool, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return false, fmt.Errorf("encode: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return false, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.clientID)
	req.Header.Set("User-Agent", "GitHubActionsRunner-linux-x64/"+RunnerVersion)
	resp, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return false, fmt.Errorf("Connection refused (%s)", req.URL.Host) //nolint:staticcheck // .NET's wording
		}
		return false, err
	}
	defer resp.Body.Close()
	if faults, err := url.ParseQuery(resp.Header.Get(headerFaults)); err == nil {
		c.mu.Lock()
		c.faults = faults
		c.mu.Unlock()
	}
	limited := io.LimitReader(resp.Body, 1<<20)
	if resp.StatusCode >= 300 {
		failure := &brokerError{}
		if err := json.NewDecoder(limited).Decode(failure); err != nil || failure.Message == "" {
			failure.Message = fmt.Sprintf("Response status code does not indicate success: %d (%s).", resp.StatusCode, http.StatusText(resp.StatusCode))
		}
		failure.Status = resp.StatusCode
		return false, failure
	}
	if out == nil || resp.StatusCode != http.StatusOK {
		return false, nil
	}
	if err := json.NewDecoder(limited).Decode(out); err != nil {
		return false, fmt.Errorf("decode: %w", err)
	}
	return true, nil
}

// fault returns the value of a fault, as of the last answer.
func (c *brokerClient) fault(name string) (value string, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.faults.Get(name), c.faults.Has(name)
}

// faultNow asks the lab for a fault, and falls back on the last answer.
func (c *brokerClient) faultNow(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	st, err := NewClient(strings.TrimSuffix(c.base, "/broker/")).Fault(ctx, name, c.name)
	if err != nil {
		_, on := c.fault(name)
		return on
	}
	return st.On
}

func (c *brokerClient) create(ctx context.Context, owner string) error {
	var out sessionJSON
	if _, err := c.do(ctx, http.MethodPost, "session", sessionJSON{OwnerName: owner}, &out); err != nil {
		return err
	}
	c.session = out.SessionID
	return nil
}

// remove deletes the session, within 30 s even if ctx was canceled.
func (c *brokerClient) remove(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	_, err := c.do(ctx, http.MethodDelete, "session?sessionId="+url.QueryEscape(c.session), nil, nil)
	return err
}

// next polls for a message; nil: none.
func (c *brokerClient) next(ctx context.Context, status string) (*messageJSON, error) {
	q := url.Values{
		"sessionId": {c.session}, "status": {status}, "runnerVersion": {RunnerVersion}, "os": {"Linux"},
		"architecture": {"X64"}, "disableUpdate": {"true"},
	}
	var out messageJSON
	ok, err := c.do(ctx, http.MethodGet, "message?"+q.Encode(), nil, &out)
	if err != nil || !ok {
		return nil, err
	}
	return &out, nil
}
