package github

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// maxBodyBytes bounds one answer after decompression. A page of 100 runners with 20 labels each has
// about 200 KB.
const maxBodyBytes = 8 << 20

var (
	errTooLarge    = fmt.Errorf("answer exceeds %d bytes", maxBodyBytes)
	errNotModified = errors.New("304 to a request without If-None-Match")
)

// call is one operation with one token. It is the operation's transport and keeps the last answer,
// so that the operation is judged by what GitHub said. It is used by one goroutine.
type call struct {
	c     *Client
	op    string // for errors
	scope Scope
	token string
	hash  tokenHash
	last  *answer // nil: the last request got none

	cacheAs string // key of the page in the cache, instead of its URL; see Runner
}

type answer struct {
	method   string
	status   int
	header   http.Header
	body     []byte
	cached   bool // GitHub said 304: body is the kept one, header is GitHub's
	received time.Time
}

// RoundTrip authenticates, asks conditionally, and hides rate-limit headers from go-github (see the
// package comment).
func (l *call) RoundTrip(req *http.Request) (*http.Response, error) {
	l.last = nil
	ctx, cancel := context.WithTimeout(req.Context(), l.c.opts.Timeout)
	defer cancel()
	out := req.Clone(ctx)
	out.Header.Set("Authorization", "Bearer "+l.token)
	page := cmp.Or(l.cacheAs, req.URL.String())
	var kept *entry
	if req.Method == http.MethodGet {
		if kept = l.c.cache.get(l.hash, page); kept != nil {
			out.Header.Set("If-None-Match", kept.etag)
		}
	}

	began := time.Now()
	resp, err := l.c.transport.RoundTrip(out)
	ended := time.Now()
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBodyBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	a := &answer{method: req.Method, status: resp.StatusCode, header: resp.Header, body: body, received: wallNow()}
	l.c.record(a, began, ended)

	header := resp.Header.Clone()
	switch {
	case len(body) > maxBodyBytes:
		return nil, errTooLarge
	case a.status == http.StatusNotModified && kept == nil:
		return nil, errNotModified
	case a.status == http.StatusNotModified:
		a.status, a.body, a.cached = http.StatusOK, kept.body, true
		header.Del("Link") // paging and type belong to the kept body; a 304 need not repeat them
		if kept.link != "" {
			header.Set("Link", kept.link)
		}
		header.Set("Content-Type", kept.contentType)
	case a.status == http.StatusOK && req.Method == http.MethodGet && resp.Header.Get("ETag") != "":
		l.c.cache.put(l.hash, page, &entry{
			etag: resp.Header.Get("ETag"), body: body,
			link: resp.Header.Get("Link"), contentType: resp.Header.Get("Content-Type"),
		})
	}
	l.last = a
	for _, h := range rateHeaders {
		header.Del(h)
	}
	header.Del("Content-Length")
	resp.Status, resp.StatusCode = strconv.Itoa(a.status)+" "+http.StatusText(a.status), a.status
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(a.body)), int64(len(a.body))
	resp.Header, resp.Request = header, req
	return resp, nil
}

// rateHeaders make go-github v60 refuse requests by itself.
var rateHeaders = []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "Retry-After"}

// redirect follows what GitHub sends after a rename, a GET to another path of the same host. It
// refuses to carry the token elsewhere or to turn a deletion into a read.
func (l *call) redirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	if req.URL.Host != first.URL.Host || req.URL.Scheme != first.URL.Scheme || req.Method != first.Method || len(via) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

// newTransport returns the real network. Pings find HTTP/2 connections that died while the machine
// slept; without them Go uses those until the kernel gives up.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
		MaxIdleConns:           4,
		MaxConnsPerHost:        8,
		IdleConnTimeout:        2 * time.Minute,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
}

// record takes from an answer what does not depend on the operation: its code, the quota, the
// clock.
func (c *Client) record(a *answer, began, ended time.Time) {
	code := "other"
	if a.status >= 100 && a.status < 600 {
		code = strconv.Itoa(a.status)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests[code]++
	if r, ok := a.rateLimit(); ok {
		if _, known := c.limits[r.Resource]; known || len(c.limits) < maxResources {
			c.limits[r.Resource] = r
		}
	}
	// A page for people, or one from a cache, does not carry GitHub's present time.
	if !a.isHTML() && slices.Contains([]string{"", "0"}, a.header.Get("Age")) {
		c.clock.add(began, ended, a.header.Get("Date"))
	}
}
