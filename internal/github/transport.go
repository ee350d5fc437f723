package github

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// maxBodyBytes bounds one answer after decompression. A page of 100 runners with
// 20 labels each is about 200 KB.
const maxBodyBytes = 8 << 20

// call is the transport of one operation: it belongs to one token and remembers
// the last answer, so that the operation can be judged by what GitHub really
// said. It is used by one goroutine.
type call struct {
	c     *Client
	scope Scope
	token string
	hash  tokenHash
	last  *answer // nil: the last request got none

	keepAs string // what a page is kept as, instead of its URL; see Runner
}

// answer is one response, read to its end.
type answer struct {
	method   string
	status   int
	header   http.Header
	body     []byte
	cached   bool // GitHub said 304; body is the kept one, header GitHub's new one
	received time.Time
}

// RoundTrip authenticates, asks conditionally, and hides rate-limit headers from
// go-github (see the package comment).
func (l *call) RoundTrip(req *http.Request) (*http.Response, error) {
	l.last = nil
	ctx, cancel := context.WithTimeout(req.Context(), l.c.opts.Timeout)
	defer cancel()
	var span span
	out := req.Clone(httptrace.WithClientTrace(ctx, span.trace()))
	out.Header.Set("Authorization", "Bearer "+l.token)

	var key cacheKey
	var kept *entry
	if req.Method == http.MethodGet {
		key = cacheKey{url: cmp.Or(l.keepAs, req.URL.String()), accept: req.Header.Get("Accept"), token: l.hash}
		if kept = l.c.cache.get(key); kept != nil {
			out.Header.Set("If-None-Match", kept.etag)
		}
	}

	span.start()
	resp, err := l.c.transport.RoundTrip(out)
	span.stop()
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBodyBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	a := &answer{method: req.Method, status: resp.StatusCode, header: resp.Header, body: body, received: wallNow()}
	l.c.observe(a, &span)
	if len(body) > maxBodyBytes {
		return nil, errTooLarge
	}

	header := resp.Header.Clone()
	switch {
	case a.status == http.StatusNotModified && kept == nil:
		return nil, errNotModified
	case a.status == http.StatusNotModified:
		a.status, a.body, a.cached = http.StatusOK, kept.body, true
		// Paging and type belong to the kept body; a 304 need not repeat them.
		header.Del("Link")
		if kept.link != "" {
			header.Set("Link", kept.link)
		}
		header.Set("Content-Type", kept.contentType)
	case a.status == http.StatusOK && req.Method == http.MethodGet && resp.Header.Get("ETag") != "":
		l.c.cache.put(key, &entry{
			etag: resp.Header.Get("ETag"), body: body,
			link: resp.Header.Get("Link"), contentType: resp.Header.Get("Content-Type"),
		})
	}
	l.last = a
	for _, h := range rateHeaders {
		header.Del(h)
	}
	header.Del("Content-Length")
	return &http.Response{
		Status: strconv.Itoa(a.status) + " " + http.StatusText(a.status), StatusCode: a.status,
		Proto: resp.Proto, ProtoMajor: resp.ProtoMajor, ProtoMinor: resp.ProtoMinor,
		Header: header, Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)),
		Request: req,
	}, nil
}

// rateHeaders are what makes go-github v60 refuse requests by itself.
var rateHeaders = []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "Retry-After"}

// redirect allows what GitHub does after a rename, a GET to another path of the
// same host, and nothing that would carry the token elsewhere or turn a deletion
// into a read.
func (l *call) redirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	if req.URL.Host != first.URL.Host || req.URL.Scheme != first.URL.Scheme || req.Method != first.Method || len(via) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

// span is the time in which GitHub must have written its Date header: from the
// request written to the first byte of the answer. The callbacks of the trace
// run on other goroutines, maybe after the answer; hence the atomics.
type span struct {
	began, ended   time.Time // around the whole exchange
	wrote, replied atomic.Pointer[time.Time]
}

func (s *span) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { now := time.Now(); s.wrote.Store(&now) },
		GotFirstResponseByte: func() { now := time.Now(); s.replied.Store(&now) },
	}
}

func (s *span) start() { s.began = time.Now() }
func (s *span) stop()  { s.ended = time.Now() }

// bounds returns the tightest known times around the server's answer. The time
// of writing is taken before the server can have read the whole request, but
// noted after; where it was noted later than the answer came it is useless.
func (s *span) bounds() (from, to time.Time) {
	from, to = s.began, s.ended
	if p := s.replied.Load(); p != nil && p.After(from) && p.Before(to) {
		to = *p
	}
	if p := s.wrote.Load(); p != nil && p.After(from) && p.Before(to) {
		from = *p
	}
	return from, to
}

// newTransport is the real network. Dead HTTP/2 connections, as a sleep of the
// machine leaves them, are found by pings; without these Go would use them until
// the kernel gives up.
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

// observe takes from an answer what is true whatever the operation makes of it:
// that it came, the quota, the clock.
func (c *Client) observe(a *answer, s *span) {
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
	if !a.isHTML() && slices.Contains([]string{"", "0"}, a.header.Get("Age")) {
		from, to := s.bounds()
		c.clock.add(from, to, a.header.Get("Date"))
	}
}
