package web

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/exporter-toolkit/web"
)

func flags(addresses ...string) *web.FlagConfig {
	return &web.FlagConfig{WebListenAddresses: &addresses, WebSystemdSocket: new(bool), WebConfigFile: new(string)}
}

// address is the first bound address.
func (s *Server) address() string { return s.listeners[0].Addr().String() }

// start runs a server on a free port and returns its base URL and a function that stops it.
func start(t *testing.T, o Options) (base string, stop func() error) {
	t.Helper()
	if o.Flags == nil {
		o.Flags = flags("127.0.0.1:0")
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + s.address(), run(t, s)
}

// run runs a server until the test ends, or stop is called.
func run(t *testing.T, s *Server) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return stop
}

func do(t *testing.T, method, url string, header ...string) (status int, body string, h http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func TestRoutes(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	promauto.With(reg).NewGauge(prometheus.GaugeOpts{Name: "ghostrunner_test", Help: "A gauge."}).Set(7)
	var notReady atomic.Pointer[string]
	base, _ := start(t, Options{
		Registry: reg, Name: "ghostrunner-test", Description: "A test.",
		Ready: func() error {
			if s := notReady.Load(); s != nil {
				return errors.New(*s)
			}
			return nil
		},
		Routes: func(mux *http.ServeMux) {
			mux.HandleFunc("POST /webhook", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
		},
	})
	for _, tc := range []struct {
		method, path string
		status       int
		contains     string
	}{
		{"GET", "/metrics", 200, "ghostrunner_test 7"},
		{"GET", "/metrics", 200, `promhttp_metric_handler_requests_total{code="200"} 1`},
		{"POST", "/metrics", 405, ""},
		{"GET", "/-/healthy", 200, "ghostrunner-test is healthy."},
		{"HEAD", "/-/healthy", 200, ""},
		{"GET", "/-/ready", 200, "is ready."},
		{"HEAD", "/-/ready", 200, ""},
		{"POST", "/-/ready", 405, ""},
		{"GET", "/", 200, "A test."},
		{"GET", "/nothing", 404, ""},
		{"POST", "/webhook", 202, ""},
		{"GET", "/webhook", 405, ""},
	} {
		status, body, _ := do(t, tc.method, base+tc.path)
		if status != tc.status || !strings.Contains(body, tc.contains) {
			t.Errorf("%s %s: %d %q, want %d with %q", tc.method, tc.path, status, body, tc.status, tc.contains)
		}
	}
	if _, body, _ := do(t, "GET", base+"/"); strings.Contains(body, "debug/pprof") {
		t.Error("the landing page links to pprof, which is not served")
	}
	reason := "no snapshot yet"
	notReady.Store(&reason)
	for _, method := range []string{"GET", "HEAD"} {
		if status, body, _ := do(t, method, base+"/-/ready"); status != 503 || method == "GET" && !strings.Contains(body, reason) {
			t.Errorf("%s /-/ready: %d %q, want 503 with the reason", method, status, body)
		}
	}
	if status, _, _ := do(t, "GET", base+"/-/healthy"); status != 200 {
		t.Errorf("/-/healthy while not ready: %d, want 200", status)
	}
}

func TestRootReplacesTheLandingPage(t *testing.T) {
	base, _ := start(t, Options{Root: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { text(w, 200, "status page") })})
	if _, body, _ := do(t, "GET", base+"/"); body != "status page\n" {
		t.Errorf("GET /: %q", body)
	}
	if status, _, _ := do(t, "GET", base+"/metrics"); status != 404 {
		t.Errorf("/metrics without a registry: %d, want 404", status)
	}
}

func TestReadyIsRefusedBeforeAndAfter(t *testing.T) {
	s, err := New(Options{Name: "x", Flags: flags("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	ready := func() (int, string) {
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/-/ready", http.NoBody))
		return w.Code, w.Body.String()
	}
	if code, body := ready(); code != 503 || !strings.Contains(body, "starting") {
		t.Errorf("before Run: %d %q", code, body)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if code, body := ready(); code != 503 || !strings.Contains(body, "shutting down") {
		t.Errorf("after Run: %d %q", code, body)
	}
	if _, err := net.Dial("tcp", s.address()); err == nil { //nolint:noctx // refused at once, or the test fails
		t.Error("the port is still open after Run")
	}
}

func TestShutdownFinishesRequestsInFlight(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	base, stop := start(t, Options{Routes: func(mux *http.ServeMux) {
		mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-release
			if r.Context().Err() != nil {
				t.Error("the request was canceled by the shutdown")
			}
			text(w, 200, "done")
		})
	}})
	got := make(chan string, 1)
	go func() {
		_, body, _ := do(t, "GET", base+"/slow")
		got <- body
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for { // until the shutdown has begun: the port is closed first
		conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://")) //nolint:noctx // local
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	close(release)
	if body := <-got; body != "done\n" {
		t.Errorf("answer of the request in flight: %q", body)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestSeveralAddressesUnderOneWebConfig(t *testing.T) {
	config := filepath.Join(t.TempDir(), "web.yml")
	// Password "test", cost 4.
	const users = "basic_auth_users:\n  alice: $2y$04$ZtZZ9DZvvZLbMKSKCq5LzO5MJUvDLyrMvRpFtfnQYjCuCRvTUdKs2\n"
	if err := os.WriteFile(config, []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	f := flags("127.0.0.1:0", "127.0.0.1:0")
	f.WebConfigFile = &config
	s, err := New(Options{Flags: f})
	if err != nil || len(s.listeners) != 2 {
		t.Fatalf("%v, %d listeners", err, len(s.listeners))
	}
	run(t, s)
	for _, l := range s.listeners {
		if status, _, _ := do(t, "GET", "http://"+l.Addr().String()+"/-/healthy"); status != 401 {
			t.Errorf("%s without credentials: %d, want 401: the web configuration covers every route", l.Addr(), status)
		}
	}
}

func TestErrorsNameTheFlag(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	bad := filepath.Join(t.TempDir(), "web.yml")
	if err := os.WriteFile(bad, []byte("no_such_key: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := taken.Addr().String()
	badConfig := flags("127.0.0.1:0")
	badConfig.WebConfigFile = &bad
	for name, tc := range map[string]struct {
		flags *web.FlagConfig
		want  []string
	}{
		"taken":     {flags(address), []string{"--web.listen-address=" + address, "address already in use"}},
		"malformed": {flags("nonsense"), []string{"--web.listen-address=nonsense", "missing port"}},
		"vsock":     {flags("vsock://:9100"), []string{"--web.listen-address=vsock://:9100", "HOST:PORT"}},
		"none":      {flags(), []string{"--web.listen-address"}},
		"config":    {badConfig, []string{"--web.config.file=" + bad, "no_such_key"}},
	} {
		s, err := New(Options{Flags: tc.flags})
		if err == nil {
			_ = closeAll(s.listeners)
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q lacks %q", name, err, want)
			}
		}
	}
}

func TestListenTakesEveryPortOrNone(t *testing.T) {
	var err error
	for range 5 { // another program may take the port meanwhile
		free, listenErr := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
		if listenErr != nil {
			t.Fatal(listenErr)
		}
		address := free.Addr().String()
		_ = free.Close()
		if _, err := New(Options{Flags: flags(address, "nonsense")}); err == nil {
			t.Fatal("no error")
		}
		var again net.Listener
		if again, err = net.Listen("tcp", address); err == nil { //nolint:noctx // a test's own port
			_ = again.Close()
			return
		}
	}
	t.Fatalf("the first port was not given back: %v", err)
}

func TestScrapesAreLimited(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{})
	h, err := newMux(Options{Registry: prometheus.NewRegistry(), MetricsHandler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	})}, func() error { return nil }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	scrape := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", http.NoBody))
		return w.Code
	}
	var wg sync.WaitGroup
	for range maxScrapes {
		wg.Go(func() { scrape() })
		<-entered
	}
	if code := scrape(); code != 503 {
		t.Errorf("scrape %d: %d, want 503", maxScrapes+1, code)
	}
	close(release)
	wg.Wait()
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			<-release
			w.WriteHeader(http.StatusOK)
		}), 2)
		serve := func() *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", http.NoBody))
			return w
		}
		for range 2 {
			go serve()
		}
		synctest.Wait()
		if w := serve(); w.Code != 503 {
			t.Errorf("one too many: %d, want 503", w.Code)
		}
		close(release)
		synctest.Wait()
		if w := serve(); w.Code != 200 {
			t.Errorf("after the others: %d, want 200", w.Code)
		}
	})
}

func TestBearer(t *testing.T) {
	const token = "a-long-token"
	good := func() (string, error) { return token, nil }
	for _, tc := range []struct {
		name, header string
		token        func() (string, error)
		status       int
	}{
		{"right", "Bearer " + token, good, 200},
		{"scheme in lower case", "bearer " + token, good, 200},
		{"none", "", good, 401},
		{"wrong", "Bearer b-long-token", good, 401},
		{"prefix", "Bearer a-long", good, 401},
		{"empty", "Bearer ", good, 401},
		{"no scheme", token, good, 401},
		{"basic", "Basic " + token, good, 401},
		{"unreadable", "Bearer " + token, func() (string, error) { return token, errors.New("open /run/secrets/t: denied") }, 500},
		{"unset", "Bearer ", func() (string, error) { return "", nil }, 500},
		{"unset, no header", "", func() (string, error) { return "", nil }, 500},
	} {
		t.Run(tc.name, func(t *testing.T) {
			called := false
			h := Bearer(tc.token, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
			req := httptest.NewRequestWithContext(t.Context(), "POST", "/webhook", http.NoBody)
			if tc.header != "" {
				req.Header.Set("Authorization", tc.header)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			if w.Code != tc.status || called != (tc.status == 200) {
				t.Errorf("status %d, handler called: %t; want %d", w.Code, called, tc.status)
			}
			if got := w.Header().Get("WWW-Authenticate"); (got == "Bearer") != (tc.status == 401) {
				t.Errorf("WWW-Authenticate: %q", got)
			}
			if strings.Contains(w.Body.String(), token) || strings.Contains(w.Body.String(), "secrets") {
				t.Errorf("the answer contains a secret: %q", w.Body)
			}
		})
	}
}

func closeAll(ls []net.Listener) error {
	var errs []error
	for _, l := range ls {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
