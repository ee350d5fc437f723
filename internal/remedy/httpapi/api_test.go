package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// api is all routes, open to every request.
func (s world) api() http.Handler {
	mux := http.NewServeMux()
	s.Routes(mux, open)
	return mux
}

// ask makes a request and returns the answer. A body is sent as a form.
func ask(t testing.TB, h http.Handler, method, target, form string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(context.Background(), method, "/", strings.NewReader(form))
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	req.URL = u
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

func TestParameters(t *testing.T) {
	s := start(t, &fakeDocker{list: []runner.Container{slot("ci-1")}}, nil)
	s.ready(t)
	until(t, "the runner to be known", func() bool { return len(s.remediator.Breakers()) == 1 })
	h := s.api()
	for _, c := range []struct {
		method, target, form string
		code                 int
		says                 string
	}{
		{"GET", "/api/v1/attempts", "", 200, "[]"},
		{"GET", "/api/v1/attempts?limit=1500&since=24h", "", 200, "[]"},
		{"GET", "/api/v1/attempts?limit=&since=", "", 200, "[]"},
		{"GET", "/api/v1/attempts?since=2026-01-02", "", 200, "[]"},
		{"GET", "/api/v1/attempts?since=2026-01-02T03:04:05%2B02:00", "", 200, "[]"},
		{"GET", "/api/v1/attempts?limit=0", "", 400, "limit: want a number from 1 to 1500"},
		{"GET", "/api/v1/attempts?limit=1501", "", 400, "limit: "},
		{"GET", "/api/v1/attempts?limit=1e1", "", 400, "limit: "},
		{"GET", "/api/v1/attempts?limit=1&limit=2", "", 400, "limit: is given more than once"},
		{"GET", "/api/v1/attempts?since=yesterday", "", 400, "since: want a time such as"},
		{"GET", "/api/v1/attempts?since=-1h", "", 400, "since: "},
		{"GET", "/api/v1/attempts?since=9000h", "", 400, "since: want at most 2160 hours"},
		{"GET", "/api/v1/attempts?limt=3", "", 400, `limt: no such parameter; known are ["limit" "since"]`},
		{"GET", "/api/v1/attempts?%1b[31m=3", "", 400, "\uFFFD[31m: no such parameter"},
		{"GET", "/api/v1/attempts?a=%zz", "", 400, "parameters: "},
		{"GET", "/api/v1/breakers?x=1", "", 400, "x: no such parameter"},
		{"GET", "/api/v1/status?x=1", "", 400, "x: no such parameter"},
		{"GET", "/api/v1/status", "", 200, `"name":"ci-1"`},
		{"POST", "/api/v1/status", "", 405, ""},
		{"POST", "/api/v1/pause?for=soon", "", 400, "for: want a time such as"},
		{"POST", "/api/v1/pause?for=1ms", "", 400, "for: "},
		{"POST", "/api/v1/pause?for=721h", "", 400, "at most 720h"},
		{"POST", "/api/v1/pause?for=1h", "", 200, `"paused":true,"pausedUntil":"2`},
		{"POST", "/api/v1/resume?for=1h", "", 400, "for: no such parameter"},
		{"POST", "/api/v1/resume", "", 200, `"paused":false,"dryRun"`},
		{"POST", "/api/v1/pause", "for=2h", 303, ""},
		{"POST", "/api/v1/pause", "for=" + strings.Repeat("x", maxForm), 400, "parameters: "},
		{"POST", "/api/v1/pause", "for=", 303, ""},
		{"POST", "/api/v1/resume", "x=", 400, "x: no such parameter"},
		{"POST", "/api/v1/breakers/ci-1/reset", "", 200, `"runner":"ci-1"`},
		{"POST", "/api/v1/breakers/ci-1/reset?x", "", 400, "x: no such parameter"},
		{"POST", "/api/v1/breakers/ci-2/reset", "", 404, "no such runner"},
		{"POST", "/api/v1/explain?x=1", "", 400, "parameters: there are none"},
	} {
		w := ask(t, h, c.method, c.target, c.form)
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s %s %.40q: %d %q, want %d %q", c.method, c.target, c.form, w.Code, w.Body, c.code, c.says)
		}
	}
	if s := s.remediator.Status(); !s.Paused || !s.PausedUntil.IsZero() {
		t.Errorf("an empty parameter is not left out: %+v", s)
	}
}

// TestTooManyAtOnce holds every place and finds each door closed, but that of the webhook, which
// has places of its own.
func TestTooManyAtOnce(t *testing.T) {
	s := start(t, &fakeDocker{}, nil)
	s.ready(t)
	for range maxRequests {
		s.requests <- struct{}{}
	}
	h := s.api()
	for _, c := range []struct{ method, path string }{
		{"GET", "/api/v1/attempts"}, {"GET", "/api/v1/breakers"}, {"GET", "/api/v1/status"},
		{"POST", "/api/v1/breakers/x/reset"}, {"POST", "/api/v1/pause"}, {"POST", "/api/v1/resume"}, {"POST", "/api/v1/explain"},
	} {
		if w := ask(t, h, c.method, c.path, ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s %s: %d, want 503 and Retry-After", c.method, c.path, w.Code)
		}
	}
	if w := s.post(payload(alertOf("One", remedy.ActionRestart, "runner", "ci-1"))); w.Code != 202 {
		t.Errorf("the webhook: %d, want 202", w.Code)
	}
	for range maxRequests {
		s.deliveries <- struct{}{}
	}
	if w := ask(t, h, "POST", "/webhook", ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("the webhook with all its places taken: %d, want 503 and Retry-After", w.Code)
	}
	<-s.requests
	if w := ask(t, h, "GET", "/api/v1/attempts", ""); w.Code != 200 {
		t.Errorf("with a free place: %d", w.Code)
	}
}

// TestLargePayloadsWait: two of the largest are read at the same time; a third, and one of unknown
// length, wait or go away.
func TestLargePayloadsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, &fakeDocker{}, nil)
		s.ready(t)
		h := s.Webhook(open)
		begin := func(ctx context.Context, size int64) (body *io.PipeWriter, answer chan int) {
			read, write := io.Pipe()
			req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/webhook", read)
			req.Header.Set("Content-Type", "application/json")
			req.ContentLength = size
			answer = make(chan int, 1)
			go func() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, req)
				answer <- w.Code
			}()
			return write, answer
		}
		first, firstAnswer := begin(t.Context(), maxBody)
		second, secondAnswer := begin(t.Context(), -1)
		_, _ = first.Write([]byte(" "))
		_, _ = second.Write([]byte(" ")) // both are being read
		ctx, cancel := context.WithCancel(t.Context())
		_, third := begin(ctx, 100)
		synctest.Wait()
		if len(third) > 0 {
			t.Fatal("the third was read")
		}
		cancel()
		if code := <-third; code != 503 {
			t.Errorf("the third went away: %d", code)
		}
		_ = first.Close()
		if code := <-firstAnswer; code != 400 {
			t.Errorf("the first was empty: %d", code)
		}
		fourth, fourthAnswer := begin(t.Context(), 100)
		_, _ = fourth.Write([]byte(payload(alertOf("A", ""))))
		_ = errors.Join(fourth.Close(), second.Close())
		if code := <-fourthAnswer; code != 202 {
			t.Errorf("the fourth: %d", code)
		}
		<-secondAnswer
	})
}

// refusedQuery checks an answer to parameters that may be anything.
func refusedQuery(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	s := w.Body.String()
	if w.Code != 200 && w.Code != 303 && (w.Code != 400 || s == "" || len(s) > 400 || strings.Count(s, "\n") != 1) {
		t.Errorf("%d %q", w.Code, s)
	}
	if w.Code == 400 && (!utf8.ValidString(s) || strings.ContainsAny(s[:len(s)-1], "\x1b\r\n\x00")) {
		t.Errorf("the answer could deceive a terminal: %q", s)
	}
}

func FuzzAttempts(f *testing.F) {
	s := start(f, &fakeDocker{}, nil)
	s.ready(f)
	s.send(f, many(20)...)
	s.idle(f)
	h := s.api()
	for _, s := range []string{"limit=5&since=24h", "since=2026-01-02", "limit=-1", "limit=9999999999999999999", "a=b;c=d", "%00=\x1b", "limit=1&limit=2", "&&="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/attempts", http.NoBody)
		req.URL.RawQuery = query
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		refusedQuery(t, w)
		var got []journal.Record
		if w.Code == 200 && (json.Unmarshal(w.Body.Bytes(), &got) != nil || len(got) > 20) {
			t.Errorf("%q", w.Body)
		}
	})
}

func FuzzPause(f *testing.F) {
	s := start(f, &fakeDocker{}, nil)
	s.ready(f)
	h := s.api()
	for _, s := range []string{"2h", "", "-1h", "1e9h", "720h0m0.1s", "9223372036854775807ns", "2h&for=3h", "\x1b[31m", "١h"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, length string, form bool) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/pause", http.NoBody)
		if form {
			req = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/pause", strings.NewReader("for="+url.QueryEscape(length)))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		} else {
			req.URL.RawQuery = "for=" + length
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		refusedQuery(t, w)
		if s := s.remediator.Status(); w.Code != 400 && (!s.Paused || time.Until(s.PausedUntil) > 720*time.Hour) {
			t.Errorf("%q: %+v", length, s)
		}
	})
}

func FuzzReset(f *testing.F) {
	s := start(f, &fakeDocker{list: []runner.Container{slot("ci-1")}}, nil)
	s.ready(f)
	until(f, "the runner to be known", func() bool { return len(s.remediator.Breakers()) == 1 })
	h := s.api()
	for _, s := range []string{"ci-1", "ci-2", "../ci-1", "", "ci-1\x00", "%2e%2e", "ci-1/reset/../.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", http.NoBody)
		req.URL.Path, req.URL.RawPath = "/api/v1/breakers/"+name+"/reset", "/api/v1/breakers/"+url.PathEscape(name)+"/reset"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if (w.Code == 200) != (name == "ci-1") || w.Code >= 500 {
			t.Errorf("%q: %d %s", name, w.Code, w.Body)
		}
		if got := s.remediator.Breakers(); len(got) != 1 || got[0].State != journal.Closed {
			t.Errorf("%+v", got)
		}
	})
}
