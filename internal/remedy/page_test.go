package remedy

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestHeadline(t *testing.T) {
	now := time.Now()
	well := func() Status {
		return Status{Ready: true, Journal: true, DockerUp: true, Heartbeat: now.Add(-time.Second)}
	}
	for name, c := range map[string]struct {
		change      func(*Status)
		tone, title string
	}{
		"well":             {func(*Status) {}, "good", "All quiet"},
		"just begun":       {func(s *Status) { s.Heartbeat = time.Time{} }, "wait", "Waiting for a heartbeat"},
		"fires":            {func(s *Status) { s.Firing = make([]Firing, 1) }, "wait", "1 alert fires"},
		"heals":            {func(s *Status) { s.Firing, s.Unfinished = make([]Firing, 2), make([]Unfinished, 1) }, "busy", "Healing"},
		"dry run":          {func(s *Status) { s.DryRun, s.Unfinished = true, make([]Unfinished, 1) }, "wait", "Dry run"},
		"silence":          {func(s *Status) { s.Silent, s.DryRun = true, true }, "bad", "Nobody calls"},
		"window":           {func(s *Status) { s.WindowOpens, s.DryRun = now.Add(time.Hour), true }, "wait", "Outside of the maintenance window"},
		"paused":           {func(s *Status) { s.Paused, s.Silent = true, true }, "wait", "Paused until resumed"},
		"paused for long":  {func(s *Status) { s.Paused, s.PausedUntil = true, now.Add(27*time.Hour) }, "wait", "Paused for another 27 h"},
		"no Docker":        {func(s *Status) { s.DockerUp, s.Paused = false, true }, "bad", "Docker does not answer"},
		"no journal":       {func(s *Status) { s.Ready, s.Journal, s.DockerUp = false, false, false }, "bad", "Nothing can be accepted"},
		"fires, many more": {func(s *Status) { s.Firing = make([]Firing, 3) }, "wait", "3 alerts fire"},
	} {
		s := well()
		c.change(&s)
		if got := (view{Now: now, Status: s}).Headline(); got.Tone != c.tone || got.Title != c.title || got.Text == "" && s.Ready {
			t.Errorf("%s: %+v, want %s %q", name, got, c.tone, c.title)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 0: "0 s", 1234 * time.Millisecond: "1.2 s", 3 * time.Second: "3 s", 119 * time.Second: "119 s", 2 * time.Minute: "2 min",
		119 * time.Minute: "119 min", 2 * time.Hour: "2 h", 150 * time.Minute: "2 h 30 min", 48 * time.Hour: "2 d", 73 * time.Hour: "3 d 1 h",
	} {
		if got := span(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

// TestPageWithoutAJournal is the page of a program that cannot work: it must come all the same, and say why.
func TestPageWithoutAJournal(t *testing.T) {
	r, _, _ := start(t, newFake(), nil)
	ready(t, r)
	r.mu.Lock()
	r.broken = errors.New("journal <b>cannot</b> be written: no space left on device")
	r.mu.Unlock()
	for _, signedIn := range []bool{false, true} {
		w := httptest.NewRecorder()
		r.Page(func(*http.Request) bool { return signedIn }).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/?signin=<b>", http.NoBody))
		page := w.Body.String()
		if w.Code != 200 || !strings.Contains(page, "no space left on device") || strings.Contains(page, "<b>") || !strings.HasSuffix(page, "</html>\n") {
			t.Errorf("%d %s", w.Code, page)
		}
		if strings.Contains(page, `action="/api/v1/pause"`) != signedIn || strings.Contains(page, `action="/signin"`) == signedIn {
			t.Errorf("signed in %t, and the buttons do not fit", signedIn)
		}
		if p := w.Header().Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || !strings.Contains(p, "form-action 'self'") || strings.Contains(p, "unsafe") {
			t.Errorf("policy %q", p)
		}
	}
}

func BenchmarkPage(b *testing.B) {
	r, _, _ := start(b, newFake(runnerContainer("ci-1", ActionRestart), runnerContainer("ci-2", ActionRestart)), nil)
	ready(b, r)
	send(b, r, many(100)...)
	idle(b, r)
	h := r.Page(func(*http.Request) bool { return true })
	req := httptest.NewRequestWithContext(b.Context(), "GET", "/", http.NoBody)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), req)
	}
}
