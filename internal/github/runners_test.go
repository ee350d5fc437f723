package github

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

func TestParseScope(t *testing.T) {
	for in, want := range map[string]string{
		"octo/hello": "octo/hello", "octo": "octo", "enterprises/acme": "enterprises/acme", "o-c_t.o/h.e": "o-c_t.o/h.e",
		"": "", "/": "", "octo/": "", "/hello": "", "a/b/c": "", "octo/..": "", "enterprises": "", "enterprises/": "",
		"octo/he llo": "", "octo?x": "", "octo/%2e": "", strings.Repeat("x", 101): "",
	} {
		got, err := ParseScope(in)
		if got.String() != want || (err == nil) != (want != "") {
			t.Errorf("ParseScope(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, u := range []string{
		"github.example.com", "ftp://x", "https://", "https://u:hunter2@x/api/v3", "https://x/?q", "https://github.com/", "://hunter2",
	} {
		_, err := New(Options{APIURL: u, Token: staticToken("x")})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("New(%q): %v", u, err)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("New without token function succeeded")
	}
	for name, scopes := range map[string][]Scope{
		"an empty one": {{}}, "the same twice": {mustScope(t, "octo/hello"), mustScope(t, "Octo/HELLO")}, "too many": make([]Scope, MaxScopes+1),
	} {
		if _, err := New(Options{Token: staticToken("x"), Scopes: scopes}); err == nil {
			t.Errorf("New with scopes of which %s succeeded", name)
		}
	}
}

func TestAPIURL(t *testing.T) {
	for in, want := range map[string]string{
		"": "https://api.github.com/", "http://lab:10070": "http://lab:10070/", "https://ghe.example/api/v3": "https://ghe.example/api/v3/",
		"https://ghe.example/api/v3//": "https://ghe.example/api/v3/",
	} {
		c, err := New(Options{APIURL: in, Token: staticToken("x")})
		if err != nil || c.base.String() != want {
			t.Errorf("%q: %v, %v; want %q", in, c.base, err, want)
		}
	}
}

func TestRunnersOfEachKind(t *testing.T) {
	for scope, path := range map[string]string{
		"octo/hello":       "GET /repos/octo/hello/actions/runners?page=1&per_page=100",
		"octo":             "GET /orgs/octo/actions/runners?page=1&per_page=100",
		"enterprises/acme": "GET /enterprises/acme/actions/runners?page=1&per_page=100",
	} {
		f := newFakeGitHub(1)
		f.runners[0].Busy = true
		f.onRequest = func(r *http.Request) {
			if r.UserAgent() != "ghostrunner-exporter/1.0" {
				t.Errorf("user agent %q", r.UserAgent())
			}
		}
		c := newClient(t, f, func(o *Options) { o.UserAgent = "ghostrunner-exporter/1.0" })
		got, err := c.Runners(t.Context(), mustScope(t, scope))
		if err != nil {
			t.Fatal(err)
		}
		want := []runner.Registration{{ID: 1, Name: "ci-runner-0001", OS: "Linux", Status: "online", Busy: true, Labels: []string{"self-hosted", "linux"}}}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{path}, f.requests); d != "" {
			t.Error(d)
		}
	}
}

func TestPages(t *testing.T) {
	for _, noLink := range []bool{false, true} {
		f := newFakeGitHub(250)
		f.noLink = noLink
		c := newClient(t, f, nil)
		scope := mustScope(t, "octo/hello")
		list := func(want, wantCounted, wantAll int) {
			t.Helper()
			counted0, all0 := f.count()
			got, err := c.Runners(t.Context(), scope)
			if err != nil || len(got) != want {
				t.Fatalf("%d runners, %v; want %d", len(got), err, want)
			}
			counted, all := f.count()
			if counted-counted0 != wantCounted || all-all0 != wantAll {
				t.Errorf("%d requests counted of %d; want %d of %d", counted-counted0, all-all0, wantCounted, wantAll)
			}
		}
		list(250, 3, 3)
		list(250, 0, 3) // 304 costs nothing
		f.do(func() { f.runners[249].Status = "offline" })
		list(250, 1, 3)
		f.do(func() { f.runners = f.runners[:150] })
		list(150, 2, 2)
		f.do(func() { f.runners = f.runners[:100] })
		list(100, 1, 1)
		f.do(func() { f.runners = f.runners[:0] })
		list(0, 1, 1)
		f.do(func() { f.runners = newFakeGitHub(201).runners })
		list(201, 3, 3)
		if got := c.Snapshot().Requests; got["304"] == 0 || got["200"] != 11 {
			t.Errorf("requests %v", got)
		}
	}
}

// A server sends smaller pages than requested: only the Link header leads on, also that of a cached
// page.
func TestSmallPages(t *testing.T) {
	f := newFakeGitHub(25)
	f.maxSize = 10
	c := newClient(t, f, nil)
	for range 2 {
		if got, err := c.Runners(t.Context(), mustScope(t, "octo")); err != nil || len(got) != 25 {
			t.Fatal(len(got), err)
		}
	}
	if got := c.Snapshot().Requests; got["200"] != 3 || got["304"] != 3 {
		t.Errorf("%v", got)
	}
}

// A runner that disappears between two pages hides another one until the list is read again.
func TestPagesShift(t *testing.T) {
	f := newFakeGitHub(150)
	first := true
	f.onRequest = func(r *http.Request) {
		if first && r.URL.Query().Get("page") == "2" {
			first = false
			f.runners = f.runners[1:]
		}
	}
	got, err := newClient(t, f, nil).Runners(t.Context(), mustScope(t, "octo"))
	if err != nil || len(got) != 149 || got[99].Name != "ci-runner-0101" {
		t.Fatalf("%d runners, %v", len(got), err)
	}
}

func TestTooManyPages(t *testing.T) {
	f := newFakeGitHub(maxPages*pageSize + 1)
	_, err := newClient(t, f, nil).Runners(t.Context(), mustScope(t, "octo"))
	var e *runner.Error
	if !errors.As(err, &e) || e.Reason != runner.ReasonInvalid || !strings.Contains(err.Error(), "more than 10000") {
		t.Fatal(err)
	}
	if _, all := f.count(); all != maxPages {
		t.Errorf("%d requests", all)
	}
}

func TestTokenRotation(t *testing.T) {
	f := newFakeGitHub(3)
	token := testToken
	c := newClient(t, f, func(o *Options) { o.Token = func() (string, error) { return " " + token + "\n", nil } })
	scope := mustScope(t, "octo")
	for range 2 {
		if _, err := c.Runners(t.Context(), scope); err != nil {
			t.Fatal(err)
		}
	}
	token = "ghp_another"
	f.do(func() {
		f.token = token
		f.onRequest = func(r *http.Request) {
			if r.Header.Get("If-None-Match") != "" {
				t.Error("another token's ETag was sent")
			}
		}
	})
	if got, err := c.Runners(t.Context(), scope); err != nil || len(got) != 3 {
		t.Fatal(got, err)
	}
	if counted, _ := f.count(); counted != 2 {
		t.Errorf("%d counted requests; want one for each token", counted)
	}
}

func TestPageWithoutRoom(t *testing.T) {
	f := newFakeGitHub(250)
	c := newClient(t, f, nil)
	c.cache = newCache(2, maxCacheBytes)
	for range 3 {
		if got, err := c.Runners(t.Context(), mustScope(t, "octo")); err != nil || len(got) != 250 {
			t.Fatal(len(got), err)
		}
	}
	if counted, _ := f.count(); counted != 3+1+1 {
		t.Errorf("%d requests counted; want three, then one each time for the page that has no room", counted)
	}
}

// A page may be dropped from the cache during a conditional request: the body of the 304 is still
// known.
func TestDroppedBody(t *testing.T) {
	f := newFakeGitHub(3)
	c := newClient(t, f, nil)
	for range 2 {
		if got, err := c.Runners(t.Context(), mustScope(t, "octo")); err != nil || len(got) != 3 {
			t.Fatal(len(got), err)
		}
		f.do(func() { f.onRequest = func(*http.Request) { c.cache.clear() } })
	}
	if got := c.Snapshot().Requests; got["304"] != 1 {
		t.Errorf("%v", got)
	}
}

func TestCacheBounds(t *testing.T) {
	c, old := newCache(3, 100), hashToken("old")
	check := func(what string, entries, bytes int) {
		t.Helper()
		if len(c.pages) != entries || c.bytes != bytes {
			t.Errorf("%s: %d entries, %d bytes; want %d, %d", what, len(c.pages), c.bytes, entries, bytes)
		}
	}
	for i := range 5 {
		c.put(old, strconv.Itoa(i), &entry{body: make([]byte, 20)})
	}
	check("full", 3, 60)
	if c.get(old, strconv.Itoa(0)) == nil || c.get(old, strconv.Itoa(2)) == nil || c.get(old, strconv.Itoa(4)) != nil {
		t.Error("a page that has no room displaced another")
	}
	c.put(old, strconv.Itoa(2), &entry{body: make([]byte, 60)})
	check("replaced", 3, 100)
	c.put(old, strconv.Itoa(2), &entry{body: make([]byte, 61)})
	check("replaced by one that has no room", 2, 40)
	c.put(hashToken("new"), "0", &entry{body: make([]byte, 10)})
	check("new token", 1, 10)
	c.clear()
	check("cleared", 0, 0)
}

func TestDeleteRunner(t *testing.T) {
	scope := "octo/hello"
	tests := map[string]struct {
		status  int
		message string
		id      int64
		listed  bool // the list can be read
		is      error
		reason  string
	}{
		"deleted":          {status: 204, id: 1, listed: true},
		"busy":             {status: 422, message: `Bad request - Runner "x" is still running a job"`, id: 1, listed: true, is: runner.ErrBusy, reason: runner.ReasonInvalid},
		"busy, old":        {status: 400, message: `Runner "x" is still running a job`, id: 1, listed: true, is: runner.ErrBusy, reason: runner.ReasonInvalid},
		"gone":             {status: 404, message: "Not Found", id: 99, listed: true, is: runner.ErrNotFound, reason: runner.ReasonNotFound},
		"listed but 404":   {status: 404, message: "Not Found", id: 1, listed: true, reason: runner.ReasonNotFound},
		"access lost":      {status: 404, message: "Not Found", id: 99, reason: runner.ReasonNotFound},
		"no write access":  {status: 403, message: "Resource not accessible by personal access token", id: 1, listed: true, reason: runner.ReasonPermission},
		"200 is no answer": {status: 200, id: 1, listed: true, reason: runner.ReasonInvalid},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFakeGitHub(1)
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case r.Method == http.MethodDelete && tc.status < 300:
					w.WriteHeader(tc.status)
					return true
				case r.Method == http.MethodDelete:
					fail(w, tc.status, tc.message)
					return true
				case !tc.listed:
					fail(w, 404, "Not Found")
					return true
				}
				return false
			}
			c := newClient(t, f, nil)
			err := c.DeleteRunner(t.Context(), mustScope(t, scope), tc.id)
			if tc.reason == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var e *runner.Error
			if !errors.As(err, &e) || e.Reason != tc.reason || e.Status != tc.status {
				t.Fatalf("%#v", err)
			}
			for _, is := range []error{runner.ErrBusy, runner.ErrNotFound} {
				if errors.Is(err, is) != errors.Is(tc.is, is) {
					t.Errorf("errors.Is(%v, %v) = %v", err, is, errors.Is(err, is))
				}
			}
			if n := c.Snapshot().Failures[tc.reason]; (n == 0) != errors.Is(tc.is, runner.ErrBusy) {
				t.Errorf("%d failures counted", n)
			}
		})
	}
}

func TestJITConfig(t *testing.T) {
	for scope, path := range map[string]string{
		"octo/hello": "/repos/octo/hello/actions/runners/generate-jitconfig", "octo": "/orgs/octo/actions/runners/generate-jitconfig",
		"enterprises/acme": "/enterprises/acme/actions/runners/generate-jitconfig",
	} {
		f := newFakeGitHub(0)
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			var got map[string]any
			if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
				t.Error(err)
			}
			want := map[string]any{"name": "ci-runner-1-a", "runner_group_id": 1.0, "labels": []any{"self-hosted"}}
			if d := cmp.Diff(want, got); d != "" || r.URL.Path != path || r.Method != http.MethodPost {
				t.Errorf("%s %s %s", r.Method, r.URL.Path, d)
			}
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"runner":{"id":7,"name":"ci-runner-1-a"},"encoded_jit_config":"c2VjcmV0"}`))
			return true
		}
		got, err := newClient(t, f, nil).JITConfig(t.Context(), mustScope(t, scope), "ci-runner-1-a", []string{"self-hosted"}, 0)
		if err != nil || got != (runner.JIT{ID: 7, Encoded: "c2VjcmV0"}) {
			t.Fatal(got, err)
		}
	}
}

func TestJITConfigRefused(t *testing.T) {
	tests := map[string]struct {
		status       int
		body, reason string
	}{
		"taken":   {409, `{"message":"Already exists - A runner with the name x already exists."}`, runner.ReasonInvalid},
		"invalid": {422, `{"message":"Validation failed"}`, runner.ReasonInvalid},
		"unseen":  {404, `{"message":"Not Found"}`, runner.ReasonNotFound},
		"empty":   {201, `{}`, runner.ReasonInvalid},
		"no body": {201, ``, runner.ReasonInvalid},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFakeGitHub(0)
			f.before = func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
				return true
			}
			c := newClient(t, f, nil)
			_, err := c.JITConfig(t.Context(), mustScope(t, "octo"), "n", []string{"l"}, 3)
			if n := c.Snapshot().Failures[tc.reason]; n == 0 {
				t.Errorf("%d failures counted", n)
			}
			var e *runner.Error
			if !errors.As(err, &e) || e.Reason != tc.reason {
				t.Fatalf("%v", err)
			}
			if tc.status == 422 != strings.Contains(e.Hint, "check the labels and the runner group, and whether octo has reached") {
				t.Errorf("hint %q", e.Hint)
			}
		})
	}
	f := newFakeGitHub(0)
	c := newClient(t, f, nil)
	for _, labels := range [][]string{nil, make([]string, 101)} {
		if _, err := c.JITConfig(t.Context(), mustScope(t, "octo"), "n", labels, 1); err == nil {
			t.Error("accepted a wrong number of labels")
		}
	}
	if _, err := c.Runners(t.Context(), Scope{}); err == nil {
		t.Error("accepted the empty scope")
	}
	if _, all := f.count(); all != 0 {
		t.Errorf("%d requests for calls that cannot succeed", all)
	}
}

func TestCanceledIsNotAFailure(t *testing.T) {
	f := newFakeGitHub(1)
	ctx, cancel := context.WithCancel(t.Context())
	f.onRequest = func(*http.Request) { cancel() }
	f.before = func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
	c := newClient(t, f, func(o *Options) { o.Timeout = time.Minute })
	_, err := c.Runners(ctx, mustScope(t, "octo"))
	var e *runner.Error
	if !errors.Is(err, context.Canceled) || errors.As(err, &e) {
		t.Errorf("%#v", err)
	}
	for r, n := range c.Snapshot().Failures {
		if n != 0 {
			t.Errorf("%s: %d", r, n)
		}
	}
}
