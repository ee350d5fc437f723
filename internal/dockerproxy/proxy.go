// Package dockerproxy stands between one of our programs and the Docker engine and passes on only
// the calls that this program makes. A program that may write to Docker's socket is root on the
// host; one that may write to this socket can read the state of our containers (Exporter), or
// restart them and remove unused images (Remediator), and nothing else.
//
// Other proxies decide by method and path. That is not enough to make our calls harmless: a log may
// be read and a container restarted only if its labels say that it is ours; a prune is safe or not
// by its filters, a kill by its signal, a process list by the options of ps, which can also print
// every environment.
//
// Three rules hold for every request:
//
//   - A call that is not in its client's table (exporter.go, remediator.go) is refused with 403:
//     method, path, each parameter with its value, upgrades and bodies.
//   - The request to the engine is written from what was judged. Of the client's request only the
//     user agent is kept.
//   - A container is named by its full id. The engine is asked for its labels right before the call.
//     Labels never change and ids are never reused, so the answer still holds during the call.
//
// The engine decides about everything else: a removal is never forced, so it refuses to remove what
// is in use.
package dockerproxy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// maxRequests bounds the requests at the same time: a log stream for each of the 1,000 runners that
// the exporter follows at most, and some more.
const maxRequests = 1200

// Client is a program of ours.
type Client string

// The clients.
const (
	Exporter   Client = "exporter"
	Remediator Client = "remediator"
)

// Options configure a Proxy. Only Logger and PruneLabel are optional.
type Options struct {
	// Socket is the path of the engine's socket.
	Socket string
	// Client is the program whose calls pass.
	Client Client
	// Labels are KEY=VALUE pairs. Calls reach only containers that have all of them.
	Labels []string
	// PruneLabel is the KEY=VALUE of images and leftovers that may be removed; the build cache,
	// which has no labels, then stays. Empty: any unused image may be removed.
	PruneLabel string
	// Logger gets each refusal. Nil: nothing is logged.
	Logger *slog.Logger
}

// Proxy is an http.Handler. It does not dial before the first request.
type Proxy struct {
	rules   []rule
	forward *httputil.ReverseProxy
	slots   chan struct{}
	log     *slog.Logger
}

// New returns a Proxy.
func New(o Options) (*Proxy, error) {
	if o.Socket == "" {
		return nil, errors.New("no socket of the engine")
	}
	if len(o.Labels) == 0 {
		return nil, errors.New("no label: calls would reach every container of the machine")
	}
	labels, err := parsePairs(o.Labels...)
	if err != nil {
		return nil, err
	}
	var prune pairs
	if o.PruneLabel != "" {
		if prune, err = parsePairs(o.PruneLabel); err != nil {
			return nil, err
		}
	}
	log := cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	transport := newTransport(o.Socket)
	p := &Proxy{slots: make(chan struct{}, maxRequests), log: log}
	objects := objects{engine{&http.Client{Transport: transport, Timeout: 30 * time.Second}}, labels, prune}
	switch o.Client {
	case Exporter:
		p.rules = exporterRules(objects)
	case Remediator:
		p.rules = remediatorRules(objects)
	default:
		return nil, fmt.Errorf("client %q: want %s or %s", o.Client, Exporter, Remediator)
	}
	for i := range p.rules {
		p.rules[i].compile()
	}
	p.forward = &httputil.ReverseProxy{
		Rewrite:       func(*httputil.ProxyRequest) {}, // judge wrote the request
		Transport:     transport,
		FlushInterval: -1, // pass on events and logs line by line
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				log.Warn("The Docker engine does not answer", "err", err)
			}
			answer(w, http.StatusBadGateway, "the Docker engine does not answer: "+err.Error())
		},
	}
	return p, nil
}

func newTransport(socket string) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", socket)
		},
		DisableCompression:  true,
		MaxIdleConns:        16,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
	}
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		answer(w, http.StatusServiceUnavailable, "too many requests at once")
		return
	}
	out, limit, err := p.judge(r)
	if err != nil {
		p.log.Warn("Refused", "method", r.Method, "path", r.URL.Path, "query", r.URL.RawQuery, "reason", err)
		answer(w, statusOf(err), err.Error())
		return
	}
	if limit > 0 {
		ctx, cancel := context.WithTimeout(out.Context(), limit)
		defer cancel()
		out = out.WithContext(ctx)
	}
	p.forward.ServeHTTP(w, out)
}

// judge returns the request that is sent to the engine instead, or why it is refused.
func (p *Proxy) judge(r *http.Request) (out *http.Request, limit time.Duration, err error) {
	version := versionPrefix.FindString(r.URL.Path)
	path := strings.TrimPrefix(r.URL.Path, version)
	switch {
	case r.URL.RawPath != "" || r.URL.Opaque != "" || r.URL.Host != "":
		return nil, 0, errors.New("the path is written in an unusual way")
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return nil, 0, errors.New("calls with a body are refused")
	case r.Header.Get("Upgrade") != "":
		return nil, 0, errors.New("upgrades are refused")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, 0, errors.New("the query cannot be read")
	}
	reason := errors.New("not among the calls that pass")
	for _, rule := range p.rules {
		object, ok := rule.match(r.Method, path)
		if !ok {
			continue
		}
		if reason = rule.allows(r.Context(), object, query); reason == nil {
			p.log.Debug("Allowed", "rule", rule.method+" "+rule.path)
			return rewrite(r, version+path, query), rule.limit, nil
		}
	}
	return nil, 0, fmt.Errorf("%s %s: %w", r.Method, path, reason)
}

func rewrite(r *http.Request, path string, query url.Values) *http.Request {
	out := (&http.Request{
		Method: r.Method,
		URL:    &url.URL{Scheme: "http", Host: "docker", Path: path, RawQuery: query.Encode()},
		Host:   "docker",
		Header: http.Header{},
		Body:   http.NoBody,
	}).WithContext(r.Context())
	if agent := r.Header.Get("User-Agent"); agent != "" {
		out.Header.Set("User-Agent", agent)
	}
	return out
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, errEngine):
		return http.StatusBadGateway
	case errors.Is(err, errUnknown):
		return http.StatusNotFound
	default:
		return http.StatusForbidden
	}
}

// answer writes an error in the engine's form, so that Docker's client shows its text.
func answer(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": "ghostrunner-proxy: " + strings.TrimSpace(message)}) // fails only if the client is gone
}
