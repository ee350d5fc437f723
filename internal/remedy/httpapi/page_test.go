package httpapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

func TestHeadline(t *testing.T) {
	now := time.Now()
	well := func() remedy.Status {
		return remedy.Status{Ready: true, Journal: true, DockerUp: true, Heartbeat: now.Add(-time.Second)}
	}
	for name, c := range map[string]struct {
		change      func(*remedy.Status)
		tone, title string
	}{
		"well":       {func(*remedy.Status) {}, "good", "All quiet"},
		"just begun": {func(s *remedy.Status) { s.Heartbeat = time.Time{} }, "wait", "Waiting for a heartbeat"},
		"fires":      {func(s *remedy.Status) { s.Firing = make([]remedy.Firing, 1) }, "wait", "1 alert fires"},
		"heals": {func(s *remedy.Status) {
			s.Firing, s.Unfinished = make([]remedy.Firing, 2), make([]remedy.Unfinished, 1)
		}, "busy", "Healing"},
		"dry run":         {func(s *remedy.Status) { s.DryRun, s.Unfinished = true, make([]remedy.Unfinished, 1) }, "wait", "Dry run"},
		"silence":         {func(s *remedy.Status) { s.Silent, s.DryRun = true, true }, "bad", "No heartbeat"},
		"window":          {func(s *remedy.Status) { s.WindowOpens, s.DryRun = now.Add(time.Hour), true }, "wait", "Outside of the maintenance window"},
		"paused":          {func(s *remedy.Status) { s.Paused, s.Silent = true, true }, "wait", "Paused until resumed"},
		"paused for long": {func(s *remedy.Status) { s.Paused, s.PausedUntil = true, now.Add(27*time.Hour) }, "wait", "Paused for another 1d3h"},
		"no Docker":       {func(s *remedy.Status) { s.DockerUp, s.Paused = false, true }, "bad", "Docker does not answer"},
		"no journal":      {func(s *remedy.Status) { s.Ready, s.Journal, s.DockerUp = false, false, false }, "bad", "Nothing can be accepted"},
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
		-time.Second: "0s", 0: "0s", 1234 * time.Millisecond: "1.2s", 3 * time.Second: "3s", 119 * time.Second: "1m59s", 2 * time.Minute: "2m",
		2 * time.Hour: "2h", 150 * time.Minute: "2h30m", 48 * time.Hour: "2d", 73 * time.Hour: "3d1h",
	} {
		if got := span(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

// TestPageWithoutAJournal is the page of a program that cannot work: it must come all the same, and
// say why.
func TestPageWithoutAJournal(t *testing.T) {
	s := start(t, &fakeDocker{}, func(o *remedy.Options) {
		o.OpenDisk = func() (journal.Disk, error) {
			return nil, errors.New("journal <b>cannot</b> be written: no space left on device")
		}
	})
	until(t, "the journal's error", func() bool { return strings.Contains(s.remediator.Ready().Error(), "no space left") })
	for _, signedIn := range []bool{false, true} {
		w := httptest.NewRecorder()
		s.Page(func(*http.Request) bool { return signedIn }).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/?signin=<b>", http.NoBody))
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
	w := start(b, &fakeDocker{list: []runner.Container{slot("ci-1"), slot("ci-2")}}, nil)
	w.ready(b)
	w.send(b, many(100)...)
	w.idle(b)
	h := w.Page(func(*http.Request) bool { return true })
	req := httptest.NewRequestWithContext(b.Context(), "GET", "/", http.NoBody)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), req)
	}
}
