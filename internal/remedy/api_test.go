package remedy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// api is the whole of the remediator's routes, open to everybody.
func api(r *Remediator) http.Handler {
	mux := http.NewServeMux()
	r.Routes(mux, open)
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
	r, _, _ := start(t, newFake(runnerContainer("ci-1", ActionRestart)), nil)
	ready(t, r)
	until(t, "the runner to be known", func() bool { return len(r.Breakers()) == 1 })
	h := api(r)
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
		{"GET", "/api/v1/attempts?limt=3", "", 400, "limt: no such parameter; there are limit, since"},
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
	if s := r.Status(); !s.Paused || !s.PausedUntil.IsZero() {
		t.Errorf("an empty parameter is not left out: %+v", s)
	}
}

func TestAttemptsSince(t *testing.T) {
	now := time.Now()
	r, _, _ := start(t, newFake(), nil)
	ready(t, r)
	r.mu.Lock()
	for i := range uint64(10) {
		r.state.records[i] = Record{ID: i, Began: now.Add(-time.Duration(i) * time.Hour), Outcome: OutcomeCompleted}
	}
	r.mu.Unlock()
	for since, want := range map[string]int{"5h30m": 6, "0s": 0, "24h": 8} {
		var got []Record
		w := ask(t, api(r), "GET", "/api/v1/attempts?limit=8&since="+since, "")
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got) != want {
			t.Errorf("since %s: %d records, want %d (%v)", since, len(got), want, err)
		}
		for i, rec := range got {
			if rec.ID != uint64(i) {
				t.Errorf("since %s: record %d is %d, want the newest first", since, i, rec.ID)
			}
		}
	}
}

// TestPauseEnds is a pause with an end, that is slept through and started through.
func TestPauseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "journal.db")
		d := newFake(runnerContainer("ci-1", ActionRestart))
		open := func() (*Remediator, func()) {
			r, _, stop := start(t, d, func(o *Options) { o.JournalPath = path })
			ready(t, r)
			return r, stop
		}
		r, stop := open()
		if err := r.Pause(t.Context(), 2*time.Hour); err != nil {
			t.Fatal(err)
		}
		send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
		idle(t, r)
		if got := r.Attempts(1); len(got) != 1 || got[0].Reason != string(Paused) || !strings.Contains(got[0].Detail, "until 20") {
			t.Fatalf("%+v, want a refusal that names the end of the pause", got)
		}
		stop()
		time.Sleep(time.Hour)
		r, stop = open()
		if s := r.Status(); !s.Paused || time.Until(s.PausedUntil).Round(time.Minute) != time.Hour {
			t.Errorf("after an hour: %+v", s)
		}
		time.Sleep(time.Hour)
		if s := r.Status(); s.Paused || !s.PausedUntil.IsZero() {
			t.Errorf("after two hours it is still paused: %+v", s)
		}
		send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
		idle(t, r)
		if got := d.done(); len(got) == 0 {
			t.Error("nothing is done after the pause")
		}
		if err := errors.Join(r.Pause(t.Context(), time.Minute), r.Resume(t.Context())); err != nil || r.Status().Paused {
			t.Errorf("resumed, and still paused (%v)", err)
		}
		stop()
		time.Sleep(time.Hour)
		if r, _ = open(); r.Status().Paused {
			t.Error("paused again by a start")
		}
	})
}

// TestPauseSurvivesTheClock is a start with a wall clock that has jumped since.
func TestPauseSurvivesTheClock(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		until time.Time
		left  time.Duration
	}{
		"no jump":    {now.Add(time.Hour), time.Hour},
		"back":       {now.Add(100 * time.Hour), 2 * time.Hour},
		"forth":      {now.Add(-100 * time.Hour), 0},
		"to its end": {now, 0},
	} {
		var s state
		if err := s.restorePause(put(nil, nil, pauseRecord{c.until, 2 * time.Hour}).value, now); err != nil {
			t.Fatal(err)
		}
		if got := s.pausedUntil.Sub(now); s.pausedAt(now) != (c.left > 0) || got != c.left {
			t.Errorf("%s: paused %t, %s are left, want %s", name, s.pausedAt(now), got, c.left)
		}
	}
	for v, want := range map[string]bool{"1": true, "0": false} {
		var s state
		if err := s.restorePause([]byte(v), now); err != nil || s.pausedAt(now.Add(1e6*time.Hour)) != want {
			t.Errorf("%q: %v, %v", v, s.paused, err)
		}
	}
	if err := (&state{}).restorePause([]byte("{"), now); err == nil {
		t.Error("garbage is a pause")
	}
}

func TestFiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := start(t, newFake(), nil)
		ready(t, r)
		first := alertOf("First", ActionRestart, "runner", "ci-1")
		time.Sleep(time.Second)
		send(t, r, first, alertOf("Second", ""), alertOf(AlertWatchdog, ""))
		idle(t, r)
		names := func() (out []string) {
			for _, f := range r.Firing() {
				out = append(out, f.Name()+" "+f.Reason)
			}
			return out
		}
		if got := strings.Join(names(), ", "); got != "Second , First no_target" {
			t.Errorf("fires: %s", got)
		}
		first["status"] = "resolved"
		send(t, r, first)
		if got := strings.Join(names(), ", "); got != "Second " {
			t.Errorf("fires after the first is over: %s", got)
		}
		time.Sleep(firingMaxAge + time.Second)
		if got := names(); len(got) != 0 {
			t.Errorf("nobody has spoken of it for an hour: %s", got)
		}
		send(t, r, many(2*maxFiring)...)
		if got := names(); len(got) != maxFiring {
			t.Errorf("%d are remembered, want %d", len(got), maxFiring)
		}
		idle(t, r)
	})
}

// TestTooManyAtOnce holds every place and finds each door closed, but that of the webhook, which has places of its own.
func TestTooManyAtOnce(t *testing.T) {
	r, _, _ := start(t, newFake(), nil)
	ready(t, r)
	for range maxRequests {
		r.requests <- struct{}{}
	}
	h := api(r)
	for _, c := range []struct{ method, path string }{
		{"GET", "/api/v1/attempts"}, {"GET", "/api/v1/breakers"}, {"GET", "/api/v1/status"},
		{"POST", "/api/v1/breakers/x/reset"}, {"POST", "/api/v1/pause"}, {"POST", "/api/v1/resume"}, {"POST", "/api/v1/explain"},
	} {
		if w := ask(t, h, c.method, c.path, ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s %s: %d, want 503 and Retry-After", c.method, c.path, w.Code)
		}
	}
	if w := post(r, payload(alertOf("One", ActionRestart, "runner", "ci-1"))); w.Code != 202 {
		t.Errorf("the webhook: %d, want 202", w.Code)
	}
	for range maxRequests {
		r.deliveries <- struct{}{}
	}
	if w := ask(t, h, "POST", "/webhook", ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("the webhook with all its places taken: %d, want 503 and Retry-After", w.Code)
	}
	<-r.requests
	if w := ask(t, h, "GET", "/api/v1/attempts", ""); w.Code != 200 {
		t.Errorf("with a free place: %d", w.Code)
	}
}

// TestLargePayloadsWait: two of the largest are read at the same time; a third, and one of unknown length, wait or go away.
func TestLargePayloadsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := start(t, newFake(), nil)
		ready(t, r)
		h := r.Webhook(open)
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

// TestStatusDoesNotWait: what is known is told although Docker hangs.
func TestStatusDoesNotWait(t *testing.T) {
	d := newFake(runnerContainer("ci-1", ActionRestart))
	r, _, _ := start(t, d, nil)
	ready(t, r)
	until(t, "the runner to be known", func() bool { list := r.Targets(t.Context()); return len(list) == 1 && list[0].Breaker != nil })
	r.containers.mu.Lock() // somebody waits for Docker
	defer r.containers.mu.Unlock()
	if got := r.Targets(t.Context()); len(got) != 1 || got[0].Name != "ci-1" || got[0].Breaker == nil || got[0].Seen.IsZero() {
		t.Errorf("%+v", got)
	}
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
	r, _, _ := start(f, newFake(), nil)
	ready(f, r)
	r.mu.Lock()
	for i := range uint64(20) {
		r.state.records[i] = Record{ID: i, Began: time.Now()}
	}
	r.mu.Unlock()
	h := api(r)
	for _, s := range []string{"limit=5&since=24h", "since=2026-01-02", "limit=-1", "limit=9999999999999999999", "a=b;c=d", "%00=\x1b", "limit=1&limit=2", "&&="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/attempts", http.NoBody)
		req.URL.RawQuery = query
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		refusedQuery(t, w)
		var got []Record
		if w.Code == 200 && (json.Unmarshal(w.Body.Bytes(), &got) != nil || len(got) > 20) {
			t.Errorf("%q", w.Body)
		}
	})
}

func FuzzPause(f *testing.F) {
	r, _, _ := start(f, newFake(), nil)
	ready(f, r)
	h := api(r)
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
		if s := r.Status(); w.Code != 400 && (!s.Paused || time.Until(s.PausedUntil) > maxPause) {
			t.Errorf("%q: %+v", length, s)
		}
	})
}

func FuzzReset(f *testing.F) {
	r, _, _ := start(f, newFake(runnerContainer("ci-1", ActionRestart)), nil)
	ready(f, r)
	until(f, "the runner to be known", func() bool { return len(r.Breakers()) == 1 })
	h := api(r)
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
		if got := r.Breakers(); len(got) != 1 || got[0].State != Closed {
			t.Errorf("%+v", got)
		}
	})
}
