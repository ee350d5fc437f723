// Package dockerproxy stands between one of our programs and the Docker engine and lets through exactly what that program
// asks for. Whoever may write to Docker's socket is root on the host; whoever may write to this one can read the state of
// our containers (Exporter), or restart them and remove unused images (Remediator), and nothing else.
//
// It exists because the proxies that one can download decide by method and path. What makes our calls harmless is in
// neither: a log is read or a container restarted only if its labels say that it is ours; a prune is safe or not by its
// filters, a kill by its signal, a process list by the options of ps, which can also print every environment.
//
// Three rules hold for every request:
//
//   - What is not in the table of its client (exporter.go, remediator.go) is refused with 403: method, path, each parameter
//     with its value, upgrades and bodies alike.
//   - What reaches the engine is written anew from what was judged. Nothing else of the request goes on but its user agent.
//   - A container is named by its full id. The engine is asked for its labels right before; labels never change and ids are
//     never used twice, so the answer still holds when the call is made.
//
// The engine stays the judge of everything else: a removal is never forced here, so it refuses what is in use.
package dockerproxy

import (
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

// maxRequests is how many requests may be under way at once: a log stream for each of the thousand runners that the
// exporter follows at most, and room.
const maxRequests = 1200

// Client is a program of ours.
type Client string

// The clients.
const (
	Exporter   Client = "exporter"
	Remediator Client = "remediator"
)

// Options configures a Proxy. All but Logger and PruneLabel are needed.
type Options struct {
	// Socket is the path of the engine's socket.
	Socket string
	// Client says whose calls pass.
	Client Client
	// Labels are KEY=VALUE pairs that a container must carry, every one, to be within reach.
	Labels []string
	// PruneLabel is a KEY=VALUE that an image or leftover must carry to be removed; the build cache, which has no labels,
	// stays then. Empty: any unused image may go.
	PruneLabel string
	// Logger is told of each refusal. Nil: nothing is logged.
	Logger *slog.Logger
}

// Proxy is an http.Handler. It never dials before the first request.
type Proxy struct {
	rules   []rule
	engine  engine
	forward *httputil.ReverseProxy
	slots   chan struct{}
	log     *slog.Logger
}

// New returns a Proxy for the options.
func New(o Options) (*Proxy, error) {
	if o.Socket == "" {
		return nil, errors.New("no socket of the engine")
	}
	if len(o.Labels) == 0 {
		return nil, errors.New("no label: every container of the machine would be within reach")
	}
	labels, err := parsePairs(o.Labels)
	if err != nil {
		return nil, err
	}
	var prune pairs
	if o.PruneLabel != "" {
		if prune, err = parsePairs([]string{o.PruneLabel}); err != nil {
			return nil, err
		}
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", o.Socket)
		},
		DisableCompression:  true,
		MaxIdleConns:        16,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
	}
	p := &Proxy{engine: engine{&http.Client{Transport: transport, Timeout: 30 * time.Second}}, slots: make(chan struct{}, maxRequests), log: log}
	switch o.Client {
	case Exporter:
		p.rules = exporterRules(p.engine, labels)
	case Remediator:
		p.rules = remediatorRules(p.engine, labels, prune)
	default:
		return nil, fmt.Errorf("client %q: want %s or %s", o.Client, Exporter, Remediator)
	}
	for i := range p.rules {
		p.rules[i] = p.rules[i].compile()
	}
	p.forward = &httputil.ReverseProxy{
		Rewrite:       func(*httputil.ProxyRequest) {}, // ServeHTTP wrote it
		Transport:     transport,
		FlushInterval: -1, // events and logs come line by line
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

// judge finds the rule that a request falls under and returns what is sent to the engine in its place.
func (p *Proxy) judge(r *http.Request) (out *http.Request, limit time.Duration, err error) {
	path, version := splitVersion(r.URL.Path)
	switch {
	case r.URL.RawPath != "" || r.URL.Opaque != "" || r.URL.Host != "":
		return nil, 0, errors.New("the path is written in an unusual way")
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return nil, 0, errors.New("no call of ours has a body")
	case r.Header.Get("Upgrade") != "":
		return nil, 0, errors.New("no call of ours upgrades its connection")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, 0, errors.New("the query cannot be read")
	}
	reason := errors.New("no call of ours")
	for _, rule := range p.rules {
		object, ok := rule.match(r.Method, path)
		if !ok {
			continue
		}
		if reason = rule.allows(r.Context(), object, query); reason == nil {
			p.log.Debug("Allowed", "rule", rule.name())
			return rewrite(r, version+path, query), rule.limit, nil
		}
	}
	return nil, 0, fmt.Errorf("%s %s: %w", r.Method, path, reason)
}

// rewrite makes the request that the engine gets.
func rewrite(r *http.Request, path string, query url.Values) *http.Request {
	out := (&http.Request{
		Method:     r.Method,
		URL:        &url.URL{Scheme: "http", Host: "docker", Path: path, RawQuery: query.Encode()},
		Host:       "docker",
		Header:     http.Header{},
		Body:       http.NoBody,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
	}).WithContext(r.Context())
	if agent := r.Header.Get("User-Agent"); agent != "" {
		out.Header.Set("User-Agent", agent)
	}
	return out
}

// statusOf is what the client is told.
func statusOf(err error) int {
	var trouble *engineError
	switch {
	case errors.As(err, &trouble):
		return http.StatusBadGateway
	case errors.Is(err, errUnknown):
		return http.StatusNotFound
	default:
		return http.StatusForbidden
	}
}

// splitVersion takes /v1.41 off a path.
func splitVersion(path string) (rest, version string) {
	if m := versionPrefix.FindString(path); m != "" {
		return path[len(m):], m
	}
	return path, ""
}

// answer is an error as the engine writes them, so that Docker's client shows its text.
func answer(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": "ghostrunner-proxy: " + strings.TrimSpace(message)}) // the client is gone
}
