package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/cmd/internal/clitest"
)

// fakeDocker answers what the exporter asks of an engine: one runner in the retry loop, one
// unhealthy service, one dead one. It listens on a socket and returns its address.
func fakeDocker(t *testing.T, root string, more ...map[string]any) string {
	t.Helper()
	containers := []map[string]any{
		{
			"Id": strings.Repeat("a", 64), "Names": []string{"/gr-ci-runner-1"}, "State": "running", "Status": "Up 2 minutes (healthy)",
			"Labels":  map[string]string{"ghostrunner.role": "runner", "ghostrunner.runner": "ci-runner-1"},
			"Created": time.Now().Add(-time.Hour).Unix(),
		},
		{
			"Id": strings.Repeat("b", 64), "Names": []string{"/gr-mongo-1"}, "State": "running", "Status": "Up 2 minutes (unhealthy)",
			"Labels": map[string]string{"ghostrunner.role": "service"}, "Created": time.Now().Add(-time.Hour).Unix(),
		},
		{
			"Id": strings.Repeat("c", 64), "Names": []string{"/gr-redis-1"}, "State": "exited", "Status": "Exited (137) 3 minutes ago",
			"Labels": map[string]string{"ghostrunner.role": "service"}, "Created": time.Now().Add(-time.Hour).Unix(),
		},
	}
	containers = append(containers, more...)
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
	mux.HandleFunc("GET /{version}/containers/json", func(w http.ResponseWriter, _ *http.Request) { reply(w, containers) })
	mux.HandleFunc("GET /{version}/info", func(w http.ResponseWriter, _ *http.Request) { reply(w, map[string]string{"DockerRootDir": root}) })
	mux.HandleFunc("GET /{version}/system/df", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"BuildCache": []map[string]any{{"ID": "x", "Size": 42}}})
	})
	mux.HandleFunc("GET /{version}/events", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	now := time.Now().Add(-time.Second).UTC()
	mux.HandleFunc("GET /{version}/containers/{id}/logs", func(w http.ResponseWriter, r *http.Request) {
		frame(w, 1, now.Format(time.RFC3339Nano)+" Current runner version: '2.336.0'\n")
		frame(w, 2, fmt.Sprintf("%s %sZ: Runner connect error: Name or service not known. Retrying until reconnected.\n",
			now.Add(time.Millisecond).Format(time.RFC3339Nano), now.Format(time.DateTime)))
		_ = http.NewResponseController(w).Flush()
		if r.URL.Query().Get("follow") == "1" {
			<-r.Context().Done()
		}
	})
	dir, err := os.MkdirTemp("", "gr") // t.TempDir can be too long for the address of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "docker.sock")
	l, err := net.Listen("unix", socket) //nolint:noctx // a test's own socket
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(mux)
	_ = srv.Listener.Close() // that of TCP
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.CloseClientConnections)
	return "unix://" + socket
}

// frame writes one piece of a log as Docker multiplexes it: stream, three zero bytes, length.
func frame(w io.Writer, stream byte, text string) {
	head := [8]byte{0: stream}
	binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
	_, _ = w.Write(append(head[:], text...))
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// gitHub is a fake with one runner online. It remembers the credentials that it was shown.
type gitHub struct {
	*httptest.Server

	want string // the token that is accepted

	mu    sync.Mutex
	shown []string
}

func fakeGitHub(t *testing.T, token string) *gitHub {
	t.Helper()
	g := &gitHub{want: token}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		g.mu.Lock()
		g.shown = append(g.shown, got)
		g.mu.Unlock()
		if got != g.want {
			w.WriteHeader(http.StatusUnauthorized)
			reply(w, map[string]string{"message": "Bad credentials " + got}) // a proxy that echoes what it was sent
			return
		}
		h := w.Header()
		h.Set("X-OAuth-Scopes", "repo")
		h.Set("GitHub-Authentication-Token-Expiration", time.Now().Add(240*time.Hour).UTC().Format("2006-01-02 15:04:05 UTC"))
		h.Set("X-RateLimit-Limit", "5000")
		h.Set("X-RateLimit-Remaining", "4321")
		h.Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
		h.Set("X-RateLimit-Resource", "core")
		reply(w, map[string]any{"total_count": 1, "runners": []map[string]any{{
			"id": 7, "name": "ci-runner-1-abc", "os": "linux", "status": "online", "busy": true,
			"labels": []map[string]string{{"name": "self-hosted"}, {"name": "linux"}},
		}}})
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gitHub) tokens() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.shown...)
}

// booted is an exporter that runs within the test.
type booted struct {
	t    *testing.T
	log  *clitest.Output
	base string
	stop func() int // ends it like SIGTERM and returns its exit code
}

// boot runs the exporter on a free port, with the environment of the caller (see clean).
func boot(t *testing.T, args ...string) *booted {
	t.Helper()
	b := &booted{t: t, log: &clitest.Output{}}
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	args = append([]string{"--web.listen-address=127.0.0.1:0", "--dns.names=localhost"}, args...)
	go func() { code <- run(ctx, args, io.Discard, b.log) }()
	b.stop = sync.OnceValue(func() int { cancel(); return <-code })
	t.Cleanup(func() { b.stop() })
	b.base = "http://" + b.log.Address(t)
	return b
}

// until waits for cond, and shows the log if it does not come.
func (b *booted) until(what string, cond func() bool) {
	b.t.Helper()
	defer func() {
		if b.t.Failed() {
			b.t.Logf("log:\n%s", b.log)
		}
	}()
	clitest.Until(b.t, what, cond)
}

func (b *booted) get(path string) string {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.base+path, http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(body)
}

// exports waits until every line begins a line of /metrics, and returns all of it.
func (b *booted) exports(lines ...string) string {
	b.t.Helper()
	var body string
	b.until(strings.Join(lines, " and "), func() bool {
		body = "\n" + b.get("/metrics")
		for _, l := range lines {
			if !strings.Contains(body, "\n"+l) {
				return false
			}
		}
		return true
	})
	return body
}

// without fails if /metrics has a series whose name begins so.
func (b *booted) without(body string, prefixes ...string) {
	b.t.Helper()
	for _, p := range prefixes {
		if strings.Contains(body, "\n"+p) {
			b.t.Errorf("%s is exported although nothing is known of it", p)
		}
	}
}

// logsOnce waits for text in the log, and fails if it is there more than once.
func (b *booted) logsOnce(text string) {
	b.t.Helper()
	b.until(text, func() bool { return strings.Contains(b.log.String(), text) })
	if n := strings.Count(b.log.String(), text); n != 1 {
		b.t.Errorf("%q is logged %d times:\n%s", text, n, b.log)
	}
}
