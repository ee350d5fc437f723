package dockerproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Containers of the fake engine.
var (
	healed   = id('a') // a runner of ours that may be restarted
	unhealed = id('b') // a runner of ours that nothing may be done to
	leftover = id('c') // a container of ours that a job left behind
	foreign  = id('d') // somebody else's, with all our labels but the project
	nobodys  = id('e') // does not exist
)

func id(c byte) string { return strings.Repeat(string(c), 64) }

// fakeEngine lists the containers above and records every other request.
type fakeEngine struct {
	socket string

	mu      sync.Mutex
	reached []*http.Request
}

func newFakeEngine(t *testing.T) *fakeEngine {
	t.Helper()
	e := &fakeEngine{socket: filepath.Join(t.TempDir(), "engine.sock")}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", e.socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: e}} //nolint:gosec // a test's own client
	s.Start()
	t.Cleanup(s.Close)
	return e
}

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/containers/json": // the proxy's own question; a client's has a version here
		project := map[string]string{"project": "ours"}
		with := func(more map[string]string) map[string]string {
			for k, v := range project {
				if _, ok := more[k]; !ok {
					more[k] = v
				}
			}
			return more
		}
		var list []map[string]any
		for id, labels := range map[string]map[string]string{
			healed:   with(map[string]string{runner.LabelRole: runner.RoleRunner, runner.LabelHeal: "restart,backoff"}),
			unhealed: with(map[string]string{runner.LabelRole: runner.RoleRunner}),
			leftover: with(map[string]string{"prune": "me"}),
			foreign:  {"project": "theirs", runner.LabelRole: runner.RoleRunner, runner.LabelHeal: "restart,backoff", "prune": "me"},
		} {
			list = append(list, map[string]any{"Id": id, "Labels": labels})
		}
		_ = json.NewEncoder(w).Encode(list)
		return
	case strings.HasPrefix(r.URL.Path, "/images/") && strings.HasSuffix(r.URL.Path, "/json"):
		labels := map[string]string{}
		if strings.Contains(r.URL.Path, "ballast") {
			labels["prune"] = "me"
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"Config": map[string]any{"Labels": labels}})
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reached = append(e.reached, r)
}

// took returns the one request that reached the engine since the last call, or nil.
func (e *fakeEngine) took(t *testing.T) *http.Request {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	defer func() { e.reached = nil }()
	switch len(e.reached) {
	case 0:
		return nil
	case 1:
		return e.reached[0]
	}
	t.Fatalf("%d requests reached the engine", len(e.reached))
	return nil
}

func newProxy(t *testing.T, e *fakeEngine, c Client, prune string) http.Handler {
	t.Helper()
	p, err := New(Options{Socket: e.socket, Client: c, Labels: []string{"project=ours"}, PruneLabel: prune})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func filters(pairs ...string) string {
	m := map[string]map[string]bool{}
	for _, p := range pairs {
		key, value, _ := strings.Cut(p, ":")
		if m[key] == nil {
			m[key] = map[string]bool{}
		}
		m[key][value] = true
	}
	text, _ := json.Marshal(m)
	return "filters=" + url.QueryEscape(string(text))
}

// Requests that would give access to the host, or cause harm, never reach the engine.
func TestDangerous(t *testing.T) {
	e := newFakeEngine(t)
	own := filters("label:project=ours")
	for _, c := range []string{
		// Root on the host, in one or two calls.
		"POST /v1.41/containers/create",
		"POST /v1.41/containers/create?name=ci-runner-1",
		"POST /v1.41/containers/" + healed + "/exec",
		"POST /v1.41/exec/" + healed + "/start",
		"POST /v1.41/containers/" + healed + "/attach?stream=1&stdin=1",
		"GET /v1.41/containers/" + healed + "/attach/ws?stream=1",
		"PUT /v1.41/containers/" + healed + "/archive?path=/",
		"POST /v1.41/containers/" + healed + "/update",
		"POST /v1.41/containers/" + healed + "/rename?name=x",
		"POST /v1.41/build?remote=x",
		"POST /v1.41/images/create?fromImage=evil",
		"POST /v1.41/images/load",
		"POST /v1.41/images/" + "x" + "/tag?repo=ghostrunner/exporter&tag=local",
		"POST /v1.41/commit?container=" + healed,
		"POST /v1.41/plugins/pull?remote=evil",
		"POST /v1.41/swarm/init",
		"POST /v1.41/services/create",
		"POST /v1.41/session",
		"POST /v1.41/grpc",
		// Secrets.
		"GET /v1.41/containers/" + healed + "/json",
		"GET /v1.41/containers/" + healed + "/archive?path=/run/secrets/github_pat",
		"HEAD /v1.41/containers/" + healed + "/archive?path=/",
		"GET /v1.41/containers/" + healed + "/export",
		"GET /v1.41/containers/" + healed + "/changes",
		"GET /v1.41/images/get?names=x",
		"GET /v1.41/images/x/get",
		"GET /v1.41/secrets",
		"GET /v1.41/configs",
		"GET /v1.41/containers/" + healed + "/top?ps_args=eww", // prints every environment
		"GET /v1.41/containers/" + healed + "/top",
		"GET /v1.41/containers/" + foreign + "/logs?stdout=1",
		"GET /v1.41/containers/" + leftover + "/logs?stdout=1&follow=1",
		"GET /v1.41/events",
		"GET /v1.41/events?" + filters("label:project=theirs"),
		"GET /v1.41/events?filters=" + url.QueryEscape(`{"label":{"project=ours":false}}`),
		"GET /v1.41/events?filters=" + url.QueryEscape(`{"label":["project=ours"]}`),
		"GET /v1.41/events?" + own + "&" + filters("type:image"),
		// Containers that are not ours, and ours that must stay.
		"POST /v1.41/containers/" + foreign + "/kill?signal=SIGTERM",
		"POST /v1.41/containers/" + foreign + "/stop?t=10",
		"POST /v1.41/containers/" + foreign + "/restart?t=10",
		"POST /v1.41/containers/" + foreign + "/start",
		"POST /v1.41/containers/" + unhealed + "/restart?t=10",
		"POST /v1.41/containers/" + unhealed + "/stop?t=10",
		"POST /v1.41/containers/" + nobodys + "/restart?t=10",
		"POST /v1.41/containers/ci-runner-1/restart?t=10", // a name can come to mean something else
		"POST /v1.41/containers/" + healed[:12] + "/restart?t=10",
		"DELETE /v1.41/containers/" + healed,
		"DELETE /v1.41/containers/" + foreign,
		"DELETE /v1.41/containers/" + leftover + "?force=1",
		"DELETE /v1.41/containers/" + leftover + "?v=1",
		"DELETE /v1.41/images/ballast?force=1",
		"DELETE /v1.41/images/mongo:7.0", // lacks the prune label
		// Kill a job.
		"POST /v1.41/containers/" + healed + "/kill",
		"POST /v1.41/containers/" + healed + "/kill?signal=SIGKILL",
		"POST /v1.41/containers/" + healed + "/kill?signal=9",
		"POST /v1.41/containers/" + healed + "/kill?signal=SIGTERM&signal=SIGKILL",
		"POST /v1.41/containers/" + healed + "/stop?t=0",
		"POST /v1.41/containers/" + healed + "/restart?t=-1",
		"POST /v1.41/containers/" + healed + "/restart?t=10&signal=SIGKILL",
		"POST /v1.41/containers/" + healed + "/pause",
		// Data.
		"POST /v1.41/volumes/prune",
		"DELETE /v1.41/volumes/mongo-data?force=1",
		"POST /v1.41/volumes/create",
		"GET /v1.41/volumes",
		"POST /v1.41/containers/prune",
		"POST /v1.41/containers/prune?" + filters("label:project=theirs"),
		"POST /v1.41/images/prune?" + filters("dangling:false"),
		"POST /v1.41/networks/prune",
		"DELETE /v1.41/networks/x",
		"POST /v1.41/networks/x/connect",
		"POST /v1.41/containers/" + healed + "/stop?t=18446744074", // in nanoseconds and 64 bits, 0.29 seconds
		"POST /v1.41/containers/" + healed + "/restart?t=18446744074",
		"POST /v1.41/build/prune?all=1", // the cache has no label
		"POST /v1.41/build/prune?all=1&" + filters("until:1h"),
		// The same, written in other ways.
		"GET /v1.41/images/../containers/" + healed + "/json",
		"GET /v1.41//containers/" + healed + "/json",
		"GET /v1.41/images/x%2f..%2f..%2fcontainers/" + healed + "/json",
		"GET /containers/" + healed + "/json",
		"GET /v1.41/v1.41/containers/json",
		"get /v1.41/info",
		"POST /v1.41/containers/json",
		"DELETE /v1.41/containers/json",
		"CONNECT /v1.41/info",
		"GET /v1.41/containers/json?all=1;filters=x&" + own,
		"GET /v1.41/containers/json?limit=1&" + own,
	} {
		method, target, _ := strings.Cut(c, " ")
		for _, client := range []Client{Exporter, Remediator} {
			p := newProxy(t, e, client, "prune=me")
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), "GET", target, nil)
			r.Method = method
			p.ServeHTTP(w, r)
			if got := e.took(t); got != nil || w.Code != http.StatusForbidden && w.Code != http.StatusNotFound {
				t.Errorf("%s: %s passed: %d", client, c, w.Code)
			}
		}
	}
}

// Without a prune label no container is known to be left over.
func TestNoLeftovers(t *testing.T) {
	e := newFakeEngine(t)
	w := httptest.NewRecorder()
	newProxy(t, e, Remediator, "").ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "DELETE", "/v1.41/containers/"+leftover, nil))
	if got := e.took(t); got != nil || w.Code != http.StatusForbidden {
		t.Errorf("passed: %d", w.Code)
	}
}

// A prune label removes the calls for the build cache.
func TestBuildCache(t *testing.T) {
	e := newFakeEngine(t)
	p := newProxy(t, e, Remediator, "")
	for target, want := range map[string]int{
		"/v1.41/build/prune?all=1": 200, "/v1.41/build/prune?all=1&filters=%7B%7D": 200,
		"/v1.41/build/prune": 403, "/v1.41/build/prune?all=1&" + filters("until:1h"): 403, "/v1.41/build/prune?all=1&keep-storage=1": 403,
	} {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", target, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", target, w.Code, want)
		}
	}
}

// The request to the engine contains only what was judged.
func TestRequestIsRewritten(t *testing.T) {
	e := newFakeEngine(t)
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1.41/containers/"+healed+"/restart?t=10", nil)
	r.Host = "evil"
	for _, h := range []string{"Authorization", "X-Registry-Auth", "X-Registry-Config", "Connection", "Forwarded", "X-Forwarded-For"} {
		r.Header.Set(h, "evil")
	}
	r.Header.Set("User-Agent", "ghostrunner")
	w := httptest.NewRecorder()
	newProxy(t, e, Remediator, "").ServeHTTP(w, r)
	got := e.took(t)
	if got == nil || w.Code != 200 {
		t.Fatalf("a restart was refused: %d %s", w.Code, w.Body)
	}
	if got.RequestURI != "/v1.41/containers/"+healed+"/restart?t=10" || got.Host != "docker" || got.UserAgent() != "ghostrunner" || len(got.Header) != 2 {
		t.Errorf("the engine got %s %s, host %s, %v", got.Method, got.RequestURI, got.Host, got.Header) // User-Agent and Content-Length
	}
	for name, spoil := range map[string]func(*http.Request){
		"body":    func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("{}")), 2 },
		"chunked": func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("{}")), -1 },
		"upgrade": func(r *http.Request) { r.Header.Set("Upgrade", "tcp"); r.Header.Set("Connection", "Upgrade") },
	} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1.41/containers/"+healed+"/restart?t=10", nil)
		spoil(r)
		w := httptest.NewRecorder()
		newProxy(t, e, Remediator, "").ServeHTTP(w, r)
		if e.took(t) != nil || w.Code != http.StatusForbidden {
			t.Errorf("%s: passed, %d", name, w.Code)
		}
	}
}

// An engine that is down is an error that Docker's client can show, not a refusal.
func TestEngineDown(t *testing.T) {
	p, err := New(Options{Socket: filepath.Join(t.TempDir(), "none"), Client: Remediator, Labels: []string{"project=ours"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"HEAD /_ping", "GET /v1.41/info", "POST /v1.41/containers/" + healed + "/start"} {
		method, target, _ := strings.Cut(c, " ")
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, nil))
		var answer struct{ Message string }
		if w.Code != http.StatusBadGateway || method != "HEAD" && (json.Unmarshal(w.Body.Bytes(), &answer) != nil || !strings.Contains(answer.Message, "does not answer")) {
			t.Errorf("%s: %d %s", c, w.Code, w.Body)
		}
	}
}

// TestRequestsAreBounded uses every slot for a stream and sends one more request.
func TestRequestsAreBounded(t *testing.T) {
	e := newFakeEngine(t)
	p := newProxy(t, e, Exporter, "").(*Proxy)
	for range maxRequests {
		p.slots <- struct{}{}
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/v1.41/info", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("one request too many: %d", w.Code)
	}
}

// A line of an endless answer arrives at once, and the request to the engine ends with the
// client's.
func TestStreams(t *testing.T) {
	gone := make(chan struct{})
	socket := filepath.Join(t.TempDir(), "engine.sock")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // a test's own client
		fmt.Fprintln(w, "an event")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	})}}
	s.Start()
	t.Cleanup(s.Close)
	p, err := New(Options{Socket: socket, Client: Exporter, Labels: []string{"project=ours"}})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(p)
	defer front.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, front.URL+"/v1.41/events?"+filters("label:project=ours"), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	line := make([]byte, len("an event\n"))
	if _, err := io.ReadFull(resp.Body, line); err != nil || string(line) != "an event\n" {
		t.Fatalf("%q, %v", line, err)
	}
	cancel()
	<-gone
}

func TestOptions(t *testing.T) {
	good := Options{Socket: "/x", Client: Exporter, Labels: []string{"a=b"}}
	for name, spoil := range map[string]func(*Options){
		"socket": func(o *Options) { o.Socket = "" },
		"label":  func(o *Options) { o.Labels = nil },
		"want":   func(o *Options) { o.Labels = []string{"a"} },
		"client": func(o *Options) { o.Client = "root" },
		"KEY":    func(o *Options) { o.PruneLabel = "a" },
	} {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzJudge searches for a request that passes with something that is not in the table.
func FuzzJudge(f *testing.F) {
	socket := filepath.Join(f.TempDir(), "none")
	for _, s := range []string{"/v1.41/info", "/v1.41/containers/json?all=1", "/v1.41/images/a:b/json", "/_ping", "/v1.41/images/x%2fy/json?a;b"} {
		f.Add("GET", s)
	}
	var proxies []*Proxy
	for _, c := range []Client{Exporter, Remediator} {
		p, err := New(Options{Socket: socket, Client: c, Labels: []string{"project=ours"}})
		if err != nil {
			f.Fatal(err)
		}
		proxies = append(proxies, p)
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		for _, p := range proxies {
			out, _, err := p.judge((&http.Request{Method: method, URL: u, Header: http.Header{}}).WithContext(t.Context()))
			if err != nil {
				continue
			}
			path := versionPrefix.ReplaceAllString(out.URL.Path, "")
			if strings.Contains(path, "..") || strings.HasPrefix(path, "/containers/") && path != "/containers/json" || // the engine is down: no label is known
				out.URL.EscapedPath() != out.URL.Path && !strings.HasPrefix(path, "/images/") || method != "GET" && method != "HEAD" && method != "POST" && method != "DELETE" {
				t.Errorf("%s %s passed as %s", method, target, out.URL)
			}
		}
	})
}

// BenchmarkJudge measures what the proxy adds to the most frequent call, without copying it.
func BenchmarkJudge(b *testing.B) {
	p, err := New(Options{Socket: "/none", Client: Exporter, Labels: []string{"project=ours"}})
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequestWithContext(b.Context(), "GET", "/v1.41/containers/json?all=1&"+filters("label:project=ours"), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := p.judge(r); err != nil {
			b.Fatal(err)
		}
	}
}
