package github

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Foreign input is fuzzed here and in credential_test.go. More seeds are in testdata/fuzz.

// FuzzLink has arbitrary links to a next page: it ends, and only the API gets requests.
func FuzzLink(f *testing.F) {
	f.Add(`<https://api.github.com/orgs/octo/actions/runners?page=2>; rel="next", <https://x?page=9>; rel="last"`, 3, 2)
	f.Add(`<http://elsewhere.invalid/?page=-1>; rel=next`, 0, 0)
	f.Add(`<:>; rel="next"; rel="next", <>;;`, 1<<40, 100)
	f.Fuzz(func(t *testing.T, link string, total, runners int) {
		asked := 0
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			if r.URL.Host != "api.github.com" || r.URL.Path != "/orgs/octo/actions/runners" {
				t.Errorf("asked %s", r.URL)
			}
			var list []map[string]any
			for i := range min(max(runners, 0), pageSize) {
				list = append(list, map[string]any{"id": i + 1, "name": "x"})
			}
			body, _ := json.Marshal(map[string]any{"total_count": total, "runners": list})
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Link", link)
			if r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = w.Write(body)
		})
		c, err := New(Options{Token: staticToken(testToken), Transport: direct{h}, Scopes: []Scope{mustScope(t, "octo")}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time out of the cache
			before := asked
			list, err := c.Runners(t.Context(), mustScope(t, "octo"))
			var e *runner.Error
			if err != nil && (!errors.As(err, &e) || e.Reason != runner.ReasonInvalid) {
				t.Errorf("%#v", err)
			}
			if n := asked - before; n < 1 || n > 2*maxPages || len(list) > pageSize {
				t.Errorf("%d requests, %d runners", n, len(list))
			}
		}
	})
}

// FuzzDate has an arbitrary Date between two true ones: an offset never exceeds the difference of
// the two clocks, and a wrong one is dropped.
func FuzzDate(f *testing.F) {
	f.Add("Sun, 06 Nov 1994 08:49:37 GMT", int64(time.Second))
	f.Add("Sunday, 06-Nov-94 08:49:37 GMT", int64(0))
	f.Add("Fri, 31 Dec 9999 23:59:59 GMT", int64(-1))
	f.Add("Mon, 01 Jan 0001 00:00:00 GMT", int64(1))
	f.Fuzz(func(t *testing.T, date string, took int64) {
		now := time.Now()
		truth := func(at time.Time) string { return at.UTC().Truncate(time.Second).Format(http.TimeFormat) }
		var c clockEstimate
		c.add(now, now, truth(now))
		at := now.Add(time.Second)
		c.add(at, at.Add(time.Duration(took)), date)
		got := c.sample()
		said, err := http.ParseTime(date)
		usable := err == nil && took >= 0 && time.Duration(took) <= maxRoundTrip
		switch {
		case !usable && got.Offset != 0:
			t.Errorf("%q: %v", date, got)
		case usable && (got.Offset > 0 && at.Before(said) || got.Offset < 0 && at.After(said.Add(time.Second))):
			t.Errorf("%q: %v is of the wrong sign", date, got)
		case usable && got.Offset.Abs() > max(at.Round(0).Sub(said).Abs(), at.Add(time.Duration(took)).Round(0).Sub(said).Abs()):
			t.Errorf("%q: %v", date, got)
		}
		at = at.Add(2 * clockWindow)
		c.add(at, at, truth(at))
		if got := c.sample(); got.Offset != 0 || !got.At.Equal(at) {
			t.Errorf("after %q: %v", date, got)
		}
	})
}
